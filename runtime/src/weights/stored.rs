//! A tensor in a file, whichever format: name, shape, and how its numbers are read.

use std::ops::Range;

use xcc_compiler::graph::WeightError;

use super::dataset::Dataset;
use super::error::Extents;
use super::source::Source;
use crate::memory::{OutOfMemory, reserved};

/// A tensor of a file; its numbers are not read yet.
pub(super) struct Stored {
    /// The file's name for it.
    pub name: String,
    /// Extents, the last one varying fastest.
    pub shape: Vec<u64>,
    /// Where the numbers are.
    pub data: Data,
}

/// Where the numbers of a tensor are.
pub(super) enum Data {
    /// In bytes of a file that stays open: checked to lie inside it and to be as long as the shape
    /// asks.
    Bytes {
        /// Type of the elements.
        element: Element,
        /// Bytes of the file.
        bytes: Range<u64>,
    },
    /// In an HDF5 dataset of floating-point numbers.
    Hdf5(Box<Dataset>),
    /// In elements that are no floating-point numbers; the type in words.
    Unreadable(String),
}

/// Types of elements that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64, rounded when read.
    F64,
}

impl Stored {
    /// The shape, to be printed.
    pub fn extents(&self) -> Extents {
        Extents(self.shape.clone())
    }

    /// Reads the numbers of a dataset; those in [`Data::Bytes`] are for [`Piece::read`]. The error
    /// says why in words.
    pub fn read(&self) -> Result<Vec<f32>, String> {
        match &self.data {
            Data::Bytes { .. } => Err("its numbers are read one by one".to_owned()),
            Data::Hdf5(dataset) => dataset.read(),
            Data::Unreadable(kind) => Err(format!("it holds {kind}")),
        }
    }
}

/// Numbers that stay in their file until they are asked for.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Type of the elements.
    pub element: Element,
    /// Bytes of the file.
    pub bytes: Range<u64>,
    /// Where axes have another order than the network's: the shape in the file, and the
    /// permutation, as for [`transpose`].
    pub turned: Option<(Vec<u64>, Vec<usize>)>,
}

impl Piece {
    /// How many numbers there are.
    pub fn length(&self) -> u64 {
        (self.bytes.end - self.bytes.start) / self.element.bytes()
    }

    /// The numbers, in the network's order of axes.
    pub fn read(&self, source: &Source) -> Result<Vec<f32>, WeightError> {
        let values = self.element.read(source, &self.bytes)?;
        match &self.turned {
            Some((shape, axes)) => Ok(transpose(&values, shape, axes)?),
            None => Ok(values),
        }
    }
}

