//! Charts of costs and times along an axis of the sweep.

use super::axis::Axis;
use super::chart::{Chart, Dot, DrawError, FONT, Line, RADIUS, axis_length, legend_mark};
use super::html::{escape, figure};
use super::marks::GREY;
use super::series::{Series, Spectrum};
use crate::sweep::results::{Point, Results};

/// Width and height of each chart.
const SIZE: (u32, u32) = (920, 620);

/// A quantity that points have.
struct Quantity {
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
        name: "latency (ms)",
        of: |point| Some(point.timing.as_ref()?.median_ms),
        spread: |point| point.timing.as_ref().map(|timing| [timing.p5_ms, timing.p95_ms]),
        beside: |point| point.timing.as_ref()?.bound_ms,
        caption: "Time of a run: median, and bars from 5 % to 95 % of runs. Dashed: the least time by the roofline model.",
    },
    Quantity {
        name: "speed (GFLOP/s)",
        of: |point| Some(point.timing.as_ref()?.gflops),
        spread: |_| None,
        beside: |_| None,
        caption: "Operations in a second, a multiply-add being two. A fall that the others do not share is a cliff.",
    },
    Quantity {
        name: "MACs of an image (10⁹)",
        of: |point| Some(point.cost?.macs as f64 / 1e9),
        spread: |_| None,
        beside: |point| Some(point.cost?.spatial_macs as f64 / 1e9),
        caption: "Multiply-adds. Dashed: the spatial ones, of windows or segments.",
    },
    Quantity {
        name: "parameters (10⁶)",
        of: |point| Some(point.cost?.parameters as f64 / 1e6),
        spread: |_| None,
        beside: |_| None,
        caption: "Parameters, stored statistics included.",
    },
];

/// The charts for which there are numbers, with a legend.
pub fn figures(results: &Results) -> Result<String, DrawError> {
    let spectrum = Spectrum::new(results);
    let mut figures = String::new();
    for quantity in &QUANTITIES {
        if let Some(chart) = chart(results, &spectrum, quantity) {
            figures += &figure("chart", &chart.svg()?, quantity.caption);
        }
    }
    Ok(format!("{}<div class=\"charts\">\n{figures}</div>\n", legend(&spectrum.series)))
}

/// The names of series and their marks, unless there is one only.
pub fn legend(series: &[Series]) -> String {
    if series.len() < 2 {
        return String::new();
    }
    let items =
        series.iter().map(|series| format!("<li>{}{}</li>", legend_mark(series.mark), escape(&series.name)));
    format!("<ul class=\"legend\">{}</ul>\n", items.collect::<String>())
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
    let mut chart = Chart::new(title, SIZE, x, Axis::of(quantity.name, &values));
    for series in &spectrum.series {
        add(&mut chart, results, series, quantity);
    }
    Some(chart)
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
            chart.lines.push(Line { places: vec![(x, low), (x, high)], color: GREY, is_dashed: false });
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
