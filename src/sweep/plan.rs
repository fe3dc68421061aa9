//! The plan of a sweep: arguments and a YAML file, as they are written.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use xcc_compiler::plan::Precision;
use xcc_compiler::target::Target;
use xcc_runtime::machine;

use super::axes::Written;
use super::results::{Combine, Quantity};
use crate::cli::{self, Failure, Setting, Source};

/// What is swept, and how.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The spec (`-` is standard input), or a plan: a file that ends in .yaml
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
    /// Vary a parameter of the spec: values (`1,2,4`), ranges (`1..8`), `divisors`, `powers`,
    /// `full`
    #[arg(long, value_name = "NAME=VALUES", value_parser = cli::setting)]
    pub over: Vec<Setting>,
    /// How several parameters vary [default: product]
    #[arg(long, value_enum, value_name = "HOW")]
    pub combine: Option<Combine>,
    /// Set a parameter of the spec at all points, as in `--set size=224`
    #[arg(long, value_name = "NAME=VALUE", value_parser = cli::setting)]
    pub set: Vec<Setting>,
    /// Hold a budget at every point: params, macs or latency (in ms); `default` is what the spec
    /// has
    #[arg(long, value_name = "QUANTITY=VALUE", requires = "by", value_parser = str::parse::<Budget>)]
    pub hold: Option<Budget>,
    /// The parameter that is solved for, so that the budget holds
    #[arg(long, value_name = "NAME", requires = "hold")]
    pub by: Option<String>,
    /// What products are computed in: f32, bf16, split, or several of them
    #[arg(long, value_name = "PRECISION,..", value_delimiter = ',')]
    pub precision: Vec<Precision>,
    /// Threads of compiled code, or several such numbers [default: one for each core]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = cli::thread_count)]
    pub threads: Vec<NonZeroU32>,
    /// Images in a run, or several such numbers [default: 1]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = cli::batch_size)]
    pub batch: Vec<NonZeroU32>,
    /// How often all points are measured in turn [default: 12]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u32>(1..=MOST_ROUNDS.into()))]
    pub rounds: Option<u32>,
    /// The seed of weights and inputs [default: 0]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u64>(0..=u64::MAX))]
    pub seed: Option<u64>,
    /// Code for an instruction set: baseline, avx2, avx512, avx512bf16, amx, or native, the widest
    /// of this machine
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Target>)]
    pub target: Option<Target>,
    /// Choose kernels by the times of instructions in this file, as `xcc calibrate --output FILE`
    /// writes them
    #[arg(long, value_name = "FILE")]
    pub constants: Option<PathBuf>,
    /// Leave out points that the spec does not allow, instead of refusing the sweep
    #[arg(long)]
    pub skip_illegal: bool,
}

/// Rounds, where nothing is said of them, and the most that can be asked for.
const ROUNDS: u32 = 12;
const MOST_ROUNDS: u32 = 100_000;

/// A sweep as it is written, before anything is known of the spec.
#[derive(Debug)]
pub struct Plan {
    /// Where the spec is.
    pub spec: PathBuf,
    /// What to call the sweep, if that is said.
    pub name: Option<String>,
    /// What the sweep is to answer, if that is said.
    pub question: Option<String>,
    /// What varies, the slowest first; at least one.
    pub axes: Vec<Written>,
    /// How that makes points.
    pub combine: Combine,
    /// What does not vary.
    pub fixed: Vec<Setting>,
    /// The budget, and the parameter that is solved for.
    pub hold: Option<(Budget, String)>,
    /// What products are computed in.
    pub precisions: Vec<Precision>,
    /// Numbers of threads.
    pub threads: Vec<u32>,
    /// Images in a run.
    pub batches: Vec<u32>,
    /// Rounds over all points.
    pub rounds: u32,
    /// The seed of weights and inputs.
    pub seed: u64,
    /// What code is made for, with the times of instructions by which kernels are chosen.
    pub target: Target,
    /// Where these times are from, unless they are built in.
    pub constants: Option<PathBuf>,
    /// Whether illegal points are left out.
    pub skip_illegal: bool,
}

/// A budget as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// What is held.
    pub quantity: Quantity,
    /// How much of it; `None` for as much as the spec has without settings of axes.
    pub amount: Option<f64>,
}

impl FromStr for Budget {
    type Err = String;

    /// Reads `params=22.9M`, `macs=default` or `latency=120`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, amount) = text.split_once('=').ok_or("must be a quantity, `=` and a value")?;
        let quantity = match name.trim() {
            "params" => Quantity::Params,
            "macs" => Quantity::Macs,
            "latency" => Quantity::Latency,
            other => return Err(format!("`{other}` is not params, macs or latency")),
        };
        let amount = match (quantity, amount.trim()) {
            (Quantity::Latency, "default") => return Err("latency needs a number of milliseconds".to_owned()),
            (_, "default") => None,
            (quantity, amount) => Some(number(quantity, amount)?),
        };
        Ok(Self { quantity, amount })
    }
}

