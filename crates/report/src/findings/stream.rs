//! Owns findings about responses: whether they were streamed, and how their events arrived.

use evalscope_model::metrics::{ClientReport, Metric, Verdict};

use super::finding::{Evidence, Finding, counted, percent, share};
use super::id::FindingId;

/// Events that shared a read with one before them, above this share, were bundled on their way.
const COALESCED_SHARE: f64 = 0.10;
/// Streams whose second token came with the first, above this share, were held back on their way.
const BUNDLED_FIRST_SHARE: f64 = 0.10;
/// Reads that are handled later than this (p99) hold the tokens of a while: then it may be the client
/// that bundles. Servers send tokens of a stream at longer intervals.
const PROMPT_HANDLING_MS: f64 = 1.0;
/// Above this many tokens per event, times between events are no longer those between tokens.
const TOKENS_PER_EVENT: f64 = 1.1;
/// Models named in a sentence.
const SHOWN_MODELS: usize = 5;

pub(super) fn not_streamed(e: &Evidence<'_>) -> Option<Finding> {
    let whole = e.totals.succeeded.saturating_sub(e.totals.streamed);
    (e.stream && whole > 0).then(|| {
        let text = format!(
            "{whole} of {} were not event streams, although `--no-stream` was not given: they have no \
             TTFT, TPOT or ITL; add `--no-stream` if that is intended, or give the URL of an endpoint \
             that sends server-sent events",
            counted(e.totals.succeeded, "successful response")
        );
        Finding::new(FindingId::NotStreamed, text)
    })
}

pub(super) fn unseen_tokens(e: &Evidence<'_>) -> Option<Finding> {
    (e.unseen_tokens > 0).then(|| {
        let text = format!(
            "{} of {} reported tokens that no event held: they have no TTFT, TPOT or ITL",
            e.unseen_tokens,
            counted(e.totals.streamed, "successful stream")
        );
        Finding::new(FindingId::UnseenTokens, text)
    })
}

pub(super) fn first_tokens_bundled(e: &Evidence<'_>) -> Option<Finding> {
    let (bundled, all) = (e.totals.bundled_first_reads, e.totals.first_reads);
    let share = share(bundled, all).filter(|share| *share > BUNDLED_FIRST_SHARE)?;
    if is_client_late(e.client) {
        return None;
    }
    let text = format!(
        "in {} of the streams the second token arrived together with the first: the server, or a proxy \
         or gateway on the way, sends tokens in bundles, so TTFT is too long, and TPOT and ITL are not \
         those of the model",
        percent(share)
    );
    Some(Finding::new(FindingId::FirstTokensBundled, text))
}

/// Whether tokens may have gathered in the client's socket, rather than on their way.
fn is_client_late(client: &ClientReport) -> bool {
    let handling = client.handling_delay_ms.p99;
    client.verdict != Verdict::Ok || handling.is_some_and(|p99_ms| p99_ms > PROMPT_HANDLING_MS)
}

pub(super) fn events_bundled(e: &Evidence<'_>) -> Option<Finding> {
    let share = e
        .totals
        .coalesced_share()
        .filter(|share| *share > COALESCED_SHARE)?;
    let text = format!(
        "{} of the token-bearing events arrived together with the one before: events are bundled on \
         the way, so ITL is coarse",
        percent(share)
    );
    Some(Finding::new(FindingId::EventsBundled, text))
}

pub(super) fn several_tokens_per_event(e: &Evidence<'_>) -> Option<Finding> {
    let mean = e.metric(Metric::TokensPerEvent).mean;
    let decoded = e.metric(Metric::DecodedTokensPerEvent).mean;
    let mean = mean.filter(|mean| *mean > TOKENS_PER_EVENT && decoded.is_some())?;
    let text = format!(
        "events held {mean:.2} tokens on average: the server decodes several at a time (speculative \
         decoding), or bundles them; ITL is the time between events, and TPOT leaves out the tokens \
         that came with the first one, so it is too short for short responses"
    );
    Some(Finding::new(FindingId::SeveralTokensPerEvent, text))
}

pub(super) fn compressed(e: &Evidence<'_>) -> Option<Finding> {
    let n = e.totals.compressed;
    (n > 0).then(|| {
        let text = format!(
            "{n} of {} were compressed, although `Accept-Encoding: identity` was sent: whatever \
             compresses them may hold tokens back",
            counted(e.totals.total, "response")
        );
        Finding::new(FindingId::Compressed, text)
    })
}

pub(super) fn several_models(e: &Evidence<'_>) -> Option<Finding> {
    let models = &e.totals.models;
    // several were asked for, and have figures of their own
    if models.len() <= e.by_model.len().max(1) {
        return None;
    }
    let mut named: Vec<(&String, &u64)> = models.iter().collect();
    named.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), (*name).clone()));
    let shown: Vec<String> = named
        .iter()
        .take(SHOWN_MODELS)
        .map(|(name, n)| format!("`{name}` {n}"))
        .collect();
    let more = match named.len().saturating_sub(SHOWN_MODELS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!(
        "responses name {} models ({}{more}): the figures mix them",
        named.len(),
        shown.join(", ")
    );
    Some(Finding::new(FindingId::SeveralModels, text))
}

