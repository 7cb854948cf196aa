//! Owns the data events of one stream (when each arrived and what it carried, in eight bytes per
//! stamp) and the encoding of their log.
//!
//! It must not know what a gap between two of them means.

use std::time::Duration;

use super::varint::push_varint;
use crate::time::Timestamp;

/// What one data event of a stream carried for one choice, and when it arrived. An event with
/// several choices has one stamp for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent flags, one bit each"
)]
pub struct EventStamp {
    /// Arrival time of the read that completed it.
    pub at: Timestamp,
    /// It carried generated output.
    pub token: bool,
    /// The output belonged to the answer, not to reasoning.
    pub answer: bool,
    /// It had the choice's `finish_reason`: generation had ended by then.
    pub finish: bool,
    /// The same read completed an earlier token-bearing event of the same choice: the gap between
    /// the two is unknown.
    pub coalesced: bool,
    /// The choice's `index`, at most [`MAX_CHOICE`].
    pub choice: u8,
    /// Belongs to the same event as the previous stamp.
    pub continued: bool,
}

impl EventStamp {
    /// The stamp of an event without output.
    #[must_use]
    pub const fn empty(at: Timestamp) -> Self {
        Self {
            at,
            token: false,
            answer: false,
            finish: false,
            coalesced: false,
            choice: 0,
            continued: false,
        }
    }
}

/// Choices with this index or a higher one count as one.
pub const MAX_CHOICE: u8 = 63;

/// The data events of a stream, in order, eight bytes per stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    packed: Vec<u64>,
    /// Stamps that belong to the same event as the one before.
    continued: usize,
}

/// How a log is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLogFormat {
    /// Databases up to format 2: three flags and a single choice.
    V1,
    /// What [`EventLog::to_bytes`] writes.
    V2,
}

const TOKEN: u64 = 1;
const ANSWER: u64 = 2;
const COALESCED: u64 = 4;
const FINISH: u64 = 8;
const TOKEN_OF_ANSWER: u64 = TOKEN | ANSWER;
/// In the encoding: see [`EventLog::to_bytes`].
const FLAGS_FOLLOW: u64 = 3;
/// In the encoding: bits below the distance.
const KIND_BITS: u32 = 2;
const CONTINUED: u64 = 16;
/// Bits for the flags, and then for the choice. This leaves 53 bits of nanoseconds: 104 days.
const FLAG_BITS: u32 = 5;
const CHOICE_BITS: u32 = 6;
const AT_SHIFT: u32 = FLAG_BITS + CHOICE_BITS;

const fn choice_of(packed: u64) -> u64 {
    packed >> FLAG_BITS & MAX_CHOICE as u64
}

