//! Lets dense layers read maps: the memory order of a compact map is that of its flattened copy.

use super::Report;
use crate::graph::{Graph, NodeId, Op};

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        let operand = graph.node(id).inputs.first().copied();
        let (Op::Dense(_), Some(flat)) = (&graph.node(id).op, operand) else { continue };
        if graph.node(flat).op == Op::Flatten {
            let map = graph.node(flat).inputs[0];
            let what = format!("reads {map} of shape {}", graph.node(map).shape);
            report.apply(graph, id, what, |graph| read_map(graph, id, flat, map));
        }
    }
}

/// The flattened copy stays where it is an output or has other users.
fn read_map(graph: &mut Graph, dense: NodeId, flat: NodeId, map: NodeId) {
    graph.node_mut(dense).inputs[0] = map;
    if graph.users(flat).is_empty() && !graph.is_output(flat) {
        graph.remove(flat);
    }
}
