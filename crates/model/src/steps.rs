//! Owns counting how many bytes the readers of what servers say have gone over, so that tests can
//! hold their cost to a multiple of the bytes that came. A test that measured time would fail on a
//! busy machine, and pass for a cost that only long inputs show.
//!
//! Counts per thread, and in builds with debug assertions only: elsewhere [`add`] is nothing. It must
//! not know who is counted.

#[cfg(debug_assertions)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many bytes are gone over.
#[inline]
pub fn add(bytes: usize) {
    #[cfg(debug_assertions)]
    STEPS.with(|steps| steps.set(steps.get() + bytes as u64));
    #[cfg(not(debug_assertions))]
    let _ = bytes;
}

/// What this does on this thread, and the bytes that are gone over for it; `None`: this build does
/// not count.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Option<u64>) {
    #[cfg(debug_assertions)]
    {
        let before = STEPS.get();
        let done = work();
        (done, Some(STEPS.get() - before))
    }
    #[cfg(not(debug_assertions))]
    (work(), None)
}
