//! Rows of a matrix of bf16 values: for each output pixel of a convolution, all values that its
//! window covers, or for each pixel of a row, those of a row of taps, where a sum is over several
//! rows of the matrix.
//!
//! A row holds tap row by tap row, tap by tap, the input channels, padded to whole vectors with
//! finite numbers; taps outside the image are zeros, and so is what fills the last tile (see
//! [`super::matmul`]). So the matrix multiplication after it knows nothing of strides and borders.

use std::fmt;
use std::ops::Range;

use super::epilogue::{self, Format, Planes};
use super::name_fusion;
use crate::graph::Activation;
use crate::vector::{Builder, F32, Kernel, Pointer, Slot, TILE_LANES, Times};

/// Vectors that one trip of a loop moves.
const UNROLL: u32 = 4;

/// What a run of equal pixels depends on. The `rows` count is the number of pixels; `in` points
/// where tap 0 of the first pixel's first row of taps inside the image is, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatherPixels {
    /// Input channels.
    pub ic: u32,
    /// Taps of a row.
    pub kw: u32,
    /// Rows of taps above the image, inside it, and below it.
    pub rows: [u32; 3],
    /// Taps of a row inside the image.
    pub taps: Range<u32>,
    /// Bytes between the windows of neighbouring pixels, in the input.
    pub pixel: i32,
    /// Bytes between neighbouring taps of a row, in the input.
    pub tap: i32,
    /// Bytes between neighbouring rows of taps, in the input.
    pub row: i32,
    /// Bytes between rows of the matrix.
    pub out: i32,
    /// Applied to the input.
    pub load: Activation,
    /// Where the parts of values are stored.
    pub planes: Planes,
}

/// Vectors of a row of the matrix for windows of `taps` taps: padded to whole tiles.
pub fn vectors(ic: u32, taps: u64) -> u64 {
    (u64::from(ic.div_ceil(TILE_LANES)) * taps).next_multiple_of(2)
}

impl fmt::Display for GatherPixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [above, inside, below] = self.rows;
        write!(f, "gather_{inside}x{}_c{}_i{}.{}.{}", self.kw, self.ic, self.pixel, self.tap, self.row)?;
        write!(f, "_o{}", self.out)?;
        if above + below > 0 {
            write!(f, "_above{above}_below{below}")?;
        }
        if self.taps != (0..self.kw) {
            write!(f, "_t{}to{}", self.taps.start, self.taps.end)?;
        }
        name_fusion(self.load, &[], f)?;
        self.format().fmt(f)
    }
}

/// Registers of a run under construction.
struct Registers {
    value: Slot,
    temporaries: Vec<Slot>,
    /// The first pixel's window.
    input: Pointer,
    /// Where the next value is written.
    out: Pointer,
    /// The current row of taps.
    row: Pointer,
    /// Where the current tap is read.
    tap: Pointer,
}

impl GatherPixels {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(TILE_LANES, &["in", "out"], true);
        let temporaries = self.load.traits().temporaries.max(self.format().slots());
        let registers = Registers {
            value: b.slot(),
            temporaries: b.slots(temporaries),
            input: b.parameter("in"),
            out: b.parameter("out"),
            row: b.pointer(),
            tap: b.pointer(),
        };
        b.repeat(Times::Rows, |b| self.pixel(b, &registers));
        b.finish(self.to_string())
    }

    /// One pixel; leaves the pointers at the next one.
    fn pixel(&self, b: &mut Builder, r: &Registers) {
        let [above, inside, below] = self.rows;
        let taps = u64::from(above + inside + below) * u64::from(self.kw);
        let padding = vectors(self.ic, taps) - u64::from(self.vectors()) * taps;
        let row = self.kw * self.vectors();
        b.point(r.row, r.input, 0);
        self.zeros(b, r, above * row);
        b.repeat(Times::Exactly(inside), |b| self.row_of_taps(b, r));
        self.zeros(b, r, below * row + padding as u32);
        b.advance(r.input, self.pixel);
        let written = vectors(self.ic, taps) as i32 * self.step();
        b.advance(r.out, self.out - written);
    }

    fn format(&self) -> Format {
        Format::Bf16(self.planes)
    }

    /// Vectors of a tap.
    fn vectors(&self) -> u32 {
        self.ic.div_ceil(TILE_LANES)
    }

    /// Bytes of a vector in the matrix.
    fn step(&self) -> i32 {
        TILE_LANES as i32 * self.format().bytes()
    }

    fn zeros(&self, b: &mut Builder, r: &Registers, vectors: u32) {
        if vectors > 0 {
            b.constant(r.value, 0.0);
        }
        // All parts of a zero are zeros.
        let store = |b: &mut Builder| {
            epilogue::store(b, self.planes, r.value, (r.out, 0), &r.temporaries);
            b.advance(r.out, self.step());
        };
        b.repeat(Times::Exactly(vectors), store);
    }

    fn row_of_taps(&self, b: &mut Builder, r: &Registers) {
        self.zeros(b, r, self.taps.start * self.vectors());
        for tap in self.taps.clone() {
            b.point(r.tap, r.row, tap as i32 * self.tap);
            let (whole, rest) = (self.ic / TILE_LANES, self.ic % TILE_LANES);
            b.repeat(Times::Exactly(whole / UNROLL), |b| self.run(b, r, UNROLL));
            self.run(b, r, whole % UNROLL);
            if rest > 0 {
                self.vector(b, r, 0, rest);
                b.advance(r.out, self.step());
            }
        }
        self.zeros(b, r, (self.kw - self.taps.end) * self.vectors());
        b.advance(r.row, self.row);
    }

    /// Some whole vectors of a tap.
    fn run(&self, b: &mut Builder, r: &Registers, vectors: u32) {
        for vector in 0..vectors as i32 {
            self.vector(b, r, vector, TILE_LANES);
        }
        b.advance(r.tap, vectors as i32 * b.vector_bytes());
        b.advance(r.out, vectors as i32 * self.step());
    }

    fn vector(&self, b: &mut Builder, r: &Registers, vector: i32, lanes: u32) {
        b.load_lanes(r.value, r.tap, vector * TILE_LANES as i32 * F32, lanes);
        epilogue::activate(b, self.load, &[r.value], &r.temporaries);
        epilogue::store(b, self.planes, r.value, (r.out, vector * self.step()), &r.temporaries);
    }
}
