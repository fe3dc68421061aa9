//! The last resort where memory is exhausted: an allocator that ends the process with a sentence
//! instead of a signal.
//!
//! Memory whose size follows from what users give is asked for with [`checked`], and its lack is
//! an error with numbers. Thousands of small requests (nodes, names, drivers, those of libraries)
//! are made without a check; Rust's answer to the first one that fails is to abort. A command that
//! has [`Allocator`] as its global allocator exits with status 2.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::{self, Write};

/// Exit status of a process without memory, that of bad input.
const STATUS: i32 = 2;

thread_local! {
    // Without a destructor and with a constant value: to look at it takes no memory.
    static CHECKED: Cell<bool> = const { Cell::new(false) };
}

/// Makes a request for memory whose failure the caller handles.
pub fn checked<T>(request: impl FnOnce() -> T) -> T {
    let before = CHECKED.replace(true);
    let answer = request();
    CHECKED.set(before);
    answer
}

/// The system's allocator, but for requests that fail outside [`checked`]: these end the process.
pub struct Allocator;

/// `memory`, or the end of the process where it is null and nobody is prepared for that.
fn answered(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() && !CHECKED.try_with(Cell::get).unwrap_or(false) {
        end(bytes);
    }
    memory
}

/// Says so on standard error and exits at once: nothing here or behind it takes memory or a lock.
fn end(bytes: usize) -> ! {
    let mut line = Line { bytes: [0; Line::LONGEST], length: 0 };
    // A line that is too long is cut.
    let _ = writeln!(
        line,
        "error: memory is exhausted: there are no {bytes} bytes more; a smaller network or input, fewer images in a run \
         (`--batch`), fewer threads (`--threads`) or a higher limit (`ulimit -v`) would do"
    );
    line.print();
    exit()
}

#[cfg(unix)]
fn exit() -> ! {
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(STATUS) }
}

#[cfg(not(unix))]
fn exit() -> ! {
    std::process::exit(STATUS)
}

/// Text without an allocation.
struct Line {
    bytes: [u8; Line::LONGEST],
    length: usize,
}

impl Line {
    const LONGEST: usize = 320;

    #[cfg(unix)]
    fn print(&self) {
        // SAFETY: the buffer has at least `length` bytes, and the system only reads them.
        let written = unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.length) };
        // When standard error is closed, nobody listens.
        let _ = written;
    }

    #[cfg(not(unix))]
    fn print(&self) {
        let text = &self.bytes[..self.length];
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = text.len().min(Line::LONGEST - self.length);
        self.bytes[self.length..self.length + fitting].copy_from_slice(&text.as_bytes()[..fitting]);
        self.length += fitting;
        if fitting == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

// SAFETY: all memory is that of the system's allocator, with the caller's layouts.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of the system's allocator.
        answered(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        answered(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        answered(unsafe { System.realloc(memory, layout, size) }, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_fails_without_an_end() {
        let layout = Layout::from_size_align(isize::MAX as usize - 64, 8).unwrap();
        // Memory that nothing is seen to use could be optimised away, and a null pointer with it.
        let layout = std::hint::black_box(layout);
        // SAFETY: the size is not zero.
        let memory = std::hint::black_box(checked(|| unsafe { Allocator.alloc(layout) }));
        assert!(memory.is_null());
        assert!(!CHECKED.get());
    }

    #[test]
    fn lines_are_cut_where_they_are_too_long() {
        let mut line = Line { bytes: [0; Line::LONGEST], length: 0 };
        assert!(write!(line, "{}", "a".repeat(Line::LONGEST)).is_ok());
        assert!(write!(line, "b").is_err());
        assert_eq!(line.bytes, [b'a'; Line::LONGEST]);
    }
}
