//! Sweeps: a network at many settings, what each costs, and how long each takes.
//!
//! Data flows one way: `plan` (arguments and YAML), `axes` (values and the points they make),
//! `survey` (what a spec makes of a plan), `examine` (all points before a run: `point`, one
//! setting and what it costs, and `budget`, the width that meets a budget, with times by
//! `stopwatch`), `measure` (interleaved samples) and `figures` (what follows from them). What was
//! found is `results`, which `store` keeps in a file and `validate` checks; its readers are `csv`,
//! `table`, `kernels` and `report`.

pub mod axes;
pub mod budget;
pub mod csv;
#[cfg(test)]
mod damaged;
pub mod date;
pub mod examine;
pub mod figures;
pub mod kernels;
pub mod measure;
pub mod plan;
pub mod point;
pub mod report;
pub mod results;
pub mod stopwatch;
pub mod store;
pub mod survey;
pub mod table;
pub mod validate;
