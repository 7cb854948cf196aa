//! Owns how far a search for capacity is, of which only the probes that it has made are known: the rest is an
//! estimate.
//!
//! It must not know how a search goes on.

use std::sync::{Arc, Mutex, PoisonError};

/// A search is never all done before its end, however many probes it takes.
const MOST: f64 = 0.99;

/// How far a search is. It never goes back.
#[derive(Clone, Debug)]
pub(crate) struct SearchProgress {
    /// About how many runs it takes.
    expected: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ended: u32,
    done: f64,
}

impl SearchProgress {
    pub(crate) fn new(expected: u32) -> Self {
        Self {
            expected,
            state: Arc::default(),
        }
    }

    /// A run is over.
    pub(crate) fn run_ended(&self) {
        self.state().ended += 1;
    }

    /// How much is done, 0 to 1, when so much of the present run is.
    pub(super) fn done(&self, of_run: f64) -> f64 {
        let mut state = self.state();
        let runs = self.expected.max(state.ended + 1);
        let done = (f64::from(state.ended) + of_run.clamp(0.0, 1.0)) / f64::from(runs);
        state.done = state.done.max(done.min(MOST));
        state.done
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_and_is_never_whole() {
        let progress = SearchProgress::new(4);
        let mut seen = vec![progress.done(0.0), progress.done(0.5)];
        // one more than was expected, and then another
        for _ in 0..6 {
            progress.run_ended();
            seen.push(progress.done(0.0));
        }
        assert_eq!(seen[..4], [0.0, 0.125, 0.25, 0.5]);
        assert!(seen.is_sorted() && seen.last() <= Some(&MOST), "{seen:?}");
    }
}
