//! Folds normalisations into the convolution or dense layer before them.
//!
//! Scale and shift of each channel are a product with its kernel and a sum with its bias; the
//! products are made when weights are packed. The fused node is the normalisation's, with the
//! producer's operation.

use super::{Report, absorb, shared};
use crate::graph::{BatchNorm, Graph, LinearPart, Node, NodeId, Op};

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        let Op::BatchNorm(norm) = graph.node(id).op.clone() else { continue };
        let producer = graph.node(id).inputs[0];
        match obstacle(graph, producer, id) {
            Some(reason) => report.refuse(graph, id, reason),
            None => {
                let what = format!("into {} {producer}", graph.node(producer).op.noun());
                report.apply(graph, id, what, |graph| fold(graph, producer, id, norm));
            }
        }
    }
}

fn fold(graph: &mut Graph, producer: NodeId, id: NodeId, norm: BatchNorm) {
    absorb(graph, producer, id);
    if let Some(part) = only_part(&mut graph.node_mut(id).op) {
        part.norms.push(norm);
    }
}

/// The parameters of all outputs of a convolution or dense layer.
fn only_part(op: &mut Op) -> Option<&mut LinearPart> {
    match op {
        Op::Dense(part) => Some(part),
        Op::Conv(conv) => match &mut conv.parts[..] {
            [part] => Some(part),
            _ => None,
        },
        _ => None,
    }
}

fn obstacle(graph: &Graph, producer: NodeId, id: NodeId) -> Option<String> {
    let Node { op, fusion, .. } = graph.node(producer);
    match op {
        Op::Conv(conv) if conv.parts.len() > 1 => {
            return Some(format!("{producer} has {} parts with parameters of their own", conv.parts.len()));
        }
        Op::Conv(_) | Op::Dense(_) => {}
        _ => return Some(format!("{} {producer} has no parameters to fold into", op.noun())),
    }
    if !fusion.post.is_empty() {
        return Some(format!("{producer} has an epilogue before the normalisation"));
    }
    shared(graph, producer, id)
}
