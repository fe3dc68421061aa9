//! `xcc run`: images and arrays in, classes and arrays out.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use tempfile::TempDir;
use xcc_runtime::npy;

use crate::harness::{Ran, TINY, assert_text, json, output, run, run_with_input, transcript};

const TEXTURE: &str = "tests/golden/texture_71.png";

/// A folder with files for one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Images of the size of tests/command/tiny.xc, all different.
    fn images(&self, count: u8) -> Vec<String> {
        let image = |number: u8| {
            let name = format!("{number}.png");
            let pixel =
                |x: u32, y: u32| Rgb([number * 40, (x as u8 * 30).wrapping_add(number), y as u8 * 31]);
            RgbImage::from_fn(8, 8, pixel).save(self.path(&name)).unwrap();
            self.text(&name)
        };
        (0..count).map(image).collect()
    }

    fn array(&self, shape: &[u64], value: impl Fn(usize) -> f32) -> String {
        let count: u64 = shape.iter().product();
        let values: Vec<f32> = (0..count as usize).map(value).collect();
        npy::write(&self.path("x.npy"), shape, &values).unwrap();
        self.text("x.npy")
    }
}

/// Runs tests/command/tiny.xc with random weights and returns the array written.
fn result(files: &Files, arguments: &[&str]) -> npy::Array {
    let path = files.text("y.npy");
    output(&[&["run", TINY, "--seed", "1", "--output", &path], arguments].concat());
    npy::read(Path::new(&path)).unwrap()
}

fn strings(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(0f32, |scale, x| scale.max(x.abs()));
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance * scale, "{x} and {y}");
    }
}

#[test]
fn classes_are_shown_with_labels_and_bars() {
    let cases: [&[&str]; 4] = [
        &["run", TINY, TEXTURE, "--seed", "1", "--top", "2"],
        &["run", TINY, TEXTURE, TEXTURE],
        &["run", TINY, TEXTURE, "--seed", "1", "--tap", "pool"],
        &["run", TINY, TEXTURE, "--seed", "1", "--tap", "avg_pool", "--threads", "2"],
    ];
    let transcripts: Vec<String> = cases.iter().map(|arguments| transcript(arguments)).collect();
    assert_text("command/run.out", &transcripts.join("\n"));
}

