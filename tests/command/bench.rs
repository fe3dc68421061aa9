//! `xcc bench`: that its figures fit together. What they are is the machine's affair.

use crate::harness::{TINY, json, output, run};

const BENCH: [&str; 8] = ["bench", TINY, "--seed", "1", "--iters", "7", "--warmup", "0"];

#[test]
fn figures_fit_together() {
    let found = json(&[&BENCH[..], &["--json", "--batch", "2", "--threads", "2"]].concat());
    let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{key}: {}", found[key]));
    let mut times: Vec<f64> =
        found["times_ms"].as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
    assert_eq!(times.len(), 7);
    times.sort_by(f64::total_cmp);
    assert_eq!([number("min_ms"), number("median_ms")], [times[0], times[3]]);
    assert!(times[0] <= number("p5_ms") && number("p95_ms") <= times[6]);
    let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} and {b}");
    close(number("gflops"), 2.0 * 2.0 * number("macs") / number("median_ms") / 1e6);
    assert!(number("peak_gflops") > 0.0);
    close(number("peak_share"), number("gflops") / number("peak_gflops"));
    assert!(number("load_ms") > 0.0 && number("compile_ms") > 0.0);
    assert!(found["peak_rss_mb"].as_f64().is_none_or(|size| size > 1.0));
    assert_eq!((&found["batch"], &found["threads"], &found["seed"]), (&2.into(), &2.into(), &1.into()));
    assert_eq!(found["parameters"]["segments"], "full");
    assert!(found.get("steps").is_none());
}

#[test]
fn steps_share_the_time() {
    let found = json(&[&BENCH[..], &["--json", "--steps"]].concat());
    let steps = found["steps"].as_array().unwrap();
    let share: f64 = steps.iter().map(|step| step["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-6, "{share}");
    assert_eq!(steps.last().unwrap()["layer"], "predictions");
}

#[test]
fn text_shows_the_figures_and_the_layers() {
    let said = output(&[&BENCH[..], &["--steps"]].concat());
    for part in
        ["tiny: compiled for ", "median", "GFLOP/s", "runs by milliseconds", "time by layer", "avg_pool"]
    {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let reference = output(&[&BENCH[..], &["--backend", "reference"]].concat());
    assert!(reference.starts_with("tiny: reference evaluator"), "{reference}");
}

#[test]
fn no_runs_is_a_mistake() {
    let ran = run(&["bench", TINY, "--iters", "0"]);
    assert_eq!((ran.status, ran.stderr.lines().count()), (2, 1), "{}", ran.stderr);
}

#[test]
fn a_command_line_of_run_can_be_timed() {
    let arguments = [&BENCH[..], &["--tap", "pool", "--top", "3", "--output", "y.npy", "--json"]].concat();
    let found = run(&arguments);
    assert_eq!(found.status, 0, "{}", found.stderr);
    assert!(found.stderr.contains("note: --top changes nothing here"), "{}", found.stderr);
    assert!(!std::path::Path::new("y.npy").exists());
    let [part, whole] = [&found.stdout, &output(&[&BENCH[..], &["--json"]].concat())]
        .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap()["macs"].as_u64().unwrap());
    assert!(part < whole, "{part} multiply-adds to the pool, {whole} in all");
}
