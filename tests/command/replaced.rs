//! Files that are there already: those that an argument names are replaced where nothing is lost,
//! others are not.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Ran, TINY, xcc};

/// A folder with a spec, in which commands run.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(TINY), folder.path().join("tiny.xc")).unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = xcc(arguments).current_dir(self.0.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            status: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// A sweep of one round, with more arguments.
    fn sweep(&self, arguments: &[&str]) -> Ran {
        self.run(&[&["sweep", "tiny.xc", "--rounds", "1", "--threads", "1"], arguments].concat())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Checks that a command ends in one line that says this, and that the file is as it was.
    fn refuses(&self, arguments: &[&str], name: &str, said: &str) {
        let before = self.read(name);
        let Ran { status, stderr, .. } = self.run(arguments);
        assert_eq!((status, stderr.lines().count()), (2, 1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(&format!("error: {name}: ")) && stderr.contains(said), "{stderr}");
        assert!(self.read(name) == before, "{arguments:?} has changed {name}");
    }
}

const KEPT: &str = "tiny-segments.sweep.json";
const SWEEP: [&str; 6] = ["sweep", "tiny.xc", "--rounds", "1", "--threads", "1"];

#[test]
fn a_finished_sweep_is_not_replaced_by_one_that_names_no_file() {
    let folder = Folder::new();
    assert_eq!(folder.sweep(&["--over", "segments=1"]).status, 0);
    let again = [&SWEEP[..], &["--over", "segments=1"]].concat();
    folder.refuses(&again, KEPT, "holds this sweep, measured at 20");
    folder.refuses(
        &again,
        KEPT,
        "`--resume` with more `--rounds` adds to it, `--force` replaces it, `--json FILE` names another file",
    );
    let other = [&SWEEP[..], &["--over", "segments=2"]].concat();
    folder.refuses(
        &other,
        KEPT,
        "holds results of another sweep; other values vary in it; name another file with `--json FILE`, or",
    );
    folder.refuses(&[&again[..], &["--seed", "9"]].concat(), KEPT, "its seed differs");
    let first = folder.read(KEPT);
    let more = ["sweep", "tiny.xc", "--over", "segments=1", "--resume", "--rounds", "2", "--threads", "1"];
    assert_eq!(folder.run(&more).status, 0);
    assert_ne!(folder.read(KEPT), first, "samples were added");
    assert_eq!(folder.sweep(&["--over", "segments=2", "--force"]).status, 0);
    assert!(folder.read(KEPT).contains("\"label\":\"segments=2\""));
    assert_eq!(folder.sweep(&["--over", "segments=1", "--dry-run"]).status, 0, "nothing is written");
}

#[test]
fn a_file_that_is_named_is_replaced_by_the_same_sweep_only() {
    let folder = Folder::new();
    let named = ["--json", "a.json", "--over", "segments=1"];
    assert_eq!(folder.sweep(&named).status, 0);
    let first = folder.read("a.json");
    assert_eq!(folder.sweep(&named).status, 0);
    assert_ne!(folder.read("a.json"), first, "measured anew");
    let other = [&SWEEP[..], &["--json", "a.json", "--over", "segments=1,2"]].concat();
    folder.refuses(&other, "a.json", "holds results of another sweep; other values vary in it");
    let dry = [&SWEEP[..], &named, &["--dry-run"]].concat();
    folder.refuses(&dry, "a.json", "holds this sweep, measured at 20");
    folder.write("a.json", "notes");
    folder.refuses(
        &[&SWEEP[..], &named].concat(),
        "a.json",
        "is no file of results of a sweep; `--force` replaces the file",
    );
}

#[test]
fn a_page_replaces_earlier_pages_and_what_is_named_only() {
    let folder = Folder::new();
    assert_eq!(folder.sweep(&["--over", "segments=1", "--json", "a.json"]).status, 0);
    for _ in 0..2 {
        assert_eq!(folder.run(&["report", "a.json"]).stdout, "wrote a.html\n");
    }
    let page = folder.read("a.html");
    folder.write("a.html", "<!DOCTYPE html>\n<title>notes</title>\n");
    folder.refuses(
        &["report", "a.json"],
        "a.html",
        "is there and is no page of `xcc report`; `--output FILE` replaces it",
    );
    assert_eq!(folder.run(&["report", "a.json", "-o", "a.html"]).status, 0);
    assert!(folder.read("a.html") == page);
}
