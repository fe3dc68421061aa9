//! The page of a sweep: that it stands alone, says what the results say, and works in a browser.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svg::node::element::tag::Type;
use svg::parser::Event;

use crate::harness::{TINY, number, output, run};

/// Longest time that a browser may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Results with made-up times, so that the page is the same each time: of point `n`, n + 1
/// milliseconds, and of its steps equal parts of these.
fn fixed() -> Value {
    let text =
        output(&["sweep", TINY, "--over", "segments=1,2,full", "--threads", "1", "--dry-run", "--json", "-"]);
    let mut results: Value = serde_json::from_str(&text).unwrap();
    results["sweep"]["question"] = "What of </script> & <b>such</b>?".into();
    results["sweep"]["target"] = "avx2".into();
    results["machine"] = json!({
        "processor": "A processor", "features": ["avx2"], "cores": 2,
        "roofs": [{"threads": 1, "peak_gflops": 100.0, "bandwidth_gbs": 10.0}]
    });
    for (at, point) in results["points"].as_array_mut().unwrap().iter_mut().enumerate() {
        let ms = (3 - at) as f64;
        let steps: Vec<Value> =
            point["layers"].as_array().unwrap().iter().map(|layer| step(layer, ms)).collect();
        point["steps"] = steps.into();
        point["status"] = "measured".into();
        point["timing"] = json!({
            "compile_ms": 1.0, "rounds": 1, "samples_ms": [ms], "median_ms": ms, "p5_ms": ms * 0.9, "p95_ms": ms * 1.2,
            "gflops": 10.0, "bound_ms": ms / 2.0, "bound_share": 0.5
        });
    }
    results
}

fn step(layer: &Value, ms: f64) -> Value {
    let macs = number(layer, "spatial_macs") + number(layer, "pointwise_macs");
    json!({
        "layer": layer["name"], "class": layer["class"], "macs": macs as u64, "bytes": 1000, "samples_ms": [ms],
        "ms": ms / 4.0, "gflops": macs / ms / 1e6, "bound_ms": ms / 8.0, "bound": "compute", "kernels": []
    })
}

/// The page of these results.
fn page(results: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    std::fs::write(&path, results.to_string()).unwrap();
    output(&["report", path.to_str().unwrap(), "-o", "-"])
}

#[test]
fn rooflines_show_the_peak_of_the_point_s_precision() {
    let mut found = fixed();
    let lines = |results: &Value| {
        let page = page(results);
        [
            "peak of bf16: 1500 GFLOP/s",
            "peak of f32: 100 GFLOP/s",
            "reaches the dashed line",
            "peak: 100 GFLOP/s",
            "peak of f32 by tiles: 250 GFLOP/s",
            "250.0 GFLOP/s in f32 by tiles",
        ]
        .map(|text| page.matches(text).count())
    };
    assert_eq!(lines(&found), [0, 0, 0, 3, 0, 0]);
    found["machine"]["roofs"][0]["bf16_gflops"] = 1500.0.into();
    found["points"][1]["precision"] = "bf16".into();
    assert_eq!(lines(&found), [1, 1, 1, 2, 0, 0]);
    found["points"][0]["steps"][0]["tile_macs"] = 1.into();
    assert_eq!(lines(&found), [1, 2, 2, 1, 1, 1]);
}

#[test]
fn the_page_is_a_function_of_the_results_and_stands_alone() {
    let results = fixed();
    let html = page(&results);
    assert_eq!(html, page(&results));
    let foreign = html.replace("http://www.w3.org/2000/svg", "");
    for address in ["http:", "https:", "//www", " src=", "@import", "url("] {
        assert!(!foreign.contains(address), "{address} leads away from the page");
    }
    assert!(html.contains("What of &lt;/script&gt; &amp; &lt;b&gt;such&lt;/b&gt;?"));
    assert_eq!(html.matches("</script>").count(), 2, "only scripts end scripts");
}

#[test]
fn the_page_shows_every_point_with_its_roofline_and_its_picture() {
    let html = page(&fixed());
    for label in ["segments=1", "segments=2", "segments=full"] {
        assert!(html.contains(&format!("aria-label=\"roofline of {label}\"")), "{label}");
        assert!(html.contains(&format!("<summary>{label}</summary>")), "{label}");
    }
    for title in ["latency (ms)", "speed (GFLOP/s)", "MACs of an image (10⁹)", "parameters (10⁶)"] {
        assert!(html.contains(&format!("aria-label=\"{title} against segments\"")), "{title}");
    }
    assert_eq!(html.matches("<details class=\"choice architecture\"").count(), 3);
    assert_eq!(html.matches("data-layer=").count() % 3, 0, "each picture has the same layers");
    assert!(html.contains("data-layer="));
}