impl Element {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Element::F16 | Element::BF16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }

    /// Numbers from little-endian bytes in memory; a rest shorter than an element is left out.
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<f32>, WeightError> {
        match self {
            Element::F16 => decode(bytes.as_chunks().0, |b| half_to_f32(u16::from_le_bytes(b))),
            Element::BF16 => decode(bytes.as_chunks().0, bf16_to_f32),
            Element::F32 => decode(bytes.as_chunks().0, f32::from_le_bytes),
            Element::F64 => decode(bytes.as_chunks().0, |b| f64::from_le_bytes(b) as f32),
        }
    }

    /// Numbers from little-endian bytes of a file; a rest shorter than an element is left out.
    fn read(self, source: &Source, bytes: &Range<u64>) -> Result<Vec<f32>, WeightError> {
        match self {
            Element::F16 => decode(&source.read(bytes)?, |b| half_to_f32(u16::from_le_bytes(b))),
            Element::BF16 => decode(&source.read(bytes)?, bf16_to_f32),
            Element::F32 if cfg!(target_endian = "little") => source.read(bytes),
            Element::F32 => decode(&source.read(bytes)?, f32::from_le_bytes),
            Element::F64 => decode(&source.read(bytes)?, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn decode<const N: usize>(
    elements: &[[u8; N]],
    number: impl Fn([u8; N]) -> f32,
) -> Result<Vec<f32>, WeightError> {
    let mut numbers = reserved(elements.len())?;
    numbers.extend(elements.iter().map(|&element| number(element)));
    Ok(numbers)
}

fn bf16_to_f32(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The number that a binary16 stands for; every one is a binary32 too.
fn half_to_f32(half: u16) -> f32 {
    let (exponent, fraction) = (half >> 10 & 0x1f, f32::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    if half >> 15 == 0 { magnitude } else { -magnitude }
}

/// `values` with axes in another order: axis `i` of the result is axis `axes[i]` of `shape`, as
/// numpy's `transpose`.
///
/// `axes` is a permutation of the axes of `shape`, and `values` has as many elements as `shape`
/// says.
pub(super) fn transpose(values: &[f32], shape: &[u64], axes: &[usize]) -> Result<Vec<f32>, OutOfMemory> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as usize;
    }
    let steps: Vec<(usize, usize)> = axes.iter().map(|&axis| (shape[axis] as usize, strides[axis])).collect();
    let mut moved = reserved(values.len())?;
    append(values, 0, &steps, &mut moved);
    Ok(moved)
}

/// Appends the elements from `first` on along some axes, each with its extent and stride, the last
/// one varying fastest.
fn append(values: &[f32], first: usize, axes: &[(usize, usize)], moved: &mut Vec<f32>) {
    match axes {
        [] => moved.push(values[first]),
        [(extent, stride)] => moved.extend((0..*extent).map(|index| values[first + index * stride])),
        [(extent, stride), inner @ ..] => {
            (0..*extent).for_each(|index| append(values, first + index * stride, inner, moved));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_both_kinds_are_exact() {
        for (half, value) in [
            (0x0000, 0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0x3555, 0.333_251_95),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half_to_f32(half), value, "{half:#x}");
        }
        assert!(half_to_f32(0x7e00).is_nan());
        assert_eq!([[0x80, 0x3f], [0x49, 0xc0]].map(bf16_to_f32), [1.0, -3.140_625]);
    }

    /// Every binary16 and bfloat16: the value by the formats' definition in 64-bit arithmetic,
    /// with its sign.
    #[test]
    fn all_numbers_of_16_bits_are_widened_exactly() {
        let value = |bits: u16, fraction_bits: i32, bias: i32| {
            let exponent = i32::from(bits & 0x7fff) >> fraction_bits;
            let fraction = f64::from(i32::from(bits & 0x7fff) & ((1 << fraction_bits) - 1));
            let scale = |exponent: i32| 2f64.powi(exponent - bias - fraction_bits);
            let magnitude = match exponent {
                0 => fraction * scale(1),
                _ if exponent == 2 * bias + 1 && fraction > 0.0 => f64::NAN,
                _ if exponent == 2 * bias + 1 => f64::INFINITY,
                _ => (f64::from(1 << fraction_bits) + fraction) * scale(exponent),
            };
            if bits >> 15 == 0 { magnitude } else { -magnitude }
        };
        for (element, fraction_bits, bias) in [(Element::F16, 10, 15), (Element::BF16, 7, 127)] {
            for bits in 0..=u16::MAX {
                let (found, exact) =
                    (element.decode(&bits.to_le_bytes()).unwrap()[0], value(bits, fraction_bits, bias));
                let same = f64::from(found).to_bits() == exact.to_bits();
                assert!(
                    same || found.is_nan() && exact.is_nan(),
                    "{element:?} {bits:#x}: {found} for {exact}"
                );
            }
        }
    }

    #[test]
    fn transposition_moves_each_element_to_its_place() {
        let values: Vec<f32> = (0..24).map(|x| x as f32).collect();
        let moved = transpose(&values, &[2, 3, 4], &[2, 0, 1]).unwrap();
        for (i, j, k) in (0..2).flat_map(|i| (0..3).flat_map(move |j| (0..4).map(move |k| (i, j, k)))) {
            assert_eq!(moved[(k * 2 + i) * 3 + j], values[(i * 3 + j) * 4 + k]);
        }
    }
}
