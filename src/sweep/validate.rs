//! Sense of results: what their schema cannot say of numbers, names and counts.
//!
//! Results are checked when they are read and before a sweep begins, so that its readers (tables,
//! CSV, charts) get finite numbers of bounded length, names of bounded length that tell points
//! apart, and lists that fit together.

use std::collections::HashSet;
use std::fmt::{self, Display};

use xcc_compiler::plan::Precision;
use xcc_compiler::syntax::MAX_SOURCE;

use super::axes;
use super::kernels::KernelTable;
use super::results::{
    Axis, Cost, Layer, Machine, Point, Predicted, Results, Roof, Status, Step, Sweep, Timing,
};
use crate::cli::{LARGEST_BATCH, MOST_THREADS};

/// Most characters of a name: of a sweep, a point, a parameter or its value, a processor.
const NAME: usize = 1000;
/// Most characters of other texts: messages, lists of names and of segments. A spec has at most
/// 10,000 layers.
const TEXT: usize = 1 << 22;
/// Largest count of parameters, multiply-adds, bytes or instructions.
const COUNT: u64 = 1_000_000_000_000_000_000;

/// Numbers that a quantity can have: 0, or from `least` to `most`.
struct Range {
    what: &'static str,
    least: f64,
    most: f64,
}

/// Clocks tick in nanoseconds; bounds of small layers are shorter. The longest is 30 years.
const TIME: Range = Range { what: "a time in milliseconds", least: 1e-15, most: 1e12 };
const SPEED: Range =
    Range { what: "a number of 10^9 operations or bytes a second", least: 1e-15, most: 1e12 };
/// Ratios of times, and of operations to bytes.
const RATIO: Range = Range { what: "a ratio", least: 1e-30, most: 1e30 };
const SHARE: Range = Range { what: "a share", least: 1e-30, most: 1.0 + 1e-9 };
const AMOUNT: Range = Range { what: "an amount", least: 1e-15, most: 1e18 };
/// Values of parameters, with either sign. Whole ones have 64 bits.
const VALUE: Range = Range { what: "a parameter's number", least: 1e-30, most: 1e19 };

/// What is wrong with results, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Names of fields and numbers of elements, from the outermost on.
    place: Vec<String>,
    reason: String,
}

type Checked = Result<(), Fault>;

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place.concat().trim_start_matches('.'), self.reason)
    }
}

fn fault(reason: impl Display) -> Checked {
    Err(Fault { place: Vec::new(), reason: format!(" {reason}") })
}

/// What is checked of the field `name`.
fn field(name: &str, checked: Checked) -> Checked {
    checked.map_err(|fault| within(format!(".{name}"), fault))
}

fn within(place: String, mut fault: Fault) -> Fault {
    fault.place.insert(0, place);
    fault
}

/// Checks the field `name`, whose elements each have to pass.
fn each<T>(name: &str, items: &[T], check: impl Fn(&T) -> Checked) -> Checked {
    let mut numbered = items.iter().enumerate();
    let checked =
        numbered.try_for_each(|(at, item)| check(item).map_err(|fault| within(format!("[{at}]"), fault)));
    field(name, checked)
}

impl Range {
    fn check(&self, number: f64) -> Checked {
        let Range { what, least, most } = self;
        match number == 0.0 || (*least..=*most).contains(&number) {
            true => Ok(()),
            false => fault(format!("is {number:e}, where {what} is 0 or from {least:e} to {most:e}")),
        }
    }

    fn field(&self, name: &str, number: f64) -> Checked {
        field(name, self.check(number))
    }

    fn maybe(&self, name: &str, number: Option<f64>) -> Checked {
        number.map_or(Ok(()), |number| self.field(name, number))
    }

    fn each(&self, name: &str, numbers: &[f64]) -> Checked {
        each(name, numbers, |&number| self.check(number))
    }
}

/// A count and its upper bound.
fn count(name: &str, number: impl TryInto<u64> + Display + Copy, most: u64) -> Checked {
    match number.try_into().is_ok_and(|number| number <= most) {
        true => Ok(()),
        false => field(name, fault(format!("is {number}, where the most is {most}"))),
    }
}

fn counts<const N: usize>(numbers: [(&str, u64); N]) -> Checked {
    numbers.into_iter().try_for_each(|(name, number)| count(name, number, COUNT))
}

fn text(text: &str, most: usize) -> Checked {
    let found = text.chars().count();
    if found > most { fault(format!("has {found} characters, where the most is {most}")) } else { Ok(()) }
}

fn name(field_name: &str, found: &str) -> Checked {
    field(field_name, text(found, NAME))
}

/// Checks that no two of the keys of the field `name` are the same.
fn unique<K: Eq + std::hash::Hash + fmt::Debug>(name: &str, keys: impl Iterator<Item = K>) -> Checked {
    let mut seen = HashSet::new();
    for (at, key) in keys.enumerate() {
        if seen.contains(&key) {
            return field(&format!("{name}[{at}]"), fault(format!("repeats {key:?}")));
        }
        seen.insert(key);
    }
    Ok(())
}

