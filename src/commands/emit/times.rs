//! Times of the compiler's stages and passes, as a table.

use std::io;
use std::time::Duration;

use crate::cli;
use crate::table::{Layout, Table};
use crate::terminal::color;

/// Times in the order in which stages ran, the parts of a stage behind it.
#[derive(Default)]
pub struct Times {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    time: Duration,
    /// The time belongs to the stage before, too.
    is_part: bool,
}

impl Times {
    /// Runs a stage and notes its time.
    pub fn measure<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let (time, result) = cli::timed(work);
        self.stage(stage, time);
        result
    }

    /// Notes the time of a stage.
    pub fn stage(&mut self, name: &'static str, time: Duration) {
        self.rows.push(Row { name, time, is_part: false });
    }

    /// Notes the time of a part of the last stage.
    pub fn part(&mut self, name: &'static str, time: Duration) {
        self.rows.push(Row { name, time, is_part: true });
    }

    /// Milliseconds of each row and its share of all stages.
    pub fn table(&self) -> String {
        let stages = self.rows.iter().filter(|row| !row.is_part);
        let total: Duration = stages.map(|row| row.time).sum();
        let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Right]);
        table.strong_row(["stage".to_owned(), "ms".to_owned(), "share".to_owned()]);
        for row in &self.rows {
            let indent = if row.is_part { "  " } else { "" };
            table.row(cells(format!("{indent}{}", row.name), row.time, total));
        }
        table.strong_row(cells("total".to_owned(), total, total));
        table.render(usize::MAX, color(&io::stderr()))
    }
}

fn cells(name: String, time: Duration, total: Duration) -> [String; 3] {
    let share = 100.0 * time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
    [name, format!("{:.3}", time.as_secs_f64() * 1e3), format!("{share:.1} %")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_once() {
        let mut times = Times::default();
        times.stage("parse", Duration::from_micros(250));
        times.stage("passes", Duration::from_micros(750));
        times.part("drop_unused", Duration::from_micros(500));
        let expected = "\
stage             ms    share
parse          0.250   25.0 %
passes         0.750   75.0 %
  drop_unused  0.500   50.0 %
total          1.000  100.0 %
";
        assert_eq!(times.table(), expected);
    }
}
