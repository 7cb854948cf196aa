//! Owns findings about the run as a whole: how it ended, and how much of it succeeded.

use super::finding::{Evidence, Finding, counted, percent, share};
use super::id::FindingId;
use crate::model::RunState;

/// Below this many samples the 99th percentile lies between the two largest.
const FEW_SAMPLES: u64 = 100;
/// Failures above this share are worth a sentence.
const FAILED_SHARE: f64 = 0.01;

pub(super) fn unfinished(e: &Evidence<'_>) -> Option<Finding> {
    let sent = e.totals.total + e.totals.unfinished;
    let started = e.conversations.map(|figures| figures.started);
    let sent = match e.load.requests {
        Some(asked) if let Some(started) = started => {
            format!(
                "{started} of {} were started",
                counted(asked, "conversation")
            )
        }
        Some(asked) => format!("{sent} of {} were sent", counted(asked, "request")),
        None if sent == 1 => "1 request was sent".to_owned(),
        None => format!("{sent} requests were sent"),
    };
    let (id, text) = match e.state {
        // shards are named by a finding of their own
        RunState::Finished | RunState::Partial => return None,
        RunState::Interrupted => (
            FindingId::RunInterrupted,
            format!("the run was interrupted: {sent}"),
        ),
        RunState::GaveUp => (
            FindingId::RunGaveUp,
            format!("the run gave up before its end: {sent}"),
        ),
        RunState::Aborted => (
            FindingId::RunAborted,
            format!("the run was aborted by a rule before its end: {sent}"),
        ),
        RunState::Running => (
            FindingId::RunNotEnded,
            format!(
                "no end of the run is recorded: it was killed or is still under way: {sent} and stored"
            ),
        ),
    };
    Some(Finding::new(id, text))
}

pub(super) fn failures(e: &Evidence<'_>) -> Option<Finding> {
    let failed = e.totals.failed();
    let share = share(failed, e.totals.total).filter(|share| *share > FAILED_SHARE)?;
    Some(if e.totals.succeeded == 0 {
        Finding::new(
            FindingId::AllRequestsFailed,
            "every request failed: there is no latency and no throughput to report",
        )
    } else {
        let text = format!(
            "{} of the requests failed ({failed} of {}): latencies and throughput are those of the rest",
            percent(share),
            e.totals.total
        );
        Finding::new(FindingId::RequestsFailed, text)
    })
}

pub(super) fn failed_warmup(e: &Evidence<'_>) -> Option<Finding> {
    let failed: u64 = e.warmup.failed.values().sum();
    let kinds: Vec<String> = e
        .warmup
        .failed
        .iter()
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    (failed > 0).then(|| {
        let text = format!(
            "{failed} of {} warm-up requests failed ({}): the server may have been cold when the \
             measurement began; see `warmup` in the database",
            e.warmup.total,
            kinds.join(", ")
        );
        Finding::new(FindingId::WarmupFailed, text)
    })
}

/// Only where warm-up requests were asked for: a run that asks for none is another matter.
pub(super) fn few_warmup_requests(e: &Evidence<'_>) -> Option<Finding> {
    let places = e.load.concurrency?.get() as u64;
    let warmup = e.load.warmup_requests;
    let noun = match e.conversations {
        Some(_) => "conversation",
        None => "request",
    };
    (0 < warmup && warmup < places).then(|| {
        let text = format!(
            "{} for {places} places: `--warmup-num` is below the concurrency, so some places began with \
             a measured {noun} on a new connection; give at least {places}",
            counted(warmup, &format!("warm-up {noun}"))
        );
        Finding::new(FindingId::WarmupBelowConcurrency, text)
    })
}

pub(super) fn few_samples(e: &Evidence<'_>) -> Option<Finding> {
    let n = e.totals.succeeded;
    (n > 0 && n < FEW_SAMPLES).then(|| {
        let text = format!(
            "p99 of latency{} from {} is close to the maximum: send at least {FEW_SAMPLES} requests \
             for a p99",
            if e.totals.without_output == 0 {
                ", TTFT and TPOT"
            } else {
                ""
            },
            counted(n, "sample")
        );
        Finding::new(FindingId::FewSamples, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::{ConversationFigures, RunTotals};
    use evalscope_model::record::FailureKind;

    use super::super::tests::{Case, none, one};
    use super::*;

    #[test]
    fn an_unfinished_run_says_so() {
        let cut = |state| {
            move |c: &mut Case| {
                c.state = state;
                c.load.requests = Some(2000);
            }
        };
        one(
            cut(RunState::Interrupted),
            FindingId::RunInterrupted,
            "interrupted: 1000 of 2000 requests were sent",
        );
        one(
            |c| {
                cut(RunState::Interrupted)(c);
                c.conversations = Some(ConversationFigures {
                    started: 200,
                    ..ConversationFigures::default()
                });
            },
            FindingId::RunInterrupted,
            "interrupted: 200 of 2000 conversations were started",
        );
        one(
            cut(RunState::GaveUp),
            FindingId::RunGaveUp,
            "gave up before its end: 1000 of 2000 requests were sent",
        );
        one(
            cut(RunState::Running),
            FindingId::RunNotEnded,
            "killed or is still under way: 1000 of 2000",
        );
    }

    #[test]
    fn failures_are_named_above_one_percent() {
        let fail = |n: u64| {
            move |c: &mut Case| {
                c.totals.total += n;
                c.load.requests = c.load.requests.map(|asked| asked + n);
            }
        };
        none(fail(10));
        one(
            fail(11),
            FindingId::RequestsFailed,
            "1.1 % of the requests failed (11 of 1011)",
        );
        one(
            |c| {
                c.totals = RunTotals {
                    total: 5,
                    new_connections: 5,
                    ..RunTotals::default()
                }
            },
            FindingId::AllRequestsFailed,
            "every request failed",
        );
    }

    #[test]
    fn a_p99_of_few_samples_is_the_maximum() {
        one(
            |c| {
                c.totals.succeeded = 15;
                c.totals.streamed = 15;
                c.totals.total = 15;
                c.totals.input_known = 15;
            },
            FindingId::FewSamples,
            "from 15 samples is close to the maximum",
        );
    }

    #[test]
    fn a_warm_up_that_does_not_reach_every_place_is_named() {
        let warmup = |n| move |c: &mut Case| c.load.warmup_requests = n;
        none(warmup(10));
        one(
            |c| {
                warmup(9)(c);
                c.conversations = Some(ConversationFigures::default());
            },
            FindingId::WarmupBelowConcurrency,
            "9 warm-up conversations for 10 places",
        );
        one(
            warmup(9),
            FindingId::WarmupBelowConcurrency,
            "9 warm-up requests for 10 places",
        );
    }

    #[test]
    fn a_failed_warm_up_is_named() {
        one(
            |c| c.warmup.failed = [(FailureKind::Status(503), 3)].into(),
            FindingId::WarmupFailed,
            "3 of 4 warm-up requests failed (http_503 3)",
        );
    }
}
