//! Builds small graphs layer by layer; shapes are inferred and weights declared as elaboration
//! does.

use xcc_compiler::diagnostic::Span;
use xcc_compiler::graph::{
    Activation, BatchNorm, Conv, Graph, ImageSpec, Layer, LayerId, LayerKind, LinearPart, NodeId, Op, Pads,
    Partition, Pool, PoolKind, Role, Shape, Weight, WeightId, Window, infer_shape,
};

/// A window that keeps the extent where the stride is 1.
pub fn window(kernel: u32, stride: u32, dilation: u32) -> Window {
    let extent = (kernel - 1) * dilation + 1;
    let (before, after) = ((extent - 1) / 2, extent / 2);
    let pads = Pads { top: before, bottom: after, left: before, right: after };
    Window { kernel: [kernel; 2], strides: [stride; 2], dilation: [dilation; 2], pads }
}

/// `inputs` and `outputs` cut into as many segments, as evenly as possible.
pub fn cut(inputs: u32, outputs: u32, segments: u32) -> Partition {
    let sizes = |channels| Partition::even(channels, segments).expect("no more segments than channels");
    Partition::new(sizes(inputs), sizes(outputs))
}

/// A graph under construction.
pub struct Builder {
    pub graph: Graph,
}

impl Builder {
    pub fn new(input: Shape) -> Self {
        let path = vec!["entry".to_owned()];
        let layer = Layer { name: "input".to_owned(), kind: LayerKind::Input, path, span: Span::default() };
        Self { graph: Graph::new("test", ImageSpec::default(), layer, input) }
    }

    pub fn input(&self) -> NodeId {
        self.graph.input
    }

    pub fn shape(&self, id: NodeId) -> Shape {
        self.graph.node(id).shape
    }

    fn layer(&mut self, kind: LayerKind) -> LayerId {
        let n = self.graph.layers.len() as u32;
        let name = format!("{}_{n}", kind.keras_class().to_lowercase());
        let span = Span { start: 10 * n, end: 10 * n + 8 };
        self.graph.push_layer(Layer { name, kind, path: vec!["main".to_owned(), format!("{}", n / 4)], span })
    }

    fn weight(&mut self, layer: LayerId, role: Role, shape: &[u32], fan_in: u32) -> WeightId {
        let name = format!("{}/{role}", self.graph.layer(layer).name);
        self.graph.push_weight(Weight { name, shape: shape.to_vec(), role, layer, fan_in })
    }

    /// Appends an operation of a layer.
    pub fn push(&mut self, op: Op, inputs: &[NodeId], layer: LayerId) -> NodeId {
        let shapes: Vec<Shape> = inputs.iter().map(|&i| self.shape(i)).collect();
        let shape = infer_shape(&op, &shapes).expect("the test asks for a valid operation");
        self.graph.push(op, inputs.to_vec(), shape, layer)
    }

    fn conv_of(
        &mut self,
        layer: LayerId,
        role: Role,
        window: Window,
        partition: Partition,
        bias: bool,
    ) -> Op {
        let [kh, kw] = window.kernel;
        let (ic, oc) = (partition.inputs()[0], partition.oc());
        let shape = match partition.is_even() {
            true if ic == 1 && role == Role::DepthwiseKernel => {
                vec![kh, kw, partition.ic(), partition.outputs()[0]]
            }
            true => vec![kh, kw, ic, oc],
            false => vec![kh * kw * partition.products() as u32],
        };
        let kernel = self.weight(layer, role, &shape, kh * kw * ic);
        let bias = bias.then(|| self.weight(layer, Role::Bias, &[oc], 1));
        let part = LinearPart { outputs: oc, kernel, bias, norms: Vec::new() };
        Op::Conv(Conv { window, partition, parts: vec![part] })
    }

    pub fn conv(&mut self, x: NodeId, window: Window, partition: Partition, bias: bool) -> NodeId {
        let layer = self.layer(LayerKind::Conv);
        let op = self.conv_of(layer, Role::Kernel, window, partition, bias);
        self.push(op, &[x], layer)
    }

