//! Declarations of parameter tensors.

use std::borrow::Cow;
use std::fmt;

use super::{LayerId, WeightId};

/// A parameter tensor: its name, shape and meaning. The numbers are bound by the runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// `layer/role`, for instance `block2_sepconv1/depthwise_kernel`.
    pub name: String,
    /// Extents, the last one varying fastest.
    pub shape: Vec<u32>,
    /// What it is.
    pub role: Role,
    /// The layer that owns it.
    pub layer: LayerId,
    /// Inputs that meet in one output element: what random kernels are scaled by.
    pub fan_in: u32,
}

impl Weight {
    /// Number of elements; 2^64 - 1 for all that 64 bits cannot count.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n: u64, &d| n.saturating_mul(u64::from(d)))
    }
}

/// The numbers of a graph's parameter tensors.
pub trait WeightSource {
    /// The elements of a tensor, in the order of its declared shape; owned where they are drawn or
    /// read on request.
    ///
    /// An error means that the elements are lost for this call only: there was no memory for them,
    /// or the file that holds them cannot be read or has changed.
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError>;

    /// Elements of a tensor.
    fn length(&self, id: WeightId) -> u64;
}

/// Why the elements of a tensor cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// There is no memory for a copy of them.
    #[error("cannot allocate {bytes} bytes for a tensor of the weights")]
    Memory {
        /// Bytes of the copy.
        bytes: u64,
    },
    /// The file that holds them cannot be read, or is not the file that was bound.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// The cause, and the way out.
        reason: String,
    },
}

/// What a parameter tensor is to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Kernel of a convolution (`kh x kw x ic x oc`) or dense layer (`inputs x units`).
    Kernel,
    /// Kernel of the spatial part of a depthwise or separable convolution.
    DepthwiseKernel,
    /// Kernel of the pointwise part of a separable convolution.
    PointwiseKernel,
    /// Bias.
    Bias,
    /// Scale of a batch normalisation.
    Gamma,
    /// Shift of a batch normalisation.
    Beta,
    /// Stored mean of a batch normalisation.
    MovingMean,
    /// Stored variance of a batch normalisation.
    MovingVariance,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 8] = [
        Role::Kernel,
        Role::DepthwiseKernel,
        Role::PointwiseKernel,
        Role::Bias,
        Role::Gamma,
        Role::Beta,
        Role::MovingMean,
        Role::MovingVariance,
    ];

    /// Whether training by gradients changes it.
    pub fn is_trainable(self) -> bool {
        !matches!(self, Role::MovingMean | Role::MovingVariance)
    }
}

/// Prints Keras' word for it.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Kernel => "kernel",
            Role::DepthwiseKernel => "depthwise_kernel",
            Role::PointwiseKernel => "pointwise_kernel",
            Role::Bias => "bias",
            Role::Gamma => "gamma",
            Role::Beta => "beta",
            Role::MovingMean => "moving_mean",
            Role::MovingVariance => "moving_variance",
        })
    }
}
