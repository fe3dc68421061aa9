//! Attributes of a layer or declaration: from values to what the graph needs, with every mistake
//! reported.

use std::ops::RangeInclusive;

use super::foreign;
use super::limits;
use super::report::{Reported, Reports, quoted};
use super::value::Value;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::Activation;

/// Attributes that were given, by argument or by default.
pub struct Attributes {
    /// Whose attributes they are, as errors name it.
    pub owner: &'static str,
    /// Where the owner was written.
    pub site: Span,
    /// Name, value and place; the value is `None` when a mistake in it was reported.
    pub given: Vec<(&'static str, Option<Value>, Span)>,
}

/// Zero rows and columns around a map, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As many as make the output `ceil(input / stride)`; an odd one goes after.
    Same,
    /// Top, bottom, left, right.
    Explicit([u32; 4]),
}

/// The cut of channels, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segments {
    /// A segment for each channel.
    Full,
    /// So many, as even as possible.
    Count(u32),
    /// One for each size.
    Sizes(Vec<u32>),
}

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// A function of each element.
    Elementwise(Activation),
    /// Softmax over the channels.
    Softmax,
}

/// Order of the parts of a separable convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The spatial part reads the input, as in Keras.
    SpatialFirst,
    /// The pointwise part reads the input, as in Inception modules.
    PointwiseFirst,
}

/// Attributes whose values are words, of which each has its own.
pub const CHOICES: [&str; 4] = ["activation", "activation_between", "order", "padding"];

type Read<T> = Result<T, Reported>;

/// The words for functions of each element, with parameters at their defaults.
fn elementwise() -> Vec<(&'static str, Activation)> {
    let words = |function: Activation| function.words().map(move |word| (word, function));
    std::iter::once(("none", Activation::Linear)).chain(Activation::ALL.into_iter().flat_map(words)).collect()
}

impl Attributes {
    /// The value of an attribute and its place; `None` when it was not given.
    fn get(&self, name: &str, reports: &Reports<'_>) -> Read<Option<(&Value, Span)>> {
        match self.given.iter().find(|(n, ..)| *n == name) {
            Some((_, Some(value), span)) => Ok(Some((value, *span))),
            Some((_, None, _)) => Err(reports.reported()),
            None => Ok(None),
        }
    }

    /// Whether all of the attributes were given without a mistake.
    pub fn are_known(&self, names: [&str; 2]) -> bool {
        names.iter().all(|name| self.given.iter().any(|(n, value, _)| n == name && value.is_some()))
    }

    /// Where an attribute was given.
    pub fn span_of(&self, name: &str) -> Option<Span> {
        self.given.iter().find(|(n, ..)| *n == name).map(|(.., span)| *span)
    }

    fn mistyped(
        &self,
        reports: &mut Reports<'_>,
        name: &str,
        wanted: &str,
        value: &Value,
        span: Span,
    ) -> Reported {
        let message = format!("`{name}` of `{}` takes {wanted}, not {}", self.owner, value.describe());
        let error = Diagnostic::error("E0301", message).at(span, format!("expected {wanted}"));
        reports.report(self.with_site(error, span))
    }

    fn outside(
        &self,
        reports: &mut Reports<'_>,
        name: &str,
        value: &Value,
        span: Span,
        range: [String; 2],
    ) -> Reported {
        let [low, high] = range;
        let message = format!("`{name}` of `{}` must be from {low} to {high}, not {value}", self.owner);
        let below = value.number().is_some_and(|v| low.parse().is_ok_and(|low: f64| v < low));
        let error = Diagnostic::error("E0304", message)
            .at(span, "out of range")
            .suggest(format!("the nearest legal value is {}", if below { low } else { high }));
        reports.report(self.with_site(error, span))
    }

    /// Points at the layer, too, when the value stands in a `default` statement elsewhere.
    fn with_site(&self, error: Diagnostic, span: Span) -> Diagnostic {
        let inside = self.site.start <= span.start && span.end <= self.site.end;
        if inside { error } else { error.also(self.site, "used by this layer") }
    }

