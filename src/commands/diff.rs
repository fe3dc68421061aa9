//! `xcc diff`: the layers in which two networks differ, and what that costs.

mod report;
mod times;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use xcc_runtime::machine;

use crate::cli::{self, Failure, Setting, overridden};
use crate::measure::samples::Plan;
use crate::terminal::{self, with_progress};
use report::{Report, Side};

/// Show the layers in which two networks differ, and what each costs
///
/// Layers are paired by name. Lines with `-` are those of the first network, lines with `+` those
/// of the second. The two are two specs, or one spec with two settings. With --time both are
/// compiled, with random weights, and run in turns; the time of a layer is that of the steps that
/// compute it, with all that was fused into them, and with the layers that are computed in the
/// same steps.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc diff specs/xception.xc --against segments=28
  xcc diff specs/xception.xc --set segments=1 --against segments=728 --time --threads 1
  xcc diff specs/resnet50.xc specs/resnet152.xc

JSON: an object with `first` and `second` (objects with `model`, `settings`, `totals` as in `xcc summary --json`, and \
`ms`, the median time of a run or null) and `layers`. A layer has `name`, `first` and `second`: null where the network \
has no such layer, else an object with `class`, `title`, `form` (regular, segmented, depthwise, pointwise, dense, pool or \
other), `segments` (sizes of their inputs, or null), `output_shape`, `parameters`, `spatial_macs`, `pointwise_macs`, \
`activation_bytes`, `ms` (or null) and `with` (other layers that the steps of this time compute).")]
pub struct Arguments {
    /// The first spec; `-` is standard input
    #[arg(value_name = "SPEC")]
    first: PathBuf,
    /// The second spec [default: the first one]
    #[arg(value_name = "SPEC2")]
    second: Option<PathBuf>,
    /// Set a parameter of both
    #[arg(long, value_name = "NAME=VALUE", value_parser = cli::setting)]
    set: Vec<Setting>,
    /// Set a parameter of the second, instead of what --set says
    #[arg(long, value_name = "NAME=VALUE", value_parser = cli::setting)]
    against: Vec<Setting>,
    /// Measure the time of layers
    #[arg(long)]
    time: bool,
    /// Threads of compiled code [default: one for each core]
    #[arg(long, value_name = "N", value_parser = cli::thread_count, requires = "time")]
    threads: Option<NonZeroU32>,
    /// Runs of each network that are timed [default: as many as fit into 2 seconds, from 10 to
    /// 1000]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u32>(1..=1_000_000), requires = "time")]
    iters: Option<u32>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Compares and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { first, second, set, against, .. } = arguments;
    if second.is_none() && against.is_empty() {
        return Err(Failure::input(
            "a network does not differ from itself: give a second spec or `--against NAME=VALUE`",
        ));
    }
    let other = overridden(set, against);
    let [a, b] = cli::load_both((first, set), (second.as_ref().unwrap_or(first), &other))?;
    let (mut first, mut second) = (Side::new(&a.graph, set), Side::new(&b.graph, &other));
    if arguments.time {
        let threads = arguments.threads.map_or_else(machine::cores, NonZeroU32::get);
        let plan = Plan { warmup: None, runs: arguments.iters };
        let measure = || times::measure([&a.graph, &b.graph], threads, &plan);
        let [of_first, of_second] = with_progress("measuring", measure)?;
        first.add_times(of_first);
        second.add_times(of_second);
    }
    let report = Report::new(first, second);
    if arguments.json {
        return cli::print_json(&report);
    }
    cli::print(&report.text(terminal::width(), terminal::color(&std::io::stdout())))
}
