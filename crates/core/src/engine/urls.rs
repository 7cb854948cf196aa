//! Owns which URL a session goes to, and how many sessions are under way at each.
//!
//! It must not know what is at a URL, nor how a request gets there.

use std::sync::{Mutex, PoisonError};

use evalscope_model::mix::{Spread, UrlId, UrlStrategy, least_in_flight, round_robin};

/// The URLs of a run.
#[derive(Debug)]
pub(super) struct Urls {
    spread: Spread,
    /// Sessions under way at each, where they matter.
    under_way: Mutex<Vec<u32>>,
}

/// A session under way at a URL, until this is dropped, also by a panic.
#[derive(Debug)]
pub(super) struct At<'a> {
    urls: &'a Urls,
    pub(super) url: UrlId,
}

impl Urls {
    pub(super) fn new(spread: Spread) -> Self {
        Self {
            spread,
            under_way: Mutex::new(vec![0; spread.urls.get().into()]),
        }
    }

    /// Where a session goes that starts now. `session` is its position in its phase.
    pub(super) fn start(&self, session: u64) -> At<'_> {
        let url = match self.spread.strategy {
            UrlStrategy::RoundRobin => round_robin(session, self.spread.urls),
            UrlStrategy::LeastInFlight => {
                let mut under_way = self.lock();
                let url = least_in_flight(&under_way);
                under_way[url.index()] += 1;
                url
            }
        };
        At { urls: self, url }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for At<'_> {
    fn drop(&mut self) {
        if self.urls.spread.strategy == UrlStrategy::LeastInFlight {
            self.urls.lock()[self.url.index()] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn urls(strategy: UrlStrategy) -> Urls {
        let urls = NonZeroU16::new(3).unwrap();
        Urls::new(Spread { urls, strategy })
    }

    #[test]
    fn a_session_counts_until_it_has_ended() {
        let urls = urls(UrlStrategy::LeastInFlight);
        let [first, second, third] = [9, 9, 9].map(|session| urls.start(session));
        assert_eq!([first.url, second.url, third.url], [0, 1, 2].map(UrlId));
        drop(second);
        assert_eq!(urls.start(9).url, UrlId(1));
        drop((first, third));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _at = urls.start(9);
            panic!("the test's session panics");
        }));
        assert!(panicked.is_err());
        assert_eq!(*urls.lock(), [0, 0, 0]);
    }

    #[test]
    fn in_turn_only_the_position_matters() {
        let urls = urls(UrlStrategy::RoundRobin);
        let held = urls.start(3);
        assert_eq!(held.url, UrlId(0));
        assert_eq!(urls.start(3).url, UrlId(0));
        assert_eq!(urls.start(5).url, UrlId(2));
    }
}
