//! Owns findings about conversations: how many were abandoned, by how much their prompts grew, and
//! what is known of the server's cache.

use super::finding::{Evidence, Finding, percent, share};
use super::id::FindingId;

/// Conversations that were abandoned above this share are worth a sentence.
const ABANDONED_SHARE: f64 = 0.01;
/// Increments that differ by more than this share, and by more than a token or two, which templates
/// add, are worth a sentence.
const INCREMENTS_APART: f64 = 0.02;
/// See [`INCREMENTS_APART`].
const INCREMENTS_APART_TOKENS: f64 = 2.0;

pub(super) fn abandoned(e: &Evidence<'_>) -> Option<Finding> {
    let ended = &e.conversations?.ended_by;
    // those that the end of the run cut off say nothing of the server
    let abandoned = ended.failed + ended.context_limit;
    let of = abandoned + ended.whole();
    let share = share(abandoned, of).filter(|share| *share > ABANDONED_SHARE)?;
    let mut why = Vec::new();
    if ended.failed > 0 {
        why.push(format!("{} because a turn failed", ended.failed));
    }
    if ended.context_limit > 0 {
        why.push(format!(
            "{} at the limit of the context",
            ended.context_limit
        ));
    }
    let text = format!(
        "{} of the conversations ended before their last turn ({}): their turns count as requests, but \
         the figures of conversations are those of the other {}",
        percent(share),
        why.join(", "),
        ended.whole()
    );
    Some(Finding::new(FindingId::ConversationsAbandoned, text))
}

pub(super) fn increments_off(e: &Evidence<'_>) -> Option<Finding> {
    let increments = e.conversations?.increments?;
    let (asked, seen) = (increments.asked_mean_tokens, increments.seen_mean_tokens);
    let apart = increments.difference_p50_tokens;
    (apart > INCREMENTS_APART * asked && apart > INCREMENTS_APART_TOKENS).then(|| {
        let text = format!(
            "new turns did not make prompts longer by as much as was asked for: {asked:.1} tokens asked for \
             and {seen:.1} counted by the server on average, {apart:.0} apart at the median and {} at most; \
             the server counts its response otherwise in the history, or `--tokenizer-path` is not its \
             tokenizer",
            increments.difference_max_tokens
        );
        Finding::new(FindingId::IncrementsDiffer, text)
    })
}

pub(super) fn no_cached_tokens(e: &Evidence<'_>) -> Option<Finding> {
    let conversations = e.conversations?;
    (conversations.later_turns.succeeded > 0 && conversations.cached.requests == 0).then(|| {
        let text = "the server does not report cached tokens: how much of the histories came from its \
                    cache is not known (vLLM: `--enable-prompt-tokens-details`; SGLang: \
                    `--enable-cache-report`)";
        Finding::new(FindingId::CachedTokensUnknown, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::{
        CachedShare, ConversationFigures, EndedByCounts, IncrementFigures, TurnGroup,
    };

    use super::super::tests::{Case, none, one};
    use super::*;

    fn with(change: impl FnOnce(&mut ConversationFigures)) -> impl FnOnce(&mut Case) {
        let mut figures = ConversationFigures {
            started: 200,
            whole: 200,
            ended_by: EndedByCounts {
                completed: 200,
                ..EndedByCounts::default()
            },
            later_turns: TurnGroup {
                requests: 800,
                succeeded: 800,
                ..TurnGroup::default()
            },
            cached: CachedShare {
                requests: 1000,
                cached_tokens: 10,
                of_tokens: 100,
                share: Some(0.1),
            },
            ..ConversationFigures::default()
        };
        change(&mut figures);
        |case| case.conversations = Some(figures)
    }

    #[test]
    fn nothing_is_found_in_whole_conversations() {
        none(with(|_| ()));
        // the time was up
        none(with(|figures| figures.ended_by.duration = 50));
    }

    #[test]
    fn abandoned_conversations_are_counted() {
        one(
            with(|figures| {
                figures.ended_by.failed = 3;
                figures.ended_by.context_limit = 5;
            }),
            FindingId::ConversationsAbandoned,
            "3.8 % of the conversations ended before their last turn (3 because a turn failed, 5 at the \
             limit of the context)",
        );
        none(with(|figures| figures.ended_by.failed = 2));
    }

    #[test]
    fn a_server_that_reports_no_cached_tokens_is_named() {
        one(
            with(|figures| figures.cached = CachedShare::default()),
            FindingId::CachedTokensUnknown,
            "the server does not report cached tokens",
        );
    }

    #[test]
    fn increments_are_compared() {
        let off = |median: f64| {
            with(move |figures| {
                figures.increments = Some(IncrementFigures {
                    requests: 800,
                    asked_mean_tokens: 100.0,
                    seen_mean_tokens: 103.0,
                    difference_p50_tokens: median,
                    difference_max_tokens: 9,
                });
            })
        };
        none(off(2.0));
        one(
            off(3.0),
            FindingId::IncrementsDiffer,
            "100.0 tokens asked for and 103.0 counted by the server on average, 3 apart at the median and 9 \
             at most",
        );
    }
}
