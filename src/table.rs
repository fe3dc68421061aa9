//! Aligned tables as text, wrapped to a width.

use console::measure_text_width;

/// Spaces between two columns.
const GAP: usize = 2;
/// How far the second line of wrapped text hangs.
const INDENT: usize = 2;
/// Wrapped columns do not get narrower than this, whatever the width asked for.
const NARROWEST: usize = 12;

/// How the cells of a column are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Text, never wrapped.
    Left,
    /// Numbers, never wrapped.
    Right,
    /// Text that is wrapped where the table would be too wide otherwise.
    Wrapped,
    /// Text of the last column that goes under its row, wrapped, where it does not fit behind the
    /// others.
    Below,
}

/// A table under construction. A cell may have several lines.
pub struct Table {
    layouts: Vec<Layout>,
    rows: Vec<Row>,
}

enum Row {
    /// A row of the table, perhaps one that stands out.
    Cells { cells: Vec<String>, strong: bool },
    /// A line across the table, perhaps with a title.
    Rule(String),
}

impl Table {
    /// A table without rows.
    pub fn new(layouts: &[Layout]) -> Self {
        Self { layouts: layouts.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row::Cells { cells: cells.into_iter().collect(), strong: false });
    }

    /// Adds a row that stands out: a heading or a sum.
    pub fn strong_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row::Cells { cells: cells.into_iter().collect(), strong: true });
    }

    /// Adds a line across the table, with a title unless that is empty.
    pub fn rule(&mut self, title: &str) {
        self.rows.push(Row::Rule(title.to_owned()));
    }

    /// The table's text, `width` columns wide at most where wrapping makes that possible.
    pub fn render(&self, width: usize, color: bool) -> String {
        let widths = self.widths(width);
        let across = across(&widths);
        let mut text = String::new();
        for row in &self.rows {
            let (lines, strong) = match row {
                Row::Cells { cells, strong } => (self.lines(cells, &widths, width), *strong),
                Row::Rule(title) => (vec![rule(title, across)], !title.is_empty()),
            };
            for line in lines {
                let line = line.trim_end();
                text.push_str(&if strong && color {
                    format!("\x1b[1m{line}\x1b[0m")
                } else {
                    line.to_owned()
                });
                text.push('\n');
            }
        }
        text
    }

    /// The width of each column: that of its widest cell, less where the table has to be narrower.
    /// Text that goes below has none.
    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths = vec![0; self.layouts.iter().filter(|layout| **layout != Layout::Below).count()];
        for row in &self.rows {
            let Row::Cells { cells, .. } = row else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.lines().map(measure_text_width).fold(*width, usize::max);
            }
        }
        let mut excess = across(&widths).saturating_sub(width);
        let mut shrinking: Vec<usize> =
            (0..widths.len()).filter(|&column| self.layouts[column] == Layout::Wrapped).collect();
        // The widest first: it has most to give.
        shrinking.sort_by_key(|&column| std::cmp::Reverse(widths[column]));
        for column in shrinking {
            let given = excess.min(widths[column].saturating_sub(NARROWEST));
            widths[column] -= given;
            excess -= given;
        }
        widths
    }

    fn lines(&self, cells: &[String], widths: &[usize], width: usize) -> Vec<String> {
        let columns: Vec<Vec<String>> = cells
            .iter()
            .zip(widths)
            .map(|(cell, &width)| cell.lines().flat_map(|l| wrap(l, width)).collect())
            .collect();
        let height = columns.iter().map(Vec::len).max().unwrap_or(0);
        let mut lines: Vec<String> = (0..height).map(|line| self.line(&columns, widths, line)).collect();
        for text in cells.iter().skip(widths.len()) {
            match lines.last_mut() {
                Some(line) if measure_text_width(line) + measure_text_width(text) <= width => {
                    line.push_str(text);
                }
                _ => lines.extend(wrap(&format!("{}{text}", " ".repeat(2 * INDENT)), width)),
            }
        }
        lines
    }

    fn line(&self, columns: &[Vec<String>], widths: &[usize], line: usize) -> String {
        let mut text = String::new();
        for ((lines, &width), layout) in columns.iter().zip(widths).zip(&self.layouts) {
            let cell = lines.get(line).map_or("", String::as_str);
            let padding = " ".repeat(width.saturating_sub(measure_text_width(cell)));
            match layout {
                Layout::Right => text.extend([&padding, cell]),
                Layout::Left | Layout::Wrapped | Layout::Below => text.extend([cell, &padding]),
            }
            text.push_str(&" ".repeat(GAP));
        }
        text
    }
}

