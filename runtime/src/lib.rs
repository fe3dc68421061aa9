//! Runs what `xcc-compiler` made, and everything around it: weights, images, sessions, threads.

pub mod reference;
pub mod weights;
