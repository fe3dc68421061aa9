//! `xcc explain`: every rewrite of the graph that was made or refused, every algorithm of segments
//! and fused group of layers, and why.

mod fusion;
mod segments;
mod stages;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use xcc_compiler::graph::{Graph, NodeId, Op};
use xcc_compiler::passes::{Outcome, PASSES, Pass, PassOptions, Report, Row, optimize};
use xcc_compiler::plan::{PlanOptions, Precision, Program, plan};
use xcc_compiler::schedule::Algorithm;
use xcc_compiler::schedule::precisions::MoreExact;
use xcc_compiler::schedule::segments::TOLERANCE;
use xcc_compiler::target::{Bf16Unit, Target};

use crate::cli::{self, Failure, Loaded, SpecArgs};
use crate::numbers::counted;
use crate::table::{Layout, Table, wrap};
use crate::terminal;
use fusion::FusionRow;
use segments::ChoiceRow;
use stages::StageRow;

/// Rows of one pass and outcome that are shown without `--all`.
const SHORT: usize = 5;

/// Show which rewrites and kernels were chosen, which were not, and why
///
/// These are the rewrites of the graph, the algorithms that compute segments, and the layers that
/// are fused.
///
/// Rows are rewrites that were made, unless they say `refused`. Lines are those of the spec.
/// Values are named as `xcc emit --stage graph` and `--stage fused` name them.
///
/// Where several algorithms can compute segments, the one whose instructions take the least time
/// is chosen, or the first within 3 % of it: the milliseconds are those of one thread for one
/// image, without waiting for memory. Layers that are multiplied as matrices of bf16 values have a
/// section of their own, as have those by the fast inner product.
///
/// A precision is a permission: layers whose f32 products take no more time have these, by the
/// times of instructions on the processor at hand, and a section names them.
///
/// Layers are computed together, a few rows of the last one at a time, where the maps between them
/// are larger than a cache and writing and reading them takes longer than what is done twice. Both
/// are given in multiply-adds (MACs) that a thread could do meanwhile; they are those of one
/// thread.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc explain specs/xception.xc
  xcc explain specs/xception.xc --all | grep refused

JSON: an object with `model`, `applied` and `refused` (counts), `rows`, `target`, `precision`, `choices`, `matrices`, `fast_inner`, `exact`, `more_exact` and `fused_groups`. A row has `pass`, \
`node`, `layer`, `line`, `span` (first byte and end in the spec), `outcome` (`applied` or `refused`) and \
`what` or `reason`. A choice has `node`, `layer`, `line`, `segments`, `ic` and `oc` (channels of each), `algorithms` \
(each with `algorithm` and `ms`) and `chosen` (the index of one). A matrix, a layer by the fast inner product, or one (`exact`) of f32 products where less exact ones were asked for, has `node`, `layer`, `line` and `part`. \
`more_exact` is null, or has `asked`, `layers`, `of` (layers that could do with less exact products) and `reason`. A group has `node`, `layers`, `line`, `saved_macs`, \
`cost_macs` and `strip_rows` (null where it does not pay), and `strip_bytes` where a single row would need too many.")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    /// Show every row, however many there are
    #[arg(long)]
    all: bool,
    /// Choose algorithms for an instruction set: baseline, avx2, avx512, avx512bf16, amx or native
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Target>, default_value = "native")]
    target: Target,
    /// How exact products are at least: f32; split, with AMX; bf16, with AMX or AVX512-BF16
    #[arg(long, value_name = "PRECISION", default_value_t = Precision::F32)]
    precision: Precision,
    /// Choose algorithms by the times of instructions in this file, as `xcc calibrate --output
    /// FILE` writes them
    #[arg(long, value_name = "FILE")]
    constants: Option<PathBuf>,
    /// Print one JSON object instead of tables; has every row
    #[arg(long)]
    json: bool,
}

