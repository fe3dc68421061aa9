//! `xcc calibrate`: what instructions cost on this machine.

use std::path::PathBuf;

use clap::Args;
use xcc_compiler::instruction_times::KINDS;
use xcc_compiler::target::{Isa, Target};
use xcc_runtime::calibration::{Calibration, Fitted};

use crate::cli::{self, Failure};
use crate::table::{Layout, Table};
use crate::terminal::with_progress;

/// Measure what instructions cost on this machine, for the choice of kernels
///
/// The plan of a network chooses between several kernels for each segmented convolution by the
/// time that their instructions take. The times that are built in were measured on Intel's Golden
/// Cove and AMD's Zen 5; those that this command writes can be given to other commands with
/// --constants. Convolutions in many widths of segments are run in every form, for about half a
/// minute, and times are fitted to the fastest run of each.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc calibrate
  xcc calibrate --output times.json && xcc bench specs/xception.xc --constants times.json

JSON, as in the file: an object with `processor`, `date`, `command` and `targets`, an object with `times` (picoseconds), \
`mean_error` and `worst_error` (relative) and `samples` (`name`, `counts` of instructions, `ms`) for each target.")]
pub struct Arguments {
    /// Measure only this instruction set [default: all that the machine has]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Target>)]
    target: Option<Target>,
    /// Write the times and all measurements to a file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Kinds of instructions, in the order of
/// [`PerKind::array`](xcc_compiler::instruction_times::PerKind::array).
const INSTRUCTIONS: [&str; KINDS] = [
    "call",
    "multiply-add",
    "multiply-add of memory",
    "load",
    "broadcast",
    "permute",
    "other arithmetic",
    "store",
    "product of bf16 pairs",
    "product of bf16 tiles",
    "tile read or written",
];

/// Measures, writes and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.output.as_deref().map_or(Ok(()), |output| cli::check_output(output, []))?;
    let available = Target::available().into_iter().filter(|target| target.isa <= Isa::Avx512);
    let targets = arguments.target.map_or_else(|| available.collect(), |target| vec![target]);
    let measured = with_progress("measuring", || Calibration::measure(&targets)).map_err(Failure::input)?;
    if let Some(path) = &arguments.output {
        let failed = |error| Failure::input(format!("{}: {error}", path.display()));
        measured.write(path).map_err(failed)?;
    }
    if arguments.json { cli::print_json(&measured) } else { cli::print(&text(&measured)) }
}

fn text(measured: &Calibration) -> String {
    let mut layouts = vec![Layout::Left];
    layouts.resize(measured.targets.len() + 1, Layout::Right);
    let mut table = Table::new(&layouts);
    let row = |name: &str, cell: &dyn Fn(&Fitted) -> String| {
        std::iter::once(name.to_owned()).chain(measured.targets.values().map(cell)).collect::<Vec<_>>()
    };
    let heads = measured.targets.keys().cloned();
    table.strong_row(std::iter::once("picoseconds".to_owned()).chain(heads));
    table.rule("");
    for (kind, name) in INSTRUCTIONS.into_iter().enumerate() {
        table.row(row(name, &|fitted| fitted.times.array()[kind].to_string()));
    }
    table.rule("");
    table.row(row("layers", &|fitted| fitted.samples.len().to_string()));
    table.row(row("mean error", &|fitted| format!("{:.1} %", 100.0 * fitted.mean_error)));
    table.row(row("worst error", &|fitted| format!("{:.1} %", 100.0 * fitted.worst_error)));
    format!("{}, {}\n{}", measured.processor, measured.date, table.render(usize::MAX, false))
}
