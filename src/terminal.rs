//! The terminal: whether it has colour, how wide it is, and progress of what takes long.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that takes longer than this shows that it goes on.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// Whether text on `stream` may have colour: a terminal, unless `NO_COLOR` is set
/// (<https://no-color.org>).
pub fn color(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the terminal at hand; 80 when there is none.
pub fn width() -> usize {
    known_width().unwrap_or(80)
}

/// Columns of the terminal that standard output is, or, where that goes elsewhere, such as through
/// a pager, standard error.
pub fn known_width() -> Option<usize> {
    let size = console::Term::stdout().size_checked().or_else(|| console::Term::stderr().size_checked());
    size.map(|(_, columns)| usize::from(columns))
}

/// A bar for work of `length` parts, with the time that is left; hidden unless standard error is a
/// terminal.
pub fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {eta} left  {wide_msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}

/// Does `work`. When it takes longer than a second and standard error is a terminal, that says
/// `what` is being done.
pub fn with_progress<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let show = move || {
            // Nothing is ever sent: waiting ends when the sender is dropped.
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let spinner = ProgressBar::new_spinner().with_message(what);
                while waiting.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    spinner.tick();
                }
                spinner.finish_and_clear();
            }
        };
        // Without a thread for it, progress is not shown.
        let _ = thread::Builder::new().spawn_scoped(scope, show);
        let _done = done;
        work()
    })
}
