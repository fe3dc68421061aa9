//! Measurements that threads make at the same time, each for itself.

use std::sync::{Barrier, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use xcc_compiler::codegen::CodegenError;

use crate::machine::cores;

/// The sum of what `threads` threads measure, which all begin when all have prepared themselves.
/// More threads than the machine has cores count as that many; one thread is the calling one.
pub fn sum<P>(
    threads: u32,
    prepare: impl Fn() -> Result<P, CodegenError> + Sync,
    measure: impl Fn(P) -> f64 + Sync,
) -> Result<f64, CodegenError> {
    let threads = threads.clamp(1, cores()) as usize;
    if threads == 1 {
        return Ok(measure(prepare()?));
    }
    let failed = |reason: String| CodegenError::Machine { reason };
    // Whoever waits for the others holds the lock for reading; the calling thread holds it for
    // writing until all have been started, or cannot be.
    let (prepared, start) = (Barrier::new(threads), RwLock::new(true));
    let work = || {
        let ready = prepare();
        if !*start.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(0.0);
        }
        prepared.wait();
        Ok(measure(ready?))
    };
    thread::scope(|scope| {
        let mut may_start = start.write().unwrap_or_else(PoisonError::into_inner);
        let working: Result<Vec<_>, _> =
            (0..threads).map(|_| thread::Builder::new().spawn_scoped(scope, work)).collect();
        *may_start = working.is_ok();
        drop(may_start);
        let working = working.map_err(|error| failed(format!("cannot start {threads} threads: {error}")))?;
        let ended = working.into_iter().map(|thread| {
            let panicked = |_| failed("a thread that measures ended".to_owned());
            thread.join().map_err(panicked)?
        });
        ended.sum()
    })
}

/// The time of the fastest call, of at least `calls` and of as many as begin within `time`:
/// whatever else the machine does only slows them down.
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
