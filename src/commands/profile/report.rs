//! The profile as text and as JSON.

use serde::Serialize;
use xcc_runtime::bandwidth::BUFFER_BYTES;

use crate::chart::bar;
use crate::measure::milliseconds;
use crate::measure::peaks::Peak;
use crate::measure::samples::{Taken, quantile};
use crate::measure::settings::Settings;
use crate::measure::steps::{Between, Family, Roofs, Run, StepReport};
use crate::measure::work::Called;
use crate::numbers;
use crate::table::{Layout, Table};

/// Columns of the longest bar.
const BAR: usize = 24;

/// What the columns say that do not say it themselves.
const LEGEND: &str = "\
GFLOP/s: all products count, of peak: those that are computed. bound: the longer
of operations / peak and bytes / bandwidth; overhead where the step takes more
than twice as long. reached: that time / ms, more than all of it where data were
in a nearer cache. kernels: the one that does most, and how many others
";

/// All figures; the command's help describes them.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    settings: Settings,
    warmup: u32,
    times_ms: Vec<f64>,
    median_ms: f64,
    peak_gflops: f64,
    f32_peak_gflops: f64,
    bandwidth_gbs: f64,
    weights_bandwidth_gbs: f64,
    steps: Vec<StepReport>,
    families: Vec<Family>,
    between: Between,
    #[serde(skip)]
    peaks: Vec<Peak>,
    /// Bytes of weights that each thread read for their bandwidth, where it was measured.
    #[serde(skip)]
    weight_bytes: Option<u64>,
}

impl Report {
    /// The figures that are printed.
    pub fn new(
        settings: Settings,
        taken: &Taken<Run>,
        (roofs, peaks): (Roofs, Vec<Peak>),
        weight_bytes: Option<u64>,
        steps: Vec<StepReport>,
        families: Vec<Family>,
        between: Between,
    ) -> Self {
        let times_ms: Vec<f64> = taken.runs.iter().map(|run| milliseconds(run.whole)).collect();
        Self {
            settings,
            warmup: taken.warmup,
            median_ms: quantile(&times_ms, 0.5),
            times_ms,
            peak_gflops: roofs.peak(),
            f32_peak_gflops: roofs.vectors,
            bandwidth_gbs: roofs.bandwidth / 1e9,
            weights_bandwidth_gbs: roofs.weights_bandwidth / 1e9,
            steps,
            families,
            between,
            peaks,
            weight_bytes,
        }
    }

    /// The figures as text that is made to be read, in so many columns.
    pub fn text(&self, width: usize) -> String {
        let tables = [
            self.figures().render(width, false),
            self.table().render(width, false) + LEGEND,
            self.kernels().render(width, false),
            self.summary().render(width, false),
        ];
        self.settings.head(width) + &tables.join("\n")
    }

    fn figures(&self) -> Table {
        let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Wrapped]);
        let runs = format!("median of {} after {} to warm up", self.times_ms.len(), self.warmup);
        table.row(["run".to_owned(), format!("{:.3} ms", self.median_ms), runs]);
        for peak in &self.peaks {
            let name =
                if self.peaks.len() > 1 { format!("peak of {}", peak.name()) } else { "peak".to_owned() };
            table.row([name, format!("{:.1} GFLOP/s", peak.of_threads()), peak.remark()]);
        }
        let mut bandwidth = |name: &str, gbs: f64, bytes: u64| {
            let remark = format!("reading {} in each thread", numbers::bytes(bytes));
            table.row([name.to_owned(), format!("{gbs:.1} GB/s"), remark]);
        };
        bandwidth("bandwidth", self.bandwidth_gbs, BUFFER_BYTES);
        if let Some(bytes) = self.weight_bytes {
            bandwidth("of weights", self.weights_bandwidth_gbs, bytes);
        }
        table
    }

    fn table(&self) -> Table {
        use Layout::{Left, Right, Wrapped};
        let layouts = [Wrapped, Left, Right, Right, Right, Right, Right, Left, Right];
        let mut table = Table::new(&layouts);
        let head = ["layer", "kernels", "ms", "share", "GFLOP/s", "of peak", "MB", "bound", "reached"];
        table.strong_row(head.map(str::to_owned));
        table.rule("");
        for step in &self.steps {
            let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
            table.row([
                step.layer.clone(),
                kernels(&step.kernels),
                format!("{:.3}", step.ms),
                percent(step.share),
                or_dash(step.gflops.map(|gflops| format!("{gflops:.1}"))),
                or_dash(step.peak_share.map(percent)),
                format!("{:.2}", step.bytes as f64 / 1e6),
                step.bound.name().to_owned(),
                percent(step.bound_ms / step.ms.max(1e-6)),
            ]);
        }
        table
    }

    /// The names of the kernels in the table, in the order of their numbers.
    fn kernels(&self) -> Table {
        let mut first: Vec<&Called> = self.steps.iter().filter_map(|step| step.kernels.first()).collect();
        first.sort_by_key(|called| (called.kernel.len(), called.kernel.as_str()));
        first.dedup_by_key(|called| &called.kernel);
        let mut table = Table::new(&[Layout::Left, Layout::Wrapped]);
        for called in first {
            table.row([called.kernel.clone(), called.name.clone()]);
        }
        table
    }

    fn summary(&self) -> Table {
        let layouts =
            [Layout::Wrapped, Layout::Right, Layout::Right, Layout::Right, Layout::Right, Layout::Left];
        let mut table = Table::new(&layouts);
        table.strong_row(["kinds of kernels", "steps", "ms", "share", "GFLOP/s", ""].map(str::to_owned));
        table.rule("");
        for family in &self.families {
            table.row([
                family.family.clone(),
                family.steps.to_string(),
                format!("{:.3}", family.ms),
                percent(family.share),
                family.gflops.map_or_else(|| "-".to_owned(), |gflops| format!("{gflops:.1}")),
                bar(family.share, BAR),
            ]);
        }
        let Between { ms, share } = self.between;
        let between = "between steps: input, output, threads".to_owned();
        let dash = || "-".to_owned();
        table.row([between, dash(), format!("{ms:.3}"), percent(share), dash(), bar(share, BAR)]);
        table.rule("");
        let sum = ms + self.steps.iter().map(|step| step.ms).sum::<f64>();
        let steps = self.steps.len().to_string();
        table.row(["sum of these medians".to_owned(), steps, format!("{sum:.3}"), percent(1.0)]);
        table
    }
}

/// The kernel that does most, and how many others are called.
fn kernels(called: &[Called]) -> String {
    match called {
        [] => "-".to_owned(),
        [only] => only.kernel.clone(),
        [first, others @ ..] => format!("{} +{}", first.kernel, others.len()),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
