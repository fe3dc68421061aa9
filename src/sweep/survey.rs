//! What a spec makes of a plan: the values of its axes, the number of its budget, and so all
//! points.

use std::path::Path;

use xcc_compiler::cost::summarize;
use xcc_compiler::elaborate::{self, Param};
use xcc_compiler::graph::{Graph, Op, Partition};
use xcc_compiler::target::Target;

use super::axes::{self, Scale, Written};
use super::plan::{Budget, Plan};
use super::results::{Axis, Constants, Hold, Point, Quantity, Spec, Status, Sweep};
use crate::cli::{self, Failure, Setting, Source};
use crate::network::nearest;
use crate::numbers::counted;

/// The sweep that `plan` is for the spec in `source`. Warnings of the spec go to standard error.
pub fn sweep(plan: &Plan, source: &Source) -> Result<Sweep, Failure> {
    let base = elaborate::read(&source.text, &plan.fixed);
    let warnings: Vec<_> = base.diagnostics.iter().filter(|d| !d.is_error()).cloned().collect();
    let names = plan.axes.iter().map(|axis| axis.parameter.as_str());
    for name in names.chain(plan.hold.iter().map(|(_, by)| by.as_str())) {
        check_name(name, &base.params, base.graph.is_some())?;
    }
    let axes: Result<Vec<Axis>, Failure> =
        plan.axes.iter().map(|axis| expand(axis, source, &plan.fixed, &base.params)).collect();
    let hold = plan.hold.as_ref().map(|(budget, by)| hold(*budget, by, base.graph.as_ref())).transpose()?;
    cli::tell_diagnostics(&source.name, &source.text, &warnings);
    let model = base.graph.map(|graph| graph.name).unwrap_or_default();
    let parameters: Vec<&str> = plan.axes.iter().map(|axis| axis.parameter.as_str()).collect();
    let name =
        || format!("{} over {}", if model.is_empty() { "network" } else { &model }, parameters.join(", "));
    Ok(Sweep {
        name: plan.name.clone().unwrap_or_else(name),
        question: plan.question.clone(),
        axes: axes?,
        combine: plan.combine,
        fixed: plan.fixed.iter().cloned().collect(),
        hold,
        precisions: plan.precisions.iter().map(ToString::to_string).collect(),
        threads: plan.threads.clone(),
        batches: plan.batches.clone(),
        target: plan.target.to_string(),
        constants: plan.constants.as_deref().map(|path| constants(path, plan.target)).transpose()?,
        seed: plan.seed,
        spec: Spec {
            path: source.path.as_ref().map(|path| path.display().to_string()),
            digest: digest(source.text.as_bytes()),
            source: source.text.clone(),
            model,
        },
    })
}

/// What is told of the constants of a target that were read from `path`.
fn constants(path: &Path, target: Target) -> Result<Constants, Failure> {
    let times = serde_json::to_vec(&target.times).map_err(Failure::input)?;
    Ok(Constants { path: path.display().to_string(), digest: digest(&times) })
}

fn check_name(name: &str, params: &[Param], is_legal: bool) -> Result<(), Failure> {
    // Nothing is known of the parameters of a spec that cannot be read: its points will tell.
    let is_unknown = params.is_empty() && !is_legal;
    if is_unknown || params.iter().any(|param| param.name == name) {
        return Ok(());
    }
    let near = nearest(name, params.iter().map(|param| param.name.as_str()));
    let others = match near.as_slice() {
        [] => "it has none".to_owned(),
        near => format!("the nearest names are {}", near.join(", ")),
    };
    Err(Failure::input(format!("the spec has no parameter `{name}`; {others}")))
}

fn expand(axis: &Written, source: &Source, fixed: &[Setting], params: &[Param]) -> Result<Axis, Failure> {
    let scale = scale(&axis.parameter, source, fixed, params);
    axis.expand(scale).map_err(|error| Failure::input(format!("--over {}: {error}", axis.parameter)))
}

/// What is known of the values of a parameter.
fn scale(name: &str, source: &Source, fixed: &[Setting], params: &[Param]) -> Scale {
    let domain = params.iter().find(|param| param.name == name).and_then(|param| param.domain.as_deref());
    let [low, high] = domain.map_or([None, None], ends);
    let at = |value: &str| {
        let settings = [fixed, &[(name.to_owned(), value.to_owned())]].concat();
        elaborate::read(&source.text, &settings).graph
    };
    let channels = at("full").zip(at("1")).and_then(|(full, one)| cut_channels(&full, &one));
    Scale { low, high, channels }
}

