//! `xcc profile`: that its figures fit together and agree with the plan.

use serde_json::Value;
use xcc_compiler::target::{Bf16Unit, Target};

use crate::harness::{TINY, json, keys_in_help, number, output, run, times_of_pairs};

const PROFILE: [&str; 8] = ["profile", TINY, "--seed", "1", "--iters", "7", "--warmup", "0"];

/// The objects of an array.
fn objects<'a>(found: &'a Value, key: &str) -> &'a [Value] {
    found[key].as_array().unwrap()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * a.abs().max(b.abs()), "{a} and {b}");
}

fn profile(more: &[&str]) -> Value {
    json(&[&PROFILE[..], &["--json"], more].concat())
}

#[test]
fn shares_of_steps_and_the_rest_are_one() {
    let found = profile(&["--threads", "2"]);
    for parts in ["steps", "families"] {
        let parts = objects(&found, parts).iter().chain([&found["between"]]);
        close(parts.map(|part| number(part, "share")).sum(), 1.0);
    }
    let times = |key: &str| objects(&found, key).iter().map(|part| number(part, "ms")).sum::<f64>();
    close(times("steps"), times("families"));
    close(number(&found["steps"][0], "share") / number(&found["steps"][0], "ms"), {
        1.0 / (times("steps") + number(&found["between"], "ms"))
    });
}

/// Checks the figures of all steps, and gives the multiply-adds that are done by tiles and those
/// that are not.
fn check_steps(found: &Value) -> [f64; 2] {
    let [peak, f32_peak] = ["peak_gflops", "f32_peak_gflops"].map(|key| number(found, key));
    let [bandwidth, of_weights] = ["bandwidth_gbs", "weights_bandwidth_gbs"].map(|key| number(found, key));
    let mut sums = [0.0; 2];
    for step in objects(found, "steps") {
        let number = |key: &str| number(step, key);
        assert!(number("p5_ms") <= number("ms") && number("ms") <= number("p95_ms"), "{step}");
        let tiles = number("tile_macs");
        let others = number("macs") - number("saved_macs") - tiles;
        sums = [sums[0] + tiles, sums[1] + others];
        let compute = (2.0 * tiles / peak).max(2.0 * others / f32_peak) / 1e6;
        let weights = number("weight_bytes");
        let memory = ((number("bytes") - weights) / bandwidth + weights / of_weights) / 1e6;
        close(number("bound_ms"), compute.max(memory));
        let expected = match () {
            () if number("ms") > 2.0 * compute.max(memory) => "overhead",
            () if compute >= memory => "compute",
            () => "memory",
        };
        assert_eq!(step["bound"], expected, "{step}");
        match step["macs"].as_u64() {
            Some(0) => assert!(step["gflops"].is_null() && step["peak_share"].is_null(), "{step}"),
            _ => {
                close(number("gflops"), 2.0 * number("macs") / number("ms") / 1e6);
                close(number("peak_share"), compute / number("ms"));
            }
        }
    }
    sums
}

#[test]
fn weights_that_no_cache_may_hold_have_a_bandwidth_of_their_own() {
    let profile = |more: &[&str]| {
        let spec = [
            "profile",
            "specs/vgg_separable.xc",
            "--set",
            "size=32",
            "--seed",
            "1",
            "--threads",
            "1",
            "--iters",
            "3",
        ];
        let arguments = [&spec[..], more].concat();
        (json(&[&arguments[..], &["--json"]].concat()), output(&arguments))
    };
    let (large, text) = profile(&["--set", "classes=12000"]);
    check_steps(&large);
    assert_ne!(large["bandwidth_gbs"], large["weights_bandwidth_gbs"]);
    assert!(text.contains("\nof weights "), "{text}");
    let (small, text) = profile(&["--set", "classes=10"]);
    assert_eq!(small["bandwidth_gbs"], small["weights_bandwidth_gbs"]);
    assert!(!text.contains("of weights"), "{text}");
}

