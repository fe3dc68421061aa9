//! Removes dropout, the identity of a network that is run.

use super::{Report, elide};
use crate::graph::{Graph, Op};

pub(super) fn run(graph: &mut Graph, report: &mut Report) {
    for id in graph.order().to_vec() {
        if matches!(graph.node(id).op, Op::Dropout { .. }) {
            elide(graph, report, id);
        }
    }
}