impl EventLog {
    /// An empty log with room for `n` events.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        Self {
            packed: Vec::with_capacity(n),
            continued: 0,
        }
    }

    /// Add a stamp.
    pub fn push(&mut self, event: EventStamp) {
        let mut packed = event.at.as_nanos() << AT_SHIFT;
        packed |= u64::from(event.choice.min(MAX_CHOICE)) << FLAG_BITS;
        packed |= u64::from(event.token) * TOKEN;
        packed |= u64::from(event.answer) * ANSWER;
        packed |= u64::from(event.coalesced) * COALESCED;
        packed |= u64::from(event.finish) * FINISH;
        packed |= u64::from(event.continued) * CONTINUED;
        self.continued += usize::from(event.continued);
        self.packed.push(packed);
    }

    /// Move every stamp to a clock that began `by` earlier.
    pub fn rebase(&mut self, by: Duration) {
        for packed in &mut self.packed {
            let at = Timestamp::from_nanos(*packed >> AT_SHIFT).after(by);
            *packed = at.as_nanos() << AT_SHIFT | *packed & ((1 << AT_SHIFT) - 1);
        }
    }

    /// Do the same with an encoded log: only its first stamp is a distance to the start of the run. What it
    /// becomes replaces `into`; `None` if the bytes are no log.
    pub fn rebase_bytes(bytes: &[u8], by_ns: u64, into: &mut Vec<u8>) -> Option<()> {
        into.clear();
        let mut rest = bytes;
        if !bytes.is_empty() {
            let first = take_varint(&mut rest)?;
            push_varint(into, first.checked_add(by_ns.checked_mul(1 << KIND_BITS)?)?);
        }
        into.extend_from_slice(rest);
        Some(())
    }

    /// Number of data events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.len() - self.continued
    }

    /// No event arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// All stamps, in order: one per event, or one per choice of it.
    #[must_use]
    pub fn stamps(&self) -> impl DoubleEndedIterator<Item = EventStamp> + Clone + '_ {
        self.packed.iter().map(|packed| EventStamp {
            at: Timestamp::from_nanos(packed >> AT_SHIFT),
            token: packed & TOKEN != 0,
            answer: packed & ANSWER != 0,
            coalesced: packed & COALESCED != 0,
            finish: packed & FINISH != 0,
            continued: packed & CONTINUED != 0,
            #[expect(clippy::cast_possible_truncation, reason = "six bits")]
            choice: choice_of(*packed) as u8,
        })
    }

    /// Arrival times of the data events, in order.
    #[must_use]
    pub fn arrivals(&self) -> impl DoubleEndedIterator<Item = Timestamp> + '_ {
        self.stamps()
            .filter(|stamp| !stamp.continued)
            .map(|stamp| stamp.at)
    }

    /// The token-bearing stamps, in order.
    #[must_use]
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = EventStamp> + Clone + '_ {
        self.stamps().filter(|event| event.token)
    }

    /// Arrival times of the events that carry a token of any choice, in order.
    pub fn token_events(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let mut counted = false;
        self.stamps().filter_map(move |stamp| {
            counted &= stamp.continued;
            let first = stamp.token && !counted;
            counted |= stamp.token;
            first.then_some(stamp.at)
        })
    }

    /// Encode the log. Each stamp is a LEB128 varint: the distance to the previous stamp (for the
    /// first, to the start of the run) in nanoseconds, shifted left by two. The two low bits cover
    /// the common cases: 0 an answer token, 1 a reasoning token, 2 no token, all of the same choice
    /// as the previous stamp (for the first, choice 0). With 3, another varint follows: the choice,
    /// shifted left by five, with the bits 1 token-bearing, 2 answer, 4 coalesced, 8 finished, 16
    /// same event as the previous stamp.
    ///
    /// Gaps of up to 67 ms take four bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.packed.len() * 4 + 8);
        let (mut last, mut choice) = (0, 0);
        for packed in &self.packed {
            let at = packed >> AT_SHIFT;
            // the kernel's times of one socket never go back, but a fallback to the user clock may
            // be followed by a slightly earlier kernel time
            let delta = at.saturating_sub(last);
            last += delta;
            let flags = packed & ((1 << FLAG_BITS) - 1);
            let kind = match flags {
                _ if choice_of(*packed) != choice => FLAGS_FOLLOW,
                TOKEN_OF_ANSWER => 0,
                TOKEN => 1,
                0 => 2,
                _ => FLAGS_FOLLOW,
            };
            push_varint(&mut bytes, (delta << KIND_BITS) | kind);
            if kind == FLAGS_FOLLOW {
                choice = choice_of(*packed);
                push_varint(&mut bytes, (choice << FLAG_BITS) | flags);
            }
        }
        bytes
    }

    /// Decode what this or an earlier version of [`EventLog::to_bytes`] wrote; `None` for anything
    /// else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], format: EventLogFormat) -> Option<Self> {
        let mut log = Self::with_capacity(bytes.len() / 4);
        let shift = match format {
            EventLogFormat::V1 => 3,
            EventLogFormat::V2 => KIND_BITS,
        };
        let (mut at, mut choice, mut rest) = (0u64, 0u64, bytes);
        while !rest.is_empty() {
            let value = take_varint(&mut rest)?;
            at = at
                .checked_add(value >> shift)
                .filter(|at| at >> (u64::BITS - AT_SHIFT) == 0)?;
            let kind = value & ((1 << shift) - 1);
            let flags = match (format, kind) {
                // the three flags have not changed
                (EventLogFormat::V1, flags) => flags,
                (EventLogFormat::V2, 0) => TOKEN_OF_ANSWER,
                (EventLogFormat::V2, 1) => TOKEN,
                (EventLogFormat::V2, 2) => 0,
                (EventLogFormat::V2, _) => {
                    let told = take_varint(&mut rest)?;
                    choice = told >> FLAG_BITS;
                    told & ((1 << FLAG_BITS) - 1)
                }
            };
            if choice > u64::from(MAX_CHOICE) {
                return None;
            }
            log.continued += usize::from(flags & CONTINUED != 0);
            log.packed
                .push((at << AT_SHIFT) | (choice << FLAG_BITS) | flags);
        }
        Some(log)
    }
}

/// Remove the varint at the start of `bytes`.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0u64, 0u32);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift > 63 {
            return None;
        }
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_event_log_survives_its_bytes(
            gaps in prop::collection::vec(
                (0u64..1 << 40, any::<[bool; 5]>(), prop_oneof![9 => Just(0u8), 1 => 0u8..=MAX_CHOICE]),
                0..200,
            ),
            by in 0u64..1 << 48,
        ) {
            let mut log = EventLog::default();
            let mut at = 0;
            let mut events = 0;
            for (gap, [token, answer, coalesced, finish, continued], choice) in gaps {
                at += gap;
                events += usize::from(!continued);
                let at = Timestamp::from_nanos(at);
                log.push(EventStamp { at, token, answer, finish, coalesced, choice, continued });
            }
            prop_assert_eq!(log.len(), events);
            let read = EventLog::from_bytes(&log.to_bytes(), EventLogFormat::V2);
            prop_assert_eq!(read, Some(log.clone()));
            // moved as bytes it is the log that is moved
            let mut moved = Vec::new();
            EventLog::rebase_bytes(&log.to_bytes(), by, &mut moved).unwrap();
            log.rebase(Duration::from_nanos(by));
            prop_assert_eq!(moved, log.to_bytes());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            for format in [EventLogFormat::V1, EventLogFormat::V2] {
                if let Some(log) = EventLog::from_bytes(&bytes, format) {
                    let again = EventLog::from_bytes(&log.to_bytes(), EventLogFormat::V2);
                    prop_assert_eq!(again, Some(log));
                }
            }
        }
    }

    #[test]
    fn a_log_of_an_earlier_version_is_read() {
        // an answer token after 1000 ns; 10 ns later no token, coalesced
        let bytes = [0xc3, 0x3e, 0x54];
        let log = EventLog::from_bytes(&bytes, EventLogFormat::V1).unwrap();
        let stamps: Vec<_> = log.stamps().collect();
        assert_eq!(
            stamps,
            [
                EventStamp {
                    token: true,
                    answer: true,
                    ..EventStamp::empty(Timestamp::from_nanos(1000))
                },
                EventStamp {
                    coalesced: true,
                    ..EventStamp::empty(Timestamp::from_nanos(1010))
                },
            ]
        );
    }
}
