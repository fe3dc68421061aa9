//! Values that belong to one process: a child made by `fork` has none of its parent's threads, and
//! locks that these held stay held.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Forks between the process that began to count and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Tells a process from those it descends from: their numbers are smaller. Forks count from the
/// first call of [`count_forks`] on.
pub(crate) fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Counts each later fork in the child that it makes. Fails only without memory for the handler.
#[cfg(unix)]
pub(crate) fn count_forks() -> io::Result<()> {
    use std::sync::atomic::AtomicBool;

    // No lock that a fork could leave held: two threads may both register, and a fork then counts
    // as two.
    static COUNTED: AtomicBool = AtomicBool::new(false);

    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    if COUNTED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: the handler is a function of this program that only changes an atomic, as handlers
    // in a child may.
    match unsafe { libc::pthread_atfork(None, None, Some(forked)) } {
        0 => {
            COUNTED.store(true, Ordering::Release);
            Ok(())
        }
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Systems without `fork` have nothing to count.
#[cfg(not(unix))]
pub(crate) fn count_forks() -> io::Result<()> {
    Ok(())
}

/// A value that each process makes for itself when it first asks for it. It takes no locks, so
/// that a fork at any moment leaves a child able to ask.
pub(crate) struct PerProcess<T: Send + Sync> {
    /// The value of the process that made one last: this one or one that it descends from. Null
    /// before the first.
    newest: AtomicPtr<Owned<T>>,
}

struct Owned<T> {
    value: T,
    generation: u64,
}

impl<T: Send + Sync> PerProcess<T> {
    /// No process has a value yet.
    pub(crate) const fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value; `make` is called where it has none. Of two threads that make one at
    /// the same time, both get the same.
    pub(crate) fn get_or_try<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let newest = self.newest.load(Ordering::Acquire);
        if let Some(value) = self.own(newest) {
            return Ok(value);
        }
        let fresh = Box::into_raw(Box::new(Owned { value: make()?, generation: generation() }));
        // An ancestor's value is neither read nor freed here: a thread that is gone may have been
        // changing it.
        match self.newest.compare_exchange(newest, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: nobody frees what has become the newest value as long as `self` is borrowed.
            Ok(_) => Ok(unsafe { &(*fresh).value }),
            Err(other) => {
                // SAFETY: the pointer is that of the box above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: only another thread of this process can have exchanged the pointer since
                // it was loaded.
                Ok(unsafe { &(*other).value })
            }
        }
    }

    /// The value behind `newest` if this process made it.
    fn own(&self, newest: *mut Owned<T>) -> Option<&T> {
        // SAFETY: the pointer is null or that of a box, which nobody frees as long as `self` is
        // borrowed.
        let owned = unsafe { newest.as_ref()? };
        (owned.generation == generation()).then_some(&owned.value)
    }
}

impl<T: Send + Sync + Default> PerProcess<T> {
    /// This process's value, its default at first.
    pub(crate) fn get(&self) -> &T {
        let Ok(value) = self.get_or_try(|| Ok::<T, std::convert::Infallible>(T::default()));
        value
    }
}

impl<T: Send + Sync> Drop for PerProcess<T> {
    /// Drops this process's value. An ancestor's stays: a thread that is gone may have left it
    /// half-changed.
    fn drop(&mut self) {
        let newest = *self.newest.get_mut();
        if self.own(newest).is_some() {
            // SAFETY: the pointer is that of a box, and `self` is borrowed by nobody else.
            drop(unsafe { Box::from_raw(newest) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn threads_of_a_process_share_one_value_which_is_dropped_once() {
        let count = Arc::new(AtomicU32::new(0));
        let value = PerProcess::new();
        std::thread::scope(|scope| {
            let get = || {
                let counted = value.get_or_try(|| Ok::<_, io::Error>(count.clone())).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            };
            (0..4).for_each(|_| {
                scope.spawn(get);
            });
        });
        assert_eq!((count.load(Ordering::Relaxed), Arc::strong_count(&count)), (4, 2));
        drop(value);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn what_cannot_be_made_is_made_at_the_next_try() {
        let value = PerProcess::new();
        assert!(value.get_or_try(|| Err::<u32, _>(())).is_err());
        assert_eq!(value.get_or_try(|| Ok::<u32, ()>(7)), Ok(&7));
        assert_eq!(value.get_or_try(|| Ok::<u32, ()>(8)), Ok(&7));
    }
}