fn filled<T>(name: &str, items: &[T]) -> Checked {
    if items.is_empty() { field(name, fault("is empty")) } else { Ok(()) }
}

/// True for what a time in milliseconds can be.
pub fn is_time(ms: f64) -> bool {
    TIME.check(ms).is_ok()
}

/// Checks that a table of the times of kernels makes sense.
pub fn kernel_table(table: &KernelTable) -> Checked {
    field("machine", machine(&table.machine))?;
    each("between", &table.between, |between| TIME.field("ms", between.ms))?;
    each("kernels", &table.kernels, |times| {
        name("kernel", &times.kernel)?;
        each("problems", &times.problems, |problem| {
            counts([("calls", problem.calls), ("instructions", problem.instructions)])?;
            TIME.field("ms", problem.ms)
        })
    })
}

/// Checks that results make sense.
pub fn validate(results: &Results) -> Checked {
    let Results { schema: _, xcc, date, sweep: swept, machine: place, sampling, points } = results;
    name("xcc", xcc)?;
    name("date", date)?;
    field("sweep", sweep(swept))?;
    field("machine", machine(place))?;
    TIME.field("sampling.warmup_ms", sampling.warmup_ms)?;
    SPEED.each("sampling.peak_samples_gflops", &sampling.peak_samples_gflops)?;
    filled("points", points)?;
    count("points", points.len() as u64, axes::MOST as u64)?;
    each("points", points, point)?;
    unique("points", points.iter().map(|point| point.label.as_str()))
}

fn sweep(sweep: &Sweep) -> Checked {
    name("name", &sweep.name)?;
    field("question", sweep.question.as_deref().map_or(Ok(()), |question| text(question, TEXT)))?;
    name("spec.path", sweep.spec.path.as_deref().unwrap_or_default())?;
    name("spec.model", &sweep.spec.model)?;
    field("spec.source", text(&sweep.spec.source, MAX_SOURCE))?;
    each("axes", &sweep.axes, axis)?;
    unique("axes", sweep.axes.iter().map(|axis| axis.parameter.as_str()))?;
    sweep.fixed.iter().try_for_each(|(key, value)| name("fixed", key).and_then(|()| name("fixed", value)))?;
    if let Some(hold) = &sweep.hold {
        AMOUNT.field("hold.value", hold.value)?;
        name("hold.by", &hold.by)?;
    }
    each("precisions", &sweep.precisions, |precision| known(precision))?;
    unique("precisions", sweep.precisions.iter())?;
    each("threads", &sweep.threads, |&threads| positive(threads, MOST_THREADS))?;
    unique("threads", sweep.threads.iter())?;
    each("batches", &sweep.batches, |&batch| positive(batch, LARGEST_BATCH))?;
    unique("batches", sweep.batches.iter())?;
    name("target", &sweep.target)?;
    name("constants.path", sweep.constants.as_ref().map_or("", |constants| constants.path.as_str()))
}

fn axis(axis: &Axis) -> Checked {
    name("parameter", &axis.parameter)?;
    filled("values", &axis.values)?;
    count("values", axis.values.len() as u64, axes::MOST as u64)?;
    each("values", &axis.values, |value| {
        name("text", &value.text)?;
        VALUE.maybe("number", value.number.map(f64::abs))
    })?;
    unique("values", axis.values.iter().map(|value| value.text.as_str()))
}

fn known(precision: &str) -> Checked {
    precision.parse::<Precision>().map(drop).or_else(|_| fault("is no precision"))
}

fn positive(number: u32, most: u32) -> Checked {
    match (1..=most).contains(&number) {
        true => Ok(()),
        false => fault(format!("is {number}, where it is from 1 to {most}")),
    }
}

fn machine(machine: &Machine) -> Checked {
    name("processor", &machine.processor)?;
    each("features", &machine.features, |feature| text(feature, NAME))?;
    unique("features", machine.features.iter())?;
    each("roofs", &machine.roofs, roof)?;
    unique("roofs", machine.roofs.iter().map(|roof| roof.threads))
}

fn roof(roof: &Roof) -> Checked {
    field("threads", positive(roof.threads, MOST_THREADS))?;
    SPEED.field("peak_gflops", roof.peak_gflops)?;
    SPEED.maybe("bf16_gflops", roof.bf16_gflops)?;
    SPEED.each("bf16_samples_gflops", &roof.bf16_samples_gflops)?;
    SPEED.field("bandwidth_gbs", roof.bandwidth_gbs)
}

