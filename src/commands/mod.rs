//! The subcommands, one file each. Each has its arguments and `run`, which prints results and
//! returns the failure to report.

mod bench;
mod calibrate;
mod check;
mod convert;
mod decouple;
mod diff;
mod emit;
mod explain;
mod graph;
mod precision;
mod profile;
mod report;
mod run;
mod summary;
mod sweep;
mod verify;

use clap::Subcommand;

use crate::cli::Failure;

/// A subcommand: one variant here and one line in [`Command::run`].
#[derive(Subcommand)]
pub enum Command {
    Check(check::Arguments),
    Summary(summary::Arguments),
    Explain(explain::Arguments),
    Emit(emit::Arguments),
    Run(run::Arguments),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Precision(precision::Arguments),
    Calibrate(calibrate::Arguments),
    Profile(profile::Arguments),
    Sweep(sweep::Arguments),
    Report(report::Arguments),
    Convert(convert::Arguments),
    Graph(graph::Arguments),
    Diff(diff::Arguments),
    Decouple(decouple::Arguments),
}

impl Command {
    /// Does what the subcommand says.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Check(arguments) => check::run(&arguments),
            Command::Summary(arguments) => summary::run(&arguments),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Emit(arguments) => emit::run(&arguments),
            Command::Run(arguments) => run::run(&arguments),
            Command::Verify(arguments) => verify::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Calibrate(arguments) => calibrate::run(&arguments),
            Command::Precision(arguments) => precision::run(&arguments),
            Command::Profile(arguments) => profile::run(&arguments),
            Command::Sweep(arguments) => sweep::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
            Command::Convert(arguments) => convert::run(&arguments),
            Command::Graph(arguments) => graph::run(&arguments),
            Command::Diff(arguments) => diff::run(&arguments),
            Command::Decouple(arguments) => decouple::run(&arguments),
        }
    }
}
