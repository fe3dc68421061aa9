//! What all subcommands share: arguments, specs, output, failures.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use serde::Serialize;
use xcc_compiler::diagnostic::{Diagnostic, render};
use xcc_compiler::elaborate::{self, Elaborated, Param};
use xcc_compiler::graph::Graph;
use xcc_compiler::plan::{BATCH_LIMIT, Precision, THREADS_LIMIT};
use xcc_compiler::syntax::{self, ast};
use xcc_compiler::target::Target;
use xcc_runtime::calibration::{Calibration, CalibrationError};
use xcc_runtime::machine;
use xcc_runtime::weights::{Contradiction, LoadOptions, NameMap};

use crate::terminal::color;

/// Most threads of a run.
pub const MOST_THREADS: u32 = THREADS_LIMIT;
/// Most images of a run.
pub const LARGEST_BATCH: u32 = BATCH_LIMIT;

/// A parameter's name and the text of its value.
pub type Setting = (String, String);

/// Which network: a spec and its parameters.
#[derive(Args, Clone, Debug)]
pub struct SpecArgs {
    /// The spec; `-` is standard input
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
    /// Set a parameter of the spec, as in `--set segments=28`
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
}

/// Where the numbers of a network are from.
#[derive(Args, Clone, Debug)]
pub struct WeightsArgs {
    /// Weights: safetensors, or any file of Keras (.h5, .weights.h5, .keras)
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Names that the file of weights uses, as YAML
    #[arg(long, value_name = "MAP.yaml", requires = "weights")]
    pub map: Option<PathBuf>,
    /// Random weights from this seed; without it, those in SPEC with the ending .safetensors, if
    /// that file exists
    #[arg(long, value_name = "N", conflicts_with = "weights", value_parser = whole_number::<u64>(0..=u64::MAX))]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub checks: WeightChecks,
}

/// What else than the network's weights a file may hold.
#[derive(Args, Clone, Copy, Debug)]
pub struct WeightChecks {
    /// Leave out tensors of the file that the network does not have
    #[arg(long)]
    pub ignore_unexpected: bool,
    /// Refuse a file whose description of the model differs from the spec (in an epsilon, an
    /// activation, strides, ...); otherwise that is a warning
    #[arg(long)]
    pub strict: bool,
}

impl WeightChecks {
    /// How a file is read with them.
    pub fn options(self, map: Option<&NameMap>) -> LoadOptions<'_> {
        LoadOptions { map, ignore_unexpected: self.ignore_unexpected, strict: self.strict }
    }
}

/// Warns of each property that a file of weights and the spec state differently.
pub fn warn_of(contradictions: &[Contradiction]) {
    for contradiction in contradictions {
        warn(format!("{contradiction}; `--strict` makes this an error"));
    }
}

/// What a network runs with.
#[derive(Args, Clone, Debug)]
pub struct NetworkArgs {
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Threads of compiled code [default: one for each core]
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub threads: Option<NonZeroU32>,
    /// Images in a run
    #[arg(long, value_name = "N", value_parser = batch_size, default_value_t = NonZeroU32::MIN)]
    pub batch: NonZeroU32,
    /// Code for an instruction set: baseline, avx2, avx512, avx512bf16, amx, or native, the widest
    /// of this machine
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Target>, default_value = "native")]
    pub target: Target,
    /// Choose kernels by the times of instructions in this file, as `xcc calibrate --output FILE`
    /// writes them
    #[arg(long, value_name = "FILE")]
    pub constants: Option<PathBuf>,
    /// How exact products are at least: f32 (with AMX, large layers take each factor as three bf16
    /// values, which hold it whole); split (as two), with AMX; bf16, with AMX or AVX512-BF16.
    /// Layers are more exact where that is as fast
    #[arg(long, value_name = "PRECISION", default_value_t = Precision::F32)]
    pub precision: Precision,
}

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Machine code for this processor
    Cpu,
    /// Plain loops, slow and exact
    Reference,
}