#[test]
fn batches_and_threads_change_no_bit() {
    let files = Files::new();
    let images = files.images(5);
    let images = strings(&images);
    let expected = result(&files, &images);
    assert_eq!(expected.shape, [5, 3]);
    let ones = expected.values.chunks(3).map(|classes| classes.iter().sum::<f32>());
    assert!(ones.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{expected:?}");
    assert_ne!(expected.values[..3], expected.values[3..6]);
    for threads in ["1", "2", "3", "4"] {
        for batch in ["1", "2", "3", "7"] {
            let found = result(&files, &[&images[..], &["--threads", threads, "--batch", batch]].concat());
            assert_eq!(found, expected, "{threads} threads, batch {batch}");
        }
    }
}

#[test]
fn arrays_are_taken_as_they_are_and_images_as_the_spec_says() {
    let files = Files::new();
    let images = files.images(1);
    let pixels = image::open(&images[0]).unwrap().into_rgb8().into_raw();
    let array = files.array(&[1, 8, 8, 3], |index| f32::from(pixels[index]) / 255.0);
    let from_array = result(&files, &["--input", &array]);
    close(&result(&files, &[&images[0]]).values, &from_array.values, 1e-6);
    let single = files.array(&[8, 8, 3], |index| f32::from(pixels[index]) / 255.0);
    assert_eq!(result(&files, &["--input", &single]), from_array);
}

#[test]
fn the_reference_backend_agrees() {
    let files = Files::new();
    let images = files.images(3);
    let images = [&strings(&images)[..], &["--batch", "2"]].concat();
    let compiled = result(&files, &images);
    let reference = result(&files, &[&images[..], &["--backend", "reference"]].concat());
    assert_eq!(compiled.shape, reference.shape);
    close(&reference.values, &compiled.values, 1e-5);
}

#[test]
fn any_layer_can_be_tapped() {
    let files = Files::new();
    let images = files.images(2);
    let graph = xcc_compiler::elaborate::read(&std::fs::read_to_string(TINY).unwrap(), &[]).graph.unwrap();
    for layer in &graph.layers {
        let arguments = [&strings(&images)[..], &["--tap", &layer.name]].concat();
        let compiled = result(&files, &arguments);
        let reference = result(&files, &[&arguments[..], &["--backend", "reference"]].concat());
        assert_eq!(compiled.shape, reference.shape, "{}", layer.name);
        assert_eq!(compiled.shape[0], 2);
        close(&reference.values, &compiled.values, 1e-5);
    }
}

#[test]
fn json_is_one_object() {
    let files = Files::new();
    let images = files.images(2);
    let arguments = ["run", TINY, &images[0], &images[1], "--seed", "9", "--json", "--threads", "1"];
    let found = json(&arguments);
    assert_eq!(found, json(&arguments), "nothing in it depends on time");
    let expected = serde_json::json!({
        "model": "tiny", "layer": "predictions", "backend": "cpu", "batch": 1, "threads": 1,
        "weights": null, "seed": 9, "output_shape": [2, 3], "output": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&found[key], value, "{key}");
    }
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let best = &results[1]["top"][0];
    assert_eq!(
        (&results[1]["input"], results[1]["top"].as_array().unwrap().len()),
        (&images[1].as_str().into(), 1)
    );
    let class = best["class"].as_u64().unwrap() as usize;
    assert_eq!(best["label"], ["no", "perhaps", "yes"][class]);
    assert!(best["value"].as_f64().unwrap() > 1.0 / 3.0);
    let array = files.array(&[2, 8, 8, 3], |_| 0.5);
    let map = json(&["run", TINY, "--seed", "9", "--json", "--input", &array, "--tap", "pool"]);
    let results = &map["results"];
    assert_eq!((&results[0]["input"], &results[1]["input"]), (&"0".into(), &"1".into()));
    assert!(results[0]["min"].as_f64() <= results[0]["mean"].as_f64());
    assert!(results[0]["mean"].as_f64() <= results[0]["max"].as_f64());
}

#[test]
fn strange_numbers_are_told_of_and_do_no_harm() {
    let files = Files::new();
    for strange in [f32::NAN, f32::INFINITY] {
        let array = files.array(&[8, 8, 3], |index| if index == 40 { strange } else { 0.25 });
        let arguments = ["run", TINY, "--seed", "1", "--input", &array, "--tap", "stem"];
        let Ran { status, stdout, stderr } = run(&arguments);
        assert_eq!(status, 0, "{stderr}");
        assert!(stderr.starts_with("note: ") && stderr.ends_with("are NaN or infinite\n"), "{stderr}");
        assert_eq!(run(&arguments).stdout, stdout);
    }
}

/// An array of bytes: this version of the format, this type, this shape.
fn bytes_array(files: &Files, shape: &str, bytes: &[u8]) -> String {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}");
    let mut content = b"\x93NUMPY\x01\x00".to_vec();
    content.extend((header.len() as u16).to_le_bytes());
    content.extend(header.as_bytes());
    content.extend(bytes);
    std::fs::write(files.path("bytes.npy"), content).unwrap();
    files.text("bytes.npy")
}

#[test]
fn bytes_in_another_range_than_the_specs_are_noted() {
    let files = Files::new();
    let array = bytes_array(&files, "(8, 8, 3)", &[7; 192]);
    let found = run(&["run", TINY, "--seed", "1", "--input", &array]);
    let expected = format!(
        "note: {array} holds bytes, which are taken as 0 to 255; images are scaled to 0 to 1, arrays are not\n"
    );
    assert_eq!((found.status, found.stderr), (0, expected));
    let source = std::fs::read_to_string(TINY).unwrap().replace("labels:", "range: 0 .. 255, labels:");
    let found = run_with_input(&["run", "-", "--seed", "1", "--input", &array], &source);
    assert_eq!((found.status, found.stderr.as_str()), (0, ""));
}

#[test]
fn more_inputs_than_a_run_takes_are_not_verified() {
    let files = Files::new();
    let array = bytes_array(&files, "(4097, 8, 8, 3)", &[0; 4097 * 192]);
    let found = run(&["verify", TINY, "--input", &array]);
    assert_eq!(found.status, 2);
    assert!(found.stderr.contains("4097 inputs are more than the 4096"), "{}", found.stderr);
}

