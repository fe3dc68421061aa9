//! The file of results: always written whole, and read again to go on.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use xcc_runtime::bounded::read_at_most;
use xcc_runtime::replace::replace;

use super::results::{Point, Results, SCHEMA, Status, Sweep};
use super::validate::validate;
use crate::cli::Failure;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// Where results are kept.
pub struct Store {
    path: PathBuf,
}

/// What to do with results that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// None are replaced: the file's name was not given.
    Keep,
    /// Finished ones of the same sweep are replaced, others are not: the file's name was given.
    Update,
    /// Go on with them.
    Resume,
    /// They are replaced.
    Replace,
}

impl Store {
    /// Results in the file `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The results to begin with: `fresh`, or those in the file where that is to be continued.
    pub fn open(&self, fresh: Results, existing: Existing) -> Result<Results, Failure> {
        // What is no regular file is written to, as it is, and holds nothing to go on with.
        if existing == Existing::Replace || !self.path.is_file() {
            return Ok(fresh);
        }
        let failed = |reason: String| Failure::input(format!("{}: {reason}", self.path.display()));
        let found = self.read();
        if existing == Existing::Resume {
            let found = found.map_err(failed)?;
            return match difference(&found, &fresh) {
                Some(what) => Err(failed(format!(
                    "{what}; go on with that one's arguments, or begin anew with another `--json FILE` or with `--force`"
                ))),
                None => Ok(found),
            };
        }
        let found = found.map_err(|reason| failed(format!("{reason}; `--force` replaces the file")))?;
        kept(&found, &fresh, existing).map_or(Ok(fresh), |reason| Err(failed(reason)))
    }

    /// Writes the results in the place of those before.
    pub fn save(&self, results: &Results) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::input(format!("{}: {error}", self.path.display()));
        let text = serde_json::to_string(results).map_err(Failure::input)?;
        replace(&self.path, |file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")
        })
        .map_err(failed)
    }

    /// The results in the file; the error says what is wrong with it.
    pub fn read(&self) -> Result<Results, String> {
        parse(&read_at_most(&self.path, LARGEST).map_err(|error| error.to_string())?)
    }
}

/// What results of all versions begin with.
#[derive(Deserialize)]
struct Head {
    schema: u32,
}

/// Reads results and checks that they make sense.
pub fn parse(text: &[u8]) -> Result<Results, String> {
    match serde_json::from_slice(text).ok().map(|Head { schema }| schema) {
        Some(SCHEMA) => {
            let results: Results = serde_json::from_slice(text)
                .map_err(|error| format!("is no file of results: {}", short(&error)))?;
            let damaged = |fault| format!("makes no sense: {fault}; mend that place, or measure anew");
            validate(&results).map_err(damaged)?;
            Ok(results)
        }
        Some(schema) => {
            Err(format!("has results in version {schema} of their form; this program knows version {SCHEMA}"))
        }
        None => Err("is no file of results of a sweep".to_owned()),
    }
}

/// Why results are not replaced by `fresh` ones without `--force`, and the ways out.
fn kept(found: &Results, fresh: &Results, existing: Existing) -> Option<String> {
    let done = found.points.iter().filter(|point| !is_unfinished(point)).count();
    let points = found.points.len();
    if done < points {
        return Some(format!(
            "holds a sweep of which {done} of {points} points are done; go on with `--resume`, or begin anew with `--force`"
        ));
    }
    if let Some(what) = difference(found, fresh) {
        return Some(format!("{what}; name another file with `--json FILE`, or replace them with `--force`"));
    }
    let date = &found.date;
    (existing == Existing::Keep).then(|| {
        format!(
            "holds this sweep, measured at {date}; `--resume` with more `--rounds` adds to it, `--force` replaces it, \
             `--json FILE` names another file"
        )
    })
}

/// Most characters of what a reader of JSON says, which may repeat what the file says.
const LONGEST_REASON: usize = 300;

/// What is wrong with JSON, and where, in a line of bounded length.
pub fn short(error: &serde_json::Error) -> String {
    let printable = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    let text: String = error.to_string().chars().map(printable).collect();
    match text.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}… at line {} column {}", &text[..end], error.line(), error.column()),
        None => text,
    }
}

/// Whether a point has still to be measured.
pub fn is_unfinished(point: &Point) -> bool {
    matches!(point.status, Status::Pending | Status::Failed)
}

/// What identifies the times of instructions that a sweep chooses kernels by.
fn digest(sweep: &Sweep) -> Option<&str> {
    sweep.constants.as_ref().map(|constants| constants.digest.as_str())
}

/// What keeps results from being continued, if something does.
fn difference(old: &Results, new: &Results) -> Option<String> {
    let Sweep { spec, axes, combine, fixed, hold, .. } = &old.sweep;
    let other = &new.sweep;
    let what = match () {
        () if spec.source != other.spec.source => "spec; its text differs",
        () if (axes, combine) != (&other.axes, &other.combine) => "sweep; other values vary in it",
        () if *fixed != other.fixed => "sweep; other parameters are set in it",
        () if *hold != other.hold => "sweep; it holds another budget",
        () if old.sweep.precisions != other.precisions => "sweep; its precisions differ",
        () if old.sweep.threads != other.threads => "sweep; its numbers of threads differ",
        () if old.sweep.batches != other.batches => "sweep; its batches differ",
        () if old.sweep.seed != other.seed => "sweep; its seed differs",
        () if old.sweep.target != other.target => "target",
        () if digest(&old.sweep) != digest(other) => "sweep; other constants choose its kernels",
        () if (&old.machine.processor, &old.machine.features)
            != (&new.machine.processor, &new.machine.features) =>
        {
            "machine"
        }
        () if old.xcc != new.xcc => "version of xcc",
        () => return None,
    };
    Some(format!("holds results of another {what}"))
}
