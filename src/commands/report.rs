//! `xcc report`: the page of a sweep, from its results alone.

use std::path::{Path, PathBuf};

use clap::Args;
use xcc_runtime::replace::replace;

use crate::cli::{self, Failure};
use crate::sweep::report::page;
use crate::sweep::store::Store;
use crate::terminal::with_progress;

/// Make a page of charts of a sweep's results
///
/// The page stands alone: it needs no network, and the same results always make the same page. It shows latency,
/// speed, multiply-adds and parameters along the spectrum, what is fastest for its size, all points in a table, and
/// each point's layers under the roofline and its architecture. Unfinished results do, too.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc sweep specs/digits.xc --over segments=powers --json digits.json
  xcc report digits.json
  xcc report digits.json -o spectrum.html")]
pub struct Arguments {
    /// The JSON that `xcc sweep` wrote
    #[arg(value_name = "RESULTS")]
    results: PathBuf,
    /// The page to write; `-` is standard output [default: RESULTS with the ending .html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Reads, and writes the page.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { results: path, output } = arguments;
    let results = Store::new(path.clone()).read();
    let results = results.map_err(|reason| Failure::input(format!("{}: {reason}", path.display())))?;
    let html = with_progress("drawing", || page(&results)).map_err(Failure::input)?;
    let output = output.clone().unwrap_or_else(|| path.with_extension("html"));
    if output == Path::new("-") {
        return cli::print(&html);
    }
    replace(&output, |file| file.write_all(html.as_bytes()))
        .map_err(|error| Failure::input(format!("{}: {error}", output.display())))?;
    cli::print(&format!("wrote {}\n", output.display()))
}
