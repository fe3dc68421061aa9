//! Measurements that threads make at the same time, each for itself.

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use xcc_compiler::codegen::CodegenError;

/// The sum of what `threads` threads measure, which all begin when all have prepared themselves. More threads than the
/// machine has cores count as that many; one thread is the calling one.
pub fn sum<P>(
    threads: u32,
    prepare: impl Fn() -> Result<P, CodegenError> + Sync,
    measure: impl Fn(P) -> f64 + Sync,
) -> Result<f64, CodegenError> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = (threads.max(1) as usize).min(cores);
    if threads == 1 {
        return Ok(measure(prepare()?));
    }
    let start = Barrier::new(threads);
    let work = || {
        let prepared = prepare();
        start.wait();
        Ok(measure(prepared?))
    };
    thread::scope(|scope| {
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = working.into_iter().map(|thread| {
            let panicked = |_| CodegenError::Machine { reason: "a thread that measures ended".to_owned() };
            thread.join().map_err(panicked)?
        });
        ended.sum()
    })
}

/// The time of the fastest call, of at least `calls` and of as many as begin within `time`: whatever else the machine
/// does only slows them down.
pub fn fastest(calls: u32, time: Duration, mut call: impl FnMut()) -> Duration {
    let began = Instant::now();
    let mut fastest = Duration::MAX;
    let mut done = 0;
    while done < calls || began.elapsed() < time {
        let before = Instant::now();
        call();
        fastest = fastest.min(before.elapsed());
        done += 1;
    }
    fastest
}
