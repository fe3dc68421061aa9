//! A chart as a value, and as SVG: axes, lines and marks. The only place that knows of the
//! plotting library.
//!
//! Lengths are in pixels of a drawing that is shown at about half its size, so that places are
//! exact enough.

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::prelude::{
    ChartBuilder, Circle, Color, EmptyElement, IntoDrawingArea, IntoFont, PathElement, Polygon, RGBColor,
    SVGBackend, ShapeStyle, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, LETTER};
use super::html::escape;
use super::marks::{GREY, HAIRLINE, INK, Mark, Shape};

/// The size of text as the plotting library counts it, which divides it by 1.24, and as SVG does.
pub const FONT: i32 = 26;
pub const TEXT: f64 = 21.0;
/// The size of labels of marks and of notes, and how far notes are above their places.
const LABEL: i32 = FONT - 4;
const NOTE_ABOVE: i32 = 6;
/// How far the places are apart at which labels are kept off lines.
const EVERY: i32 = 8;
/// The radius of marks.
pub const RADIUS: i32 = 9;
/// Width of the labels at the left and height of those below.
const LEFT: i32 = 120;
const BELOW: i32 = 80;
/// What is left free at the other sides.
pub const MARGIN: i32 = 24;
/// The length of dashes and of the gaps between them.
const DASH: [f64; 2] = [12.0, 9.0];

/// The name of what elements of SVG mean.
pub const SVG: &str = "http://www.w3.org/2000/svg";

/// Why a chart could not be drawn.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;
type Page<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Context<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// What a chart shows. Places are in the units of the axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows, for those who do not see it.
    pub title: String,
    /// Width and height.
    pub size: (u32, u32),
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Lines, behind the marks.
    pub lines: Vec<Line>,
    /// Marks.
    pub dots: Vec<Dot>,
    /// Texts beside places.
    pub notes: Vec<Note>,
}

/// A line through places.
#[derive(Clone, Debug)]
pub struct Line {
    /// The places.
    pub places: Vec<(f64, f64)>,
    /// Its colour.
    pub color: RGBColor,
    /// Whether it is dashed.
    pub is_dashed: bool,
}

/// A mark at a place.
#[derive(Clone, Debug)]
pub struct Dot {
    /// The place.
    pub at: (f64, f64),
    /// What it looks like.
    pub mark: Mark,
    /// Half its width.
    pub radius: i32,
    /// Whether only its outline is drawn.
    pub is_hollow: bool,
    /// The point of the sweep that it stands for; choosing the mark chooses the point.
    pub point: Option<usize>,
    /// What a pointer over it shows.
    pub tip: String,
    /// A text beside it, left out where it would lie on others.
    pub label: Option<String>,
}

/// A text that ends above a place.
#[derive(Clone, Debug)]
pub struct Note {
    /// The place.
    pub at: (f64, f64),
    /// The text.
    pub text: String,
}

/// A drawing: the elements of the plotting library, and circles with tips over the marks.
struct Drawn {
    elements: String,
    tips: String,
}

/// The length of the horizontal axis of a chart of this width.
pub fn axis_length(width: u32) -> u32 {
    width.saturating_sub((LEFT + 2 * MARGIN) as u32)
}

impl Chart {
    /// A chart without anything in it.
    pub fn new(title: String, size: (u32, u32), x: Axis, y: Axis) -> Self {
        Self { title, size, x, y, lines: Vec::new(), dots: Vec::new(), notes: Vec::new() }
    }

    /// The chart as an SVG element, as large as the page makes it. Marks have circles over them
    /// that carry tips and points.
    pub fn svg(&self) -> Result<String, DrawError> {
        let (width, height) = self.size;
        let Drawn { elements, tips } = self.draw()?;
        let title = escape(&self.title);
        Ok(format!(
            "<svg role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {width} {height}\" xmlns=\"{SVG}\">{elements}{tips}</svg>\n"
        ))
    }

