//! Where things are in a drawing: flows are columns, rows run down, shortcuts pass at the left.

use xcc_compiler::graph::{Graph, LayerId, LayerKind, Shape as Extent};

use super::drawing::{Area, Drawing, LayerBox, Point, Shape, Style};
use super::svg::SUM_RADIUS;
use super::tree::{Flow, Fork, Item, Tree, last_layer, visit};
use crate::layers::{Description, Form};

/// From a box to the next one below.
const GAP: f64 = 12.0;
/// Between paths, and between a path and its shortcut.
const ASIDE: f64 = 16.0;
/// From where a row begins to where its paths part.
const PART: f64 = 5.0;
/// Around everything, and between columns.
const MARGIN: f64 = 24.0;
/// Within frames.
const PADDING: f64 = 22.0;
/// A flow that is higher goes on in another column.
const HIGHEST: f64 = 1500.0;
/// Of a box with one line; each other line adds [`LINE`].
const THIN: f64 = 19.0;
const LINE: f64 = 12.0;
/// What a box with several lines has below them.
const FOOT: f64 = 5.0;
const NARROWEST_BOX: f64 = 84.0;

/// A part of a drawing. It is entered at (0, 0) and left at (0, `height`).
#[derive(Default)]
struct Block {
    left: f64,
    right: f64,
    height: f64,
    /// Whether an arrow may point at its beginning.
    has_head: bool,
    shapes: Vec<Shape>,
}

impl Block {
    fn width(&self) -> f64 {
        self.left + self.right
    }

    /// Puts a block into this one.
    fn add(&mut self, block: Block, x: f64, y: f64) {
        self.left = self.left.max(block.left - x);
        self.right = self.right.max(block.right + x);
        self.height = self.height.max(y + block.height);
        self.shapes.extend(block.shapes.into_iter().map(|shape| moved(shape, x, y)));
    }

    fn line(&mut self, points: &[Point], is_arrow: bool) {
        self.shapes.push(Shape::Line { points: points.to_vec(), is_arrow });
    }

    fn text(&mut self, at: Point, text: String, style: Style) {
        let half = text_width(&text, style) / 2.0;
        self.left = self.left.max(half - at.0);
        self.right = self.right.max(half + at.0);
        self.height = self.height.max(at.1);
        self.shapes.push(Shape::Text { at, text, style });
    }
}

fn moved(shape: Shape, dx: f64, dy: f64) -> Shape {
    let point = |(x, y): Point| (x + dx, y + dy);
    let area = |area: Area| Area { x: area.x + dx, y: area.y + dy, ..area };
    match shape {
        Shape::Layer(layer) => Shape::Layer(LayerBox { area: area(layer.area), ..layer }),
        Shape::Line { points, is_arrow } => {
            Shape::Line { points: points.into_iter().map(point).collect(), is_arrow }
        }
        Shape::Sum(at) => Shape::Sum(point(at)),
        Shape::Text { at, text, style } => Shape::Text { at: point(at), text, style },
        Shape::Frame(frame) => Shape::Frame(area(frame)),
    }
}

/// About as wide as text is in sans-serif fonts, the wider ones included.
fn text_width(text: &str, style: Style) -> f64 {
    let letter = match style {
        Style::Heading => 9.4,
        Style::Caption => 6.8,
        Style::Note => 5.2,
    };
    text.chars().count() as f64 * letter
}

/// Places the tree of a graph.
pub fn place(graph: &Graph, tree: &Tree) -> Drawing {
    let parts = tree.flows.iter().flat_map(|flow| parts(tree, flow));
    let columns = parts.enumerate().map(|(number, part)| column(tree, &part, number == 0));
    let mut shapes = Vec::new();
    let (mut x, mut height) = (MARGIN, 0.0_f64);
    for column in columns {
        height = height.max(column.height);
        let middle = x + column.left;
        x += column.width() + MARGIN;
        shapes.extend(column.shapes.into_iter().map(|shape| moved(shape, middle, MARGIN)));
    }
    let legend = legend(tree);
    let width = x.max(legend.width() + 2.0 * MARGIN);
    let below = height + 2.0 * MARGIN;
    height = below + legend.height + MARGIN;
    shapes.extend(legend.shapes.into_iter().map(|shape| moved(shape, width / 2.0, below)));
    let input = graph.node(graph.input).shape;
    let title = format!("{}: {} layers from {input}", graph.name, graph.layers.len());
    Drawing { title, width, height, shapes }
}

