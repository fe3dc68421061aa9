//! The subcommands, one file each. Each has its arguments and `run`, which prints results and returns the failure to report.

mod check;

use clap::Subcommand;

use crate::cli::Failure;

/// A subcommand: one variant here and one line in [`Command::run`].
#[derive(Subcommand)]
pub enum Command {
    Check(check::Arguments),
}

impl Command {
    /// Does what the subcommand says.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Check(arguments) => check::run(&arguments),
        }
    }
}
