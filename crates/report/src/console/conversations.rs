//! Owns how tables speak of conversations: their first turns beside the later ones, the table of turns,
//! what a whole conversation took, and what came from the server's cache.
//!
//! It must not know how a figure is found.

use std::fmt::Write as _;

use evalscope_model::metrics::{ConversationFigures, Distribution};

use super::layout::{Grid, number, optional, percent, plain, wrapped};
use super::screen::{Paint, Screen};
use crate::report::RunReport;

/// How many conversations there were, in one sentence.
pub(crate) fn conversations_sentence(figures: &ConversationFigures) -> String {
    let mut text = format!(
        "{} of {} conversations had all of their turns",
        number(figures.whole as f64),
        number(figures.started as f64)
    );
    if let Some(rate) = figures.conversations_per_s {
        let _infallible = write!(text, ", {} a second", number(rate));
    }
    if let Some(mean) = figures.in_flight_mean {
        let _infallible = write!(
            text,
            "; {} were under way on average, {} at most",
            number(mean),
            number(figures.in_flight_max as f64)
        );
    }
    if let Some(share) = figures.thinking_share.filter(|share| *share > 0.0) {
        let _infallible = write!(
            text,
            "; their clients waited before turns for {} of the time",
            percent(share)
        );
    }
    text.push('.');
    text
}

/// Why conversations ended; `None` where each had all of its turns.
pub(crate) fn ended_sentence(figures: &ConversationFigures) -> Option<String> {
    let ended = &figures.ended_by;
    if figures.whole == figures.started && ended.max_turns == 0 {
        return None;
    }
    let reasons = [
        (ended.completed, "completed"),
        (ended.max_turns, "at `--max-turns`"),
        (ended.context_limit, "at the limit of the context"),
        (ended.failed, "after a failed turn"),
        (ended.duration, "when the time was up"),
        (ended.cancelled, "when the run was stopped"),
        (figures.not_ended, "without an end on record"),
    ];
    let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<String> = reasons
        .map(|(count, why)| format!("{} {why}", number(count as f64)))
        .collect();
    (!reasons.is_empty()).then(|| format!("Conversations ended: {}.", reasons.join(", ")))
}

/// What came from the server's cache; `None` if no server reported it.
pub(crate) fn cache_sentence(figures: &ConversationFigures) -> Option<String> {
    let cached = &figures.cached;
    let mut text = format!("Cache: {} of all prompt tokens", percent(cached.share?));
    if let Some(share) = figures.eligible.share {
        let _infallible = write!(
            text,
            ", {} of what the turn before had left there",
            percent(share)
        );
    }
    let succeeded = figures.first_turn.succeeded + figures.later_turns.succeeded;
    if cached.requests < succeeded {
        let _infallible = write!(
            text,
            " ({} of {} responses say so)",
            number(cached.requests as f64),
            number(succeeded as f64)
        );
    }
    if let (Some(new), Some(cached)) = (
        figures.new_input_tokens_per_s,
        figures.cached_input_tokens_per_s,
    ) {
        let _infallible = write!(
            text,
            "; prompt tokens per second: {} new, {} cached",
            number(new),
            number(cached)
        );
    }
    text.push('.');
    Some(text)
}

/// By how much prompts grew; `None` where no length was asked for.
pub(crate) fn increments_sentence(figures: &ConversationFigures) -> Option<String> {
    let increments = figures.increments?;
    Some(format!(
        "New turns: {} tokens asked, {} seen by the server on average; {} apart at the median, {} at most.",
        number(increments.asked_mean_tokens),
        number(increments.seen_mean_tokens),
        number(increments.difference_p50_tokens),
        number(increments.difference_max_tokens as f64)
    ))
}

/// First turns beside later ones.
pub(crate) fn first_and_later_grid(figures: &ConversationFigures) -> Grid {
    let (first, later) = (&figures.first_turn, &figures.later_turns);
    let row = |label: &str, of: fn(&evalscope_model::metrics::TurnGroup) -> String| {
        vec![label.to_owned(), of(first), of(later)]
    };
    Grid {
        header: ["", "First turn", "Later turns"].map(str::to_owned).into(),
        rows: vec![
            row("Requests", |turns| number(turns.requests as f64)),
            row("Succeeded requests", |turns| number(turns.succeeded as f64)),
            row("Average TTFT (ms)", |turns| optional(turns.ttft_ms.mean)),
            row("p50 of TTFT (ms)", |turns| optional(turns.ttft_ms.p50)),
            row("p99 of TTFT (ms)", |turns| optional(turns.ttft_ms.p99)),
            row("Average latency (s)", |turns| {
                optional(turns.latency_s.mean)
            }),
            row("p50 of latency (s)", |turns| optional(turns.latency_s.p50)),
            row("p99 of latency (s)", |turns| optional(turns.latency_s.p99)),
            row("Average input tokens", |turns| {
                optional(turns.input_tokens.mean)
            }),
        ],
        keys: 1,
        words: 1,
    }
}