/// Values of a terabyte are refused before any memory is taken: of images that two threads run
/// together, since their number is odd, and of what is returned.
#[test]
fn a_batch_without_memory_says_how_to_need_less() {
    let source = "model large\ninput image 64 x 64 x 1\nconv 16384, 1x1\n";
    let pooled = format!("{source}globalavgpool\n");
    for (source, batch, threads) in [(pooled.as_str(), "4095", "2"), (source, "4096", "1")] {
        let batched = ["bench", "-", "--seed", "0", "--batch", batch, "--threads", threads];
        let found = run_with_input(&batched, source);
        assert_eq!(found.status, 2, "{}", found.stdout);
        let parts = [
            "error: the network needs ",
            &format!(" bytes for its values at batch {batch}"),
            " TiB are too much",
            "`--batch`",
        ];
        assert!(parts.iter().all(|part| found.stderr.contains(part)), "{}", found.stderr);
    }
}

#[test]
fn weights_beside_the_spec_are_used() {
    let files = Files::new();
    let (spec, weights) = (files.text("mine.xc"), files.text("mine.safetensors"));
    std::fs::copy(TINY, &spec).unwrap();
    output(&["convert", "runtime/tests/fixtures/weights/keras3.keras", &weights, "--spec", TINY]);
    let found = run(&["run", &spec, TEXTURE]);
    assert_eq!(found.stderr, format!("note: weights are those of {weights}\n"));
    assert_eq!(found.stdout, output(&["run", &spec, TEXTURE, "--weights", &weights]));
    assert_ne!(found.stdout, output(&["run", &spec, TEXTURE, "--seed", "0"]));
    let edited = run(&["run", &spec, TEXTURE, "--set", "segments=1"]);
    assert_eq!(edited.status, 2);
    assert!(edited.stderr.ends_with("with `--seed 0` the weights are random\n"), "{}", edited.stderr);
}

#[test]
fn labels_can_be_given() {
    let files = Files::new();
    std::fs::write(files.path("names.txt"), "ant\nbee\ncow\n").unwrap();
    let names = files.text("names.txt");
    let said = output(&["run", TINY, TEXTURE, "--seed", "1", "--labels", &names]);
    assert!(["ant", "bee", "cow"].iter().all(|name| said.contains(name)), "{said}");
    std::fs::write(files.path("names.txt"), "ant\nbee\n").unwrap();
    let Ran { status, stderr, .. } = run(&["run", TINY, TEXTURE, "--labels", &names]);
    assert_eq!(status, 2);
    assert_eq!(stderr, format!("error: 2 labels in {names}, but the network has 3 classes\n"));
}

#[test]
fn a_spec_from_standard_input_is_run() {
    let source = std::fs::read_to_string(TINY).unwrap();
    let found = run_with_input(&["run", "-", TEXTURE, "--seed", "1"], &source);
    assert_eq!(found.stdout, output(&["run", TINY, TEXTURE, "--seed", "1"]));
}

#[test]
fn bad_inputs_are_one_line_and_status_2() {
    let cases: [&[&str]; 12] = [
        &["run", TINY],
        &["run", TINY, TEXTURE, "--input", "x.npy"],
        &["run", TINY, "tests/nowhere.png"],
        &["run", TINY, TINY],
        &["run", TINY, "--input", TEXTURE],
        &["run", TINY, "--input", "tests/golden/xception_71_logits.npy"],
        &["run", TINY, TEXTURE, "--tap", "sep3"],
        &["run", TINY, TEXTURE, "--threads", "0"],
        &["run", TINY, TEXTURE, "--top", "0"],
        &["run", TINY, TEXTURE, "--seed", "abc"],
        &["run", TINY, TEXTURE, "--seed", "1", "--output", "tests/nowhere/y.npy"],
        &["run", TINY, TEXTURE, "--weights", TEXTURE],
    ];
    let transcripts: Vec<String> = cases.iter().map(|arguments| transcript(arguments)).collect();
    for arguments in cases {
        let Ran { status, stdout, stderr } = run(arguments);
        assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{arguments:?}: {stderr}");
    }
    assert_text("command/run_errors.out", &transcripts.join("\n"));
}
