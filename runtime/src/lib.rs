//! Runs what `xcc-compiler` made, and everything around it: weights, images, sessions, threads.

mod memory;
pub mod model;
pub mod reference;
mod team;
pub mod weights;

pub use memory::OutOfMemory;
pub use model::{Model, ModelError};