/// Rewrites the network and prints what was done.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut loaded = cli::load_graph(&arguments.spec)?;
    let mut report = optimize(&mut loaded.graph, &PassOptions::default());
    report.rows.retain(|row| is_of_use(row, &loaded.graph));
    let lines = LineTable::new(&loaded.source);
    let target = cli::with_constants(arguments.target, arguments.constants.as_deref())?;
    let options = PlanOptions { precision: arguments.precision, ..PlanOptions::default() };
    let program = plan(&loaded.graph, target, options).map_err(Failure::input)?;
    let planned = Planned::new(&program, &loaded.graph, &lines);
    if arguments.json {
        return cli::print_json(&json(&loaded, &report, planned, &lines));
    }
    let limit = if arguments.all { usize::MAX } else { SHORT };
    cli::print(&(text(&loaded, &report, &lines, limit) + &planned.text(limit)))
}

/// Finds the line of a byte.
struct LineTable {
    /// First byte of each line.
    starts: Vec<u32>,
}

impl LineTable {
    fn new(source: &str) -> Self {
        let ends = source.bytes().zip(1..).filter(|&(byte, _)| byte == b'\n').map(|(_, next)| next);
        Self { starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The line of byte `offset`, from 1.
    fn line(&self, offset: u32) -> usize {
        self.starts.partition_point(|&start| start <= offset)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Explanation<'a> {
    model: &'a str,
    applied: usize,
    refused: usize,
    rows: Vec<PlacedRow<'a>>,
    #[serde(flatten)]
    planned: Planned,
}

/// What a plan decided.
#[derive(Serialize)]
struct Planned {
    target: String,
    precision: String,
    choices: Vec<ChoiceRow>,
    matrices: Vec<StageRow>,
    fast_inner: Vec<StageRow>,
    /// Stages that have more exact products than asked for, and why.
    exact: Vec<StageRow>,
    more_exact: Option<MoreExact>,
    fused_groups: Vec<FusionRow>,
    /// What multiplies matrices.
    #[serde(skip)]
    unit: Option<Bf16Unit>,
    /// bf16 values that a factor of them is taken as.
    #[serde(skip)]
    parts: u32,
}

/// A row with its line.
#[derive(Serialize)]
struct PlacedRow<'a> {
    line: usize,
    #[serde(flatten)]
    row: &'a Row,
}

fn json<'a>(loaded: &'a Loaded, report: &'a Report, planned: Planned, lines: &LineTable) -> Explanation<'a> {
    let rows = report.rows.iter().map(|row| PlacedRow { line: lines.line(row.span.start), row });
    let applied = report.applied();
    let refused = report.rows.len() - applied;
    Explanation { model: &loaded.graph.name, applied, refused, rows: rows.collect(), planned }
}

/// Whether a user can act on a row. A strided 1x1 convolution that reads what others read, too, is
/// a shortcut: nothing makes it a part of a separable layer. `graph` is the rewritten one;
/// separable layers are fused last, so the convolution is still there.
fn is_of_use(row: &Row, graph: &Graph) -> bool {
    let node = graph.node(row.node);
    let is_shortcut = matches!(&node.op, Op::Conv(conv) if !conv.window.is_point())
        && node.inputs.first().is_some_and(|&input| graph.users(input).len() > 1);
    is_applied(row) || row.pass != "fuse_separable" || !is_shortcut
}

fn text(loaded: &Loaded, report: &Report, lines: &LineTable, limit: usize) -> String {
    let applied = report.applied();
    let refused = report.rows.len() - applied;
    let mut text =
        format!("{}: {} applied, {refused} refused\n", loaded.graph.name, counted(applied, "rewrite"));
    for pass in &PASSES {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.pass == pass.name).collect();
        if !rows.is_empty() {
            text.push_str(&pass_text(pass, &rows, lines, limit));
        }
    }
    text
}

fn pass_text(pass: &Pass, rows: &[&Row], lines: &LineTable, limit: usize) -> String {
    let with =
        |applied| rows.iter().filter(move |row| is_applied(row) == applied).map(|row| cells(row, lines));
    let groups = [("applied", distinct(with(true))), ("refused", distinct(with(false)))];
    section((pass.name, pass.about), groups, limit)
}

impl Planned {
    fn new(program: &Program, graph: &Graph, lines: &LineTable) -> Self {
        let schedule = &program.schedule;
        let by = |is_such: fn(&Algorithm) -> bool| {
            let rows = |&id| StageRow::of_node((graph, id), schedule.stages(id, is_such), lines);
            graph.order().iter().flat_map(rows).collect()
        };
        let exact =
            |&id: &NodeId| StageRow::of_node((graph, id), schedule.precisions.more_exact_stages(id), lines);
        Self {
            target: program.target.to_string(),
            precision: program.options.precision.to_string(),
            parts: program.options.precision.limbs(),
            choices: program
                .schedule
                .choices
                .iter()
                .map(|choice| ChoiceRow::new(choice, graph, lines))
                .collect(),
            matrices: by(|algorithm| *algorithm == Algorithm::Matmul),
            fast_inner: by(|algorithm| matches!(algorithm, Algorithm::FastInnerProduct { .. })),
            exact: graph.order().iter().flat_map(exact).collect(),
            more_exact: program.schedule.more_exact(),
            fused_groups: program
                .schedule
                .considered_groups()
                .iter()
                .map(|group| FusionRow::new(group, graph, lines))
                .collect(),
            unit: program.target.bf16_unit(),
        }
    }

