//! `xcc report`: the page of a sweep, from its results alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use xcc_runtime::replace::replace;

use crate::cli::{self, Failure};
use crate::numbers::counted;
use crate::sweep::report;
use crate::sweep::results::Results;
use crate::sweep::store::Store;
use crate::terminal::with_progress;

/// Make a page of charts of a sweep's results
///
/// The page stands alone: it needs no network, and the same results always make the same page. It
/// shows latency, speed, multiply-adds and parameters along the spectrum, what is fastest for its
/// size, all points in a table, and each point's layers under the roofline and its architecture.
/// Unfinished results do, too. `--figures` writes its charts as files, for documents.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc sweep specs/mini_xception.xc --over segments=powers --json mini.json
  xcc report mini.json
  xcc report mini.json -o spectrum.html
  xcc report mini.json --figures figures")]
pub struct Arguments {
    /// The JSON that `xcc sweep` wrote
    #[arg(value_name = "RESULTS")]
    results: PathBuf,
    /// The page to write; `-` is standard output [default: RESULTS with the ending .html, unless
    /// that is another file]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the charts as SVG files into the folder DIR, and no page unless `--output` asks for
    /// it: latency.svg, speed.svg, macs.svg, parameters.svg, latency-by-macs.svg,
    /// latency-by-parameters.svg and, for each point, roofline-NUMBER-LABEL.svg
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

/// Reads, and writes the page or the figures.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { results: path, output, figures } = arguments;
    let page = match output {
        Some(output) => Some(output.clone()),
        None => figures.is_none().then(|| path.with_extension("html")),
    };
    page.as_deref().map_or(Ok(()), |page| cli::check_output(page, [path.as_path()]))?;
    page.as_deref().filter(|_| output.is_none()).map_or(Ok(()), check_implied)?;
    let results = Store::new(path.clone()).read();
    let results = results.map_err(|reason| Failure::input(format!("{}: {reason}", path.display())))?;
    if let Some(folder) = figures {
        write_figures(&results, folder)?;
    }
    page.map_or(Ok(()), |page| write_page(&results, &page))
}

/// Refuses to replace a file that nobody has named, but for an earlier page.
fn check_implied(page: &Path) -> Result<(), Failure> {
    let mut head = Vec::new();
    let is_ours = match fs::metadata(page) {
        Err(_) => true,
        Ok(found) if !found.is_file() => false,
        Ok(_) => File::open(page).and_then(|file| file.take(report::HEAD).read_to_end(&mut head)).is_ok(),
    };
    if is_ours && (head.is_empty() || report::is_page(&head)) {
        return Ok(());
    }
    Err(Failure::input(format!(
        "{}: is there and is no page of `xcc report`; `--output FILE` replaces it or names another file",
        page.display()
    )))
}

fn write_page(results: &Results, output: &Path) -> Result<(), Failure> {
    let html = with_progress("drawing", || report::page(results)).map_err(Failure::input)?;
    if output == Path::new("-") {
        return cli::print(&html);
    }
    write(output, &html)?;
    cli::print(&format!("wrote {}\n", output.display()))
}

/// Writes the charts into `folder`, which is made if it is not there. What else is in it stays.
fn write_figures(results: &Results, folder: &Path) -> Result<(), Failure> {
    let files = with_progress("drawing", || report::files(results)).map_err(Failure::input)?;
    let failed = |error: io::Error| Failure::input(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    for (name, svg) in &files {
        write(&folder.join(name), svg)?;
    }
    cli::note(format!("wrote {} to {}", counted(files.len(), "figure"), folder.display()));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, |file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}
