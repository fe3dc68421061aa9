//! Damaged results: they are refused, or what is made of them holds finite numbers and is no
//! longer than that of whole ones.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use xcc_compiler::target::{Isa, Target};

use super::results::{Point, Results, Sweep, Timing};
use super::store::parse;
use super::{csv, figures, point, report, survey, table};

const TINY: &str = include_str!("../../tests/command/tiny.xc");

/// Results of three points in two precisions, with made-up times.
fn whole() -> Results {
    let values = ["1", "2", "full"].map(|text| json!({"text": text, "number": text.parse().unwrap_or(4.0)}));
    let sweep = json!({
        "name": "tiny over segments", "question": "What does it cost?",
        "spec": {"path": "tiny.xc", "model": "tiny", "digest": "0", "source": TINY},
        "axes": [{"parameter": "segments", "values": values}], "combine": "product", "fixed": {}, "hold": null,
        "precisions": ["f32", "bf16"], "threads": [1], "batches": [1], "target": "amx", "seed": 0
    });
    let sweep: Sweep = serde_json::from_value(sweep).unwrap();
    let mut points = survey::points(&sweep).unwrap();
    points.iter_mut().enumerate().for_each(|(at, point)| measured(&sweep, point, 1.0 + at as f64));
    let mut results = Results::new(sweep, points, "2026-11-30T12:00:00Z".to_owned());
    results.sampling.peak_samples_gflops = vec![100.0, 101.0];
    results.machine.roofs[0].bandwidth_gbs = 20.0;
    results.machine.roofs[0].bf16_samples_gflops = vec![900.0];
    figures::update(&mut results);
    results
}

fn measured(sweep: &Sweep, point: &mut Point, ms: f64) {
    let known = point::know(sweep, point, Target::of(Isa::Amx)).unwrap();
    (point.cost, point.layers, point.steps) = (Some(known.cost), known.layers, known.steps);
    let times = vec![ms, ms * 1.25, ms * 1.5];
    let steps = point.steps.len() as f64;
    point.steps.iter_mut().for_each(|step| step.samples_ms = times.iter().map(|time| time / steps).collect());
    let timing = Timing { rounds: 3, samples_ms: times, ..Timing::new(1.0) };
    (point.timing, point.status) = (Some(timing), super::results::Status::Measured);
}

/// All that is made of results, as named texts.
fn made(results: &Results) -> Vec<(String, String)> {
    let mut texts = report::files(results).unwrap();
    texts.push(("page".to_owned(), report::page(results).unwrap()));
    texts.push(("CSV".to_owned(), csv::text(results)));
    texts.extend([40, 200].map(|width| (format!("{width}"), table::text(results, width, true, false))));
    texts
}

fn length(texts: &[(String, String)]) -> usize {
    texts.iter().map(|(name, text)| name.len() + text.len()).sum()
}

/// Words that stand for numbers that are not finite.
fn strange(text: &str) -> Option<&str> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    let mut found = words.filter(|word| ["inf", "nan", "infinity"].contains(&word.to_lowercase().as_str()));
    found.next()
}

/// Pointers to a value and all that it holds.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| places(item, format!("{at}/{n}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, format!("{at}/{name}"), found));
        }
        _ => {}
    }
    found.push(at);
}

/// What damage `number` makes of a value; numbers of damages count round.
fn damaged(value: &Value, number: usize) -> Value {
    let pick = |choices: &[Value]| choices[number % choices.len()].clone();
    match value {
        Value::Number(_) | Value::Null | Value::Bool(_) => pick(&[
            json!(0),
            json!(-1),
            json!(1e308),
            json!(1e-320),
            json!(-0.0),
            json!(u64::MAX),
            json!(1_000_000_000_000_000_u64),
            json!(1e30),
            json!(1e-12),
            json!("NaN"),
            json!("inf"),
            Value::Null,
        ]),
        Value::String(text) => {
            pick(&[json!(""), json!(text.repeat(300)), json!("x".repeat(20_000)), json!("a\nb"), json!(0)])
        }
        Value::Array(items) => pick(&[
            json!([]),
            items.iter().chain(items).cloned().collect(),
            items.iter().skip(1).cloned().collect(),
            items.iter().rev().cloned().collect(),
            std::iter::repeat_n(items, 40).flatten().cloned().collect(),
        ]),
        Value::Object(fields) => pick(&[json!({}), json!([fields]), Value::Null]),
    }
}

fn damage(results: &Value, (place, number): (&str, usize)) -> Value {
    let mut results = results.clone();
    if let Some(value) = results.pointer_mut(place) {
        *value = damaged(value, number);
    }
    results
}

