//! `xcc check`: every mistake of the specs given.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{self, Failure, Loaded, Setting};
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
        match cli::load(path, &arguments.settings) {
            Ok(loaded) => {
                cli::print(&describe(&loaded))?;
            }
            Err(failure) => result = Err(failure.report_and_go_on()),
        }
    }
    result
}

fn describe(loaded: &Loaded) -> String {
    let parameters = loaded.graph.weights.iter().map(|weight| weight.elements()).sum();
    let layers = loaded.graph.layers.len();
    format!("{}: ok, {layers} layers, {} parameters\n", loaded.name, thousands(parameters))
}
