//! Charts of costs and times along an axis of the sweep.

use std::collections::HashMap;

use super::axis::Axis;
use super::chart::{Chart, Dot, FONT, Line, RADIUS, axis_length};
use super::exhibit::Exhibit;
use super::series::{Series, Spectrum};
use crate::sweep::results::{Point, Results};

/// Width and height of each chart.
const SIZE: (u32, u32) = (920, 620);
/// How far marks are apart that have the same place, and which share of the way to the next place
/// they take.
const APART: f64 = 1.5 * RADIUS as f64;
const ROOM: f64 = 0.4;

/// A quantity that points have.
struct Quantity {
    /// What files with its chart are called.
    id: &'static str,
    /// What it is, with its unit.
    name: &'static str,
    /// How much of it a point has.
    of: fn(&Point) -> Option<f64>,
    /// Between which numbers it varies from run to run.
    spread: fn(&Point) -> Option<[f64; 2]>,
    /// A part of it, or a limit, shown by a dashed line.
    beside: fn(&Point) -> Option<f64>,
    /// What to say below.
    caption: &'static str,
}

const QUANTITIES: [Quantity; 4] = [
    Quantity {
        id: "latency",
        name: "latency (ms)",
        of: |point| Some(point.timing.as_ref()?.median_ms),
        spread: |point| point.timing.as_ref().map(|timing| [timing.p5_ms, timing.p95_ms]),
        beside: |point| point.timing.as_ref()?.bound_ms,
        caption: "Time of a run: median, and bars from 5 % to 95 % of runs. Dashed: the least time by the roofline model.",
    },
    Quantity {
        id: "speed",
        name: "speed (GFLOP/s)",
        of: |point| Some(point.timing.as_ref()?.gflops),
        spread: |_| None,
        beside: |_| None,
        caption: "Operations in a second, a multiply-add being two. A point far below its neighbours would be a cliff.",
    },
    Quantity {
        id: "macs",
        name: "MACs of an image (10⁹)",
        of: |point| Some(point.cost?.macs as f64 / 1e9),
        spread: |_| None,
        beside: |point| Some(point.cost?.spatial_macs as f64 / 1e9),
        caption: "Multiply-adds. Dashed: the spatial ones, of windows or segments.",
    },
    Quantity {
        id: "parameters",
        name: "parameters (10⁶)",
        of: |point| Some(point.cost?.parameters as f64 / 1e6),
        spread: |_| None,
        beside: |_| None,
        caption: "Parameters, stored statistics included.",
    },
];

/// The charts for which there are numbers.
pub fn charts(results: &Results, spectrum: &Spectrum) -> Vec<Exhibit> {
    let exhibit = |quantity: &Quantity| {
        let chart = chart(results, spectrum, quantity)?;
        Some(Exhibit { id: quantity.id.to_owned(), chart, caption: quantity.caption.to_owned() })
    };
    QUANTITIES.iter().filter_map(exhibit).collect()
}

fn chart(results: &Results, spectrum: &Spectrum, quantity: &Quantity) -> Option<Chart> {
    let known = |number: &usize| Some((quantity.of)(results.points.get(*number)?).is_some());
    let shown = spectrum.series.iter().flat_map(|series| &series.points);
    if !shown.clone().any(|(_, number)| known(number) == Some(true)) {
        return None;
    }
    let points = || shown.clone().filter_map(|(_, number)| results.points.get(*number));
    let spreads = points().filter_map(|point| (quantity.spread)(point)).flatten();
    let beside = points().filter_map(|point| (quantity.beside)(point)).filter(|value| *value > 0.0);
    let values: Vec<f64> =
        points().filter_map(|point| (quantity.of)(point)).chain(spreads).chain(beside).collect();
    let x = Axis::at(&spectrum.axis, spectrum.ticks.clone(), axis_length(SIZE.0), f64::from(FONT));
    let title = format!("{} against {}", quantity.name, spectrum.axis);
    let all = side_by_side(spectrum, &x);
    let mut chart = Chart::new(title, SIZE, x, Axis::of(quantity.name, &values));
    for series in &all {
        add(&mut chart, results, series, quantity);
    }
    Some(chart)
}

