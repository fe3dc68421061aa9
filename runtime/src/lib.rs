//! Runs what xcc-compiler made: weights, images, sessions, threads, reference evaluator.

pub mod weights;
