//! Time of a compiled network by layer.

use std::collections::HashSet;

use serde::Serialize;
use xcc_compiler::cost::macs;
use xcc_compiler::graph::{Graph, NodeId};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_runtime::Model;

use super::samples::quantile;
use crate::cli::Failure;

/// Runs whose median counts for each step.
const RUNS: usize = 9;

/// What a layer took.
#[derive(Clone, Debug, Serialize)]
pub struct LayerTime {
    /// The layer whose weights are read, where passes fused several the first of those; else the layer
    /// computed.
    pub layer: String,
    /// Milliseconds of a run.
    pub ms: f64,
    /// Share of all layers' time.
    pub share: f64,
    /// 10^9 operations in a second, a multiply-add being two; null for layers without any.
    pub gflops: Option<f64>,
}

/// Times the steps of several runs and sums them up by layer, in the order of computation.
pub fn measure(model: &Model, elaborated: &Graph, input: &[f32]) -> Result<Vec<LayerTime>, Failure> {
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        runs.push(model.run_timed(input).map_err(Failure::input)?);
    }
    let mut graph = elaborated.clone();
    optimize(&mut graph, &PassOptions::default());
    let program = model.program();
    let mut layers: Vec<(String, f64, HashSet<NodeId>)> = Vec::new();
    for (number, step) in program.steps.iter().enumerate() {
        let times: Vec<f64> = runs.iter().map(|run| run[number].as_secs_f64() * 1e3).collect();
        let name = layer_name(&graph, step.node);
        match layers.last_mut().filter(|(layer, ..)| layer == name) {
            Some((_, ms, nodes)) => {
                *ms += quantile(&times, 0.5);
                nodes.insert(step.node);
            }
            None => layers.push((name.to_owned(), quantile(&times, 0.5), HashSet::from([step.node]))),
        }
    }
    let total: f64 = layers.iter().map(|(_, ms, _)| ms).sum();
    let batch = f64::from(program.options.batch);
    let layer = |(layer, ms, nodes): (String, f64, HashSet<NodeId>)| {
        let macs: u64 = nodes.iter().map(|&node| macs(&graph, node).total()).sum();
        let gflops = 2.0 * macs as f64 * batch / ms.max(1e-6) / 1e6;
        LayerTime { layer, ms, share: ms / total.max(1e-9), gflops: (macs > 0).then_some(gflops) }
    };
    Ok(layers.into_iter().map(layer).collect())
}

/// What to call the step of a node: fused nodes are named after their last layer, such as an activation,
/// which says little about where time goes.
fn layer_name(graph: &Graph, id: NodeId) -> &str {
    let node = graph.node(id);
    let first = node.op.weights().first().map(|&weight| graph.weight(weight).layer);
    &graph.layer(first.unwrap_or(node.layer)).name
}
