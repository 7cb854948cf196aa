//! Owns the data events of one stream: when each arrived and what it was, in
//! eight bytes, and the log of them as bytes.
//!
//! It must not know what a gap between two of them means.

use super::varint::push_varint;
use crate::time::Timestamp;

/// One data event of a stream: when it arrived, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventStamp {
    /// Arrival of the read that completed it.
    pub at: Timestamp,
    /// It carried generated payload.
    pub token: bool,
    /// The payload belonged to the answer, not to reasoning.
    pub answer: bool,
    /// The same read completed a token-bearing event before it: the gap
    /// between the two is not known.
    pub coalesced: bool,
}

/// The data events of a stream, in order, eight bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog(Vec<u64>);

const TOKEN: u64 = 1;
const ANSWER: u64 = 2;
const COALESCED: u64 = 4;
const FLAG_BITS: u32 = 3;

impl EventLog {
    /// An empty log with room for `n` events.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Add an event.
    pub fn push(&mut self, event: EventStamp) {
        let mut packed = event.at.as_nanos() << FLAG_BITS;
        packed |= u64::from(event.token) * TOKEN;
        packed |= u64::from(event.answer) * ANSWER;
        packed |= u64::from(event.coalesced) * COALESCED;
        self.0.push(packed);
    }

    /// Number of data events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No event came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All events, in order.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = EventStamp> + '_ {
        self.0.iter().map(|packed| EventStamp {
            at: Timestamp::from_nanos(packed >> FLAG_BITS),
            token: packed & TOKEN != 0,
            answer: packed & ANSWER != 0,
            coalesced: packed & COALESCED != 0,
        })
    }

    /// The token-bearing events, in order.
    #[must_use]
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = EventStamp> + '_ {
        self.iter().filter(|event| event.token)
    }

    /// The log as bytes: for each event a LEB128 varint of its distance to the
    /// event before (the first: to the start of the run) in nanoseconds,
    /// shifted left by three, with the bits 1 token-bearing, 2 answer,
    /// 4 coalesced.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 5);
        let mut last = 0;
        for packed in &self.0 {
            let at = packed >> FLAG_BITS;
            // the kernel's times of one socket do not go back, but a fallback
            // to the user clock may meet a kernel time a moment later
            let delta = at.saturating_sub(last);
            last += delta;
            push_varint(
                &mut bytes,
                delta << FLAG_BITS | packed & ((1 << FLAG_BITS) - 1),
            );
        }
        bytes
    }

    /// Read what [`EventLog::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut log = Vec::with_capacity(bytes.len() / 4);
        let (mut at, mut value, mut shift) = (0u64, 0u64, 0u32);
        for byte in bytes {
            if shift > 63 {
                return None;
            }
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 != 0 {
                shift += 7;
                continue;
            }
            at = at.checked_add(value >> FLAG_BITS)?;
            log.push(at << FLAG_BITS | value & ((1 << FLAG_BITS) - 1));
            (value, shift) = (0, 0);
        }
        (shift == 0).then_some(Self(log))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_event_log_survives_its_bytes(
            gaps in prop::collection::vec((0u64..1 << 40, any::<[bool; 3]>()), 0..200)
        ) {
            let mut log = EventLog::default();
            let mut at = 0;
            for (gap, [token, answer, coalesced]) in gaps {
                at += gap;
                log.push(EventStamp { at: Timestamp::from_nanos(at), token, answer, coalesced });
            }
            prop_assert_eq!(EventLog::from_bytes(&log.to_bytes()), Some(log));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = EventLog::from_bytes(&bytes);
        }
    }
}