/// Checks that results are refused with a place and a way out, or that what is made of them is fit
/// to read. True if they are refused.
fn check(results: &Value, most: usize) -> Result<bool, String> {
    let text = results.to_string();
    let results = match parse(text.as_bytes()) {
        Ok(results) => results,
        Err(reason) => {
            let has_way_out = reason.ends_with("; mend that place, or measure anew");
            let is_of_schema =
                reason.starts_with("is no file of results") || reason.starts_with("has results in version");
            let is_short = reason.len() < 5000 && reason.lines().count() == 1;
            return if (has_way_out || is_of_schema) && is_short { Ok(true) } else { Err(reason) };
        }
    };
    let texts = made(&results);
    let names: HashSet<&str> = texts.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < texts.len() || names.iter().any(|name| name.len() > 200) {
        return Err(format!("names of figures: {names:?}"));
    }
    let found = length(&texts);
    if found > 2 * most + 40 * text.len() {
        return Err(format!("{found} bytes are made of {}", text.len()));
    }
    match texts.iter().find_map(|(name, text)| Some((name, strange(text)?))) {
        Some((name, word)) => Err(format!("{name} has {word}")),
        None => Ok(false),
    }
}

#[test]
fn whole_results_are_read_and_shown() {
    let results = whole();
    let value = serde_json::to_value(&results).unwrap();
    assert_eq!(check(&value, length(&made(&results))), Ok(false));
}

/// What results have at a place; the message that refuses them begins so.
const REFUSED: [(&str, &str, &str); 18] = [
    ("/points", "[]", "points is empty"),
    ("/points/1/label", "\"segments=1 f32\"", "points[1] repeats \"segments=1 f32\""),
    (
        "/points/1/timing/median_ms",
        "1e308",
        "points[1].timing.median_ms is 1e308, where a time in milliseconds is 0 or from 1e-15 to 1e12",
    ),
    ("/points/1/timing/median_ms", "-1", "points[1].timing.median_ms is -1e0"),
    ("/points/1/timing/median_ms", "9e3", "points[1].timing.median_ms is 9e3, not between p5_ms and p95_ms"),
    ("/points/0/timing/samples_ms", "[]", "points[0].timing.samples_ms is empty"),
    ("/points/0/timing/samples_ms/2", "1e-320", "points[0].timing.samples_ms[2] is 1e-320"),
    ("/points/0/timing", "null", "points[0].status is \"measured\", but there is no timing"),
    (
        "/points/0/steps/0/samples_ms",
        "[1]",
        "points[0].steps[0].samples_ms has 1 times, where the point has 3",
    ),
    ("/points/2/cost/macs", "7", "points[2].cost.macs is 7, where spatial and pointwise ones are "),
    (
        "/points/2/cost/moved_bytes",
        "18446744073709551615",
        "points[2].cost.moved_bytes is 18446744073709551615, where the most is 1000000000000000000",
    ),
    ("/points/2/precision", "\"f31\"", "points[2].precision is no precision"),
    ("/points/2/threads", "0", "points[2].threads is 0, where it is from 1 to 1024"),
    ("/points/3/layers/0/output_shape", "[1, 2]", "points[3].layers[0].output_shape has 2 extents"),
    ("/machine/roofs/0/bandwidth_gbs", "-0.5", "machine.roofs[0].bandwidth_gbs is -5e-1"),
    ("/machine/roofs/0/threads", "4096", "machine.roofs[0].threads is 4096"),
    ("/sweep/axes/0/values/0/text", "\"2\"", "sweep.axes[0].values[1] repeats \"2\""),
    ("/sweep/axes/0/values/0/number", "1e300", "sweep.axes[0].values[0].number is 1e300"),
];

#[test]
fn errors_name_the_place_the_numbers_and_the_way_out() {
    let whole = serde_json::to_value(whole()).unwrap();
    for (place, value, said) in REFUSED {
        let mut results = whole.clone();
        *results.pointer_mut(place).unwrap() = serde_json::from_str(value).unwrap();
        let reason = parse(results.to_string().as_bytes()).unwrap_err();
        assert!(reason.starts_with(&format!("makes no sense: {said}")), "{reason}");
        assert!(reason.ends_with("; mend that place, or measure anew"), "{reason}");
    }
    let long = damage(&whole, ("/points/0/label", 2));
    let reason = parse(long.to_string().as_bytes()).unwrap_err();
    assert!(reason.contains("points[0].label has 20000 characters, where the most is 1000"), "{reason}");
}

#[test]
fn damaged_results_are_refused_or_shown_in_finite_numbers() {
    let results = whole();
    let most = length(&made(&results));
    let whole = serde_json::to_value(results).unwrap();
    let mut all = Vec::new();
    places(&whole, String::new(), &mut all);
    let damages = prop::collection::vec((any::<prop::sample::Index>(), 0..60_usize), 1..4);
    let refused = [0, 0].map(Cell::new);
    proptest!(ProptestConfig::with_cases(300), |(damages in damages)| {
        let damage = |results: Value, (place, number): &(prop::sample::Index, usize)| {
            damage(&results, (&all[place.index(all.len())], *number))
        };
        let damaged = damages.iter().fold(whole.clone(), damage);
        let is_refused = check(&damaged, most).map_err(TestCaseError::fail)?;
        refused[usize::from(is_refused)].update(|count| count + 1);
    });
    assert!(refused.iter().all(|count| count.get() >= 20), "shown and refused: {refused:?}");
}
