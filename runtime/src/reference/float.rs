//! The two number formats that the evaluator computes in.

use std::ops::{Add, AddAssign, Div, Mul, Sub};

use bytemuck::Zeroable;

/// `f32` or `f64`.
pub trait Float:
    Copy
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + Zeroable
    + 'static
{
    /// The number nearest to `value`.
    fn from_f64(value: f64) -> Self;
    /// Exactly `value`.
    fn from_f32(value: f32) -> Self;
    /// Exactly this number.
    fn to_f64(self) -> f64;
    /// e to the power of this number.
    fn exp(self) -> Self;
    /// e to the power of this number, less 1, exact also near zero.
    fn exp_m1(self) -> Self;
    /// The hyperbolic tangent, exact also near zero.
    fn tanh(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
}

/// The methods are inlined by request: the loops over them are compiled in other crates, and a
/// call for each product would make them several times slower.
macro_rules! float {
    ($type:ident) => {
        impl Float for $type {
            #[inline]
            fn from_f64(value: f64) -> Self {
                value as $type
            }

            #[inline]
            fn from_f32(value: f32) -> Self {
                $type::from(value)
            }

            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline]
            fn exp(self) -> Self {
                $type::exp(self)
            }

            #[inline]
            fn exp_m1(self) -> Self {
                $type::exp_m1(self)
            }

            #[inline]
            fn tanh(self) -> Self {
                $type::tanh(self)
            }

            #[inline]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
        }
    };
}

float!(f32);
float!(f64);
