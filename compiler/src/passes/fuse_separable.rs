//! Fuses a spatial convolution and the pointwise one behind it, so that the intermediate never
//! goes to memory.
//!
//! Any segmentation of the spatial part will do: the whole spectrum of the paper's section 1.2
//! takes the same path.

use super::{Report, shared};
use crate::graph::{Activation, Conv, Graph, Node, NodeId, Op, Post, Separable};

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        let Some((spatial, producer)) = candidates(graph, id) else { continue };
        match between(graph, producer, id) {
            Err(reason) => report.refuse(graph, id, reason),
            Ok(between) => {
                let Conv { window, partition, .. } = spatial;
                let what = format!(
                    "behind convolution {producer} ({window} segments {partition}), {between} between"
                );
                report.apply(graph, id, what, |graph| fuse(graph, producer, id, between));
            }
        }
    }
}

/// The spatial convolution that a 1x1 convolution reads, and its node.
fn candidates(graph: &Graph, id: NodeId) -> Option<(&Conv, NodeId)> {
    let Op::Conv(pointwise) = &graph.node(id).op else { return None };
    let producer = graph.node(id).inputs[0];
    let Op::Conv(spatial) = &graph.node(producer).op else { return None };
    let is_spatial = spatial.window.taps() > 1 || spatial.partition.segments() > 1;
    (pointwise.window.taps() == 1 && is_spatial).then_some((spatial, producer))
}

/// The activation between the two parts, or why they cannot be fused.
fn between(graph: &Graph, producer: NodeId, id: NodeId) -> Result<Activation, String> {
    let Node { op: Op::Conv(pointwise), fusion, .. } = graph.node(id) else {
        return Err(format!("{id} is no convolution"));
    };
    if let Some(reason) = shared(graph, producer, id) {
        return Err(reason);
    }
    let segments = pointwise.partition.segments();
    if segments > 1 {
        return Err(format!("the pointwise part has {segments} segments, not 1"));
    }
    if !pointwise.window.is_point() {
        return Err(format!("the pointwise part has the window {}, not 1x1", pointwise.window));
    }
    let epilogue = &graph.node(producer).fusion.post;
    match epilogue[..] {
        _ if epilogue.contains(&Post::Add) => Err(format!("{producer} adds a value in its epilogue")),
        [] => Ok(fusion.load),
        [Post::Activation(activation)] if fusion.load == Activation::Linear => Ok(activation),
        _ => Err(format!("between {producer} and {id} there is more than one activation")),
    }
}

fn fuse(graph: &mut Graph, producer: NodeId, id: NodeId, between: Activation) {
    let first = graph.node(producer).clone();
    let last = graph.node_mut(id);
    if let (Op::Conv(spatial), Op::Conv(pointwise)) = (first.op, last.op.clone()) {
        last.op = Op::Separable(Box::new(Separable { spatial, between, pointwise }));
        last.inputs[0] = first.inputs[0];
        last.fusion.load = first.fusion.load;
        graph.remove(producer);
    }
}
