//! Owns the metrics that each choice of a response has on its own: with `n` above 1 the events of
//! all choices are interleaved, and only those of the same choice follow each other.
//!
//! It must not know which requests count, or units.

use crate::record::{EventLog, EventStamp, MAX_CHOICE};
use crate::time::Timestamp;

/// Start and end of the generation of one choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// Its first token-bearing event.
    first: Timestamp,
    /// The later of its last token-bearing event and the one with its `finish_reason`: the server
    /// also counts tokens without text (the end-of-sequence token, parts of a character), and they
    /// come after the last text.
    end: Timestamp,
    /// Its token-bearing events.
    events: u64,
}

impl Span {
    fn take(span: &mut Option<Self>, stamp: &EventStamp) {
        match span {
            None if stamp.token => {
                *span = Some(Self {
                    first: stamp.at,
                    end: stamp.at,
                    events: 1,
                });
            }
            Some(span) if stamp.token || stamp.finish => {
                span.end = span.end.max(stamp.at);
                span.events += u64::from(stamp.token);
            }
            _ => {}
        }
    }

    /// Nanoseconds per token after the first, for this many tokens.
    fn per_token(&self, tokens: f64) -> Option<f64> {
        (tokens >= 2.0 && self.end > self.first)
            .then(|| self.end.nanos_since(self.first) as f64 / (tokens - 1.0))
    }
}

/// All stamps belong to one choice, by far the most common case.
fn is_single(events: &EventLog) -> bool {
    events.stamps().all(|stamp| stamp.choice == 0)
}

const MOST: usize = MAX_CHOICE as usize + 1;

/// Number of choices that produced a token.
pub(super) fn count(events: &EventLog) -> u64 {
    let seen = events
        .tokens()
        .fold(0u64, |seen, stamp| seen | 1 << stamp.choice);
    u64::from(seen.count_ones())
}

/// Time per output token after the first, nanoseconds: the mean over the choices. `output` is the
/// number of tokens of all choices together; each choice is assigned its share by token-bearing
/// events.
pub(super) fn time_per_token(events: &EventLog, output: f64) -> Option<f64> {
    if is_single(events) {
        let mut span = None;
        events.stamps().for_each(|s| Span::take(&mut span, &s));
        return span?.per_token(output);
    }
    let mut spans = [None; MOST];
    for stamp in events.stamps() {
        Span::take(&mut spans[usize::from(stamp.choice)], &stamp);
    }
    let all: u64 = spans.iter().flatten().map(|span| span.events).sum();
    let times = spans.iter().flatten().filter_map(|span| {
        let tokens = output * span.events as f64 / all as f64;
        span.per_token(tokens)
    });
    let (sum, n) = times.fold((0.0, 0u32), |(sum, n), time| (sum + time, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// Tokens after the first per event after the first, up to the end of generation; events without
/// text count too. `None` unless it is above 1, and with several choices.
pub(super) fn decoded_per_event(events: &EventLog, output: f64) -> Option<f64> {
    if !is_single(events) {
        return None;
    }
    let (mut n, mut until_last) = (0u64, 0u64);
    for stamp in events.stamps() {
        n += u64::from(n > 0 || stamp.token);
        if stamp.token || stamp.finish {
            until_last = n;
        }
    }
    let per_event = (until_last > 1).then(|| (output - 1.0) / (until_last - 1) as f64);
    per_event.filter(|tokens| *tokens > 1.0)
}

/// Gaps between the token-bearing events of each choice, nanoseconds, in the
/// order in which they end.
pub(super) fn token_gaps(events: &EventLog, mut sink: impl FnMut(f64)) {
    token_neighbours(events, |from, to| sink(to.nanos_since(from) as f64));
}

/// The moments of neighbouring token-bearing events of each choice, in the order of the later one.
pub fn token_neighbours(events: &EventLog, mut sink: impl FnMut(Timestamp, Timestamp)) {
    neighbours_of_choices(events, |_, from, to| sink(from, to));
}

/// The same with the choice.
pub(super) fn neighbours_of_choices(
    events: &EventLog,
    mut sink: impl FnMut(u8, Timestamp, Timestamp),
) {
    let mut step = |last: &mut Option<Timestamp>, choice: u8, at: Timestamp| {
        if let Some(last) = last.replace(at) {
            sink(choice, last, at);
        }
    };
    if is_single(events) {
        let mut last = None;
        for stamp in events.tokens() {
            step(&mut last, 0, stamp.at);
        }
        return;
    }
    let mut last = [None; MOST];
    for stamp in events.tokens() {
        step(&mut last[usize::from(stamp.choice)], stamp.choice, stamp.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(stamps: &[(u64, u8, bool, bool)]) -> EventLog {
        let mut log = EventLog::default();
        for (at, choice, token, finish) in stamps {
            log.push(EventStamp {
                token: *token,
                finish: *finish,
                choice: *choice,
                ..EventStamp::empty(Timestamp::from_nanos(*at))
            });
        }
        log
    }

    fn gaps(log: &EventLog) -> Vec<f64> {
        let mut gaps = Vec::new();
        token_gaps(log, |gap| gaps.push(gap));
        gaps
    }

    #[test]
    fn generation_ends_with_the_finish_reason() {
        // three tokens with text, then one without, which the server counts
        let stopped = log(&[
            (10, 0, true, false),
            (20, 0, true, false),
            (30, 0, true, false),
            (40, 0, false, true),
            (90, 0, false, false),
        ]);
        assert_eq!(time_per_token(&stopped, 4.0), Some(10.0));
        // text after it, from servers that send it with each event
        let late = log(&[
            (10, 0, true, true),
            (20, 0, true, true),
            (30, 0, true, false),
        ]);
        assert_eq!(time_per_token(&late, 3.0), Some(10.0));
        assert_eq!(time_per_token(&late, 1.0), None);
        assert_eq!(time_per_token(&EventLog::default(), 9.0), None);
        // no text, hence no first token
        assert_eq!(time_per_token(&log(&[(10, 0, false, true)]), 9.0), None);
    }

    #[test]
    fn interleaved_choices_are_told_apart() {
        let mut stamps = Vec::new();
        for round in 1..=5u64 {
            for choice in 0..4u8 {
                stamps.push((round * 100 + u64::from(choice), choice, true, false));
            }
        }
        let log = log(&stamps);
        assert_eq!(count(&log), 4);
        assert_eq!(gaps(&log), [100.0; 16]);
        assert_eq!(time_per_token(&log, 20.0), Some(100.0));
        // twice as many tokens as events: 10 per choice
        assert_eq!(time_per_token(&log, 40.0), Some(400.0 / 9.0));
    }

    #[test]
    fn tokens_that_share_an_event_are_counted() {
        let bundled = log(&[
            (5, 0, false, false),
            (10, 0, true, false),
            (20, 0, true, false),
            (30, 0, false, true),
            (31, 0, false, false),
        ]);
        assert_eq!(decoded_per_event(&bundled, 9.0), Some(4.0));
        // the end-of-sequence token came with the finish_reason
        assert_eq!(decoded_per_event(&bundled, 3.0), None);
        assert_eq!(decoded_per_event(&EventLog::default(), 3.0), None);
        assert_eq!(decoded_per_event(&log(&[(1, 0, true, false)]), 3.0), None);
    }

    #[test]
    fn a_choice_of_one_token_has_no_time_per_token() {
        let log = log(&[
            (10, 0, true, false),
            (10, 1, true, false),
            (30, 1, true, false),
        ]);
        assert_eq!(time_per_token(&log, 3.0), Some(20.0));
        assert_eq!(gaps(&log), [20.0]);
    }
}