#[test]
fn each_step_has_the_speed_and_bound_that_its_figures_say() {
    let found = profile(&["--batch", "3"]);
    assert_eq!(found["peak_gflops"], found["f32_peak_gflops"]);
    assert_eq!(check_steps(&found)[0], 0.0, "small layers are not computed by tiles in f32");
}

#[test]
fn steps_are_bounded_by_the_peak_of_what_computes_them() {
    // A matrix unit does 8 times as much in a cycle as two vector units of 16 lanes; it may be
    // slowed down to half. In f32, tiles are for large layers.
    let (cases, speed) = match Target::native().bf16_unit() {
        Some(Bf16Unit::Tiles) => (vec![("bf16", 1.0), ("split", 3.0), ("f32", 6.0)], 2.0..20.0),
        // Where products of pairs are slow, no layer has them.
        Some(Bf16Unit::Pairs) if times_of_pairs() > 1.3 => (vec![("bf16", 1.0)], 1.3..2.6),
        Some(Bf16Unit::Pairs) => (Vec::new(), 1.0..1.0),
        None => (Vec::new(), 1.0..1.0),
    };
    if cases.len() < 3 {
        eprintln!("skipped: peaks of split and of f32 by tiles, since this machine has no amx");
    }
    let network = ["specs/xception.xc", "--set", "size=96", "--set", "repeats=1", "--seed", "1"];
    for (precision, products) in cases {
        let options = ["--precision", precision, "--threads", "1", "--iters", "10", "--json"];
        let found = json(&[&["profile"], &network[..], &options].concat());
        let [tiles, others] = check_steps(&found);
        // In split, layers of few pixels wait for weights of as many bytes as in f32, which they
        // take then.
        let least = match precision {
            "f32" => 0.0,
            "split" => 4.0 * others,
            _ => 10.0 * others,
        };
        assert!(tiles > least && others > 0.0, "{tiles} by tiles, {others} in vectors");
        let times = number(&found, "peak_gflops") * products / number(&found, "f32_peak_gflops");
        assert!(speed.contains(&times), "{precision} products are {times} times as fast as f32");
        for step in objects(&found, "steps").iter().filter(|step| !step["peak_share"].is_null()) {
            let share = number(step, "peak_share");
            // Peaks are medians of a machine whose speed drifts: a step may be faster for a while.
            assert!(share > 0.0 && share < 1.5, "{precision}: {step}");
        }
    }
}

#[test]
fn steps_have_the_work_of_the_network() {
    let summary = json(&["summary", TINY, "--json"]);
    let macs: u64 =
        objects(&profile(&["--batch", "3"]), "steps").iter().map(|s| s["macs"].as_u64().unwrap()).sum();
    assert_eq!(Some(macs), summary["totals"]["macs"].as_u64().map(|macs| macs * 3));
    let found = profile(&["--target", "baseline"]);
    let pool = objects(&found, "steps").iter().find(|step| step["layer"] == "pool").unwrap();
    // 6 x 6 x 6 values to 3 x 3 x 6 of 4 bytes, and no weights.
    assert_eq!(pool["bytes"], (6 * 6 * 6 + 3 * 3 * 6) * 4);
}

