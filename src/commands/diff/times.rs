//! Times of the layers of two networks, run in turns: what slows the machine for a while slows both.

use std::collections::HashMap;

use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::weights::Weights;

use crate::cli::Failure;
use crate::inputs::Inputs;
use crate::measure::samples::{Plan, quantile};
use crate::measure::{milliseconds, timed, work};
use crate::network;

/// Median times of a network, in milliseconds.
pub struct Times {
    /// Of a run.
    pub whole: f64,
    /// Of the steps of each layer, by the layer's name.
    pub layers: HashMap<String, f64>,
}

/// A network that is timed.
struct Subject {
    model: Model,
    /// The layer of each step.
    layers: Vec<String>,
    input: Vec<f32>,
}

/// Milliseconds of a run, and of each of its steps.
type Run = (f64, Vec<f64>);

/// Measures both networks with random weights and inputs.
pub fn measure(graphs: [&Graph; 2], threads: u32, plan: &Plan) -> Result<[Times; 2], Failure> {
    let [first, second] = graphs.map(|graph| Subject::new(graph, threads));
    let (first, second) = (first?, second?);
    let taken = plan.take(|| Ok((first.run()?, second.run()?)), || Ok(()))?;
    let (a, b): (Vec<Run>, Vec<Run>) = taken.runs.into_iter().unzip();
    Ok([first.times(&a), second.times(&b)])
}

impl Subject {
    fn new(graph: &Graph, threads: u32) -> Result<Self, Failure> {
        let weights = Weights::random(graph, 0);
        let options = PlanOptions { threads, ..PlanOptions::default() };
        let model = network::compile(graph.clone(), &weights, Target::native(), options)?;
        let mut fused = graph.clone();
        optimize(&mut fused, &PassOptions::default());
        let steps = model.program().steps.iter();
        let layers = steps.map(|step| work::layer(&fused, step.node).name.clone()).collect();
        let input = Inputs::random(graph, 1, 0)?.read(0..1, 1)?;
        Ok(Self { model, layers, input })
    }

    fn run(&self) -> Result<Run, Failure> {
        let ((_, steps), whole) = timed(|| self.model.run_timed(&self.input).map_err(Failure::input))?;
        Ok((milliseconds(whole), steps.into_iter().map(milliseconds).collect()))
    }

    fn times(&self, runs: &[Run]) -> Times {
        let median = |of: &dyn Fn(&Run) -> f64| quantile(&runs.iter().map(of).collect::<Vec<_>>(), 0.5);
        let mut layers: HashMap<String, f64> = HashMap::new();
        for (number, name) in self.layers.iter().enumerate() {
            *layers.entry(name.clone()).or_default() += median(&|(_, steps)| steps[number]);
        }
        Times { whole: median(&|(whole, _)| *whole), layers }
    }
}
