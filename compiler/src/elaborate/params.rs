//! Parameters of a spec and their settings.

use std::collections::HashSet;

use super::Elaborator;
use super::eval::foreign_value;
use super::foreign;
use super::report::{Reported, Reports, quoted};
use super::value::Value;
use crate::diagnostic::{Diagnostic, shorten};
use crate::syntax::ast::{Expression, ExpressionKind, Name};
use crate::syntax::parse_value;

/// A parameter of a spec, for listings. Values are printed in the syntax of the language.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// What it is unless set: the expression as written, such as `segments` or `299`.
    pub default: String,
    /// The values allowed: a range or a list, as written.
    pub domain: Option<String>,
    /// Its value here; `None` when there is a mistake in it.
    pub value: Option<Value>,
    /// Whether a setting gave the value.
    pub is_set: bool,
}

/// The words in the choices of a parameter.
pub fn words(domain: &Expression) -> impl Iterator<Item = &str> {
    let items: &[Expression] = match &domain.kind {
        ExpressionKind::List(items) => items,
        _ => &[],
    };
    items.iter().filter_map(|item| match &item.kind {
        ExpressionKind::Name(word) => Some(word.as_str()),
        _ => None,
    })
}

impl<'a> Elaborator<'a> {
    /// Reports settings of parameters that the spec does not have, and settings made twice.
    pub fn check_settings(&mut self) {
        let mut names: Vec<&str> = self.later_params.keys().copied().collect();
        names.sort_unstable();
        let mut seen = HashSet::new();
        for (name, value) in self.settings {
            if self.reports.is_full() {
                return;
            }
            if !self.later_params.contains_key(name.as_str()) {
                let near = self.reports.nearest(name, names.iter().copied());
                let near = near.map(|n| format!("did you mean `{n}={}`?", shorten(value)));
                let known = if names.is_empty() { "none".to_owned() } else { quoted(names.iter().copied()) };
                let name = shorten(name);
                let error = Diagnostic::error("E0701", format!("the spec has no parameter `{name}`"))
                    .note(format!("its parameters are: {known}"))
                    .suggest_if(near);
                self.reports.report(error);
            } else if !seen.insert(name) {
                self.reports.report(Diagnostic::error("E0704", format!("parameter `{name}` is set twice")));
            }
        }
    }

    /// Defines a parameter with its setting or its default.
    pub fn declare_param(&mut self, name: &'a Name, default: &'a Expression, domain: Option<&'a Expression>) {
        self.later_params.remove(name.text.as_str());
        let allowed = domain.and_then(|d| self.domain(d).ok());
        let standard = self.word_or_value(default, matches!(allowed, Some(Value::List(_))));
        if self.hypothetical {
            let _ = self.define(name, None);
            return;
        }
        let setting = self.settings.iter().find(|(n, _)| *n == name.text);
        let value = match (setting, standard) {
            (Some((_, text)), standard) => self.setting(name, text, standard.ok().as_ref(), allowed.as_ref()),
            (None, Ok(value)) => {
                self.in_domain(name, value, allowed.as_ref(), [default, domain.unwrap_or(default)])
            }
            (None, Err(reported)) => Err(reported),
        };
        self.params.push(Param {
            name: name.text.clone(),
            default: default.to_string(),
            domain: domain.map(ToString::to_string),
            value: value.clone().ok(),
            is_set: setting.is_some(),
        });
        let _ = self.define(name, value.ok());
    }

    /// The values that a parameter may have.
    fn domain(&mut self, domain: &'a Expression) -> Result<Value, Reported> {
        let value = self.evaluate(domain)?;
        if matches!(value, Value::Range(_) | Value::List(_)) {
            return Ok(value);
        }
        let error = Diagnostic::error("E0311", "the values of a parameter are a range or a list")
            .at(domain.at.0, format!("this is {}", value.describe()))
            .suggest(format!("write `in 1..{value}` or `in [{value}]`"));
        Err(self.reports.report(error))
    }

    fn in_domain(
        &mut self,
        name: &Name,
        value: Value,
        allowed: Option<&Value>,
        [default, domain]: [&Expression; 2],
    ) -> Result<Value, Reported> {
        match allowed.and_then(|allowed| problem(&value, allowed, &self.reports)) {
            None => Ok(value),
            Some((message, way_out)) => {
                let error = Diagnostic::error("E0305", format!("the default of `{}` {message}", name.text))
                    .at(default.at.0, format!("this is {}", value.describe()))
                    .also(domain.at.0, "the values allowed")
                    .suggest_if(way_out);
                Err(self.reports.report(error))
            }
        }
    }

