//! Owns making items ahead of need, on several threads: the same items in the
//! same order as one after the other, with few of them in memory.
//!
//! It must not know what items are made of.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{DatasetError, PromptSource};
use evalscope_model::prompt::Item;

/// Items that each thread makes before it waits: enough to bridge a burst of
/// starts, and with images of 1 MB still only a few MB for each thread.
const ITEMS_AHEAD: usize = 4;

/// Makes any item, the same for the same index. Closures are generators.
pub trait Generator: Send + Sync {
    /// The item of this index.
    fn item(&self, index: u64) -> Item;
}

impl<F: Fn(u64) -> Item + Send + Sync> Generator for F {
    fn item(&self, index: u64) -> Item {
        self(index)
    }
}

/// An endless data set of generated items, made ahead of need. Dropping it
/// stops and joins its threads, after the item that each is at.
pub struct Ahead {
    generator: Arc<dyn Generator>,
    start: u64,
    threads: usize,
    /// The index of the item that is given next.
    next: u64,
    /// One for each thread, once the first item was asked for. The thread at
    /// place `k` makes item `first + k` and every `threads`th after it.
    makers: Vec<Maker>,
    first: u64,
}

struct Maker {
    /// Taken before the thread is joined, which ends its wait.
    items: Option<Receiver<Item>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("next", &self.next)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Ahead {
    /// Items `start`, `start + 1` and so on, made by so many threads, which
    /// begin when the first item is asked for; without threads, items are made
    /// when they are asked for.
    #[must_use]
    pub fn new(generator: Arc<dyn Generator>, start: u64, threads: usize) -> Self {
        Self {
            generator,
            start,
            threads,
            next: start,
            makers: Vec::new(),
            first: start,
        }
    }

    fn begin(&mut self) {
        self.first = self.next;
        for place in 0..self.threads {
            let Ok(maker) = self.maker(place) else {
                // no more threads can be had: go on without
                self.stop();
                self.threads = 0;
                return;
            };
            self.makers.push(maker);
        }
    }

    fn maker(&self, place: usize) -> std::io::Result<Maker> {
        let (send, items) = sync_channel(ITEMS_AHEAD);
        let generator = Arc::clone(&self.generator);
        let step = self.threads as u64;
        let mut index = self.first.wrapping_add(place as u64);
        let thread = Builder::new()
            .name(format!("ahead-{place}"))
            .spawn(move || {
                while send.send(generator.item(index)).is_ok() {
                    index = index.wrapping_add(step);
                }
            })?;
        Ok(Maker {
            items: Some(items),
            thread: Some(thread),
        })
    }

    fn stop(&mut self) {
        // all are told before the first is waited for
        for maker in &mut self.makers {
            maker.items = None;
        }
        for mut maker in self.makers.drain(..) {
            if let Some(thread) = maker.thread.take() {
                // it fell over while it made an item that nobody wants now
                let _ = thread.join();
            }
        }
    }

    fn made(&mut self) -> Item {
        if self.makers.is_empty() {
            return self.generator.item(self.next);
        }
        let offset = self.next.wrapping_sub(self.first) % self.makers.len() as u64;
        let place = usize::try_from(offset).expect("less than the number of threads");
        let maker = &mut self.makers[place];
        let items = maker.items.as_ref().expect("taken by `stop` only");
        if let Ok(item) = items.recv() {
            return item;
        }
        let thread = maker.thread.take().expect("it ended just now");
        match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("a thread ends when nobody takes from it"),
        }
    }
}

impl PromptSource for Ahead {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        if self.makers.is_empty() && self.threads > 0 {
            self.begin();
        }
        let item = self.made();
        self.next = self.next.wrapping_add(1);
        Ok(Some(item))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.stop();
        self.next = self.start;
        Ok(())
    }

    fn jump(&mut self, n: u64) -> bool {
        self.stop();
        self.next = self.next.wrapping_add(n);
        true
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use evalscope_model::prompt::Prompt;

    fn item(index: u64) -> Item {
        Prompt::Text(index.to_string()).into()
    }

    fn take(source: &mut Ahead, n: u64) -> Vec<String> {
        let text = |_| source.next().unwrap().unwrap().prompt.text();
        (0..n).map(text).collect()
    }

    fn serial(from: u64, n: u64) -> Vec<String> {
        (from..from + n).map(|index| index.to_string()).collect()
    }

    proptest! {
        #[test]
        fn items_are_those_made_one_after_the_other(
            start in 0_u64..100,
            threads in 0_usize..9,
            jump in 0_u64..50,
            taken in 0_u64..60,
            later_jump in 0_u64..5,
        ) {
            let generator = Arc::new(|index: u64| {
                // threads get out of step
                for _ in 0..index % 7 {
                    std::thread::yield_now();
                }
                item(index)
            });
            let mut source = Ahead::new(generator.clone(), start, threads);
            prop_assert!(source.jump(jump));
            prop_assert_eq!(take(&mut source, taken), serial(start + jump, taken));
            prop_assert!(source.jump(later_jump));
            let at = start + jump + taken + later_jump;
            prop_assert_eq!(take(&mut source, taken), serial(at, taken));
            source.rewind().unwrap();
            prop_assert_eq!(take(&mut source, 3), serial(start, 3));
            drop(source);
            // no thread is left: each held the generator
            prop_assert_eq!(Arc::strong_count(&generator), 1);
        }
    }

    #[test]
    fn few_items_are_made_ahead() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&made);
        let generator = Arc::new(move |index| {
            counter.fetch_add(1, Ordering::Relaxed);
            item(index)
        });
        let mut source = Ahead::new(generator, 0, 3);
        for taken in 1..=50 {
            source.next().unwrap();
            std::thread::yield_now();
            // in its channel, and one in the hands of each
            let most = taken + 3 * (ITEMS_AHEAD as u64 + 1);
            assert!(made.load(Ordering::Relaxed) <= most);
        }
    }

    #[test]
    #[should_panic(expected = "no item 5")]
    fn a_generator_that_falls_over_is_heard() {
        let generator = |index| {
            assert_ne!(index, 5, "no item 5");
            item(index)
        };
        let mut source = Ahead::new(Arc::new(generator), 0, 2);
        for _ in 0..6 {
            source.next().unwrap();
        }
    }
}
