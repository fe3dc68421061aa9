//! Graphs for tests: a builder, and random networks drawn from a string of bytes.

#![allow(dead_code, unused_imports, reason = "each test file uses some of it")]

mod builder;
mod random;

pub use builder::{Builder, cut, window};
pub use random::random_graph;
