//! The two transformations around a convolution of 3x3 taps by Winograd's minimal filtering,
//! F(2x2, 3x3).
//!
//! A patch of 2x2 results is made of 4x4 inputs. Both and the weights are transformed so that 16
//! products take the place of 36: sums over input channels are then 16 pointwise convolutions,
//! each of a *plane*, which holds one value of every patch. The matrices are those of A. Lavin and
//! S. Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). All factors are 0, 1 or -1
//! but for those of the weights, some of which are a half, so errors stay near those of plain
//! sums. An infinity reaches the results that it would reach otherwise, but may do so as NaN.

use std::fmt;
use std::ops::Range;

use super::epilogue::{self, Format};
use super::matmul::CHUNK;
use super::name_fusion;
use crate::graph::{Activation, Post};
use crate::vector::{BinaryOp, Builder, Kernel, Slot, Times};

/// Results of a patch in each direction.
pub const PATCH: u32 = 2;
/// Taps in each direction.
pub const TAPS: u32 = 3;
/// Inputs of a patch in each direction.
pub const INPUTS: u32 = PATCH + TAPS - 1;
/// Planes: values of a transformed patch.
pub const PLANES: u32 = INPUTS * INPUTS;
/// The plane of which a value reaches all results of its patch as it is, so that biases are added
/// there.
pub const BIAS_PLANE: u32 = INPUTS + 1;

/// The patches that rows and columns of results are cut into.
pub fn patches(results: [u32; 2]) -> [u32; 2] {
    results.map(|results| results.div_ceil(PATCH))
}

/// The products that Winograd's method saves for each output channel of a map of results, where
/// windows have so many inputs and planes so many, padding included; 0 where it takes more.
pub fn products_saved(results: [u32; 2], [of_windows, of_planes]: [u32; 2]) -> u64 {
    let count = |[rows, columns]: [u32; 2], products: u32, inputs: u32| {
        let places = u64::from(rows).saturating_mul(u64::from(columns));
        places.saturating_mul(u64::from(products) * u64::from(inputs))
    };
    let planes = count(patches(results), PLANES, of_planes);
    count(results, TAPS * TAPS, of_windows).saturating_sub(planes)
}

/// Each transformed value of four in a line: two of them, and what is done with these.
const OF_INPUTS: [(usize, usize, BinaryOp); INPUTS as usize] =
    [(0, 2, BinaryOp::Sub), (1, 2, BinaryOp::Add), (2, 1, BinaryOp::Sub), (1, 3, BinaryOp::Sub)];

/// The transformed weights of some kernels of 3x3 taps, row by row of taps and plane by plane.
#[inline(always)]
pub fn transform_weights<const N: usize>(taps: &[[f64; N]; 9]) -> [[f64; N]; PLANES as usize] {
    let columns = [0, 1, 2].map(|column| line([0, 3, 6].map(|row| &taps[row + column])));
    let rows = [0, 1, 2, 3].map(|row| line([0, 1, 2].map(|column: usize| &columns[column][row])));
    std::array::from_fn(|plane| rows[plane / 4][plane % 4])
}

/// Three taps in a line, transformed.
#[inline(always)]
fn line<const N: usize>([first, middle, last]: [&[f64; N]; 3]) -> [[f64; N]; INPUTS as usize] {
    let mut values = [*first, [0.0; N], [0.0; N], *last];
    for kernel in 0..N {
        let (sum, middle) = ((first[kernel] + last[kernel]) / 2.0, middle[kernel] / 2.0);
        (values[1][kernel], values[2][kernel]) = (sum + middle, sum - middle);
    }
    values
}

/// What the transformation of inputs depends on. The `rows` count is the number of patches,
/// neighbours in a row; `in` points where the first column of the first patch is, or would be, in
/// the patch's first row inside the image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InputPatches {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Channels; exactly these are read, and whole vectors written.
    pub channels: u32,
    /// Rows of a patch inside the image.
    pub rows: Range<u32>,
    /// Columns of a patch inside the image.
    pub columns: Range<u32>,
    /// Bytes between neighbouring pixels of the input.
    pub pixel: i32,
    /// Bytes between neighbouring rows of the input.
    pub row: i32,
    /// Bytes between neighbouring patches in a plane.
    pub patch: i32,
    /// Bytes between planes.
    pub plane: i32,
    /// Applied to the input.
    pub load: Activation,
    /// How values of planes are stored. Those of bf16 are padded with zeros to whole chunks of
    /// [`CHUNK`] inputs.
    pub format: Format,
}

