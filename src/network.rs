//! Networks with numbers, ready to run: what `run`, `verify` and `bench` share.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use xcc_compiler::graph::{Graph, NodeId};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanError, PlanOptions, Precision};
use xcc_compiler::target::Target;
use xcc_runtime::reference::{evaluate_keeping, exactly};
use xcc_runtime::weights::{self, LoadOptions, Weights, WeightsError};
use xcc_runtime::{Model, ModelError, perf_map};

use crate::cli::{self, Backend, Failure, Loaded, NetworkArgs, SpecArgs, WeightsArgs};
use crate::inputs::InputArgs;
use crate::numbers::bytes;
use crate::terminal::with_progress;

/// A network, what it runs with and on, and how results are told: what `run`, `verify`, `bench` and
/// `profile` take.
#[derive(Args)]
pub struct JobArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What is run, and by what: what `run`, `bench` and `profile` take.
#[derive(Args)]
pub struct EngineArgs {
    /// What runs the network
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Run the network up to this layer, whose value is the result
    #[arg(long, value_name = "LAYER")]
    pub tap: Option<String>,
    /// Write the names of generated functions to /tmp/perf-PID.map, where profilers such as Linux
    /// perf look
    #[arg(long)]
    pub perf_map: bool,
}

impl EngineArgs {
    /// Refuses what the reference evaluator takes no notice of.
    pub fn check(&self, network: &NetworkArgs) -> Result<(), Failure> {
        let is_for_code = network.precision != Precision::F32 || network.target.isa != Target::native().isa;
        if self.backend == Backend::Reference && is_for_code {
            return Err(Failure::input(
                "the reference evaluator computes in 64-bit floats on any machine: --precision and --target are for `--backend cpu`",
            ));
        }
        Ok(())
    }

    /// Makes the layer of `--tap` the only output of `graph`.
    pub fn tap(&self, graph: &mut Graph) -> Result<(), Failure> {
        if let Some(layer) = &self.tap {
            graph.outputs = vec![tap(graph, layer)?];
        }
        Ok(())
    }

    /// Writes the map of `--perf-map`.
    pub fn map(&self, engine: &Engine) -> Result<(), Failure> {
        if !self.perf_map {
            return Ok(());
        }
        let no_code = || Failure::input("--perf-map: the reference evaluator has no generated functions");
        let model = engine.model().ok_or_else(no_code)?;
        let path = perf_map::write(model).map_err(|error| Failure::input(format!("--perf-map: {error}")))?;
        cli::note(format!("the names of {} functions are in {}", model.symbols().len(), path.display()));
        Ok(())
    }
}

/// Weights, and where they are from.
pub struct Bound {
    /// The numbers.
    pub weights: Weights,
    /// Where they are from.
    pub origin: Origin,
}

/// Where weights are from.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// The file they were read from.
    weights: Option<PathBuf>,
    /// The seed they were drawn with.
    seed: Option<u64>,
    /// Whether the user asked for just these.
    #[serde(skip)]
    chosen: bool,
}

impl Origin {
    fn file(path: &Path, chosen: bool) -> Self {
        Self { weights: Some(path.to_owned()), seed: None, chosen }
    }

    /// Notes on standard error where weights are from that nobody asked for. Commands do so once
    /// all went well, so that a failure is all they say.
    pub fn tell(&self) {
        match (&self.weights, self.seed) {
            _ if self.chosen => {}
            (Some(path), _) => cli::note(format!("weights are those of {}", path.display())),
            (None, seed) => cli::note(format!(
                "weights are random (seed {}); `--weights FILE` reads trained ones",
                seed.unwrap_or(0)
            )),
        }
    }
}

