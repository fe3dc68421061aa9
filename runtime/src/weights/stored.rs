//! A tensor in a file, whichever format: name, shape, and how its numbers are read.

use std::ops::Range;

use memmap2::Mmap;

use super::dataset::Dataset;
use super::error::Extents;

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
    /// In a mapped file: checked to lie inside it and to be as long as the shape asks.
    Mapped {
        /// Type of the elements.
        element: Element,
        /// Bytes of the file.
        bytes: Range<usize>,
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

    /// The bytes of the mapped file that already are the numbers, if they lie on a multiple of four.
    pub fn in_place(&self, map: &Mmap) -> Option<Range<usize>> {
        match &self.data {
            Data::Mapped { element: Element::F32, bytes } if cfg!(target_endian = "little") => {
                bytemuck::try_cast_slice::<u8, f32>(map.get(bytes.clone())?).ok()?;
                Some(bytes.clone())
            }
            _ => None,
        }
    }

    /// Reads the numbers. `map` is the file that [`Data::Mapped`] speaks of. The error says why in words.
    pub fn read(&self, map: Option<&Mmap>) -> Result<Vec<f32>, String> {
        match &self.data {
            Data::Mapped { element, bytes } => {
                let bytes = map.and_then(|map| map.get(bytes.clone()));
                bytes
                    .map(|bytes| element.decode(bytes))
                    .ok_or_else(|| "its bytes lie outside the file".to_owned())
            }
            Data::Hdf5(dataset) => dataset.read(),
            Data::Unreadable(kind) => Err(format!("it holds {kind}")),
        }
    }
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F16 | Element::BF16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }

    /// Numbers from little-endian bytes; a rest shorter than an element is dropped.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Element::F16 => decode(bytes, |b| half_to_f32(u16::from_le_bytes(b))),
            Element::BF16 => decode(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Element::F32 => decode(bytes, f32::from_le_bytes),
            Element::F64 => decode(bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn decode<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| number(chunk)).collect()
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

/// `values` with axes in another order: axis `i` of the result is axis `axes[i]` of `shape`, as numpy's
/// `transpose`.
///
/// `axes` is a permutation of the axes of `shape`, and `values` has as many elements as `shape` says.
pub(super) fn transpose(values: &[f32], shape: &[u64], axes: &[usize]) -> Vec<f32> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as usize;
    }
    let mut offsets = vec![0usize];
    for &axis in axes {
        let steps = (0..shape[axis] as usize).map(|index| index * strides[axis]);
        offsets = offsets.iter().flat_map(|&offset| steps.clone().map(move |step| offset + step)).collect();
    }
    offsets.into_iter().map(|offset| values[offset]).collect()
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
        assert_eq!(Element::BF16.decode(&[0x80, 0x3f, 0x49, 0xc0]), [1.0, -3.140_625]);
    }

    /// Every binary16 and bfloat16: the value by the formats' definition in 64-bit arithmetic, with its sign.
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
                    (element.decode(&bits.to_le_bytes())[0], value(bits, fraction_bits, bias));
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
        let moved = transpose(&values, &[2, 3, 4], &[2, 0, 1]);
        for (i, j, k) in (0..2).flat_map(|i| (0..3).flat_map(move |j| (0..4).map(move |k| (i, j, k)))) {
            assert_eq!(moved[(k * 2 + i) * 3 + j], values[(i * 3 + j) * 4 + k]);
        }
    }
}
