//! Convolutions in every segmentation, and dense layers: shapes, nodes and weights.

use super::attributes::{After, Attributes, Order, Segments};
use super::names::{Made, Site};
use super::outline::{Extent, Outline};
use super::report::Reported;
use super::{Elaborator, Operand, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{
    Activation, Conv, LayerId, LayerKind, LinearPart, NodeId, Op, Partition, Role, Shape, Weight, WeightId,
    Window,
};

/// A convolution that is about to become a node.
struct Linear {
    window: Window,
    partition: Partition,
    role: Role,
    bias: bool,
}

/// A separable convolution that is about to become nodes. `spatial.bias` is that of the whole.
struct Separable {
    spatial: Linear,
    order: Order,
    between: Activation,
    after: After,
}

impl<'a> Elaborator<'a> {
    /// A convolution; with segments both its inputs and its filters are cut.
    pub fn conv(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
        let filters = self.filters(attributes, "filters");
        let window = self.window_attributes(attributes, "kernel");
        let segments = self.conv_segments(attributes);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let input = self.input_map(site);
        let placed = self.place_window(&window, &input);
        let partition = segments.and_then(|(segments, span)| {
            self.conv_partition(&segments, [input.outline.channels, filters], span)
        });
        let outline = Outline::map(placed.sides, filters);
        self.attempt(site, outline, |this| {
            let (window, partition, bias) = (placed.window?, partition?, bias?);
            let (after, node, sides) = (after?, input.node?, this.known_sides(&outline)?);
            let layer = this.layer(site, LayerKind::Conv)?;
            let linear = Linear { window, partition, role: Role::Kernel, bias };
            let node = this.linear(linear, node, sides, layer, site.span)?;
            this.after(after, node, layer, site.span)
        })
    }

    /// The spatial part of a separable convolution alone.
    pub fn depthwise(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
        let window = self.window_attributes(attributes, "kernel");
        let multiplier = attributes.count(&mut self.reports, "multiplier", 1..=limits::CHANNELS, 1);
        let segments = attributes.segments(&mut self.reports, "segments", Segments::Full);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let input = self.input_map(site);
        let placed = self.place_window(&window, &input);
        let channels = input.outline.channels;
        let partition = self.spatial_partition(attributes, segments, channels, multiplier, "channels");
        let outputs = channels.times(multiplier.map_or(Extent::UNKNOWN, Extent::exact));
        let outline = Outline::map(placed.sides, outputs);
        self.attempt(site, outline, |this| {
            let (window, partition, bias) = (placed.window?, partition?, bias?);
            let (after, node, sides) = (after?, input.node?, this.known_sides(&outline)?);
            let layer = this.layer(site, LayerKind::DepthwiseConv)?;
            let linear = Linear { window, partition, role: Role::DepthwiseKernel, bias };
            let node = this.linear(linear, node, sides, layer, site.span)?;
            this.after(after, node, layer, site.span)
        })
    }

    /// A separable convolution: a spatial part in segments and a pointwise part, in either order.
    /// The bias belongs to the second.
    pub fn sepconv(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
        let filters = self.filters(attributes, "filters");
        let window = self.window_attributes(attributes, "kernel");
        let multiplier = attributes.count(&mut self.reports, "multiplier", 1..=limits::CHANNELS, 1);
        let segments = attributes.segments(&mut self.reports, "segments", Segments::Full);
        let order = attributes.order(&mut self.reports);
        let between = attributes.activation_between(&mut self.reports);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let multiplier = self.check_multiplier(attributes, order, multiplier);
        let input = self.input_map(site);
        let placed = self.place_window(&window, &input);
        let partition = order.and_then(|order| {
            let (cut, what) = match order {
                Order::SpatialFirst => (input.outline.channels, "channels"),
                Order::PointwiseFirst => (filters, "filters"),
            };
            self.spatial_partition(attributes, segments, cut, multiplier, what)
        });
        let outline = Outline::map(placed.sides, filters);
        self.attempt(site, outline, |this| {
            let (window, partition, bias) = (placed.window?, partition?, bias?);
            let spatial = Linear { window, partition, role: Role::DepthwiseKernel, bias };
            let parts = Separable { spatial, order: order?, between: between?, after: after? };
            this.separable(parts, input.node?, &outline, site)
        })
    }

    /// Adds the parts of a separable convolution.
    fn separable(
        &mut self,
        parts: Separable,
        input: NodeId,
        outline: &Outline,
        site: &Site<'a>,
    ) -> Result<NodeId, Reported> {
        let Separable { mut spatial, order, between, after } = parts;
        let (from, to) = (self.shape(input)?, self.known(outline)?);
        let inputs = match order {
            Order::SpatialFirst => spatial.partition.oc(),
            Order::PointwiseFirst => from.c(),
        };
        let partition = Partition::whole(inputs, to.c());
        let mut pointwise =
            Linear { window: Window::POINT, partition, role: Role::PointwiseKernel, bias: spatial.bias };
        let extent = [to.h(), to.w()];
        let (first, second, first_extent) = match order {
            Order::SpatialFirst => {
                spatial.bias = false;
                (spatial, pointwise, extent)
            }
            Order::PointwiseFirst => {
                pointwise.bias = false;
                (pointwise, spatial, [from.h(), from.w()])
            }
        };
        let layer = self.layer(site, LayerKind::SepConv)?;
        let node = self.linear(first, input, first_extent, layer, site.span)?;
        let node = self.activate(between, node, layer, site.span)?;
        let node = self.linear(second, node, extent, layer, site.span)?;
        self.after(after, node, layer, site.span)
    }

    /// The multiplier, if it goes with the order of the parts.
    fn check_multiplier(
        &mut self,
        attributes: &Attributes,
        order: Result<Order, Reported>,
        multiplier: Result<u32, Reported>,
    ) -> Result<u32, Reported> {
        let (order, multiplier) = (order?, multiplier?);
        if order == Order::SpatialFirst || multiplier == 1 {
            return Ok(multiplier);
        }
        let error = Diagnostic::error("E0416", "a multiplier needs the spatial part first")
            .at(attributes.span_of("multiplier").unwrap_or(attributes.site), format!("this is {multiplier}"))
            .note("with the pointwise part first the spatial part yields the filters, one for each of its inputs")
            .suggest("raise `filters` instead");
        Err(self.reports.report(error))
    }

    /// A fully connected layer on a vector.
    pub fn dense(&mut self, attributes: &Attributes, site: &Site<'a>) -> Made {
        let units = attributes.count(&mut self.reports, "units", 1..=u32::MAX >> 1, 1);
        let bias = attributes.boolean(&mut self.reports, "bias", true);
        let after = attributes.activation(&mut self.reports);
        let input = self.input_vector(site);
        let outline = Outline::vector(units.map_or(Extent::UNKNOWN, Extent::exact));
        self.attempt(site, outline, |this| {
            let (outputs, bias, after, node) = (units?, bias?, after?, input.node?);
            let n = this.shape(node)?.c();
            let layer = this.layer(site, LayerKind::Dense)?;
            let kernel = this.weight(layer, Role::Kernel, vec![n, outputs], n, site.span)?;
            let bias = this.bias(bias, outputs, layer, site.span)?;
            let part = LinearPart { outputs, kernel, bias, norms: Vec::new() };
            let shape = Shape::vector(outputs);
            let node = this.push(Op::Dense(part), vec![node], shape, layer, site.span)?;
            this.after(after, node, layer, site.span)
        })
    }

    /// The vector that a layer reads.
    fn input_vector(&mut self, site: &Site<'a>) -> Operand {
        let input = self.operand(site.span);
        if input.outline.is_vector != Some(false) {
            return input;
        }
        let outline = input.outline;
        let error = Diagnostic::error("E0507", format!("`dense` reads a vector, not a map of {outline}"))
            .at(site.span, format!("reads {outline}"))
            .suggest("put `globalavgpool` or `flatten` before it");
        let reported = self.reports.report(input.blame(error));
        Operand { node: Err(reported), ..input }
    }

    fn filters(&mut self, attributes: &Attributes, name: &'static str) -> Extent {
        let filters = attributes.count(&mut self.reports, name, 1..=limits::CHANNELS, 1);
        filters.map_or(Extent::UNKNOWN, Extent::exact)
    }

    /// The map that a layer reads.
    pub fn input_map(&mut self, site: &Site<'a>) -> Operand {
        let input = self.operand(site.span);
        let outline = input.outline.as_map();
        if input.outline.is_vector != Some(true) {
            return Operand { outline, ..input };
        }
        let message = format!("`{}` reads a map, not a vector of {} elements", site.word, input.outline);
        let error = Diagnostic::error("E0508", message).at(site.span, "reads a vector");
        let reported = self.reports.report(input.blame(error));
        Operand { node: Err(reported), outline, ..input }
    }

    /// The shape within an outline, if all of it is known.
    pub fn known(&self, outline: &Outline) -> Result<Shape, Reported> {
        outline.shape().ok_or_else(|| self.reports.reported())
    }

    fn known_sides(&self, outline: &Outline) -> Result<[u32; 2], Reported> {
        self.known(outline).map(|shape| [shape.h(), shape.w()])
    }

    /// The shape of a value.
    pub fn shape(&mut self, node: NodeId) -> Result<Shape, Reported> {
        Ok(self.graph()?.node(node).shape)
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
        if self.weight_elements > limits::WEIGHTS {
            return Err(self.reports.reported());
        }
        let elements = shape.iter().try_fold(1_u64, |product, d| product.checked_mul(u64::from(*d)));
        self.weight_elements = self.weight_elements.saturating_add(elements.unwrap_or(u64::MAX));
        if self.weight_elements > limits::WEIGHTS {
            let message = format!("the weights have more than {} elements in all", limits::WEIGHTS);
            let shape = shape.iter().map(u32::to_string).collect::<Vec<_>>().join("x");
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
