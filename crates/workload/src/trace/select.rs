//! Owns which lines of a trace are replayed: the window, the sample, the limits of lengths.
//!
//! Pure: the same lines and the same seed give the same choice, in each pass over a file.

use std::collections::HashMap;

use evalscope_model::plan::sub_seed;

use super::possible::mixed;
use super::row::{Moment, Row, Session};
use super::settings::TraceSettings;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    NotSampled,
    TooLong,
    WithoutResponse,
}

/// Where a moment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Before,
    /// Nanoseconds after the beginning of the window.
    Within(u64),
    After,
}

/// The window, in the trace's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    begins: i64,
    ends: i64,
}

/// Chooses lines, one after the other.
#[derive(Debug)]
pub(super) struct Selection {
    sample: f64,
    max_input: u64,
    max_context: u64,
    seed: u64,
    /// The first chat of each chat.
    roots: HashMap<i64, i64>,
    /// The last moment of each session, where lines say only how long after it they came.
    last: Option<HashMap<u64, i64>>,
}

impl Window {
    /// The window of a trace whose first request came then.
    pub(super) fn new(settings: &TraceSettings, first: i64) -> Self {
        let begins = first.saturating_add(nanos(settings.start_s));
        let length = settings.length_s.map(nanos);
        Self {
            begins,
            ends: length.map_or(i64::MAX, |length| begins.saturating_add(length)),
        }
    }

    pub(super) fn place(self, at: i64) -> Place {
        match u64::try_from(at.saturating_sub(self.begins)) {
            Err(_) => Place::Before,
            Ok(_) if at >= self.ends => Place::After,
            Ok(after) => Place::Within(after),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "options are below 10⁹ seconds"
)]
fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

impl Selection {
    /// `sorted`: lines come in the order of the file, not of their moments.
    pub(super) fn new(settings: &TraceSettings, seed: u64, sorted: bool) -> Self {
        Self {
            sample: settings.sample,
            max_input: settings.max_input.unwrap_or(u64::MAX),
            max_context: settings.max_context.unwrap_or(u64::MAX),
            seed: sub_seed(seed, "trace-sample"),
            roots: HashMap::new(),
            last: sorted.then(HashMap::new),
        }
    }

    /// When a request came; `None`: its line says only how long after another one, of which nothing is
    /// known.
    pub(super) fn moment(&mut self, row: &Row) -> Option<i64> {
        let Some(last) = &mut self.last else {
            return match row.moment {
                Moment::At(at) => Some(at),
                Moment::After(_) => None,
            };
        };
        let session = session_hash(&row.session);
        let at = match row.moment {
            Moment::At(at) => at,
            Moment::After(delay) => last.get(&session?)?.saturating_add(delay),
        };
        if let Some(session) = session {
            last.insert(session, at);
        }
        Some(at)
    }

    pub(super) fn fate(&mut self, row: &Row, line: u64) -> Fate {
        // chats are followed also where they are left out
        if self.sample < 1.0 && !self.is_sampled(&row.session, line) {
            return Fate::NotSampled;
        }
        if row.has_failed {
            return Fate::WithoutResponse;
        }
        let input = row.input_tokens.unwrap_or(0);
        let output = row.output_tokens.unwrap_or(0);
        if input > self.max_input || input.saturating_add(output) > self.max_context {
            return Fate::TooLong;
        }
        Fate::Taken
    }

    fn is_sampled(&mut self, session: &Session, line: u64) -> bool {
        let own = match session {
            Session::Chat { id, parent } => {
                let root = parent.map_or(*id, |parent| *self.roots.get(&parent).unwrap_or(&parent));
                self.roots.insert(*id, root);
                root.cast_unsigned()
            }
            named => session_hash(named).unwrap_or(line),
        };
        let drawn = mixed(self.seed ^ mixed(own)) >> 11;
        (drawn as f64) < self.sample * (1_u64 << 53) as f64
    }
}

fn session_hash(session: &Session) -> Option<u64> {
    match session {
        Session::None => None,
        Session::Named(name) => Some(sub_seed(0, name)),
        Session::Chat { id, .. } => Some(id.cast_unsigned()),
    }
}
