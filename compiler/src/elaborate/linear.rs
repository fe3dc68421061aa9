//! Convolutions in every segmentation, and dense layers: shapes, nodes and weights.

use super::attributes::{After, Attributes, Order, Padding, Segments};
use super::names::Site;
use super::report::Reported;
use super::{Elaborator, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{
    Activation, Conv, LayerId, LayerKind, LinearPart, NodeId, Op, Pads, Partition, PartitionError, Role,
    Shape, Weight, WeightId, Window,
};

/// A window over a map, as written.
pub struct WindowAttributes {
    /// Taps.
    pub kernel: [u32; 2],
    /// Distance between windows.
    pub strides: [u32; 2],
    /// Distance between taps.
    pub dilation: [u32; 2],
    /// Padding.
    pub padding: Padding,
    /// Where the window is given.
    pub span: Span,
}

/// A convolution that is about to become a node.
struct Linear {
    window: Window,
    partition: Partition,
    role: Role,
    bias: bool,
}

const POINT: [u32; 2] = [1, 1];

impl<'a> Elaborator<'a> {
    /// A convolution; with segments both its inputs and its filters are cut.
    pub fn conv(&mut self, attributes: &Attributes, site: &Site<'a>) -> Result<NodeId, Reported> {
        let filters = self.filters(attributes, "filters");
        let window = self.window_attributes(attributes, "kernel");
        let segments = self.conv_segments(attributes);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let (filters, (segments, segments_at)) = (filters?, segments?);
        let (window, bias, after) = (window?, bias?, after?);
        let (input, shape) = self.input_map(site)?;
        let (window, [h, w]) = self.place_window(&window, input, shape)?;
        let inputs = self.cut(&segments, shape.c(), "channels", segments_at)?;
        let outputs = match &segments {
            Segments::Sizes(sizes) if filters == shape.c() => sizes.clone(),
            _ => self.cut(&Segments::Count(inputs.len() as u32), filters, "filters", segments_at)?,
        };
        let layer = self.layer(site, LayerKind::Conv)?;
        let linear = Linear { window, partition: Partition::new(inputs, outputs), role: Role::Kernel, bias };
        let node = self.linear(linear, input, [h, w], layer, site.span)?;
        self.after(after, node, layer, site.span)
    }

    /// The segments of a convolution, for which `groups` is another word.
    fn conv_segments(&mut self, attributes: &Attributes) -> Result<(Segments, Span), Reported> {
        let name = match (attributes.span_of("segments"), attributes.span_of("groups")) {
            (Some(segments), Some(groups)) => {
                let error = Diagnostic::error("E0415", "both `segments` and `groups` are given")
                    .at(groups, "means the same")
                    .also(segments, "as this");
                return Err(self.reports.report(error));
            }
            (None, Some(_)) => "groups",
            _ => "segments",
        };
        let segments = attributes.segments(&mut self.reports, name, Segments::Count(1))?;
        Ok((segments, attributes.span_of(name).unwrap_or(attributes.site)))
    }

    /// The spatial part of a separable convolution alone.
    pub fn depthwise(&mut self, attributes: &Attributes, site: &Site<'a>) -> Result<NodeId, Reported> {
        let window = self.window_attributes(attributes, "kernel");
        let multiplier = attributes.count(&mut self.reports, "multiplier", 1..=limits::CHANNELS, 1);
        let segments = attributes.segments(&mut self.reports, "segments", Segments::Full);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let (window, multiplier, segments, bias, after) = (window?, multiplier?, segments?, bias?, after?);
        let (input, shape) = self.input_map(site)?;
        let (window, extent) = self.place_window(&window, input, shape)?;
        let partition = self.spatial_partition(attributes, &segments, shape.c(), multiplier, "channels")?;
        let layer = self.layer(site, LayerKind::DepthwiseConv)?;
        let linear = Linear { window, partition, role: Role::DepthwiseKernel, bias };
        let node = self.linear(linear, input, extent, layer, site.span)?;
        self.after(after, node, layer, site.span)
    }

    /// The partition of a spatial part: each segment yields its inputs times the multiplier.
    fn spatial_partition(
        &mut self,
        attributes: &Attributes,
        segments: &Segments,
        channels: u32,
        multiplier: u32,
        what: &str,
    ) -> Result<Partition, Reported> {
        let inputs =
            self.cut(segments, channels, what, attributes.span_of("segments").unwrap_or(attributes.site))?;
        if u64::from(channels) * u64::from(multiplier) > u64::from(limits::CHANNELS) {
            let message = format!("{channels} channels times the multiplier {multiplier} are too many");
            let span = attributes.span_of("multiplier").unwrap_or(attributes.site);
            return Err(self.reports.report(self.size_limit(Diagnostic::error("E0602", message), span)));
        }
        let outputs = inputs.iter().map(|i| i * multiplier).collect();
        Ok(Partition::new(inputs, outputs))
    }

    /// A separable convolution: a spatial part in segments and a pointwise part, in either order. The bias
    /// belongs to the second.
    pub fn sepconv(&mut self, attributes: &Attributes, site: &Site<'a>) -> Result<NodeId, Reported> {
        let filters = self.filters(attributes, "filters");
        let window = self.window_attributes(attributes, "kernel");
        let multiplier = attributes.count(&mut self.reports, "multiplier", 1..=limits::CHANNELS, 1);
        let segments = attributes.segments(&mut self.reports, "segments", Segments::Full);
        let order = attributes.order(&mut self.reports);
        let between = attributes.activation_between(&mut self.reports);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let (filters, window, multiplier, segments) = (filters?, window?, multiplier?, segments?);
        let (order, between, bias, after) = (order?, between?, bias?, after?);
        self.check_multiplier(attributes, order, multiplier)?;
        let (input, shape) = self.input_map(site)?;
        let (window, extent) = self.place_window(&window, input, shape)?;
        let (cut, what) = match order {
            Order::SpatialFirst => (shape.c(), "channels"),
            Order::PointwiseFirst => (filters, "filters"),
        };
        let partition = self.spatial_partition(attributes, &segments, cut, multiplier, what)?;
        let point = match order {
            Order::SpatialFirst => Partition::whole(partition.oc(), filters),
            Order::PointwiseFirst => Partition::whole(shape.c(), filters),
        };
        let bias_of = |part: Order| bias && order != part;
        let spatial =
            Linear { window, partition, role: Role::DepthwiseKernel, bias: bias_of(Order::SpatialFirst) };
        let bias = bias_of(Order::PointwiseFirst);
        let pointwise = Linear { window: Window::POINT, partition: point, role: Role::PointwiseKernel, bias };
        let (first, second, first_extent) = match order {
            Order::SpatialFirst => (spatial, pointwise, extent),
            Order::PointwiseFirst => (pointwise, spatial, [shape.h(), shape.w()]),
        };
        let layer = self.layer(site, LayerKind::SepConv)?;
        let node = self.linear(first, input, first_extent, layer, site.span)?;
        let node = self.activate(between, node, layer, site.span)?;
        let node = self.linear(second, node, extent, layer, site.span)?;
        self.after(after, node, layer, site.span)
    }

    fn check_multiplier(
        &mut self,
        attributes: &Attributes,
        order: Order,
        multiplier: u32,
    ) -> Result<(), Reported> {
        if order == Order::SpatialFirst || multiplier == 1 {
            return Ok(());
        }
        let error = Diagnostic::error("E0416", "a multiplier needs the spatial part first")
            .at(attributes.span_of("multiplier").unwrap_or(attributes.site), format!("this is {multiplier}"))
            .note("with the pointwise part first the spatial part yields the filters, one for each of its inputs")
            .suggest("raise `filters` instead");
        Err(self.reports.report(error))
    }

    /// A fully connected layer on a vector.
    pub fn dense(&mut self, attributes: &Attributes, site: &Site<'a>) -> Result<NodeId, Reported> {
        let units = attributes.count(&mut self.reports, "units", 1..=u32::MAX >> 1, 1);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let (units, bias, after) = (units?, bias?, after?);
        let input = self.current_node(site.span)?;
        let shape = self.shape(input)?;
        let Shape::Vector { n } = shape else {
            let error = Diagnostic::error("E0507", format!("`dense` reads a vector, not a map of {shape}"))
                .at(site.span, format!("reads {shape}"))
                .suggest("put `globalavgpool` or `flatten` before it");
            return Err(self.reports.report(self.with_source(error, input)));
        };
        let layer = self.layer(site, LayerKind::Dense)?;
        let kernel = self.weight(layer, Role::Kernel, vec![n, units], n, site.span)?;
        let bias = self.bias(bias, units, layer, site.span)?;
        let part = LinearPart { outputs: units, kernel, bias, norms: Vec::new() };
        let node = self.push(Op::Dense(part), vec![input], Shape::vector(units), layer, site.span)?;
        self.after(after, node, layer, site.span)
    }

    fn filters(&mut self, attributes: &Attributes, name: &'static str) -> Result<u32, Reported> {
        attributes.count(&mut self.reports, name, 1..=limits::CHANNELS, 1)
    }

    /// The window of a layer; `name` is its kernel.
    pub fn window_attributes(
        &mut self,
        attributes: &Attributes,
        name: &'static str,
    ) -> Result<WindowAttributes, Reported> {
        let kernel = attributes.pair(&mut self.reports, name, limits::WINDOW, POINT);
        // Pools move by their own size unless they are told otherwise.
        let stride = if name == "window" { kernel.unwrap_or(POINT) } else { POINT };
        let strides = attributes.pair(&mut self.reports, "strides", limits::STRIDE, stride);
        let dilation = attributes.pair(&mut self.reports, "dilation", limits::WINDOW, POINT);
        let padding = attributes.padding(&mut self.reports);
        let span = attributes.span_of(name).unwrap_or(attributes.site);
        Ok(WindowAttributes {
            kernel: kernel?,
            strides: strides?,
            dilation: dilation?,
            padding: padding?,
            span,
        })
    }

    /// The window over a map of that shape, and the rows and columns of the result.
    pub fn place_window(
        &mut self,
        wanted: &WindowAttributes,
        input: NodeId,
        shape: Shape,
    ) -> Result<(Window, [u32; 2]), Reported> {
        let WindowAttributes { kernel, strides, dilation, .. } = *wanted;
        let mut window = Window { kernel, strides, dilation, pads: Pads::default() };
        let extent = window.extent();
        let sizes = [shape.h(), shape.w()];
        let [top, bottom, left, right] = match wanted.padding {
            Padding::Explicit(pads) => pads,
            Padding::Same => {
                let [v, h] = [0, 1].map(|axis| same_pads(sizes[axis], extent[axis], strides[axis]));
                [v.0, v.1, h.0, h.1]
            }
        };
        window.pads = Pads { top, bottom, left, right };
        self.check_pads(&window, wanted.span)?;
        match (window.output(0, sizes[0]), window.output(1, sizes[1])) {
            (Some(h), Some(w)) => Ok((window, [h, w])),
            _ => Err(self.window_too_large(&window, input, shape, wanted.span)),
        }
    }

    fn check_pads(&mut self, window: &Window, span: Span) -> Result<(), Reported> {
        let extent = window.extent();
        for axis in [0, 1] {
            let (before, after) = window.pads_of(axis);
            let largest = before.max(after);
            if largest >= extent[axis] {
                let error = Diagnostic::error(
                    "E0509",
                    format!("a padding of {largest} for a window that spans {} pixels", extent[axis]),
                )
                .at(span, "a window in the padding alone would see nothing")
                .suggest(format!("pad by {} or less, or write `padding: same`", extent[axis] - 1));
                return Err(self.reports.report(error));
            }
        }
        Ok(())
    }

    fn window_too_large(&mut self, window: &Window, input: NodeId, shape: Shape, span: Span) -> Reported {
        let [rows, columns] = window.extent();
        let (h, w) = (shape.h(), shape.w());
        let pads = window.pads;
        let padded = match pads == Pads::default() {
            true => String::new(),
            false => format!(", with padding {}x{}", h + pads.top + pads.bottom, w + pads.left + pads.right),
        };
        let error = Diagnostic::error(
            "E0506",
            format!("a window of {rows}x{columns} does not fit into a map of {h}x{w}{padded}"),
        )
        .at(span, format!("larger than its input of {shape}"))
        .suggest(format!(
            "use a window of at most {}x{}, or `padding: same`",
            rows.min(h),
            columns.min(w)
        ));
        self.reports.report(self.with_source(error, input))
    }

    /// Sizes of channels cut in segments.
    fn cut(
        &mut self,
        segments: &Segments,
        channels: u32,
        what: &str,
        span: Span,
    ) -> Result<Vec<u32>, Reported> {
        let count = match segments {
            Segments::Full => channels,
            Segments::Count(n) => *n,
            Segments::Sizes(sizes) => u32::try_from(sizes.len()).unwrap_or(u32::MAX),
        };
        if count <= channels {
            self.count_segments(count, span)?;
        }
        let cut = match segments {
            Segments::Sizes(sizes) => Partition::check_sizes(sizes, channels).map(|()| sizes.clone()),
            _ => Partition::even(channels, count),
        };
        cut.map_err(|error| self.bad_cut(&error, count, channels, what, span))
    }

    fn count_segments(&mut self, count: u32, span: Span) -> Result<(), Reported> {
        self.segments += u64::from(count);
        if self.segments <= limits::SEGMENTS {
            return Ok(());
        }
        self.stopped = true;
        let message = format!("the convolutions have more than {} segments in all", limits::SEGMENTS);
        Err(self.reports.report(Diagnostic::error("E0606", message).at(span, "reached here")))
    }

    fn bad_cut(
        &mut self,
        error: &PartitionError,
        count: u32,
        channels: u32,
        what: &str,
        span: Span,
    ) -> Reported {
        let diagnostic = match error {
            PartitionError::TooMany { .. } => Diagnostic::error(
                "E0501",
                format!("{count} segments of {channels} {what}: there can be at most {channels}"),
            )
            .at(span, format!("more than {channels}"))
            .suggest(match what {
                "channels" => {
                    format!("write `full` for a segment for each channel, or `min({count}, channels)`")
                }
                _ => format!("use {channels} segments or fewer, or more filters"),
            }),
            PartitionError::Sum { sum, .. } => Diagnostic::error(
                "E0502",
                format!("the sizes of the segments sum up to {sum}, not to {channels} {what}"),
            )
            .at(span, format!("sums up to {sum}"))
            .suggest(format!(
                "give the count alone: {count} segments are as even as {channels} {what} allow"
            )),
            other => Diagnostic::error("E0510", other.to_string()).at(span, "not a cut"),
        };
        self.reports.report(diagnostic)
    }

    /// The map that a layer reads.
    pub fn input_map(&mut self, site: &Site<'a>) -> Result<(NodeId, Shape), Reported> {
        let input = self.current_node(site.span)?;
        let shape = self.shape(input)?;
        if matches!(shape, Shape::Map { .. }) {
            return Ok((input, shape));
        }
        let message = format!("`{}` reads a map, not a vector of {shape} elements", site.word);
        let error = Diagnostic::error("E0508", message).at(site.span, "reads a vector");
        Err(self.reports.report(self.with_source(error, input)))
    }

    /// Points at the layer that yields what an erroneous layer reads.
    fn with_source(&self, error: Diagnostic, input: NodeId) -> Diagnostic {
        match self.layer_of(input) {
            Some(layer) => error.also(layer.span, "yielded here"),
            None => error,
        }
    }

    /// Adds the node and the weights of a convolution.
    fn linear(
        &mut self,
        linear: Linear,
        input: NodeId,
        [h, w]: [u32; 2],
        layer: LayerId,
        span: Span,
    ) -> Result<NodeId, Reported> {
        let Linear { window, partition, role, bias } = linear;
        let shape = kernel_shape(&window, &partition, role);
        let widest = partition.inputs().iter().copied().max().unwrap_or(1);
        let fan_in = u32::try_from(window.taps() * u64::from(widest)).unwrap_or(u32::MAX);
        let kernel = self.weight(layer, role, shape, fan_in, span)?;
        let outputs = partition.oc();
        let bias = self.bias(bias, outputs, layer, span)?;
        let part = LinearPart { outputs, kernel, bias, norms: Vec::new() };
        let op = Op::Conv(Conv { window, partition, parts: vec![part] });
        self.push(op, vec![input], Shape::map(h, w, outputs), layer, span)
    }

    fn bias(
        &mut self,
        wanted: bool,
        outputs: u32,
        layer: LayerId,
        span: Span,
    ) -> Result<Option<WeightId>, Reported> {
        wanted.then(|| self.weight(layer, Role::Bias, vec![outputs], 1, span)).transpose()
    }

    /// Declares a weight of a layer.
    pub fn weight(
        &mut self,
        layer: LayerId,
        role: Role,
        shape: Vec<u32>,
        fan_in: u32,
        span: Span,
    ) -> Result<WeightId, Reported> {
        let elements = shape.iter().try_fold(1_u64, |product, d| product.checked_mul(u64::from(*d)));
        self.weight_elements = self.weight_elements.saturating_add(elements.unwrap_or(u64::MAX));
        if self.weight_elements > limits::WEIGHTS {
            let message = format!("the weights have more than {} elements in all", limits::WEIGHTS);
            let shape = shape.iter().map(u32::to_string).collect::<Vec<_>>().join("x");
            self.stopped = true;
            let error =
                Diagnostic::error("E0603", message).at(span, format!("its {role} of {shape} is too much"));
            return Err(self.reports.report(error));
        }
        let graph = self.graph()?;
        let name = format!("{}/{role}", graph.layer(layer).name);
        Ok(graph.push_weight(Weight { name, shape, role, layer, fan_in }))
    }

    /// Adds what follows a linear node in the same layer.
    fn after(&mut self, after: After, node: NodeId, layer: LayerId, span: Span) -> Result<NodeId, Reported> {
        match after {
            After::Elementwise(activation) => self.activate(activation, node, layer, span),
            After::Softmax => {
                let shape = self.shape(node)?;
                self.push(Op::Softmax, vec![node], shape, layer, span)
            }
        }
    }

    fn activate(
        &mut self,
        activation: Activation,
        node: NodeId,
        layer: LayerId,
        span: Span,
    ) -> Result<NodeId, Reported> {
        if activation == Activation::Linear {
            return Ok(node);
        }
        let shape = self.shape(node)?;
        self.push(Op::Activation(activation), vec![node], shape, layer, span)
    }
}

/// The shape of a kernel: Keras' for segments of one size, flat otherwise (see [`LinearPart`]).
fn kernel_shape(window: &Window, partition: &Partition, role: Role) -> Vec<u32> {
    let [kh, kw] = window.kernel;
    if !partition.is_even() {
        let elements = window.taps().saturating_mul(partition.products());
        return vec![u32::try_from(elements).unwrap_or(u32::MAX)];
    }
    let (inputs, outputs) = (partition.inputs()[0], partition.oc());
    if role == Role::DepthwiseKernel && inputs == 1 {
        return vec![kh, kw, partition.ic(), outputs / partition.ic()];
    }
    vec![kh, kw, inputs, outputs]
}

/// TensorFlow's `same`: the output has `ceil(size / stride)` pixels; an odd row or column of padding goes
/// after.
fn same_pads(size: u32, extent: u32, stride: u32) -> (u32, u32) {
    let covered = (u64::from(size.div_ceil(stride)) - 1) * u64::from(stride) + u64::from(extent);
    // Less than `extent`, since the last window starts within the map.
    let total = covered.saturating_sub(u64::from(size)) as u32;
    (total / 2, total - total / 2)
}
