//! Compiles a spec of an Xception-family network to machine code.
//!
//! Data flows one way, a module a stage: `syntax` (text to tree) -> `elaborate` (tree to graph) ->
//! `graph` -> `passes` (rewrites) -> `plan` (layout, kernels, memory, loops) -> `kernels` (vector
//! kernel IR) -> `codegen` (machine code).

pub mod codegen;
pub mod cost;
pub mod diagnostic;
pub mod elaborate;
pub mod graph;
pub mod instruction_times;
mod isa;
pub mod kernels;
pub mod layout;
pub mod passes;
pub mod plan;
pub mod processor;
pub mod schedule;
pub mod syntax;
pub mod target;
pub mod vector;
