//! The axes that a rule's `transpose` lists.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// More axes than any tensor has.
const MOST_AXES: usize = 32;

/// An axis of a tensor of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// This axis of the file's tensor.
    OfFile(usize),
    /// An axis of extent 1 that the file's tensor lacks.
    New,
}

impl Axis {
    /// The axis of the file; none for a new one.
    pub fn of_file(self) -> Option<usize> {
        match self {
            Axis::OfFile(axis) => Some(axis),
            Axis::New => None,
        }
    }
}

/// Prints as a map writes it: `2` or `new`.
impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Axis::OfFile(axis) => write!(f, "{axis}"),
            Axis::New => f.write_str("new"),
        }
    }
}

impl<'de> Deserialize<'de> for Axis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AxisVisitor)
    }
}

struct AxisVisitor;

impl Visitor<'_> for AxisVisitor {
    type Value = Axis;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an axis of the file, from 0, or `new`")
    }

    fn visit_u64<E: Error>(self, axis: u64) -> Result<Axis, E> {
        Ok(Axis::OfFile(usize::try_from(axis).unwrap_or(usize::MAX)))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Axis, E> {
        match word {
            "new" => Ok(Axis::New),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }
}

/// Refuses lists that do not hold each axis of a tensor once.
pub(super) fn check(axes: &[Axis]) -> Result<(), String> {
    if axes.len() > MOST_AXES {
        return Err(format!("`transpose` lists {} axes; at most {MOST_AXES} are read", axes.len()));
    }
    let count = axes.iter().filter(|axis| **axis != Axis::New).count();
    if (0..count).all(|axis| axes.contains(&Axis::OfFile(axis))) {
        return Ok(());
    }
    let listed: Vec<String> = axes.iter().map(Axis::to_string).collect();
    let legal: Vec<usize> = (0..count).collect();
    Err(format!("`transpose: [{}]` must hold each of {legal:?} once", listed.join(", ")))
}