impl fmt::Display for InputPatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "winograd_in_c{}_v{}_i{}.{}", self.channels, self.lanes, self.pixel, self.row)?;
        write!(f, "_o{}.{}", self.patch, self.plane)?;
        for (name, inside) in [("y", &self.rows), ("x", &self.columns)] {
            if *inside != (0..INPUTS) {
                write!(f, "_{name}{}to{}", inside.start, inside.end)?;
            }
        }
        name_fusion(self.load, &[], f)?;
        self.format.fmt(f)
    }
}

/// Slots of the transformation of inputs.
struct InputSlots {
    /// A row of a patch, transformed from top to bottom.
    row: Vec<Slot>,
    value: Slot,
    temporaries: Vec<Slot>,
}

impl InputPatches {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "out"], true);
        let slots = InputSlots {
            row: b.slots(INPUTS as usize),
            value: b.slot(),
            temporaries: b.slots(self.load.traits().temporaries.max(self.format.slots())),
        };
        let steps = [("in", b.vector_bytes()), ("out", self.vector_bytes())];
        let padding = self.padding();
        b.repeat(Times::Rows, |b| {
            let vectors = vectors(b, self.channels, &steps, |b, lanes| self.vector(b, &slots, lanes));
            self.zeros(b, &slots, padding);
            b.advance(b.parameter("in"), PATCH as i32 * self.pixel - vectors * b.vector_bytes());
            b.advance(b.parameter("out"), self.patch - vectors * self.vector_bytes());
        });
        b.finish(self.to_string())
    }

    /// Bytes of a vector of channels in a plane.
    fn vector_bytes(&self) -> i32 {
        self.lanes as i32 * self.format.bytes()
    }

    /// Vectors of zeros behind the channels in every plane.
    fn padding(&self) -> i32 {
        let padded = match self.format {
            Format::F32 => self.lanes,
            Format::Bf16(_) => CHUNK,
        };
        let vectors = |unit: u32| self.channels.next_multiple_of(unit) / self.lanes;
        (vectors(padded) - vectors(self.lanes)) as i32
    }

    fn zeros(&self, b: &mut Builder, s: &InputSlots, vectors: i32) {
        for vector in 0..vectors {
            for plane in 0..PLANES as i32 {
                b.constant(s.value, 0.0);
                self.store(b, s, vector * self.vector_bytes() + plane * self.plane);
            }
        }
    }

    /// Stores a vector of a plane; the value is lost.
    fn store(&self, b: &mut Builder, s: &InputSlots, offset: i32) {
        let out = b.parameter("out");
        match self.format {
            Format::F32 => b.store_lanes(s.value, out, offset, self.lanes),
            Format::Bf16(planes) => epilogue::store(b, planes, s.value, (out, offset), &s.temporaries),
        }
    }

    /// A vector of channels of a patch.
    fn vector(&self, b: &mut Builder, s: &InputSlots, lanes: u32) {
        for (row, &(first, second, op)) in (0..).zip(&OF_INPUTS) {
            for (column, &slot) in (0..).zip(&s.row) {
                let [first, second] = [first, second].map(|row| self.place(row as u32, column));
                self.combine(b, s, slot, (first, second, op), lanes);
            }
            for (column, &(first, second, op)) in (0..).zip(&OF_INPUTS) {
                b.binary(op, s.value, s.row[first], s.row[second]);
                self.store(b, s, (row * INPUTS as i32 + column) * self.plane);
            }
        }
    }

    /// Where a value of the patch is read, if it lies inside the image.
    fn place(&self, row: u32, column: u32) -> Option<i32> {
        let is_inside = self.rows.contains(&row) && self.columns.contains(&column);
        is_inside.then(|| (row as i32 - self.rows.start as i32) * self.row + column as i32 * self.pixel)
    }

    /// Sets a slot to the combination of two inputs, which are zero outside the image.
    fn combine(
        &self,
        b: &mut Builder,
        s: &InputSlots,
        to: Slot,
        (first, second, op): (Option<i32>, Option<i32>, BinaryOp),
        lanes: u32,
    ) {
        let load = |b: &mut Builder, slot: Slot, place: i32| {
            b.load_lanes(slot, b.parameter("in"), place, lanes);
            epilogue::activate(b, self.load, &[slot], &s.temporaries);
        };
        match first {
            Some(place) => load(b, to, place),
            None => b.constant(to, 0.0),
        }
        if let Some(place) = second {
            load(b, s.value, place);
            b.binary(op, to, to, s.value);
        }
    }
}

