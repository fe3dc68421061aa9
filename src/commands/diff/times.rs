//! Times of the layers of two networks, run in turns: what slows the machine for a while slows
//! both.

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
    /// Of each layer, by its name.
    pub layers: HashMap<String, LayerTime>,
}

/// The time of the steps that compute a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerTime {
    /// Milliseconds.
    pub ms: f64,
    /// The other layers that these steps compute.
    pub with: Vec<String>,
}

/// A network that is timed.
struct Subject {
    model: Model,
    /// The layers of each step.
    layers: Vec<Vec<String>>,
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
        let names = |step| work::layers_of_step(&fused, step).into_iter().map(str::to_owned).collect();
        let layers = steps.map(names).collect();
        let input = Inputs::random(graph, 1, 0)?.read(0..1, 1)?;
        Ok(Self { model, layers, input })
    }

    fn run(&self) -> Result<Run, Failure> {
        let ((_, steps), whole) =
            timed(|| self.model.run_timed(&self.input).map_err(|error| network::failure(error, 1)))?;
        Ok((milliseconds(whole), steps.into_iter().map(milliseconds).collect()))
    }

    fn times(&self, runs: &[Run]) -> Times {
        let median = |of: &dyn Fn(&Run) -> f64| quantile(&runs.iter().map(of).collect::<Vec<_>>(), 0.5);
        let steps = self.layers.iter().enumerate();
        let steps = steps.map(|(number, names)| (&names[..], median(&|(_, steps)| steps[number])));
        Times { whole: median(&|(whole, _)| *whole), layers: of_layers(steps) }
    }
}

/// The times of layers, from the layers and the time of each step.
fn of_layers<'a>(steps: impl Iterator<Item = (&'a [String], f64)>) -> HashMap<String, LayerTime> {
    let mut times: HashMap<String, LayerTime> = HashMap::new();
    for (names, ms) in steps {
        for name in names {
            let time = times.entry(name.clone()).or_default();
            time.ms += ms;
            let others = names.iter().filter(|other| *other != name);
            let new: Vec<String> = others.filter(|other| !time.with.contains(other)).cloned().collect();
            time.with.extend(new);
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_takes_the_time_of_all_steps_that_compute_it() {
        let [alone, chain] = [&["a"][..], &["a", "b", "c"]]
            .map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let times = of_layers([(&alone[..], 1.0), (&chain[..], 2.0)].into_iter());
        let expect = |name: &str, ms, with: [&str; 2]| {
            assert_eq!(times[name], LayerTime { ms, with: with.map(str::to_owned).to_vec() });
        };
        expect("a", 3.0, ["b", "c"]);
        expect("b", 2.0, ["a", "c"]);
        expect("c", 2.0, ["a", "b"]);
    }
}