    /// The value of a setting.
    fn setting(
        &mut self,
        name: &Name,
        text: &str,
        standard: Option<&Value>,
        allowed: Option<&Value>,
    ) -> Result<Value, Reported> {
        let shown = format!("{}={}", name.text, shorten(text));
        let expression = match parse_value(text) {
            Ok(expression) => expression,
            Err(error) => {
                let error =
                    Diagnostic::error("E0702", format!("`{shown}` cannot be read: {}", error.message));
                return Err(self.reports.report(error));
            }
        };
        let value = self.setting_value(&expression, &shown)?;
        if let Some((message, way_out)) = allowed.and_then(|allowed| problem(&value, allowed, &self.reports))
        {
            let error = Diagnostic::error("E0703", format!("`{shown}` {message}")).suggest_if(way_out);
            return Err(self.reports.report(error));
        }
        match standard {
            Some(standard) if allowed.is_none() && !same_type(&value, standard) => {
                let message = format!(
                    "`{shown}` is {}, but the default of the parameter is {}",
                    value.describe(),
                    standard.describe()
                );
                let error = Diagnostic::error("E0703", message);
                Err(self.reports.report(error.suggest_if(in_place_of(&value, standard, &name.text))))
            }
            _ => Ok(value),
        }
    }

    /// Evaluates a setting, whose spans do not belong to the spec.
    fn setting_value(&mut self, expression: &Expression, shown: &str) -> Result<Value, Reported> {
        if let ExpressionKind::Name(word) = &expression.kind {
            // A word needs no quotation marks, be it a choice or the text of a string parameter.
            if self.scopes.find(word).is_none() && super::eval::CURRENT.iter().all(|c| c != word) {
                return Ok(Value::word(word));
            }
        }
        let known = self.reports.diagnostics.len();
        let value = self.evaluate(expression);
        for error in &mut self.reports.diagnostics[known..] {
            error.message = format!("`{shown}`: {}", error.message);
            error.primary = None;
            error.secondary.clear();
        }
        value
    }
}

/// Why a value is not among those allowed, and the nearest that is.
fn problem(value: &Value, allowed: &Value, reports: &Reports<'_>) -> Option<(String, Option<String>)> {
    match allowed {
        Value::Range(ends) => {
            let (low, high) = (&ends.0, &ends.1);
            let (Some(from_low), Some(from_high)) = (value.compare(low), value.compare(high)) else {
                return Some((format!("is not a number from {low} to {high}"), None));
            };
            let whole = matches!(low, Value::Integer(_)) && matches!(value, Value::Float(_));
            if whole {
                return Some((format!("is not a whole number from {low} to {high}"), None));
            }
            let nearest = if from_low.is_lt() { low } else { high };
            let outside = from_low.is_lt() || from_high.is_gt();
            let way_out = Some(format!("the nearest legal value is {nearest}"));
            outside.then(|| (format!("is not from {low} to {high}"), way_out))
        }
        Value::List(choices) if choices.iter().all(|c| c.same(value) != Some(true)) => {
            let texts: Vec<String> = choices.iter().map(Value::to_string).collect();
            let word = value.to_string();
            let foreign = foreign_value(&word).filter(|ours| texts.iter().any(|text| text == ours));
            let is_absent = foreign.is_some() || foreign::is_absent_word(&word);
            let near = || reports.nearest(&word, texts.iter().map(String::as_str));
            let near = foreign.or_else(|| if is_absent { None } else { near() });
            let way_out = near.map(|w| format!("did you mean `{w}`?"));
            Some((format!("is not one of {}", quoted(texts.iter().map(String::as_str))), way_out))
        }
        _ => None,
    }
}

/// How to write a setting whose value has another type than the default.
fn in_place_of(value: &Value, standard: &Value, name: &str) -> Option<String> {
    match (standard, foreign_value(&value.to_string())) {
        (Value::Boolean(_), Some(word @ ("yes" | "no"))) => Some(format!("write `{name}={word}`")),
        (Value::Boolean(_), _) => Some(format!("write `{name}=yes` or `{name}=no`")),
        _ => None,
    }
}

/// Whether a parameter can change from one value to the other; numbers and `full` are one type.
fn same_type(a: &Value, b: &Value) -> bool {
    let whole = |v: &Value| matches!(v, Value::Integer(_) | Value::Full);
    match (a, b) {
        (Value::Integer(_), Value::Float(_)) => true,
        _ => whole(a) && whole(b) || std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}
