//! Owns how tables speak of the replay of a trace: whether it was faithful, and what prompts shared.
//!
//! It must not know how a figure is found.

use evalscope_model::metrics::{LengthError, TraceFigures};

use super::layout::{number, percent, wrapped};
use super::screen::{Paint, Screen};
use crate::findings::not_that_of_the_trace;
use crate::report::RunReport;

/// Whether the replay was faithful, in one sentence.
pub(crate) fn faithful_sentence(trace: &TraceFigures) -> String {
    let requests = number(trace.requests as f64);
    let (Some(faithful), Some(lag)) = (trace.faithful, trace.lag) else {
        return format!("{requests} requests of the trace were sent; its moments were not used.");
    };
    if !faithful {
        let why = trace.not_faithful.iter();
        let why: Vec<String> = why
            .map(|what| not_that_of_the_trace(trace, *what))
            .collect();
        return format!("not faithful: {}.", why.join("; "));
    }
    format!(
        "faithful: {requests} requests, 99% of them sent at most {} ms late; {} in another second than in \
         the trace{}.",
        number(lag.p99_ms),
        percent(trace.count_error.unwrap_or(0.0)),
        trace.span_ratio.map_or_else(String::new, |ratio| format!(
            "; {ratio:.3} times as long as the trace"
        ))
    )
}

/// What came from the server's cache against what could have; `None` if neither is known.
pub(crate) fn sharing_sentence(trace: &TraceFigures) -> Option<String> {
    match (trace.seen_cached.share, trace.possible_cached_share) {
        (Some(seen), Some(possible)) => Some(format!(
            "cache: {} of {} possible.",
            percent(seen),
            percent(possible)
        )),
        (Some(seen), None) => Some(format!(
            "cache: {}; the trace does not say what prompts share.",
            percent(seen)
        )),
        (None, Some(possible)) => Some(format!(
            "cache: {} possible; the server does not report cached tokens.",
            percent(possible)
        )),
        (None, None) => None,
    }
}

/// How lengths compare with those of the trace.
fn lengths_sentence(what: &str, error: LengthError) -> String {
    let share = percent(error.total);
    let sign = if error.total > 0.0 { "+" } else { "" };
    format!(
        "{what}: {sign}{share} against the trace; {} of {} requests are more than 1% off.",
        percent(error.off_share),
        number(error.requests as f64)
    )
}

/// The replay of a trace; empty without one.
#[must_use]
pub fn trace(report: &RunReport, screen: Screen) -> String {
    let Some(figures) = &report.trace else {
        return String::new();
    };
    let mut text = screen.paint(Paint::Bold, "Trace:");
    text.push('\n');
    let lines = [
        Some(faithful_sentence(figures)),
        sharing_sentence(figures),
        figures
            .input_error
            .map(|error| lengths_sentence("input tokens", error)),
        figures
            .output_error
            .map(|error| lengths_sentence("output tokens", error)),
    ];
    for line in lines.into_iter().flatten() {
        text.push_str(&wrapped("", &line, screen.width));
    }
    text
}