    /// The elements of the drawing, without what only a page needs.
    pub fn elements(&self) -> Result<String, DrawError> {
        Ok(self.draw()?.elements)
    }

    fn draw(&self) -> Result<Drawn, DrawError> {
        let mut text = String::new();
        let mut tips = String::new();
        {
            let area = SVGBackend::with_string(&mut text, self.size).into_drawing_area();
            let mut context = ChartBuilder::on(&area)
                .margin(MARGIN)
                .set_label_area_size(plotters::chart::LabelAreaPosition::Left, LEFT)
                .set_label_area_size(plotters::chart::LabelAreaPosition::Bottom, BELOW)
                .build_cartesian_2d(self.x.clone(), self.y.clone())?;
            self.draw_mesh(&mut context)?;
            self.lines.iter().try_for_each(|line| draw_line(&context, line))?;
            self.dots.iter().try_for_each(|dot| draw_dot(&context, dot))?;
            self.notes.iter().try_for_each(|note| draw_note(&context, note))?;
            self.draw_labels(&context, &area)?;
            self.dots.iter().for_each(|dot| tips.push_str(&tip(&context, dot)));
            area.present()?;
        }
        Ok(Drawn { elements: content(&text).to_owned(), tips })
    }

    fn draw_mesh(&self, context: &mut Context) -> Result<(), DrawError> {
        let font = ("sans-serif", FONT).into_font();
        context
            .configure_mesh()
            .x_labels(self.x.tick_count())
            .y_labels(self.y.tick_count())
            .bold_line_style(HAIRLINE.stroke_width(2))
            .light_line_style(WHITE.mix(0.0))
            .axis_style(GREY.stroke_width(2))
            .label_style(font.clone().color(&INK))
            .axis_desc_style(font.color(&INK))
            .x_desc(&self.x.name)
            .y_desc(&self.y.name)
            .draw()
    }

    /// Labels of marks, in their order, where there is room: at the right, the left, above or
    /// below.
    fn draw_labels(&self, context: &Context, page: &Page) -> Result<(), DrawError> {
        let mut taken: Vec<Area> = self.dots.iter().map(|dot| Area::of_dot(context, dot)).collect();
        taken.extend(self.notes.iter().map(|note| Area::of_note(context, note)));
        taken.extend(self.lines.iter().flat_map(|line| Area::along(context, line)));
        let limits = Area {
            x: LEFT + MARGIN,
            y: MARGIN,
            width: axis_length(self.size.0) as i32,
            height: self.size.1 as i32 - BELOW - 2 * MARGIN,
        };
        for dot in &self.dots {
            let Some(label) = &dot.label else { continue };
            let places = Area::of_dot(context, dot).beside(label);
            let free =
                |area: &Area| area.is_within(&limits) && taken.iter().all(|other| area.is_apart(other));
            if let Some(area) = places.into_iter().find(free) {
                let style = ("sans-serif", LABEL).into_font().color(&INK);
                page.draw(&Text::new(label.clone(), (area.x, area.y), style))?;
                taken.push(area);
            }
        }
        Ok(())
    }
}

/// A rectangle.
#[derive(Clone, Copy, Debug)]
struct Area {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

impl Area {
    fn of_dot(context: &Context, dot: &Dot) -> Self {
        let (x, y) = context.backend_coord(&dot.at);
        Self { x: x - dot.radius, y: y - dot.radius, width: 2 * dot.radius, height: 2 * dot.radius }
    }

    fn of_note(context: &Context, note: &Note) -> Self {
        let (x, y) = context.backend_coord(&note.at);
        let width = text_width(&note.text);
        Self { x: x - width, y: y - NOTE_ABOVE - LABEL, width, height: LABEL }
    }

    /// Places along a line.
    fn along(context: &Context, line: &Line) -> Vec<Self> {
        let pixels: Vec<(i32, i32)> = line.places.iter().map(|place| context.backend_coord(place)).collect();
        let places = |pair: &[(i32, i32)]| {
            let (from, to) = (pair[0], pair[1]);
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let count = (dx.abs().max(dy.abs()) / EVERY).max(1);
            let at = move |number: i32| (from.0 + dx * number / count, from.1 + dy * number / count);
            (0..=count).map(at).map(|(x, y)| Self { x, y, width: 1, height: 1 }).collect::<Vec<_>>()
        };
        pixels.windows(2).flat_map(places).collect()
    }

