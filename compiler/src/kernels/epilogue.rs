//! What is done to values in slots: activation functions, and the chain of operations that ends a kernel.

use std::fmt;

use crate::graph::{Activation, Post};
use crate::vector::{BinaryOp, Builder, F32, Pointer, Slot};

/// Temporary slots that [`activate`] needs for a function.
pub fn activation_slots(function: Activation) -> usize {
    match function {
        Activation::Linear => 0,
        Activation::Relu | Activation::Relu6 => 1,
        Activation::Sigmoid => 3,
        Activation::Elu => 4,
    }
}

/// Temporary slots that [`finish`] needs for a chain.
pub fn slots(post: &[Post]) -> usize {
    let needed = |operation: &Post| match operation {
        Post::Add => 1,
        Post::Activation(function) => activation_slots(*function),
    };
    post.iter().map(needed).max().unwrap_or(0)
}

/// Replaces each value by its activation. `temporaries` are overwritten.
pub fn activate(b: &mut Builder, function: Activation, values: &[Slot], temporaries: &[Slot]) {
    match function {
        Activation::Linear => {}
        Activation::Relu | Activation::Relu6 => {
            clamp(b, BinaryOp::Max, 0.0, values, temporaries[0]);
            if function == Activation::Relu6 {
                clamp(b, BinaryOp::Min, 6.0, values, temporaries[0]);
            }
        }
        Activation::Elu => values.iter().for_each(|&value| elu(b, value, temporaries)),
        Activation::Sigmoid => values.iter().for_each(|&value| sigmoid(b, value, temporaries)),
    }
}

/// Bounds each value; the bound comes first so that a NaN stays one.
fn clamp(b: &mut Builder, op: BinaryOp, bound: f32, values: &[Slot], constant: Slot) {
    b.constant(constant, bound);
    for &value in values {
        b.binary(op, value, constant, value);
    }
}

/// max(x, 0) + (exp(min(x, 0)) - 1)
fn elu(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let [power, ..] = *temporaries else { return };
    let rest = &temporaries[1..];
    b.constant(rest[0], 0.0);
    b.binary(BinaryOp::Min, power, rest[0], value);
    b.binary(BinaryOp::Max, value, rest[0], value);
    exp(b, power, rest);
    b.constant(rest[0], 1.0);
    b.binary(BinaryOp::Sub, power, power, rest[0]);
    b.binary(BinaryOp::Add, value, value, power);
}

/// 1 / (1 + exp(-x))
fn sigmoid(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let constant = temporaries[0];
    b.constant(constant, 0.0);
    b.binary(BinaryOp::Sub, value, constant, value);
    exp(b, value, temporaries);
    b.constant(constant, 1.0);
    b.binary(BinaryOp::Add, value, value, constant);
    b.binary(BinaryOp::Div, value, constant, value);
}

/// Coefficients of exp(r) on |r| <= ln(2) / 2, highest power first: its Taylor series, whose remainder there
/// is below r^7 / 5040, less than half a unit in the last place.
const EXP_TERMS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// 1.5 * 2^23, and the bias of exponents: adding both rounds to an integer, which then stands, biased, in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0 + 127.0;

/// ln(2) as a part with few bits, whose products with small integers are exact, and the rest (Cody and Waite,
/// 1980).
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Replaces `value` by exp(value); needs three temporaries. Arguments are bounded to -86..=88, so the result
/// is normal.
///
/// exp(x) = 2^n * exp(r) with n = round(x / ln 2) and r = x - n * ln 2; 2^n is made of its exponent. NaN stays NaN.
pub fn exp(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let [power, reduced, constant, ..] = *temporaries else { return };
    clamp(b, BinaryOp::Max, -86.0, &[value], constant);
    clamp(b, BinaryOp::Min, 88.0, &[value], constant);
    b.constant(power, ROUNDER);
    b.constant(constant, std::f32::consts::LOG2_E);
    b.fma(power, value, constant);
    b.constant(constant, ROUNDER);
    b.binary(BinaryOp::Sub, reduced, power, constant);
    for part in LN2 {
        b.constant(constant, -part);
        b.fma(value, reduced, constant);
    }
    let (mut sum, mut next) = (reduced, constant);
    b.constant(sum, EXP_TERMS[0]);
    for term in &EXP_TERMS[1..] {
        b.constant(next, *term);
        b.fma(next, sum, value);
        (sum, next) = (next, sum);
    }
    b.shift_left(power, power, 23);
    b.binary(BinaryOp::Mul, value, sum, power);
}

/// How results are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// As they are.
    #[default]
    F32,
    /// As one to three bf16 values, see [`bf16::parts`](crate::vector::bf16::parts).
    Bf16(Planes),
}

/// Matrices of bf16 values behind each other, of which each holds a part of every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planes {
    /// Parts of a value, up to three.
    pub count: u32,
    /// Bytes from one part to the next.
    pub distance: i32,
}

