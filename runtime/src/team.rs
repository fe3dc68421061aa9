//! Threads that run a program together: persistent workers, and the barrier between steps.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::machine::cores;
use crate::process::{count_forks, generation};

/// How often a waiting thread looks before it sleeps: some 40 to 150 microseconds, longer than
/// most steps are uneven, and about as long as it takes to wake a thread.
const SPINS: u32 = 2000;

/// How often a thread of `threads` looks before it sleeps: not at all where threads must share
/// cores.
fn spins(threads: u32) -> u32 {
    if threads <= cores() { SPINS } else { 0 }
}

/// Where threads wait until another one lets them go on, again and again.
///
/// A thread that waits looks for a while and then sleeps, so that threads without a core of their
/// own do not keep others from theirs. To open a gate where nobody sleeps takes no system call.
struct Gate {
    spins: u32,
    /// How often the gate has opened.
    openings: AtomicU64,
    sleepers: AtomicU32,
    /// Taken by threads that fall asleep, and by the one that wakes them.
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    fn new(spins: u32) -> Self {
        let (openings, sleepers) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { spins, openings, sleepers, sleep: Mutex::new(()), wake: Condvar::new() }
    }

    fn openings(&self) -> u64 {
        // In one order with the accesses to `sleepers`: either a thread that falls asleep sees the
        // opening, or the opener sees the sleeper.
        self.openings.load(Ordering::SeqCst)
    }

    /// Lets all threads pass that wait for this opening; called by one thread at a time.
    fn open(&self) {
        self.openings.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // A sleeper holds the lock from its last look to its sleep.
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
    }

    /// Returns when the gate has opened more than `openings` times. What the opener wrote before
    /// is then visible.
    fn pass(&self, openings: u64) {
        let closed = || self.openings() <= openings;
        for _ in 0..self.spins {
            if !closed() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while closed() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A meeting point of a fixed number of threads. The last one to arrive lets all go on.
pub struct Barrier {
    threads: u32,
    arrived: AtomicU32,
    gate: Gate,
}

impl Barrier {
    /// A barrier for `threads` threads.
    pub fn new(threads: u32) -> Self {
        Self { threads, arrived: AtomicU32::new(0), gate: Gate::new(spins(threads)) }
    }

    /// Returns when all threads have called this. What they wrote before is then visible to all.
    pub fn wait(&self) {
        self.wait_then(|| {});
    }

    /// The same; the last thread to arrive calls `last` before any goes on.
    pub fn wait_then(&self, last: impl FnOnce()) {
        if self.threads == 1 {
            return last();
        }
        let openings = self.gate.openings();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            last();
            self.gate.open();
        } else {
            self.gate.pass(openings);
        }
    }
}

/// Locks a mutex that guards no data, or data that no panic can leave half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the members of a team do together; called with the thread's number.
pub type Job = Arc<dyn Fn(u32) + Send + Sync>;

/// The calling thread and some workers that wait for jobs. A team is one process's: in a child
/// made by `fork` it has no workers, and can only be dropped.
pub struct Team {
    workers: Vec<JoinHandle<()>>,
    /// [`generation`] of the process that has the workers.
    generation: u64,
    shared: Arc<Shared>,
}

/// What the threads of a team have in common.
struct Shared {
    /// Opens when there is a job, or no more.
    start: Gate,
    /// The job; none when workers shall end.
    job: Mutex<Option<Job>>,
    done: Barrier,
}

impl Team {
    /// A team of `threads` threads, of which the caller of [`Team::run`] is one.
    pub fn new(threads: u32) -> std::io::Result<Self> {
        count_forks()?;
        let (start, done) = (Gate::new(spins(threads)), Barrier::new(threads));
        let shared = Arc::new(Shared { start, job: Mutex::new(None), done });
        let mut team = Self { workers: Vec::new(), generation: generation(), shared };
        for number in 1..threads {
            let shared = team.shared.clone();
            let worker = std::thread::Builder::new().name(format!("xcc-{number}"));
            team.workers.push(worker.spawn(move || shared.work(number))?);
        }
        Ok(team)
    }

    /// True in the process that made the team: there it can run jobs.
    pub fn is_of_this_process(&self) -> bool {
        self.generation == generation()
    }

    /// Runs `job` on all threads and returns when all have ended it. A job must not panic: others
    /// may still use memory that its caller would release, so the process ends.
    pub fn run(&mut self, job: &Job) {
        *lock(&self.shared.job) = Some(job.clone());
        self.shared.start.open();
        call(job, 0);
        self.shared.done.wait();
        *lock(&self.shared.job) = None;
    }
}

impl Shared {
    /// Does jobs as thread `number` until there are no more.
    fn work(&self, number: u32) {
        for jobs in 0.. {
            self.start.pass(jobs);
            let Some(job) = lock(&self.job).clone() else { return };
            call(&job, number);
            drop(job);
            self.done.wait();
        }
    }
}

/// Ends the process where it is dropped while a panic unwinds.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The share of thread `number` in a job.
fn call(job: &Job, number: u32) {
    let _end = EndOnPanic;
    job(number);
}

impl Drop for Team {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            // Handles of threads that are gone may by now be the system's names of other threads,
            // and a worker may have held the gate's lock: nothing of the team is touched.
            std::mem::forget(std::mem::take(&mut self.workers));
            return;
        }
        self.shared.start.open();
        for worker in self.workers.drain(..) {
            // The worker's panics were reported when they happened.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether threads that look `spins` times before they sleep stay in step.
    fn check_steps(threads: u32, spins: u32) {
        let barrier = Barrier { threads, arrived: AtomicU32::new(0), gate: Gate::new(spins) };
        let [counter, lasts] = [0, 0].map(AtomicU32::new);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for round in 1..=500 {
                        counter.fetch_add(1, Ordering::Relaxed);
                        barrier.wait_then(|| {
                            lasts.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(counter.load(Ordering::Relaxed), round * threads);
                        assert_eq!(lasts.load(Ordering::Relaxed), round);
                        barrier.wait();
                    }
                });
            }
        });
    }

    #[test]
    fn a_barrier_keeps_threads_in_step_asleep_or_awake() {
        for threads in 1..=6 {
            for spins in [0, 1, 50] {
                check_steps(threads, spins);
            }
        }
    }

    #[test]
    fn a_team_runs_every_job_on_every_thread() {
        let mut team = Team::new(3).unwrap();
        let sum = Arc::new(AtomicU32::new(0));
        let seen = sum.clone();
        let job: Job = Arc::new(move |thread| {
            seen.fetch_add(1 << (8 * thread), Ordering::Relaxed);
        });
        for run in 0..50 {
            if run % 10 == 0 {
                // Long enough for the workers to fall asleep.
                std::thread::sleep(Duration::from_millis(2));
            }
            team.run(&job);
        }
        assert_eq!(sum.load(Ordering::Relaxed), 50 | 50 << 8 | 50 << 16);
    }
}