    /// Where text may stand beside this.
    fn beside(&self, text: &str) -> [Self; 4] {
        const GAP: i32 = 12;
        let (width, height) = (text_width(text), LABEL);
        let (middle, level) = (self.x + (self.width - width) / 2, self.y + (self.height - height) / 2);
        let at = |x, y| Self { x, y, width, height };
        [
            at(self.x + self.width + GAP, level),
            at(self.x - width - GAP, level),
            at(middle, self.y - height - GAP),
            at(middle, self.y + self.height + GAP),
        ]
    }

    fn is_apart(&self, other: &Self) -> bool {
        self.x + self.width <= other.x
            || other.x + other.width <= self.x
            || self.y + self.height <= other.y
            || other.y + other.height <= self.y
    }

    fn is_within(&self, other: &Self) -> bool {
        self.x >= other.x
            && self.y >= other.y
            && self.x + self.width <= other.x + other.width
            && self.y + self.height <= other.y + other.height
    }
}

/// The width of a label.
fn text_width(text: &str) -> i32 {
    (text.chars().count() as f64 * f64::from(LABEL) * LETTER) as i32
}

fn draw_line(context: &Context, line: &Line) -> Result<(), DrawError> {
    let style = line.color.stroke_width(if line.is_dashed { 2 } else { 3 });
    if !line.is_dashed {
        return context.plotting_area().draw(&PathElement::new(line.places.clone(), style));
    }
    let Some(&first) = line.places.first() else { return Ok(()) };
    let start = context.backend_coord(&first);
    let pixels: Vec<(i32, i32)> = line.places.iter().map(|place| context.backend_coord(place)).collect();
    for (from, to) in pixels.windows(2).flat_map(|pair| dashes(pair[0], pair[1])) {
        let offset = |(x, y): (i32, i32)| (x - start.0, y - start.1);
        let dash = PathElement::new(vec![offset(from), offset(to)], style);
        context.plotting_area().draw(&(EmptyElement::at(first) + dash))?;
    }
    Ok(())
}

/// The dashes of a line between two pixels.
fn dashes(from: (i32, i32), to: (i32, i32)) -> Vec<((i32, i32), (i32, i32))> {
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy);
    let at = |distance: f64| {
        let share = (distance / length).min(1.0);
        (from.0 + (dx * share).round() as i32, from.1 + (dy * share).round() as i32)
    };
    let starts = (0..).map(|number| f64::from(number) * (DASH[0] + DASH[1]));
    starts.take_while(|&start| start < length).map(|start| (at(start), at(start + DASH[0]))).collect()
}

fn draw_dot(context: &Context, dot: &Dot) -> Result<(), DrawError> {
    let Mark { color, shape } = dot.mark;
    let area = context.plotting_area();
    let outline = color.stroke_width(3);
    let fill: ShapeStyle = if dot.is_hollow { WHITE.filled() } else { color.mix(0.75).filled() };
    if shape == Shape::Circle {
        area.draw(&(EmptyElement::at(dot.at) + Circle::new((0, 0), dot.radius, fill)))?;
        return area.draw(&(EmptyElement::at(dot.at) + Circle::new((0, 0), dot.radius, outline)));
    }
    let mut corners = shape.corners(dot.radius);
    area.draw(&(EmptyElement::at(dot.at) + Polygon::new(corners.clone(), fill)))?;
    corners.extend(corners.first().copied());
    area.draw(&(EmptyElement::at(dot.at) + PathElement::new(corners, outline)))
}

