//! Owns how the summary speaks of an objective, and of percentiles in which failures count.
//!
//! It must not know when a request is good.

use evalscope_model::metrics::{Goodput, Interval, Metric, WithFailures};

use super::layout::{MISSING, Row, number, optional, percent};
use super::load::share_range;
use crate::figures::PlateauFigures;
use crate::names;
use crate::report::RunReport;

/// Losses above this share have rows of percentiles in which they count.
const LOST_SHARE: f64 = 0.01;

/// The rows of a run's objective, and of percentiles with failures.
pub(super) fn rows(report: &RunReport, beside: Option<&PlateauFigures>) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(goodput) = &report.goodput {
        rows.extend(of_goodput(goodput, beside));
    }
    let many_lost = report.lost_share().is_some_and(|share| share > LOST_SHARE);
    if many_lost || report.goodput.is_some() {
        rows.extend(with_failures(report));
    }
    rows
}

/// A share with what it is a share of, and its interval.
fn share(share: Option<f64>, of: (u64, u64), interval: Option<Interval>) -> String {
    let Some(share) = share else {
        return MISSING.to_owned();
    };
    let (part, whole) = of;
    let interval = interval.map_or_else(String::new, |interval| {
        format!("; 95 % interval {}", share_range(interval))
    });
    format!(
        "{} ({} of {}{interval})",
        percent(share),
        number(part as f64),
        number(whole as f64)
    )
}

fn of_goodput(goodput: &Goodput, beside: Option<&PlateauFigures>) -> Vec<Row> {
    let on_plateau = beside.and_then(|plateau| plateau.goodput.as_ref());
    let beside_it = |get: fn(&Goodput) -> String| on_plateau.map(get);
    let mut rows = vec![
        (
            names::GOOD[0].to_owned(),
            share(goodput.share, (goodput.good, goodput.due), goodput.share_ci),
            beside_it(|goodput| share(goodput.share, (goodput.good, goodput.due), None)),
        ),
        (
            names::GOOD[1].to_owned(),
            optional(goodput.requests_per_s),
            beside_it(|goodput| optional(goodput.requests_per_s)),
        ),
    ];
    if goodput.output_tokens_per_s.is_some() {
        rows.push((
            names::GOOD[2].to_owned(),
            optional(goodput.output_tokens_per_s),
            beside_it(|goodput| optional(goodput.output_tokens_per_s)),
        ));
    }
    if goodput.conditions.len() > 1 {
        rows.extend(goodput.conditions.iter().map(|condition| {
            let mut met = share(condition.share, (condition.met, condition.applied), None);
            if condition.only_failed_by > 0 {
                met += ", ";
                met += &number(condition.only_failed_by as f64);
                met += " bad by it alone";
            }
            (format!("  {}", condition.condition), met, None)
        }));
    }
    rows
}

fn with_failures(report: &RunReport) -> Vec<Row> {
    let open_loop = report.is_open_loop();
    let from_schedule = |metric| {
        matches!(
            metric,
            Metric::TtftFromSchedule | Metric::LatencyFromSchedule
        )
    };
    let mut rows = Vec::new();
    for (metric, label) in names::WITH_FAILURES {
        if from_schedule(metric) != open_loop {
            continue;
        }
        // where everything failed, that has been said
        let Some(of) = report
            .with_failures
            .get(&metric)
            .filter(|_| report.metric(metric).count > 0)
        else {
            continue;
        };
        let words = [
            ("p50", of.p50_with_failures),
            ("p95", of.p95_with_failures),
            ("p99", of.p99_with_failures),
        ]
        .map(|(percentile, value)| match value {
            WithFailures::Value(value) => format!("{percentile} {}", number(value)),
            WithFailures::Failed(_) => format!("{percentile} failed"),
            WithFailures::None => format!("{percentile} {MISSING}"),
        });
        rows.push((label.to_owned(), words.join(", "), None));
    }
    rows
}
