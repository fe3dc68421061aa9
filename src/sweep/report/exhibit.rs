//! A chart with its caption: a figure of the page, or a file of its own.

use super::axis::LETTER;
use super::chart::{Chart, DrawError, MARGIN, SVG, TEXT};
use super::html::{escape, figure};
use super::legend::Legend;
use crate::table::wrap;

/// The share of its size at which a file is shown where nothing else is asked for.
const SCALE: f64 = 0.6;
/// Sizes of text: of the heading, of what stands below it and of the caption.
const HEADING: f64 = 30.0;
const SMALL: f64 = 20.0;
/// From baseline to baseline, by the size of the font.
const LEADING: f64 = 1.3;
/// The fonts of a file: the first that the reader has.
const FONTS: &str = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif";

/// A chart with its caption.
pub struct Exhibit {
    /// A short name in letters, digits and dashes.
    pub id: String,
    /// The chart.
    pub chart: Chart,
    /// What to say below.
    pub caption: String,
}

/// What stands above a chart in a file.
pub struct Heading {
    /// What is shown.
    pub title: String,
    /// Where, and with what, it was measured.
    pub place: String,
}

/// Elements that are put below each other.
struct Column {
    elements: String,
    width: f64,
    height: f64,
}

impl Exhibit {
    /// A figure of the page.
    pub fn html(&self, class: &str) -> Result<String, DrawError> {
        Ok(figure(class, &self.chart.svg()?, &escape(&self.caption)))
    }

    /// An SVG file that needs nothing else: with heading, legend and caption, on white.
    pub fn file(&self, heading: &Heading, legend: &Legend) -> Result<String, DrawError> {
        let (width, height) = self.chart.size;
        let margin = f64::from(MARGIN);
        let mut column = Column { elements: String::new(), width: f64::from(width), height: margin };
        column.text(&heading.title, HEADING, "font-weight=\"600\"");
        column.text(&heading.place, SMALL, QUIET);
        let (rows, room) = legend.rows(column.width - 2.0 * margin);
        column.add(&rows, margin, room);
        column.add(&self.chart.elements()?, 0.0, f64::from(height));
        column.text(&self.caption, SMALL, QUIET);
        Ok(column.file(&self.chart.title))
    }
}

/// Of what is said by the way.
const QUIET: &str = "fill=\"#5a5a5a\"";

impl Column {
    /// Adds elements that take `height`, moved to the right by `x`.
    fn add(&mut self, elements: &str, x: f64, height: f64) {
        self.elements += &format!("<g transform=\"translate({x} {})\">\n{elements}</g>\n", self.height);
        self.height += height;
    }

    /// Adds a text in as many lines as it needs.
    fn text(&mut self, text: &str, font: f64, look: &str) {
        let margin = f64::from(MARGIN);
        let columns = ((self.width - 2.0 * margin) / (font * LETTER)) as usize;
        let lines: Vec<String> = wrap(text, columns).iter().map(|line| escape(line.trim())).collect();
        for line in lines.iter().filter(|line| !line.is_empty()) {
            self.height += font * LEADING;
            self.elements += &format!(
                "<text x=\"{margin}\" y=\"{:.1}\" font-size=\"{font}\" {look}>{line}</text>\n",
                self.height - font * (LEADING - 1.0)
            );
        }
    }

    fn file(&self, title: &str) -> String {
        let (width, height) = (self.width, self.height + f64::from(MARGIN));
        let shown = [width * SCALE, height * SCALE].map(f64::round);
        let title = escape(title);
        format!(
            "<svg xmlns=\"{SVG}\" role=\"img\" aria-label=\"{title}\" width=\"{}\" height=\"{}\" \
             viewBox=\"0 0 {width} {height:.1}\" font-size=\"{TEXT}\" fill=\"#222222\">\n<title>{title}</title>\n\
             <style>text {{ font-family: {FONTS}; }}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            shown[0], shown[1], self.elements
        )
    }
}