impl WeightsArgs {
    /// Whether any of them is given.
    pub fn is_given(&self) -> bool {
        self.weights.is_some() || self.seed.is_some()
    }

    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.weights, &self.map].into_iter().flatten().map(PathBuf::as_path)
    }
}

impl NetworkArgs {
    /// The number of threads asked for, else that of the cores this process may use.
    pub fn threads(&self) -> u32 {
        self.threads.map_or_else(machine::cores, NonZeroU32::get)
    }
}

/// `target` with the times of instructions in the file of `--constants`, if there is one.
pub fn with_constants(target: Target, constants: Option<&Path>) -> Result<Target, Failure> {
    let Some(path) = constants else { return Ok(target) };
    let failed = |error: CalibrationError| Failure::input(format!("{}: {error}", path.display()));
    Calibration::read(path).and_then(|calibration| calibration.target(target)).map_err(failed)
}

/// A failure to report, and the exit status it ends in.
#[derive(Debug)]
#[must_use]
pub struct Failure {
    status: u8,
    /// What to print; `None` when it was printed already.
    message: Option<String>,
}

impl Failure {
    /// Exit status 2: a spec, a file or an argument is bad. `message` becomes a line behind
    /// `error: `.
    pub fn input(message: impl Display) -> Self {
        Self { status: 2, message: Some(message.to_string()) }
    }

    /// Exit status 1: what was checked is not so.
    pub fn check(message: impl Display) -> Self {
        Self { status: 1, message: Some(message.to_string()) }
    }

    /// Bad input that standard error tells of already.
    pub fn told() -> Self {
        Self { status: 2, message: None }
    }

    /// What it says, unless that was printed already.
    pub fn message(self) -> Option<String> {
        self.message
    }

    /// Prints the failure to standard error and gives its exit status.
    pub fn report(self) -> ExitCode {
        ExitCode::from(self.report_and_go_on().status)
    }

    /// Prints the failure to standard error; what remains is its exit status.
    pub fn report_and_go_on(self) -> Self {
        if let Some(message) = self.message {
            let head = if color(&io::stderr()) { "\x1b[1;31merror\x1b[0m" } else { "error" };
            tell(&format!("{head}: {message}\n"));
        }
        Self { message: None, ..self }
    }
}

/// Writes results to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes results that need not be text to standard output. That a reader went away (`xcc ... |
/// head`) is no failure: the command goes on to its verdict.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What writing to standard output has led to.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::input(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a value to standard output as one line of JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::input)?;
    print(&(text + "\n"))
}

/// Writes a line behind `note: ` to standard error.
pub fn note(message: impl Display) {
    tell(&format!("note: {message}\n"));
}

/// Writes a line behind `warning: ` to standard error.
pub fn warn(message: impl Display) {
    tell(&format!("warning: {message}\n"));
}

/// Writes to standard error; when that is closed, nobody listens.
pub fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Reads a number of threads.
pub fn thread_count(text: &str) -> Result<NonZeroU32, String> {
    number_up_to(text, MOST_THREADS)
}

/// Reads a number of images in a run.
pub fn batch_size(text: &str) -> Result<NonZeroU32, String> {
    number_up_to(text, LARGEST_BATCH)
}

fn number_up_to(text: &str, limit: u32) -> Result<NonZeroU32, String> {
    let number: u32 = whole_number(1..=u64::from(limit))(text)?;
    NonZeroU32::try_from(number).map_err(|error| error.to_string())
}

/// Reads a whole number in `range`, which must be one of numbers that `T` has.
pub fn whole_number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Reads `NAME=VALUE`.
pub fn setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("must be a name, `=` and a value".to_owned()),
    }
}

/// `settings` where `others` do not set the same parameter, then `others`.
pub fn overridden(settings: &[Setting], others: &[Setting]) -> Vec<Setting> {
    let is_kept = |(name, _): &&Setting| others.iter().all(|(other, _)| other != name);
    settings.iter().filter(is_kept).chain(others).cloned().collect()
}

