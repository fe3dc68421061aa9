//! `xcc graph`: pictures, DOT text, and ONNX files that onnxruntime runs to the same result.

use std::path::{Path, PathBuf};
use std::process::Command;

use xcc_compiler::graph::Activation;

use crate::harness::{Ran, TINY, assert_text, output, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn pictures_are_the_same_each_time() {
    assert_text("command/graph_tiny.svg", &output(&["graph", TINY, "-o", "-", "--format", "svg"]));
    assert_text("command/graph_tiny.dot", &output(&["graph", TINY, "-o", "-", "--format", "dot"]));
}

/// Figure 5 of the paper: three flows, the middle one drawn once.
#[test]
fn a_picture_has_what_a_reader_of_the_paper_looks_for() {
    let picture = output(&["graph", "specs/xception.xc", "-o", "-", "--format", "svg"]);
    for text in [
        "Entry flow",
        "Middle flow",
        "Exit flow",
        "repeated 8 times",
        "19x19x728 feature maps",
        "299x299x3 images",
    ] {
        assert!(picture.contains(text), "{text}");
    }
    // In the entry, middle and exit flow; steps of two are those of the first convolution, of
    // shortcuts and of pools.
    let count = |needle: &str| picture.matches(needle).count();
    assert_eq!(count("\nSeparableConv "), 6 + 3 + 4);
    assert_eq!((count("stride 2\n"), count("\nMaxPooling 3x3")), (1 + 4 + 4, 4));
    let stages = output(&["graph", "specs/resnet50.xc", "-o", "-", "--format", "svg"]);
    for name in ["\nStem\n", "\nStages\n", "\nStages (continued)\n"] {
        assert!(stages.contains(name), "only the paper's flows are called so: {name}");
    }
    let cut = output(&["graph", "specs/xception.xc", "-o", "-", "--format", "svg", "--set", "segments=3"]);
    assert!(cut.contains("3 segments of 243, 243, 242"), "segments are told");
}

/// Each case: arguments behind the spec, and what standard error says.
#[test]
fn what_cannot_be_drawn_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (unknown, svg) = (path("tiny.pdf"), path("tiny.svg"));
    let cases: [(&[&str], &str); 4] = [
        (&["-o", &unknown], "what is to be written? Endings are .svg, .dot, .onnx; `--format` says it, too"),
        (&["-o", "no/such/folder/x.svg"], "no/such/folder/x.svg: there is no folder no/such/folder"),
        (&["-o", &svg, "--seed", "1"], "only ONNX files have weights"),
        (&["-o", &path("x.onnx"), "--weights", "nowhere.h5"], "nowhere.h5: No such file"),
    ];
    for (arguments, expected) in cases {
        let Ran { status, stdout, stderr } = run(&[&["graph", TINY], arguments].concat());
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Starts a Python that finds onnxruntime and numpy, in the folder of `XCC_PACKAGES` too.
fn python() -> Command {
    let packages = std::env::var_os("XCC_PACKAGES").expect("`cargo xtask check-packages` sets XCC_PACKAGES");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", Path::new(&packages).join("onnxruntime"));
    command
}

/// What onnxruntime makes of a model: the largest difference from expected outputs, relative to
/// the largest of them.
const COMPARE: &str = "
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
inputs, expected = numpy.load(sys.argv[2]), numpy.load(sys.argv[3])
found = session.run(None, {session.get_inputs()[0].name: inputs})[0]
assert found.shape == expected.shape, (found.shape, expected.shape)
print(abs(found - expected).max() / abs(expected).max())
";

/// Every operation, with uneven segments in both parts of the language that have them.
const ALL: &str = "\
model all
input image 17 x 19 x 8
default conv, sepconv, depthwise { padding: same }
conv 12, 3x3, strides: 2, segments: 4 as a; bn; relu6
sepconv 20, 3x5, segments: 3, activation_between: elu as b
residual { depthwise 3x3, segments: [6, 6, 5, 3], dilation: 2 as c; elu; conv 20, 1x1, segments: 3, bias: yes } shortcut { bn scale: no, center: no }
concat { branch { maxpool 3x3, strides: 2, padding: [1, 0, 0, 1] } branch { avgpool 3x3, strides: 2, padding: [1, 0, 0, 1] }
    branch { sepconv 7, 3x3, strides: 2, padding: [1, 0, 0, 1], order: pointwise_first, segments: 2; sigmoid } } as j
add { branch {} branch { relu } branch { elu } }
dropout 0.5
concat { branch { globalavgpool } branch { globalmaxpool } branch { flatten } }
dense 9, activation: softmax";

/// Every activation function, side by side.
fn functions() -> String {
    let branch = |function: &Activation| {
        format!("    branch {{ conv 5, 1x1, activation: {} }}\n", function.traits().word)
    };
    let branches: String = Activation::ALL.iter().map(branch).collect();
    format!(
        "model functions\ninput image 9 x 9 x 5, range: -8..8\nconcat {{\n{branches}\
         branch {{ leaky_relu slope: 0.01 }} branch {{ silu }} }}\nconv 8, 1x1\n"
    )
}

#[test]
#[ignore = "needs onnxruntime, see `cargo xtask check-packages`"]
fn onnxruntime_computes_what_xcc_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("all.xc"), ALL).unwrap();
    let all = path("all.xc").to_str().unwrap().to_owned();
    std::fs::write(path("functions.xc"), functions()).unwrap();
    let functions = path("functions.xc").to_str().unwrap().to_owned();
    let cases: [(&str, &[&str]); 8] = [
        (&all, &["--seed", "1"]),
        (&functions, &["--seed", "1"]),
        ("specs/digits.xc", &[]),
        (TINY, &["--seed", "2", "--set", "segments=3"]),
        ("specs/xception.xc", &["--seed", "3", "--set", "size=71", "--set", "segments=3"]),
        ("specs/inception_v3.xc", &["--seed", "4", "--set", "size=75"]),
        ("specs/mobilenet.xc", &["--seed", "5", "--set", "size=64"]),
        (
            "specs/inception_module.xc",
            &["--seed", "6", "--set", "size=9", "--set", "figure=3", "--set", "towers=3"],
        ),
    ];
    for (spec, arguments) in cases {
        let (model, input, expected) = (path("model.onnx"), path("input.npy"), path("expected.npy"));
        let exported = run(&[&["graph", spec, "-o", text(&model)], arguments].concat());
        assert_eq!(exported.status, 0, "{spec}: {}", exported.stderr);
        write_inputs(&input, spec, arguments);
        let files = ["--input", text(&input), "--output", text(&expected)];
        let ran = run(&[&["run", spec], arguments, &files[..]].concat());
        assert_eq!(ran.status, 0, "{spec}: {}", ran.stderr);
        let compared = python().args(["-c", COMPARE]).args([&model, &input, &expected]).output().unwrap();
        let said = String::from_utf8_lossy(&compared.stderr);
        assert!(compared.status.success(), "{spec}: {said}");
        let difference: f64 = String::from_utf8_lossy(&compared.stdout).trim().parse().unwrap();
        assert!(difference < 1e-4, "{spec}: {difference}");
    }
}

/// Two images of numbers from -1 to 1 as an array for the network's input.
fn write_inputs(path: &Path, spec: &str, arguments: &[&str]) {
    let settings: Vec<&str> = arguments.iter().copied().skip_while(|argument| *argument != "--set").collect();
    let summary = crate::harness::json(&[&["summary", spec, "--json"], &settings[..]].concat());
    let shape: Vec<u64> =
        crate::harness::numbers(&summary["input_shape"]).iter().map(|&n| n as u64).collect();
    let extents: Vec<String> = [2].iter().chain(&shape).map(u64::to_string).collect();
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", extents.join(", "));
    // Numbers start at a multiple of 64 bytes; 10 come before the header and an end of line after
    // it.
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let elements = 2 * shape.iter().product::<u64>();
    let value = |n: u64| (n.wrapping_mul(2_654_435_761) % 2001) as f32 / 1000.0 - 1.0;
    bytes.extend((0..elements).flat_map(|n| value(n).to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}