/// What the transformation of sums into results depends on. The `rows` count is the number of
/// patches, neighbours in a row; `out` and `add` point at the first result of the first patch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutputPatches {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Channels, of which whole vectors of sums are read.
    pub channels: u32,
    /// Lanes stored of the last vector.
    pub last_lanes: u32,
    /// Rows and columns of a patch that lie inside the map.
    pub inside: [u32; 2],
    /// Bytes between neighbouring patches in a plane.
    pub patch: i32,
    /// Bytes between planes.
    pub plane: i32,
    /// Bytes between neighbouring rows and pixels of the result.
    pub out: [i32; 2],
    /// Bytes between neighbouring rows and pixels of the added operand.
    pub add: [i32; 2],
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
}

impl fmt::Display for OutputPatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.inside;
        write!(f, "winograd_out_{rows}x{columns}_c{}_v{}", self.channels, self.lanes)?;
        if self.last_lanes != self.lanes {
            write!(f, "_l{}", self.last_lanes)?;
        }
        write!(f, "_i{}.{}_o{}.{}", self.patch, self.plane, self.out[1], self.out[0])?;
        if self.add != [0; 2] {
            write!(f, "_a{}.{}", self.add[1], self.add[0])?;
        }
        name_fusion(Activation::Linear, &self.post, f)
    }
}

/// Slots of the transformation of sums.
struct OutputSlots {
    /// Columns of a patch, transformed from top to bottom, by row of the results.
    rows: [Vec<Slot>; PATCH as usize],
    value: Slot,
    temporaries: Vec<Slot>,
}

impl OutputPatches {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "out", "add"], true);
        let slots = OutputSlots {
            rows: [b.slots(INPUTS as usize), b.slots(INPUTS as usize)],
            value: b.slot(),
            temporaries: b.slots(epilogue::slots(&self.post)),
        };
        b.repeat(Times::Rows, |b| {
            let last = self.channels.next_multiple_of(self.lanes) - self.lanes;
            let stored = last + self.last_lanes;
            let steps = ["in", "out", "add"].map(|name| (name, b.vector_bytes()));
            let moved =
                vectors(b, stored, &steps, |b, lanes| self.vector(b, &slots, lanes)) * b.vector_bytes();
            b.advance(b.parameter("in"), self.patch - moved);
            for (name, pixel) in [("out", self.out[1]), ("add", self.add[1])] {
                b.advance(b.parameter(name), PATCH as i32 * pixel - moved);
            }
        });
        b.finish(self.to_string())
    }

    /// A vector of channels of a patch.
    fn vector(&self, b: &mut Builder, s: &OutputSlots, lanes: u32) {
        let sums = b.parameter("in");
        for column in 0..INPUTS as usize {
            let place = |row: i32| (row * INPUTS as i32 + column as i32) * self.plane;
            let [top, bottom] = [0, 1].map(|row| s.rows[row][column]);
            b.load(top, sums, place(0));
            b.load(bottom, sums, place(1));
            b.binary(BinaryOp::Add, top, top, bottom);
            b.load(s.value, sums, place(2));
            b.binary(BinaryOp::Add, top, top, s.value);
            b.binary(BinaryOp::Sub, bottom, bottom, s.value);
            b.load(s.value, sums, place(3));
            b.binary(BinaryOp::Sub, bottom, bottom, s.value);
        }
        for row in &s.rows[..self.inside[0] as usize] {
            b.binary(BinaryOp::Add, row[0], row[0], row[1]);
            b.binary(BinaryOp::Add, row[0], row[0], row[2]);
            b.binary(BinaryOp::Sub, row[1], row[1], row[2]);
            b.binary(BinaryOp::Sub, row[1], row[1], row[3]);
        }
        self.finish(b, s, lanes);
    }

    /// The results of a patch, the first two slots of each row.
    fn finish(&self, b: &mut Builder, s: &OutputSlots, lanes: u32) {
        let [rows, columns] = self.inside.map(|inside| inside as usize);
        let mut results = Vec::new();
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let offset = |[of_row, pixel]: [i32; 2]| row as i32 * of_row + column as i32 * pixel;
            let (out, add) = (offset(self.out), offset(self.add));
            results.push(epilogue::Result { value: s.rows[row][column], out, add, lanes });
        }
        let pointers = [b.parameter("out"), b.parameter("add")];
        epilogue::finish(b, (&self.post, Format::F32), &results, pointers, &s.temporaries);
    }
}