impl Planes {
    /// The only part of values that are rounded to bf16.
    pub const SINGLE: Self = Self { count: 1, distance: 0 };
}

impl fmt::Display for Planes {
    /// As the end of a kernel's name; nothing where there is a single plane.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => Ok(()),
            2 => write!(f, "_split{}", self.distance),
            count => write!(f, "_split{}x{count}", self.distance),
        }
    }
}

impl Format {
    /// Bytes of a value in one plane.
    pub fn bytes(self) -> i32 {
        if self == Format::F32 { F32 } else { F32 / 2 }
    }

    /// Temporary slots that [`store`] needs.
    pub fn slots(self) -> usize {
        usize::from(matches!(self, Format::Bf16(planes) if planes.count > 1))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::F32 => Ok(()),
            Format::Bf16(Planes { count: 1, .. }) => f.write_str("_bf16"),
            Format::Bf16(planes) => planes.fmt(f),
        }
    }
}

/// Stores all parts of a whole slot; the slot's value is lost.
pub fn store(
    b: &mut Builder,
    planes: Planes,
    value: Slot,
    (base, offset): (Pointer, i32),
    temporaries: &[Slot],
) {
    b.store_bf16(value, base, offset);
    for plane in 1..planes.count as i32 {
        b.round_bf16(temporaries[0], value);
        b.binary(BinaryOp::Sub, value, value, temporaries[0]);
        b.store_bf16(value, base, offset + plane * planes.distance);
    }
}

/// Where a value goes: its slot, its byte offset from the output pointer and from the added operand, and its
/// lanes.
#[derive(Clone, Copy, Debug)]
pub struct Result {
    /// The value.
    pub value: Slot,
    /// Bytes from the `out` pointer.
    pub out: i32,
    /// Bytes from the `add` pointer.
    pub add: i32,
    /// Lanes stored.
    pub lanes: u32,
}

/// Runs the chain `post` over all results and stores them. A kernel adds at most one operand; results in other
/// formats than f32 are whole slots.
pub fn finish(
    b: &mut Builder,
    (post, format): (&[Post], Format),
    results: &[Result],
    [out, add]: [Pointer; 2],
    temporaries: &[Slot],
) {
    let values: Vec<Slot> = results.iter().map(|r| r.value).collect();
    for operation in post {
        match *operation {
            Post::Activation(function) => activate(b, function, &values, temporaries),
            Post::Add => {
                for result in results {
                    b.load_lanes(temporaries[0], add, result.add, result.lanes);
                    b.binary(BinaryOp::Add, result.value, result.value, temporaries[0]);
                }
            }
        }
    }
    for result in results {
        match format {
            Format::F32 => b.store_lanes(result.value, out, result.out, result.lanes),
            Format::Bf16(planes) => store(b, planes, result.value, (out, result.out), temporaries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::interpret::{Location, run};

    fn evaluate(function: Activation, x: f32) -> f32 {
        let mut b = Builder::new(4, &["in", "out"], false);
        let (value, temporaries) = (b.slot(), b.slots(activation_slots(function)));
        b.load(value, b.parameter("in"), 0);
        activate(&mut b, function, &[value], &temporaries);
        b.store_lanes(value, b.parameter("out"), 0, 4);
        let kernel = b.finish("activation".into());
        crate::vector::verify(&kernel, 16).unwrap();
        let mut memory = vec![vec![x; 4], vec![0.0; 4]];
        run(&kernel, &[Location::start_of(0), Location::start_of(1)], 0, true, &mut memory).unwrap();
        memory[1][2]
    }

    #[test]
    fn activations_agree_with_their_definitions() {
        for step in -1000..=1000 {
            let x = step as f32 * 0.03;
            let exact = f64::from(x);
            let cases = [
                (Activation::Linear, exact),
                (Activation::Relu, exact.max(0.0)),
                (Activation::Relu6, exact.clamp(0.0, 6.0)),
                (Activation::Elu, if exact > 0.0 { exact } else { exact.exp_m1() }),
                (Activation::Sigmoid, 1.0 / (1.0 + (-exact).exp())),
            ];
            for (function, expected) in cases {
                let error = (f64::from(evaluate(function, x)) - expected).abs();
                assert!(error <= 1.5e-7 * expected.abs().max(1.0), "{function}({x}): error {error:e}");
            }
        }
    }

    #[test]
    fn extreme_arguments_saturate_and_nan_stays() {
        assert_eq!(evaluate(Activation::Sigmoid, 1e30), 1.0);
        assert!(evaluate(Activation::Sigmoid, -1e30) < 1e-37);
        assert_eq!(evaluate(Activation::Elu, -1e30), -1.0);
        for bits in [f32::NAN.to_bits(), 0x7f80_0001, 0x7fff_ffff, 0xffc0_0000, 0xffff_ffff] {
            for function in Activation::ALL {
                assert!(evaluate(function, f32::from_bits(bits)).is_nan(), "{function} of {bits:x}");
            }
        }
    }
}
