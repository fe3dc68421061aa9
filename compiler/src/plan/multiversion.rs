//! Rust code for the widest vectors of the processor at hand: without this it is compiled for
//! those that all x86-64 processors have.

/// Work that vectors speed up. What it computes is the same with any.
pub trait Work {
    /// Does the work. Only what is inlined is compiled for other vectors: implementations, and
    /// what takes their time, should be `#[inline(always)]`.
    fn run(self);
}

/// Does some work, compiled for the widest vectors that this processor has.
pub fn widest(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { avx2(work) };
        }
    }
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn avx512(work: impl Work) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(work: impl Work) {
    work.run();
}