/// The weights of `--weights`; else random ones of `--seed`; else those in the file beside the
/// spec that has its name and ends in `.safetensors`; else random ones of seed 0.
pub fn bind(loaded: &Loaded, arguments: &WeightsArgs) -> Result<Bound, Failure> {
    if let Some(path) = &arguments.weights {
        let map = cli::load_map(arguments.map.as_deref())?;
        let weights = read(loaded, path, &arguments.checks.options(map.as_ref())).map_err(Failure::input)?;
        cli::warn_of(weights.contradictions());
        return Ok(Bound { weights, origin: Origin::file(path, true) });
    }
    let beside = loaded.path.as_ref().map(|path| path.with_extension("safetensors"));
    match (arguments.seed, beside.filter(|path| path.is_file())) {
        (None, Some(path)) => {
            let hint = |error: WeightsError| format!("{error}\nwith `--seed 0` the weights are random");
            let options = arguments.checks.options(None);
            let weights = read(loaded, &path, &options).map_err(|error| Failure::input(hint(error)))?;
            Ok(Bound { weights, origin: Origin::file(&path, false) })
        }
        (seed, _) => Ok(random(loaded, seed)),
    }
}

fn random(loaded: &Loaded, asked: Option<u64>) -> Bound {
    let seed = asked.unwrap_or(0);
    let weights = Weights::random(&loaded.graph, seed);
    let chosen = asked.is_some() || loaded.graph.weights.is_empty();
    Bound { weights, origin: Origin { weights: None, seed: Some(seed), chosen } }
}

fn read(loaded: &Loaded, path: &Path, options: &LoadOptions) -> Result<Weights, WeightsError> {
    with_progress("reading weights", || weights::load_with(&loaded.graph, path, options))
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
                let options = PlanOptions {
                    batch,
                    threads: arguments.threads(),
                    keep_all: false,
                    precision: arguments.precision,
                };
                let target = cli::with_constants(arguments.target, arguments.constants.as_deref())?;
                let compile = || compile(graph, &weights, target, options);
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
                let outputs = model.run(input).map_err(|error| failure(error, self.batch))?;
                Ok(outputs.into_iter().next().unwrap_or_default())
            }
            Runner::Reference { graph, weights, output } => {
                let exact: Vec<f64> = exactly(input).map_err(Failure::input)?;
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

/// Optimises and compiles `graph`, as it was elaborated.
pub fn compile(
    mut graph: Graph,
    weights: &Weights,
    target: Target,
    options: PlanOptions,
) -> Result<Model, Failure> {
    optimize(&mut graph, &PassOptions::default());
    let model = Model::compile(&graph, weights, target, options);
    model.map_err(|error| failure(error, options.batch))
}

/// What keeps a network from being compiled for runs of `batch` images, or from running; where
/// memory is short, with the way out.
pub fn failure(error: ModelError, batch: u32) -> Failure {
    // A plan may fail for a single image already.
    let (asked, images) = match &error {
        ModelError::Shortage(_) => return Failure::input(format!("{error}; {}", way_out(batch))),
        ModelError::Memory(memory) => (memory.bytes, batch),
        ModelError::Plan(PlanError::Memory { bytes, batch, .. }) => (*bytes, *batch),
        _ => return Failure::input(error),
    };
    Failure::input(format!("{error}: {} are too much; {}", bytes(asked), way_out(images)))
}

/// What takes less memory than a run of some images.
fn way_out(images: u32) -> &'static str {
    match images {
        1 => "a smaller input takes less",
        _ => "fewer images in a run (`--batch`), fewer threads or a smaller input take less",
    }
}

/// The value of the layer called `name`.
fn tap(graph: &Graph, name: &str) -> Result<NodeId, Failure> {
    graph.value(name).ok_or_else(|| {
        let near = nearest(name, graph.layers.iter().map(|layer| layer.name.as_str()));
        Failure::input(format!(
            "the network has no layer `{name}`; the nearest names are {}",
            near.join(", ")
        ))
    })
}

/// The names most like `name`, the best one first.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut rated: Vec<(f64, &str)> = names.map(|other| (strsim::jaro_winkler(name, other), other)).collect();
    rated.sort_by(|a, b| b.0.total_cmp(&a.0));
    rated.into_iter().take(3).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["block1_conv1", "block1_conv2", "predictions", "avg_pool"];
        assert_eq!(nearest("block1_cov2", names.into_iter())[..2], ["block1_conv2", "block1_conv1"]);
    }
}
