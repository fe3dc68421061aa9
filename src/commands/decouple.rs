//! `xcc decouple`: trained weights carried to other segments, without data.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use xcc_runtime::decouple::{DecoupledLayer, decouple};
use xcc_runtime::weights::{WeightsError, load_with, save_safetensors};

use crate::cli::{self, Failure, Setting, SpecArgs, WeightChecks};
use crate::numbers::counted;
use crate::table::{Layout, Table};
use crate::terminal::{self, with_progress};

/// Carry weights of a network to other segments of its convolutions
///
/// In closed form, layer by layer, without data: the spatial and pointwise parts of a layer are
/// taken together as one linear map, and that is approximated as well as other segments can
/// (network decoupling, Guo et al., arXiv 1808.05517). A `multiplier` in the spec is the number of
/// terms. Layers are paired by name; regular convolutions (`conv`) become separable ones
/// (`sepconv`) of that name, too. The error of a layer is the distance of both maps relative to
/// the size of the first, in the Frobenius norm: 0 is exact. It says nothing about accuracy:
/// measure that.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc decouple specs/vgg_separable.xc --weights dense.safetensors --set segments=8 -o cut.safetensors
  xcc decouple mine.xc --weights vgg16.h5 --of specs/vgg16.xc -o mine.safetensors

JSON: an object with `output`, `copied` (tensors taken as they were) and `layers`, each with `name`, `from` and `to` \
(segments, as in `28x26->26`: 28 of 26 inputs and outputs) and `error`.")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    /// Weights of the network with fewer segments, in any format
    #[arg(long, value_name = "DENSE")]
    weights: PathBuf,
    /// Names that the file of weights uses, as YAML
    #[arg(long, value_name = "MAP.yaml")]
    map: Option<PathBuf>,
    /// Set a parameter of the network that the weights are for; its others are those of --set
    /// [default: segments=1]
    #[arg(long, value_name = "NAME=VALUE", value_parser = cli::setting)]
    from: Vec<Setting>,
    /// The spec that the weights are for, with no settings but those of --from [default: SPEC]
    #[arg(long, value_name = "SPEC")]
    of: Option<PathBuf>,
    /// The safetensors file to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    checks: WeightChecks,
}

/// What was done.
#[derive(Serialize)]
struct Report<'a> {
    output: &'a Path,
    copied: usize,
    layers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    from: &'a str,
    to: &'a str,
    error: f64,
}

impl<'a> From<&'a DecoupledLayer> for Row<'a> {
    fn from(layer: &'a DecoupledLayer) -> Self {
        let DecoupledLayer { name, from, to, error } = layer;
        Self { name, from, to, error: *error }
    }
}

/// Carries weights over, and says how well that went.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { spec, weights, map, output, json, .. } = arguments;
    cli::check_safetensors(output)?;
    let other = arguments.of.as_ref().unwrap_or(&spec.spec);
    let read = [&spec.spec, other, weights].into_iter().chain(map);
    cli::check_output(output, read.map(PathBuf::as_path))?;
    let settings = settings(arguments);
    let both = cli::load_both((&spec.spec, &spec.set), (other, &settings));
    if both.is_err() && arguments.of.is_none() && arguments.from.is_empty() {
        cli::note(
            "the weights are taken to be those of the spec with segments=1; `--from NAME=VALUE` names other settings, `--of SPEC` another network",
        );
    }
    let [target, dense] = both?;
    let map = cli::load_map(map.as_deref())?;
    let weights = with_progress("reading weights", || {
        load_with(&dense.graph, weights, &arguments.checks.options(map.as_ref()))
    });
    let weights = weights.map_err(|error| misfit(&error, &settings))?;
    cli::warn_of(weights.contradictions());
    let done = with_progress("approximating", || decouple(&target.graph, &dense.graph, &weights));
    let done = done.map_err(Failure::input)?;
    save_safetensors(&target.graph, &done, output).map_err(Failure::input)?;
    if *json {
        let layers = done.layers.iter().map(Row::from).collect();
        return cli::print_json(&Report { output, copied: done.copied, layers });
    }
    let text = text(&done.layers);
    let copied = counted(done.copied, "tensor");
    cli::print(&format!("{text}wrote {}: {copied} taken as they were\n", output.display()))
}

/// The settings of the network that the weights are for.
fn settings(arguments: &Arguments) -> Vec<Setting> {
    if arguments.of.is_some() {
        return arguments.from.clone();
    }
    let mut settings = arguments.from.clone();
    if settings.is_empty() {
        settings.push(("segments".to_owned(), "1".to_owned()));
    }
    cli::overridden(&arguments.spec.set, &settings)
}

/// What keeps weights from being read; where they are of another network, with the way to name
/// that.
fn misfit(error: &WeightsError, settings: &[Setting]) -> Failure {
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    match error {
        WeightsError::Mismatch { .. } if !settings.is_empty() => {
            let settings = settings.join(", ");
            Failure::input(format!(
                "{error}\nthey were read as weights for {settings}; `--from` changes that"
            ))
        }
        _ => Failure::input(error),
    }
}

fn text(layers: &[DecoupledLayer]) -> String {
    if layers.is_empty() {
        return "no layer has other segments\n".to_owned();
    }
    let mut table = Table::new(&[Layout::Wrapped, Layout::Left, Layout::Left, Layout::Right]);
    table.strong_row(["Layer", "Segments before", "after", "Error"].map(str::to_owned));
    table.rule("");
    for DecoupledLayer { name, from, to, error } in layers {
        table.row([name.clone(), from.clone(), to.clone(), format!("{error:.2e}")]);
    }
    table.render(terminal::width(), terminal::color(&std::io::stdout()))
}
