//! Threads for coarse work (packing, decoding, the reference): rayon's, of this process.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::process::{PerProcess, count_forks};

/// rayon's own pool is one for the life of a process and its children, in which its threads are
/// missing.
static POOL: PerProcess<ThreadPool> = PerProcess::new();

/// Does `work`, whose parallel iterators run on this process's threads: those of the pool that the
/// caller is in, else one for each core (or as many as `RAYON_NUM_THREADS` says), else, where no
/// threads can be started, the calling one.
pub(crate) fn spread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    match POOL.get_or_try(|| count_forks().map_err(drop).and_then(|()| start())) {
        Ok(pool) => pool.install(work),
        Err(()) => {
            // The calling thread becomes a pool of its own, for good: other threads never wait for
            // it.
            let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
            std::mem::forget(alone);
            work()
        }
    }
}

fn start() -> Result<ThreadPool, ()> {
    ThreadPoolBuilder::new().build().map_err(drop)
}
