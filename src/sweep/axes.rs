//! Axes: parameters and their values, and the points that several of them make.
//!
//! The values of an axis are a list, separated by commas, of texts as `--set` takes them, of
//! ranges `1..8` of whole numbers (both ends included), and of `divisors` and `powers`, which
//! stand for several numbers.

use std::collections::BTreeMap;

use super::results::{Axis, AxisValue, Combine};
use crate::numbers::counted;

/// Most values of an axis, and most points of a sweep.
pub const MOST: usize = 10_000;

/// An axis as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The parameter.
    pub parameter: String,
    /// Its values.
    pub items: Vec<Item>,
}

/// One or more values as they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// As `--set` takes it.
    Value(String),
    /// Whole numbers, both ends included.
    Range(i64, i64),
    /// `divisors`, `divisors(728)`: the numbers that divide the channels, or the number given.
    Divisors(Option<u64>),
    /// `powers`, `powers(728)`: the powers of two up to the channels, or up to the number given.
    Powers(Option<u64>),
}

/// What is known of a parameter's values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    /// The smallest number it may be.
    pub low: Option<i64>,
    /// The largest number it may be, unless that is `full`.
    pub high: Option<i64>,
    /// Channels of most layers that it cuts in segments, if it is a number of segments.
    pub channels: Option<u64>,
}

/// Why an axis or its values cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AxisError {
    /// There is nothing between two commas, or nothing at all.
    #[error("a value is missing in `{text}`; write values as in `1,2,4..8`")]
    Empty {
        /// What was written.
        text: String,
    },
    /// A range has no numbers.
    #[error("the range `{low}..{high}` is empty; its smaller end comes first: `{high}..{low}`")]
    EmptyRange {
        /// The first end.
        low: i64,
        /// The second end.
        high: i64,
    },
    /// What stands in parentheses is no number.
    #[error("`{text}` needs a whole number from 1 to 1000000, as in `divisors(728)`")]
    Number {
        /// What was written.
        text: String,
    },
    /// Nobody knows the divisors of what.
    #[error(
        "`{word}` alone is of the channels that a parameter cuts in segments, and {parameter} cuts none; `{word}(728)` is of that number"
    )]
    NoChannels {
        /// The word.
        word: &'static str,
        /// The parameter.
        parameter: String,
    },
    /// No number that a word stands for is among those allowed.
    #[error("`{word}` of {parameter}: none of these numbers is among those that it may be")]
    NoneAllowed {
        /// The word.
        word: &'static str,
        /// The parameter.
        parameter: String,
    },
    /// There are too many values.
    #[error("{what} has {found} {noun}; the limit is {MOST}")]
    TooMany {
        /// The axis, or the sweep.
        what: String,
        /// How many there are.
        found: String,
        /// Of what.
        noun: &'static str,
    },
    /// Axes that go together have different lengths.
    #[error("axes that are zipped need as many values each: {lengths}")]
    Lengths {
        /// Each parameter and its number of values.
        lengths: String,
    },
}

impl Written {
    /// Reads the values of `parameter`.
    pub fn parse(parameter: &str, values: &str) -> Result<Self, AxisError> {
        let items: Result<Vec<Item>, AxisError> =
            split(values).into_iter().map(|v| item(v, values)).collect();
        Ok(Self { parameter: parameter.to_owned(), items: items? })
    }

    /// The values one by one, each once, in the order in which they are written.
    pub fn expand(&self, scale: Scale) -> Result<Axis, AxisError> {
        let mut values: Vec<AxisValue> = Vec::new();
        for item in &self.items {
            for text in self.texts(item, scale)? {
                let number = number(&text, scale);
                if values.iter().all(|value| value.text != text) {
                    values.push(AxisValue { text, number });
                }
            }
            within(values.len() as u128, "values", || format!("`{}`", self.parameter))?;
        }
        Ok(Axis { parameter: self.parameter.clone(), values })
    }