/// More parameters or multiply-adds than networks can have.
const MOST_AMOUNT: f64 = 1e18;

/// A positive number, in thousands (`k`), millions (`M`) or billions (`G`) where one of these
/// follows; in milliseconds for times.
fn number(quantity: Quantity, text: &str) -> Result<f64, String> {
    let units: &[(&str, f64)] = match quantity {
        Quantity::Latency => &[("ms", 1.0)],
        Quantity::Params | Quantity::Macs => &[("k", 1e3), ("M", 1e6), ("G", 1e9)],
    };
    let stripped = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = stripped.unwrap_or((text, 1.0));
    let is_count = quantity != Quantity::Latency;
    let number = digits.trim().parse().ok().map(|number: f64| number * factor);
    let number = number.map(|number| if is_count { number.round() } else { number });
    if is_count && number.is_some_and(|number| number > MOST_AMOUNT) {
        return Err(format!("`{text}` is more than any network has"));
    }
    number
        .filter(|number| number.is_finite() && *number > 0.0)
        .ok_or_else(|| format!("`{text}` is not a positive number"))
}

/// A plan in YAML.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    question: Option<String>,
    spec: PathBuf,
    over: Mapping,
    combine: Option<Combine>,
    #[serde(default)]
    set: Mapping,
    hold: Option<FileHold>,
    precision: Option<Several<String>>,
    threads: Option<Value>,
    batch: Option<Value>,
    rounds: Option<Value>,
    seed: Option<u64>,
    #[serde(default)]
    skip_illegal: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHold {
    params: Option<Value>,
    macs: Option<Value>,
    latency: Option<Value>,
    by: String,
}

/// One value or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Several<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Several::One(value) => vec![value],
            Several::Many(values) => values,
        }
    }
}

impl Plan {
    /// What the arguments and the plan that they name say; arguments go before the plan.
    pub fn new(arguments: &PlanArgs) -> Result<Self, Failure> {
        let is_plan = arguments.spec.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let mut plan = if is_plan { from_file(&arguments.spec)? } else { Self::of_spec(&arguments.spec) };
        plan.override_with(arguments)?;
        plan.check()?;
        Ok(plan)
    }

    fn of_spec(spec: &Path) -> Self {
        Self {
            spec: spec.to_owned(),
            name: None,
            question: None,
            axes: Vec::new(),
            combine: Combine::Product,
            fixed: Vec::new(),
            hold: None,
            precisions: vec![Precision::F32],
            threads: vec![machine::cores()],
            batches: vec![1],
            rounds: ROUNDS,
            seed: 0,
            target: Target::native(),
            constants: None,
            skip_illegal: false,
        }
    }

    fn override_with(&mut self, arguments: &PlanArgs) -> Result<(), Failure> {
        for (number, (name, values)) in arguments.over.iter().enumerate() {
            if let Some((_, earlier)) = arguments.over[..number].iter().find(|(other, _)| other == name) {
                return Err(failed(
                    &format!("--over {name}"),
                    format!("is given twice; write all values at once: `--over {name}={earlier},{values}`"),
                ));
            }
            let axis =
                Written::parse(name, values).map_err(|error| failed(&format!("--over {name}"), error))?;
            match self.axes.iter_mut().find(|other| other.parameter == *name) {
                Some(other) => *other = axis,
                None => self.axes.push(axis),
            }
        }
        for (name, value) in &arguments.set {
            self.fixed.retain(|(other, _)| other != name);
            self.fixed.push((name.clone(), value.clone()));
        }
        let numbers = |given: &[NonZeroU32]| given.iter().map(|number| number.get()).collect::<Vec<_>>();
        replace(&mut self.precisions, arguments.precision.clone());
        replace(&mut self.threads, numbers(&arguments.threads));
        replace(&mut self.batches, numbers(&arguments.batch));
        self.combine = arguments.combine.unwrap_or(self.combine);
        self.hold = arguments.hold.zip(arguments.by.clone()).or(self.hold.take());
        self.rounds = arguments.rounds.unwrap_or(self.rounds);
        self.seed = arguments.seed.unwrap_or(self.seed);
        let target = arguments.target.unwrap_or(self.target);
        self.target = cli::with_constants(target, arguments.constants.as_deref())?;
        self.constants = arguments.constants.clone();
        self.skip_illegal |= arguments.skip_illegal;
        Ok(())
    }

