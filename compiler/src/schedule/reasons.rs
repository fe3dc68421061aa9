//! Why a decision was made, as data: the numbers that were compared.

use std::fmt;

/// The numbers behind a decision. Prints as a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An activation on the way in is applied in a step of its own, since each value would be
    /// loaded often.
    LoadedOften {
        /// Loads of all values.
        loads: u64,
        /// Values.
        values: u64,
    },
    /// The parts of a separable layer are steps of their own, since the map between them stays in
    /// the caches.
    FitsCaches {
        /// Bytes of the map between the parts.
        bytes: u64,
        /// Bytes of the caches of all threads.
        caches: u64,
    },
    /// The parts of a separable layer run together, since the map between them leaves the caches.
    LeavesCaches {
        /// Bytes of the map between the parts.
        bytes: u64,
        /// Bytes of the caches of all threads.
        caches: u64,
    },
    /// The parts of a separable layer run together, since threads would meet too often for their
    /// work.
    LittleWork {
        /// Multiply-adds of the pointwise part.
        macs: u64,
        /// The fewest that are worth another step.
        fewest: u64,
    },
    /// Threads share planes of Winograd's method, since blocks of their own would read the weights
    /// again.
    SharesPlanes {
        /// Bytes of weights that blocks would read again.
        weights: u64,
        /// Bytes of the planes that are passed on.
        planes: u64,
    },
    /// Threads share panels of weights, since a matrix stays in their caches.
    SharesPanels {
        /// Bytes of the matrix.
        matrix: u64,
        /// Bytes of the caches of all threads.
        caches: u64,
    },
    /// A layer is not multiplied as matrices of bf16 values.
    NoMatrix(MatrixLimit),
}

impl Reason {
    /// True if the parts of a separable layer are steps of their own.
    pub fn is_apart(self) -> bool {
        matches!(self, Reason::FitsCaches { .. })
    }
}

/// What a layer has too few or too many of to be multiplied as matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixLimit {
    /// Segments of several sizes.
    UnequalSegments,
    /// Outputs of a segment.
    Outputs {
        /// Outputs.
        found: u64,
        /// The fewest.
        fewest: u64,
    },
    /// Input channels of a segment.
    Channels {
        /// Channels.
        found: u64,
        /// The fewest.
        fewest: u64,
    },
    /// Inputs of a sum.
    Inputs {
        /// Inputs.
        found: u64,
        /// The fewest.
        fewest: u64,
    },
    /// The gain of tiles over vectors.
    Gain,
    /// Bytes that kernels can reach.
    Reach,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::LoadedOften { loads, values } => {
                let times = loads as f64 / values.max(1) as f64;
                write!(f, "activation first: each of {values} values would be loaded {times:.1} times")
            }
            Reason::FitsCaches { bytes, caches } => {
                write!(f, "apart: {bytes} bytes between the parts fit into caches of {caches}")
            }
            Reason::LeavesCaches { bytes, caches } => {
                write!(f, "together: {bytes} bytes between the parts exceed caches of {caches}")
            }
            Reason::LittleWork { macs, fewest } => {
                write!(f, "together: {macs} multiply-adds are fewer than {fewest}")
            }
            Reason::SharesPlanes { weights, planes } => {
                write!(f, "planes shared: {planes} bytes are passed on, {weights} of weights not read again")
            }
            Reason::SharesPanels { matrix, caches } => {
                write!(f, "panels shared: a matrix of {matrix} bytes fits into caches of {caches}")
            }
            Reason::NoMatrix(limit) => write!(f, "no matrices: {limit}"),
        }
    }
}

impl fmt::Display for MatrixLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fewer = |f: &mut fmt::Formatter<'_>, what: &str, found: u64, fewest: u64| {
            write!(f, "{found} {what}, at least {fewest}")
        };
        match *self {
            MatrixLimit::UnequalSegments => f.write_str("segments of several sizes"),
            MatrixLimit::Outputs { found, fewest } => fewer(f, "outputs of a segment", found, fewest),
            MatrixLimit::Channels { found, fewest } => fewer(f, "input channels of a segment", found, fewest),
            MatrixLimit::Inputs { found, fewest } => fewer(f, "inputs of a sum", found, fewest),
            MatrixLimit::Gain => f.write_str("vectors are as fast for these outputs, inputs and pixels"),
            MatrixLimit::Reach => f.write_str("distances exceed what kernels reach"),
        }
    }
}
