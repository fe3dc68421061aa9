//! What was measured, as text and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use xcc_compiler::elaborate::Param;
use xcc_runtime::machine;

use super::samples::{Taken, quantile};
use super::steps::LayerTime;
use crate::chart::{bar, histogram};
use crate::cli::Backend;
use crate::network::Origin;
use crate::numbers;
use crate::table::{Layout, Table};

/// Bins of the histogram.
const BINS: usize = 8;
/// Columns of the longest bar.
const BAR: usize = 32;

/// What was measured, where.
#[derive(Serialize)]
pub struct Settings {
    /// Name of the model.
    pub model: String,
    /// The spec's parameters, in the syntax of the language.
    pub parameters: BTreeMap<String, String>,
    /// What ran it.
    pub backend: Backend,
    /// Images in a run.
    pub batch: u32,
    /// Threads of compiled code.
    pub threads: u32,
    /// Where the weights are from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The vectors that code is made for.
    pub target: String,
    /// The processor.
    pub processor: String,
    /// Its vector extensions.
    pub features: Vec<&'static str>,
}

/// All figures; the command's help describes them.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    settings: Settings,
    load_ms: f64,
    compile_ms: f64,
    warmup: u32,
    times_ms: Vec<f64>,
    median_ms: f64,
    p5_ms: f64,
    p95_ms: f64,
    min_ms: f64,
    macs: u64,
    gflops: f64,
    peak_gflops: f64,
    peak_before_gflops: f64,
    peak_after_gflops: f64,
    peak_share: f64,
    peak_rss_mb: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<LayerTime>,
}

/// The values of a spec's parameters.
pub fn parameters(parameters: &[Param]) -> BTreeMap<String, String> {
    let pair = |param: &Param| Some((param.name.clone(), param.value.as_ref()?.to_string()));
    parameters.iter().filter_map(pair).collect()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Report {
    /// The figures that follow from times to load and compile, times of runs, multiply-adds of an image, and
    /// operations in a second that one core reaches, before and after.
    pub fn new(
        settings: Settings,
        [load, compile]: [Duration; 2],
        taken: &Taken,
        macs: u64,
        peaks: &[f64],
        steps: Vec<LayerTime>,
    ) -> Self {
        let times_ms: Vec<f64> = taken.times.iter().copied().map(milliseconds).collect();
        let median_ms = quantile(&times_ms, 0.5);
        let gflops = 2.0 * macs as f64 * f64::from(settings.batch) / median_ms.max(1e-6) / 1e6;
        let peaks: Vec<f64> = peaks.iter().map(|operations| operations / 1e9).collect();
        let [before, after] = [peaks.first(), peaks.last()].map(|peak| peak.copied().unwrap_or(0.0));
        let peak_gflops = quantile(&peaks, 0.5) * f64::from(settings.threads);
        Self {
            load_ms: milliseconds(load),
            compile_ms: milliseconds(compile),
            warmup: taken.warmup,
            median_ms,
            p5_ms: quantile(&times_ms, 0.05),
            p95_ms: quantile(&times_ms, 0.95),
            min_ms: quantile(&times_ms, 0.0),
            times_ms,
            macs,
            gflops,
            peak_gflops,
            peak_before_gflops: before,
            peak_after_gflops: after,
            peak_share: gflops / peak_gflops,
            peak_rss_mb: machine::peak_memory().map(|bytes| bytes as f64 / 1e6),
            steps,
            settings,
        }
    }

    /// The figures as text that is made to be read.
    pub fn text(&self) -> String {
        let mut text = self.head();
        let indented = |table: String| table.lines().map(|line| format!("  {line}\n")).collect::<String>();
        text += &indented(self.figures().render(usize::MAX, false));
        text += "\nruns by milliseconds\n";
        text += &indented(self.histogram().render(usize::MAX, false));
        if !self.steps.is_empty() {
            text += "\ntime by layer\n";
            text += &indented(self.layers().render(usize::MAX, false));
        }
        text
    }

    fn head(&self) -> String {
        let Settings { model, backend, batch, threads, target, processor, features, .. } = &self.settings;
        let backend = match backend {
            Backend::Cpu => format!("compiled for {target}"),
            Backend::Reference => "reference evaluator".to_owned(),
        };
        let plural = if *threads == 1 { "" } else { "s" };
        let features = if features.is_empty() { String::new() } else { format!(" ({})", features.join(" ")) };
        format!("{model}: {backend}, batch {batch}, {threads} thread{plural}\n{processor}{features}\n\n")
    }

    fn figures(&self) -> Table {
        let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Left]);
        let mut row = |name: &str, value: String, remark: String| table.row([name.to_owned(), value, remark]);
        row("load", format!("{:.1} ms", self.load_ms), "weights".to_owned());
        row("compile", format!("{:.1} ms", self.compile_ms), "passes, plan, code, packed weights".to_owned());
        let spread =
            format!("fastest {:.3}, 5 % below {:.3}, 95 % below {:.3}", self.min_ms, self.p5_ms, self.p95_ms);
        row("median", format!("{:.3} ms", self.median_ms), spread);
        row("runs", self.times_ms.len().to_string(), format!("after {} to warm up", self.warmup));
        let macs = numbers::macs(self.macs.saturating_mul(u64::from(self.settings.batch)));
        row("speed", format!("{:.2} GFLOP/s", self.gflops), format!("2 x {macs} / median"));
        let share = format!(
            "of the {:.1} GFLOP/s that {} x one core reaches ({:.1} before the runs, {:.1} after)",
            self.peak_gflops, self.settings.threads, self.peak_before_gflops, self.peak_after_gflops
        );
        row("peak", format!("{:.1} %", self.peak_share * 100.0), share);
        if let Some(megabytes) = self.peak_rss_mb {
            row("memory", format!("{megabytes:.1} MB"), "most of this process".to_owned());
        }
        table
    }

    fn histogram(&self) -> Table {
        let mut table = Table::new(&[Layout::Right, Layout::Right, Layout::Left]);
        let bins = histogram(&self.times_ms, BINS);
        let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1) as f64;
        for bin in bins {
            let bar = bar(bin.count as f64 / most, BAR);
            table.row([format!("{:.3}", bin.from), bin.count.to_string(), bar]);
        }
        table
    }

    fn layers(&self) -> Table {
        let layouts = [Layout::Left, Layout::Right, Layout::Right, Layout::Right, Layout::Left];
        let mut table = Table::new(&layouts);
        table.strong_row(["layer", "ms", "share", "GFLOP/s", ""].map(str::to_owned));
        let largest = self.steps.iter().map(|step| step.share).fold(1e-9, f64::max);
        for step in &self.steps {
            table.row([
                step.layer.clone(),
                format!("{:.3}", step.ms),
                format!("{:.1} %", step.share * 100.0),
                step.gflops.map_or_else(|| "-".to_owned(), |gflops| format!("{gflops:.1}")),
                bar(step.share / largest, BAR),
            ]);
        }
        table
    }
}
