//! Seeded random weights: the same numbers on every machine, from a definition short enough to
//! restate.
//!
//! An element depends only on the tensor's name, role and fan-in, on its index and on the seed.
//! Everything is integer arithmetic and correctly rounded f64 arithmetic, rounded once to f32.
//! `examples/golden/seeded_weights.py` states the same in Python.

use xcc_compiler::graph::{Role, Weight};

use crate::memory::{OutOfMemory, reserved};

/// The increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The numbers of a tensor, which are drawn when they are asked for: `centre + half * u`, with `u`
/// uniform in [-1, 1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    key: u64,
    centre: f64,
    half: f64,
    /// How many there are.
    pub elements: u64,
}

impl Stream {
    /// The numbers of `weight`.
    pub fn new(weight: &Weight, seed: u64) -> Self {
        let (centre, half) = distribution(weight.role, weight.fan_in);
        let key = mix(fnv1a(weight.name.as_bytes()) ^ mix(seed));
        Self { key, centre, half, elements: weight.elements() }
    }

    /// All of them.
    pub fn draw(&self) -> Result<Vec<f32>, OutOfMemory> {
        let number = |index| (self.centre + self.half * uniform(self.key, index)) as f32;
        let mut numbers = reserved(usize::try_from(self.elements).unwrap_or(usize::MAX))?;
        numbers.extend((0..self.elements).map(number));
        Ok(numbers)
    }
}

/// Centre and half width of the uniform distribution of a role.
///
/// A uniform distribution of half width `h` has variance `h^2 / 3`, so `sqrt(6 / fan_in)` is He's
/// variance `2 / fan_in` (arXiv 1502.01852), which a ReLU halves again. No ReLU lies between the
/// two kernels of a separable convolution, so the spatial one has variance `1 / fan_in`. Stored
/// statistics do not normalise anything when they are drawn at random; what keeps deep networks in
/// range is the mean square of gamma, about one half: a chain of normalised layers contracts
/// towards the size that beta feeds it, and the sums of 50 residual blocks grow by less than three
/// orders of magnitude.
fn distribution(role: Role, fan_in: u32) -> (f64, f64) {
    match role {
        Role::Kernel | Role::PointwiseKernel => (0.0, (6.0 / f64::from(fan_in.max(1))).sqrt()),
        Role::DepthwiseKernel => (0.0, (3.0 / f64::from(fan_in.max(1))).sqrt()),
        Role::Bias | Role::Beta | Role::MovingMean => (0.0, 0.125),
        Role::Gamma => (0.71875, 0.21875),
        Role::MovingVariance => (1.0, 0.25),
    }
}

/// Element `index` of the stream `key`: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), whose 53
/// high bits become a multiple of 2^-52 in [-1, 1).
pub(crate) fn uniform(key: u64, index: u64) -> f64 {
    let bits = mix(key.wrapping_add(GOLDEN.wrapping_mul(index.wrapping_add(1)))) >> 11;
    bits as f64 / (1u64 << 52) as f64 - 1.0
}

/// The finaliser of SplitMix64: a bijection in which every input bit reaches every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xcc_compiler::graph::LayerId;

    fn tensor(weight: &Weight, seed: u64) -> Vec<f32> {
        Stream::new(weight, seed).draw().unwrap()
    }

    fn weight(name: &str, shape: &[u32], role: Role, fan_in: u32) -> Weight {
        Weight { name: name.to_owned(), shape: shape.to_vec(), role, layer: LayerId::new(0), fan_in }
    }

    /// The bits of elements 0, 1 and the last one, as the Python restatement gives them.
    #[test]
    fn bits_are_those_of_the_restatement() {
        let kernel = weight("block1_conv1/kernel", &[3, 3, 3, 32], Role::Kernel, 27);
        let depthwise = weight("block2_sepconv1/depthwise_kernel", &[3, 3, 64, 1], Role::DepthwiseKernel, 9);
        let gamma = weight("block1_conv1_bn/gamma", &[32], Role::Gamma, 1);
        let variance = weight("block1_conv1_bn/moving_variance", &[32], Role::MovingVariance, 1);
        let bias = weight("predictions/bias", &[1000], Role::Bias, 1);
        for (weight, seed, bits) in [
            (&kernel, 0, [0x3e2d_66ab, 0x3e51_2a97, 0xbdf9_4990]),
            (&depthwise, 0, [0xbec0_1742, 0xbda2_7c92, 0x3c78_087e]),
            (&depthwise, u64::MAX, [0xbeb3_d438, 0xbe8f_bc45, 0x3ee8_c03a]),
            (&gamma, 7, [0x3f2a_2e9c, 0x3f5d_5b7b, 0x3f45_d61e]),
            (&variance, 7, [0x3f86_f2d5, 0x3f72_2d96, 0x3f72_3ddb]),
            (&bias, 7, [0xbd98_33ee, 0x3de8_522a, 0xbda0_dba4]),
        ] {
            let values = tensor(weight, seed);
            let ends = [values[0], values[1], values[values.len() - 1]];
            assert_eq!(ends.map(f32::to_bits), bits, "{} with seed {seed}", weight.name);
        }
    }

    #[test]
    fn kernels_have_the_variance_of_he() {
        for fan_in in [9, 27, 728, 4096] {
            let values = tensor(&weight("a/kernel", &[1, 1, 100, 200], Role::Kernel, fan_in), 3);
            let square: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
            let ratio = square / values.len() as f64 * f64::from(fan_in) / 2.0;
            assert!((ratio - 1.0).abs() < 0.03, "fan-in {fan_in}: {ratio}");
        }
    }

    #[test]
    fn names_and_seeds_make_unrelated_streams() {
        let values = |name, seed| tensor(&weight(name, &[4096], Role::Bias, 1), seed);
        let streams = [values("a/bias", 0), values("b/bias", 0), values("a/bias", 1), values("a/bias", 2)];
        for (i, a) in streams.iter().enumerate() {
            for b in &streams[..i] {
                let product: f64 = a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                // Variance of one element is 0.125^2 / 3; 4096 unrelated products sum up to 64 of
                // them, give or take.
                assert!(product.abs() < 5.0 * 64.0 * 0.125f64.powi(2) / 3.0, "{product}");
            }
        }
    }
}