fn point(point: &Point) -> Checked {
    name("label", &point.label)?;
    point.settings.iter().try_for_each(|(key, value)| {
        name("settings", key)?;
        name("settings", value)
    })?;
    AMOUNT.maybe("held.reached", point.held.as_ref().map(|held| held.reached))?;
    counts([("held.value", point.held.as_ref().map_or(0, |held| held.value))])?;
    field("precision", known(&point.precision))?;
    field("threads", positive(point.threads, MOST_THREADS))?;
    field("batch", positive(point.batch, LARGEST_BATCH))?;
    field("message", text(point.message.as_deref().unwrap_or_default(), TEXT))?;
    field("cost", point.cost.as_ref().map_or(Ok(()), cost))?;
    each("layers", &point.layers, layer)?;
    unique("layers", point.layers.iter().map(|layer| layer.name.as_str()))?;
    field("predicted", point.predicted.as_ref().map_or(Ok(()), predicted))?;
    field("timing", point.timing.as_ref().map_or(Ok(()), timing))?;
    if point.status == Status::Measured && point.timing.is_none() {
        return field("status", fault("is \"measured\", but there is no timing"));
    }
    let samples = point.timing.as_ref().map_or(0, |timing| timing.samples_ms.len());
    each("steps", &point.steps, |found| step(found, samples))
}

fn cost(cost: &Cost) -> Checked {
    counts([
        ("parameters", cost.parameters),
        ("spatial_macs", cost.spatial_macs),
        ("pointwise_macs", cost.pointwise_macs),
        ("macs", cost.macs),
        ("weight_bytes", cost.weight_bytes),
        ("activation_bytes", cost.activation_bytes),
        ("fused_activation_bytes", cost.fused_activation_bytes),
        ("moved_bytes", cost.moved_bytes),
        ("packed_bytes", cost.packed_bytes),
        ("arena_bytes", cost.arena_bytes),
        ("memory_bytes", cost.memory_bytes),
    ])?;
    RATIO.field("intensity", cost.intensity)?;
    let sum = cost.spatial_macs + cost.pointwise_macs;
    match sum == cost.macs {
        true => Ok(()),
        false => {
            field("macs", fault(format!("is {}, where spatial and pointwise ones are {sum}", cost.macs)))
        }
    }
}

fn layer(layer: &Layer) -> Checked {
    // The language has no limit but that of a spec.
    field("name", text(&layer.name, MAX_SOURCE))?;
    name("class", &layer.class)?;
    each("path", &layer.path, |part| text(part, MAX_SOURCE))?;
    match layer.output_shape.len() {
        1 | 3 => {}
        found => return field("output_shape", fault(format!("has {found} extents, where there are 1 or 3"))),
    }
    field("cut", text(layer.cut.as_deref().unwrap_or_default(), TEXT))?;
    counts([
        ("parameters", layer.parameters),
        ("spatial_macs", layer.spatial_macs),
        ("pointwise_macs", layer.pointwise_macs),
    ])
}

fn predicted(predicted: &Predicted) -> Checked {
    TIME.field("ms", predicted.ms)?;
    SHARE.field("covered", predicted.covered)?;
    SHARE.field("similar", predicted.similar)
}

fn timing(timing: &Timing) -> Checked {
    TIME.field("compile_ms", timing.compile_ms)?;
    SPEED.maybe("weights_gbs", timing.weights_gbs)?;
    filled("samples_ms", &timing.samples_ms)?;
    TIME.each("samples_ms", &timing.samples_ms)?;
    TIME.field("median_ms", timing.median_ms)?;
    TIME.field("p5_ms", timing.p5_ms)?;
    TIME.field("p95_ms", timing.p95_ms)?;
    SPEED.field("gflops", timing.gflops)?;
    TIME.maybe("bound_ms", timing.bound_ms)?;
    RATIO.maybe("bound_share", timing.bound_share)?;
    let Timing { p5_ms, median_ms, p95_ms, .. } = timing;
    match p5_ms <= median_ms && median_ms <= p95_ms {
        true => Ok(()),
        false => field("median_ms", fault(format!("is {median_ms:e}, not between p5_ms and p95_ms"))),
    }
}

/// A step of a point, whose number of samples is known.
fn step(step: &Step, samples: usize) -> Checked {
    field("layer", text(&step.layer, TEXT))?;
    name("class", &step.class)?;
    counts([
        ("macs", step.macs),
        ("tile_macs", step.tile_macs.unwrap_or(0)),
        ("saved_macs", step.saved_macs),
        ("bytes", step.bytes),
        ("weight_bytes", step.weight_bytes),
    ])?;
    TIME.each("samples_ms", &step.samples_ms)?;
    if step.samples_ms.len() != samples {
        let found = step.samples_ms.len();
        return field("samples_ms", fault(format!("has {found} times, where the point has {samples}")));
    }
    TIME.field("ms", step.ms)?;
    SPEED.maybe("gflops", step.gflops)?;
    TIME.maybe("bound_ms", step.bound_ms)?;
    name("bound", step.bound.as_deref().unwrap_or_default())?;
    each("kernels", &step.kernels, |kernel| {
        name("name", &kernel.name)?;
        counts([("calls", kernel.calls), ("instructions", kernel.instructions)])
    })
}
