//! Owns how much of the prompts came from the server's cache, and how much of them could have: what
//! the turn before left there.
//!
//! Pure. It must not know conversations as a whole, nor how a share is shown.

use serde::{Deserialize, Serialize};

use crate::conversation::History;
use crate::record::RequestRecord;

/// Cached tokens against the tokens that they are part of, over the requests whose server reported
/// both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct CachedShare {
    /// Successful requests whose server reported cached tokens.
    pub requests: u64,
    /// Tokens that came from the cache.
    pub cached_tokens: u64,
    /// Tokens that they are compared with.
    pub of_tokens: u64,
    /// The one over the other, 0 to 1; `null` if no server reported cached tokens.
    pub share: Option<f64>,
}

impl CachedShare {
    pub(super) fn push(&mut self, cached: u64, of: u64) {
        self.requests += 1;
        self.cached_tokens = self.cached_tokens.saturating_add(cached);
        self.of_tokens = self.of_tokens.saturating_add(of);
        self.share =
            (self.of_tokens > 0).then(|| self.cached_tokens as f64 / self.of_tokens as f64);
    }
}

/// Cached tokens and prompt tokens of a success, as its server reported them.
pub(super) fn cached_of(record: &RequestRecord) -> Option<(u64, u64)> {
    let both = record
        .usage
        .cached_tokens
        .zip(record.reported_prompt_tokens());
    both.filter(|_| record.succeeded())
}

/// What a turn leaves in the server's cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    prompt: u64,
    output: Option<u64>,
    reasoning: u64,
}

impl Left {
    /// That of a success whose server reported its prompt.
    pub(super) fn by(record: &RequestRecord) -> Option<Self> {
        let prompt = record
            .reported_prompt_tokens()
            .filter(|_| record.succeeded())?;
        Some(Self {
            prompt,
            output: record.reported_output_tokens(),
            reasoning: record.usage.reasoning_tokens.unwrap_or(0),
        })
    }

    /// How much of the next prompt can come from the cache. A response that is replaced by a recorded
    /// one, or left out, is of no use.
    pub(super) fn eligible(self, history: History, next_prompt: u64) -> Option<u64> {
        let response = match history {
            History::Real | History::RealWithReasoning | History::KeptByServer => self.output?,
            History::Recorded | History::None => 0,
        };
        Some(next_prompt.min(self.prompt.saturating_add(response)))
    }

    /// By how much the new messages made the next prompt longer; `None` where the length of what
    /// stands between is not known.
    pub(super) fn increment(self, history: History, next_prompt: u64) -> Option<i64> {
        let response = match history {
            History::Real => self.output?.saturating_sub(self.reasoning),
            History::None => 0,
            // a server may keep reasoning or leave it out
            History::KeptByServer if self.reasoning > 0 => return None,
            History::RealWithReasoning | History::KeptByServer => self.output?,
            History::Recorded => return None,
        };
        let before = self.prompt.saturating_add(response);
        Some(next_prompt.cast_signed().wrapping_sub(before.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(prompt: u64, output: Option<u64>, reasoning: u64) -> Left {
        Left {
            prompt,
            output,
            reasoning,
        }
    }

    #[test]
    fn what_a_turn_leaves_depends_on_the_history() {
        let of = left(100, Some(40), 30);
        for (history, eligible, increment) in [
            (History::Real, Some(140), Some(90)),
            (History::RealWithReasoning, Some(140), Some(60)),
            (History::Recorded, Some(100), None),
            (History::None, Some(100), Some(100)),
            (History::KeptByServer, Some(140), None),
        ] {
            assert_eq!(of.eligible(history, 200), eligible, "{history:?}");
            assert_eq!(of.increment(history, 200), increment, "{history:?}");
        }
        let without_reasoning = left(100, Some(40), 0);
        let kept = without_reasoning.increment(History::KeptByServer, 200);
        assert_eq!(kept, Some(60));
        // no more than the prompt: the server has left something out
        assert_eq!(of.eligible(History::Real, 120), Some(120));
        assert_eq!(of.increment(History::Real, 105), Some(-5));
        assert_eq!(left(100, None, 0).eligible(History::Real, 200), None);
    }

    #[test]
    fn a_share_is_that_of_all_tokens() {
        let mut share = CachedShare::default();
        assert_eq!(share.share, None);
        share.push(0, 100);
        share.push(90, 300);
        assert_eq!(share.share, Some(0.225));
        assert_eq!((share.requests, share.of_tokens), (2, 400));
    }
}
