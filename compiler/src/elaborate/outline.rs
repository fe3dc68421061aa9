//! What is known of the shape of a value when a mistake keeps its layer from being made.
//!
//! A check against an outline is a mistake only when every shape within it fails, so that nothing
//! is reported that merely follows from a mistake before.

use std::fmt;

use crate::graph::Shape;

/// Rows, columns, channels or elements: any number from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    low: u32,
    high: u32,
}

impl Extent {
    /// Any number.
    pub const UNKNOWN: Extent = Extent { low: 1, high: u32::MAX };

    /// Just this number.
    pub fn exact(n: u32) -> Self {
        Self { low: n, high: n }
    }

    /// The number, if it is known.
    pub fn value(self) -> Option<u32> {
        (self.low == self.high).then_some(self.low)
    }

    /// The least it can be.
    pub fn low(self) -> u32 {
        self.low
    }

    /// The most it can be.
    pub fn high(self) -> u32 {
        self.high
    }

    /// From 1 up to the most that it can be.
    pub fn at_most(self) -> Self {
        Self { low: 1, ..self }
    }

    /// This or the other, and whatever lies between.
    pub fn or(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// What both can be; this when they have nothing in common.
    pub fn and(self, other: Self) -> Self {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.low <= both.high { both } else { self }
    }

    /// Whether both certainly differ.
    pub fn differs(self, other: Self) -> bool {
        self.high < other.low || other.high < self.low
    }

    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high) }
    }

    /// The product of both.
    pub fn times(self, other: Self) -> Self {
        Self { low: self.low.saturating_mul(other.low), high: self.high.saturating_mul(other.high) }
    }

    /// What a function that never falls makes of it; `None` when the function is undefined for all
    /// of it. A number for which it is undefined counts as 1.
    pub fn through(self, f: impl Fn(u32) -> Option<u32>) -> Option<Self> {
        let low = f(self.low).unwrap_or(1);
        match self.high {
            u32::MAX => Some(Self { low, high: u32::MAX }),
            high => Some(Self { low, high: f(high)? }),
        }
    }

    /// What it is after a loop of unknown length whose first turn makes it `end`.
    fn repeated(self, end: Self) -> Self {
        match end.high <= self.high {
            _ if self == end => self,
            true => self.at_most(),
            false => Self::UNKNOWN,
        }
    }
}

/// Prints a number, `64..128`, or `?` when there is no telling how large it is.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (low, high) if low == high => write!(f, "{low}"),
            (_, u32::MAX) => f.write_str("?"),
            (low, high) => write!(f, "{low}..{high}"),
        }
    }
}

/// What is known of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Whether it is a vector; `None` when that is not known.
    pub is_vector: Option<bool>,
    /// Rows; a vector has one.
    pub rows: Extent,
    /// Columns; a vector has one.
    pub columns: Extent,
    /// Channels of a map, elements of a vector.
    pub channels: Extent,
}

impl Outline {
    /// Nothing is known.
    pub const UNKNOWN: Outline = Outline {
        is_vector: None,
        rows: Extent::UNKNOWN,
        columns: Extent::UNKNOWN,
        channels: Extent::UNKNOWN,
    };

    /// A map.
    pub fn map([rows, columns]: [Extent; 2], channels: Extent) -> Self {
        Self { is_vector: Some(false), rows, columns, channels }
    }

    /// A vector.
    pub fn vector(elements: Extent) -> Self {
        let one = Extent::exact(1);
        Self { is_vector: Some(true), rows: one, columns: one, channels: elements }
    }

    /// Rows and columns.
    pub fn sides(&self) -> [Extent; 2] {
        [self.rows, self.columns]
    }

    /// The shape, if all of it is known.
    pub fn shape(&self) -> Option<Shape> {
        let [rows, columns, channels] = [self.rows, self.columns, self.channels].map(Extent::value);
        match self.is_vector? {
            true => channels.map(Shape::vector),
            false => Some(Shape::map(rows?, columns?, channels?)),
        }
    }

    /// The least number of elements it can have.
    pub fn elements(&self) -> u64 {
        let [rows, columns, channels] = [self.rows, self.columns, self.channels].map(|e| u64::from(e.low));
        rows.saturating_mul(columns).saturating_mul(channels)
    }

