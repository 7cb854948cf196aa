//! Owns how tables speak of an open loop: whether the server kept up, and the segments of a profile.
//!
//! It must not know how a verdict is found.

use evalscope_model::metrics::{Interval, LoadVerdict, Metric};

use super::layout::{Grid, MISSING, number, optional, percent, plain};
use super::screen::{Paint, Screen};
use crate::report::RunReport;

/// An interval of shares.
pub(super) fn share_range(interval: Interval) -> String {
    format!(
        "{} to {}",
        percent(interval.low()),
        percent(interval.high())
    )
}

/// The rate that a verdict is about.
fn judged_rate(report: &RunReport) -> Option<String> {
    let load = report.load.as_ref()?;
    let segment = load.judged?.segment;
    let of_segment = segment.and_then(|position| {
        let mut segments = report.segments.iter();
        segments.find(|segment| segment.position == position)
    });
    let constant = report.segments.iter().find(|one| one.saturation.is_some());
    let rate = match (of_segment, constant) {
        (Some(segment), _) | (None, Some(segment)) => segment.asked_rate_per_s,
        (None, None) => load.asked_rate_per_s?,
    };
    Some(number(rate))
}

/// The verdict on an open loop in one sentence.
pub(crate) fn sentence(report: &RunReport) -> Option<String> {
    let judged = report.load.as_ref()?.judged?;
    let rate = judged_rate(report)?;
    Some(match judged.saturation.verdict {
        LoadVerdict::KeptUp if judged.segment.is_some() => {
            let constant = report
                .segments
                .iter()
                .filter(|one| one.saturation.is_some());
            let most = constant.map(|one| one.asked_rate_per_s).fold(0.0, f64::max);
            format!(
                "The server kept up with every constant rate, up to {}/s.",
                number(most)
            )
        }
        LoadVerdict::KeptUp => format!("The server kept up with {rate}/s."),
        LoadVerdict::Saturated => format!(
            "The server served {} less than came at {rate}/s: latencies grow as long as the run lasts.",
            percent(judged.saturation.excess.unwrap_or(0.0))
        ),
        LoadVerdict::Undecided => {
            format!("Whether the server kept up with {rate}/s is undecided: the warnings say why.")
        }
    })
}

/// The verdict as a value of the summary.
pub(super) fn verdict_words(report: &RunReport) -> Option<String> {
    let saturation = report.load.as_ref()?.judged?.saturation;
    Some(match saturation.verdict {
        LoadVerdict::KeptUp => "yes".to_owned(),
        LoadVerdict::Saturated => match saturation.excess {
            Some(excess) => format!("no: {} not served", percent(excess)),
            None => "no".to_owned(),
        },
        LoadVerdict::Undecided => match saturation.excess_ci {
            Some(interval) => format!("undecided: up to {} not served", percent(interval.high())),
            None => "undecided".to_owned(),
        },
    })
}

/// One word for a column.
pub(super) fn verdict_word(verdict: Option<LoadVerdict>) -> &'static str {
    match verdict {
        Some(LoadVerdict::KeptUp) => "yes",
        Some(LoadVerdict::Saturated) => "no",
        Some(LoadVerdict::Undecided) => "?",
        None => MISSING,
    }
}

/// The segments of a profile.
pub(crate) fn segment_grid(report: &RunReport) -> Grid {
    let rows = report.segments.iter().map(|segment| {
        let metric = |metric| segment.metrics.get(&metric);
        let latency = metric(Metric::LatencyFromSchedule);
        let verdict = segment.saturation.map(|saturation| saturation.verdict);
        vec![
            segment.text.clone(),
            number(segment.start_s),
            number(segment.asked_rate_per_s),
            number(segment.due as f64),
            number(segment.totals.succeeded as f64),
            optional(segment.completed_per_s),
            optional(latency.and_then(|of| of.p50)),
            optional(latency.and_then(|of| of.p99)),
            optional(metric(Metric::Ttft).and_then(|of| of.p99)),
            verdict_word(verdict).to_owned(),
        ]
    });
    Grid {
        header: [
            "Segment",
            "From\n(s)",
            "Asked\n(req/s)",
            "Due",
            "Success",
            "Completed\n(req/s)",
            "Lat. from\nsched.\np50 (s)",
            "Lat. from\nsched.\np99 (s)",
            "TTFT\np99\n(ms)",
            "Kept\nup",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
        keys: 1,
        words: 1,
    }
}

/// The segments of a profile; empty without one.
#[must_use]
pub fn segments(report: &RunReport, screen: Screen) -> String {
    if report.segments.is_empty() {
        return String::new();
    }
    let grid = segment_grid(report);
    let mut text = screen.paint(Paint::Bold, "Segments, by when requests were due:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, plain));
    text
}