/// The series, with the marks that have the same place on the horizontal axis beside each other.
fn side_by_side(spectrum: &Spectrum, x: &Axis) -> Vec<Series> {
    let length = f64::from(axis_length(SIZE.0));
    let gaps = spectrum.ticks.windows(2).map(|pair| x.distance(pair[0].0, pair[1].0, length));
    let nearest = gaps.fold(length, f64::min);
    let places = || spectrum.series.iter().flat_map(|series| &series.points).map(|(at, _)| at.to_bits());
    let mut counts: HashMap<u64, u32> = HashMap::new();
    places().for_each(|place| *counts.entry(place).or_default() += 1);
    let mut before: HashMap<u64, u32> = HashMap::new();
    let mut moved = |at: f64| {
        let count = f64::from(counts.get(&at.to_bits()).copied().unwrap_or(1));
        let rank = before.entry(at.to_bits()).or_default();
        let apart = APART.min(nearest * ROOM / count);
        let offset = (f64::from(*rank) - (count - 1.0) / 2.0) * apart;
        *rank += 1;
        x.beside(at, offset, length)
    };
    let mut all = spectrum.series.clone();
    all.iter_mut().flat_map(|series| &mut series.points).for_each(|(at, _)| *at = moved(*at));
    all
}

fn add(chart: &mut Chart, results: &Results, series: &Series, quantity: &Quantity) {
    let places = |of: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        let place = |&(x, number): &(f64, usize)| Some((x, of(results.points.get(number)?)?));
        series.points.iter().filter_map(place).collect()
    };
    let color = series.mark.color;
    chart.lines.push(Line { places: places(quantity.beside), color, is_dashed: true });
    chart.lines.push(Line { places: places(quantity.of), color, is_dashed: false });
    for &(x, number) in &series.points {
        let Some(point) = results.points.get(number) else { continue };
        let Some(value) = (quantity.of)(point) else { continue };
        if let Some([low, high]) = (quantity.spread)(point) {
            chart.lines.push(Line { places: vec![(x, low), (x, high)], color, is_dashed: false });
        }
        chart.dots.push(Dot {
            at: (x, value),
            mark: series.mark,
            radius: RADIUS,
            is_hollow: false,
            point: Some(number),
            tip: format!("{}: {value:.3} {}", point.label, quantity.name),
            label: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::marks::Mark;
    use super::*;

    #[test]
    fn marks_of_one_place_stand_around_it_in_the_order_of_series() {
        let series = |number: usize, places: &[f64]| Series {
            name: number.to_string(),
            mark: Mark::of(number),
            points: places.iter().map(|&place| (place, number)).collect(),
        };
        let ticks: Vec<(f64, String)> = [1.0, 8.0, 64.0].map(|place| (place, place.to_string())).to_vec();
        let all = vec![series(0, &[1.0, 8.0]), series(1, &[1.0, 64.0]), series(2, &[1.0, 8.0])];
        let spectrum = Spectrum { axis: "segments".to_owned(), ticks: ticks.clone(), series: all };
        let x = Axis::at("segments", ticks, 500, 10.0);
        let found: Vec<Vec<f64>> = side_by_side(&spectrum, &x)
            .iter()
            .map(|series| series.points.iter().map(|point| point.0).collect())
            .collect();
        assert!((found[1][0] - 1.0).abs() < 1e-9 && (found[1][1] - 64.0).abs() < 1e-9, "{found:?}");
        assert!(
            found[0][0] < 1.0 && found[2][0] > 1.0 && found[0][1] < 8.0 && found[2][1] > 8.0,
            "{found:?}"
        );
        let apart = |a: f64, b: f64| x.distance(a, b, f64::from(axis_length(SIZE.0)));
        assert!(
            (apart(found[0][0], 1.0) - APART).abs() < 1e-6
                && (apart(found[0][1], found[2][1]) - APART).abs() < 1e-6
        );
    }
}