    /// Whether the parts fit together.
    fn check(&mut self) -> Result<(), Failure> {
        if self.axes.is_empty() {
            return Err(Failure::input("nothing varies: say what, as in `--over segments=1,4,full`"));
        }
        let fixed = |name: &str| self.fixed.iter().any(|(other, _)| other == name);
        if let Some(axis) = self.axes.iter().find(|axis| fixed(&axis.parameter)) {
            let name = &axis.parameter;
            return Err(Failure::input(format!(
                "parameter `{name}` is both set and varied: leave out `--set {name}` or `--over {name}`"
            )));
        }
        if let Some((_, by)) = &self.hold
            && (fixed(by) || self.axes.iter().any(|axis| axis.parameter == *by))
        {
            return Err(Failure::input(format!(
                "parameter `{by}` is solved for so that the budget holds: it can be neither set nor varied"
            )));
        }
        unique(&mut self.precisions);
        unique(&mut self.threads);
        unique(&mut self.batches);
        Ok(())
    }

    /// A short name for files.
    pub fn file_stem(&self, arguments: &PlanArgs) -> String {
        let stem = arguments.spec.file_stem().and_then(|stem| stem.to_str()).unwrap_or("sweep");
        let stem = if stem == "-" { "sweep" } else { stem };
        let axes: Vec<&str> = self.axes.iter().map(|axis| axis.parameter.as_str()).collect();
        if arguments.over.is_empty() { stem.to_owned() } else { format!("{stem}-{}", axes.join("-")) }
    }
}

fn replace<T>(values: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *values = given;
    }
}

/// Each value once, where it comes first.
fn unique<T: PartialEq + Copy>(values: &mut Vec<T>) {
    let mut seen = Vec::new();
    values.retain(|value| {
        let is_new = !seen.contains(value);
        seen.push(*value);
        is_new
    });
}

fn failed(place: &str, error: impl std::fmt::Display) -> Failure {
    Failure::input(format!("{place}: {error}"))
}

/// Reads a plan. Its spec's path starts at the plan.
fn from_file(path: &Path) -> Result<Plan, Failure> {
    let source = Source::read(path)?;
    let file: File = serde_yaml::from_str(&source.text).map_err(|error| failed(&source.name, error))?;
    plan_of(file, path).map_err(|error| failed(&source.name, error))
}

fn plan_of(file: File, path: &Path) -> Result<Plan, String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let defaults = Plan::of_spec(&folder.join(&file.spec));
    let axis = |(name, values): &(String, String)| {
        Written::parse(name, values).map_err(|error| format!("over: {name}: {error}"))
    };
    let numbers = |given: Option<Value>, default: Vec<u32>, limit: u32, what: &str| {
        let given = match given {
            Some(Value::Sequence(numbers)) => numbers,
            given => given.into_iter().collect(),
        };
        let given = given.iter().map(|value| whole(value, limit, what)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, String>(if given.is_empty() { default } else { given })
    };
    let precisions = file.precision.map(|given| precisions(given.into_vec())).transpose()?;
    let rounds = file.rounds.map_or(Ok(ROUNDS), |rounds| whole(&rounds, MOST_ROUNDS, "rounds"))?;
    Ok(Plan {
        name: file.name,
        question: file.question.map(|question| question.trim().to_owned()),
        axes: settings(&file.over, "over")?.iter().map(axis).collect::<Result<_, _>>()?,
        combine: file.combine.unwrap_or_default(),
        fixed: settings(&file.set, "set")?,
        hold: file.hold.map(hold).transpose()?,
        precisions: precisions.filter(|given| !given.is_empty()).unwrap_or(defaults.precisions),
        threads: numbers(file.threads, defaults.threads, cli::MOST_THREADS, "threads")?,
        batches: numbers(file.batch, defaults.batches, cli::LARGEST_BATCH, "batch")?,
        rounds,
        seed: file.seed.unwrap_or(0),
        skip_illegal: file.skip_illegal,
        ..Plan::of_spec(&defaults.spec)
    })
}

/// A whole number of a plan.
fn whole(value: &Value, limit: u32, what: &str) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| (1..=limit).contains(number)).ok_or_else(|| {
        let written = scalar(value, what).unwrap_or_else(|_| "this".to_owned());
        format!("{what}: {written} is not a whole number from 1 to {limit}")
    })
}

fn precisions(names: Vec<String>) -> Result<Vec<Precision>, String> {
    names.iter().map(|name| name.parse().map_err(|error| format!("precision: {error}"))).collect()
}