/// Refuses to call a file of weights to be written by the ending of a format that is not written.
pub fn check_safetensors(output: &Path) -> Result<(), Failure> {
    const FOREIGN: [&str; 6] = ["h5", "hdf5", "keras", "npz", "pt", "pth"];
    let extension = output.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !FOREIGN.contains(&extension.to_lowercase().as_str()) {
        return Ok(());
    }
    let nearest = output.with_extension("safetensors");
    Err(Failure::input(format!(
        "{}: only safetensors are written; call it {}",
        output.display(),
        nearest.display()
    )))
}

/// Whether two paths lead to one file, or will when it is written.
fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b || place(a).is_some_and(|a| place(b).is_some_and(|b| a == b))
}

/// Where a file is, or will be when it is written: without links and detours, if there is a folder
/// for it.
fn place(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok().or_else(|| {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(folder.join(file.file_name()?))
    })
}

/// Finds out before anything takes time whether a file can be written: there is a folder for it,
/// it is none itself, and it is none of `others`, which are read or written, too.
pub fn check_output<'a>(file: &Path, others: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    if file.is_dir() {
        return Err(Failure::input(format!("{}: is a folder; name a file in it", file.display())));
    }
    if others.into_iter().any(|other| is_same_file(file, other)) {
        let file = file.display();
        return Err(Failure::input(format!(
            "{file}: is the name of another file here; choose a new one to write"
        )));
    }
    match file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => {
            Err(Failure::input(format!("{}: there is no folder {}", file.display(), folder.display())))
        }
        None => Ok(()),
    }
}

/// A spec that is free of mistakes.
pub struct Loaded {
    /// The network.
    pub graph: Graph,
    /// The text of the spec.
    pub source: String,
    /// Where the spec is; `None` for standard input.
    pub path: Option<PathBuf>,
    /// Its parameters and their values.
    pub parameters: Vec<Param>,
}

/// The network of a spec, see [`load`].
pub fn load_graph(arguments: &SpecArgs) -> Result<Loaded, Failure> {
    load(&arguments.spec, &arguments.set)
}

/// Reads a spec. Its mistakes and warnings go to standard error.
pub fn load(path: &Path, settings: &[Setting]) -> Result<Loaded, Failure> {
    elaborated(Source::read(path)?, settings)
}

/// Reads two specs, or one with two settings: that is read only once, as it may be standard input.
pub fn load_both(first: (&Path, &[Setting]), second: (&Path, &[Setting])) -> Result<[Loaded; 2], Failure> {
    let source = Source::read(first.0)?;
    let other = if first.0 == second.0 { source.clone() } else { Source::read(second.0)? };
    Ok([elaborated(source, first.1)?, elaborated(other, second.1)?])
}

/// Reads a spec as [`load_graph`] does, and gives the times of parsing and of elaboration.
pub fn load_graph_timed(arguments: &SpecArgs) -> Result<(Loaded, [Duration; 2]), Failure> {
    let source = Source::read(&arguments.spec)?;
    let (parsing, (tree, errors)) = timed(|| syntax::parse(&source.text));
    let (elaboration, elaborated) = timed(|| match errors.is_empty() {
        true => elaborate::analyze(&tree, &arguments.set),
        // Reports the errors of both stages together.
        false => elaborate::read(&source.text, &arguments.set),
    });
    Ok((accepted(source, elaborated)?, [parsing, elaboration]))
}

/// Does `work`, and gives the time that it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn elaborated(source: Source, settings: &[Setting]) -> Result<Loaded, Failure> {
    let elaborated = elaborate::read(&source.text, settings);
    accepted(source, elaborated)
}

