//! A drawing: shapes at places. Lengths are in pixels, `y` grows downwards.

use crate::layers::Form;

/// Shapes and the room that they need.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// What it shows, for those who do not see it.
    pub title: String,
    /// The width of all.
    pub width: f64,
    /// The height of all.
    pub height: f64,
    /// The shapes, those behind first.
    pub shapes: Vec<Shape>,
}

/// A place.
pub type Point = (f64, f64);

/// A shape.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A box that stands for a layer.
    Layer(LayerBox),
    /// A line through points, with an arrow at its end where it leads to a layer.
    Line {
        /// The points.
        points: Vec<Point>,
        /// Whether there is an arrow.
        is_arrow: bool,
    },
    /// A sum: a plus in a circle.
    Sum(Point),
    /// A line of text, centred at a place.
    Text {
        /// The middle of its baseline.
        at: Point,
        /// What it says.
        text: String,
        /// How it looks.
        style: Style,
    },
    /// A dashed frame around what repeats.
    Frame(Area),
}

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The name of a flow.
    Heading,
    /// Shapes at the borders of flows, and how often something repeats.
    Caption,
    /// Names beside shapes.
    Note,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// The left edge.
    pub x: f64,
    /// The upper edge.
    pub y: f64,
    /// From left to right.
    pub width: f64,
    /// From top to bottom.
    pub height: f64,
}

/// A box that stands for a layer.
#[derive(Clone, Debug)]
pub struct LayerBox {
    /// The layer's name; empty in legends.
    pub name: String,
    /// Where it is.
    pub area: Area,
    /// What colour it has.
    pub form: Form,
    /// The first line.
    pub title: String,
    /// Lines below.
    pub lines: Vec<String>,
    /// Shares of the width that segments have, if there are several: a strip of the box is cut so.
    pub cuts: Vec<f64>,
    /// What a pointer over the box shows.
    pub tip: String,
}
