//! `xcc precision`: a row for each precision of this machine, with errors in the order that they
//! promise.

use xcc_compiler::plan::Precision;
use xcc_compiler::target::Target;

use crate::harness::{TINY, json, output, run};

const DIGITS: [&str; 5] =
    ["precision", "specs/digits.xc", "examples/digits/3_013.png", "--weights", "specs/digits.safetensors"];

#[test]
fn precisions_keep_their_promises_on_trained_weights() {
    let found = json(&[&DIGITS[..], &["--json", "--threads", "1"]].concat());
    let rows = found["precisions"].as_array().unwrap();
    let available = Precision::ALL.into_iter().filter(|precision| precision.is_for(Target::native()));
    for (row, precision) in rows.iter().zip(available.clone()) {
        assert_eq!(row["precision"], precision.to_string());
        assert_eq!((&row["agreeing"], &found["inputs"]), (&1.into(), &1.into()));
        let bound = match precision {
            Precision::F32 => 5e-6,
            Precision::Split => 2e-5,
            Precision::Bf16 => 2e-2,
        };
        let worst = row["worst_error"].as_f64().unwrap();
        assert!(worst < bound && row["mean_error"].as_f64().unwrap() <= worst, "{row}");
    }
    assert_eq!(rows.len(), available.count());
    for precision in Precision::ALL.into_iter().filter(|precision| !precision.is_for(Target::native())) {
        eprintln!("skipped: {precision}, since this machine has no {}", precision.needs());
    }
}

#[test]
fn the_table_has_a_line_for_each_precision() {
    let text = output(&DIGITS);
    let count = Precision::ALL.into_iter().filter(|precision| precision.is_for(Target::native())).count();
    assert_eq!(
        text.lines().filter(|line| line.ends_with(|c: char| c.is_ascii_digit())).count(),
        count,
        "{text}"
    );
}

#[test]
fn what_would_do_nothing_is_refused() {
    for option in [["--batch", "2"], ["--precision", "bf16"]] {
        let ran = run(&[&["precision", TINY][..], &option].concat());
        assert_eq!(ran.status, 2);
        assert!(ran.stderr.contains("--batch and --precision do nothing here"), "{}", ran.stderr);
    }
}

#[test]
fn every_precision_of_this_machine_verifies() {
    for precision in Precision::ALL.into_iter().filter(|precision| precision.is_for(Target::native())) {
        let name = precision.to_string();
        let sets = ["--set", "size=72", "--set", "repeats=1", "--precision", &name];
        let found = json(&[&["verify", "specs/xception.xc", "--seed", "0", "--json"], &sets[..]].concat());
        assert_eq!((&found["passed"], &found["precision"]), (&true.into(), &name.into()), "{found}");
    }
}
