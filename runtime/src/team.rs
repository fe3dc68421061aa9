//! Threads that run a program together: persistent workers, and the barrier between steps.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

/// How often a waiting thread looks before it sleeps: some 20 to 50 microseconds, longer than most steps are
/// uneven.
const SPINS: u32 = 2000;

/// A meeting point of a fixed number of threads.
///
/// The last thread to arrive opens it. A thread that waits looks for a while and then sleeps, so that threads
/// without a core of their own do not keep others from theirs.
pub struct Barrier {
    threads: u32,
    spins: u32,
    arrived: AtomicU32,
    /// How often the barrier has opened.
    generation: AtomicU64,
    /// Taken by threads that sleep, and by the one that wakes them.
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Barrier {
    /// A barrier for `threads` threads.
    pub fn new(threads: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        Self {
            threads,
            spins: if threads <= cores { SPINS } else { 0 },
            arrived: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Returns when all threads have called this. What they wrote before is then visible to all.
    pub fn wait(&self) {
        if self.threads == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.open(generation);
        } else {
            self.wait_for(generation);
        }
    }

    fn open(&self, generation: u64) {
        self.arrived.store(0, Ordering::Relaxed);
        {
            // Under the lock, so that no thread falls asleep between its last look and this store.
            let _guard = lock(&self.sleep);
            self.generation.store(generation + 1, Ordering::Release);
        }
        self.wake.notify_all();
    }

    fn wait_for(&self, generation: u64) {
        let closed = || self.generation.load(Ordering::Acquire) == generation;
        for _ in 0..self.spins {
            if !closed() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.sleep);
        while closed() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Locks a mutex that guards no data, or data that no panic can leave half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the members of a team do together; called with the thread's number.
pub type Job = Arc<dyn Fn(u32) + Send + Sync>;

/// The calling thread and some workers that wait for jobs.
pub struct Team {
    workers: Vec<Worker>,
    done: Arc<Barrier>,
}

struct Worker {
    jobs: mpsc::Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads` threads, of which the caller of [`Team::run`] is one.
    pub fn new(threads: u32) -> std::io::Result<Self> {
        let done = Arc::new(Barrier::new(threads));
        let workers =
            (1..threads).map(|number| Worker::spawn(number, done.clone())).collect::<Result<_, _>>()?;
        Ok(Self { workers, done })
    }

    /// Runs `job` on all threads and returns when all have ended it.
    pub fn run(&mut self, job: &Job) {
        for worker in &self.workers {
            // A worker ends only when its sender is dropped.
            let _ = worker.jobs.send(job.clone());
        }
        job(0);
        self.done.wait();
    }
}

impl Worker {
    fn spawn(number: u32, done: Arc<Barrier>) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name(format!("xcc-{number}")).spawn(move || {
            while let Ok(job) = inbox.recv() {
                job(number);
                drop(job);
                done.wait();
            }
        })?;
        Ok(Self { jobs, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.jobs = closed;
        if let Some(thread) = self.thread.take() {
            // The worker's panics were reported when they happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_keeps_threads_in_step() {
        for threads in 1..=4u32 {
            let barrier = Barrier::new(threads);
            let counter = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for round in 1..=500 {
                            counter.fetch_add(1, Ordering::Relaxed);
                            barrier.wait();
                            assert_eq!(counter.load(Ordering::Relaxed), round * threads);
                            barrier.wait();
                        }
                    });
                }
            });
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
        for _ in 0..50 {
            team.run(&job);
        }
        assert_eq!(sum.load(Ordering::Relaxed), 50 | 50 << 8 | 50 << 16);
    }
}