    /// The map that a layer reads which needs one: the same, unless it is a vector for certain.
    pub fn as_map(&self) -> Self {
        match self.is_vector {
            Some(true) => Self { is_vector: Some(false), ..Self::UNKNOWN },
            _ => Self { is_vector: Some(false), ..*self },
        }
    }

    /// What can be said after a layer that is not known: whatever it is, it is not taken to
    /// enlarge a map.
    pub fn after_unknown_layer(&self) -> Self {
        if self.is_vector == Some(true) {
            return Self::UNKNOWN;
        }
        let [rows, columns] = self.sides().map(Extent::at_most);
        Self { rows, columns, ..Self::UNKNOWN }
    }

    /// This or the other.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            is_vector: self.is_vector.filter(|_| self.is_vector == other.is_vector),
            rows: self.rows.or(other.rows),
            columns: self.columns.or(other.columns),
            channels: self.channels.or(other.channels),
        }
    }

    /// What it is when it is the other, too.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            is_vector: self.is_vector.or(other.is_vector),
            rows: self.rows.and(other.rows),
            columns: self.columns.and(other.columns),
            channels: self.channels.and(other.channels),
        }
    }

    /// Whether both certainly differ in rows, columns, or in being a vector.
    pub fn differs_in_extent(&self, other: &Self) -> bool {
        let kinds = self.is_vector.zip(other.is_vector);
        kinds.is_some_and(|(a, b)| a != b)
            || self.rows.differs(other.rows)
            || self.columns.differs(other.columns)
    }

    /// Whether both certainly differ.
    pub fn differs(&self, other: &Self) -> bool {
        self.differs_in_extent(other) || self.channels.differs(other.channels)
    }

    /// What is known after a loop of unknown length whose first turn ends with `end`.
    pub fn repeated(&self, end: &Self) -> Self {
        Self {
            is_vector: self.is_vector.filter(|_| self.is_vector == end.is_vector),
            rows: self.rows.repeated(end.rows),
            columns: self.columns.repeated(end.columns),
            channels: self.channels.repeated(end.channels),
        }
    }
}

impl From<Shape> for Outline {
    fn from(shape: Shape) -> Self {
        let [h, w, c] = [shape.h(), shape.w(), shape.c()].map(Extent::exact);
        match shape {
            Shape::Map { .. } => Self::map([h, w], c),
            Shape::Vector { .. } => Self::vector(c),
        }
    }
}

/// Prints like a shape: `?x?x64` for a map of which only the channels are known.
impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_vector {
            Some(true) => write!(f, "{}", self.channels),
            _ => write!(f, "{}x{}x{}", self.rows, self.columns, self.channels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extents() -> impl Strategy<Value = (Extent, u32)> {
        let range = (1..40_u32, 0..40_u32).prop_map(|(low, more)| Extent { low, high: low + more });
        range.prop_flat_map(|extent| (Just(extent), extent.low..=extent.high))
    }

    fn holds(extent: Extent, n: u32) -> bool {
        (extent.low..=extent.high).contains(&n)
    }

    proptest! {
        /// Whatever the numbers are, the outcome lies within what is computed for their extents.
        #[test]
        fn extents_hold_all_outcomes((a, m) in extents(), (b, n) in extents(), stride in 1..5_u32) {
            prop_assert!(holds(a.plus(b), m + n) && holds(a.times(b), m * n));
            prop_assert!(holds(a.or(b), m) && holds(a.or(b), n) && holds(a.at_most(), m));
            prop_assert!(m != n || (!a.differs(b) && holds(a.and(b), m)));
            let windows = |size: u32| size.checked_sub(3).map(|room| room / stride + 1);
            match (windows(m), a.through(windows)) {
                (Some(size), Some(sizes)) => prop_assert!(holds(sizes, size)),
                (size, sizes) => prop_assert!(size.is_none() || sizes.is_some()),
            }
        }
    }

    #[test]
    fn exact_outlines_are_shapes() {
        for shape in [Shape::map(3, 4, 5), Shape::vector(7)] {
            let outline = Outline::from(shape);
            assert_eq!(outline.shape(), Some(shape));
            assert_eq!(outline.to_string(), shape.to_string());
            assert_eq!(outline.elements(), shape.elements());
        }
        assert_eq!(Outline::from(Shape::map(8, 8, 3)).after_unknown_layer().to_string(), "1..8x1..8x?");
    }
}
