//! Random networks, each as a spec and as the files that Keras would write for it.
//!
//! [`drawing`] holds a network and every choice that spec and file make about it; [`spec`] writes
//! the spec; [`model`] is the model in Keras: layers, creation order, names, `model.layers`;
//! [`config`] writes its description and [`files`] its files; [`judge`] loads a file for the spec
//! and compares. Nothing here shares code with the reader.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod config;
mod draw;
pub mod drawing;
pub mod files;
pub mod judge;
pub mod model;
pub mod spec;

/// Reproducible choices (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Equal seeds give equal choices.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which are not empty.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// A number from -1 up to 1.
    pub fn signed(&mut self) -> f32 {
        ((self.bits() >> 40) as f64 / f64::from(1u32 << 23) - 1.0) as f32
    }

    /// A random permutation of `items`.
    pub fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
        items
    }
}
