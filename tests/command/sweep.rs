//! `xcc sweep`: that its figures fit together, that nothing is lost, and what it says of bad plans.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use xcc_compiler::plan::Precision;
use xcc_compiler::target::{Bf16Unit, Target};

use crate::harness::{
    Ran, TINY, assert_text, json, number, numbers, output, run, run_with_input, times_of_pairs, transcript,
    xcc,
};

/// A spec whose segments are not clamped to the channels.
const STRICT: &str = "tests/command/strict.xc";

/// A folder for output, and a file in it.
fn target(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The results of a sweep that must succeed.
fn sweep(arguments: &[&str]) -> Value {
    let (_folder, path) = target("a.json");
    let ran = run(&[&["sweep"], arguments, &["--json", text(&path)]].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr, format!("note: results are in {}\n", path.display()));
    read(&path)
}

/// What the points of a sweep cost.
fn dry(arguments: &[&str]) -> Value {
    json(&[&["sweep"], arguments, &["--dry-run", "--json", "-"]].concat())
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().unwrap()
}

fn labels(results: &Value) -> Vec<&str> {
    list(results, "points").iter().map(|point| point["label"].as_str().unwrap()).collect()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * a.abs().max(b.abs()), "{a} and {b}");
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

#[test]
fn points_are_those_of_the_axes_in_their_order() {
    let found = dry(&[TINY, "--over", "segments=2,full", "--threads", "1,2", "--batch", "1,8"]);
    let expected = [
        "segments=2 1 thread batch 1",
        "segments=2 1 thread batch 8",
        "segments=2 2 threads batch 1",
        "segments=2 2 threads batch 8",
        "segments=full 1 thread batch 1",
        "segments=full 1 thread batch 8",
        "segments=full 2 threads batch 1",
        "segments=full 2 threads batch 8",
    ];
    assert_eq!(labels(&found), expected);
    let combined = |how: &str| {
        let spec = [STRICT, "--over", "segments=1,2", "--over", "width=8,16", "--combine", how];
        labels(&dry(&spec)).join("; ")
    };
    assert_eq!(
        combined("product"),
        "segments=1 width=8; segments=1 width=16; segments=2 width=8; segments=2 width=16"
    );
    assert_eq!(combined("zip"), "segments=1 width=8; segments=2 width=16");
    assert_eq!(combined("each"), "segments=1; segments=2; width=8; width=16");
}

#[test]
fn divisors_are_those_of_the_channels_that_are_cut() {
    let found = dry(&["specs/xception.xc", "--set", "size=71", "--over", "segments=divisors"]);
    let values = list(&found["sweep"]["axes"][0], "values");
    let texts: Vec<&str> = values.iter().map(|value| value["text"].as_str().unwrap()).collect();
    assert_eq!(texts.join(" "), "1 2 4 7 8 13 14 26 28 52 56 91 104 182 364 full");
    assert_eq!(number(&values[15], "number"), 728.0);
    let macs: Vec<f64> = list(&found, "points").iter().map(|point| number(&point["cost"], "macs")).collect();
    assert!(macs.is_sorted_by(|a, b| a > b), "fewer segments cost more: {macs:?}");
}

#[test]
fn costs_are_those_of_the_summary_and_the_plan() {
    let found = dry(&[TINY, "--over", "segments=1,full", "--batch", "1,3", "--target", "baseline"]);
    for point in list(&found, "points") {
        let setting = format!("segments={}", point["settings"]["segments"].as_str().unwrap());
        let totals = &json(&["summary", TINY, "--json", "--set", &setting])["totals"];
        let cost = &point["cost"];
        for key in ["parameters", "spatial_macs", "pointwise_macs", "macs", "weight_bytes"] {
            assert_eq!(cost[key], totals[key], "{key}");
        }
        let batch = number(point, "batch");
        close(number(cost, "activation_bytes"), number(totals, "activation_bytes") * batch);
        assert!(number(cost, "fused_activation_bytes") < number(cost, "activation_bytes"));
        close(number(cost, "intensity"), 2.0 * number(cost, "macs") * batch / number(cost, "moved_bytes"));
        close(number(cost, "memory_bytes"), number(cost, "packed_bytes") + number(cost, "arena_bytes"));
        let layers = list(point, "layers");
        let of = |key: &str| layers.iter().map(|layer| number(layer, key)).sum::<f64>();
        close(of("spatial_macs") + of("pointwise_macs"), number(cost, "macs"));
        let sep = layers.iter().find(|layer| layer["name"] == "sep1").unwrap();
        let expected = if setting == "segments=1" { (1, "1x4") } else { (4, "4x1") };
        assert_eq!((sep["segments"].as_u64().unwrap(), sep["cut"].as_str().unwrap()), expected);
        assert_eq!((&sep["path"][0], &sep["class"]), (&"entry".into(), &"SeparableConv2D".into()));
    }
}

#[test]
fn figures_follow_from_samples() {
    let found =
        sweep(&[TINY, "--over", "segments=1,2,full", "--threads", "1", "--batch", "2", "--rounds", "3"]);
    assert_eq!(labels(&found), ["segments=1", "segments=2", "segments=full"]);
    let peaks = numbers(&found["sampling"]["peak_samples_gflops"]);
    let roof = &found["machine"]["roofs"][0];
    close(number(roof, "peak_gflops"), median(&peaks));
    for point in list(&found, "points") {
        assert_eq!(point["status"], "measured");
        let timing = &point["timing"];
        let samples = numbers(&timing["samples_ms"]);
        assert!((3..=24).contains(&samples.len()) && timing["rounds"] == 3, "{} samples", samples.len());
        close(number(timing, "median_ms"), median(&samples));
        assert!(number(timing, "p5_ms") <= number(timing, "median_ms"));
        assert!(number(timing, "median_ms") <= number(timing, "p95_ms"));
        let macs = number(&point["cost"], "macs") * 2.0;
        close(number(timing, "gflops"), 2.0 * macs / number(timing, "median_ms") / 1e6);
        let steps = list(point, "steps");
        close(steps.iter().map(|step| number(step, "macs")).sum(), macs);
        let bounds = steps.iter().map(|step| number(step, "bound_ms"));
        close(number(timing, "bound_ms"), bounds.sum());
        close(number(timing, "bound_share"), number(timing, "bound_ms") / number(timing, "median_ms"));
        close(steps.iter().map(|step| number(step, "bytes")).sum(), number(&point["cost"], "moved_bytes"));
        for step in steps {
            let of_step = numbers(&step["samples_ms"]);
            assert_eq!(of_step.len(), samples.len());
            close(number(step, "ms"), median(&of_step));
            let compute = 2.0 * number(step, "macs") / number(roof, "peak_gflops") / 1e6;
            let memory = number(step, "bytes") / number(roof, "bandwidth_gbs") / 1e6;
            close(number(step, "bound_ms"), compute.max(memory));
        }
        let sums = (0..samples.len())
            .map(|at| steps.iter().map(|step| numbers(&step["samples_ms"])[at]).sum::<f64>());
        assert!(
            sums.zip(&samples).all(|(sum, &whole)| sum <= whole * (1.0 + 1e-6)),
            "steps are parts of runs"
        );
    }
}

#[test]
fn points_of_each_precision_have_their_own_peak() {
    let available = Precision::ALL.into_iter().filter(|precision| precision.is_for(Target::native()));
    let names = available.map(|precision| precision.to_string()).collect::<Vec<_>>().join(",");
    let least = match Target::native().bf16_unit() {
        Some(Bf16Unit::Tiles) => 2.0,
        // As fast as the times of instructions have it.
        Some(Bf16Unit::Pairs) => 0.65 * times_of_pairs(),
        None => {
            eprintln!("skipped: peaks of bf16 and split, since this machine multiplies no bf16 values");
            return;
        }
    };
    let network = ["specs/xception.xc", "--set", "size=96", "--set", "repeats=1"];
    let precisions = ["--over", "segments=4,full", "--precision", &names, "--threads", "1,2"];
    let found = sweep(&[&network[..], &precisions, &["--rounds", "2"]].concat());
    let roofs = list(&found["machine"], "roofs");
    for roof in roofs {
        let samples = numbers(&roof["bf16_samples_gflops"]);
        assert!(samples.len() >= 2, "before the rounds and between them: {samples:?}");
        close(number(roof, "bf16_gflops"), median(&samples) * number(roof, "threads"));
        assert!(number(roof, "bf16_gflops") > least * number(roof, "peak_gflops"), "{roof}");
    }
    for point in list(&found, "points") {
        let roof = roofs.iter().find(|roof| roof["threads"] == point["threads"]).unwrap();
        let f32 = number(roof, "peak_gflops");
        let peak = match point["precision"].as_str().unwrap() {
            "f32" => number(roof, "bf16_gflops") / 6.0,
            "bf16" => number(roof, "bf16_gflops"),
            _ => number(roof, "bf16_gflops") / 3.0,
        };
        let of_weights = &point["timing"]["weights_gbs"];
        let of_weights = of_weights.as_f64().unwrap_or(number(roof, "bandwidth_gbs"));
        let mut sum = 0.0;
        for step in list(point, "steps") {
            let tiles = number(step, "tile_macs");
            let others = number(step, "macs") - number(step, "saved_macs") - tiles;
            let compute = (2.0 * tiles / peak).max(2.0 * others / f32) / 1e6;
            let weights = number(step, "weight_bytes");
            let values = (number(step, "bytes") - weights) / number(roof, "bandwidth_gbs");
            let memory = (values + weights / of_weights) / 1e6;
            close(number(step, "bound_ms"), compute.max(memory));
            sum += compute.max(memory);
        }
        close(number(&point["timing"], "bound_ms"), sum);
        let share = number(&point["timing"], "bound_share");
        assert!(share > 0.0 && share < 1.5, "{}: {share}", point["label"]);
    }
}

/// Every key at any depth, but for names that are the user's.
fn keys<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.push(key);
                if !["settings", "fixed"].contains(&key.as_str()) {
                    keys(value, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn the_documentation_names_every_field() {
    let (_folder, table) = target("kernels.json");
    let arguments =
        [STRICT, "--over", "segments=1,2", "--hold", "params=900", "--by", "width", "--rounds", "1"];
    let found = sweep(&[&arguments[..], &["--per-kernel", text(&table)]].concat());
    let documentation = std::fs::read_to_string("docs/sweep.md").unwrap();
    let table = read(&table);
    let mut all = Vec::new();
    keys(&found, &mut all);
    keys(&table, &mut all);
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 60, "{all:?}");
    for key in all {
        assert!(documentation.contains(&format!("`{key}`")), "docs/sweep.md does not tell of {key}");
    }
}

/// Results as they are when a sweep is interrupted after so many points of the second group.
fn interrupted(results: &Value, after: usize) -> Value {
    let mut results = results.clone();
    for point in results["points"].as_array_mut().unwrap().iter_mut().skip(after) {
        point["status"] = "pending".into();
        point["timing"] = Value::Null;
        point["steps"] = Value::Array(Vec::new());
    }
    results
}

#[test]
fn an_interrupted_sweep_goes_on_and_ends_with_the_same_points() {
    let (_folder, path) = target("a.json");
    let arguments = [
        "sweep",
        TINY,
        "--over",
        "segments=1,2,3,full",
        "--threads",
        "1",
        "--rounds",
        "2",
        "--json",
        text(&path),
    ];
    assert_eq!(run(&arguments).status, 0);
    let whole = read(&path);
    for after in 0..=4 {
        let part = interrupted(&whole, after);
        std::fs::write(&path, part.to_string()).unwrap();
        let again = run(&arguments);
        assert_eq!(again.status == 0, after == 4, "unfinished results are not replaced: {}", again.stderr);
        std::fs::write(&path, part.to_string()).unwrap();
        let resumed = run(&[&arguments[..], &["--resume"]].concat());
        assert_eq!(resumed.status, 0, "{}", resumed.stderr);
        let found = read(&path);
        assert_eq!((labels(&found), &found["sweep"]), (labels(&whole), &whole["sweep"]));
        for (at, (old, new)) in list(&whole, "points").iter().zip(list(&found, "points")).enumerate() {
            assert_eq!((&new["status"], &new["cost"]), (&"measured".into(), &old["cost"]));
            let kept = |point: &Value| {
                [&point["timing"]["samples_ms"], &point["timing"]["compile_ms"]].map(Value::clone)
            };
            assert!(
                at >= after || kept(new) == kept(old),
                "what was measured is neither lost nor compiled again"
            );
        }
    }
}

#[test]
fn a_sweep_that_is_killed_loses_no_round_that_was_finished() {
    let (_folder, path) = target("a.json");
    let arguments = ["sweep", TINY, "--over", "segments=1,full", "--threads", "1", "--json", text(&path)];
    let mut killed = std::process::Command::new(snapbox::cmd::cargo_bin!("xcc"))
        .args([&arguments[..], &["--rounds", "100000"]].concat())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .spawn()
        .unwrap();
    let rounds = |results: &Value| -> Vec<u64> {
        let of = |point: &Value| point["timing"]["rounds"].as_u64().unwrap_or(0);
        list(results, "points").iter().map(of).collect()
    };
    // Every state of the file that is seen on the way is whole.
    while !path.exists() || rounds(&read(&path))[1] < 5 {
        assert!(killed.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = read(&path);
    let done = rounds(&before);
    assert!(done[0].abs_diff(done[1]) <= 1, "no point is ahead by more than the running round: {done:?}");
    let rounds_then = done[0].max(done[1]) + 1;
    let more = rounds_then.to_string();
    let resumed = run(&[&arguments[..], &["--resume", "--rounds", &more]].concat());
    assert_eq!(resumed.status, 0, "{}", resumed.stderr);
    let after = read(&path);
    assert_eq!(rounds(&after), [rounds_then; 2]);
    for (old, new) in list(&before, "points").iter().zip(list(&after, "points")) {
        let [old, new] = [old, new].map(|point| numbers(&point["timing"]["samples_ms"]));
        assert!(new.len() > old.len() && new.starts_with(&old), "samples of before are kept");
    }
}

#[test]
fn results_of_other_sweeps_are_not_continued_or_lost() {
    let (folder, path) = target("a.json");
    let base = ["sweep", TINY, "--threads", "1", "--rounds", "1", "--json", text(&path)];
    let over = |values: &'static str| [&base[..], &["--over", values]].concat();
    assert_eq!(run(&over("segments=1,2")).status, 0);
    let whole = read(&path);
    let refused = |arguments: &[&str], said: &str| {
        let Ran { status, stderr, .. } = run(arguments);
        assert_eq!((status, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    };
    let resumed = |values| [&over(values)[..], &["--resume"]].concat();
    refused(&resumed("segments=1,3"), "holds results of another sweep; other values vary in it; go on with");
    refused(&[&resumed("segments=1,2")[..], &["--seed", "4"]].concat(), "its seed differs");
    refused(&[&resumed("segments=1,2")[..], &["--batch", "4"]].concat(), "its batches differ");
    let other: Vec<&str> =
        resumed("segments=1,2").iter().map(|&a| if a == TINY { STRICT } else { a }).collect();
    refused(&other, "another spec; its text differs");
    std::fs::write(&path, interrupted(&whole, 1).to_string()).unwrap();
    refused(&over("segments=1,2"), "holds a sweep of which 1 of 2 points are done; go on with `--resume`");
    refused(&[&over("segments=1,2")[..], &["--dry-run"]].concat(), "1 of 2 points are done");
    assert_eq!(run(&[&over("segments=1,2")[..], &["--force"]].concat()).status, 0);
    for (text, said) in
        [("{}", "is no file of results of a sweep"), ("{\"schema\": 9}", "in version 9 of their form")]
    {
        std::fs::write(&path, text).unwrap();
        refused(&over("segments=1,2"), said);
        refused(&resumed("segments=1,2"), said);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file is left");
}

#[test]
fn illegal_points_can_be_skipped() {
    let found =
        sweep(&[STRICT, "--over", "segments=7..10", "--skip-illegal", "--threads", "1", "--rounds", "1"]);
    let of = |key: &str| -> Vec<&Value> { list(&found, "points").iter().map(|point| &point[key]).collect() };
    assert_eq!(of("status"), ["measured", "measured", "skipped", "skipped"]);
    assert!(of("message")[3].as_str().unwrap().contains("10 segments of 8 channels"));
    assert!(of("cost")[2].is_null() && !of("timing")[1].is_null());
}

#[test]
fn bad_sweeps_are_refused_before_anything_runs() {
    let plan = "tests/command/bad_plan.yaml";
    let cases: [&[&str]; 18] = [
        &["sweep", TINY],
        &["sweep", TINY, "--over", "segments"],
        &["sweep", TINY, "--over", "segmets=1,2"],
        &["sweep", TINY, "--over", "segments=8..1"],
        &["sweep", TINY, "--over", "segments=1,,2"],
        &["sweep", TINY, "--over", "segments=1..9999999"],
        &["sweep", STRICT, "--over", "size=divisors"],
        &["sweep", STRICT, "--over", "segments=1,2", "--set", "segments=3"],
        &["sweep", STRICT, "--over", "segments=1,2", "--over", "width=8", "--combine", "zip"],
        &["sweep", TINY, "--over", "segments=1,2", "--over", "segments=4"],
        &["sweep", STRICT, "--over", "segments=9"],
        &["sweep", STRICT, "--over", "segments=8..12"],
        &["sweep", STRICT, "--over", "segments=9..12", "--skip-illegal"],
        &["sweep", STRICT, "--over", "segments=1,2", "--hold", "params=5", "--by", "width"],
        &["sweep", STRICT, "--over", "segments=1,2", "--hold", "watts=5", "--by", "width"],
        &["sweep", TINY, "--over", "segments=1,2", "--csv", "-", "--json", "-"],
        &["sweep", TINY, "--over", "segments=1,2", "--json", "nowhere/a.json"],
        &["sweep", plan],
    ];
    for arguments in cases {
        let Ran { status, stdout, .. } = run(arguments);
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments:?}");
    }
    let transcripts: Vec<String> = cases.iter().map(|arguments| transcript(arguments)).collect();
    assert_text("command/sweep_errors.out", &transcripts.join("\n"));
}

/// A point that needs more memory than the process may have fails; the others are measured.
#[test]
#[cfg(target_os = "linux")]
fn a_failing_point_is_reported_and_the_rest_go_on() {
    let (_folder, path) = target("a.json");
    // A map of 5000 x 5000 x 64 values takes 6 GiB.
    let line = "ulimit -v 4000000; exec \"$@\"";
    let arguments = ["--over", "size=5000,8", "--set", "width=64", "--set", "segments=1", "--rounds", "1"];
    let ran = std::process::Command::new("sh")
        .args(["-c", line, "sh"])
        .arg(snapbox::cmd::cargo_bin!("xcc"))
        .args(["sweep", STRICT, "--threads", "1", "--json", text(&path)])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("note: size=5000 failed: the network needs "), "{stderr}");
    assert!(stderr.contains("error: 1 of 2 points failed; `--resume` tries them again"), "{stderr}");
    let found = read(&path);
    let [failed, measured] = [&found["points"][0], &found["points"][1]];
    assert_eq!((&failed["status"], &measured["status"]), (&"failed".into(), &"measured".into()));
    assert!(failed["timing"].is_null() && !measured["timing"].is_null());
    assert!(String::from_utf8(ran.stdout).unwrap().contains("size=5000 failed: the network needs"));
}

#[test]
fn a_budget_is_met_by_the_largest_width_within_it() {
    let amount = |spec: &str, key: &str, settings: &[(&str, String)]| {
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let set = settings.iter().flat_map(|setting| ["--set", setting.as_str()]);
        let arguments: Vec<&str> = ["summary", spec, "--json"].into_iter().chain(set).collect();
        number(&json(&arguments)["totals"], key)
    };
    for (spec, hold, key) in [
        (STRICT, "params=500", "parameters"),
        (STRICT, "macs=30k", "macs"),
        ("specs/xception.xc", "params=default", "parameters"),
        ("specs/xception.xc", "macs=default", "macs"),
    ] {
        let found = dry(&[spec, "--over", "segments=1,2,4", "--hold", hold, "--by", "width"]);
        let budget = number(&found["sweep"]["hold"], "value");
        assert_eq!(hold.ends_with("default"), budget == amount(spec, key, &[]));
        for point in list(&found, "points") {
            let segments = point["settings"]["segments"].as_str().unwrap().to_owned();
            let width = point["held"]["value"].as_u64().unwrap();
            let at = |width: u64| {
                amount(spec, key, &[("segments", segments.clone()), ("width", width.to_string())])
            };
            assert_eq!(at(width), number(&point["held"], "reached"));
            assert_eq!(at(width), number(&point["cost"], key));
            assert!(at(width) <= budget && at(width + 1) > budget, "{spec} {hold}: {width} of {segments}");
        }
    }
}

#[test]
fn a_budget_of_time_is_met_roughly() {
    let hold = ["--hold", "latency=1000", "--by", "width", "--rounds", "1", "--threads", "1"];
    let found = sweep(&[&[STRICT, "--over", "segments=2"], &hold[..]].concat());
    let held = &found["points"][0]["held"];
    // All widths are fast enough.
    assert_eq!(held["value"], 64);
    assert!(number(held, "reached") < 1000.0);
}

#[test]
fn budgets_are_told_with_the_results() {
    let hold = ["--hold", "params=900", "--by", "width"];
    let said = output(&[&["sweep", STRICT, "--over", "segments=1,2", "--dry-run"], &hold[..]].concat());
    assert!(said.contains("\nwidth: at each point the largest with at most 900 parameters\n"), "{said}");
    let page = output(
        &[&["sweep", STRICT, "--over", "segments=1,2", "--dry-run", "--html", "-"], &hold[..]].concat(),
    );
    assert!(page.contains("width: at each point the largest with at most 900 parameters"));
    let found = dry(&[&[STRICT, "--over", "segments=1,2"], &hold[..]].concat());
    for point in list(&found, "points") {
        assert!(page.contains(&format!("<p>width {} · ", point["held"]["value"])), "{}", point["held"]);
    }
}

#[test]
fn csv_has_a_line_for_each_point() {
    let arguments = [STRICT, "--over", "segments=1,9", "--skip-illegal", "--threads", "1"];
    let (_folder, path) = target("a.json");
    let csv = ["--rounds", "1", "--json", text(&path), "--csv", "-"];
    let ran = run(&[&["sweep"], &arguments[..], &csv].concat());
    let found = read(&path);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), lines[0][0]), (3, "segments"));
    let cell = |row: usize, name: &str| {
        let column = lines[0].iter().position(|found| *found == name).unwrap();
        lines[row][column]
    };
    assert!(lines.iter().all(|cells| cells.len() == lines[0].len()), "{}", ran.stdout);
    let point = &found["points"][0];
    assert_eq!(cell(1, "macs").parse::<f64>().unwrap(), number(&point["cost"], "macs"));
    let close_to =
        |name: &str| (cell(1, name).parse::<f64>().unwrap() - number(&point["timing"], name)).abs();
    assert!(close_to("median_ms") < 1e-6 && close_to("compile_ms") < 1e-6);
    assert_eq!((cell(2, "status"), cell(2, "macs"), cell(2, "median_ms")), ("skipped", "", ""));
}

#[test]
fn times_of_kernels_add_up_to_those_of_networks() {
    let (folder, table) = target("kernels.json");
    let base = [TINY, "--threads", "1", "--rounds", "2", "--over"];
    let one = sweep(&[&base[..], &["segments=2", "--per-kernel", text(&table)]].concat());
    assert!(one["points"][0]["predicted"].is_null(), "there are no other points");
    let between = number(&read(&table)["between"][0], "ms");
    let steps = list(&one["points"][0], "steps");
    let sum = between + steps.iter().map(|step| number(step, "ms")).sum::<f64>();
    // Without running anything: the same network, and one that the table does not know.
    let found = dry(&[&base[..], &["segments=2,1", "--predict", text(&table)]].concat());
    let [same, other] = [0, 1].map(|at| &found["points"][at]["predicted"]);
    assert_eq!(number(same, "covered"), 1.0);
    assert!((number(same, "ms") / sum - 1.0).abs() < 1e-6, "{same} and {sum}");
    assert!(number(other, "covered") < 1.0, "{other}");
    assert!(found["points"][0]["timing"].is_null());
    let known = [&["sweep"], &base[..], &["segments=2", "--predict", text(&table), "--dry-run"]].concat();
    let words = output(&known).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("kernels elsewhere; 100.0 % of instructions are in kernels"), "{words}");
    // Points of a sweep are predicted from each other.
    let both = sweep(&[&base[..], &["segments=1,2"]].concat());
    for point in list(&both, "points") {
        assert!(number(&point["predicted"], "ms") > 0.0 && number(&point["predicted"], "covered") < 1.0);
    }
    let wrong = folder.path().join("wrong.json");
    std::fs::write(
        &wrong,
        std::fs::read_to_string(&table).unwrap().replace("\"target\":\"", "\"target\":\"x"),
    )
    .unwrap();
    let refused =
        run(&[&["sweep"], &base[..], &["segments=1", "--dry-run", "--predict", text(&wrong)]].concat());
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("was measured for target x"), "{}", refused.stderr);
}

