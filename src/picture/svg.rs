//! A drawing as SVG, self-contained: no script, no font file, no style that reaches beyond it.

use svg::Document;
use svg::node::element::{Circle, Group, Line, Polygon, Polyline, Rectangle, Text, Title};

use super::drawing::{Area, Drawing, LayerBox, Point, Shape, Style};
use crate::layers::Form;

/// Baselines of the lines of a box, from its upper edge.
const FIRST_LINE: f64 = 15.0;
/// From baseline to baseline.
const LINE: f64 = 11.5;
/// The strip that shows segments.
const STRIP: f64 = 4.0;
/// More cuts than pixels allow are shown as a hatching with this distance.
const HATCH: f64 = 3.0;
/// Of lines and letters.
const INK: &str = "#222222";
/// The radius of the circle of a sum.
pub const SUM_RADIUS: f64 = 9.0;

/// The SVG element of a drawing.
pub fn write(drawing: &Drawing) -> String {
    let Drawing { title, width, height, shapes } = drawing;
    let document = Document::new()
        .set("viewBox", format!("0 0 {} {}", number(*width), number(*height)))
        .set("width", number(*width))
        .set("height", number(*height))
        .set("role", "img")
        .set("font-family", "Helvetica, Arial, Liberation Sans, sans-serif")
        .add(Title::new(title))
        .add(rectangle(Area { x: 0.0, y: 0.0, width: *width, height: *height }).set("fill", "#ffffff"));
    let mut text = shapes.iter().fold(document, |document, shape| document.add(element(shape))).to_string();
    text.push('\n');
    text
}

/// Tenths are exact enough, and the same on every machine.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn element(shape: &Shape) -> Group {
    match shape {
        Shape::Layer(layer) => layer_box(layer),
        Shape::Line { points, is_arrow } => line(points, *is_arrow),
        Shape::Sum(at) => sum(*at),
        Shape::Text { at, text, style } => Group::new().add(styled(*at, text, *style)),
        Shape::Frame(area) => Group::new().add(
            rectangle(*area)
                .set("rx", 6)
                .set("fill", "none")
                .set("stroke", "#666666")
                .set("stroke-dasharray", "5 4"),
        ),
    }
}

fn rectangle(area: Area) -> Rectangle {
    Rectangle::new()
        .set("x", number(area.x))
        .set("y", number(area.y))
        .set("width", number(area.width))
        .set("height", number(area.height))
}

/// Fill and edge of a form: tints of the colours of Okabe and Ito (*Color Universal Design*,
/// 2008), which the colour-blind tell apart; in grey they differ in edge and strip.
pub fn colors(form: Form) -> (&'static str, &'static str) {
    match form {
        Form::Regular => ("#d3efe6", "#009e73"),
        Form::Segmented => ("#fdeccb", "#e69f00"),
        Form::Depthwise => ("#d5e8f5", "#0072b2"),
        Form::Pointwise => ("#f2f2f2", "#555555"),
        Form::Dense => ("#fbd9c4", "#d55e00"),
        Form::Pool => ("#f6e3ee", "#cc79a7"),
        Form::Other => ("#ffffff", "#999999"),
    }
}

fn layer_box(layer: &LayerBox) -> Group {
    let (fill, edge) = colors(layer.form);
    let outline = rectangle(layer.area)
        .set("rx", 3)
        .set("fill", fill)
        .set("stroke", edge)
        .set("stroke-width", if layer.form == Form::Depthwise { 2 } else { 1 });
    let middle = layer.area.x + layer.area.width / 2.0;
    let mut group = Group::new();
    if !layer.name.is_empty() {
        group = group.set("data-layer", layer.name.as_str());
    }
    if !layer.tip.is_empty() {
        group = group.add(Title::new(&layer.tip));
    }
    group = group.add(outline);
    group = strip(group, layer, edge);
    let first = layer.area.y + FIRST_LINE - if layer.lines.is_empty() { 2.0 } else { 0.0 };
    group = group.add(centred((middle, first), &layer.title, 11.0).set("font-weight", weight(layer)));
    for (line, text) in layer.lines.iter().enumerate() {
        let baseline = first + LINE * (line + 1) as f64;
        group = group.add(centred((middle, baseline), text, 9.0));
    }
    group
}

fn weight(layer: &LayerBox) -> &'static str {
    if layer.lines.is_empty() { "normal" } else { "bold" }
}

/// The lower edge of a box, cut as the channels are.
fn strip(group: Group, layer: &LayerBox, edge: &'static str) -> Group {
    let Area { x, y, width, height } = layer.area;
    if layer.cuts.is_empty() {
        return group;
    }
    let (top, bottom) = (y + height - STRIP, y + height);
    let cut = |at: f64| Line::new().set("x1", number(at)).set("x2", number(at));
    let cut = |at: f64| cut(at).set("y1", number(top)).set("y2", number(bottom)).set("stroke", edge);
    let across = Line::new().set("x1", number(x)).set("x2", number(x + width));
    let across = across.set("y1", number(top)).set("y2", number(top)).set("stroke", edge);
    let most = (width / HATCH) as usize;
    let even: Vec<f64> = (1..most).map(|n| n as f64 / most as f64).collect();
    let cuts = if layer.cuts.len() >= most { &even } else { &layer.cuts };
    cuts.iter().fold(group.add(across), |group, share| group.add(cut(x + share * width)))
}

fn centred((x, y): Point, text: &str, size: f64) -> Text {
    Text::new(text)
        .set("x", number(x))
        .set("y", number(y))
        .set("text-anchor", "middle")
        .set("font-size", number(size))
        .set("fill", INK)
}

fn styled(at: Point, text: &str, style: Style) -> Text {
    match style {
        Style::Heading => centred(at, text, 15.0).set("font-weight", "bold"),
        Style::Caption => centred(at, text, 11.0).set("font-style", "italic"),
        Style::Note => centred(at, text, 9.0),
    }
}

fn line(points: &[Point], is_arrow: bool) -> Group {
    let text: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
    let path = Polyline::new().set("points", text.join(" ")).set("fill", "none").set("stroke", INK);
    let group = Group::new().add(path);
    match points {
        [.., from, to] if is_arrow => group.add(arrow(*from, *to)),
        _ => group,
    }
}

/// The head of an arrow that ends at `to`; lines are horizontal or vertical.
fn arrow(from: Point, to: Point) -> Polygon {
    const LENGTH: f64 = 5.0;
    const HALF: f64 = 2.6;
    let (dx, dy) = ((to.0 - from.0).clamp(-1.0, 1.0), (to.1 - from.1).clamp(-1.0, 1.0));
    let (back_x, back_y) = (to.0 - dx * LENGTH, to.1 - dy * LENGTH);
    let corners = [to, (back_x - dy * HALF, back_y + dx * HALF), (back_x + dy * HALF, back_y - dx * HALF)];
    let text: Vec<String> = corners.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
    Polygon::new().set("points", text.join(" ")).set("fill", INK)
}

fn sum((x, y): Point) -> Group {
    let circle = Circle::new()
        .set("cx", number(x))
        .set("cy", number(y))
        .set("r", number(SUM_RADIUS))
        .set("fill", "#ffffff")
        .set("stroke", INK);
    Group::new().add(circle).add(centred((x, y + 4.5), "+", 14.0))
}