fn draw_note(context: &Context, note: &Note) -> Result<(), DrawError> {
    let style = ("sans-serif", LABEL).into_font().color(&GREY).pos(Pos::new(HPos::Right, VPos::Bottom));
    let text = Text::new(note.text.clone(), (0, -NOTE_ABOVE), style);
    context.plotting_area().draw(&(EmptyElement::at(note.at) + text))
}

/// A circle that nobody sees, over a mark.
fn tip(context: &Context, dot: &Dot) -> String {
    let (x, y) = context.backend_coord(&dot.at);
    let radius = dot.radius + 7;
    let point = dot.point.map_or_else(String::new, |point| format!(" data-point=\"{point}\""));
    let text = escape(&dot.tip);
    format!(
        "<circle class=\"hit\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"{point}><title>{text}</title></circle>\n"
    )
}

/// What stands between the tags of the element that is all of an SVG.
fn content(svg: &str) -> &str {
    let inside = svg.find("<svg").and_then(|at| Some((at + svg[at..].find('>')? + 1, svg.rfind("</svg>")?)));
    inside.and_then(|(from, to)| svg.get(from..to)).unwrap_or_default()
}

/// A mark alone, for legends of pages.
pub fn legend_mark(mark: Mark) -> String {
    let shape = mark_element(mark, 7);
    format!("<svg class=\"mark\" viewBox=\"-9 -9 18 18\" aria-hidden=\"true\">{shape}</svg>")
}

/// A mark around (0, 0) that fits into a circle of `radius`.
pub fn mark_element(mark: Mark, radius: i32) -> String {
    let style = format!("#{:02x}{:02x}{:02x}", mark.color.0, mark.color.1, mark.color.2);
    let paint = format!("fill=\"{style}\" stroke=\"{style}\" stroke-width=\"1.5\"");
    match mark.shape {
        Shape::Circle => format!("<circle r=\"{}\" {paint}/>", radius - 1),
        shape => {
            let corners: Vec<String> =
                shape.corners(radius).iter().map(|(x, y)| format!("{x},{y}")).collect();
            format!("<polygon points=\"{}\" {paint}/>", corners.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(labels: usize) -> Chart {
        let mut chart = Chart::new(
            "a < b".to_owned(),
            (400, 300),
            Axis::log("x", 1.0, 100.0),
            Axis::linear("y", 0.0, 1.0),
        );
        chart.dots = (0..labels)
            .map(|number| Dot {
                at: (10.0, 0.5),
                mark: Mark::of(number),
                radius: RADIUS,
                is_hollow: false,
                point: Some(number),
                tip: "\"tip\" & more".to_owned(),
                label: Some(format!("label{number}")),
            })
            .collect();
        chart
    }

    #[test]
    fn texts_are_escaped_and_marks_carry_their_point() {
        let svg = chart(1).svg().unwrap();
        assert!(svg.contains("aria-label=\"a &lt; b\""), "{svg}");
        assert!(svg.contains("data-point=\"0\"><title>&quot;tip&quot; &amp; more</title>"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</circle>\n</svg>\n"), "{svg}");
    }

    #[test]
    fn labels_never_lie_on_each_other() {
        let svg = chart(9).svg().unwrap();
        assert_eq!(svg.matches("label").count() - svg.matches("aria-label").count(), 4, "{svg}");
    }

    #[test]
    fn labels_keep_off_lines() {
        let mut chart = chart(1);
        let place =
            |svg: &str| svg.split("label0").next().unwrap().rsplit("<text ").next().unwrap().to_owned();
        let free = place(&chart.svg().unwrap());
        // Through the place at the right of the mark, which is the first choice.
        chart.lines.push(Line { places: vec![(12.0, 0.0), (30.0, 1.0)], color: INK, is_dashed: false });
        assert_ne!(place(&chart.svg().unwrap()), free);
    }

    #[test]
    fn dashes_cover_a_line_from_its_start() {
        let found = dashes((0, 0), (30, 0));
        assert_eq!(found, [((0, 0), (12, 0)), ((21, 0), (30, 0))]);
        assert!(dashes((5, 5), (5, 5)).is_empty());
    }
}
