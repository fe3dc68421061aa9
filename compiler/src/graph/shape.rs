//! Shapes of tensors, without the batch dimension.

use std::fmt;

/// The shape of one image's worth of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Height, width and channels; channels vary fastest in memory.
    Map {
        /// Rows.
        h: u32,
        /// Pixels in a row.
        w: u32,
        /// Channels of a pixel.
        c: u32,
    },
    /// A vector, as dense layers, flatten and global pooling yield it.
    Vector {
        /// Elements.
        n: u32,
    },
}

impl Shape {
    /// A map of `h` rows of `w` pixels of `c` channels.
    pub fn map(h: u32, w: u32, c: u32) -> Self {
        Shape::Map { h, w, c }
    }

    /// A vector of `n` elements.
    pub fn vector(n: u32) -> Self {
        Shape::Vector { n }
    }

    /// Rows; a vector has one.
    pub fn h(self) -> u32 {
        match self {
            Shape::Map { h, .. } => h,
            Shape::Vector { .. } => 1,
        }
    }

    /// Pixels in a row; a vector has one.
    pub fn w(self) -> u32 {
        match self {
            Shape::Map { w, .. } => w,
            Shape::Vector { .. } => 1,
        }
    }

    /// Channels of a pixel, or elements of a vector.
    pub fn c(self) -> u32 {
        match self {
            Shape::Map { c, .. } => c,
            Shape::Vector { n } => n,
        }
    }

    /// Whether this is a vector.
    pub fn is_vector(self) -> bool {
        matches!(self, Shape::Vector { .. })
    }

    /// The same extent with another number of channels or elements.
    pub fn with_channels(self, channels: u32) -> Self {
        match self {
            Shape::Map { h, w, .. } => Shape::Map { h, w, c: channels },
            Shape::Vector { .. } => Shape::Vector { n: channels },
        }
    }

    /// Number of pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.h()) * u64::from(self.w())
    }

    /// Number of elements.
    pub fn elements(self) -> u64 {
        self.pixels() * u64::from(self.c())
    }

    /// Number of elements, or `None` when 64 bits cannot count them.
    pub fn elements_checked(self) -> Option<u64> {
        self.pixels().checked_mul(u64::from(self.c()))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Map { h, w, c } => write!(f, "{h}x{w}x{c}"),
            Shape::Vector { n } => write!(f, "{n}"),
        }
    }
}