/// Runs `body` for each vector of some channels, with the lanes of it that are used, and moves the
/// pointers along by their bytes; returns how many vectors there are.
fn vectors(b: &mut Builder, channels: u32, steps: &[(&str, i32)], body: impl Fn(&mut Builder, u32)) -> i32 {
    let (whole, rest) = (channels / b.lanes(), channels % b.lanes());
    let vector = |b: &mut Builder, lanes: u32| {
        body(b, lanes);
        steps.iter().for_each(|&(name, bytes)| b.advance(b.parameter(name), bytes));
    };
    let lanes = b.lanes();
    b.repeat(Times::Exactly(whole), |b| vector(b, lanes));
    if rest > 0 {
        vector(b, rest);
    }
    channels.div_ceil(lanes) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::interpret::{Location, run};

    /// A kernel in memory of one vector for each value.
    fn evaluate(kernel: &Kernel, input: &[f64], outputs: usize) -> Vec<f64> {
        crate::vector::verify(kernel, 16).unwrap();
        let spread = |values: &[f64]| values.iter().flat_map(|&value| [value as f32; 4]).collect::<Vec<_>>();
        let mut memory = vec![spread(input), vec![0.0; 4 * outputs], vec![0.0; 4 * outputs]];
        let places: Vec<Location> = (0..kernel.pointers.len()).map(Location::start_of).collect();
        run(kernel, &places, 1, true, &mut memory).unwrap();
        memory[1].iter().step_by(4).map(|&value| f64::from(value)).collect()
    }

    /// From planes of a single patch to its results.
    fn whole_patch() -> OutputPatches {
        let (lanes, channels, last_lanes) = (4, 4, 4);
        let (inside, patch, plane) = ([PATCH; 2], 16, 16);
        OutputPatches {
            lanes,
            channels,
            last_lanes,
            inside,
            patch,
            plane,
            out: [32, 16],
            add: [0; 2],
            post: Vec::new(),
        }
    }

    /// Whole numbers, which all steps compute exactly.
    #[test]
    fn transformed_products_are_the_results_of_a_convolution() {
        let inputs: Vec<f64> = (0..16).map(|i| f64::from((i * 7 + 3) % 11 - 5)).collect();
        let taps = [[2.0, -4.0, 6.0], [8.0, 4.0, -2.0], [-6.0, 12.0, 2.0]];
        let (rows, columns, load) = (0..INPUTS, 0..INPUTS, Activation::Linear);
        let (lanes, channels, pixel, row, patch, plane) = (4, 4, 16, 64, 16, 16);
        let format = Format::F32;
        let kernel = InputPatches { lanes, channels, rows, columns, pixel, row, patch, plane, load, format };
        let transformed = evaluate(&kernel.generate(), &inputs, 16);
        let flat = std::array::from_fn(|tap| [taps[tap / 3][tap % 3]]);
        let products: Vec<f64> = transformed
            .iter()
            .zip(transform_weights(&flat))
            .map(|(input, [weight])| input * weight)
            .collect();
        let results = evaluate(&whole_patch().generate(), &products, 4);
        let expected = |row: usize, column: usize| -> f64 {
            let product =
                |tap: usize| taps[tap / 3][tap % 3] * inputs[(row + tap / 3) * 4 + column + tap % 3];
            (0..9).map(product).sum()
        };
        assert_eq!(results, [expected(0, 0), expected(0, 1), expected(1, 0), expected(1, 1)]);
    }

    #[test]
    fn a_value_of_the_bias_plane_reaches_all_results() {
        let mut planes = [0.0; PLANES as usize];
        planes[BIAS_PLANE as usize] = 3.0;
        assert_eq!(evaluate(&whole_patch().generate(), &planes, 4), [3.0; 4]);
    }
}
