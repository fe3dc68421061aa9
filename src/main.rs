//! The `xcc` command: reads arguments, runs a subcommand, turns failures into exit statuses.
//!
//! Results go to standard output, everything else (mistakes, notes, progress) to standard error.
//! The exit status is 0 when all went well, 1 when a check failed, 2 when a spec, a file or an
//! argument is bad.

mod chart;
mod cli;
mod commands;
mod inputs;
mod layers;
mod measure;
mod network;
mod numbers;
mod picture;
mod sweep;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use xcc_runtime::exhaustion::Allocator;

/// Where memory is exhausted, the command ends with a sentence and status 2.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Compiles Xception-family networks, from regular to depthwise separable convolution, and runs
/// them.
#[derive(Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

const EXAMPLES: &str = "\
Examples:
  xcc summary specs/xception.xc --set segments=28
  xcc explain specs/mini_xception.xc
  xcc emit --stage plan specs/mini_xception.xc | head -40
  xcc run specs/mini_xception.xc face.png
  xcc bench specs/xception.xc --threads 1
  xcc sweep specs/xception.xc --over segments=divisors

A SPEC of `-` is read from standard input. `xcc help COMMAND` tells more.";

fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(arguments) => arguments.command.run(),
        Err(error) => cli::usage(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
