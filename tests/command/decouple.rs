//! `xcc decouple`: weights carried to other segments.

use std::path::Path;

use xcc_compiler::graph::Graph;
use xcc_runtime::weights::{Weights, load, save_safetensors};

use crate::harness::{json, keys_in_help, number, output, run};

const SPEC: &str = "\
model carried
param segments = full in 1..full
param kind = cut in [whole, cut]
input image 12 x 12 x 6
default conv, sepconv { padding: same }
conv 8, 3x3 as stem; relu
if kind == whole { conv 10, 3x3 as body } else { sepconv 10, 3x3, segments: min(segments, channels), multiplier: 3 as body }
bn as norm
globalavgpool
dense 4 as head";

fn graph(settings: &[(&str, &str)]) -> Graph {
    let settings: Vec<(String, String)> =
        settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    xcc_compiler::elaborate::read(SPEC, &settings).graph.unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A regular convolution, carried to more and more segments, is less and less itself; with as many
/// terms as taps even a segment for each channel is exact.
#[test]
fn a_regular_convolution_becomes_a_separable_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    std::fs::write(path("carried.xc"), SPEC).unwrap();
    let whole = graph(&[("kind", "whole")]);
    save_safetensors(&whole, &Weights::random(&whole, 1), Path::new(&path("dense.safetensors"))).unwrap();
    let [spec, dense, out] = ["carried.xc", "dense.safetensors", "out.safetensors"].map(path);
    let mut errors = Vec::new();
    for segments in ["1", "2", "4", "8"] {
        let setting = format!("segments={segments}");
        let arguments =
            ["decouple", &spec, "--weights", &dense, "--from", "kind=whole", "--set", &setting, "-o", &out];
        let report = json(&[&arguments[..], &["--json"]].concat());
        keys_in_help("decouple", &report);
        keys_in_help("decouple", &report["layers"][0]);
        assert_eq!((&report["copied"], report["layers"].as_array().unwrap().len()), (&9.into(), 1));
        assert_eq!(report["layers"][0]["name"], "body");
        errors.push(number(&report["layers"][0], "error"));
        let cut = graph(&[("segments", segments)]);
        load(&cut, Path::new(&out), None).unwrap();
        assert!(output(&arguments).contains("body"));
    }
    assert!(errors[0] < 1e-6, "all inputs in a segment say anything: {errors:?}");
    assert!(errors.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9), "{errors:?}");
    assert!(errors[3] < 1.0);
}

#[test]
fn weights_that_do_not_fit_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    std::fs::write(path("carried.xc"), SPEC).unwrap();
    let whole = graph(&[("kind", "whole")]);
    save_safetensors(&whole, &Weights::random(&whole, 1), Path::new(&path("dense.safetensors"))).unwrap();
    let [spec, dense, out] = ["carried.xc", "dense.safetensors", "out.safetensors"].map(path);
    let refused = |arguments: &[&str]| {
        let ran = run(&[&["decouple", &spec, "--weights", &dense, "-o", &out], arguments].concat());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(!Path::new(&out).exists());
        ran.stderr
    };
    let wrong = refused(&["--set", "segments=2"]);
    assert!(wrong.contains("body/depthwise_kernel"), "{wrong}");
    assert!(wrong.contains("read as weights for segments=1; `--from` changes that"), "{wrong}");
    let other = refused(&["--of", "specs/digits.xc"]);
    assert!(other.contains("these weights are not for this network"), "{other}");
    let named = refused(&["--from", "kind=whole", "-o", "out.h5"]);
    assert!(named.contains("cannot be used multiple times"), "{named}");
}
