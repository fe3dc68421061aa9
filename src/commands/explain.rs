//! `xcc explain`: every rewrite of the graph that was made or refused, and why.

use std::io;

use clap::Args;
use serde::Serialize;
use xcc_compiler::passes::{Outcome, PASSES, Pass, PassOptions, Report, Row, optimize};

use crate::cli::{self, Failure, Loaded, SpecArgs};
use crate::table::{Layout, Table};
use crate::terminal;

/// Rows of one pass and outcome that are shown without `--all`.
const SHORT: usize = 5;

/// Show which rewrites a network allows and which are refused, with reasons
///
/// Lines are those of the spec. Values are named as `xcc emit --stage graph` and `--stage fused` name them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc explain specs/xception.xc
  xcc explain specs/xception.xc --all | grep refused

JSON: an object with `model`, `applied` and `refused` (counts) and `rows`. A row has `pass`, `node`,
`layer`, `line`, `span` (first byte and end in the spec), `outcome` (`applied` or `refused`) and
`what` or `reason`.")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    /// Show every row, however many there are
    #[arg(long)]
    all: bool,
    /// Print one JSON object instead of tables; has every row
    #[arg(long)]
    json: bool,
}

/// Rewrites the network and prints what was done.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut loaded = cli::load_graph(&arguments.spec)?;
    let report = optimize(&mut loaded.graph, &PassOptions::default());
    let lines = LineTable::new(&loaded.source);
    if arguments.json {
        return cli::print_json(&json(&loaded, &report, &lines));
    }
    let limit = if arguments.all { usize::MAX } else { SHORT };
    cli::print(&text(&loaded, &report, &lines, limit))
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
}

/// A row with its line.
#[derive(Serialize)]
struct PlacedRow<'a> {
    line: usize,
    #[serde(flatten)]
    row: &'a Row,
}

fn json<'a>(loaded: &'a Loaded, report: &'a Report, lines: &LineTable) -> Explanation<'a> {
    let rows = report.rows.iter().map(|row| PlacedRow { line: lines.line(row.span.start), row });
    let applied = report.applied();
    let refused = report.rows.len() - applied;
    Explanation { model: &loaded.graph.name, applied, refused, rows: rows.collect() }
}

fn text(loaded: &Loaded, report: &Report, lines: &LineTable, limit: usize) -> String {
    let applied = report.applied();
    let refused = report.rows.len() - applied;
    let mut text = format!("{}: {applied} rewrites applied, {refused} refused\n", loaded.graph.name);
    for pass in &PASSES {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.pass == pass.name).collect();
        if !rows.is_empty() {
            text.push_str(&pass_text(pass, &rows, lines, limit));
        }
    }
    text
}

fn pass_text(pass: &Pass, rows: &[&Row], lines: &LineTable, limit: usize) -> String {
    let of = |applied: bool| rows.iter().copied().filter(move |row| is_applied(row) == applied);
    let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Left, Layout::Left, Layout::Wrapped]);
    let mut hidden = Vec::new();
    for (applied, word) in [(true, "applied"), (false, "refused")] {
        of(applied).take(limit).for_each(|row| table.row(cells(row, lines)));
        let more = of(applied).count().saturating_sub(limit);
        hidden.extend((more > 0).then(|| format!("{more} more {word}")));
    }
    let color = terminal::color(&io::stdout());
    let name = if color { format!("\x1b[1m{}\x1b[0m", pass.name) } else { pass.name.to_owned() };
    let width = terminal::width().unwrap_or(usize::MAX);
    let mut text = format!("\n{name}: {}\n{}", pass.about, table.render(width, color));
    if !hidden.is_empty() {
        text.push_str(&format!("  ... {}; --all shows them\n", hidden.join(", ")));
    }
    text
}

fn is_applied(row: &Row) -> bool {
    matches!(row.outcome, Outcome::Applied { .. })
}

fn cells(row: &Row, lines: &LineTable) -> [String; 5] {
    let (outcome, why) = match &row.outcome {
        Outcome::Applied { what } => ("applied", what),
        Outcome::Refused { reason } => ("refused", reason),
    };
    let line = format!("line {}", lines.line(row.span.start));
    [format!("  {}", row.layer), line, row.node.to_string(), outcome.to_owned(), why.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_own_their_line_feed() {
        let lines = LineTable::new("ab\n\nc");
        assert_eq!([0, 1, 2, 3, 4, 9].map(|offset| lines.line(offset)), [1, 1, 1, 2, 3, 3]);
    }
}
