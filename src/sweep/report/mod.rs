//! The report of a sweep: one self-contained HTML page, or its charts as files.
//!
//! `series` says which points belong together; `spectrum`, `roofline` and `pareto` make charts of
//! them, which are values (`chart`, `axis`, `marks`) with captions (`exhibit`) before they are
//! SVG; `points` and `layers` are tables, `architecture` draws networks. All that a reader can
//! choose is in the page already; its script only shows one thing and hides the others, so that
//! without it everything can still be unfolded.

mod architecture;
mod axis;
mod chart;
mod exhibit;
mod html;
mod layers;
mod legend;
mod marks;
mod pareto;
mod points;
mod roofline;
mod series;
mod spectrum;

use chart::DrawError;
use exhibit::{Exhibit, Heading};
use html::{escape, script_safe};
use legend::Legend;
use series::Spectrum;

use super::budget;
use super::results::{Results, Roof, Status};
use super::table::roof_text;
use crate::numbers::counted;

/// What each page has, and no other file by chance.
const MARK: &str = "<meta name=\"generator\" content=\"xcc report\">";
/// Bytes from the start of a page within which [`MARK`] is.
pub const HEAD: u64 = 512;
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Most points that are drawn one by one, so that the page of a sweep of thousands can still be
/// opened.
const MOST_DRAWN: usize = 96;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The plotting library failed.
    #[error("a chart could not be drawn: {0}")]
    Draw(#[from] DrawError),
    /// The data for the page's script could not be written.
    #[error("the data of the page could not be written: {0}")]
    Data(#[from] serde_json::Error),
}

/// The page. The same results make the same text.
pub fn page(results: &Results) -> Result<String, ReportError> {
    let shown = shown(results);
    let chosen = chosen(results, &shown);
    let data = serde_json::to_string(&layers::data(results, &shown))?;
    let title = escape(&results.sweep.name);
    let spectrum = Spectrum::new(results);
    let legend = Legend::of_series(&spectrum.series);
    let parts = [
        head(results),
        section(
            "spectrum",
            spectrum_title(&spectrum),
            &figures(&legend, &spectrum::charts(results, &spectrum))?,
        ),
        section("front", "Latency against cost", &figures(&legend, &pareto::charts(results, &spectrum))?),
        section("table", "Points", &points::html(results)),
        choice(results, &shown, chosen)?,
        section("about", "How it was measured", &about(results)),
    ];
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{MARK}\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n\
         <script type=\"application/json\" id=\"data\">{}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        parts.concat(),
        script_safe(&data),
    ))
}

/// True for a file that begins as pages do, by its first [`HEAD`] bytes.
pub fn is_page(head: &[u8]) -> bool {
    head.windows(MARK.len()).any(|part| part == MARK.as_bytes())
}

/// The charts of the page as SVG files, each with its name. The same results make the same text.
pub fn files(results: &Results) -> Result<Vec<(String, String)>, ReportError> {
    let spectrum = Spectrum::new(results);
    let legend = Legend::of_series(&spectrum.series);
    let classes = roofline::classes(results);
    let layers = Legend::of_classes(&classes);
    let title = &results.sweep.name;
    let mut files = Vec::new();
    let mut add = |exhibit: &Exhibit, title: String, legend: &Legend| {
        let text = exhibit.file(&Heading { title, place: place(results) }, legend)?;
        files.push((format!("{}.svg", exhibit.id), text));
        Ok::<(), DrawError>(())
    };
    for exhibit in spectrum::charts(results, &spectrum).iter().chain(&pareto::charts(results, &spectrum)) {
        add(exhibit, title.clone(), &legend)?;
    }
    for number in shown(results) {
        let Some(exhibit) = roofline::exhibit(results, number, &classes) else { continue };
        let label = results.points.get(number).map_or("", |point| point.label.as_str());
        add(&exhibit, format!("{title}: {label}"), &layers)?;
    }
    Ok(files)
}

/// Where was measured, and what all points have in common.
fn place(results: &Results) -> String {
    let sweep = &results.sweep;
    let mut parts = vec![results.machine.processor.clone(), sweep.target.clone()];
    if let [precision] = sweep.precisions.as_slice() {
        parts.push(precision.clone());
    }
    if let [threads] = sweep.threads.as_slice() {
        parts.push(counted(*threads as usize, "thread"));
    }
    if let [batch] = sweep.batches.as_slice() {
        parts.push(format!("batch {batch}"));
    }
    parts.join(", ")
}

fn spectrum_title(spectrum: &Spectrum) -> &'static str {
    if spectrum.axis.ends_with("segments") { "The spectrum" } else { "Costs and times" }
}

/// Charts side by side, below what their marks mean; nothing where there are none.
fn figures(legend: &Legend, exhibits: &[Exhibit]) -> Result<String, DrawError> {
    if exhibits.is_empty() {
        return Ok(String::new());
    }
    let figures =
        exhibits.iter().map(|exhibit| exhibit.html("chart")).collect::<Result<String, DrawError>>()?;
    Ok(format!("{}<div class=\"charts\">\n{figures}</div>\n", legend.html()))
}

/// The points that are drawn: those with costs, evenly spread where there are too many.
fn shown(results: &Results) -> Vec<usize> {
    let known = results.points.iter().enumerate().filter(|(_, point)| point.cost.is_some());
    let known: Vec<usize> = known.map(|(number, _)| number).collect();
    let every = known.len().div_ceil(MOST_DRAWN).max(1);
    known.into_iter().step_by(every).collect()
}

