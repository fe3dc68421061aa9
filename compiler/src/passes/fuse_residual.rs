//! Moves sums into the epilogue of one of their operands.
//!
//! The operand must be made by a convolution, dense layer or pool for this sum alone. Of several,
//! a convolution or dense layer is taken before a pool: the summand is loaded while multipliers
//! are busy, and a pool is bound by loads. In Xception's entry flow, where a sum joins a pool and
//! a strided 1x1 convolution, this has the pool run right behind the convolution it shrinks, whose
//! large result is dead before the shortcut is computed. Of several convolutions the last one is
//! taken, so that nothing is computed later than before.

use super::{Report, shared};
use crate::graph::{Graph, NodeId, Op, Post};

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        if graph.node(id).op != Op::Add || graph.node(id).fusion.added_inputs() > 0 {
            continue;
        }
        match host(graph, id) {
            Err(reason) => report.refuse(graph, id, reason),
            Ok(host) => {
                let others = others(graph, id, host);
                let names: Vec<String> = others.iter().map(NodeId::to_string).collect();
                let noun = graph.node(host).op.noun();
                let what = format!("adds {} in the epilogue of {noun} {host}", names.join(", "));
                report.apply(graph, id, what, |graph| fuse(graph, host, id, &others));
            }
        }
    }
}

fn others(graph: &Graph, sum: NodeId, host: NodeId) -> Vec<NodeId> {
    graph.node(sum).inputs.iter().copied().filter(|&operand| operand != host).collect()
}

/// The operand whose epilogue is to hold the sum, or why there is none.
fn host(graph: &Graph, sum: NodeId) -> Result<NodeId, String> {
    let operands = &graph.node(sum).inputs;
    let obstacles: Vec<_> = operands.iter().map(|&operand| obstacle(graph, operand, sum)).collect();
    let rank = |id: NodeId| {
        let is_pool = matches!(graph.node(id).op, Op::Pool(_));
        (!is_pool, graph.order().iter().position(|&n| n == id))
    };
    let possible = operands.iter().zip(&obstacles).filter(|(_, obstacle)| obstacle.is_none());
    let best = possible.map(|(&operand, _)| operand).max_by_key(|&operand| rank(operand));
    best.ok_or_else(|| {
        let mut reasons: Vec<String> = obstacles.into_iter().flatten().collect();
        reasons.dedup();
        reasons.join("; ")
    })
}

fn obstacle(graph: &Graph, operand: NodeId, sum: NodeId) -> Option<String> {
    match &graph.node(operand).op {
        Op::Conv(_) | Op::Separable(_) | Op::Dense(_) | Op::Pool(_) => shared(graph, operand, sum),
        op => Some(format!("{} {operand} adds nothing", op.noun())),
    }
}

fn fuse(graph: &mut Graph, host: NodeId, sum: NodeId, others: &[NodeId]) {
    let mut node = graph.node(host).clone();
    let target = graph.node_mut(sum);
    node.inputs.extend(others);
    node.fusion.post.extend(others.iter().map(|_| Post::Add));
    node.fusion.post.append(&mut target.fusion.post);
    (target.op, target.inputs, target.fusion) = (node.op, node.inputs, node.fusion);
    graph.remove(host);
}
