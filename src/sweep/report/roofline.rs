//! The steps of a run under the two roofs of the machine (Williams, Waterman and Patterson,
//! *Roofline*, CACM 2009).

use xcc_compiler::plan::Precision;

use super::axis::Axis;
use super::chart::{Chart, Dot, Line, Note, RADIUS};
use super::exhibit::Exhibit;
use super::marks::{INK, Mark};
use crate::sweep::results::{Point, Results, Roof, Step};

/// Width and height.
const SIZE: (u32, u32) = (1560, 860);
/// Steps that get their names.
const NAMED: usize = 8;

/// The classes of layers that the steps of a sweep have, in alphabetical order: each has its mark
/// at all points.
pub fn classes(results: &Results) -> Vec<&str> {
    let steps = results.points.iter().flat_map(|point| &point.steps).filter(|step| place(step).is_some());
    let mut classes: Vec<&str> = steps.map(|step| step.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// The chart of point `number`; `None` when its steps or the roofs were not measured.
pub fn exhibit(results: &Results, number: usize, classes: &[&str]) -> Option<Exhibit> {
    let point = results.points.get(number)?;
    let roof = results.machine.roofs.iter().find(|roof| roof.threads == point.threads)?;
    let chart = chart(point, roof, classes)?;
    Some(Exhibit { id: format!("roofline-{number}-{}", plain(&point.label)), chart, caption: caption(point) })
}

/// Most letters of a label in a file's name, of which systems admit 255.
const LONGEST_NAME: usize = 100;

/// The letters and digits of a label, with dashes between them, as far as a file's name has room.
fn plain(label: &str) -> String {
    let words = label.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-");
    name.truncate(LONGEST_NAME);
    name.trim_end_matches('-').to_owned()
}

fn caption(point: &Point) -> String {
    let unplaced = unplaced_share(point) * 100.0;
    let rest = match unplaced >= 0.05 {
        true => format!(" Steps without multiply-adds, {unplaced:.1} % of the time, have no place here."),
        false => String::new(),
    };
    let vectors = match has_tiles(point) {
        false => "",
        true => {
            " What runs in vectors of f32 values, such as depthwise layers, reaches the dashed line at most."
        }
    };
    let saving = match point.steps.iter().any(|step| step.saved_macs > 0) {
        true => {
            " Above the peak can be convolutions by Winograd's method or with the fast inner product, which take fewer products than \
             their speed counts."
        }
        false => "",
    };
    format!(
        "Each mark is a layer as it runs; its area grows with its share of the time. Above the slope of memory are \
         layers that find their data in caches.{saving}{vectors}{rest}"
    )
}

fn has_tiles(point: &Point) -> bool {
    point.precision != Precision::F32.to_string() || point.is_f32_by_tiles()
}

/// The share of a point's time in steps that have no place in the chart, for want of multiply-adds.
fn unplaced_share(point: &Point) -> f64 {
    let total: f64 = point.steps.iter().map(|step| step.ms).sum();
    let unplaced: f64 = point.steps.iter().filter(|step| place(step).is_none()).map(|step| step.ms).sum();
    if total > 0.0 { unplaced / total } else { 0.0 }
}

fn chart(point: &Point, roof: &Roof, classes: &[&str]) -> Option<Chart> {
    let placed: Vec<(&Step, (f64, f64))> =
        point.steps.iter().filter_map(|step| Some((step, place(step)?))).collect();
    if placed.is_empty() || roof.peak_gflops <= 0.0 || roof.bandwidth_gbs <= 0.0 {
        return None;
    }
    let precision = point.precision.parse().unwrap_or_default();
    let has_tiles = has_tiles(point);
    let measured = if has_tiles { roof.tiles(precision) } else { roof.peak(precision) };
    let peak = measured.unwrap_or(roof.peak_gflops);
    let ridge = peak / roof.bandwidth_gbs;
    let least =
        |pick: fn(&(f64, f64)) -> f64| placed.iter().map(|(_, at)| pick(at)).fold(f64::INFINITY, f64::min);
    let most = |pick: fn(&(f64, f64)) -> f64| placed.iter().map(|(_, at)| pick(at)).fold(0.0, f64::max);
    let x = Axis::log(
        "operations for each byte moved (FLOP/B)",
        least(|at| at.0).min(ridge / 2.0) / 1.5,
        most(|at| at.0).max(ridge * 2.0) * 1.5,
    );
    let lowest = least(|at| at.1).min(roof.peak_gflops / 4.0) / 1.5;
    let y = Axis::log("speed (GFLOP/s)", lowest, most(|at| at.1).max(peak) * 1.4);
    let mut chart = Chart::new(format!("roofline of {}", point.label), SIZE, x, y);
    let name = match precision {
        Precision::F32 if has_tiles => "peak of f32 by tiles".to_owned(),
        Precision::F32 => "peak".to_owned(),
        _ => format!("peak of {precision}"),
    };
    add_slope(&mut chart, roof.bandwidth_gbs, peak);
    if measured.is_some() {
        add_peak(&mut chart, roof.bandwidth_gbs, (peak, &name), false);
    }
    if has_tiles {
        add_peak(&mut chart, roof.bandwidth_gbs, (roof.peak_gflops, "peak of f32"), true);
    }
    add_steps(&mut chart, point, &placed, classes);
    Some(chart)
}

/// Where a step lies: operations for each byte, and 10^9 operations in a second.
fn place(step: &Step) -> Option<(f64, f64)> {
    let at = (2.0 * step.macs as f64 / step.bytes as f64, step.gflops?);
    (at.0.is_finite() && at.0 > 0.0 && at.1 > 0.0).then_some(at)
}

/// The roof of memory, up to where it reaches `peak`.
fn add_slope(chart: &mut Chart, bandwidth: f64, peak: f64) {
    let ((left, _), (low, _)) = (chart.x.ends(), chart.y.ends());
    let ridge = peak / bandwidth;
    let start = left.max(low / bandwidth);
    let places = vec![(start, start * bandwidth), (ridge, peak)];
    chart.lines.push(Line { places, color: INK, is_dashed: false });
    let middle = (start * ridge).sqrt();
    chart.notes.push(Note { at: (middle, middle * bandwidth), text: format!("memory: {bandwidth:.1} GB/s") });
}

/// A roof of arithmetic, from that of memory on.
fn add_peak(chart: &mut Chart, bandwidth: f64, (peak, name): (f64, &str), is_dashed: bool) {
    let right = chart.x.ends().1;
    let places = vec![(peak / bandwidth, peak), (right, peak)];
    chart.lines.push(Line { places, color: INK, is_dashed });
    chart.notes.push(Note { at: (right, peak), text: format!("{name}: {peak:.0} GFLOP/s") });
}

fn add_steps(chart: &mut Chart, point: &Point, placed: &[(&Step, (f64, f64))], classes: &[&str]) {
    let total: f64 = point.steps.iter().map(|step| step.ms).sum();
    let mut slowest: Vec<&(&Step, (f64, f64))> = placed.iter().collect();
    slowest.sort_by(|(a, _), (b, _)| b.ms.total_cmp(&a.ms));
    // Smaller marks lie on larger ones, and the slowest steps get their names first.
    for (number, (step, at)) in slowest.into_iter().enumerate() {
        let share = step.ms / total.max(f64::MIN_POSITIVE);
        let class = classes.iter().position(|class| *class == step.class).unwrap_or(0);
        let bound = step.bound.as_ref().map_or_else(String::new, |bound| format!(", bound by {bound}"));
        chart.dots.push(Dot {
            at: *at,
            mark: Mark::of(class),
            radius: RADIUS - 1 + (40.0 * share.clamp(0.0, 1.0).sqrt()) as i32,
            is_hollow: true,
            point: None,
            tip: format!(
                "{} ({}): {:.3} ms, {:.1} % of the time, {:.1} GFLOP/s, {:.1} FLOP/B{bound}",
                step.layer,
                step.class,
                step.ms,
                share * 100.0,
                at.1,
                at.0
            ),
            label: (number < NAMED).then(|| step.layer.clone()),
        });
    }
}
