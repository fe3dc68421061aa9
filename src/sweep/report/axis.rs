//! Axes of charts: what they span, and where they have ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::numbers::thousands;

/// Numbers whose largest is so many times the smallest are shown on a log axis.
const WIDE: f64 = 4.0;
/// Parts that a linear axis has at most.
const PARTS: f64 = 6.0;
/// Decades from which on only powers of ten have ticks.
const DECADES: f64 = 3.0;
/// The width of a letter, by the size of the font.
pub const LETTER: f64 = 0.56;

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub name: String,
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A log axis that spans positive numbers.
    pub fn log(name: &str, low: f64, high: f64) -> Self {
        let low = bounded(low, 1e-9, 1e15);
        let high = bounded(high, low * 1.01, 1e16);
        Self { name: name.to_owned(), low, high, is_log: true, ticks: log_ticks(low, high) }
    }

    /// A linear axis that spans at least `low` to `high`, with a tick at or beyond each end.
    pub fn linear(name: &str, low: f64, high: f64) -> Self {
        let [low, high] = [low, high].map(|end| bounded(end, -1e15, 1e15));
        let high = if high > low + 1e-9 { high } else { low + low.abs().max(1.0) };
        let step = step(high - low);
        let [first, last] = [(low / step).floor(), (high / step).ceil()];
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let ticks = (0..=(last - first) as u32).map(|n| {
            let value = (first + f64::from(n)) * step;
            (value, tick_text(value, decimals))
        });
        let ticks = ticks.collect();
        Self { name: name.to_owned(), low: first * step, high: last * step, is_log: false, ticks }
    }

    /// A linear axis from zero, or a log axis where small numbers would be indistinct on that.
    pub fn of(name: &str, values: &[f64]) -> Self {
        let (low, high) = ends(values);
        match low > 0.0 && high / low > WIDE {
            true => Self::log(name, low / 1.25, high * 1.25),
            false => Self::linear(name, low.min(0.0), high * 1.02),
        }
    }

    /// An axis with ticks where values lie, those that fit with text of `font` on an axis of
    /// `length`, in pixels.
    pub fn at(name: &str, ticks: Vec<(f64, String)>, length: u32, font: f64) -> Self {
        let (low, high) = ends(&ticks.iter().map(|tick| tick.0).collect::<Vec<_>>());
        let [low, high] = [low, high].map(|end| bounded(end, -1e15, 1e15));
        let is_log = low > 0.0 && high / low > WIDE;
        let margin = if is_log { (high / low).ln() } else { high - low } * 0.05;
        let [low, high] = match (is_log, high > low) {
            (true, _) => [low * (-margin).exp(), high * margin.exp()],
            (false, true) => [low - margin, high + margin],
            (false, false) => [low - 1.0, high + 1.0],
        };
        let mut axis = Self { name: name.to_owned(), low, high, is_log, ticks };
        axis.thin(f64::from(length), font);
        axis
    }

    /// Leaves out ticks whose text would touch that of others; the first and the last stay.
    fn thin(&mut self, length: f64, font: f64) {
        let half = |text: &str| (text.chars().count() as f64 + 1.0) * font * LETTER / 2.0;
        let span = |(value, text): &(f64, String)| {
            let middle = self.share(*value) * length;
            (middle - half(text), middle + half(text))
        };
        let last = self.ticks.last().map_or((f64::INFINITY, f64::INFINITY), span);
        let mut end = f64::NEG_INFINITY;
        let mut kept = Vec::new();
        for (number, tick) in self.ticks.iter().enumerate() {
            let (from, to) = span(tick);
            if number + 1 == self.ticks.len() || from >= end && to <= last.0 {
                kept.push(tick.clone());
                end = to;
            }
        }
        self.ticks = kept;
    }

    /// Where a value lies: 0 at the lower end, 1 at the upper one. Values beyond lie at the ends.
    fn share(&self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        share.clamp(0.0, 1.0)
    }

    /// How far the places of two values are apart on an axis of `length`.
    pub fn distance(&self, a: f64, b: f64, length: f64) -> f64 {
        (self.share(a) - self.share(b)).abs() * length
    }

    /// The value whose place is `offset` to the right of that of `value` on an axis of `length`.
    pub fn beside(&self, value: f64, offset: f64, length: f64) -> f64 {
        let share = (self.share(value) + offset / length).clamp(0.0, 1.0);
        match self.is_log {
            true => self.low * (self.high / self.low).powf(share),
            false => self.low + (self.high - self.low) * share,
        }
    }

    /// Its lower and upper end.
    pub fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// How many ticks it has.
    pub fn tick_count(&self) -> usize {
        self.ticks.len()
    }
}

