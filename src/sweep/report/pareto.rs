//! Points of which no other is both faster and smaller.

use super::axis::Axis;
use super::chart::{Chart, Dot, Line, RADIUS};
use super::exhibit::Exhibit;
use super::series::{Series, Spectrum};
use crate::sweep::results::{Point, Results};

/// Width and height of each chart.
const SIZE: (u32, u32) = (920, 680);
/// What files with the chart are called, a cost with its unit, and how much of it a point has.
type Costs = (&'static str, &'static str, fn(&Point) -> Option<f64>);

const COSTS: [Costs; 2] = [
    ("latency-by-macs", "MACs of an image (10⁹)", |point| Some(point.cost?.macs as f64 / 1e9)),
    ("latency-by-parameters", "parameters (10⁶)", |point| Some(point.cost?.parameters as f64 / 1e6)),
];

/// Latency against each cost; nothing when nothing was measured.
pub fn charts(results: &Results, spectrum: &Spectrum) -> Vec<Exhibit> {
    let exhibit = |costs: &Costs| {
        let chart = chart(results, &spectrum.series, costs)?;
        let caption = "Filled marks are on the front of points that run alike: no other has both a lower latency and \
                       fewer of the others. What a network learns is not measured here.";
        Some(Exhibit { id: costs.0.to_owned(), chart, caption: caption.to_owned() })
    };
    COSTS.iter().filter_map(exhibit).collect()
}

fn chart(results: &Results, series: &[Series], (_, name, cost): &Costs) -> Option<Chart> {
    let place = |point: &Point| Some((cost(point)?, point.timing.as_ref()?.median_ms));
    let places: Vec<Option<(f64, f64)>> = results.points.iter().map(place).collect();
    let known: Vec<(f64, f64)> = places.iter().flatten().copied().collect();
    if known.len() < 2 {
        return None;
    }
    let [x, y]: [Vec<f64>; 2] =
        [known.iter().map(|place| place.0).collect(), known.iter().map(|place| place.1).collect()];
    let title = format!("latency against {name}");
    let mut chart = Chart::new(title, SIZE, Axis::of(name, &x), Axis::of("latency (ms)", &y));
    let front = front_of_likes(&results.points, &places);
    for (series, (_, number)) in
        series.iter().flat_map(|series| series.points.iter().map(move |at| (series, *at)))
    {
        let (Some(point), Some(Some(at))) = (results.points.get(number), places.get(number)) else {
            continue;
        };
        let is_best = front.contains(&number);
        chart.dots.push(Dot {
            at: *at,
            mark: series.mark,
            radius: RADIUS,
            is_hollow: !is_best,
            point: Some(number),
            tip: format!("{}: {:.3} ms, {:.3} {name}", point.label, at.1, at.0),
            label: is_best.then(|| point.label.clone()),
        });
    }
    // Marks of the front lie on the others.
    chart.dots.sort_by_key(|dot| !dot.is_hollow);
    chart.lines = steps(&results.points, &places, &front);
    Some(chart)
}

/// What must be equal where latencies are compared.
fn likeness(point: &Point) -> (&str, u32, u32) {
    (&point.precision, point.threads, point.batch)
}

/// The numbers of points on the fronts of those that run alike.
fn front_of_likes(points: &[Point], places: &[Option<(f64, f64)>]) -> Vec<usize> {
    let mut fronts = Vec::new();
    let mut likes: Vec<_> = points.iter().map(likeness).collect();
    likes.sort_unstable();
    likes.dedup();
    for like in likes {
        let alike = points.iter().zip(places).enumerate().filter(|(_, (point, _))| likeness(point) == like);
        fronts.extend(front(
            &alike.filter_map(|(number, (_, place))| Some((number, (*place)?))).collect::<Vec<_>>(),
        ));
    }
    fronts
}

/// The numbers of places that no other place is as good as in both and better than in one of its
/// coordinates, from the left.
fn front(places: &[(usize, (f64, f64))]) -> Vec<usize> {
    let mut sorted = places.to_vec();
    sorted.sort_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut least = f64::INFINITY;
    let mut at = f64::NEG_INFINITY;
    let mut front = Vec::new();
    for (number, (x, y)) in sorted {
        // Equal places are all on the front, or none of them is.
        if y < least || (y == least && x == at) {
            front.push(number);
            (at, least) = (x, y);
        }
    }
    front
}

/// The borders of what is reached, one for points that run alike.
fn steps(points: &[Point], places: &[Option<(f64, f64)>], front: &[usize]) -> Vec<Line> {
    let mut lines: Vec<((&str, u32, u32), Line)> = Vec::new();
    for number in front {
        let (Some(point), Some(Some(at))) = (points.get(*number), places.get(*number)) else { continue };
        match lines.iter_mut().find(|(like, _)| *like == likeness(point)) {
            Some((_, line)) => {
                let level = line.places.last().map_or(at.1, |last| last.1);
                line.places.extend([(at.0, level), *at]);
            }
            None => {
                let line = Line { places: vec![*at], color: super::marks::GREY, is_dashed: true };
                lines.push((likeness(point), line));
            }
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// By the definition: every pair is compared.
        #[test]
        fn the_front_is_what_nothing_dominates(places in prop::collection::vec((0_u8..8, 0_u8..8), 0..24)) {
            let places: Vec<(usize, (f64, f64))> =
                places.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).enumerate().collect();
            let dominated = |a: (f64, f64)| places.iter().any(|(_, b)| b.0 <= a.0 && b.1 <= a.1 && *b != a);
            let mut expected: Vec<usize> =
                places.iter().filter(|(_, place)| !dominated(*place)).map(|(number, _)| *number).collect();
            let mut found = front(&places);
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