    fn text(&self, limit: usize) -> String {
        self.segments_text(limit)
            + &self.matrices_text(limit)
            + &self.fast_inner_text(limit)
            + &self.exact_text(limit)
            + &self.fusion_text(limit)
    }

    /// Which layers are multiplied as matrices.
    fn matrices_text(&self, limit: usize) -> String {
        if self.matrices.is_empty() {
            return String::new();
        }
        let unit = if self.unit == Some(Bf16Unit::Pairs) { "in pairs" } else { "by tiles" };
        let values = match self.parts {
            1 => "rounded to bf16".to_owned(),
            parts => format!("taken as {parts} bf16 values each"),
        };
        let about = format!("multiplies layers as matrices {unit}, with factors {values}");
        let rows = distinct(self.matrices.iter().map(StageRow::cells));
        section(("matrices", &about), [("chosen", rows)], limit)
    }

    /// Which layers have fast inner products.
    fn fast_inner_text(&self, limit: usize) -> String {
        if self.fast_inner.is_empty() {
            return String::new();
        }
        let about = "pairs inputs of pointwise layers (Winograd's inner product of 1968): one multiplication and two additions for two multiplications, \
             since this processor adds while it multiplies";
        let rows = distinct(self.fast_inner.iter().map(StageRow::cells));
        section(("fast inner product", about), [("chosen", rows)], limit)
    }

    /// Which layers have more exact products than asked for.
    fn exact_text(&self, limit: usize) -> String {
        let Some(exact) = &self.more_exact else { return String::new() };
        let rows = distinct(self.exact.iter().map(StageRow::cells));
        section(("precision", &exact.to_string()), [("chosen", rows)], limit)
    }

    /// How segments are computed, where there is a choice.
    fn segments_text(&self, limit: usize) -> String {
        if self.choices.is_empty() {
            return String::new();
        }
        let percent = 100.0 * TOLERANCE;
        let about = format!(
            "computes segments for {} in the algorithm whose instructions take the least time, or the first within {percent} % of it",
            self.target
        );
        section(
            ("algorithms", &about),
            [("chosen", distinct(self.choices.iter().map(ChoiceRow::cells)))],
            limit,
        )
    }

