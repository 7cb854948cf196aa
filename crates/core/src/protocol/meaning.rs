//! Owns what an event of a response meant: which choices got tokens or ended, and the state of a
//! response so far.
//!
//! It must not know how any API writes it.

use std::fmt;

use evalscope_model::record::{Failure, FailureKind, MAX_CHOICE, Usage};

/// A set of choices of a response, by index; indices above [`MAX_CHOICE`] count as that one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices(u64);

impl Choices {
    /// No choice.
    pub const NONE: Self = Self(0);
    /// Only the first choice: for responses without choices.
    pub const FIRST: Self = Self(1);

    /// A single choice.
    #[must_use]
    pub fn one(index: usize) -> Self {
        Self(1 << index.min(usize::from(MAX_CHOICE)))
    }

    /// This set if `holds` is true, else the empty set.
    #[must_use]
    pub const fn when(self, holds: bool) -> Self {
        if holds { self } else { Self::NONE }
    }

    /// It is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set without `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// It contains all of `others`.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The choices, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            let lowest = (rest != 0).then(|| rest.trailing_zeros() as u8)?;
            rest &= rest - 1;
            Some(lowest)
        })
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl std::ops::BitOr for Choices {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Choices {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What one data event of a stream carried, for each choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventMeaning {
    /// Generated output of any channel: content, reasoning, tool calls, refusal.
    pub tokens: Choices,
    /// Generated output that belongs to the answer rather than to reasoning.
    pub answers: Choices,
    /// A `finish_reason`: generation had ended by then.
    pub finished: Choices,
}

impl EventMeaning {
    /// The meaning of an event without choices.
    #[must_use]
    pub const fn single(token: bool, answer: bool) -> Self {
        Self {
            tokens: Choices::FIRST.when(token),
            answers: Choices::FIRST.when(answer),
            finished: Choices::NONE,
        }
    }

    /// It carried generated output.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// It carried part of the answer.
    #[must_use]
    pub const fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The choices that the event mentions.
    #[must_use]
    pub fn choices(&self) -> Choices {
        self.tokens | self.answers | self.finished
    }
}

impl std::ops::BitOrAssign for EventMeaning {
    fn bitor_assign(&mut self, other: Self) {
        self.tokens |= other.tokens;
        self.answers |= other.answers;
        self.finished |= other.finished;
    }
}

/// The state of a response so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerState {
    /// Token counts; for each field, the last reported value.
    pub usage: Usage,
    /// Why generation ended, once the server has said so.
    pub finish_reason: Option<String>,
    /// The response `id`.
    pub response_id: Option<String>,
    /// The model named in the response.
    pub model: Option<String>,
    /// Events that were not data of the API and were skipped.
    pub skipped_events: u64,
    /// The end marker has arrived: nothing is missing.
    pub done: bool,
    /// The first reason why the response is a failure.
    pub failure: Option<Failure>,
}

impl AnswerState {
    /// The response is a failure; the first reason is the cause of those that follow.
    pub(super) fn fail(&mut self, kind: FailureKind, message: String) {
        self.failure
            .get_or_insert_with(|| Failure::new(kind, message));
    }
}
