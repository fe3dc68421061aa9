//! Tasks of developers: `cargo xtask TASK`.
//!
//! The standard library is its only dependency, so that it builds in a second and changes the
//! features of no other crate.

mod bless;
mod check;
mod packages;
mod tool;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  check [STEP...]      everything that must hold before a change lands, or these steps alone:
                       format, lints, tests, docs, examples, benches
  check-packages       tests against Python packages, which pip downloads; without them, says what it skips
  bless [SUITE...]     rewrites the expected texts of snapshot tests, and lists the files that changed
  bench [ARGUMENT...]  criterion's benches; arguments are criterion's
  docs [ARGUMENT...]   documentation of all crates; warnings are errors, arguments are `cargo doc`'s
  fingerprint [PART]   hashes of the programs of all specs, or of those with PART in their names";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let (&task, rest) = arguments.split_first().ok_or(USAGE)?;
    match task {
        "check" => check::run(rest),
        "check-packages" if rest.is_empty() => packages::run(),
        "bless" => bless::run(rest),
        "bench" => check::bench(rest),
        "docs" => check::docs(rest),
        "fingerprint" => check::fingerprint(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("there is no task `{}`\n{USAGE}", arguments.join(" "))),
    }
}