    /// Which layers are computed together, where maps are larger than a cache.
    fn fusion_text(&self, limit: usize) -> String {
        if self.fused_groups.is_empty() {
            return String::new();
        }
        let about = "computes layers together, some rows at a time, where that saves more multiply-adds' time than it costs";
        let with = |chosen| {
            self.fused_groups.iter().filter(move |row| row.is_chosen() == chosen).map(FusionRow::cells)
        };
        section(
            ("fused layers", about),
            [("chosen", distinct(with(true))), ("refused", distinct(with(false)))],
            limit,
        )
    }
}

/// A heading and at most `limit` rows of each group, which has a name.
fn section<const N: usize>(
    (name, about): (&str, &str),
    groups: [(&str, Vec<Cells>); N],
    limit: usize,
) -> String {
    let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Left, Layout::Below]);
    let mut hidden = Vec::new();
    for (word, cells) in groups {
        let more = cells.len().saturating_sub(limit);
        hidden.extend((more > 0).then(|| format!("{more} more {word}")));
        cells.into_iter().take(limit).for_each(|cells| table.row(cells));
    }
    let (width, color) = (terminal::width(), terminal::color(&io::stdout()));
    // The indent of reasons, so that it does not look like a row.
    let head = wrap(&format!("{name}: {about}"), width.saturating_sub(2)).join("\n  ");
    let head = if color { head.replacen(name, &format!("\x1b[1m{name}\x1b[0m"), 1) } else { head };
    let mut text = format!("\n{head}\n{}", table.render(width, color));
    if !hidden.is_empty() {
        text.push_str(&format!("  ... {}; --all shows them\n", hidden.join(", ")));
    }
    text
}

fn is_applied(row: &Row) -> bool {
    matches!(row.outcome, Outcome::Applied { .. })
}

/// Layer, line, value, and what was done or why not.
type Cells = [String; 4];

fn cells(row: &Row, lines: &LineTable) -> Cells {
    let why = match &row.outcome {
        Outcome::Applied { what } => what.clone(),
        Outcome::Refused { reason } => format!("refused: {}", clauses(reason)),
    };
    let line = format!("line {}", lines.line(row.span.start));
    [format!("  {}", row.layer), line, row.node.to_string(), why]
}

/// A reason of several clauses, those that are repeated once and with their number.
fn clauses(reason: &str) -> String {
    let clauses = with_counts(reason.split("; "));
    clauses
        .into_iter()
        .map(|(clause, count)| clause.to_owned() + &times(count))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Rows without repetitions, those that were repeated with their number.
fn distinct(rows: impl Iterator<Item = Cells>) -> Vec<Cells> {
    let counted = with_counts(rows).into_iter();
    counted.map(|([layer, line, node, why], count)| [layer, line, node, why + &times(count)]).collect()
}

fn times(count: usize) -> String {
    if count > 1 { format!(" ({count} times)") } else { String::new() }
}

/// Each item once, in the order of first appearance, and how often it is there.
fn with_counts<T: Clone + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut places: HashMap<T, usize> = HashMap::new();
    let mut counted: Vec<(T, usize)> = Vec::new();
    for item in items {
        let place = *places.entry(item.clone()).or_insert(counted.len());
        match counted.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => counted.push((item, 1)),
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_own_their_line_feed() {
        let lines = LineTable::new("ab\n\nc");
        assert_eq!([0, 1, 2, 3, 4, 9].map(|offset| lines.line(offset)), [1, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn what_is_repeated_is_said_once() {
        let merged = clauses("sum v27 cannot merge; pool v9 cannot merge; sum v27 cannot merge");
        assert_eq!(merged, "sum v27 cannot merge (2 times); pool v9 cannot merge");
        let row = |why: &str| ["a", "line 1", "v1", why].map(str::to_owned);
        let rows = distinct([row("x"), row("y"), row("x"), row("x")].into_iter());
        assert_eq!(rows, [row("x (3 times)"), row("y")]);
    }
}
