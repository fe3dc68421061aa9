//! Sweeps: a network at many settings, what each costs, and how long each takes.
//!
//! Data flows one way: `axes` (parameters and their values), `plan` (what to sweep, from arguments and
//! YAML), `budget` (a width that meets a budget), `point` (one setting and its static costs), `measure`
//! (interleaved samples), `results` (the schema of what was found), and then its readers: `csv`, `table`,
//! `kernels`.

pub mod results;