/// A spec unless it has errors. Its errors and warnings go to standard error.
fn accepted(source: Source, elaborated: Elaborated) -> Result<Loaded, Failure> {
    let Source { text, name, path } = source;
    tell_diagnostics(&name, &text, &elaborated.diagnostics);
    match elaborated.graph {
        Some(graph) => Ok(Loaded { graph, source: text, path, parameters: elaborated.params }),
        None => Err(Failure::told()),
    }
}

/// Reads the tree of a spec, and gives the time of parsing. Its mistakes of syntax go to standard
/// error.
pub fn load_tree_timed(path: &Path) -> Result<(ast::File, Duration), Failure> {
    let Source { text, name, .. } = Source::read(path)?;
    let (parsing, (tree, diagnostics)) = timed(|| syntax::parse(&text));
    tell_diagnostics(&name, &text, &diagnostics);
    if diagnostics.iter().any(Diagnostic::is_error) { Err(Failure::told()) } else { Ok((tree, parsing)) }
}

/// Shows the mistakes of a spec on standard error.
pub fn tell_diagnostics(name: &str, source: &str, diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        tell(&render(name, source, diagnostics, color(&io::stderr())));
    }
}

/// The text of a spec.
#[derive(Clone)]
pub struct Source {
    /// The text.
    pub text: String,
    /// What to call the spec: its path as given, or `<stdin>`.
    pub name: String,
    /// Where the spec is; `None` for standard input.
    pub path: Option<PathBuf>,
}

impl Source {
    /// Reads it from a file, or from standard input for `-`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
        let text =
            if is_stdin { text_of(&name, &mut io::stdin().lock()) } else { text_of_file(&name, path) }?;
        Ok(Self { text, name, path: (!is_stdin).then(|| path.to_owned()) })
    }
}

fn text_of_file(name: &str, path: &Path) -> Result<String, Failure> {
    let mut file = File::open(path).map_err(|error| Failure::input(format!("{name}: {error}")))?;
    text_of(name, &mut file)
}

/// Longest text of a spec or map that is read, in bytes. The parser refuses specs far below it,
/// with their length.
const MAX_TEXT: usize = 1 << 20;

/// Reads text of at most [`MAX_TEXT`] bytes.
fn text_of(name: &str, reader: &mut dyn Read) -> Result<String, Failure> {
    let failed = |reason: &dyn Display| Failure::input(format!("{name}: {reason}"));
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() > MAX_TEXT {
        return Err(failed(&format!("has more than {MAX_TEXT} bytes, the most that a spec or map may have")));
    }
    String::from_utf8(bytes).map_err(|error| {
        failed(&format!("is not text: byte {} is not UTF-8", error.utf8_error().valid_up_to()))
    })
}

/// Reads the name map of `--map`, if there is one, and shows its notes.
pub fn load_map(path: Option<&Path>) -> Result<Option<NameMap>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let map = NameMap::from_yaml(&text_of_file(&name, path)?)
        .map_err(|error| Failure::input(format!("{name}: {error}")))?;
    map.notes().iter().for_each(|text| note(format!("{name}: {text}")));
    Ok(Some(map))
}

/// Shows help where it was asked for; a mistake in the arguments becomes one line.
pub fn usage(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => written(error.print()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            tell(&error.render().to_string());
            Err(Failure::told())
        }
        _ => Err(Failure::input(one_line(&error.render().to_string()))),
    }
}

/// What a message of clap says before it goes on about usage, paragraphs joined by semicolons.
fn one_line(message: &str) -> String {
    let text = message.strip_prefix("error: ").unwrap_or(message);
    let paragraphs =
        text.split("\n\n").take_while(|p| !p.starts_with("Usage:") && !p.starts_with("For more"));
    let lines = paragraphs.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    // How to pass a value that looks like an option is rarely what was meant.
    let said = lines.filter(|line| !line.starts_with("tip: to pass"));
    said.map(|line| line.trim_start_matches("tip: ").to_owned()).collect::<Vec<_>>().join("; ")
}