/// Requests by turn.
pub(crate) fn turn_grid(report: &RunReport) -> Grid {
    let rows = report.turns.iter().map(|row| {
        let turns = if row.from_turn == row.to_turn {
            row.from_turn.to_string()
        } else {
            format!("{}-{}", row.from_turn, row.to_turn)
        };
        vec![
            turns,
            number(row.requests as f64),
            optional(row.ttft_p50_ms),
            optional(row.ttft_p99_ms),
            optional(row.input_tokens_mean),
            optional(row.new_input_tokens_mean),
            row.cached_share.map_or_else(|| optional(None), percent),
            optional(row.latency_p50_s),
            optional(row.latency_p99_s),
        ]
    });
    Grid {
        header: [
            "Turn",
            "Requests",
            "TTFT\np50\n(ms)",
            "TTFT\np99\n(ms)",
            "Input\ntokens",
            "New\ninput\ntokens",
            "Cached",
            "Latency\np50\n(s)",
            "Latency\np99\n(s)",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
        keys: 1,
        words: 1,
    }
}

/// What whole conversations took.
pub(crate) fn conversation_grid(figures: &ConversationFigures) -> Grid {
    let each = &figures.per_conversation;
    let percent_of = |distribution: &Distribution| {
        let scaled = |value: Option<f64>| value.map(|share| share * 100.0);
        Distribution {
            count: distribution.count,
            mean: scaled(distribution.mean),
            p50: scaled(distribution.p50),
            p90: scaled(distribution.p90),
            p99: scaled(distribution.p99),
            max: scaled(distribution.max),
            ..Distribution::default()
        }
    };
    let rows = [
        ("Latency (s)", each.latency_s.clone()),
        ("Latency without waiting (s)", each.busy_s.clone()),
        (
            "TTFT of the first turn (ms)",
            each.first_turn_ttft_ms.clone(),
        ),
        (
            "Time to final answer (s)",
            each.time_to_final_answer_s.clone(),
        ),
        ("Decode (tok/s)", each.decode_tok_per_s.clone()),
        ("Cached (%)", percent_of(&each.cached_share)),
        (
            "Cached of the turn before (%)",
            percent_of(&each.eligible_share),
        ),
    ];
    let rows = rows.into_iter().filter(|(_, of)| of.count > 0);
    Grid {
        header: ["Whole conversations", "Mean", "p50", "p90", "p99", "Max"]
            .map(str::to_owned)
            .into(),
        rows: rows
            .map(|(label, of)| {
                let values = [of.mean, of.p50, of.p90, of.p99, of.max].map(optional);
                [label.to_owned()].into_iter().chain(values).collect()
            })
            .collect(),
        keys: 1,
        words: 1,
    }
}

/// The conversations of a run; empty for single requests.
#[must_use]
pub fn conversations(report: &RunReport, screen: Screen) -> String {
    let Some(figures) = &report.conversations else {
        return String::new();
    };
    let mut text = screen.paint(Paint::Bold, "Conversations:");
    text.push('\n');
    let mut say = |sentence: &str| text.push_str(&wrapped("", sentence, screen.width));
    say(&conversations_sentence(figures));
    for sentence in [
        ended_sentence(figures),
        cache_sentence(figures),
        increments_sentence(figures),
    ]
    .into_iter()
    .flatten()
    {
        say(&sentence);
    }
    if figures.started == 0 {
        return text;
    }
    text.push_str(&first_and_later_grid(figures).render(screen.width, plain));
    if report.turns.len() > 1 {
        let mut turns = turn_grid(report);
        // the last columns are in `result.json`: a second table is not worth them
        if let [first, _, ..] = &turns.parts(screen.width)[..] {
            let columns = first.len();
            turns.keep_columns(columns);
        }
        text.push_str(&turns.render(screen.width, plain));
    }
    let whole = conversation_grid(figures);
    if !whole.rows.is_empty() {
        text.push_str(&whole.render(screen.width, plain));
    }
    text
}
