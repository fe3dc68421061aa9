//! The text form of a graph: one line a node, read back by [`parse`].
//!
//! ```text
//! model "tiny" image range -1.0 1.0 channels rgb v0 = input : 8x8x3 in l0 ; image v2 = conv v0 3x3 stride
//! 2x2 pads 1,1,1,1 segments 1x3->16 {16 kernel w0 norm(mean w3 variance w4 gamma w1 beta w2 eps 0.001)} post
//! [relu] : 4x4x16 in l2 ; stem_bn v5 = separable v2 load relu spatial 3x3 pads 1,1,1,1 segments 16x1->1 {16
//! kernel w5} between linear pointwise 1x1 segments 1x16->16 {16 kernel w6} post [add v2, relu] : 4x4x16 in
//! l4 ; add output v5 layer l0 InputLayer "image" at 10..30 weight w0 kernel 3x3x3x16 fan-in 27 of l1
//! "stem/kernel"
//! ```
//!
//! - A `;` starts a comment that ends with the line. Lines may come in any order, but nodes stand in the
//!   graph's
//!   topological order.
//! - Strides, dilation (`dilate 2x2`) and pads (top, bottom, left, right) are left out where they do nothing.
//! - `segments` lists runs of equal segments, `count x inputs -> outputs`; braces hold the parameters of
//!   consecutive
//!   outputs, the first number saying how many.
//! - `add` in an epilogue names the operand it adds.
//! - Dead nodes are left out; the others keep their ids.

mod parse;
mod write;

pub use parse::{TextError, parse};
pub use write::write;

pub(super) use write::{Place, lines};