fn hold(hold: FileHold) -> Result<(Budget, String), String> {
    let FileHold { params, macs, latency, by } = hold;
    let given = [("params", params), ("macs", macs), ("latency", latency)];
    let given: Vec<(&str, Value)> =
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let [(name, value)] = given.as_slice() else {
        return Err("hold: needs one of params, macs and latency".to_owned());
    };
    let budget = format!("{name}={}", scalar(value, "hold")?).parse();
    Ok((budget.map_err(|error| format!("hold: {error}"))?, by))
}

/// Names and the texts of their values; those of a list behind each other.
fn settings(mapping: &Mapping, place: &str) -> Result<Vec<Setting>, String> {
    let setting = |(name, value): (&Value, &Value)| {
        let name = scalar(name, place)?;
        let place = format!("{place}: {name}");
        let text = match value {
            Value::Sequence(items) => {
                let texts: Result<Vec<String>, String> =
                    items.iter().map(|item| scalar(item, &place)).collect();
                texts?.join(",")
            }
            value => scalar(value, &place)?,
        };
        Ok((name, text))
    };
    mapping.iter().map(setting).collect()
}

/// The text of a value as the language writes it.
fn scalar(value: &Value, place: &str) -> Result<String, String> {
    match value {
        Value::Bool(truth) => Ok(if *truth { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.trim().to_owned()),
        _ => Err(format!("{place}: needs a number, a word, or a list of these")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::axes::Item;
    use super::*;

    fn read(text: &str) -> Result<Plan, String> {
        let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        plan_of(file, Path::new("plans/a.yaml"))
    }

    #[test]
    fn a_plan_says_what_arguments_say() {
        let plan = read(
            "name: all\nspec: ../x.xc\nover:\n  segments: [1, 2, 4..6, full]\n  residuals: [yes, false]\n\
             combine: zip\nset: {size: 71}\nhold: {params: 22.9M, by: width}\nprecision: [f32, bf16]\n\
             threads: 2\nbatch: [1, 8]\nrounds: 3\nskip_illegal: true\n",
        )
        .unwrap();
        assert_eq!(plan.spec, Path::new("plans/../x.xc"));
        let value = |text: &str| Item::Value(text.to_owned());
        assert_eq!(plan.axes[0].items, [value("1"), value("2"), Item::Range(4, 6), value("full")]);
        assert_eq!(plan.axes[1].items, [value("yes"), value("no")]);
        assert_eq!((plan.combine, plan.rounds, plan.skip_illegal), (Combine::Zip, 3, true));
        assert_eq!(plan.fixed, [("size".to_owned(), "71".to_owned())]);
        assert_eq!((plan.threads, plan.batches), (vec![2], vec![1, 8]));
        assert_eq!(plan.precisions, [Precision::F32, Precision::Bf16]);
        let budget = Budget { quantity: Quantity::Params, amount: Some(22.9e6) };
        assert_eq!(plan.hold, Some((budget, "width".to_owned())));
    }

    #[test]
    fn bad_plans_name_the_place() {
        for (text, said) in [
            ("spec: a.xc\nover: {segments: {a: 1}}", "over: segments: needs a number, a word, or a list"),
            ("spec: a.xc\nover: {segments: \"1,,2\"}", "over: segments: a value is missing in `1,,2`"),
            ("spec: a.xc\nover: {}\nprecision: f64", "precision: there is no precision `f64`"),
            ("spec: a.xc\nover: {}\nthreads: 5000", "threads: 5000 is not a whole number from 1 to 1024"),
            ("spec: a.xc\nover: {}\nbatch: [1, two]", "batch: two is not a whole number from 1 to 4096"),
            ("spec: a.xc\nover: {}\nrounds: 0", "rounds: 0 is not a whole number from 1 to 100000"),
            ("spec: a.xc\nover: {}\nhold: {by: width}", "hold: needs one of params, macs and latency"),
            ("spec: a.xc\nover: {}\nhold: {params: -1, by: w}", "hold: `-1` is not a positive number"),
            ("spec: a.xc\nover: {}\nround: 3", "unknown field `round`"),
            ("over: {}", "missing field `spec`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn budgets_are_numbers_with_units() {
        let amount = |text: &str| text.parse::<Budget>().map(|budget| budget.amount);
        assert_eq!(amount("params=22910480"), Ok(Some(22_910_480.0)));
        assert_eq!(amount("macs=8.5G"), Ok(Some(8.5e9)));
        assert_eq!(amount("macs=default"), Ok(None));
        assert_eq!(amount("latency=120ms"), Ok(Some(120.0)));
        for bad in
            ["params", "parms=3", "params=", "params=-3", "params=nan", "latency=default", "latency=3k"]
        {
            assert!(bad.parse::<Budget>().is_err(), "{bad}");
        }
    }
}