    /// A whole number within `range`; `default` when it was not given.
    pub fn count(
        &self,
        reports: &mut Reports<'_>,
        name: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Read<u32> {
        match self.get(name, reports)? {
            None => Ok(default),
            Some((value, span)) => self.whole(reports, name, value, span, range),
        }
    }

    fn whole(
        &self,
        reports: &mut Reports<'_>,
        name: &str,
        value: &Value,
        span: Span,
        range: RangeInclusive<u32>,
    ) -> Read<u32> {
        let Value::Integer(n) = value else {
            return Err(self.mistyped(reports, name, "a whole number", value, span));
        };
        match u32::try_from(*n).ok().filter(|n| range.contains(n)) {
            Some(n) => Ok(n),
            None => {
                let range = [range.start().to_string(), range.end().to_string()];
                Err(self.outside(reports, name, value, span, range))
            }
        }
    }

    /// Rows and columns: `3x3`, `[3, 1]` or `3`; `default` when it was not given.
    pub fn pair(
        &self,
        reports: &mut Reports<'_>,
        name: &'static str,
        most: u32,
        default: Read<[u32; 2]>,
    ) -> Read<[u32; 2]> {
        let Some((value, span)) = self.get(name, reports)? else { return default };
        let sides = match value {
            Value::Integer(n) => vec![Value::Integer(*n); 2],
            Value::Window(sides) => sides.map(|n| Value::Integer(n.into())).to_vec(),
            Value::List(items) if items.len() == 2 => items.to_vec(),
            other => {
                return Err(self.mistyped(
                    reports,
                    name,
                    "a number or a pair such as 3x1 or [3, 1]",
                    other,
                    span,
                ));
            }
        };
        let rows = self.whole(reports, name, &sides[0], span, 1..=most)?;
        Ok([rows, self.whole(reports, name, &sides[1], span, 1..=most)?])
    }

    /// `yes` or `no`; `default` when it was not given.
    pub fn boolean(&self, reports: &mut Reports<'_>, name: &'static str, default: bool) -> Read<bool> {
        match self.get(name, reports)? {
            None => Ok(default),
            Some((Value::Boolean(b), _)) => Ok(*b),
            Some((other, span)) => Err(self.mistyped(reports, name, "`yes` or `no`", other, span)),
        }
    }

    /// A number from `low` up to but not including `high`; `default` when it was not given.
    pub fn fraction(
        &self,
        reports: &mut Reports<'_>,
        name: &'static str,
        [low, high]: [f64; 2],
        default: f64,
    ) -> Read<f64> {
        let Some((value, span)) = self.get(name, reports)? else { return Ok(default) };
        match value.number() {
            None => Err(self.mistyped(reports, name, "a number", value, span)),
            Some(x) if x >= low && x < high => Ok(x),
            Some(x) => {
                let message =
                    format!("`{name}` of `{}` must be at least {low:?} and less than {high:?}", self.owner);
                let way_out =
                    if x < low { format!("{low:?} is the least") } else { format!("stay below {high:?}") };
                let error =
                    Diagnostic::error("E0304", message).at(span, format!("this is {value}")).suggest(way_out);
                Err(reports.report(self.with_site(error, span)))
            }
        }
    }

    /// One of a set of words; `default` when it was not given.
    pub fn choice<T: Copy>(
        &self,
        reports: &mut Reports<'_>,
        name: &'static str,
        choices: &[(&'static str, T)],
        default: T,
    ) -> Read<T> {
        let Some((value, span)) = self.get(name, reports)? else { return Ok(default) };
        let word = match value {
            Value::Word(word) => word,
            other => return Err(self.mistyped(reports, name, &one_of(choices), other, span)),
        };
        match choices.iter().find(|(w, _)| *w == &**word) {
            Some((_, choice)) => Ok(*choice),
            None => {
                let words = || choices.iter().map(|(w, _)| *w);
                let known = foreign::function(word).filter(|ours| words().any(|w| w == *ours));
                let near = match foreign::is_absent_word(word) {
                    true => None,
                    false => known.or_else(|| reports.nearest(word, words())),
                };
                let error =
                    Diagnostic::error("E0306", format!("`{name}` of `{}` cannot be `{word}`", self.owner))
                        .at(span, format!("expected {}", one_of(choices)))
                        .suggest_if(near.map(|w| format!("did you mean `{w}`?")));
                Err(reports.report(self.with_site(error, span)))
            }
        }
    }

    /// The function after a linear layer.
    pub fn activation(&self, reports: &mut Reports<'_>) -> Read<After> {
        let elementwise = elementwise().into_iter();
        let mut choices: Vec<_> =
            elementwise.map(|(word, function)| (word, After::Elementwise(function))).collect();
        choices.push(("softmax", After::Softmax));
        self.choice(reports, "activation", &choices, After::Elementwise(Activation::Linear))
    }

    /// The function between the parts of a separable convolution.
    pub fn activation_between(&self, reports: &mut Reports<'_>) -> Read<Activation> {
        self.choice(reports, "activation_between", &elementwise(), Activation::Linear)
    }

    /// The order of the parts of a separable convolution.
    pub fn order(&self, reports: &mut Reports<'_>) -> Read<Order> {
        let orders = [("spatial_first", Order::SpatialFirst), ("pointwise_first", Order::PointwiseFirst)];
        self.choice(reports, "order", &orders, Order::SpatialFirst)
    }

    /// `same`, `valid`, a number, `[vertical, horizontal]` or `[top, bottom, left, right]`.
    pub fn padding(&self, reports: &mut Reports<'_>) -> Read<Padding> {
        let Some((value, span)) = self.get("padding", reports)? else { return Ok(Padding::Explicit([0; 4])) };
        let sides = match value {
            Value::Word(_) => {
                let words = [("same", Padding::Same), ("valid", Padding::Explicit([0; 4]))];
                return self.choice(reports, "padding", &words, Padding::Same);
            }
            Value::Integer(_) => vec![value.clone(); 4],
            Value::List(items) => match &items[..] {
                [v, h] => vec![v.clone(), v.clone(), h.clone(), h.clone()],
                sides @ [_, _, _, _] => sides.to_vec(),
                _ => return Err(self.bad_padding(reports, value, span)),
            },
            _ => return Err(self.bad_padding(reports, value, span)),
        };
        let mut pads = [0; 4];
        for (pad, side) in pads.iter_mut().zip(&sides) {
            *pad = self.whole(reports, "padding", side, span, 0..=limits::WINDOW * limits::WINDOW)?;
        }
        Ok(Padding::Explicit(pads))
    }

    fn bad_padding(&self, reports: &mut Reports<'_>, value: &Value, span: Span) -> Reported {
        let wanted = "`same`, `valid`, a number, [vertical, horizontal] or [top, bottom, left, right]";
        self.mistyped(reports, "padding", wanted, value, span)
    }

    /// A count, `full` or sizes; `default` when it was not given.
    pub fn segments(
        &self,
        reports: &mut Reports<'_>,
        name: &'static str,
        default: Segments,
    ) -> Read<Segments> {
        let Some((value, span)) = self.get(name, reports)? else { return Ok(default) };
        match value {
            Value::Full => Ok(Segments::Full),
            // A count above the channels is reported with their number, when they are known.
            Value::Integer(_) => {
                self.whole(reports, name, value, span, 1..=limits::CHANNELS).map(Segments::Count)
            }
            Value::List(items) => {
                if let Some(other) = items.iter().find(|size| !matches!(size, Value::Integer(_))) {
                    return Err(self.mistyped(
                        reports,
                        name,
                        "whole numbers in a list of sizes",
                        other,
                        span,
                    ));
                }
                let sizes =
                    items.iter().map(|size| self.whole(reports, name, size, span, 1..=limits::CHANNELS));
                sizes.collect::<Read<Vec<_>>>().map(Segments::Sizes)
            }
            other => Err(self.mistyped(reports, name, "a count, `full` or a list of sizes", other, span)),
        }
    }

    /// Numbers in a list; nothing when it was not given.
    pub fn numbers(&self, reports: &mut Reports<'_>, name: &'static str) -> Read<Vec<f64>> {
        let Some((value, span)) = self.get(name, reports)? else { return Ok(Vec::new()) };
        let numbers = match value {
            Value::List(items) => items.iter().map(Value::number).collect(),
            single => single.number().map(|n| vec![n]),
        };
        numbers.ok_or_else(|| self.mistyped(reports, name, "a list of numbers", value, span))
    }

    /// The two ends of a range of numbers; `default` when it was not given.
    pub fn interval(
        &self,
        reports: &mut Reports<'_>,
        name: &'static str,
        default: [f64; 2],
    ) -> Read<[f64; 2]> {
        let Some((value, span)) = self.get(name, reports)? else { return Ok(default) };
        let ends = match value {
            Value::Range(ends) => ends.0.number().zip(ends.1.number()),
            _ => None,
        };
        match ends {
            Some((low, high)) if low < high => Ok([low, high]),
            Some(_) => {
                let message = format!("the ends of `{name}` of `{}` must differ", self.owner);
                let error = Diagnostic::error("E0304", message).at(span, format!("this is {value}"));
                Err(reports.report(self.with_site(error, span)))
            }
            None => Err(self.mistyped(reports, name, "a range such as -1..1", value, span)),
        }
    }

    /// The value of an attribute that only its owner understands.
    pub fn other(&self, reports: &mut Reports<'_>, name: &'static str) -> Read<Option<Value>> {
        Ok(self.get(name, reports)?.map(|(value, _)| value.clone()))
    }

    /// Reports that a value has the wrong type.
    pub fn reject(&self, reports: &mut Reports<'_>, name: &'static str, wanted: &str) -> Reported {
        match self.get(name, reports) {
            Ok(Some((value, span))) => {
                let value = value.clone();
                self.mistyped(reports, name, wanted, &value, span)
            }
            _ => reports.reported(),
        }
    }
}

fn one_of<T>(choices: &[(&'static str, T)]) -> String {
    format!("one of {}", quoted(choices.iter().map(|(w, _)| *w)))
}
