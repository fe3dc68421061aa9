//! Removes nodes that no output depends on.

use super::Report;
use crate::graph::Graph;

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().iter().rev().copied().collect::<Vec<_>>() {
        if id != graph.input && !graph.is_output(id) && graph.users(id).is_empty() {
            report.apply(graph, id, format!("nobody reads {id}"), |graph| graph.remove(id));
        }
    }
}
