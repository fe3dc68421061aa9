//! What is done to values in slots: activation functions, and the chain of operations that ends a
//! kernel.

use std::fmt;

use crate::graph::{Activation, Post, Slope};
use crate::vector::{BinaryOp, Builder, F32, Pointer, Slot};

/// Temporary slots that [`finish`] needs for a chain.
pub fn slots(post: &[Post]) -> usize {
    let needed = |operation: &Post| match operation {
        Post::Add => 1,
        Post::Activation(function) => function.traits().temporaries,
    };
    post.iter().map(needed).max().unwrap_or(0)
}

/// Replaces each value by its activation. The temporaries,
/// [`Traits::temporaries`](crate::graph::Traits) of them, are overwritten.
pub fn activate(b: &mut Builder, function: Activation, values: &[Slot], temporaries: &[Slot]) {
    match function {
        Activation::Linear => {}
        Activation::Relu => clamp(b, BinaryOp::Max, 0.0, values, temporaries[0]),
        Activation::Relu6 => relu6(b, values, temporaries[0]),
        Activation::Elu => values.iter().for_each(|&value| elu(b, value, temporaries)),
        Activation::Sigmoid => values.iter().for_each(|&value| sigmoid(b, value, temporaries)),
        Activation::HardSigmoid => hard_sigmoid(b, values, temporaries[0]),
        Activation::Swish => values.iter().for_each(|&value| swish(b, value, temporaries)),
        Activation::HardSwish => values.iter().for_each(|&value| hard_swish(b, value, temporaries)),
        Activation::LeakyRelu(slope) => leaky_relu(b, slope, values, temporaries[0]),
        Activation::Tanh => values.iter().for_each(|&value| tanh(b, value, temporaries)),
    }
}

/// Bounds each value; the bound comes first so that a NaN stays one.
fn clamp(b: &mut Builder, op: BinaryOp, bound: f32, values: &[Slot], constant: Slot) {
    b.constant(constant, bound);
    for &value in values {
        b.binary(op, value, constant, value);
    }
}

/// min(max(x, 0), 6)
fn relu6(b: &mut Builder, values: &[Slot], constant: Slot) {
    clamp(b, BinaryOp::Max, 0.0, values, constant);
    clamp(b, BinaryOp::Min, 6.0, values, constant);
}

/// min(max(x + 3, 0), 6) / 6: near -3 the sum is exact, so that small results keep their digits.
fn hard_sigmoid(b: &mut Builder, values: &[Slot], constant: Slot) {
    b.constant(constant, 3.0);
    values.iter().for_each(|&value| b.binary(BinaryOp::Add, value, value, constant));
    relu6(b, values, constant);
    b.constant(constant, 1.0 / 6.0);
    values.iter().for_each(|&value| b.binary(BinaryOp::Mul, value, value, constant));
}

/// x * hard_sigmoid(x). The product of negative infinity and 0 is NaN.
fn hard_swish(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let [gate, constant, ..] = *temporaries else { return };
    b.constant(constant, 3.0);
    b.binary(BinaryOp::Add, gate, value, constant);
    relu6(b, &[gate], constant);
    b.constant(constant, 1.0 / 6.0);
    b.binary(BinaryOp::Mul, gate, gate, constant);
    b.binary(BinaryOp::Mul, value, value, gate);
}

