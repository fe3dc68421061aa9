//! Runs what `xcc-compiler` made, and everything around it: weights, images, threads.

pub mod bandwidth;
pub mod bounded;
pub mod calibration;
mod checked;
mod concurrent;
pub mod content;
pub mod decouple;
pub mod exhaustion;
pub mod image;
pub mod labels;
pub mod machine;
pub mod memory;
pub mod model;
pub mod npy;
pub mod onnx;
pub mod peak;
pub mod perf_map;
mod process;
pub mod reference;
pub mod replace;
pub mod shown;
mod stamp;
mod team;
pub mod verify;
pub mod weights;
mod workers;

pub use checked::WrongLength;
pub use memory::OutOfMemory;
pub use model::{Model, ModelError};
