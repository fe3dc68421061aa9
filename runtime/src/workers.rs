//! rayon's threads, started with a check: rayon itself panics where the system refuses them.

use std::error::Error;
use std::sync::OnceLock;

/// The system refuses the threads that packing, decoding and the reference evaluator share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot start the threads that packing and decoding share: {reason}; with RAYON_NUM_THREADS=1 in the environment \
     there is one"
)]
pub struct NoThreads {
    /// The error of the system.
    reason: String,
}

/// Starts the threads, once for the process. Everything that uses rayon calls this before.
pub fn start_workers() -> Result<(), NoThreads> {
    static STARTED: OnceLock<Result<(), NoThreads>> = OnceLock::new();
    let start = || match rayon::ThreadPoolBuilder::new().build_global() {
        Ok(()) => Ok(()),
        // Only an error of the system has a cause. Otherwise the program around this library has started them.
        Err(error) => match error.source() {
            Some(cause) => Err(NoThreads { reason: cause.to_string() }),
            None => Ok(()),
        },
    };
    STARTED.get_or_init(start).clone()
}
