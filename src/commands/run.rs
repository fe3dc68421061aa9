//! `xcc run`: what a network says about images or arrays.

mod result;

use std::path::{Path, PathBuf};

use clap::Args;
use xcc_compiler::graph::Shape;
use xcc_runtime::{labels, npy};

use crate::cli::{self, Failure, Loaded};
use crate::inputs::Inputs;
use crate::network::{self, Engine, EngineArgs, JobArgs};
use crate::terminal::with_progress;
use result::{Presentation, Report};

/// Inputs that are decoded before the network runs on them, so that decoding uses all cores and
/// memory stays bounded.
const DECODED: usize = 64;
/// Classes that are listed unless asked otherwise.
const USUAL_TOP: usize = 5;

/// Run a network on images or an array
///
/// Images are resized (bilinear, the whole image), put into the order of channels and scaled as
/// the spec's `input` says. When there are fewer inputs than a run takes (`--batch`), the last run
/// is filled up with zeros.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc run specs/digits.xc examples/digits/*.png
  xcc run specs/xception.xc --weights xception.h5 --input x.npy --output y.npy

JSON: an object on one line with `model`, `layer` (whose value it is), `backend`, \
`batch`, `threads`, `weights` (a file or null), `seed` (of random weights or null), \
`output_shape` (inputs first), `output` (the file written or null) and `results`. A \
result has `input` (an image's file, or the input's number from 0 as text) and, for \
vectors, `top`: objects with `class`, `label` (or null) and `value`, the largest value \
first; for maps, `min`, `max` and `mean`. Numbers that are not finite are null.")]
pub struct Arguments {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Write the results as an array of f4, one behind the other
    #[arg(long, value_name = "Y.npy")]
    output: Option<PathBuf>,
    /// List this many classes for each input [default: 5 for one input, 1 for several]
    #[arg(long, value_name = "K", value_parser = cli::whole_number::<u32>(1..=1_000_000))]
    top: Option<u32>,
    /// Names of the classes, one a line, instead of those of the spec
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

/// Runs the network and prints or writes its results.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { job, engine, .. } = arguments;
    engine.check(&job.network)?;
    let mut loaded = cli::load_graph(&job.spec)?;
    arguments.output.as_deref().map_or(Ok(()), |output| check_output(output, arguments))?;
    let inputs = job.inputs.inputs(&loaded.graph)?.ok_or_else(nothing_given)?;
    engine.tap(&mut loaded.graph)?;
    let output = network::first_output(&loaded.graph);
    let shape = loaded.graph.node(output).shape;
    let names = class_names(&loaded, arguments, shape)?;
    let bound = network::bind(&loaded, &job.network.weights)?;
    let report = Report {
        model: loaded.graph.name.clone(),
        layer: loaded.graph.layer(loaded.graph.node(output).layer).name.clone(),
        backend: engine.backend,
        batch: job.network.batch.get(),
        threads: job.network.threads(),
        origin: bound.origin,
    };
    let engine = Engine::new(loaded.graph, bound.weights, engine.backend, &job.network)?;
    arguments.engine.map(&engine)?;
    let values = with_progress("running", || results(&engine, &inputs, report.batch as usize, shape))?;
    if let Some(path) = &arguments.output {
        write(path, inputs.count(), shape, &values)?;
    }
    report.origin.tell();
    inputs.tell();
    warn_of_strange_numbers(&values);
    let top = arguments.top.map_or(if inputs.count() == 1 { USUAL_TOP } else { 1 }, |top| top as usize);
    let listed = arguments.top.is_some() || inputs.count() == 1;
    let written = arguments.output.as_deref();
    let presentation = Presentation { report, inputs: &inputs, shape, names, values, top, listed, written };
    if job.json { cli::print_json(&presentation.json()) } else { cli::print(&presentation.text()) }
}

/// Arrays are no text, so they go to files, none of which is read.
fn check_output(output: &Path, arguments: &Arguments) -> Result<(), Failure> {
    if output == Path::new("-") {
        return Err(Failure::input(
            "--output: standard output has the results as text; name a file for the array",
        ));
    }
    let JobArgs { spec, inputs, network, .. } = &arguments.job;
    let others = [&inputs.input, &network.constants, &arguments.labels].into_iter().flatten();
    let read = inputs.images.iter().chain(others).chain([&spec.spec]).map(PathBuf::as_path);
    cli::check_output(output, read.chain(network.weights.files()))
}

fn nothing_given() -> Failure {
    Failure::input("nothing to run on: give images, or an array with `--input X.npy`")
}

/// The labels of the classes. They name those of the network's result, not the elements of other
/// layers' values.
fn class_names(loaded: &Loaded, arguments: &Arguments, shape: Shape) -> Result<Option<Vec<String>>, Failure> {
    if arguments.engine.tap.is_some() && arguments.labels.is_none() {
        return Ok(None);
    }
    let folder = loaded.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let given = arguments.labels.as_deref();
    labels::labels(&loaded.graph.image.labels, folder, given, shape.elements()).map_err(Failure::input)
}

/// The output for every input, one behind the other.
fn results(engine: &Engine, inputs: &Inputs, batch: usize, shape: Shape) -> Result<Vec<f32>, Failure> {
    let length = shape.elements() as usize;
    let mut values = Vec::new();
    let mut start = 0;
    while start < inputs.count() {
        let decoded = (DECODED / batch).max(1) * batch;
        let range = start..(start + decoded).min(inputs.count());
        let runs = range.len().div_ceil(batch);
        let read = inputs.read(range.clone(), runs * batch)?;
        for (run, input) in read.chunks_exact(read.len() / runs).enumerate() {
            let wanted = (range.len() - run * batch).min(batch);
            values.extend_from_slice(&engine.run(input)?[..wanted * length]);
        }
        start = range.end;
    }
    Ok(values)
}

fn warn_of_strange_numbers(values: &[f32]) {
    let strange = values.iter().filter(|value| !value.is_finite()).count();
    if strange > 0 {
        cli::note(format!("{strange} of {} numbers of the result are NaN or infinite", values.len()));
    }
}

fn write(path: &Path, count: usize, shape: Shape, values: &[f32]) -> Result<(), Failure> {
    let mut extents = npy::extents(shape);
    extents.insert(0, count as u64);
    npy::write(path, &extents, values).map_err(Failure::input)
}