/// What of a flow is in one column: all, unless it is too high.
fn parts(tree: &Tree, flow: &Flow) -> Vec<Flow> {
    let heights: Vec<f64> =
        flow.items.iter().map(|item| row(tree, std::slice::from_ref(item)).height + GAP).collect();
    let all: f64 = heights.iter().sum();
    // Of equal height, but for what cannot be cut.
    let count = (all / HIGHEST).ceil().max(1.0);
    let mut parts: Vec<Flow> = Vec::new();
    let (mut above, mut reads) = (0.0, flow.reads);
    for (item, height) in flow.items.iter().zip(heights) {
        above += height;
        if parts.is_empty() || above > all / count * parts.len() as f64 + height / 2.0 {
            let more = if parts.is_empty() { "" } else { " (continued)" };
            let name = flow.name.as_ref().map(|name| format!("{}{more}", heading(name)));
            parts.push(Flow { name, items: Vec::new(), reads, yields: reads });
        }
        reads = last_layer(item).and_then(|layer| tree.describe(layer)).map_or(reads, |layer| layer.shape);
        if let Some(part) = parts.last_mut() {
            part.items.push(item.clone());
            part.yields = reads;
        }
    }
    parts
}

/// A column: name, shape, row, shape.
fn column(tree: &Tree, flow: &Flow, is_first: bool) -> Block {
    let mut block = Block::default();
    let mut y = 14.0;
    if let Some(name) = &flow.name {
        block.text((0.0, y), name.clone(), Style::Heading);
    }
    y += 24.0;
    // Images have samples of a few colours.
    let what = if is_first && flow.reads.c() <= 4 { "images" } else { "feature maps" };
    block.text((0.0, y), extent_text(flow.reads, what), Style::Caption);
    y += 5.0;
    let row = row(tree, &flow.items);
    block.line(&[(0.0, y), (0.0, y + GAP)], row.has_head);
    y += GAP;
    let height = row.height;
    block.add(row, 0.0, y);
    y += height;
    block.line(&[(0.0, y), (0.0, y + GAP)], true);
    y += GAP + 12.0;
    block.text((0.0, y), extent_text(flow.yields, "feature maps"), Style::Caption);
    block
}

/// The name of a flow as a heading: `Entry flow` as in the Xception paper, other names alone.
fn heading(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let noun = if ["entry", "middle", "exit"].contains(&name) { " flow" } else { "" };
    format!("{first}{}{noun}", letters.as_str())
}

fn extent_text(shape: Extent, what: &str) -> String {
    if shape.is_vector() { format!("{shape} values") } else { format!("{shape} {what}") }
}

/// Items below each other; boxes are as wide as the widest of them.
fn row(tree: &Tree, items: &[Item]) -> Block {
    let boxes: Vec<Option<LayerBox>> = items.iter().map(|item| item_box(tree, item)).collect();
    let width = boxes.iter().flatten().map(|layer| layer.area.width).fold(0.0, f64::max);
    let mut block = Block::default();
    for (number, (item, layer)) in items.iter().zip(boxes).enumerate() {
        let part = match layer {
            Some(layer) => box_block(layer, width),
            None => part(tree, item),
        };
        let mut y = block.height;
        if number == 0 {
            block.has_head = part.has_head;
        } else {
            block.line(&[(0.0, y), (0.0, y + GAP)], part.has_head);
            y += GAP;
        }
        block.add(part, 0.0, y);
    }
    block
}

fn box_block(mut layer: LayerBox, width: f64) -> Block {
    layer.area = Area { x: -width / 2.0, width, ..layer.area };
    let height = layer.area.height;
    let shapes = vec![Shape::Layer(layer)];
    Block { left: width / 2.0, right: width / 2.0, height, has_head: true, shapes }
}

/// The box of an item that is a layer.
fn item_box(tree: &Tree, item: &Item) -> Option<LayerBox> {
    match item {
        Item::Layer { layer, is_normalised } => {
            let mut found = layer_box(tree.describe(*layer)?);
            if *is_normalised {
                append(&mut found, "bn");
            }
            Some(resized(found))
        }
        _ => None,
    }
}

