//! `xcc graph`: a network as a picture or as a model for other tools.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use xcc_runtime::onnx;
use xcc_runtime::replace::replace;

use crate::cli::{self, Failure, Loaded, SpecArgs, WeightsArgs};
use crate::network;
use crate::picture;
use crate::terminal::with_progress;

/// Draw a network, or export it
///
/// An SVG shows flows as columns, as in the Xception paper's figure 5: what repeats is drawn once,
/// shortcuts pass at the side, the lower edge of a box is cut as its channels are. DOT text has a
/// node for each layer. An ONNX file has the weights, too; its input has the axes (images, rows,
/// columns, channels), with any number of images.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc graph specs/xception.xc -o xception.svg --set segments=28
  xcc graph specs/inception_v3.xc -o inception.dot && dot -Tpdf inception.dot -o inception.pdf
  xcc graph specs/digits.xc -o digits.onnx")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What to write [default: what FILE's ending says]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    weights: WeightsArgs,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A picture
    Svg,
    /// Text for Graphviz
    Dot,
    /// The network with its weights, for other tools
    Onnx,
}

/// Draws, and says what was written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { spec, output, format, weights } = arguments;
    let format = format.map_or_else(|| format_of(output), Ok)?;
    if format != Format::Onnx && weights.is_given() {
        return Err(Failure::input("only ONNX files have weights: a picture is the same for any"));
    }
    if output != Path::new("-") {
        cli::check_output(output, weights.files().chain([spec.spec.as_path()]))?;
    }
    let loaded = cli::load_graph(spec)?;
    match format {
        Format::Svg => write(output, picture::svg(&loaded.graph).as_bytes()),
        Format::Dot => write(output, picture::dot(&loaded.graph).as_bytes()),
        Format::Onnx => export(&loaded, weights, output),
    }
}

fn export(loaded: &Loaded, weights: &WeightsArgs, output: &Path) -> Result<(), Failure> {
    let bound = network::bind(loaded, weights)?;
    let bytes = with_progress("exporting", || onnx::bytes(&loaded.graph, &bound.weights));
    let bytes = bytes.map_err(|error| Failure::input(format!("{}: {error}", output.display())))?;
    write(output, &bytes)?;
    bound.origin.tell();
    Ok(())
}

/// The format that the ending of a file's name says.
fn format_of(path: &Path) -> Result<Format, Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    Format::from_str(ending, true).map_err(|_| {
        let names: Vec<String> = Format::value_variants()
            .iter()
            .filter_map(|format| Some(format!(".{}", format.to_possible_value()?.get_name())))
            .collect();
        let names = names.join(", ");
        Failure::input(format!(
            "{}: what is to be written? Endings are {names}; `--format` says it, too",
            path.display()
        ))
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path == Path::new("-") {
        return cli::print_bytes(bytes);
    }
    replace(path, |file| file.write_all(bytes))
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}
