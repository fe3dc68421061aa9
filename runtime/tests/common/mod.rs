//! What tests of the runtime share: random weights and inputs.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::borrow::Cow;

use xcc_compiler::graph::{Graph, Role, WeightError, WeightId, WeightSource};

pub mod compiled;
#[path = "../../../compiler/tests/common/mod.rs"]
pub mod graphs;

/// A small generator of uniform numbers (xorshift, G. Marsaglia 2003).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from -1 up to 1.
    pub fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn vector(&mut self, length: usize) -> Vec<f64> {
        (0..length).map(|_| self.next()).collect()
    }
}

/// Weights that keep values of moderate size.
pub struct RandomWeights(Vec<Vec<f32>>);

impl RandomWeights {
    pub fn new(graph: &Graph, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut tensor = |weight: &xcc_compiler::graph::Weight| {
            let scale = (3.0 / f64::from(weight.fan_in.max(1))).sqrt();
            let draw = |_| match weight.role {
                Role::MovingVariance => 1.0 + 0.5 * random.next(),
                Role::Gamma => 1.0 + 0.25 * random.next(),
                Role::Bias | Role::Beta | Role::MovingMean => 0.25 * random.next(),
                _ => scale * random.next(),
            };
            (0..weight.elements()).map(draw).map(|x| x as f32).collect()
        };
        Self(graph.weights.iter().map(&mut tensor).collect())
    }

    /// Weights with the given tensors.
    pub fn of(tensors: Vec<Vec<f32>>) -> Self {
        Self(tensors)
    }

    pub fn tensor_mut(&mut self, id: WeightId) -> &mut Vec<f32> {
        &mut self.0[id.index()]
    }
}

impl WeightSource for RandomWeights {
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
        Ok(Cow::Borrowed(&self.0[id.index()]))
    }

    fn length(&self, id: WeightId) -> u64 {
        self.0[id.index()].len() as u64
    }
}