pub(super) fn no_end_marker(e: &Evidence<'_>) -> Option<Finding> {
    let n = e.totals.ended_by_grace;
    (n > 0).then(|| {
        let text = format!(
            "{n} of {} had no end marker: after their finish_reason the connection stayed open and \
             silent, and they were taken as complete after 2 s, which no latency includes; token counts \
             sent later are missing",
            counted(e.totals.succeeded, "response")
        );
        Finding::new(FindingId::NoEndMarker, text)
    })
}

pub(super) fn skipped_events(e: &Evidence<'_>) -> Option<Finding> {
    let n = e.totals.skipped_events;
    (n > 0).then(|| {
        let text = format!(
            "{} not JSON and skipped, in {} of {}",
            match n {
                1 => "1 event was".to_owned(),
                n => format!("{n} events were"),
            },
            e.totals.skipping,
            counted(e.totals.succeeded, "response")
        );
        Finding::new(FindingId::EventsSkipped, text)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use evalscope_model::metrics::RunTotals;

    use super::super::tests::{Case, none, one};
    use super::*;
    use crate::figures::MixFigures;

    #[test]
    fn a_second_token_with_the_first_is_a_proxy() {
        let bundled = |n: u64| {
            move |c: &mut Case| (c.totals.first_reads, c.totals.bundled_first_reads) = (1000, n)
        };
        none(bundled(100));
        one(
            bundled(970),
            FindingId::FirstTokensBundled,
            "in 97 % of the streams the second token arrived together with the first",
        );
    }

    #[test]
    fn tokens_that_a_busy_client_left_waiting_are_not_put_down_to_a_proxy() {
        let bundled =
            |c: &mut Case| (c.totals.first_reads, c.totals.bundled_first_reads) = (1000, 970);
        none(|c| {
            bundled(c);
            c.client.verdict = Verdict::ClientLimited;
        });
        none(|c| {
            bundled(c);
            c.client.handling_delay_ms.p99 = Some(1.7);
        });
        one(
            |c| {
                bundled(c);
                c.client.handling_delay_ms.p99 = Some(0.3);
            },
            FindingId::FirstTokensBundled,
            "97 %",
        );
    }

    #[test]
    fn several_tokens_in_an_event_are_named() {
        let tokens = |mean, decoded| {
            move |c: &mut Case| {
                c.mean(Metric::TokensPerEvent, Some(mean));
                c.mean(Metric::DecodedTokensPerEvent, decoded);
            }
        };
        none(tokens(1.1, Some(1.1)));
        // a token without text at the end of short responses
        none(tokens(1.3, None));
        one(
            tokens(2.5, Some(2.6)),
            FindingId::SeveralTokensPerEvent,
            "events held 2.50 tokens on average",
        );
    }

    #[test]
    fn what_servers_do_unasked_is_named() {
        one(
            |c| c.totals.compressed = 7,
            FindingId::Compressed,
            "7 of 1000 responses were compressed",
        );
        one(
            |c| c.totals.models = [("a".to_owned(), 3), ("b".to_owned(), 997)].into(),
            FindingId::SeveralModels,
            "responses name 2 models (`b` 997, `a` 3)",
        );
        let models = ["a", "b"].map(|name| MixFigures {
            name: name.to_owned(),
            totals: RunTotals::default(),
            metrics: BTreeMap::new(),
        });
        none(|c| {
            c.totals.models = [("a".to_owned(), 3), ("b".to_owned(), 997)].into();
            c.by_model = models.into();
        });
        one(
            |c| c.totals.ended_by_grace = 2,
            FindingId::NoEndMarker,
            "2 of 1000 responses had no end marker",
        );
        one(
            |c| (c.totals.skipping, c.totals.skipped_events) = (3, 9),
            FindingId::EventsSkipped,
            "9 events were not JSON and skipped, in 3 of 1000 responses",
        );
    }

    #[test]
    fn bundled_events_are_named() {
        one(
            |c| c.totals.coalesced_events = 20_000,
            FindingId::EventsBundled,
            "20 % of the token-bearing events",
        );
    }

    #[test]
    fn responses_without_times_are_named() {
        one(
            |c| c.totals.streamed = 992,
            FindingId::NotStreamed,
            "8 of 1000 successful responses were not event streams, although `--no-stream`",
        );
        none(|c| (c.stream, c.totals.streamed) = (false, 0));
        one(
            |c| c.unseen_tokens = 7,
            FindingId::UnseenTokens,
            "7 of 1000 successful streams reported tokens that no event held",
        );
    }
}