/// The fastest of these points; before a run, the one with the fewest multiply-adds.
fn chosen(results: &Results, shown: &[usize]) -> usize {
    let key = |&number: &usize| {
        let point = results.points.get(number)?;
        let time = point.timing.as_ref().map_or(f64::INFINITY, |timing| timing.median_ms);
        Some((number, time, point.cost.map_or(u64::MAX, |cost| cost.macs)))
    };
    let fastest = shown.iter().filter_map(key).min_by(|a, b| a.1.total_cmp(&b.1).then(a.2.cmp(&b.2)));
    fastest.map_or(0, |(number, ..)| number)
}

fn section(id: &str, title: &str, body: &str) -> String {
    match body.is_empty() {
        true => String::new(),
        false => format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{body}</section>\n"),
    }
}

/// What was swept, and where.
fn head(results: &Results) -> String {
    let Results { sweep, machine, points, date, xcc, .. } = results;
    let question = sweep
        .question
        .as_ref()
        .map_or_else(String::new, |question| format!("<p class=\"question\">{}</p>\n", escape(question)));
    let measured = points.iter().filter(|point| point.status == Status::Measured).count();
    let begun =
        points.iter().filter(|point| point.status == Status::Pending && point.timing.is_some()).count();
    let begun = if begun > 0 { format!(", {begun} in some of the rounds") } else { String::new() };
    let lines = [
        format!(
            "{} at {}, of which {measured} measured{begun}",
            sweep.spec.model,
            counted(points.len(), "point")
        ),
        format!("{}, {}", machine.processor, counted(machine.cores as usize, "core")),
        format!("code for {}, xcc {xcc}, {date}", sweep.target),
    ];
    let held = sweep.hold.iter().map(budget::sentence);
    let lines: Vec<String> = lines.into_iter().chain(held).map(|line| escape(&line)).collect();
    format!(
        "<header>\n<h1>{}</h1>\n{question}<p>{}</p>\n</header>\n",
        escape(&sweep.name),
        lines.join("<br>\n")
    )
}

/// All that is shown of one point at a time.
fn choice(results: &Results, shown: &[usize], chosen: usize) -> Result<String, ReportError> {
    let Some(point) = results.points.get(chosen) else { return Ok(String::new()) };
    let classes = roofline::classes(results);
    let mut rooflines = String::new();
    for &number in shown {
        rooflines += &drawn_point(results, number, &classes, number == chosen)?;
    }
    let left_out = results.points.iter().filter(|point| point.cost.is_some()).count() - shown.len();
    let note = match left_out {
        0 => String::new(),
        count => format!("<p>Of {} more there are only the figures above.</p>\n", counted(count, "point")),
    };
    let body = format!(
        "{}{note}{}{rooflines}<h3>Layers</h3>\n{}<h3>Architecture</h3>\n{}",
        selection(results, shown, chosen),
        Legend::of_classes(&classes).html(),
        layers::html(point),
        architecture::figures(results, shown),
    );
    Ok(section("point", "One point", &body))
}

fn selection(results: &Results, shown: &[usize], chosen: usize) -> String {
    let option = |&number: &usize| {
        let label = results.points.get(number).map_or("", |point| point.label.as_str());
        let selected = if number == chosen { " selected" } else { "" };
        format!("<option value=\"{number}\"{selected}>{}</option>\n", escape(label))
    };
    format!(
        "<p class=\"controls\"><label>Point <select id=\"choose\">\n{}</select></label> or choose a mark or a row above.</p>\n",
        shown.iter().map(option).collect::<String>()
    )
}

/// A point's figures and its roofline.
fn drawn_point(
    results: &Results,
    number: usize,
    classes: &[&str],
    is_chosen: bool,
) -> Result<String, DrawError> {
    let Some(point) = results.points.get(number) else { return Ok(String::new()) };
    let exhibit = roofline::exhibit(results, number, classes);
    let chart = exhibit.map_or(Ok(String::new()), |exhibit| exhibit.html("roofline"))?;
    let open = if is_chosen { " open" } else { "" };
    Ok(format!(
        "<details class=\"choice\" id=\"point-{number}\" data-points=\"{number}\"{open}>\n<summary>{}</summary>\n<p>{}</p>\n{chart}</details>\n",
        escape(&point.label),
        escape(&points::facts(results, point)),
    ))
}

/// How the figures came about.
fn about(results: &Results) -> String {
    let Results { sweep, machine, sampling, .. } = results;
    let roof = |roof: &Roof| format!("{}.", roof_text(results, roof));
    let mut lines: Vec<String> =
        machine.roofs.iter().filter(|roof| roof.peak_gflops > 0.0).map(roof).collect();
    lines.push(format!("Vector extensions: {}.", machine.features.join(", ")));
    lines.push(format!(
        "{}, all points in each; {:.0} ms of runs before the first sample of a point.",
        counted(sampling.rounds as usize, "round"),
        sampling.warmup_ms
    ));
    let fixed: Vec<String> = sweep.fixed.iter().map(|(name, value)| format!("{name}={value}")).collect();
    lines.extend((!fixed.is_empty()).then(|| format!("At all points: {}.", fixed.join(", "))));
    lines.extend(
        sweep.constants.as_ref().map(|constants| {
            format!("Kernels were chosen by the times of instructions in {}.", constants.path)
        }),
    );
    lines.push(format!("Weights and inputs are random numbers of seed {}.", sweep.seed));
    let lines: Vec<String> = lines.iter().map(|line| escape(line)).collect();
    format!(
        "<p>{}</p>\n<details><summary>The spec</summary>\n<pre>{}</pre>\n</details>\n",
        lines.join("<br>\n"),
        escape(&sweep.spec.source)
    )
}