/// max(slope * x, x), for a slope from 0 to 1. A slope of 0 leaves negative infinity as it is.
fn leaky_relu(b: &mut Builder, slope: Slope, values: &[Slot], product: Slot) {
    for &value in values {
        b.constant(product, slope.value());
        b.binary(BinaryOp::Mul, product, product, value);
        b.binary(BinaryOp::Max, value, product, value);
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

/// x / (1 + exp(-x)), with a dividend of at least -88, where exp has its bound: results below it,
/// negative infinity's among them, are -88 / exp(88), less than 1e-36 from the exact ones.
fn swish(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let [power, ..] = *temporaries else { return };
    let rest = &temporaries[1..];
    clamp(b, BinaryOp::Max, -MOST_OF_EXP, &[value], rest[0]);
    b.constant(rest[0], 0.0);
    b.binary(BinaryOp::Sub, power, rest[0], value);
    exp(b, power, rest);
    b.constant(rest[0], 1.0);
    b.binary(BinaryOp::Add, power, power, rest[0]);
    b.binary(BinaryOp::Div, value, value, power);
}

/// Where tanh is 1 to all digits of an f32 and more.
const MOST_OF_TANH: f32 = 10.0;

/// e / (e + 2) with e = exp(2x) - 1; needs three temporaries. Near zero e keeps the digits of x.
///
/// e = 2^n * (exp(r) - 1) + (2^n - 1), where n and r are those of [`exp`] for 2x, and 2^n - 1 is
/// exact for n > -25. NaN stays NaN.
fn tanh(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let [power, reduced, constant, ..] = *temporaries else { return };
    clamp(b, BinaryOp::Max, -MOST_OF_TANH, &[value], constant);
    clamp(b, BinaryOp::Min, MOST_OF_TANH, &[value], constant);
    b.binary(BinaryOp::Add, value, value, value);
    reduce(b, value, [power, reduced, constant]);
    let [sum, one] = polynomial(b, &EXP_M1_TERMS, value, [reduced, constant]);
    b.binary(BinaryOp::Mul, value, sum, value);
    b.shift_left(power, power, 23);
    b.constant(one, 1.0);
    b.binary(BinaryOp::Sub, sum, power, one);
    b.fma(sum, value, power);
    b.constant(one, 2.0);
    b.binary(BinaryOp::Add, one, sum, one);
    b.binary(BinaryOp::Div, value, sum, one);
}

/// Coefficients of exp(r) on |r| <= ln(2) / 2, highest power first: its Taylor series, whose
/// remainder there is below r^7 / 5040, less than half a unit in the last place.
const EXP_TERMS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// Coefficients of (exp(r) - 1) / r on |r| <= ln(2) / 2, highest power first: its Taylor series,
/// whose remainder there is below r^7 / 40320, a quarter of a unit in the last place.
const EXP_M1_TERMS: [f32; 7] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];

/// 1.5 * 2^23, and the bias of exponents: adding both rounds to an integer, which then stands,
/// biased, in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0 + 127.0;

/// ln(2) as a part with few bits, whose products with small integers are exact, and the rest (Cody
/// and Waite, 1980).
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// The largest argument of [`exp`]; larger ones are taken for it.
const MOST_OF_EXP: f32 = 88.0;

/// Replaces `value` by exp(value); needs three temporaries. Arguments are bounded to -86..=88, so
/// the result is normal.
///
/// exp(x) = 2^n * exp(r) with n = round(x / ln 2) and r = x - n * ln 2; 2^n is made of its
/// exponent. NaN stays NaN.
pub fn exp(b: &mut Builder, value: Slot, temporaries: &[Slot]) {
    let [power, reduced, constant, ..] = *temporaries else { return };
    clamp(b, BinaryOp::Max, -86.0, &[value], constant);
    clamp(b, BinaryOp::Min, MOST_OF_EXP, &[value], constant);
    reduce(b, value, [power, reduced, constant]);
    let [sum, _] = polynomial(b, &EXP_TERMS, value, [reduced, constant]);
    b.shift_left(power, power, 23);
    b.binary(BinaryOp::Mul, value, sum, power);
}

/// Replaces x by r, and `power` by what becomes 2^n when it is shifted by 23 bits: see [`exp`].
fn reduce(b: &mut Builder, value: Slot, [power, reduced, constant]: [Slot; 3]) {
    b.constant(power, ROUNDER);
    b.constant(constant, std::f32::consts::LOG2_E);
    b.fma(power, value, constant);
    b.constant(constant, ROUNDER);
    b.binary(BinaryOp::Sub, reduced, power, constant);
    for part in LN2 {
        b.constant(constant, -part);
        b.fma(value, reduced, constant);
    }
}

/// The polynomial of these coefficients, highest power first, in one of the slots, which comes
/// first in the result (Horner).
fn polynomial(b: &mut Builder, terms: &[f32], value: Slot, [mut sum, mut next]: [Slot; 2]) -> [Slot; 2] {
    b.constant(sum, terms[0]);
    for term in &terms[1..] {
        b.constant(next, *term);
        b.fma(next, sum, value);
        (sum, next) = (next, sum);
    }
    [sum, next]
}

/// How results are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// As they are.
    #[default]
    F32,
    /// As one to three bf16 values, see [`bf16::limbs`](crate::vector::bf16::limbs).
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

/// Where a value goes: its slot, its byte offset from the output pointer and from the added
/// operand, and its lanes.
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

/// Runs the chain `post` over all results and stores them. A kernel adds at most one operand;
/// results in other formats than f32 are whole slots.
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
    use crate::graph::Traits;
    use crate::vector::interpret::{Location, run};
    use crate::vector::{Times, slot_count};

    /// What a function's kernel makes of the values.
    fn evaluate_all(function: Activation, values: &[f32]) -> Vec<f32> {
        let mut b = Builder::new(4, &["in", "out"], true);
        let (value, temporaries) = (b.slot(), b.slots(function.traits().temporaries));
        let [from, to] = ["in", "out"].map(|name| b.parameter(name));
        b.repeat(Times::Rows, |b| {
            b.load(value, from, 0);
            activate(b, function, &[value], &temporaries);
            b.store_lanes(value, to, 0, 4);
            b.advance(from, 4 * F32);
            b.advance(to, 4 * F32);
        });
        let kernel = b.finish("activation".into());
        crate::vector::verify(&kernel, 16).unwrap();
        let rows = values.len().div_ceil(4);
        let mut padded = values.to_vec();
        padded.resize(rows * 4, 0.0);
        let mut memory = vec![padded, vec![0.0; rows * 4]];
        let pointers = [Location::start_of(0), Location::start_of(1)];
        run(&kernel, &pointers, rows as u32, true, &mut memory).unwrap();
        memory[1][..values.len()].to_vec()
    }

    fn evaluate(function: Activation, x: f32) -> f32 {
        evaluate_all(function, &[x])[0]
    }

    fn defined(function: Activation, x: f64) -> f64 {
        match function {
            Activation::Linear => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Elu => x.max(0.0) + x.min(0.0).exp_m1(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Swish => x / (1.0 + (-x).exp()),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::LeakyRelu(slope) => x.max(0.0) + f64::from(slope.value()) * x.min(0.0),
            Activation::Tanh => x.tanh(),
        }
    }

    /// Evenly spaced numbers near zero, and numbers of either sign and all exponents.
    fn samples() -> Vec<f32> {
        let even = (-4000..=4000).map(|step| step as f32 * 0.0075);
        let spread = (0..8000_u32).map(|n| f32::from_bits(n.wrapping_mul(0x9e37_79b9)));
        even.chain(spread.filter(|x| x.is_finite())).chain([f32::MAX, f32::MIN, -0.0]).collect()
    }

    #[test]
    fn activations_agree_with_their_definitions() {
        let values = samples();
        let slopes = [0.0, 0.01, 0.3, 1.0].map(|slope| Activation::LeakyRelu(Slope::new(slope).unwrap()));
        for function in Activation::ALL.into_iter().chain(slopes) {
            for (&x, result) in values.iter().zip(evaluate_all(function, &values)) {
                let expected = defined(function, f64::from(x));
                let error = (f64::from(result) - expected).abs();
                // Near -1, e / (e + 2) has twice the relative error of e.
                let most = if function == Activation::Tanh { 2e-7 } else { 1.5e-7 };
                assert!(error <= most * expected.abs().max(1.0), "{function}({x:e}): error {error:e}");
            }
        }
    }

    /// Near zero, results are as exact as arguments, down to denormal ones.
    #[test]
    fn functions_that_keep_zero_are_exact_near_it() {
        let magnitudes: Vec<f32> = (0..=300).map(|step| 0.6 * 0.75_f32.powi(step)).collect();
        let values: Vec<f32> = magnitudes.iter().flat_map(|&x| [x, -x]).collect();
        for function in Activation::ALL.into_iter().filter(|f| f.traits().keeps_zero && *f != Activation::Elu)
        {
            for (&x, result) in values.iter().zip(evaluate_all(function, &values)) {
                let expected = defined(function, f64::from(x));
                let error = (f64::from(result) - expected).abs();
                let most = 2.5e-7 * expected.abs() + f64::from(f32::from_bits(1));
                assert!(error <= most, "{function}({x:e}): {result:e} for {expected:e}");
            }
        }
    }

    #[test]
    fn identities_of_the_table_hold() {
        let mut values = samples();
        values.sort_by(f32::total_cmp);
        for function in Activation::ALL {
            let Traits { keeps_zero, is_monotone, temporaries, .. } = function.traits();
            assert_eq!(evaluate(function, 0.0) == 0.0, *keeps_zero, "{function}");
            let falls = values.windows(2).any(|pair| {
                let [before, after] = [pair[0], pair[1]].map(|x| defined(function, f64::from(x)));
                before > after
            });
            assert_eq!(!falls, *is_monotone, "{function}");
            let mut b = Builder::new(4, &[], false);
            let (value, slots) = (b.slot(), b.slots(*temporaries));
            b.constant(value, 0.5);
            activate(&mut b, function, &[value], &slots);
            let kernel = b.finish("activation".into());
            assert_eq!(slot_count(&kernel), 1 + temporaries, "{function}");
        }
    }

    #[test]
    fn extreme_arguments_saturate_and_nan_stays() {
        assert_eq!(evaluate(Activation::Sigmoid, 1e30), 1.0);
        assert!(evaluate(Activation::Sigmoid, -1e30) < 1e-37);
        assert_eq!(evaluate(Activation::Elu, -1e30), -1.0);
        assert_eq!([-1e30, 1e30].map(|x| evaluate(Activation::HardSigmoid, x)), [0.0, 1.0]);
        assert_eq!([-1e30, 1e30].map(|x| evaluate(Activation::HardSwish, x)), [0.0, 1e30]);
        assert_eq!(evaluate(Activation::Swish, 1e30), 1e30);
        assert!([-100.0, -1e30, f32::MIN].iter().all(|&x| evaluate(Activation::Swish, x).abs() < 1e-36));
        for (x, limit) in [(f32::INFINITY, 1.0), (1e30, 1.0), (-1e30, -1.0), (f32::NEG_INFINITY, -1.0)] {
            assert_eq!(evaluate(Activation::Tanh, x), limit);
        }
        for bits in [f32::NAN.to_bits(), 0x7f80_0001, 0x7fff_ffff, 0xffc0_0000, 0xffff_ffff] {
            for function in Activation::ALL {
                assert!(evaluate(function, f32::from_bits(bits)).is_nan(), "{function} of {bits:x}");
            }
        }
    }
}