/// Columns of a table with columns of these widths.
fn across(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn rule(title: &str, width: usize) -> String {
    if title.is_empty() {
        return "─".repeat(width);
    }
    let rest = width.saturating_sub(measure_text_width(title) + 3);
    format!("─ {title} {}", "─".repeat(rest))
}

/// Breaks a line at spaces, and words that are wider than a line behind a `_`, or anywhere. Lines
/// after the first hang by [`INDENT`] more than the first.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    if measure_text_width(line) <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start().len();
    let room = width.saturating_sub(indent + INDENT).max(1);
    let mut lines = vec![" ".repeat(indent)];
    let mut is_empty = true;
    let pieces = line.split_whitespace().flat_map(|word| pieces(word, room).into_iter().enumerate());
    for (number, piece) in pieces {
        let last = lines.last_mut().expect("there is a line from the start");
        let fits = measure_text_width(last) + 1 + measure_text_width(piece) <= width;
        if is_empty || number == 0 && fits {
            let space = if is_empty { "" } else { " " };
            last.extend([space, piece]);
        } else {
            lines.push(" ".repeat(indent + INDENT) + piece);
        }
        is_empty = false;
    }
    lines
}

/// A word in pieces that fit a line.
fn pieces(mut word: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while measure_text_width(word) > width {
        let ends = word.char_indices().map(|(at, character)| at + character.len_utf8());
        let fitting = ends.take_while(|&end| measure_text_width(&word[..end]) <= width);
        // One character at least, however wide it is.
        let most = fitting.last().or_else(|| word.chars().next().map(char::len_utf8)).unwrap_or(word.len());
        let end = word[..most].rfind('_').map_or(most, |underscore| underscore + 1);
        let (piece, rest) = word.split_at(end);
        pieces.push(piece);
        word = rest;
    }
    pieces.extend(Some(word).filter(|rest| !rest.is_empty()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[Layout::Wrapped, Layout::Right]);
        table.strong_row(["name\n(kind)".to_owned(), "count".to_owned()]);
        table.rule("");
        table.row(["a long name with many words".to_owned(), "1".to_owned()]);
        table.rule("part");
        table.row(["überlänge".to_owned(), "1,000,000".to_owned()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let expected = "\
name                             count
(kind)
──────────────────────────────────────
a long name with many words          1
─ part ───────────────────────────────
überlänge                    1,000,000
";
        assert_eq!(sample().render(80, false), expected);
    }

    #[test]
    fn a_narrow_table_wraps_text_and_keeps_numbers() {
        let expected = "\
name              count
(kind)
───────────────────────
a long name           1
  with many
  words
─ part ────────────────
überlänge     1,000,000
";
        assert_eq!(sample().render(20, false), expected);
    }

    #[test]
    fn text_goes_below_where_it_does_not_fit_behind() {
        let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Below]);
        table.row(["  a".to_owned(), "10".to_owned(), "in one line".to_owned()]);
        table.row(["  long".to_owned(), "9".to_owned(), "in a line of its own".to_owned()]);
        table.row(["  b".to_owned(), "8".to_owned(), "or in more lines than that one".to_owned()]);
        let lines = [
            "  a     10  in one line",
            "  long   9",
            "    in a line of its own",
            "  b      8",
            "    or in more lines than",
            "      that one",
        ];
        assert_eq!(table.render(25, false).lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn words_wider_than_a_line_are_broken() {
        assert_eq!(wrap("ab cdefgh i", 5), ["ab", "  cde", "  fgh", "  i"]);
        assert_eq!(wrap("  ab cd", 6), ["  ab", "    cd"]);
        assert_eq!(wrap("日本語語", 6), ["日本", "  語語"]);
        assert_eq!(wrap("語語", 1), ["語", "  語"]);
        assert_eq!(wrap("abcd", 5), ["abcd"]);
        assert_eq!(wrap("abcdef", 5), ["abc", "  def"]);
        assert_eq!(wrap("ab_cd_efghi jk", 9), ["ab_cd_", "  efghi", "  jk"]);
    }

    #[test]
    fn color_marks_rows_that_stand_out() {
        assert!(!sample().render(80, false).contains('\x1b'));
        assert_eq!(sample().render(80, true).matches("\x1b[1m").count(), 3);
    }
}