#[test]
fn kernels_are_those_of_the_plan() {
    let plan = output(&["emit", "--stage", "plan", TINY, "--threads", "1"]);
    let found = profile(&["--threads", "1"]);
    for step in objects(&found, "steps") {
        let kernels = objects(step, "kernels");
        close(kernels.iter().map(|kernel| number(kernel, "instructions")).sum(), 1.0);
        let shares: Vec<f64> = kernels.iter().map(|kernel| number(kernel, "instructions")).collect();
        assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
        for kernel in kernels {
            let [number, name] = ["kernel", "name"].map(|key| kernel[key].as_str().unwrap());
            assert!(plan.contains(&format!("{number} = {name}\n")), "{kernel} is not in\n{plan}");
            assert!(kernel["calls"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn steps_come_as_they_run_or_by_time() {
    let column = |found: &Value, key: &str| -> Vec<f64> {
        objects(found, "steps").iter().map(|step| number(step, key)).collect()
    };
    let found = profile(&[]);
    let in_order: Vec<f64> = (0..objects(&found, "steps").len()).map(|step| step as f64).collect();
    assert_eq!(column(&found, "step"), in_order);
    assert_eq!(found["steps"][0]["layer"], "stem");
    let by_time = profile(&["--sort", "time"]);
    assert!(column(&by_time, "ms").is_sorted_by(|a, b| a >= b), "{by_time}");
    let mut steps = column(&by_time, "step");
    steps.sort_by(f64::total_cmp);
    assert_eq!(steps, in_order);
}

#[test]
fn json_has_the_keys_that_help_names() {
    let found = profile(&[]);
    let expected = [
        "backend",
        "bandwidth_gbs",
        "batch",
        "between",
        "f32_peak_gflops",
        "families",
        "features",
        "median_ms",
        "model",
        "parameters",
        "peak_gflops",
        "precision",
        "processor",
        "seed",
        "steps",
        "target",
        "threads",
        "times_ms",
        "warmup",
        "weights",
        "weights_bandwidth_gbs",
    ];
    assert_eq!(keys_in_help("profile", &found), expected);
    let step = &found["steps"][0];
    let expected = [
        "bound",
        "bound_ms",
        "bytes",
        "gflops",
        "kernels",
        "layer",
        "macs",
        "ms",
        "p5_ms",
        "p95_ms",
        "peak_share",
        "saved_macs",
        "share",
        "step",
        "tile_macs",
        "weight_bytes",
    ];
    assert_eq!(keys_in_help("profile", step), expected);
    assert_eq!(keys_in_help("profile", &step["kernels"][0]), ["calls", "instructions", "kernel", "name"]);
    assert_eq!(keys_in_help("profile", &found["families"][0]), ["family", "gflops", "ms", "share", "steps"]);
    assert_eq!(keys_in_help("profile", &found["between"]), ["ms", "share"]);
}

#[test]
fn text_is_a_table_in_100_columns() {
    let said = output(&PROFILE);
    for part in ["tiny: compiled for ", "bandwidth", "stem", "reached", "kinds of kernels", "between steps"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
}

#[test]
fn the_reference_evaluator_has_no_steps() {
    let ran = run(&[&PROFILE[..], &["--backend", "reference"]].concat());
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("--backend cpu"), "{}", ran.stderr);
}

/// The lines of the map that a command writes.
#[cfg(unix)]
fn perf_map(arguments: &[&str]) -> Vec<String> {
    let ran = run(&[arguments, &["--perf-map", "--threads", "1"]].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let (note, path) = ran.stderr.trim_end().rsplit_once(' ').unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert!(note.contains(&format!(" {} functions ", lines.len())), "{note}\n{text}");
    lines
}

#[test]
#[cfg(unix)]
fn a_perf_map_names_all_functions() {
    let plan = output(&["emit", "--stage", "plan", TINY, "--threads", "1"]);
    let kernels =
        plan.lines().filter(|line| line.starts_with('k')).filter_map(|line| line.split(" = ").nth(1));
    let names: Vec<&str> = kernels.chain(["run", "driver_0"]).collect();
    let image = "examples/digits/0_006.png";
    for arguments in [&PROFILE[..], &["run", TINY, "--seed", "1", image]] {
        let lines = perf_map(arguments);
        let mut end = 0;
        for line in &lines {
            let [address, size] = [0, 1].map(|part| line.split(' ').nth(part).unwrap());
            let [address, size] = [address, size].map(|number| usize::from_str_radix(number, 16).unwrap());
            assert!(address >= end && size > 0, "{line} overlaps the line before");
            end = address + size;
        }
        for name in &names {
            let named = |line: &String| line.ends_with(&format!(" {name}"));
            assert!(lines.iter().any(named), "{name} is not in\n{lines:#?}");
        }
    }
}
