//! Owns findings about the plateau: whether there is one, whether it is steady, and whether the
//! whole run says the same.

use evalscope_model::metrics::Trend;

use super::finding::{Evidence, Finding, percent};
use super::id::FindingId;
use super::load::is_saturated;
use crate::figures::{Beside, Differences, PlateauFigures, WithoutPlateau};

/// With fewer requests than this nobody expects a plateau, and the p99 is weak anyway.
const ENOUGH_REQUESTS: u64 = 100;

pub(super) fn missing(e: &Evidence<'_>) -> Option<Finding> {
    let why = e.plateau.err()?;
    let open_loop = e.load.is_open_loop();
    if e.totals.succeeded < ENOUGH_REQUESTS {
        return None;
    }
    let why = match (why, open_loop) {
        // segments have figures of their own
        (WithoutPlateau::RateChanges, _) => return None,
        (WithoutPlateau::NeverFull, false) => {
            "the first request of some place had not ended when the last one was sent"
        }
        (WithoutPlateau::NeverFull, true) => "the start took more than 40 % of the time",
        (WithoutPlateau::TooFewRequests, _) => "it would have fewer than 100 requests",
        (WithoutPlateau::TooShort, _) => "it would be shorter than three median latencies",
    };
    let cure = match e.load.concurrency {
        Some(places) => format!(
            "take `--number` of at least {}",
            (4 * places.get() as u64)
                .max(200)
                .max(2 * e.totals.succeeded)
        ),
        None => "let the load last longer".to_owned(),
    };
    let text = format!(
        "the run is too short for a plateau: {why}, so its start and its end are in all figures; {cure}"
    );
    Some(Finding::new(FindingId::NoPlateau, text))
}

/// By how much a figure of the whole run is above the plateau's, or below it.
fn apart(beside: Beside) -> String {
    let ratio = beside.whole / beside.plateau;
    if ratio >= 2.0 {
        format!("{ratio:.1} times the plateau's")
    } else if ratio >= 1.0 {
        format!("{} above the plateau's", percent(ratio - 1.0))
    } else {
        format!("{} below the plateau's", percent(1.0 - ratio))
    }
}

/// Of a server that did not keep up, no figure is worth quoting, and another finding says so.
fn quotable<'a>(e: &Evidence<'a>) -> Option<&'a PlateauFigures> {
    e.plateau.ok().filter(|_| !is_saturated(e))
}

pub(super) fn differs(e: &Evidence<'_>) -> Option<Finding> {
    let plateau = quotable(e)?;
    let differences = Differences::of(plateau, e.totals, e.metrics);
    let ttft = differences.ttft_p99_ms.map(|ttft| {
        format!(
            "its p99 TTFT of {:.0} ms is {} ({:.0} ms)",
            ttft.whole,
            apart(ttft),
            ttft.plateau
        )
    });
    let throughput = differences.throughput_per_s.map(|rate| {
        let what = match plateau.totals.output_tokens_per_s {
            Some(_) => "tok/s",
            None => "req/s",
        };
        format!(
            "its throughput of {:.1} {what} is {} ({:.1} {what})",
            rate.whole,
            apart(rate),
            rate.plateau
        )
    });
    let said: Vec<String> = ttft.into_iter().chain(throughput).collect();
    (!said.is_empty()).then(|| {
        let text = format!(
            "the start and the end of the run show in its figures: {}; quote the plateau, or take a \
             longer run",
            said.join(", and ")
        );
        Finding::new(FindingId::PlateauDiffers, text)
    })
}

pub(super) fn drifts(e: &Evidence<'_>) -> Option<Finding> {
    let totals = &quotable(e)?.totals;
    let drift = |what: &str, trend: Option<Trend>| match trend? {
        Trend::Steady => None,
        Trend::DriftingUp => Some(format!("{what} rose all the time")),
        Trend::DriftingDown => Some(format!("{what} fell all the time")),
    };
    let said: Vec<String> = drift("output tokens per second", totals.output_trend)
        .into_iter()
        .chain(drift("the requests in flight", totals.in_flight_trend))
        .collect();
    (!said.is_empty()).then(|| {
        let text = format!(
            "the plateau is not steady: {}, by more than 5 % and by more than chance; its figures \
             depend on how long the run was, so measure longer, or look for what changes at the server",
            said.join(", and ")
        );
        Finding::new(FindingId::PlateauDrifts, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::{Distribution, Metric};
    use evalscope_model::time::Timestamp;

    use super::super::tests::{Case, none, one};
    use super::*;

    fn p99(p99: f64) -> Distribution {
        Distribution {
            count: 1000,
            p99: Some(p99),
            ..Distribution::default()
        }
    }

    /// 1000 successes in ten seconds.
    fn measured(c: &mut Case, output_tokens: u64) {
        c.totals.first_dispatch = Some(Timestamp::from_nanos(0));
        c.totals.last_end = Some(Timestamp::from_nanos(10_000_000_000));
        c.totals.output_tokens = output_tokens;
    }

    #[test]
    fn a_run_without_a_plateau_says_why() {
        let without = |why, succeeded| {
            move |c: &mut Case| {
                c.plateau = Err(why);
                c.totals.succeeded = succeeded;
            }
        };
        one(
            without(WithoutPlateau::TooShort, 1000),
            FindingId::NoPlateau,
            "it would be shorter than three median latencies, so its start and its end are in all figures; \
             take `--number` of at least 2000",
        );
        none(without(WithoutPlateau::RateChanges, 1000));
    }

    #[test]
    fn a_plateau_that_says_something_else_is_named() {
        let beside = |whole: f64, of_plateau: f64, tokens: u64| {
            move |c: &mut Case| {
                measured(c, tokens);
                *c.metric(Metric::Ttft) = p99(whole);
                let plateau = c.plateau.as_mut().unwrap();
                plateau.metrics.insert(Metric::Ttft, p99(of_plateau));
            }
        };
        none(beside(219.0, 200.0, 100_000));
        one(
            beside(3800.0, 200.0, 100_000),
            FindingId::PlateauDiffers,
            "its p99 TTFT of 3800 ms is 19.0 times the plateau's (200 ms); quote the plateau",
        );
        one(
            beside(200.0, 200.0, 80_000),
            FindingId::PlateauDiffers,
            "its throughput of 8000.0 tok/s is 20 % below the plateau's (10000.0 tok/s)",
        );
    }

    #[test]
    fn a_plateau_that_is_not_flat_is_named() {
        let trend = |trend| {
            move |c: &mut Case| c.plateau.as_mut().unwrap().totals.output_trend = Some(trend)
        };
        none(trend(Trend::Steady));
        one(
            trend(Trend::DriftingDown),
            FindingId::PlateauDrifts,
            "output tokens per second fell all the time",
        );
    }
}
