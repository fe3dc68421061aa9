//! Which points belong together, and where they lie on the horizontal axis.

use std::collections::BTreeMap;

use super::marks::Mark;
use crate::numbers::counted;
use crate::sweep::results::{Axis, Combine, Point, Results, Sweep};

/// Points that are joined by a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What its points have in common; empty when there is only one series.
    pub name: String,
    /// What it looks like.
    pub mark: Mark,
    /// Each point's place on the horizontal axis and its number, from left to right.
    pub points: Vec<(f64, usize)>,
}

/// All points of a sweep along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// What the axis shows.
    pub axis: String,
    /// The values that it has, as the sweep writes them, from left to right.
    pub ticks: Vec<(f64, String)>,
    /// The series.
    pub series: Vec<Series>,
}

impl Spectrum {
    /// Lays out the points of `results` along the number of segments, or else along the first
    /// parameter with numbers.
    pub fn new(results: &Results) -> Self {
        let sweep = &results.sweep;
        let Some(axis) = leading(sweep) else {
            return Self { axis: String::new(), ticks: Vec::new(), series: Vec::new() };
        };
        let axes: Vec<&Axis> = match sweep.combine {
            Combine::Each => sweep.axes.iter().collect(),
            Combine::Product | Combine::Zip => vec![axis],
        };
        let places = Places::new(&axes);
        let mut groups: Vec<(String, Vec<(f64, usize)>)> = Vec::new();
        for (number, point) in results.points.iter().enumerate() {
            let Some((parameter, at)) = places.find(&axes, point) else { continue };
            let name = common(sweep, point, parameter);
            let place = (at, number);
            match groups.iter_mut().find(|group| group.0 == name) {
                Some((_, points)) => points.push(place),
                None => groups.push((name, vec![place])),
            }
        }
        Self { axis: axis_name(&axes), ticks: places.ticks(), series: series(groups) }
    }
}

fn series(groups: Vec<(String, Vec<(f64, usize)>)>) -> Vec<Series> {
    let named = groups.len() > 1;
    let one = |(number, (name, mut points)): (usize, (String, Vec<(f64, usize)>))| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name: if named { name } else { String::new() }, mark: Mark::of(number), points }
    };
    groups.into_iter().enumerate().map(one).collect()
}

/// The axis to show horizontally.
fn leading(sweep: &Sweep) -> Option<&Axis> {
    let axes = &sweep.axes;
    let segments = |axis: &&Axis| axis.parameter.ends_with("segments") && is_numeric(axis);
    axes.iter().find(segments).or_else(|| axes.iter().find(|axis| is_numeric(axis))).or(axes.first())
}

fn is_numeric(axis: &Axis) -> bool {
    axis.values.iter().all(|value| value.number.is_some())
}

fn axis_name(axes: &[&Axis]) -> String {
    match axes {
        [axis] => axis.parameter.clone(),
        axes if axes.iter().all(|axis| axis.parameter.ends_with("segments")) => "segments".to_owned(),
        axes => axes.iter().map(|axis| axis.parameter.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// What a point shares with the others of its series, those that differ in `parameter` only.
fn common(sweep: &Sweep, point: &Point, parameter: &str) -> String {
    let others =
        sweep.axes.iter().filter(|axis| axis.parameter != parameter && sweep.combine == Combine::Product);
    let value = |axis: &Axis| Some(format!("{}={}", axis.parameter, point.settings.get(&axis.parameter)?));
    let mut parts: Vec<String> = others.filter_map(value).collect();
    parts.extend((sweep.combine == Combine::Each).then(|| parameter.to_owned()));
    parts.extend((sweep.precisions.len() > 1).then(|| point.precision.clone()));
    parts.extend((sweep.threads.len() > 1).then(|| counted(point.threads as usize, "thread")));
    parts.extend((sweep.batches.len() > 1).then(|| format!("batch {}", point.batch)));
    parts.join(", ")
}

/// The largest number that each word stands for, as `full` does for other numbers on other axes:
/// on a common axis it has one place.
fn words<'a>(axes: &[&'a Axis]) -> BTreeMap<&'a str, f64> {
    let mut words = BTreeMap::new();
    for value in axes.iter().flat_map(|axis| &axis.values).filter(|value| value.text.parse::<f64>().is_err())
    {
        let Some(number) = value.number else { continue };
        let largest = words.entry(value.text.as_str()).or_insert(number);
        *largest = number.max(*largest);
    }
    words
}

/// Where the values of axes lie: at their numbers where all have one, else side by side.
struct Places {
    of: BTreeMap<(String, String), f64>,
    ticks: Vec<(f64, String)>,
}

