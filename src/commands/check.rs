//! `xcc check`: every mistake of the specs given.

use std::path::{Path, PathBuf};

use clap::Args;
use xcc_compiler::diagnostic::Diagnostic;
use xcc_compiler::elaborate::{self, LabelFile};
use xcc_compiler::graph::{Graph, Labels};
use xcc_runtime::labels::{self, LabelsError};

use crate::cli::{self, Failure, Setting, Source};
use crate::numbers::thousands;

/// Check specs and show every mistake in them
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc check specs/*.xc
  xcc check specs/xception.xc --set segments=28")]
pub struct Arguments {
    /// Specs; `-` is standard input
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// Set a parameter of the specs, as in `--set segments=28`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = cli::setting)]
    settings: Vec<Setting>,
}

/// Checks every spec, whatever is wrong with those before it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut result = Ok(());
    for path in &arguments.specs {
        match check(path, &arguments.settings) {
            Ok(line) => cli::print(&line)?,
            Err(failure) => result = Err(failure.report_and_go_on()),
        }
    }
    result
}

/// The line about a spec without mistakes.
fn check(path: &Path, settings: &[Setting]) -> Result<String, Failure> {
    let Source { text, name, path } = Source::read(path)?;
    let mut elaborated = elaborate::read(&text, settings);
    let folder = path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let wrong_labels = elaborated.label_file.as_ref().and_then(|file| check_labels(file, folder));
    let mistakes = &mut elaborated.diagnostics;
    mistakes.extend(wrong_labels);
    mistakes.sort_by_key(Diagnostic::position);
    cli::tell_diagnostics(&name, &text, mistakes);
    match elaborated.graph {
        Some(graph) if !mistakes.iter().any(Diagnostic::is_error) => Ok(describe(&name, &graph)),
        _ => Err(Failure::told()),
    }
}

/// What is wrong with a file of labels.
fn check_labels(file: &LabelFile, folder: &Path) -> Option<Diagnostic> {
    // A file of any length will do when a mistake keeps the number of classes from being known.
    let classes = file.classes.unwrap_or(0);
    match labels::labels(&Labels::File(file.path.clone()), folder, None, classes) {
        Ok(_) => None,
        Err(LabelsError::Count { found, .. }) => file.classes.map(|classes| file.miscounted(found, classes)),
        Err(error) => Some(file.unreadable(error)),
    }
}

fn describe(name: &str, graph: &Graph) -> String {
    let parameters = graph.weights.iter().map(|weight| weight.elements()).sum();
    let layers = graph.layers.len();
    format!("{name}: ok, {layers} layers, {} parameters\n", thousands(parameters))
}
