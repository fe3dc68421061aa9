//! Runs the command as a user would, from the root of the repository.

use serde_json::Value;
use snapbox::cmd::Command;
use snapbox::{Assert, Data};
use xcc_compiler::target::Target;

/// A small spec that has everything: flows, residuals, a segmented convolution, a parameter.
pub const TINY: &str = "tests/command/tiny.xc";

/// `xcc` with arguments, without a terminal and without settings of the environment that change
/// its output.
pub fn xcc(arguments: &[&str]) -> Command {
    Command::new(snapbox::cmd::cargo_bin!("xcc"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
}

/// Exit status, standard output and standard error of a run.
pub struct Ran {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs to the end.
pub fn run(arguments: &[&str]) -> Ran {
    finish(xcc(arguments))
}

/// Runs to the end with this text on standard input.
pub fn run_with_input(arguments: &[&str], input: &str) -> Ran {
    finish(xcc(arguments).stdin(input))
}

fn finish(command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().expect("the command is not killed");
    Ran { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What a run that must succeed without a word on standard error prints.
pub fn output(arguments: &[&str]) -> String {
    let Ran { status, stdout, stderr } = run(arguments);
    assert_eq!((status, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

/// Compares with a file under tests/; `SNAPSHOTS=overwrite` blesses.
pub fn assert_text(file: &str, actual: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let expected = Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw();
    Assert::new().action_env("SNAPSHOTS").eq(actual.to_owned(), expected);
}

/// The command line, its exit status and what it prints on both streams.
pub fn transcript(arguments: &[&str]) -> String {
    let Ran { status, stdout, stderr } = run(arguments);
    let part = |name, text: &str| if text.is_empty() { String::new() } else { format!("--- {name}\n{text}") };
    let line = arguments.join(" ");
    format!("$ xcc {line}\n{}{}--- status {status}\n", part("stdout", &stdout), part("stderr", &stderr))
}

/// The object that a run prints on one line.
pub fn json(arguments: &[&str]) -> Value {
    let text = output(arguments);
    assert_eq!(text.lines().count(), 1, "one object on one line");
    serde_json::from_str(&text).unwrap()
}

/// A number of an object.
pub fn number(object: &Value, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("{key}: {object}"))
}

/// The numbers of an array.
pub fn numbers(array: &Value) -> Vec<f64> {
    array.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The keys of an object in alphabetical order, each of which the help of `command` must name.
pub fn keys_in_help<'a>(command: &str, object: &'a Value) -> Vec<&'a str> {
    let help = output(&["help", command]);
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    for key in &keys {
        assert!(help.contains(&format!("`{key}`")), "the help of {command} does not tell of {key}");
    }
    keys
}

/// How many times as fast as f32 products of bf16 pairs are on this machine, by the times of
/// instructions.
pub fn times_of_pairs() -> f64 {
    let times = Target::native().times;
    2.0 * f64::from(times.multiply_add) / f64::from(times.pair.max(1))
}