/// The ends of a range that are written as numbers.
pub fn ends(domain: &str) -> [Option<i64>; 2] {
    domain.split_once("..").map_or([None, None], |(low, high)| [low, high].map(|end| end.trim().parse().ok()))
}

/// The number of channels that most convolutions have whose segments differ between two
/// elaborations of a spec; of several the largest.
fn cut_channels(a: &Graph, b: &Graph) -> Option<u64> {
    let cut = |graph: &Graph, at: usize| -> Option<Partition> {
        match &graph.node(*graph.order().get(at)?).op {
            Op::Conv(conv) => Some(conv.partition.clone()),
            _ => None,
        }
    };
    let mut counts = std::collections::BTreeMap::new();
    for at in 0..a.order().len() {
        let differs = |(a, b): &(Partition, Partition)| a.segments() != b.segments();
        if let Some((partition, _)) = cut(a, at).zip(cut(b, at)).filter(differs) {
            *counts.entry(u64::from(partition.ic())).or_insert(0) += 1;
        }
    }
    counts.into_iter().max_by_key(|(channels, count)| (*count, *channels)).map(|(channels, _)| channels)
}

fn hold(budget: Budget, by: &str, base: Option<&Graph>) -> Result<Hold, Failure> {
    let value = match budget.amount {
        Some(amount) => amount,
        None => of_spec(budget.quantity, base)?,
    };
    Ok(Hold { quantity: budget.quantity, value, by: by.to_owned() })
}

/// How much of a quantity the spec has without settings of axes.
fn of_spec(quantity: Quantity, base: Option<&Graph>) -> Result<f64, Failure> {
    let Some(graph) = base else {
        return Err(Failure::input(
            "--hold: the spec has mistakes with its defaults, so `default` is no number; give one",
        ));
    };
    let totals = summarize(graph).totals;
    Ok(if quantity == Quantity::Params { totals.parameters } else { totals.macs } as f64)
}

/// All points of a sweep, nothing being known of them yet.
pub fn points(sweep: &Sweep) -> Result<Vec<Point>, Failure> {
    let settings = axes::points(&sweep.axes, sweep.combine).map_err(Failure::input)?;
    let count = settings.len() * sweep.precisions.len() * sweep.threads.len() * sweep.batches.len();
    if count > axes::MOST {
        let limit = counted(axes::MOST, "point");
        return Err(Failure::input(format!(
            "the sweep has {}; the limit is {limit}",
            counted(count, "point")
        )));
    }
    let mut points = Vec::with_capacity(count);
    for settings in settings {
        for precision in &sweep.precisions {
            for &threads in &sweep.threads {
                for &batch in &sweep.batches {
                    let mut point = Point {
                        label: String::new(),
                        settings: settings.clone(),
                        held: None,
                        precision: precision.clone(),
                        threads,
                        batch,
                        status: Status::Pending,
                        message: None,
                        cost: None,
                        layers: Vec::new(),
                        predicted: None,
                        timing: None,
                        steps: Vec::new(),
                    };
                    point.label = label(sweep, &point);
                    points.push(point);
                }
            }
        }
    }
    Ok(points)
}

/// What varies at a point.
fn label(sweep: &Sweep, point: &Point) -> String {
    let settings = sweep.axes.iter().filter_map(|axis| point.settings.get_key_value(&axis.parameter));
    let mut parts: Vec<String> = settings.map(|(name, value)| format!("{name}={value}")).collect();
    parts.extend((sweep.precisions.len() > 1).then(|| point.precision.clone()));
    parts.extend((sweep.threads.len() > 1).then(|| counted(point.threads as usize, "thread")));
    parts.extend((sweep.batches.len() > 1).then(|| format!("batch {}", point.batch)));
    parts.join(" ")
}

/// [`fnv1a`] in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    format!("{:016x}", fnv1a(bytes))
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(spec: &str, name: &str) -> Option<u64> {
        let text =
            std::fs::read_to_string(format!("{}/specs/{spec}.xc", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let params = elaborate::read(&text, &[]).params;
        scale(name, &Source { text, name: spec.to_owned(), path: None }, &[], &params).channels
    }

    #[test]
    fn segments_cut_the_channels_of_most_layers() {
        assert_eq!(channels("xception", "segments"), Some(728));
        assert_eq!(channels("xception", "exit_segments"), Some(728));
        assert_eq!(channels("xception", "repeats"), None);
        // Two layers each have 16, 32 and 64.
        assert_eq!(channels("mini_xception", "segments"), Some(64));
    }

    #[test]
    fn digests_are_those_of_the_definition() {
        // Test vectors of Fowler, Noll and Vo (draft-eastlake-fnv).
        assert_eq!([fnv1a(b""), fnv1a(b"a")], [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c]);
    }
}
