//! Owns a counter of the bytes that parsers of server data have looked at, so that tests can bound
//! their cost by a multiple of the bytes received. A test that measured time would fail on a busy
//! machine, and pass for a cost that only shows with long inputs.
//!
//! It counts per thread, and only in builds with debug assertions: elsewhere [`add`] does nothing.
//! It must not know whose work is counted.

#[cfg(debug_assertions)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Record that this many bytes were looked at.
#[inline]
pub fn add(bytes: usize) {
    #[cfg(debug_assertions)]
    STEPS.with(|steps| steps.set(steps.get() + bytes as u64));
    #[cfg(not(debug_assertions))]
    let _ = bytes;
}

/// Run `work` on this thread and count the bytes it looks at; `None`: this build does not count.
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
