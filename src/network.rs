//! Networks with numbers, ready to run: what `run`, `verify` and `bench` share.

use std::path::{Path, PathBuf};

use xcc_compiler::graph::{Graph, NodeId};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::reference::evaluate_keeping;
use xcc_runtime::weights::{self, NameMap, Weights, WeightsError};

use crate::cli::{self, Backend, Failure, Loaded, NetworkArgs};
use crate::terminal::with_progress;

/// Weights, and where they are from.
pub struct Bound {
    /// The numbers.
    pub weights: Weights,
    /// The file they were read from.
    pub file: Option<PathBuf>,
    /// The seed they were drawn with.
    pub seed: Option<u64>,
}

/// The weights of `--weights`; else random ones of `--seed`; else those in the file beside the spec that has its name and ends in
/// `.safetensors`; else random ones of seed 0. Standard error tells which of the last two it is.
pub fn bind(loaded: &Loaded, arguments: &NetworkArgs) -> Result<Bound, Failure> {
    if let Some(path) = &arguments.weights {
        let map = cli::load_map(arguments.map.as_deref())?;
        return from_file(loaded, path, map.as_ref()).map_err(Failure::input);
    }
    let beside = loaded.path.as_ref().map(|path| path.with_extension("safetensors"));
    match (arguments.seed, beside.filter(|path| path.is_file())) {
        (None, Some(path)) => {
            cli::note(format!("weights are those of {}", path.display()));
            let hint = |error: WeightsError| {
                Failure::input(format!("{error}\nwith `--seed 0` the weights are random"))
            };
            from_file(loaded, &path, None).map_err(hint)
        }
        (None, None) => {
            if !loaded.graph.weights.is_empty() {
                cli::note("weights are random (seed 0); `--weights FILE` reads trained ones");
            }
            Ok(random(loaded, 0))
        }
        (Some(seed), _) => Ok(random(loaded, seed)),
    }
}

fn random(loaded: &Loaded, seed: u64) -> Bound {
    let weights = with_progress("drawing random weights", || Weights::random(&loaded.graph, seed));
    Bound { weights, file: None, seed: Some(seed) }
}

fn from_file(loaded: &Loaded, path: &Path, map: Option<&NameMap>) -> Result<Bound, WeightsError> {
    let weights = with_progress("reading weights", || weights::load(&loaded.graph, path, map))?;
    Ok(Bound { weights, file: Some(path.to_owned()), seed: None })
}

/// A network that can be run on batches of inputs, and yields its first output.
pub struct Engine {
    backend: Runner,
    batch: u32,
}

enum Runner {
    Cpu(Box<Model>),
    Reference { graph: Box<Graph>, weights: Box<Weights>, output: NodeId },
}

impl Engine {
    /// Makes `graph`, as it was elaborated, ready to run.
    pub fn new(
        graph: Graph,
        weights: Weights,
        backend: Backend,
        arguments: &NetworkArgs,
    ) -> Result<Self, Failure> {
        let batch = arguments.batch.get();
        let output = first_output(&graph);
        let backend = match backend {
            Backend::Reference => {
                Runner::Reference { graph: Box::new(graph), weights: Box::new(weights), output }
            }
            Backend::Cpu => {
                let options = PlanOptions { batch, threads: arguments.threads(), keep_all: false };
                let compile = || compile(graph, &weights, options);
                Runner::Cpu(Box::new(with_progress("compiling", compile)?))
            }
        };
        Ok(Self { backend, batch })
    }

    /// The compiled network, unless the reference evaluator runs it.
    pub fn model(&self) -> Option<&Model> {
        match &self.backend {
            Runner::Cpu(model) => Some(model),
            Runner::Reference { .. } => None,
        }
    }

    /// Runs the network on a whole batch of inputs and returns its first output.
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, Failure> {
        match &self.backend {
            Runner::Cpu(model) => {
                let outputs = model.run(input).map_err(Failure::input)?;
                Ok(outputs.into_iter().next().unwrap_or_default())
            }
            Runner::Reference { graph, weights, output } => {
                let exact: Vec<f64> = input.iter().map(|&value| f64::from(value)).collect();
                let keep = [*output];
                let values = evaluate_keeping(graph, weights.as_ref(), &exact, self.batch as usize, &keep);
                let value = values.map_err(Failure::input)?.take(*output).unwrap_or_default();
                Ok(value.into_iter().map(|x| x as f32).collect())
            }
        }
    }
}

/// The value that a run yields. Elaborated networks have at least one output.
pub fn first_output(graph: &Graph) -> NodeId {
    graph.outputs.first().copied().unwrap_or(graph.input)
}

fn compile(mut graph: Graph, weights: &Weights, options: PlanOptions) -> Result<Model, Failure> {
    optimize(&mut graph, &PassOptions::default());
    Model::compile(&graph, weights, Target::baseline(), options).map_err(Failure::input)
}