    fn texts(&self, item: &Item, scale: Scale) -> Result<Vec<String>, AxisError> {
        match item {
            Item::Value(text) => Ok(vec![text.clone()]),
            Item::Range(low, high) if low > high => Err(AxisError::EmptyRange { low: *low, high: *high }),
            Item::Range(low, high) => {
                let count = (i128::from(*high) - i128::from(*low) + 1) as u128;
                within(count, "values", || format!("`{low}..{high}`"))?;
                Ok((*low..=*high).map(|number| number.to_string()).collect())
            }
            Item::Divisors(of) => self.keyword("divisors", *of, divisors, scale),
            Item::Powers(of) => self.keyword("powers", *of, powers, scale),
        }
    }

    /// The numbers that a word stands for: those of `of`, or those below the channels that are
    /// cut, and `full`.
    fn keyword(
        &self,
        word: &'static str,
        of: Option<u64>,
        numbers: fn(u64) -> Vec<u64>,
        scale: Scale,
    ) -> Result<Vec<String>, AxisError> {
        let parameter = || self.parameter.clone();
        let top =
            of.or(scale.channels).ok_or_else(|| AxisError::NoChannels { word, parameter: parameter() })?;
        let allowed = |&number: &u64| {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            scale.low.is_none_or(|low| low <= number) && scale.high.is_none_or(|high| number <= high)
        };
        let below = |&number: &u64| of.is_some() || number < top;
        let mut texts: Vec<String> =
            numbers(top).into_iter().filter(allowed).filter(below).map(|n| n.to_string()).collect();
        texts.extend(of.is_none().then(|| "full".to_owned()));
        if texts.is_empty() {
            Err(AxisError::NoneAllowed { word, parameter: parameter() })
        } else {
            Ok(texts)
        }
    }
}

/// The parts between commas that do not stand in brackets or quotation marks.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_i32, false);
    for (at, sign) in text.char_indices() {
        match sign {
            '"' => quoted = !quoted,
            '[' | '(' if !quoted => depth += 1,
            ']' | ')' if !quoted => depth -= 1,
            ',' if !quoted && depth <= 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).collect()
}

fn item(value: &str, all: &str) -> Result<Item, AxisError> {
    let keyword = |word: &str| Some(value.strip_prefix(word)?.trim_start()).filter(|rest| is_call(rest));
    if value.is_empty() {
        return Err(AxisError::Empty { text: all.to_owned() });
    }
    if let Some(rest) = keyword("divisors") {
        return Ok(Item::Divisors(argument(rest, value)?));
    }
    if let Some(rest) = keyword("powers") {
        return Ok(Item::Powers(argument(rest, value)?));
    }
    let ends = value.split_once("..").map(|(low, high)| (low.trim().parse(), high.trim().parse()));
    match ends {
        Some((Ok(low), Ok(high))) => Ok(Item::Range(low, high)),
        _ => Ok(Item::Value(value.to_owned())),
    }
}

/// Whether this can stand behind a word: nothing, or something in parentheses.
fn is_call(rest: &str) -> bool {
    rest.is_empty() || (rest.starts_with('(') && rest.ends_with(')'))
}

/// The number in parentheses, if there are any.
fn argument(rest: &str, value: &str) -> Result<Option<u64>, AxisError> {
    let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return Ok(None) };
    let number = inner.trim().parse().ok().filter(|number| (1..=1_000_000).contains(number));
    number.map(Some).ok_or_else(|| AxisError::Number { text: value.to_owned() })
}

