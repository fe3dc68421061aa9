//! What marks stand for: as a list of a page, and in rows of a file.

use super::axis::LETTER;
use super::chart::{RADIUS, TEXT, legend_mark, mark_element};
use super::html::escape;
use super::marks::Mark;
use super::series::Series;

/// Room for a mark before its name, and between two names.
const MARK: f64 = 36.0;
const GAP: f64 = 30.0;
/// From row to row.
const ROW: f64 = 36.0;

/// Marks and their names.
#[derive(Clone, Debug, Default)]
pub struct Legend(Vec<(Mark, String)>);

impl Legend {
    /// Of series; empty where there is only one.
    pub fn of_series(series: &[Series]) -> Self {
        let named = if series.len() > 1 { series } else { &[] };
        Self(named.iter().map(|series| (series.mark, series.name.clone())).collect())
    }

    /// Of classes of layers, which have marks by their numbers.
    pub fn of_classes(classes: &[&str]) -> Self {
        let named = classes.iter().enumerate();
        Self(named.map(|(number, class)| (Mark::of(number), (*class).to_owned())).collect())
    }

    /// A list; nothing where it is empty.
    pub fn html(&self) -> String {
        let item = |(mark, name): &(Mark, String)| format!("<li>{}{}</li>", legend_mark(*mark), escape(name));
        match self.0.is_empty() {
            true => String::new(),
            false => format!("<ul class=\"legend\">{}</ul>\n", self.0.iter().map(item).collect::<String>()),
        }
    }

    /// Rows that are `width` wide at most, in elements of SVG from (0, 0) on, and the height that
    /// they take.
    pub fn rows(&self, width: f64) -> (String, f64) {
        let (mut x, mut y) = (0.0, 0.0);
        let mut elements = String::new();
        for (mark, name) in &self.0 {
            let length = MARK + name.chars().count() as f64 * TEXT * LETTER;
            if x > 0.0 && x + length > width {
                (x, y) = (0.0, y + ROW);
            }
            let mark = mark_element(*mark, RADIUS + 1);
            elements += &format!(
                "<g transform=\"translate({} {})\">{mark}</g>\n<text x=\"{}\" y=\"{}\">{}</text>\n",
                x + MARK / 2.0,
                y + ROW / 2.0,
                x + MARK,
                y + ROW / 2.0 + TEXT * 0.35,
                escape(name)
            );
            x += length + GAP;
        }
        (elements, if self.0.is_empty() { 0.0 } else { y + ROW })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_where_a_name_would_not_fit() {
        let legend = Legend::of_classes(&["Conv2D", "Dense", "SeparableConv2D"]);
        assert_eq!(legend.rows(10_000.0).1, ROW);
        assert_eq!(legend.rows(400.0).1, 2.0 * ROW);
        assert_eq!(legend.rows(1.0).1, 3.0 * ROW);
        assert_eq!(Legend::default().rows(400.0), (String::new(), 0.0));
    }
}