#[test]
fn text_is_a_table_and_a_plot_in_80_columns() {
    let (_folder, path) = target("a.json");
    let arguments = ["--over", "segments=1,2,full", "--threads", "1", "--rounds", "2", "--json", text(&path)];
    let ran = run(&[&["sweep", TINY], &arguments[..]].concat());
    for part in ["tiny over segments", "peak of 1 thread", "GFLOP/s", "of bound", "segments=full"] {
        assert!(ran.stdout.contains(part), "{part} is missing in\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("predicted"), "there is no room for that column\n{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    let wide = run(&[&["sweep", TINY, "--width", "150"], &arguments[..]].concat());
    for part in ["compile", "FLOP/B", "p5", "kernels", "predicted: "] {
        assert!(wide.stdout.contains(part), "{part} is missing in\n{}", wide.stdout);
    }
}

#[test]
fn tables_of_several_parameters_fit_80_columns() {
    let over = ["--over", "segments=1,2", "--over", "width=8,16", "--combine"];
    let budget = ["--over", "segments=1,2", "--hold", "params=900", "--by", "width"];
    let each = [&over[..], &["each"]].concat();
    let product = [&over[..], &["product", "--batch", "1,2"]].concat();
    for arguments in [&each[..], &product, &budget] {
        let (_folder, path) = target("a.json");
        let more = ["--threads", "1,2", "--rounds", "1", "--json", text(&path)];
        let said = run(&[&["sweep", STRICT], arguments, &more].concat()).stdout;
        assert!(said.contains("GFLOP/s") && said.contains("latency: "), "{said}");
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    }
    let (_folder, path) = target("a.json");
    let said =
        run(&[&["sweep", STRICT], &each[..], &["--rounds", "1", "--json", text(&path)]].concat()).stdout;
    assert!(said.lines().any(|line| line.trim_start().starts_with("width=16  ")), "{said}");
}

#[test]
fn specs_come_from_standard_input_too() {
    let source = std::fs::read_to_string(TINY).unwrap();
    let ran = run_with_input(&["sweep", "-", "--over", "segments=1", "--dry-run", "--json", "-"], &source);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(found["sweep"]["spec"]["path"].is_null());
    assert_eq!(found["sweep"]["spec"]["source"], source);
}

#[test]
fn results_are_kept_here_unless_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(TINY, folder.path().join("tiny.xc")).unwrap();
    let arguments =
        ["sweep", "tiny.xc", "--over", "segments=1", "--rounds", "1", "--threads", "1", "--json", "-"];
    let ran = xcc(&arguments).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "note: results are in tiny-segments.sweep.json\n");
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(printed, read(&folder.path().join("tiny-segments.sweep.json")));
}

/// Times of instructions, all alike but for one kind, in the form that `xcc calibrate` writes.
fn times(kind: &str, time: u64) -> Value {
    let kinds = [
        "call",
        "multiply_add",
        "multiply_add_memory",
        "load",
        "broadcast",
        "store",
        "arithmetic",
        "permute",
    ];
    let times: serde_json::Map<_, _> =
        kinds.iter().map(|&other| (other.to_owned(), if other == kind { time } else { 1 }.into())).collect();
    let fitted = serde_json::json!({"times": times, "mean_error": 0.0, "worst_error": 0.0, "samples": []});
    serde_json::json!({"processor": "p", "date": "2026-11-22", "command": "c", "targets": {"baseline": fitted}})
}

#[test]
fn kernels_are_chosen_by_the_constants_that_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let [spec, constants, path] = ["m.xc", "times.json", "a.json"].map(|name| folder.path().join(name));
    let source = "model m\nparam segments = 8 in 1..64\ninput image 16 x 16 x 64\n\
                  sepconv 64, 3x3, padding: same, segments: segments";
    std::fs::write(&spec, source).unwrap();
    std::fs::write(&constants, times("permute", 1_000_000).to_string()).unwrap();
    let base = ["sweep", text(&spec), "--over", "segments=32", "--target", "baseline", "--threads", "1"];
    let base = [&base[..], &["--json", text(&path)]].concat();
    let given = [&base[..], &["--constants", text(&constants)]].concat();
    let with = |arguments: &[&str], more: &[&str]| run(&[arguments, more].concat());
    let kernels = |results: &Value| results["points"][0]["steps"][0]["kernels"].clone();
    assert_eq!(with(&base, &["--rounds", "1"]).status, 0);
    let built_in = read(&path);
    assert!(built_in["sweep"]["constants"].is_null());
    assert_eq!(with(&given, &["--rounds", "1", "--force"]).status, 0);
    let chosen = read(&path);
    assert_eq!(chosen["sweep"]["constants"]["path"], text(&constants));
    assert_ne!(kernels(&chosen), kernels(&built_in), "permutations are avoided where they are dear");
    let refused = with(&base, &["--rounds", "2", "--resume"]);
    assert_eq!(refused.status, 2);
    assert!(
        refused.stderr.contains("another sweep; other constants choose its kernels"),
        "{}",
        refused.stderr
    );
    assert_eq!(with(&given, &["--rounds", "2", "--resume"]).status, 0);
}

#[test]
fn the_shipped_sweeps_can_be_run() {
    let mut names: Vec<String> = std::fs::read_dir("specs/sweeps")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let points = |name: &String| {
        let plan = format!("specs/sweeps/{name}");
        let found = dry(&[&plan, "--set", "size=71"]);
        assert!(found["sweep"]["question"].is_string(), "{name} says what it is to answer");
        (name.trim_end_matches(".yaml").to_owned(), labels(&found).len())
    };
    let found: Vec<(String, usize)> = names.iter().map(points).collect();
    let found: Vec<(&str, usize)> = found.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected = [
        ("inception_points", 4),
        ("intermediate_activation", 9),
        ("order_of_parts", 6),
        ("residuals", 6),
        ("segments_per_flow", 15),
        ("xception_spectrum", 16),
    ];
    assert_eq!(found, expected);
    assert!(
        output(&["sweep", "specs/sweeps/residuals.yaml", "--set", "size=71", "--dry-run"])
            .contains("Residual")
    );
}
