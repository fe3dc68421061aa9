//! Rewrites of the graph that keep every surviving value, bit for bit or to rounding.
//!
//! A pass is a function that walks the nodes in order and makes one row of the [`Report`] for each
//! rewrite that it made, and for each that looked possible and was refused. Passes decide what is
//! computed together; how and in what blocks is for the plan to decide.
//!
//! The order matters:
//! - Unused values go first, so that they do not count as users of others.
//! - Dropout and normalisations go first, since they stand between the operations that the others look for.
//! - Branches merge while activations are nodes of their own: equal ones simply become one node, and what
//!   follows the
//!   concatenation (an activation, a sum) then finds a convolution to go into.
//! - Activations go before sums, so that the epilogue of a sum moves along with it.
//! - Separable convolutions come last: by then the activation between their parts is the epilogue of the
//!   spatial part,
//!   and the sum behind them that of the pointwise part.

mod drop_dropout;
mod drop_unused;
mod flatten_dense;
mod fold_batch_norm;
mod fuse_activation;
mod fuse_residual;
mod fuse_separable;
mod merge_branches;
mod report;

pub use report::{Outcome, Report, Row};

use std::time::Instant;

use crate::graph::verify::{annotate, verify};
use crate::graph::{Graph, NodeId, Op};

/// A rewrite, by name.
pub struct Pass {
    /// As reports call it.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    run: fn(&mut Graph, &mut Report),
}

/// Every pass, in the order in which [`optimize`] runs them.
pub const PASSES: [Pass; 8] = [
    Pass { name: "drop_unused", about: "removes nodes whose values nobody reads", run: drop_unused::run },
    Pass {
        name: "drop_dropout",
        about: "removes dropout, which does nothing when a network is run",
        run: drop_dropout::run,
    },
    Pass {
        name: "fold_batch_norm",
        about: "folds a normalisation into the parameters of the convolution or dense layer before it",
        run: fold_batch_norm::run,
    },
    Pass {
        name: "merge_branches",
        about: "merges parallel 1x1 convolutions into one that feeds a segmented convolution",
        run: merge_branches::run,
    },
    Pass {
        name: "fuse_activation",
        about: "applies an activation where its operand is made or where its result is loaded",
        run: fuse_activation::run,
    },
    Pass {
        name: "fuse_residual",
        about: "adds a shortcut in the epilogue of the operation before the sum",
        run: fuse_residual::run,
    },
    Pass {
        name: "flatten_dense",
        about: "lets a dense layer read a map instead of a flattened copy",
        run: flatten_dense::run,
    },
    Pass {
        name: "fuse_separable",
        about: "fuses a spatial convolution with the pointwise one behind it",
        run: fuse_separable::run,
    },
];

impl Pass {
    /// Runs this pass. A graph that does not verify stays as it is, without a row in the report:
    /// [`plan`](crate::plan::plan) says what is wrong with it.
    ///
    /// # Panics
    ///
    /// In debug builds when the pass leaves a graph that does not verify.
    pub fn apply(&self, graph: &mut Graph, report: &mut Report) {
        if verify(graph).is_ok() {
            self.apply_verified(graph, report);
        }
    }

    fn apply_verified(&self, graph: &mut Graph, report: &mut Report) {
        report.begin(self.name);
        let start = Instant::now();
        (self.run)(graph, report);
        report.end(start.elapsed());
        if cfg!(debug_assertions)
            && let Err(violations) = verify(graph)
        {
            panic!("{} broke the graph:\n{}", self.name, annotate(graph, &violations));
        }
    }
}

/// What [`optimize`] may do.
#[derive(Clone, Debug, Default)]
pub struct PassOptions {
    /// Stop after so many rewrites, to find the one that does harm by bisection; `None` for no
    /// limit.
    pub stop_after: Option<usize>,
}

/// Runs every pass. A graph that does not verify stays as it is, see [`Pass::apply`].
pub fn optimize(graph: &mut Graph, options: &PassOptions) -> Report {
    let mut report = Report::new(options.stop_after);
    if verify(graph).is_ok() {
        PASSES.iter().for_each(|pass| pass.apply_verified(graph, &mut report));
    }
    report
}

/// Why `user` is not the only one to see the value `id`, reading it once.
fn shared(graph: &Graph, id: NodeId, user: NodeId) -> Option<String> {
    if graph.is_output(id) {
        return Some(format!("{id} is an output of the network"));
    }
    let others: Vec<String> = graph.users(id).iter().filter(|&&u| u != user).map(NodeId::to_string).collect();
    if !others.is_empty() {
        return Some(format!("{id} is also read by {}", others.join(", ")));
    }
    let reads = graph.node(user).inputs.iter().filter(|&&input| input == id).count();
    (reads != 1).then(|| format!("{user} reads {id} {reads} times"))
}

/// Lets `last`, whose only operand besides added ones is `producer`, compute what the producer
/// does in place of its own operation, and keep its epilogue. The producer dies.
fn absorb(graph: &mut Graph, producer: NodeId, last: NodeId) {
    let mut node = graph.node(producer).clone();
    let target = graph.node_mut(last);
    node.inputs.extend_from_slice(&target.inputs[1..]);
    node.fusion.post.append(&mut target.fusion.post);
    (target.op, target.inputs, target.fusion) = (node.op, node.inputs, node.fusion);
    graph.remove(producer);
}

/// Removes a node that yields its operand unchanged: its users read the operand, or, where the
/// node's value is an output, the producer takes the node's place.
fn elide(graph: &mut Graph, report: &mut Report, id: NodeId) {
    let operand = graph.node(id).inputs[0];
    if !graph.is_output(id) {
        report.apply(graph, id, format!("users read {operand}"), |graph| {
            graph.replace_uses(id, operand);
            graph.remove(id);
        });
    } else if graph.node(operand).op == Op::Input {
        report.refuse(graph, id, format!("{id} is an output and {operand} the input of the network"));
    } else if let Some(reason) = shared(graph, operand, id) {
        report.refuse(graph, id, format!("{id} is an output, and {reason}"));
    } else {
        report.apply(graph, id, format!("{operand} is computed as {id}"), |graph| absorb(graph, operand, id));
    }
}
