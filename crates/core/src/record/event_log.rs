//! Owns the data events of one stream: when each arrived and what it was, in
//! eight bytes a stamp, and the log of them as bytes.
//!
//! It must not know what a gap between two of them means.

use super::varint::push_varint;
use crate::time::Timestamp;

/// What one data event of a stream said of one choice, and when it arrived. An event that speaks
/// of several choices makes a stamp for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent flags, a bit each"
)]
pub struct EventStamp {
    /// Arrival of the read that completed it.
    pub at: Timestamp,
    /// It carried generated payload.
    pub token: bool,
    /// The payload belonged to the answer, not to reasoning.
    pub answer: bool,
    /// It bore the choice's `finish_reason`: generation had ended by then.
    pub finish: bool,
    /// The same read completed a token-bearing event of the same choice before
    /// it: the gap between the two is not known.
    pub coalesced: bool,
    /// The choice's `index`, at most [`MAX_CHOICE`].
    pub choice: u8,
    /// The stamp before is of the same event.
    pub continued: bool,
}

impl EventStamp {
    /// A stamp of an event without any payload.
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

/// Choices with this index or a higher one are taken for one.
pub const MAX_CHOICE: u8 = 63;

/// The data events of a stream, in order, eight bytes a stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    packed: Vec<u64>,
    /// Stamps that belong to the event of the stamp before.
    continued: usize,
}

/// How the bytes of a log are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLogFormat {
    /// Of databases up to format 2: three flags and one choice.
    V1,
    /// What [`EventLog::to_bytes`] writes.
    V2,
}

const TOKEN: u64 = 1;
const ANSWER: u64 = 2;
const COALESCED: u64 = 4;
const FINISH: u64 = 8;
/// In bytes only: another choice than that of the stamp before, which follows.
const OTHER_CHOICE: u64 = 16;
/// In memory only.
const CONTINUED: u64 = 16;
/// Bits of flags in bytes: up to and with [`OTHER_CHOICE`].
const BYTE_FLAGS: u32 = 5;
/// Bits of flags in memory, and then of the choice. What is left for the moment
/// are 53 bits of nanoseconds: 104 days.
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

    /// Number of data events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.len() - self.continued
    }

    /// No event came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// All stamps, in order: one for each event, or one for each choice of it.
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

    /// Arrivals of the data events, in order.
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

    /// Arrivals of the events that bear a token of any choice, in order.
    pub fn token_events(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let mut counted = false;
        self.stamps().filter_map(move |stamp| {
            counted &= stamp.continued;
            let first = stamp.token && !counted;
            counted |= stamp.token;
            first.then_some(stamp.at)
        })
    }

    /// The log as bytes: for each stamp a LEB128 varint of its distance to the
    /// stamp before (the first: to the start of the run) in nanoseconds,
    /// shifted left by five, with the bits 1 token-bearing, 2 answer,
    /// 4 coalesced, 8 finished, 16 of another choice than the stamp before (the
    /// first: than 0). After a stamp with bit 16 comes a varint of the choice,
    /// shifted left by one, with the bit 1 where the event is that of the stamp
    /// before.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.packed.len() * 5);
        let (mut last, mut choice) = (0, 0);
        for packed in &self.packed {
            let at = packed >> AT_SHIFT;
            // the kernel's times of one socket do not go back, but a fallback
            // to the user clock may meet a kernel time a moment later
            let delta = at.saturating_sub(last);
            last += delta;
            let flags = packed & (TOKEN | ANSWER | COALESCED | FINISH);
            let continued = u64::from(packed & CONTINUED != 0);
            let other = choice_of(*packed) != choice || continued == 1;
            push_varint(
                &mut bytes,
                (delta << BYTE_FLAGS) | flags | (u64::from(other) * OTHER_CHOICE),
            );
            if other {
                choice = choice_of(*packed);
                push_varint(&mut bytes, (choice << 1) | continued);
            }
        }
        bytes
    }

    /// Read what [`EventLog::to_bytes`] wrote, or what it wrote in earlier
    /// versions; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], format: EventLogFormat) -> Option<Self> {
        let mut log = Self::with_capacity(bytes.len() / 4);
        let byte_flags = match format {
            EventLogFormat::V1 => 3,
            EventLogFormat::V2 => BYTE_FLAGS,
        };
        let (mut at, mut choice, mut rest) = (0u64, 0u8, bytes);
        while !rest.is_empty() {
            let value = take_varint(&mut rest)?;
            at = at
                .checked_add(value >> byte_flags)
                .filter(|at| at >> (u64::BITS - AT_SHIFT) == 0)?;
            let mut continued = false;
            if format == EventLogFormat::V2 && value & OTHER_CHOICE != 0 {
                let told = take_varint(&mut rest)?;
                choice = u8::try_from(told >> 1).ok().filter(|c| *c <= MAX_CHOICE)?;
                continued = told & 1 == 1;
            }
            log.push(EventStamp {
                at: Timestamp::from_nanos(at),
                token: value & TOKEN != 0,
                answer: value & ANSWER != 0,
                coalesced: value & COALESCED != 0,
                finish: format == EventLogFormat::V2 && value & FINISH != 0,
                choice,
                continued,
            });
        }
        Some(log)
    }
}

/// The varint that `bytes` begin with, which are cut by it.
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
            )
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
            prop_assert_eq!(EventLog::from_bytes(&log.to_bytes(), EventLogFormat::V2), Some(log));
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
        // 1000 ns a token of the answer, 10 ns later nothing, coalesced
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
