//! `xcc convert`: weights in any format, as safetensors.

use std::path::{Path, PathBuf};

use clap::Args;
use xcc_runtime::weights::{Converted, Matching, Origin, convert};

use crate::cli::{self, Failure, Setting, WeightChecks};
use crate::numbers::{bytes, thousands};
use crate::terminal::with_progress;

/// Convert weights of other tools to safetensors
///
/// The names and shapes are those of a network. Without --spec, that is the spec beside OUT with
/// the same name, so that `xcc run` finds the weights of the spec by itself.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc convert xception_weights.h5 specs/xception.safetensors
  xcc convert timm.safetensors out.safetensors --spec specs/xception.xc --map specs/maps/timm_xception.yaml")]
pub struct Arguments {
    /// Weights: any file of Keras (.h5, .weights.h5, .keras), or safetensors
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The safetensors file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The network's spec; `-` is standard input [default: OUT with the extension .xc]
    #[arg(long, value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// Set a parameter of the spec, as in `--set segments=28`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = cli::setting)]
    settings: Vec<Setting>,
    /// Names that IN uses, as YAML
    #[arg(long, value_name = "MAP.yaml")]
    map: Option<PathBuf>,
    #[command(flatten)]
    checks: WeightChecks,
}

/// Converts, and says what was written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { input, output, spec, settings, map, checks } = arguments;
    cli::check_safetensors(output)?;
    let spec = match spec {
        Some(spec) => spec.clone(),
        None => neighbour(output)?,
    };
    cli::check_output(output, map.as_deref().into_iter().chain([spec.as_path()]))?;
    let loaded = cli::load(&spec, settings)?;
    let map = cli::load_map(map.as_deref())?;
    let work = || convert(&loaded.graph, input, &checks.options(map.as_ref()), output);
    let converted = with_progress("converting", work).map_err(Failure::input)?;
    cli::warn_of(&converted.contradictions);
    cli::print(&format!("wrote {}: {}\n", output.display(), describe(&converted)))
}

/// The spec that belongs to a file of weights by its name.
fn neighbour(output: &Path) -> Result<PathBuf, Failure> {
    let spec = output.with_extension("xc");
    if spec.is_file() {
        return Ok(spec);
    }
    Err(Failure::input(format!(
        "whose weights are these? There is no {}; name the network by `--spec SPEC`",
        spec.display()
    )))
}

fn describe(converted: &Converted) -> String {
    let Converted { tensors, elements, origin, .. } = converted;
    let size = bytes(elements.saturating_mul(size_of::<f32>() as u64));
    let source = match origin {
        Origin::File { format, matching: Matching::Names } => format!("from {format}, by name"),
        Origin::File { format, matching: Matching::Description { layers } } => {
            format!("from {format}, by the graph that it describes ({layers} layers)")
        }
        Origin::File { format, matching: Matching::Order { confirmed, layers } } => {
            format!("from {format}, by order; {confirmed} of {layers} layers have the same name there")
        }
        Origin::Seed(seed) => format!("drawn at random from seed {seed}"),
    };
    format!("{tensors} tensors, {} numbers ({size}) {source}", thousands(*elements))
}