/// The nearest number that an axis can have; the least in the place of what is no number.
fn bounded(value: f64, least: f64, most: f64) -> f64 {
    if value >= least { value.min(most) } else { least }
}

/// The smallest and the largest number; 0 and 1 where there is none.
fn ends(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// 1, 2, 2.5 or 5 times a power of ten.
fn step(span: f64) -> f64 {
    let least = span / PARTS;
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&step| step >= least)
        .unwrap_or(10.0 * power)
}

fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let factors: &[f64] = if (high / low).log10() > DECADES { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = exponents.flat_map(|exponent| {
        let decimals = (-exponent).max(0) as usize;
        factors.iter().map(move |factor| {
            let value = factor * 10_f64.powi(exponent);
            (value, tick_text(value, decimals))
        })
    });
    ticks.filter(|(value, _)| (low..=high).contains(value)).collect()
}

fn tick_text(value: f64, decimals: usize) -> String {
    match decimals {
        0 if value >= 0.0 => thousands(value.round() as u64),
        _ => format!("{value:.decimals$}"),
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * self.share(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0 == *value);
        tick.map_or_else(String::new, |tick| tick.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(texts(&Axis::linear("", 0.0, 110.0)), ["0", "20", "40", "60", "80", "100", "120"]);
        assert_eq!(texts(&Axis::linear("", 0.0, 0.9)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(&Axis::log("", 0.04, 3.0)), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(texts(&Axis::log("", 1.0, 1e5)), ["1", "10", "100", "1,000", "10,000", "100,000"]);
    }

    #[test]
    fn wide_ranges_are_logarithmic_and_narrow_ones_start_at_zero() {
        assert!(Axis::of("", &[1.0, 10.0]).is_log);
        assert_eq!(Axis::of("", &[5.0, 8.0]).ends().0, 0.0);
        assert!(!Axis::of("", &[0.0, 8.0]).is_log && !Axis::of("", &[]).is_log);
    }

    #[test]
    fn any_numbers_make_an_axis() {
        for pair in [[0.0, 0.0], [-3.0, f64::NAN], [f64::INFINITY, 1.0], [1e300, 1e305], [7.0, 7.0]] {
            let ticks = vec![(pair[0], "a".to_owned()), (pair[1], "b".to_owned())];
            for axis in [
                Axis::of("", &pair),
                Axis::log("", pair[0], pair[1]),
                Axis::linear("", pair[0], pair[1]),
                Axis::at("", ticks, 100, 10.0),
            ] {
                assert!(axis.low < axis.high, "{pair:?}: {axis:?}");
                assert!(pair.iter().all(|value| (0..=100).contains(&axis.map(value, (0, 100)))), "{pair:?}");
            }
        }
    }

    #[test]
    fn places_beside_values_are_as_far_away_as_asked() {
        for axis in [Axis::log("", 1.0, 1000.0), Axis::linear("", 0.0, 50.0)] {
            for (value, offset) in [(10.0, 20.0), (10.0, -20.0), (40.0, 0.0)] {
                let beside = axis.beside(value, offset, 400.0);
                assert!((axis.distance(value, beside, 400.0) - f64::abs(offset)).abs() < 1e-9, "{axis:?}");
                assert!((beside - value) * offset >= 0.0);
            }
            assert!((axis.beside(10.0, 1e9, 400.0) - axis.ends().1).abs() < 1e-9);
        }
    }

    #[test]
    fn texts_of_ticks_do_not_touch_and_the_last_stays() {
        let ticks: Vec<(f64, String)> = (1..=728).map(|n| (f64::from(n), n.to_string())).collect();
        let axis = Axis::at("segments", ticks, 400, 10.0);
        assert!((3..40).contains(&axis.tick_count()));
        assert_eq!((texts(&axis)[0], axis.ticks[axis.tick_count() - 1].0), ("1", 728.0));
    }
}
