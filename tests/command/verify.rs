//! `xcc verify`: what agrees, what does not, and the exit status that says so.

use xcc_compiler::target::Isa;
use xcc_runtime::npy;

use crate::harness::{Ran, TINY, json, output, run};

#[test]
fn every_segment_count_agrees() {
    for segments in ["1", "2", "3", "full"] {
        let set = format!("segments={segments}");
        let said = output(&["verify", TINY, "--seed", "3", "--set", &set, "--batch", "3", "--threads", "2"]);
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("ok: ") && last.ends_with("the tolerance 1e-4"), "{said}");
    }
}

#[test]
fn every_target_of_this_machine_agrees() {
    for isa in Isa::ALL {
        let Ran { status, stdout, stderr } =
            run(&["verify", TINY, "--seed", "3", "--target", &isa.to_string()]);
        let missing = isa.missing();
        if missing.is_empty() {
            assert_eq!((status, stderr.as_str()), (0, ""), "{isa}: {stdout}");
        } else {
            eprintln!("skipped: {isa} code, since this machine has no {}", missing.join(", "));
            assert_eq!(status, 2);
            assert!(missing.iter().all(|feature| stderr.contains(feature)), "{stderr}");
        }
    }
    let Ran { status, stderr, .. } = run(&["verify", TINY, "--target", "avx1024"]);
    assert_eq!(status, 2);
    assert!(stderr.contains("there is no target `avx1024`; there are baseline, avx2"), "{stderr}");
}

/// Xception with one module in the middle flow, in the segment counts that divide 728 channels and
/// some that do not.
#[test]
fn xception_agrees_in_every_segmentation() {
    for segments in [1, 2, 3, 4, 7, 28, 91, 182, 364, 728] {
        let set = format!("segments={segments}");
        let sets = ["--set", "size=72", "--set", "repeats=1", "--set", &set];
        let found = json(&[&["verify", "specs/xception.xc", "--seed", "0", "--json"], &sets[..]].concat());
        assert_eq!(found["passed"], true, "{segments} segments: {}", found["worst_error"]);
        assert!(found["values"].as_array().unwrap().len() > 20);
    }
}

#[test]
fn all_values_are_in_the_json_and_on_demand_in_the_table() {
    let found = json(&["verify", TINY, "--seed", "3", "--json", "tests/golden/texture_71.png"]);
    let values = found["values"].as_array().unwrap();
    let worst = values.iter().map(|value| value["error"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(found["worst_error"], worst);
    assert_eq!((&found["reference"], &found["batch"]), (&"f64".into(), &1.into()));
    let last = values.last().unwrap();
    assert_eq!((&last["layer"], &last["shape"]), (&"predictions".into(), &serde_json::json!([3])));
    assert!((last["expected"].as_f64().unwrap() - last["found"].as_f64().unwrap()).abs() < 1e-5);
    let all = output(&["verify", TINY, "--seed", "3", "--all"]);
    // Three lines of head, one of what errors are, one of verdict.
    assert_eq!(all.lines().count(), values.len() + 5, "{all}");
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
}

/// Sums that only 64-bit floats can hold are errors of compiled code.
#[test]
fn a_value_that_differs_is_status_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let sums_that_overflow: Vec<f32> =
        (0..192).map(|index| if index % 2 == 0 { 3e38 } else { -3e38 }).collect();
    npy::write(&path, &[8, 8, 3], &sums_that_overflow).unwrap();
    let Ran { status, stdout, stderr } =
        run(&["verify", TINY, "--seed", "3", "--input", path.to_str().unwrap()]);
    assert_eq!(status, 1, "{stdout}");
    assert!(stderr.contains("values differ by more than 1e-4; the worst is"), "{stderr}");
    assert!(stdout.contains("inf") && !stdout.contains("ok:"), "{stdout}");
}

/// A NaN spreads through both sides alike: no error, but not without a word.
#[test]
fn numbers_that_are_not_finite_on_both_sides_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let one_nan: Vec<f32> = (0..192).map(|index| if index == 0 { f32::NAN } else { 0.5 }).collect();
    npy::write(&path, &[8, 8, 3], &one_nan).unwrap();
    let arguments = ["verify", TINY, "--seed", "3", "--input", path.to_str().unwrap()];
    let Ran { status, stdout, stderr } = run(&arguments);
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(stderr.starts_with("note: ") && stderr.ends_with(" values, image first\n"), "{stderr}");
    let found: serde_json::Value =
        serde_json::from_str(&run(&[&arguments[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!(
        (&found["values"][0]["layer"], &found["values"][0]["not_finite"]),
        (&"image".into(), &1.into())
    );
    let counts =
        found["values"].as_array().unwrap().iter().map(|value| value["not_finite"].as_u64().unwrap());
    assert_eq!(found["not_finite"], counts.sum::<u64>());
}

#[test]
fn a_reference_in_32_bits_agrees_too() {
    let found = json(&["verify", TINY, "--seed", "3", "--json", "--reference", "f32"]);
    assert_eq!((&found["reference"], &found["passed"]), (&"f32".into(), &true.into()));
}
