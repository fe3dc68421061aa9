//! The steps that must succeed before a change lands, and cargo's commands that they are made of.

use std::env;
use std::time::Instant;

use crate::tool;

/// A step: its name and cargo's arguments.
struct Step {
    name: &'static str,
    cargo: &'static str,
}

/// Every step, the quick ones first.
const STEPS: [Step; 6] = [
    Step { name: "format", cargo: "fmt --all --check" },
    Step { name: "lints", cargo: "clippy --locked --workspace --all-targets --quiet -- -D warnings" },
    Step { name: "tests", cargo: "test --locked --workspace --quiet" },
    Step { name: "docs", cargo: DOCS },
    Step { name: "examples", cargo: "build --locked --workspace --examples --quiet" },
    // Each bench once, without timing.
    Step { name: "benches", cargo: "test --locked --quiet --bench kernels --bench spectrum --bench specs" },
];

const DOCS: &str =
    r#"doc --locked --workspace --no-deps --quiet --config build.rustdocflags=["-D","warnings"]"#;
const BENCH: &str = "bench --locked --bench kernels --bench spectrum --bench specs --";
/// Of the whole workspace, as features of crates are those of the other steps then.
const FINGERPRINT: &str = "build --locked --workspace --quiet --example fingerprint";

/// Runs the named steps, or all.
pub fn run(names: &[&str]) -> Result<(), String> {
    let is_known = |name: &str| STEPS.iter().any(|step| step.name == name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!("there is no step `{unknown}`; steps are {}", known.join(", ")));
    }
    let chosen = |step: &&Step| names.is_empty() || names.contains(&step.name);
    STEPS.iter().filter(chosen).try_for_each(Step::run)
}

impl Step {
    fn run(&self) -> Result<(), String> {
        eprintln!("check: {}", self.name);
        let start = Instant::now();
        tool::run(&mut tool::cargo(self.cargo, &[]))?;
        eprintln!("check: {} passed, {:.0} s", self.name, start.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Measures with criterion.
pub fn bench(arguments: &[&str]) -> Result<(), String> {
    tool::run(&mut tool::cargo(BENCH, arguments))
}

/// Writes the documentation of all crates.
pub fn docs(arguments: &[&str]) -> Result<(), String> {
    tool::run(&mut tool::cargo(DOCS, arguments))
}

/// Prints hashes of programs, see `examples/fingerprint.rs`.
pub fn fingerprint(arguments: &[&str]) -> Result<(), String> {
    tool::run(&mut tool::cargo(FINGERPRINT, &[]))?;
    let this = env::current_exe().map_err(|error| format!("cannot find the folder of programs: {error}"))?;
    let example = this.with_file_name("examples").join("fingerprint");
    tool::run(&mut tool::program(example, arguments))
}
