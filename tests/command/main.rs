//! The command through its text. Expected texts are the `.out` files here; `SNAPSHOTS=overwrite` blesses
//! them.

mod arguments;
mod bench;
mod check;
mod convert;
mod emit;
mod explain;
mod harness;
mod precision;
mod profile;
mod run;
mod summary;
mod sweep;
mod verify;