    /// A 1x1 convolution with one segment.
    pub fn pointwise(&mut self, x: NodeId, outputs: u32) -> NodeId {
        let ic = self.shape(x).c();
        self.conv(x, Window::POINT, Partition::whole(ic, outputs), false)
    }

    /// A separable convolution: spatial part in segments, activation between, pointwise part.
    pub fn separable(
        &mut self,
        x: NodeId,
        window: Window,
        partition: Partition,
        between: Activation,
        outputs: u32,
    ) -> NodeId {
        let layer = self.layer(LayerKind::SepConv);
        let channels = partition.oc();
        let spatial = self.conv_of(layer, Role::DepthwiseKernel, window, partition, false);
        let mut value = self.push(spatial, &[x], layer);
        if between != Activation::Linear {
            value = self.push(Op::Activation(between), &[value], layer);
        }
        let whole = Partition::whole(channels, outputs);
        let pointwise = self.conv_of(layer, Role::PointwiseKernel, Window::POINT, whole, true);
        self.push(pointwise, &[value], layer)
    }

    pub fn norm(&mut self, x: NodeId) -> NodeId {
        let layer = self.layer(LayerKind::BatchNorm);
        let channels = [self.shape(x).c()];
        let mut vector = |role| self.weight(layer, role, &channels, 1);
        let (gamma, beta) = (Some(vector(Role::Gamma)), Some(vector(Role::Beta)));
        let (mean, variance) = (vector(Role::MovingMean), vector(Role::MovingVariance));
        self.push(Op::BatchNorm(BatchNorm { epsilon: 1e-3, gamma, beta, mean, variance }), &[x], layer)
    }

    pub fn activation(&mut self, x: NodeId, activation: Activation) -> NodeId {
        self.simple(LayerKind::Activation, Op::Activation(activation), &[x])
    }

    pub fn pool(&mut self, x: NodeId, kind: PoolKind, window: Window) -> NodeId {
        let layer = if kind == PoolKind::Max { LayerKind::MaxPool } else { LayerKind::AveragePool };
        self.simple(layer, Op::Pool(Pool { kind, window }), &[x])
    }

    pub fn global_pool(&mut self, x: NodeId, kind: PoolKind) -> NodeId {
        self.simple(LayerKind::GlobalAveragePool, Op::GlobalPool(kind), &[x])
    }

    pub fn dense(&mut self, x: NodeId, units: u32) -> NodeId {
        let layer = self.layer(LayerKind::Dense);
        let inputs = self.shape(x).c();
        let kernel = self.weight(layer, Role::Kernel, &[inputs, units], inputs);
        let bias = Some(self.weight(layer, Role::Bias, &[units], 1));
        self.push(Op::Dense(LinearPart { outputs: units, kernel, bias, norms: Vec::new() }), &[x], layer)
    }

    pub fn add(&mut self, summands: &[NodeId]) -> NodeId {
        self.simple(LayerKind::Add, Op::Add, summands)
    }

    pub fn concat(&mut self, operands: &[NodeId]) -> NodeId {
        self.simple(LayerKind::Concat, Op::Concat, operands)
    }

    pub fn dropout(&mut self, x: NodeId, rate: f64) -> NodeId {
        self.simple(LayerKind::Dropout, Op::Dropout { rate }, &[x])
    }

    pub fn flatten(&mut self, x: NodeId) -> NodeId {
        self.simple(LayerKind::Flatten, Op::Flatten, &[x])
    }

    pub fn softmax(&mut self, x: NodeId) -> NodeId {
        self.simple(LayerKind::Softmax, Op::Softmax, &[x])
    }

    fn simple(&mut self, kind: LayerKind, op: Op, inputs: &[NodeId]) -> NodeId {
        let layer = self.layer(kind);
        self.push(op, inputs, layer)
    }

    /// The graph with the given outputs.
    pub fn finish(mut self, outputs: &[NodeId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }
}
