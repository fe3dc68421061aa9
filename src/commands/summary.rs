//! `xcc summary`: the layers of a network and what they cost.

use std::io;

use clap::Args;
use xcc_compiler::cost::{FlowSummary, LayerSummary, Summary, Totals, summarize};
use xcc_compiler::elaborate::Param;

use crate::cli::{self, Failure, SpecArgs};
use crate::numbers::{bytes, in_units, macs, thousands};
use crate::table::{Layout, Table};
use crate::terminal;

/// From this width on, connections have a column; below, they stand under the layer.
const WIDE: usize = 110;

/// Show the layers of a network, their parameters and multiply-adds
///
/// Layers are grouped by flow. MACs are multiply-adds of one image: "spatial" those of windows of
/// several taps or segments, "pointwise" those of 1x1 convolutions and dense layers.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc summary specs/xception.xc --set segments=28
  xcc summary specs/xception.xc --json

JSON: an object with `model`, `input_shape`, `flows` and `totals`. A flow has `name`, `layers` and \
`totals`; a layer has `name`, `class`, `output_shape`, `parameters`, `trainable_parameters`, \
`spatial_macs`, `pointwise_macs`, `activation_bytes` and `connected_to`; totals have `parameters`, \
`trainable_parameters`, `non_trainable_parameters`, `weight_bytes`, `spatial_macs`, `pointwise_macs`, \
`macs` (both) and `activation_bytes`.")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Columns of the table [default: those of the terminal, 80 without one]
    #[arg(long, value_name = "N", conflicts_with = "json")]
    width: Option<usize>,
}

/// Prints the summary.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = cli::load_graph(&arguments.spec)?;
    let summary = summarize(&loaded.graph);
    if arguments.json {
        return cli::print_json(&summary);
    }
    let width = arguments.width.unwrap_or_else(terminal::width);
    let head = head(&summary, &loaded.parameters);
    cli::print(&text(&head, &summary, width, terminal::color(&io::stdout())))
}

/// The model, its input and the parameters that are not at their defaults.
fn head(summary: &Summary, parameters: &[Param]) -> String {
    let mut head = format!("{}: input {}", summary.model, shape(&summary.input_shape));
    for Param { name, value, .. } in parameters.iter().filter(|parameter| parameter.is_set) {
        if let Some(value) = value {
            head.push_str(&format!(", {name} {value}"));
        }
    }
    head
}

fn text(head: &str, summary: &Summary, width: usize, color: bool) -> String {
    let layers = layer_table(summary, width).render(width, color);
    format!("{head}\n\n{layers}\n{}", totals_table(&summary.totals).render(width, color))
}

fn shape(extents: &[u32]) -> String {
    extents.iter().map(u32::to_string).collect::<Vec<_>>().join("x")
}

/// The unit of the columns of multiply-adds.
#[derive(Clone, Copy)]
struct Unit {
    name: &'static str,
    macs: u64,
}

impl Unit {
    /// Thousands for networks of less than ten millions.
    fn of(totals: &Totals) -> Self {
        if totals.macs < 10_000_000 {
            Unit { name: "kMACs", macs: 1000 }
        } else {
            Unit { name: "MMACs", macs: 1_000_000 }
        }
    }

    fn print(self, macs: u64) -> String {
        in_units(macs, self.macs)
    }
}

/// Where connections are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connections {
    /// Nowhere: each layer reads the one before it.
    Hidden,
    /// In a column.
    Column,
    /// Under layers that do not read just the one before them.
    Below,
}

fn layer_table(summary: &Summary, width: usize) -> Table {
    let connections = match () {
        () if is_sequential(summary) => Connections::Hidden,
        () if width >= WIDE => Connections::Column,
        () => Connections::Below,
    };
    let unit = Unit::of(&summary.totals);
    let [spatial, pointwise] = ["Spatial", "Pointwise"].map(|kind| format!("{kind}\n{}", unit.name));
    let mut layouts = vec![Layout::Wrapped, Layout::Left, Layout::Right, Layout::Right, Layout::Right];
    let mut head = vec!["Layer (type)", "Output shape", "Parameters", &spatial, &pointwise];
    if connections == Connections::Column {
        layouts.push(Layout::Wrapped);
        head.push("Connected to");
    }
    let mut table = Table::new(&layouts);
    table.strong_row(head.into_iter().map(str::to_owned));
    let mut previous = None;
    for flow in &summary.flows {
        table.rule(flow.name.as_deref().unwrap_or_default());
        for layer in &flow.layers {
            table.row(layer_row(layer, previous, connections, unit));
            previous = Some(layer);
        }
        flow_sum(&mut table, flow, unit);
    }
    table.rule("");
    table.strong_row(sum_row("Total", &summary.totals, unit));
    table
}

fn flow_sum(table: &mut Table, flow: &FlowSummary, unit: Unit) {
    if let Some(name) = &flow.name {
        table.strong_row(sum_row(&format!("Total of {name}"), &flow.totals, unit));
    }
}

fn is_sequential(summary: &Summary) -> bool {
    let layers: Vec<&LayerSummary> = summary.flows.iter().flat_map(|flow| &flow.layers).collect();
    layers.windows(2).all(|pair| follows(pair[1], Some(pair[0])))
}

/// Whether `layer` reads the one before it and nothing else.
fn follows(layer: &LayerSummary, previous: Option<&LayerSummary>) -> bool {
    match (&layer.connected_to[..], previous) {
        ([], _) => true,
        ([name], Some(previous)) => *name == previous.name,
        _ => false,
    }
}

fn layer_row(
    layer: &LayerSummary,
    previous: Option<&LayerSummary>,
    connections: Connections,
    unit: Unit,
) -> Vec<String> {
    let mut label = format!("{} ({})", layer.name, layer.class);
    let inputs = layer.connected_to.join(", ");
    if connections == Connections::Below && !follows(layer, previous) {
        label.push_str(&format!("\n  from {inputs}"));
    }
    let mut row = vec![
        label,
        shape(&layer.output_shape),
        thousands(layer.parameters),
        unit.print(layer.spatial_macs),
        unit.print(layer.pointwise_macs),
    ];
    if connections == Connections::Column {
        row.push(inputs);
    }
    row
}

fn sum_row(label: &str, totals: &Totals, unit: Unit) -> Vec<String> {
    vec![
        label.to_owned(),
        String::new(),
        thousands(totals.parameters),
        unit.print(totals.spatial_macs),
        unit.print(totals.pointwise_macs),
    ]
}

fn totals_table(totals: &Totals) -> Table {
    let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Left]);
    let mut line = |label: &str, number: u64, remark: String| {
        table.row([label.to_owned(), thousands(number), remark]);
    };
    line("Parameters", totals.parameters, bytes(totals.weight_bytes));
    line("  trainable", totals.trainable_parameters, String::new());
    line("  not trainable", totals.non_trainable_parameters, String::new());
    line("Multiply-adds", totals.macs, macs(totals.macs));
    line("  spatial", totals.spatial_macs, share(totals.spatial_macs, totals.macs));
    line("  pointwise", totals.pointwise_macs, share(totals.pointwise_macs, totals.macs));
    let results = totals.activation_bytes / size_of::<f32>() as u64;
    line("Results of layers", results, format!("{} for one image", bytes(totals.activation_bytes)));
    table
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}
