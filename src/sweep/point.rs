//! One point of a sweep: its network, its plan, and what it costs before it runs.

use std::collections::HashMap;

use xcc_compiler::cost::{LayerSummary, Totals, summarize};
use xcc_compiler::diagnostic::Diagnostic;
use xcc_compiler::elaborate;
use xcc_compiler::graph::{Conv, Graph, LayerId, Op, Partition};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Program, plan};
use xcc_compiler::target::Target;

use super::results::{Cost, Kernel, Layer, Point, Step, Sweep};
use crate::cli::Setting;
use crate::measure::work::{self, Called, StepWork};

/// Why there is no network at a point, or no plan for it.
#[derive(Debug)]
pub struct Illegal {
    /// The reason in one line.
    pub message: String,
    /// Mistakes that the settings make of the spec.
    pub diagnostics: Vec<Diagnostic>,
}

impl Illegal {
    /// Tells mistakes apart: the same for one of a kind at one place of the spec, whatever the
    /// numbers are.
    pub fn mistake(&self) -> String {
        match self.diagnostics.first() {
            Some(first) => format!("{} {:?}", first.code, first.primary.as_ref().map(|label| label.span)),
            None => self.message.clone(),
        }
    }
}

/// What is known of a point without a run.
pub struct Known {
    /// What it costs.
    pub cost: Cost,
    /// The layers of the spec that have multiply-adds.
    pub layers: Vec<Layer>,
    /// The steps of a run, without times.
    pub steps: Vec<Step>,
}

/// Every parameter that is set at a point.
pub fn settings(sweep: &Sweep, point: &Point) -> Vec<Setting> {
    let pair = |(name, value): (&String, &String)| (name.clone(), value.clone());
    let held = sweep.hold.as_ref().zip(point.held.as_ref());
    let held = held.map(|(hold, held)| (hold.by.clone(), held.value.to_string()));
    sweep.fixed.iter().chain(&point.settings).map(pair).chain(held).collect()
}

/// The network of a point.
pub fn network(sweep: &Sweep, point: &Point) -> Result<Graph, Illegal> {
    let elaborated = elaborate::read(&sweep.spec.source, &settings(sweep, point));
    let errors: Vec<Diagnostic> = elaborated.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    elaborated.graph.ok_or_else(|| Illegal {
        message: errors
            .first()
            .map_or_else(String::new, |error| format!("{}: {}", error.code, error.message)),
        diagnostics: errors,
    })
}

/// How a point's plan is made.
pub fn options(point: &Point) -> Result<PlanOptions, Illegal> {
    let precision = point.precision.parse().map_err(illegal)?;
    Ok(PlanOptions { batch: point.batch, threads: point.threads, keep_all: false, precision })
}

/// What is known of a point without a run.
pub fn know(sweep: &Sweep, point: &Point, target: Target) -> Result<Known, Illegal> {
    let graph = network(sweep, point)?;
    let mut fused = graph.clone();
    optimize(&mut fused, &PassOptions::default());
    let program = plan(&fused, target, options(point)?).map_err(illegal)?;
    let summary = summarize(&graph);
    let rows = summary.flows.iter().flat_map(|flow| &flow.layers);
    let convolutions = convolutions(&graph);
    let layers = rows.filter(|row| row.spatial_macs + row.pointwise_macs > 0);
    let work = work::of_steps(&program, &fused);
    let moved = work.iter().map(|work| work.bytes).sum();
    Ok(Known {
        cost: cost(&summary.totals, &fused, &program, moved),
        steps: work.into_iter().map(step).collect(),
        layers: layers.map(|row| layer(row, &graph, &convolutions)).collect(),
    })
}

/// A step without times.
pub fn step(work: StepWork) -> Step {
    let kernel = |called: &Called| Kernel {
        name: called.name.clone(),
        calls: called.calls,
        instructions: called.executed,
    };
    Step {
        layer: work.layer,
        class: work.class.to_owned(),
        macs: work.macs,
        tile_macs: Some(work.tile_macs),
        saved_macs: work.saved_macs,
        bytes: work.bytes,
        weight_bytes: work.weight_bytes,
        samples_ms: Vec::new(),
        ms: 0.0,
        gflops: None,
        bound_ms: None,
        bound: None,
        kernels: work.kernels.iter().map(kernel).collect(),
    }
}

fn illegal(error: impl std::fmt::Display) -> Illegal {
    Illegal { message: error.to_string(), diagnostics: Vec::new() }
}

fn cost(totals: &Totals, fused: &Graph, program: &Program, moved: u64) -> Cost {
    let batch = u64::from(program.options.batch);
    let results: u64 = fused.order().iter().map(|&id| fused.node(id).shape.elements() * 4).sum();
    let arena = program.memory_bytes();
    Cost {
        parameters: totals.parameters,
        spatial_macs: totals.spatial_macs,
        pointwise_macs: totals.pointwise_macs,
        macs: totals.macs,
        weight_bytes: totals.weight_bytes,
        activation_bytes: totals.activation_bytes.saturating_mul(batch),
        fused_activation_bytes: results.saturating_mul(batch),
        moved_bytes: moved,
        intensity: 2.0 * totals.macs as f64 * batch as f64 / moved.max(1) as f64,
        packed_bytes: program.constant_bytes,
        arena_bytes: arena,
        memory_bytes: program.constant_bytes.saturating_add(arena),
    }
}

/// The convolution of each layer that has one; the spatial part where there are two.
fn convolutions(graph: &Graph) -> HashMap<&str, (LayerId, Option<&Conv>)> {
    let mut found: HashMap<&str, (LayerId, Option<&Conv>)> = HashMap::new();
    for &id in graph.order() {
        let node = graph.node(id);
        let entry = found.entry(&graph.layer(node.layer).name).or_insert((node.layer, None));
        if let Op::Conv(conv) = &node.op
            && entry.1.is_none_or(is_pointwise)
        {
            entry.1 = Some(conv);
        }
    }
    found
}

fn is_pointwise(conv: &Conv) -> bool {
    conv.window.taps() == 1 && conv.partition.segments() == 1
}

fn layer(row: &LayerSummary, graph: &Graph, convolutions: &HashMap<&str, (LayerId, Option<&Conv>)>) -> Layer {
    let (id, conv) = convolutions.get(row.name.as_str()).copied().unzip();
    let conv = conv.flatten();
    Layer {
        name: row.name.clone(),
        class: row.class.to_owned(),
        path: id.map_or_else(Vec::new, |id| graph.layer(id).path.clone()),
        output_shape: row.output_shape.clone(),
        kernel: conv.map(|conv| conv.window.kernel),
        strides: conv.map(|conv| conv.window.strides),
        segments: conv.map(|conv| conv.partition.segments() as u32),
        cut: conv.map(|conv| cut(&conv.partition)),
        parameters: row.parameters,
        spatial_macs: row.spatial_macs,
        pointwise_macs: row.pointwise_macs,
    }
}

/// Input channels of segments, runs of equal ones together: `2x243,1x242`.
fn cut(partition: &Partition) -> String {
    let runs = partition.inputs().chunk_by(|a, b| a == b);
    runs.map(|run| format!("{}x{}", run.len(), run[0])).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_print_runs_of_equal_segments() {
        assert_eq!(cut(&Partition::new(vec![243, 243, 242], vec![1, 1, 1])), "2x243,1x242");
        assert_eq!(cut(&Partition::whole(64, 32)), "1x64");
    }
}