/// Where a value lies on a numeric axis.
fn number(text: &str, scale: Scale) -> Option<f64> {
    match text {
        "full" => scale.channels.map(|channels| channels as f64),
        text => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// The divisors of a number, the smallest first.
fn divisors(number: u64) -> Vec<u64> {
    (1..=number).filter(|divisor| number.is_multiple_of(*divisor)).collect()
}

/// The powers of two up to a number, the smallest first.
fn powers(number: u64) -> Vec<u64> {
    std::iter::successors(Some(1_u64), |power| power.checked_mul(2))
        .take_while(|power| *power <= number)
        .collect()
}

fn within(count: u128, noun: &'static str, what: impl Fn() -> String) -> Result<(), AxisError> {
    if count <= MOST as u128 {
        return Ok(());
    }
    Err(AxisError::TooMany { what: what(), found: count.to_string(), noun })
}

/// The settings of all points, each once, the last axis fastest.
pub fn points(axes: &[Axis], combine: Combine) -> Result<Vec<BTreeMap<String, String>>, AxisError> {
    let setting = |axis: &Axis, at: usize| (axis.parameter.clone(), axis.values[at].text.clone());
    let mut points: Vec<BTreeMap<String, String>> = match combine {
        Combine::Product => product(axes)?,
        Combine::Zip => {
            let length = zipped_length(axes)?;
            (0..length).map(|at| axes.iter().map(|axis| setting(axis, at)).collect()).collect()
        }
        Combine::Each => {
            let each = |axis: &Axis| -> Vec<_> {
                (0..axis.values.len()).map(|at| BTreeMap::from([setting(axis, at)])).collect()
            };
            axes.iter().flat_map(each).collect()
        }
    };
    within(points.len() as u128, "points", || "the sweep".to_owned())?;
    let mut seen = std::collections::BTreeSet::new();
    points.retain(|point| seen.insert(point.clone()));
    Ok(points)
}

fn product(axes: &[Axis]) -> Result<Vec<BTreeMap<String, String>>, AxisError> {
    let count = axes.iter().fold(1_u128, |count, axis| count.saturating_mul(axis.values.len() as u128));
    within(count, "points", || "the sweep".to_owned())?;
    let mut points = vec![BTreeMap::new()];
    for axis in axes {
        let longer = |point: &BTreeMap<String, String>| -> Vec<_> {
            let with = |value: &AxisValue| {
                let mut point = point.clone();
                point.insert(axis.parameter.clone(), value.text.clone());
                point
            };
            axis.values.iter().map(with).collect()
        };
        points = points.iter().flat_map(longer).collect();
    }
    Ok(points)
}

fn zipped_length(axes: &[Axis]) -> Result<usize, AxisError> {
    let length = axes.first().map_or(0, |axis| axis.values.len());
    if axes.iter().all(|axis| axis.values.len() == length) {
        return Ok(length);
    }
    let of = |axis: &Axis| format!("{} has {}", axis.parameter, counted(axis.values.len(), "value"));
    Err(AxisError::Lengths { lengths: axes.iter().map(of).collect::<Vec<_>>().join(", ") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENTS: Scale = Scale { low: Some(1), high: None, channels: Some(728) };

    fn texts(values: &str, scale: Scale) -> Result<Vec<String>, AxisError> {
        let axis = Written::parse("segments", values)?.expand(scale)?;
        Ok(axis.values.into_iter().map(|value| value.text).collect())
    }

    #[test]
    fn lists_ranges_and_words_become_values() {
        assert_eq!(texts("1,2, 4..6 ,full", SEGMENTS).unwrap(), ["1", "2", "4", "5", "6", "full"]);
        assert_eq!(texts("powers(9), 3..4", SEGMENTS).unwrap(), ["1", "2", "4", "8", "3"]);
        assert_eq!(texts("[1, 2], \"a,b\"", Scale::default()).unwrap(), ["[1, 2]", "\"a,b\""]);
        let divisors = texts("divisors", SEGMENTS).unwrap();
        assert_eq!(divisors.join(" "), "1 2 4 7 8 13 14 26 28 52 56 91 104 182 364 full");
        let narrow = Scale { low: Some(3), high: Some(100), channels: None };
        assert_eq!(texts("divisors(728)", narrow).unwrap().join(" "), "4 7 8 13 14 26 28 52 56 91");
        // Words that only begin like ours are values.
        assert_eq!(texts("divisors_of,powers2", SEGMENTS).unwrap(), ["divisors_of", "powers2"]);
    }

    #[test]
    fn bad_values_say_the_way_out() {
        let said = |values: &str| texts(values, Scale::default()).unwrap_err().to_string();
        assert_eq!(said("1,,2"), "a value is missing in `1,,2`; write values as in `1,2,4..8`");
        assert_eq!(said(""), "a value is missing in ``; write values as in `1,2,4..8`");
        assert_eq!(said("8..1"), "the range `8..1` is empty; its smaller end comes first: `1..8`");
        assert_eq!(said("1..20000"), "`1..20000` has 20000 values; the limit is 10000");
        assert!(said("-9223372036854775808..9223372036854775807").contains("18446744073709551616 values"));
        assert!(said("divisors").contains("cuts none; `divisors(728)` is of that number"));
        assert!(said("powers(0)").contains("a whole number from 1 to 1000000"));
        let none = Scale { low: Some(1000), ..Scale::default() };
        assert!(texts("divisors(728)", none).unwrap_err().to_string().contains("none of these numbers"));
    }

    #[test]
    fn full_lies_at_the_channels_and_words_nowhere() {
        let axis = Written::parse("segments", "28,full,1e-3,none").unwrap().expand(SEGMENTS).unwrap();
        let numbers: Vec<Option<f64>> = axis.values.iter().map(|value| value.number).collect();
        assert_eq!(numbers, [Some(28.0), Some(728.0), Some(1e-3), None]);
    }

    fn axis(parameter: &str, count: usize) -> Axis {
        let value = |n: usize| AxisValue { text: n.to_string(), number: Some(n as f64) };
        Axis { parameter: parameter.to_owned(), values: (0..count).map(value).collect() }
    }

    #[test]
    fn axes_of_different_lengths_cannot_be_zipped() {
        let error = points(&[axis("a", 2), axis("b", 1)], Combine::Zip).unwrap_err().to_string();
        assert_eq!(error, "axes that are zipped need as many values each: a has 2 values, b has 1 value");
        let many = points(&vec![axis("a", 200); 3], Combine::Product).unwrap_err().to_string();
        assert_eq!(many, "the sweep has 8000000 points; the limit is 10000");
    }

    proptest! {
        #[test]
        fn divisors_divide_and_come_in_pairs(number in 1..5000_u64) {
            let found = divisors(number);
            prop_assert!(found.is_sorted() && found.contains(&1) && found.contains(&number));
            for divisor in &found {
                prop_assert!(found.contains(&(number / divisor)) && number % divisor == 0);
            }
            prop_assert_eq!(found.len(), (1..=number).filter(|n| number % n == 0).count());
        }

        #[test]
        fn products_have_every_pair_once_and_each_has_one_setting(a in 1..9_usize, b in 1..9_usize) {
            let axes = [axis("a", a), axis("b", b)];
            let product = points(&axes, Combine::Product).unwrap();
            let pairs: std::collections::BTreeSet<_> = product.iter().collect();
            prop_assert_eq!((product.len(), pairs.len()), (a * b, a * b));
            let each = points(&axes, Combine::Each).unwrap();
            prop_assert_eq!(each.len(), a + b);
            prop_assert!(each.iter().all(|point| point.len() == 1));
            let zipped = points(&[axis("a", a), axis("b", a)], Combine::Zip).unwrap();
            prop_assert!(zipped.len() == a && zipped.iter().all(|point| point["a"] == point["b"]));
        }

        /// Whatever is written, reading it ends in values or in an error.
        #[test]
        fn no_text_is_too_strange(text in "[a-z0-9.,()\\[\\]\" ]{0,24}") {
            let _ = texts(&text, SEGMENTS);
        }
    }
}