impl Places {
    fn new(axes: &[&Axis]) -> Self {
        let is_numeric = axes.iter().all(|axis| is_numeric(axis));
        let words = words(axes);
        let mut places = Self { of: BTreeMap::new(), ticks: Vec::new() };
        for axis in axes {
            for value in &axis.values {
                let number = words.get(value.text.as_str()).copied().or(value.number);
                let at = match number.filter(|_| is_numeric) {
                    Some(number) => number,
                    None => places.of.len() as f64,
                };
                places.of.insert((axis.parameter.clone(), value.text.clone()), at);
                let text = match (is_numeric, axes) {
                    (true, _) | (_, [_]) => value.text.clone(),
                    _ => format!("{}={}", axis.parameter, value.text),
                };
                places.ticks.push((at, text));
            }
        }
        places
    }

    /// The parameter that decides where a point lies, and where that is.
    fn find<'a>(&self, axes: &[&'a Axis], point: &Point) -> Option<(&'a str, f64)> {
        let axis = axes.iter().find(|axis| point.settings.contains_key(&axis.parameter))?;
        let value = point.settings.get(&axis.parameter)?;
        let at = self.of.get(&(axis.parameter.clone(), value.clone()))?;
        Some((&axis.parameter, *at))
    }

    /// One tick for each place; of several values there the longest, as words say more than
    /// numbers.
    fn ticks(mut self) -> Vec<(f64, String)> {
        self.ticks.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.len().cmp(&a.1.len())));
        self.ticks.dedup_by(|b, a| a.0 == b.0);
        self.ticks
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sweep::survey;

    fn value(text: &str, number: Option<f64>) -> Value {
        json!({"text": text, "number": number})
    }

    fn spectrum(combine: &str, threads: &[u32]) -> Spectrum {
        let axes = json!([
            {"parameter": "order", "values": [value("b", None), value("a", None)]},
            {"parameter": "segments", "values": [value("full", Some(8.0)), value("2", Some(2.0))]},
        ]);
        spectrum_of(axes, combine, threads)
    }

    fn spectrum_of(axes: Value, combine: &str, threads: &[u32]) -> Spectrum {
        let sweep = json!({
            "name": "", "question": null, "spec": {"path": null, "model": "m", "digest": "", "source": ""},
            "axes": axes,
            "combine": combine, "fixed": {}, "hold": null, "precisions": ["f32"], "threads": threads, "batches": [1],
            "target": "native", "seed": 0
        });
        let sweep: Sweep = serde_json::from_value(sweep).unwrap();
        let points = survey::points(&sweep).unwrap();
        Spectrum::new(&Results::new(sweep, points, String::new()))
    }

    fn names(spectrum: &Spectrum) -> Vec<&str> {
        spectrum.series.iter().map(|series| series.name.as_str()).collect()
    }

    #[test]
    fn parameters_beside_the_segments_make_series() {
        let found = spectrum("product", &[1, 2]);
        assert_eq!(found.axis, "segments");
        assert_eq!(
            names(&found),
            ["order=b, 1 thread", "order=b, 2 threads", "order=a, 1 thread", "order=a, 2 threads"]
        );
        // Points are in the order of the axes, `full` first; lines go from left to right.
        assert_eq!(found.series[0].points, [(2.0, 2), (8.0, 0)]);
        assert_eq!(found.ticks, [(2.0, "2".to_owned()), (8.0, "full".to_owned())]);
    }

    #[test]
    fn parameters_that_go_together_make_one_series() {
        let found = spectrum("zip", &[1]);
        assert_eq!((found.axis.as_str(), names(&found)), ("segments", vec![""]));
    }

    #[test]
    fn parameters_that_vary_alone_make_a_series_each_side_by_side() {
        let found = spectrum("each", &[1]);
        assert_eq!((found.axis.as_str(), names(&found)), ("order, segments", vec!["order", "segments"]));
        let places: Vec<f64> = found.ticks.iter().map(|tick| tick.0).collect();
        assert_eq!(places, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(found.ticks[3].1, "segments=2");
    }

    #[test]
    fn words_have_one_place_on_a_common_axis() {
        let full = |parameter: &str, channels: f64| json!({"parameter": parameter, "values": [value("4", Some(4.0)), value("full", Some(channels))]});
        let found =
            spectrum_of(json!([full("entry_segments", 256.0), full("exit_segments", 728.0)]), "each", &[1]);
        assert_eq!(found.ticks, [(4.0, "4".to_owned()), (728.0, "full".to_owned())]);
        assert_eq!(found.series[0].points, [(4.0, 0), (728.0, 1)]);
    }
}
