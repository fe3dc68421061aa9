//! Layers that are one linear map.

use xcc_compiler::graph::{Conv, Graph, LayerId, LinearPart, Op, Role, WeightId};

/// A layer that is one linear map of a window: a convolution, with or without a pointwise one
/// before or after.
#[derive(Clone, Copy)]
pub struct Linear<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// The part over windows; of two pointwise ones the one with its own kernel.
    pub spatial: &'a Conv,
    /// The pointwise part.
    pub pointwise: Option<&'a Conv>,
    /// Whether the pointwise part comes first.
    pub is_pointwise_first: bool,
    /// Whether something that is not linear lies between the parts.
    is_bent: bool,
    /// What is added at the end.
    pub bias: Option<WeightId>,
}

impl<'a> Linear<'a> {
    /// The map of a layer of a graph as it was elaborated; `None` for layers that are none.
    pub fn of(graph: &'a Graph, layer: LayerId) -> Option<Self> {
        let nodes = graph.order().iter().map(|&id| graph.node(id)).filter(|node| node.layer == layer);
        let ops: Vec<&Op> = nodes.map(|node| &node.op).collect();
        let convs: Vec<(usize, &Conv)> =
            ops.iter().enumerate().filter_map(|(n, op)| Some((n, conv(op)?))).collect();
        let name = graph.layer(layer).name.as_str();
        let linear = |spatial, pointwise, is_pointwise_first, is_bent| Self {
            name,
            spatial,
            pointwise,
            is_pointwise_first,
            is_bent,
            bias: convs.last().and_then(|(_, conv)| conv.parts.first()?.bias),
        };
        match convs[..] {
            [(_, spatial)] => Some(linear(spatial, None, false, false)),
            [(first, a), (second, b)] => {
                let is_pointwise_first = is_pointwise_kernel(graph, a);
                let (spatial, pointwise) = if is_pointwise_first { (b, a) } else { (a, b) };
                Some(linear(spatial, Some(pointwise), is_pointwise_first, second > first + 1))
            }
            _ => None,
        }
    }

    /// Input and output channels.
    pub fn channels(&self) -> (u32, u32) {
        match (self.pointwise, self.is_pointwise_first) {
            (None, _) => (self.spatial.partition.ic(), self.spatial.partition.oc()),
            (Some(pointwise), true) => (pointwise.partition.ic(), self.spatial.partition.oc()),
            (Some(pointwise), false) => (self.spatial.partition.ic(), pointwise.partition.oc()),
        }
    }

    /// Whether it has other segments or other parts than another one.
    pub fn is_cut_otherwise(&self, other: &Self) -> bool {
        self.spatial.partition != other.spatial.partition
            || self.pointwise.is_some() != other.pointwise.is_some()
            || self.is_pointwise_first != other.is_pointwise_first
    }

    /// What keeps it from being made of another one.
    pub fn check(&self, from: &Self) -> Result<(), String> {
        if self.spatial.window != from.spatial.window {
            let [to, from] = [self, from].map(|linear| linear.spatial.window);
            return Err(format!("its window is {to} here and {from} in the weights"));
        }
        if self.channels() != from.channels() {
            let [(ic, oc), (from_ic, from_oc)] = [self, from].map(Self::channels);
            return Err(format!(
                "it has {ic} inputs and {oc} outputs here, {from_ic} and {from_oc} in the weights"
            ));
        }
        if self.is_bent || from.is_bent {
            let reason = "an activation lies between its parts, so they are no linear map together";
            return Err(format!(
                "{reason}; only `activation_between: none` can be carried to other segments"
            ));
        }
        Ok(())
    }
}

fn conv(op: &Op) -> Option<&Conv> {
    match op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}

fn is_pointwise_kernel(graph: &Graph, conv: &Conv) -> bool {
    let role = |part: &LinearPart| graph.weight(part.kernel).role;
    conv.parts.first().map(role) == Some(Role::PointwiseKernel)
}