/// The box of a layer, not sized yet. What computes nothing but a function of each element has no
/// name there.
fn layer_box(layer: &Description) -> LayerBox {
    let mut lines = Vec::new();
    if layer.form != Form::Other {
        lines.push(layer.name.clone());
        // That a plain convolution has one segment goes without saying.
        let is_plain = layer.kind == LayerKind::Conv && layer.form == Form::Regular;
        let segments = layer.segments().filter(|_| !is_plain);
        let facts: Vec<String> = segments.into_iter().chain(layer.remarks.iter().cloned()).collect();
        lines.extend((!facts.is_empty()).then(|| facts.join(", ")));
    }
    LayerBox {
        name: layer.name.clone(),
        area: Area { x: 0.0, y: 0.0, width: 0.0, height: 0.0 },
        form: layer.form,
        title: layer.title.clone(),
        lines,
        cuts: cuts(layer),
        tip: tip(layer),
    }
}

/// Adds a fact to the last line.
fn append(layer: &mut LayerBox, fact: &str) {
    match &mut layer.lines[..] {
        [_, .., last] => *last = format!("{last}, {fact}"),
        _ => layer.lines.push(fact.to_owned()),
    }
}

/// A box of the size that its text needs.
fn resized(mut layer: LayerBox) -> LayerBox {
    let lines = layer.lines.iter().map(|line| text_width(line, Style::Note));
    let widest = lines.fold(text_width(&layer.title, Style::Caption), f64::max);
    layer.area.width = (widest + 18.0).max(NARROWEST_BOX);
    layer.area.height = THIN + if layer.lines.is_empty() { 0.0 } else { FOOT };
    layer.area.height += LINE * layer.lines.len() as f64;
    layer
}

/// Where segments begin, as shares of all channels.
fn cuts(layer: &Description) -> Vec<f64> {
    let partition = layer.partition.as_ref().filter(|partition| partition.segments() > 1);
    let cuts = partition.map(|partition| {
        let all = f64::from(partition.ic());
        partition.ranges().skip(1).map(|(inputs, _)| f64::from(inputs.start) / all).collect()
    });
    cuts.unwrap_or_default()
}

fn tip(layer: &Description) -> String {
    let cut = layer.segments().map_or_else(String::new, |segments| format!(", {segments}"));
    format!("{}: {}{cut}, yields {}", layer.name, layer.title, layer.shape)
}

/// A part of a row that is more than a box.
fn part(tree: &Tree, item: &Item) -> Block {
    match item {
        Item::Layer { .. } => Block::default(),
        Item::Fork(fork) => fork_block(tree, fork),
        Item::Listing(listed) => listing(tree, listed),
        Item::Repeat { times, body } => repeat(tree, *times, body),
    }
}

fn fork_block(tree: &Tree, fork: &Fork) -> Block {
    let Some(join) = tree.describe(fork.join) else { return Block::default() };
    let mut paths: Vec<Block> = fork.paths.iter().map(|path| row(tree, path)).collect();
    if join.kind == LayerKind::Add
        && paths.len() == 2
        && let Some(last) = paths.pop()
        && let Some(first) = paths.pop()
    {
        let (main, shortcut) = if last.height > first.height { (last, first) } else { (first, last) };
        return residual(main, shortcut, join);
    }
    side_by_side(paths, join)
}

/// The main path, its shortcut at the left, and the sum below.
fn residual(main: Block, shortcut: Block, join: &Description) -> Block {
    let mut block = Block::default();
    let aside = -(main.left + ASIDE + shortcut.right);
    let begin = PART + GAP;
    let [main_end, shortcut_end] = [begin + main.height, begin + shortcut.height];
    let sum = main_end.max(shortcut_end) + GAP + SUM_RADIUS;
    block.line(&[(0.0, 0.0), (0.0, begin)], main.has_head);
    if shortcut.shapes.is_empty() {
        block.line(&[(0.0, PART), (aside, PART), (aside, sum), (-SUM_RADIUS, sum)], true);
    } else {
        block.line(&[(0.0, PART), (aside, PART), (aside, begin)], shortcut.has_head);
        block.line(&[(aside, shortcut_end), (aside, sum), (-SUM_RADIUS, sum)], true);
    }
    block.line(&[(0.0, main_end), (0.0, sum - SUM_RADIUS)], true);
    block.shapes.push(Shape::Sum((0.0, sum)));
    block.add(main, 0.0, begin);
    block.add(shortcut, aside, begin);
    let beside = SUM_RADIUS + 4.0 + text_width(&join.name, Style::Note) / 2.0;
    block.text((beside, sum + 3.0), join.name.clone(), Style::Note);
    block.height = sum + SUM_RADIUS;
    block
}

