//! Owns what is recorded of a conversation as a whole.
//!
//! It must not know how its turns went: their records say so.

use super::Phase;
use crate::conversation::EndedBy;
use crate::time::Timestamp;

/// A conversation that has ended. What its turns cost is in their records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationRecord {
    /// Its position in its phase, from 0, in dataset order.
    pub index: u64,
    /// Whether it counts.
    pub phase: Phase,
    /// Its name in the dataset.
    pub session: Option<String>,
    /// Turns that it was to have.
    pub turns_planned: u32,
    /// Turns that were sent.
    pub turns_sent: u32,
    /// Why it ended.
    pub ended_by: EndedBy,
    /// When the load wanted it to start.
    pub scheduled: Timestamp,
    /// When its last response had ended.
    pub ended: Timestamp,
    /// Responses without text that are part of its history.
    pub empty_replies: u32,
    /// Recorded tool results without a tool call of the server to go with, and the other way round.
    pub tools_unmatched: u32,
}
