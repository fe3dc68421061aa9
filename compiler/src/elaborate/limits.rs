//! Limits of specs, so that no text can make the compiler hang or take all memory.
//! docs/language.md states them.

/// Layers of a model.
pub const LAYERS: usize = 10_000;
/// Elements of one tensor.
pub const ELEMENTS: u64 = 1 << 31;
/// Channels of a map.
pub const CHANNELS: u32 = 1 << 16;
/// Elements of all weights together.
pub const WEIGHTS: u64 = 1 << 31;
/// Segments of all convolutions together: the graph lists each.
pub const SEGMENTS: u64 = 1 << 22;
/// Statements and parts of expressions evaluated, turns of loops included.
pub const STEPS: u64 = 2_000_000;
/// Mistakes met, those included that are not reported again: what there is about them takes longer
/// than a step.
pub const MISTAKES: u64 = 10_000;
/// Steps of a single statement or part of an expression: a list as long as the source.
pub const STATEMENT: u64 = 1 << 19;
/// How deep flows, loops, branches and calls may be nested while they run.
pub const DEPTH: usize = 100;
/// Bytes of a string.
pub const TEXT: usize = 4096;
/// Side of a window, and distance between its taps.
pub const WINDOW: u32 = 4096;
/// Largest stride.
pub const STRIDE: u32 = 1 << 16;
