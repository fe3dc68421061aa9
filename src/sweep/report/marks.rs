//! Colours and shapes that tell series apart: for the colour-blind, in print and in grey.

use plotters::style::RGBColor;

/// Of lines and letters.
pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Of what is said by the way.
pub const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Of grids.
pub const HAIRLINE: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

/// The colours of Okabe and Ito (*Color Universal Design*, 2008) without yellow, which is too
/// light for lines.
const COLORS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

const SHAPES: [Shape; 7] =
    [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Down, Shape::Plus, Shape::Cross];

/// The shape of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square on its side.
    Square,
    /// A triangle with a corner above.
    Triangle,
    /// A square on its corner.
    Diamond,
    /// A triangle with a corner below.
    Down,
    /// An upright cross.
    Plus,
    /// A cross on two feet.
    Cross,
}

/// What a series looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Its colour.
    pub color: RGBColor,
    /// Its shape.
    pub shape: Shape,
}

impl Mark {
    /// The look of series `number`; 49 of them differ, the first seven in colour and in shape.
    pub fn of(number: usize) -> Self {
        let shape = SHAPES[(number + number / COLORS.len()) % SHAPES.len()];
        Self { color: COLORS[number % COLORS.len()], shape }
    }
}

impl Shape {
    /// The corners around the middle of a shape that fits into a circle of `radius`; none of a
    /// circle.
    pub fn corners(self, radius: i32) -> Vec<(i32, i32)> {
        let part = |share: f64| (f64::from(radius) * share).round() as i32;
        let (side, high, arm) = (part(0.8), part(0.6), part(0.33));
        match self {
            Shape::Circle => Vec::new(),
            Shape::Square => vec![(-side, -side), (side, -side), (side, side), (-side, side)],
            Shape::Triangle => vec![(0, -radius), (radius, high), (-radius, high)],
            Shape::Down => vec![(0, radius), (radius, -high), (-radius, -high)],
            Shape::Diamond => vec![(0, -radius), (radius, 0), (0, radius), (-radius, 0)],
            Shape::Plus => plus(radius, arm),
            Shape::Cross => plus(radius, arm).into_iter().map(turned).collect(),
        }
    }
}

fn plus(radius: i32, arm: i32) -> Vec<(i32, i32)> {
    vec![
        (-arm, -radius),
        (arm, -radius),
        (arm, -arm),
        (radius, -arm),
        (radius, arm),
        (arm, arm),
        (arm, radius),
        (-arm, radius),
        (-arm, arm),
        (-radius, arm),
        (-radius, -arm),
        (-arm, -arm),
    ]
}

/// By an eighth of a turn.
fn turned((x, y): (i32, i32)) -> (i32, i32) {
    let half = std::f64::consts::FRAC_1_SQRT_2;
    [x - y, x + y].map(|sum| (f64::from(sum) * half).round() as i32).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_the_first_marks_are_alike() {
        let marks: Vec<Mark> = (0..49).map(Mark::of).collect();
        for (number, mark) in marks.iter().enumerate() {
            assert!(!marks[..number].contains(mark), "{number}: {mark:?}");
        }
        for (number, mark) in marks[..7].iter().enumerate() {
            let differs = |other: &Mark| other.color != mark.color && other.shape != mark.shape;
            assert!(marks[..number].iter().all(differs), "{mark:?} differs in colour and in shape");
        }
    }
}
