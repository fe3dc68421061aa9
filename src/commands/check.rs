//! `xcc check`: every mistake of the specs given.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{self, Failure, Setting};

/// Check specs and show every mistake in them
#[derive(Args)]
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
                let parameters: u64 = loaded.graph.weights.iter().map(|weight| weight.elements()).sum();
                let layers = loaded.graph.layers.len();
                cli::print(&format!("{}: ok, {layers} layers, {parameters} parameters\n", loaded.name))?;
            }
            Err(failure) => result = Err(failure.report_and_go_on()),
        }
    }
    result
}