#[test]
fn results_without_times_and_with_bad_points_make_a_page_too() {
    let dry = page(
        &serde_json::from_str(&output(&[
            "sweep",
            "tests/command/strict.xc",
            "--over",
            "segments=1,9",
            "--skip-illegal",
            "--dry-run",
            "--json",
            "-",
        ]))
        .unwrap(),
    );
    assert!(dry.contains("skipped: ") && dry.contains("parameters (10⁶) against segments"));
    assert!(!dry.contains("latency (ms) against"), "there are no latencies");
    let mut broken = fixed();
    ["p5_ms", "median_ms", "p95_ms"].iter().for_each(|key| broken["points"][0]["timing"][key] = 0.0.into());
    broken["points"][1]["cost"] = Value::Null;
    broken["sweep"]["axes"] = json!([]);
    broken["machine"]["roofs"] = json!([]);
    assert!(page(&broken).contains("</html>"));
}

#[test]
fn sweeps_write_the_same_page_as_reports_of_their_results() {
    let folder = tempfile::tempdir().unwrap();
    let [json, html, again] =
        ["a.json", "a.html", "b.html"].map(|name| folder.path().join(name).display().to_string());
    let ran = run(&[
        "sweep",
        TINY,
        "--over",
        "segments=2",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--json",
        &json,
        "--html",
        &html,
    ]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(output(&["report", &json, "-o", &again]), format!("wrote {again}\n"));
    assert!(std::fs::read(&html).unwrap() == std::fs::read(&again).unwrap());
    let refused = run(&["report", TINY]);
    assert_eq!(
        (refused.status, refused.stderr.as_str()),
        (2, "error: tests/command/tiny.xc: is no file of results of a sweep\n")
    );
}

/// The figures of these results, by name.
fn figures(results: &Value) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let [json, figures] = ["a.json", "new/figures"].map(|name| folder.path().join(name));
    std::fs::write(&json, results.to_string()).unwrap();
    let ran = run(&["report", json.to_str().unwrap(), "--figures", figures.to_str().unwrap()]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(!json.with_extension("html").exists(), "nobody asked for a page");
    let entries = std::fs::read_dir(figures).unwrap().map(|entry| entry.unwrap());
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

/// The texts of a figure; every element that is opened is closed.
fn texts_of(figure: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut texts = Vec::new();
    for event in svg::read(figure).unwrap() {
        match event {
            Event::Tag(name, Type::Start, _) => open.push(name),
            Event::Tag(name, Type::End, _) => assert_eq!(open.pop(), Some(name)),
            Event::Text(text) if open.last() == Some(&"text") => texts.push(text.trim().to_owned()),
            Event::Error(error) => panic!("{error}"),
            _ => {}
        }
    }
    assert_eq!(open, [""; 0]);
    texts
}

#[test]
fn figures_are_files_that_stand_alone() {
    let results = fixed();
    let found = figures(&results);
    assert!(found == figures(&results), "the same results make the same files");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected = [
        "latency-by-macs.svg",
        "latency-by-parameters.svg",
        "latency.svg",
        "macs.svg",
        "parameters.svg",
        "roofline-0-segments-1.svg",
        "roofline-1-segments-2.svg",
        "roofline-2-segments-full.svg",
        "speed.svg",
    ];
    assert_eq!(names, expected);
    for (name, figure) in &found {
        let texts = texts_of(figure);
        assert!(
            texts.iter().any(|text| text.starts_with("A processor, avx2, f32, 1 thread, batch 1")),
            "{name}: {texts:?}"
        );
        let foreign = figure.replace("http://www.w3.org/2000/svg", "");
        for other in ["http", "href", "url(", "@import", "class=", "<script", "data-"] {
            assert!(!foreign.contains(other), "{name} needs {other} of a page");
        }
    }
    let latency = texts_of(&found["latency.svg"]);
    for text in ["tiny over segments", "latency (ms)", "segments", "full"] {
        assert!(latency.iter().any(|other| other == text), "{text}: {latency:?}");
    }
}

#[test]
fn figures_say_what_their_marks_mean_and_escape_what_they_say() {
    let mut results = fixed();
    results["sweep"]["name"] = "a < b & c".into();
    let order = json!({"parameter": "order", "values": [{"text": "x", "number": null}, {"text": "y", "number": null}]});
    results["sweep"]["axes"].as_array_mut().unwrap().push(order);
    for (at, point) in results["points"].as_array_mut().unwrap().iter_mut().enumerate() {
        point["settings"]["order"] = ["x", "y", "x"][at].into();
    }
    let found = figures(&results);
    let [latency, roofline] = ["latency.svg", "roofline-0-segments-1.svg"].map(|name| texts_of(&found[name]));
    for (texts, expected) in [(latency, ["order=x", "order=y"]), (roofline, ["Conv2D", "SeparableConv2D"])] {
        assert!(texts.iter().any(|text| text.starts_with("a &lt; b &amp; c")), "{texts:?}");
        assert!(expected.iter().all(|name| texts.iter().any(|text| text == name)), "{texts:?}");
    }
}

#[test]
fn figures_come_without_a_page_unless_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let [json, html, figures] =
        ["a.json", "a.html", "figures"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&json, fixed().to_string()).unwrap();
    let ran = run(&["report", &json, "--figures", &figures, "--output", &html]);
    assert_eq!(ran.stdout, format!("wrote {html}\n"));
    assert_eq!(ran.stderr, format!("note: wrote 9 figures to {figures}\n"));
    let refused = run(&["report", &json, "--figures", &json]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.starts_with(&format!("error: {json}: ")), "{}", refused.stderr);
}

/// A Chromium, if there is one.
fn chromium() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    std::env::split_paths(&paths)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

/// The page as it is after its scripts, and what the browser said of them.
fn browse(chromium: &Path, html: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let [page, out, err] = ["a.html", "out", "err"].map(|name| folder.path().join(name));
    std::fs::write(&page, html).unwrap();
    let file = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
    let mut browser = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .unwrap();
    let began = Instant::now();
    while browser.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            browser.kill().unwrap();
            browser.wait().unwrap();
            panic!("the browser takes longer than {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    [out, err].map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).into()
}

/// Does what a reader would do, and writes what can be seen into an element.
const READER: &str = r#"<script>
const seen = {};
const $ = selector => document.querySelector(selector);
const column = number => [...$('#points').tBodies[0].rows].map(row => row.cells[number].textContent);
const heads = [...document.querySelectorAll('#points thead th')];
const at = name => heads.findIndex(head => head.textContent.startsWith(name));
const state = () => ({
  open: [...document.querySelectorAll('details.choice')].filter(part => part.open && !part.hidden).map(part => part.dataset.points),
  rows: [...document.querySelectorAll('#points tr.chosen')].map(row => row.dataset.point),
  marks: [...new Set([...document.querySelectorAll('.hit.chosen')].map(mark => mark.dataset.point))],
  select: $('#choose').value, caption: $('#layers').caption.textContent, layers: $('#layers').tBodies[0].rows.length,
});
seen.start = state();
seen.medians = [];
for (let click = 0; click < 2; click++) { heads[at('median')].firstChild.click(); seen.medians.push(column(at('median'))); }
heads[at('point')].firstChild.click();
seen.labels = column(at('point'));
$('#choose').value = '0'; $('#choose').dispatchEvent(new Event('change'));
seen.selected = state();
$('.hit[data-point="1"]').dispatchEvent(new MouseEvent('click', { bubbles: true }));
seen.clicked = state();
$('#points tr[data-point="2"]').click();
seen.row = state();
const pre = document.createElement('pre');
pre.id = 'seen'; pre.textContent = btoa(JSON.stringify(seen));
document.body.append(pre);
</script>"#;

#[test]
fn a_browser_sorts_and_switches_without_errors() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: there is no Chromium; install the package chromium to test the page's script");
        return;
    };
    let results = fixed();
    let html = page(&results).replace("</body>", &format!("{READER}</body>"));
    let (dom, log) = browse(&chromium, &html);
    assert!(!log.contains("CONSOLE"), "{log}");
    let start =
        dom.find("<pre id=\"seen\">").unwrap_or_else(|| panic!("{log}\n{dom}")) + "<pre id=\"seen\">".len();
    let text = dom[start..].split('<').next().unwrap();
    let seen: Value = serde_json::from_slice(&from_base64(text)).unwrap();
    assert_eq!(seen["medians"], json!([["1.000", "2.000", "3.000"], ["3.000", "2.000", "1.000"]]));
    assert_eq!(seen["labels"], json!(["segments=1", "segments=2", "segments=full"]));
    for (key, point, label) in
        [("start", "2", "full"), ("selected", "0", "1"), ("clicked", "1", "2"), ("row", "2", "full")]
    {
        let state = &seen[key];
        assert_eq!(state["open"], json!([point, point]), "{key}: the roofline and the picture");
        assert_eq!((&state["rows"], &state["marks"]), (&json!([point]), &json!([point])), "{key}");
        assert_eq!(state["select"], point, "{key}");
        assert!(state["caption"].as_str().unwrap().contains(&format!("segments={label} ")), "{key}: {state}");
        let number: usize = point.parse().unwrap();
        assert_eq!(state["layers"], results["points"][number]["steps"].as_array().unwrap().len(), "{key}");
    }
}

/// A mistake of a script must not go unseen: the log is where errors show.
#[test]
fn a_browsers_log_tells_of_errors() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: there is no Chromium");
        return;
    };
    let (_, log) = browse(&chromium, "<!DOCTYPE html><script>nonsense()</script>");
    assert!(log.contains("CONSOLE"), "{log}");
}

fn from_base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text.bytes().filter_map(|letter| LETTERS.iter().position(|&other| other == letter));
    let bits: Vec<bool> =
        values.flat_map(|value| (0..6).rev().map(move |bit| value >> bit & 1 == 1)).collect();
    bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect()
}
