//! The command through its text. Expected texts are the `.out` files here; `SNAPSHOTS=overwrite`
//! blesses them.

mod arguments;
mod bench;
mod check;
mod convert;
mod decouple;
mod diff;
mod documents;
mod emit;
mod explain;
mod graph;
mod harness;
mod memory;
mod precision;
mod profile;
mod replaced;
mod report;
mod run;
mod summary;
mod sweep;
mod verify;
