//! Owns findings about token counts: where they come from, and whether two counts agree.

use evalscope_model::record::TokenSource;

use super::finding::{Evidence, Finding, counted, percent, share};
use super::id::FindingId;

/// More prompts than this off their length are worth a sentence.
const MISSED_LENGTHS: f64 = 0.01;
/// Two tokenizers that agree are no further apart than this share, or than a token or two, which
/// have no text.
const COUNTS_APART: f64 = 0.05;
/// See [`COUNTS_APART`].
const COUNTS_APART_TOKENS: f64 = 2.0;

pub(super) fn reasoning_from_total(e: &Evidence<'_>) -> Option<Finding> {
    let n = e.totals.reasoning_from_total;
    (n > 0).then(|| {
        let text = format!(
            "in {n} of {} the server counts reasoning tokens in the total only: the part of the total \
             beyond prompt and completion is counted as generated",
            counted(e.totals.succeeded, "response")
        );
        Finding::new(FindingId::ReasoningFromTotal, text)
    })
}

fn from_source(e: &Evidence<'_>, source: TokenSource) -> Option<f64> {
    let n = e.totals.token_sources.get(source.as_str()).copied()?;
    share(n, e.totals.succeeded).filter(|share| *share > 0.0)
}

pub(super) fn estimated(e: &Evidence<'_>) -> Option<Finding> {
    let share = from_source(e, TokenSource::EventCount)?;
    let text = format!(
        "output tokens are estimated for {} of the responses, one per token-bearing event, because the \
         server reported no usage",
        percent(share)
    );
    Some(Finding::new(FindingId::OutputTokensEstimated, text))
}

pub(super) fn unknown(e: &Evidence<'_>) -> Option<Finding> {
    let share = from_source(e, TokenSource::Unknown)?;
    let text = format!(
        "output tokens are unknown for {} of the responses: token throughput leaves them out",
        percent(share)
    );
    Some(Finding::new(FindingId::OutputTokensUnknown, text))
}

pub(super) fn unknown_of_prompts(e: &Evidence<'_>) -> Option<Finding> {
    let unknown = e.totals.succeeded.saturating_sub(e.totals.input_known);
    let share = share(unknown, e.totals.succeeded).filter(|share| *share > 0.0)?;
    let text = format!(
        "prompt tokens are unknown for {} of the responses: input{} throughput leave{} them out",
        percent(share),
        if e.totals.without_output == 0 {
            " and total"
        } else {
            ""
        },
        if e.totals.without_output == 0 {
            ""
        } else {
            "s"
        },
    );
    Some(Finding::new(FindingId::PromptTokensUnknown, text))
}

pub(super) fn prompt_lengths(e: &Evidence<'_>) -> Option<Finding> {
    let lengths = &e.totals.prompt_lengths;
    let missed = lengths.equal_share().map(|share| 1.0 - share);
    let missed = missed.filter(|share| *share > MISSED_LENGTHS)?;
    let (asked, seen) = lengths.means()?;
    let question = if e.totals.without_output == 0 {
        "is `--tokenizer-path` the server's tokenizer, with its chat template?"
    } else {
        "is `--tokenizer-path` the server's tokenizer, and does the server count its special tokens?"
    };
    let text = format!(
        "{} of the prompts do not have the length that was asked for: {asked:.1} tokens asked for and \
         {seen:.1} counted by the server on average, at most {} apart; {question}",
        percent(missed),
        lengths.max_difference
    );
    Some(Finding::new(FindingId::PromptLengthsDiffer, text))
}

pub(super) fn tokenizers_differ(e: &Evidence<'_>) -> Option<Finding> {
    let output = &e.totals.counted_output;
    let (ours, theirs) = output.means()?;
    let apart = (ours - theirs).abs();
    (apart > COUNTS_APART * theirs && apart > COUNTS_APART_TOKENS).then(|| {
        let text = format!(
            "the tokenizer here counts {ours:.1} output tokens where the server reports {theirs:.1}, \
             over {}: `--tokenizer-path` is not the server's tokenizer, or the server counts tokens \
             that have no text",
            counted(output.requests, "response")
        );
        Finding::new(FindingId::TokenizersDiffer, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::Comparison;

    use super::super::tests::one;
    use super::*;

    #[test]
    fn token_counts_say_where_they_come_from() {
        one(
            |c| c.totals.token_sources = [("server_usage", 250), ("event_count", 750)].into(),
            FindingId::OutputTokensEstimated,
            "estimated for 75 %",
        );
        one(
            |c| c.totals.token_sources = [("server_usage", 999), ("unknown", 1)].into(),
            FindingId::OutputTokensUnknown,
            "unknown for 0.1 %",
        );
        one(
            |c| c.totals.input_known = 4,
            FindingId::PromptTokensUnknown,
            "99.6 % of the responses",
        );
        one(
            |c| c.totals.reasoning_from_total = 5,
            FindingId::ReasoningFromTotal,
            "in 5 of 1000 responses the server counts reasoning tokens in the total only",
        );
    }

    #[test]
    fn counts_that_differ_are_named() {
        let compared = |ours, theirs| Comparison {
            requests: 1000,
            equal: 400,
            ours,
            theirs,
            max_difference: 3,
        };
        one(
            |c| c.totals.prompt_lengths = compared(100_000, 101_000),
            FindingId::PromptLengthsDiffer,
            "60 % of the prompts do not have the length that was asked for: 100.0 tokens asked for and \
             101.0 counted",
        );
        one(
            |c| c.totals.counted_output = compared(90_000, 100_000),
            FindingId::TokenizersDiffer,
            "counts 90.0 output tokens where the server reports 100.0",
        );
    }
}
