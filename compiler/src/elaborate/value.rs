//! Values of expressions.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use crate::diagnostic::shorten;

/// The value of an expression. Printed in the syntax of the language.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; finite.
    Float(f64),
    /// `yes` or `no`
    Boolean(bool),
    /// As many as there are channels; larger than any number.
    Full,
    /// One of a set of words, such as `same`.
    Word(Rc<str>),
    /// A string.
    Text(Rc<str>),
    /// Rows and columns: `3x3`.
    Window([u32; 2]),
    /// Values that are no lists themselves.
    List(Rc<[Value]>),
    /// Both ends included; the ends are numbers or `full`.
    Range(Rc<(Value, Value)>),
}

impl Value {
    /// A word.
    pub fn word(text: &str) -> Self {
        Value::Word(text.into())
    }

    /// The value with its type, as errors name it.
    pub fn describe(&self) -> String {
        match self {
            Value::Integer(n) => format!("the number {n}"),
            Value::Float(_) => format!("the number {self}"),
            Value::Boolean(_) | Value::Full => format!("`{self}`"),
            Value::Word(word) => format!("the word `{word}`"),
            Value::Text(_) => format!("the string {}", shorten(&self.to_string())),
            Value::Window(_) => format!("the window {self}"),
            Value::List(items) if items.len() > 8 => format!("a list of {} values", items.len()),
            Value::List(_) => format!("the list {}", shorten(&self.to_string())),
            Value::Range(_) => format!("the range {self}"),
        }
    }

    /// The number it is, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            // A count or size that a float cannot hold exactly is far above every limit.
            Value::Integer(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// How two numbers compare, `full` being the largest; `None` for anything else.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
            (Value::Full, Value::Full) => Some(Ordering::Equal),
            (Value::Full, other) if other.number().is_some() => Some(Ordering::Greater),
            (this, Value::Full) if this.number().is_some() => Some(Ordering::Less),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }

    /// Whether two values are the same; `None` when they are of types that are never the same.
    pub fn same(&self, other: &Value) -> Option<bool> {
        if let Some(order) = self.compare(other) {
            return Some(order == Ordering::Equal);
        }
        let one_type = std::mem::discriminant(self) == std::mem::discriminant(other);
        one_type.then(|| self == other)
    }

    /// How much work it is to compare or print the value.
    pub fn weight(&self) -> u64 {
        match self {
            Value::List(items) => items.len() as u64,
            Value::Text(text) => text.len() as u64 / 16,
            _ => 1,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(n) => write!(f, "{n}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Boolean(b) => f.write_str(if *b { "yes" } else { "no" }),
            Value::Full => f.write_str("full"),
            Value::Word(word) => f.write_str(word),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Window([rows, columns]) => write!(f, "{rows}x{columns}"),
            Value::List(items) => {
                f.write_str("[")?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Range(ends) => write!(f, "{}..{}", ends.0, ends.1),
        }
    }
}
