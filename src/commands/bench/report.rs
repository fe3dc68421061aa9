//! What was measured, as text and as JSON.

use std::time::Duration;

use serde::Serialize;
use xcc_compiler::schedule::precisions::MoreExact;
use xcc_runtime::machine;

use crate::chart::{bar, histogram};
use crate::measure::peaks::Peak;
use crate::measure::samples::{Taken, quantile};
use crate::measure::settings::Settings;
use crate::measure::{StartTimes, milliseconds};
use crate::numbers;
use crate::table::{Layout, Table, wrap};

/// Bins of the histogram.
const BINS: usize = 8;
/// Columns of the longest bar.
const BAR: usize = 32;

/// All figures; the command's help describes them.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    settings: Settings,
    #[serde(flatten)]
    start: StartTimes,
    warmup: u32,
    times_ms: Vec<f64>,
    median_ms: f64,
    p5_ms: f64,
    p95_ms: f64,
    min_ms: f64,
    macs: u64,
    saved_macs: u64,
    gflops: f64,
    peak_gflops: f64,
    peak_samples_gflops: Vec<f64>,
    peak_share: f64,
    peak_rss_mb: Option<f64>,
    /// Layers with more exact products than asked for.
    more_exact: Option<MoreExact>,
    /// Where the peak comes from.
    #[serde(skip)]
    peak_remark: String,
}

impl Report {
    /// The figures that follow from times, multiply-adds of an image, those of them that are
    /// saved, and what the machine reaches.
    pub fn new(
        settings: Settings,
        start: StartTimes,
        taken: Taken<Duration>,
        [macs, saved_macs]: [u64; 2],
        peak: Peak,
    ) -> Self {
        let times_ms: Vec<f64> = taken.runs.into_iter().map(milliseconds).collect();
        let median_ms = quantile(&times_ms, 0.5);
        let speed = |macs: u64| 2.0 * macs as f64 * f64::from(settings.batch) / median_ms.max(1e-6) / 1e6;
        let peak_gflops = peak.of_threads();
        Self {
            start,
            warmup: taken.warmup,
            median_ms,
            p5_ms: quantile(&times_ms, 0.05),
            p95_ms: quantile(&times_ms, 0.95),
            min_ms: quantile(&times_ms, 0.0),
            times_ms,
            macs,
            saved_macs,
            gflops: speed(macs),
            peak_gflops,
            peak_remark: peak.remark(),
            peak_samples_gflops: peak.gflops,
            peak_share: speed(macs.saturating_sub(saved_macs)) / peak_gflops,
            peak_rss_mb: machine::peak_memory().map(|bytes| bytes as f64 / 1e6),
            more_exact: None,
            settings,
        }
    }

    /// The same, with the layers that have more exact products than asked for.
    pub fn with_more_exact(self, more_exact: Option<MoreExact>) -> Self {
        Self { more_exact, ..self }
    }

    /// The figures as text that is made to be read, in so many columns.
    pub fn text(&self, width: usize) -> String {
        let mut text = self.settings.head(width);
        if let Some(exact) = &self.more_exact {
            text += &format!("{}\n\n", wrap(&exact.to_string(), width).join("\n"));
        }
        let parts = [
            ("until it has run once", self.start()),
            ("runs", self.figures()),
            ("runs by milliseconds", self.histogram()),
        ];
        for (number, (title, table)) in parts.into_iter().enumerate() {
            text += if number > 0 { "\n" } else { "" };
            text += &format!("{title}\n");
            text.extend(
                table.render(width.saturating_sub(2), false).lines().map(|line| format!("  {line}\n")),
            );
        }
        text
    }

    fn start(&self) -> Table {
        let StartTimes { parse_ms, load_ms, compile_ms, pack_ms, first_run_ms, start_ms } = self.start;
        let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Wrapped]);
        let mut row = |name: &str, ms: f64, remark: &str| {
            table.row([name.to_owned(), format!("{ms:.1} ms"), remark.to_owned()]);
        };
        row("parse", parse_ms, "spec to graph");
        row("load", load_ms, "weights");
        row("compile", compile_ms, "passes, plan, code");
        if let Some(ms) = pack_ms {
            row("pack", ms, "weights read or drawn and put as kernels read them");
        }
        row("first run", first_run_ms, "with memory and threads that later runs use again");
        row("start", start_ms, "all of these, from beginning to end");
        table
    }

    fn figures(&self) -> Table {
        let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Wrapped]);
        let mut row = |name: &str, value: String, remark: String| table.row([name.to_owned(), value, remark]);
        let spread =
            format!("fastest {:.3}, 5 % below {:.3}, 95 % below {:.3}", self.min_ms, self.p5_ms, self.p95_ms);
        row("median", format!("{:.3} ms", self.median_ms), spread);
        row("runs", self.times_ms.len().to_string(), format!("after {} to warm up", self.warmup));
        let macs = |of_image: u64| numbers::macs(of_image.saturating_mul(u64::from(self.settings.batch)));
        let (all, saved) = (macs(self.macs), macs(self.saved_macs));
        row("speed", format!("{:.2} GFLOP/s", self.gflops), format!("2 x {all} / median"));
        row("peak", format!("{:.2} GFLOP/s", self.peak_gflops), self.peak_remark.clone());
        let remark = match self.saved_macs {
            0 => "speed / peak".to_owned(),
            _ => format!("speed / peak without {saved} that need no product"),
        };
        row("share", format!("{:.1} %", self.peak_share * 100.0), remark);
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
}