/// Paths side by side, and a bar below in which they meet.
fn side_by_side(mut paths: Vec<Block>, join: &Description) -> Block {
    for path in &mut paths {
        // Even a path without layers needs room.
        path.left = path.left.max(ASIDE / 2.0);
        path.right = path.right.max(ASIDE / 2.0);
    }
    let mut bar = layer_box(join);
    bar.title = format!("{} ({})", join.title, join.name);
    bar = resized(bar);
    let gaps = ASIDE * paths.len().saturating_sub(1) as f64;
    let width = paths.iter().map(Block::width).sum::<f64>() + gaps;
    let begin = PART + GAP;
    let end = begin + paths.iter().map(|path| path.height).fold(0.0, f64::max) + GAP;
    let mut block = Block::default();
    let mut x = -width / 2.0;
    let mut ends = [0.0_f64; 2];
    block.line(&[(0.0, 0.0), (0.0, PART)], false);
    for path in paths {
        let middle = x + path.left;
        x += path.width() + ASIDE;
        ends = [ends[0].min(middle), ends[1].max(middle)];
        let is_empty = path.shapes.is_empty();
        block
            .line(&[(middle, PART), (middle, if is_empty { end } else { begin })], is_empty || path.has_head);
        if !is_empty {
            block.line(&[(middle, begin + path.height), (middle, end)], true);
        }
        block.add(path, middle, begin);
    }
    block.line(&[(ends[0], PART), (ends[1], PART)], false);
    let bar_width = bar.area.width.max(width);
    block.add(box_block(bar, bar_width), 0.0, end);
    block
}

/// Boxes below each other that say themselves what they read.
fn listing(tree: &Tree, listed: &[(LayerId, Vec<LayerId>)]) -> Block {
    let boxes: Vec<LayerBox> = listed
        .iter()
        .filter_map(|(layer, reads)| {
            let mut found = layer_box(tree.describe(*layer)?);
            if found.lines.is_empty() {
                found.lines.push(found.name.clone());
            }
            let names = reads.iter().filter_map(|&layer| Some(tree.describe(layer)?.name.as_str()));
            found.lines.push(format!("reads {}", names.collect::<Vec<_>>().join(", ")));
            Some(resized(found))
        })
        .collect();
    let width = boxes.iter().map(|layer| layer.area.width).fold(0.0, f64::max);
    let mut block = Block { has_head: true, ..Block::default() };
    for layer in boxes {
        let y = block.height + if block.height > 0.0 { GAP / 2.0 } else { 0.0 };
        block.add(box_block(layer, width), 0.0, y);
    }
    block
}

/// A row in a frame that says how often it is there.
fn repeat(tree: &Tree, times: usize, body: &[Item]) -> Block {
    let row = row(tree, body);
    let mut block = Block::default();
    let end = PADDING + row.height;
    block.line(&[(0.0, 0.0), (0.0, PADDING)], row.has_head);
    block.line(&[(0.0, end), (0.0, end + GAP)], false);
    let caption = format!("repeated {times} times");
    let half = text_width(&caption, Style::Caption) / 2.0;
    let left = (row.left + GAP).max(2.0 * half + 2.0 * GAP);
    let right = row.right + GAP;
    block.text((GAP - left + half, 14.0), caption, Style::Caption);
    block.add(row, 0.0, PADDING);
    let frame = Area { x: -left, y: 0.0, width: left + right, height: end + GAP };
    block.shapes.push(Shape::Frame(frame));
    Block { left, right, height: end + GAP, ..block }
}

/// What the colours mean, of those that are there.
fn legend(tree: &Tree) -> Block {
    let mut found: Vec<Form> = Vec::new();
    for flow in &tree.flows {
        visit(&flow.items, &mut |layer| found.extend(tree.describe(layer).map(|layer| layer.form)));
    }
    let forms = Form::ALL.into_iter().filter(|form| *form != Form::Other && found.contains(form));
    let boxes: Vec<LayerBox> = forms
        .map(|form| {
            let cuts = match form {
                Form::Segmented => vec![0.25, 0.5, 0.75],
                // More than there are pixels.
                Form::Depthwise => vec![0.0; 1000],
                _ => Vec::new(),
            };
            let area = Area { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
            let title = form.name().to_owned();
            let (name, lines, tip) = Default::default();
            resized(LayerBox { name, area, form, title, lines, cuts, tip })
        })
        .collect();
    let width = boxes.iter().map(|layer| layer.area.width + ASIDE).sum::<f64>() - ASIDE;
    let mut block = Block::default();
    let mut x = -width / 2.0;
    for layer in boxes {
        let width = layer.area.width;
        block.add(box_block(layer, width), x + width / 2.0, 0.0);
        x += width + ASIDE;
    }
    block
}
