//! How fast values and weights can be read.

use std::time::Duration;

use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::bandwidth::{self, BUFFER_BYTES, MOST_BYTES};
use xcc_runtime::machine::cores;

use crate::cli::Failure;

/// How long each measurement takes.
const TIME: Duration = Duration::from_millis(100);

/// What is read to measure the bandwidths of values and of weights.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    target: Target,
    threads: u32,
    /// Bytes of a model's weights for each thread that has a core, up to what is worth measuring;
    /// `None` where they are not more than what the bandwidth of values is measured with.
    pub weight_bytes: Option<u64>,
}

impl Reading {
    /// What runs of a model read.
    pub fn of(model: &Model, target: Target, threads: u32) -> Self {
        let each = model.program().constant_bytes.min(MOST_BYTES) / u64::from(threads.min(cores()).max(1));
        Self { target, threads, weight_bytes: Some(each).filter(|&bytes| bytes > BUFFER_BYTES) }
    }

    /// Bytes of values that all threads read in a second from beyond their level-2 caches.
    pub fn values(&self) -> Result<f64, Failure> {
        values(self.target, self.threads)
    }

    /// The same of weights, where their bandwidth is one of its own.
    pub fn weights(&self) -> Result<Option<f64>, Failure> {
        self.weight_bytes.map(|bytes| measure(self.target, self.threads, bytes)).transpose()
    }
}

/// Bytes of values that so many threads read in a second from beyond their level-2 caches.
pub fn values(target: Target, threads: u32) -> Result<f64, Failure> {
    measure(target, threads, BUFFER_BYTES)
}

fn measure(target: Target, threads: u32, bytes: u64) -> Result<f64, Failure> {
    bandwidth::measure(target, threads, bytes, TIME).map_err(Failure::input)
}
