//! Owns findings about the replay of a trace.

use evalscope_model::metrics::{NotFaithful, TraceFigures};

use super::finding::{Evidence, Finding, percent};
use super::id::FindingId;

/// Requests of a trace below this number may well share moments by chance.
const ENOUGH_REQUESTS: u64 = 100;
/// A trace with more requests than this for each of its moments comes in bursts.
const REQUESTS_PER_STAMP: u64 = 2;

/// A condition that does not hold, and by how much.
pub(crate) fn not_that_of_the_trace(trace: &TraceFigures, what: NotFaithful) -> String {
    match what {
        NotFaithful::Lag => format!(
            "1 % of the requests were sent {:.1} ms late or more (limit: 10 ms)",
            trace.lag.map_or(f64::NAN, |lag| lag.p99_ms)
        ),
        NotFaithful::CountError => format!(
            "{} of the requests were sent in another second than in the trace (limit: 1 %)",
            percent(trace.count_error.unwrap_or(f64::NAN))
        ),
        NotFaithful::SpanRatio => format!(
            "from the first request to the last it took {:.3} times as long as in the trace (limit: 1 % off)",
            trace.span_ratio.unwrap_or(f64::NAN)
        ),
    }
}

pub(super) fn not_faithful(e: &Evidence<'_>) -> Option<Finding> {
    let trace = e.trace.filter(|trace| trace.faithful == Some(false))?;
    let why = trace.not_faithful.iter();
    let why: Vec<String> = why
        .map(|what| not_that_of_the_trace(trace, *what))
        .collect();
    let text = format!(
        "the replay is not faithful to its trace: {}",
        why.join("; ")
    );
    Some(Finding::new(FindingId::TraceNotFaithful, text))
}

pub(super) fn grid_of_stamps(e: &Evidence<'_>) -> Option<Finding> {
    let trace = e.trace?;
    let stamps = trace.stamps?;
    let in_bursts =
        trace.requests >= ENOUGH_REQUESTS && trace.requests >= REQUESTS_PER_STAMP * stamps;
    in_bursts.then(|| {
        let text = format!(
            "{stamps} moments for {} requests: the trace was recorded with a coarse clock, so its requests \
             come in bursts; `spread` in `--dataset-args` spreads them over the gaps",
            trace.requests
        );
        Finding::new(FindingId::TraceInBursts, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::TraceLag;

    use super::super::tests::{Case, none, one};
    use super::*;

    fn with(change: impl FnOnce(&mut TraceFigures)) -> impl FnOnce(&mut Case) {
        let mut figures = TraceFigures {
            requests: 1000,
            stamps: Some(990),
            lag: Some(TraceLag {
                p50_ms: 0.1,
                p99_ms: 0.9,
                max_ms: 2.0,
            }),
            span_ratio: Some(1.0),
            count_error: Some(0.001),
            faithful: Some(true),
            ..TraceFigures::default()
        };
        change(&mut figures);
        |case| case.trace = Some(figures)
    }

    #[test]
    fn nothing_is_found_in_a_faithful_replay() {
        none(with(|_| ()));
        // its moments were not kept
        none(with(|figures| {
            figures.stamps = None;
            figures.faithful = None;
        }));
    }

    #[test]
    fn what_is_not_faithful_is_said_with_its_size() {
        one(
            with(|figures| {
                figures.faithful = Some(false);
                figures.span_ratio = Some(1.234);
                figures.count_error = Some(0.25);
                figures.not_faithful = vec![NotFaithful::CountError, NotFaithful::SpanRatio];
            }),
            FindingId::TraceNotFaithful,
            "25 % of the requests were sent in another second than in the trace (limit: 1 %); from the first \
             request to the last it took 1.234 times",
        );
        one(
            with(|figures| {
                figures.faithful = Some(false);
                figures.lag = Some(TraceLag {
                    p50_ms: 0.1,
                    p99_ms: 12.25,
                    max_ms: 90.0,
                });
                figures.not_faithful = vec![NotFaithful::Lag];
            }),
            FindingId::TraceNotFaithful,
            "sent 12.2 ms late or more",
        );
    }

    #[test]
    fn a_coarse_clock_is_named() {
        one(
            with(|figures| figures.stamps = Some(100)),
            FindingId::TraceInBursts,
            "100 moments for 1000 requests",
        );
        none(with(|figures| {
            figures.requests = 50;
            figures.stamps = Some(5);
        }));
    }
}
