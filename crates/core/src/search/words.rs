//! Owns what a search says in words: how it ended, and what breaks limits.
//!
//! It must not know how a search goes on.

use std::collections::BTreeMap;

use evalscope_model::search::{
    LimitJudgement, ProbeJudgement, ProbeRecord, ProbeVerdict, SearchEnd,
};
use evalscope_model::sla::{SlaFigure, value};

/// A share of cached prompt tokens that rises by this much is mentioned.
const WARMER: f64 = 0.1;

/// How a search without an answer ended, or with one that is not the whole truth.
pub(super) fn ended(end: SearchEnd, lower: f64) -> String {
    match end {
        SearchEnd::Found => "a value was confirmed".to_owned(),
        SearchEnd::NotConfirmed => {
            "loads that had passed failed when they were measured again".to_owned()
        }
        SearchEnd::AtBound => {
            "no value up to the upper bound failed (`--sla-upper-bound`)".to_owned()
        }
        SearchEnd::NoneMeets => {
            format!("not even the lower bound, {lower}, does (`--sla-lower-bound`)")
        }
        SearchEnd::NoSuccess => "no request of three probes in a row succeeded".to_owned(),
        SearchEnd::ClientLimited => "this program, not the server, is the limit".to_owned(),
        SearchEnd::OutOfTime => "the time was over (`--sla-max-time`)".to_owned(),
        SearchEnd::Interrupted => "the search was stopped".to_owned(),
    }
}

/// What breaks limits, the worst first, to continue "at 27.4/s".
pub(super) fn reasons(judgement: &ProbeJudgement, failures: &BTreeMap<String, u64>) -> Vec<String> {
    let mut broken: Vec<&LimitJudgement> = judgement
        .limits
        .iter()
        .filter(|limit| limit.verdict != ProbeVerdict::Passed)
        .collect();
    let used = |limit: &LimitJudgement| limit.used.unwrap_or(f64::INFINITY);
    broken.sort_by(|a, b| used(b).total_cmp(&used(a)));
    let mut reasons: Vec<String> = broken
        .into_iter()
        .map(|limit| reason(limit, failures))
        .collect();
    let failed = judgement.verdict == ProbeVerdict::Failed;
    let is_broken = |limit: &LimitJudgement| limit.verdict == ProbeVerdict::Failed;
    if failed && !judgement.limits.iter().any(is_broken) {
        let excess = judgement.load.and_then(|load| load.excess);
        reasons.insert(
            0,
            format!(
                "the server did not keep up: it served {} % less than came",
                percent(excess.unwrap_or(0.0))
            ),
        );
    }
    reasons
}

fn reason(limit: &LimitJudgement, failures: &BTreeMap<String, u64>) -> String {
    let label = limit.figure.label();
    match (
        limit.violation_share,
        limit.violation_share_ci,
        limit.allowed_share,
    ) {
        (Some(share), Some(ci), Some(allowed)) => {
            let what = match limit.figure {
                SlaFigure::SuccessRate => format!("of requests failed{}", kinds(failures)),
                // an undecided limit of which no request is known to break it
                _ if limit.violations == 0 => {
                    return format!(
                        "{} requests are too few to tell whether {label} {} holds",
                        limit.requests,
                        typeset(&limit.target)
                    );
                }
                _ => format!("of requests broke {label} {}", typeset(&limit.target)),
            };
            format!(
                "{} % {what} [{}, {}]; {} % may",
                percent(share),
                percent(ci.low()),
                percent(ci.high()),
                percent(allowed)
            )
        }
        _ => match limit.value {
            Some(seen) => {
                format!(
                    "the {label} was {}, not {}",
                    value(limit.figure, short(seen)),
                    typeset(&limit.target)
                )
            }
            None => format!("there is no {label}"),
        },
    }
}

/// The most frequent kinds of failures: ` (connect, reset)`.
fn kinds(failures: &BTreeMap<String, u64>) -> String {
    const MOST: usize = 3;
    let mut kinds: Vec<(&String, &u64)> = failures.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kinds: Vec<&str> = kinds.iter().take(MOST).map(|one| one.0.as_str()).collect();
    if kinds.is_empty() {
        String::new()
    } else {
        format!(" ({})", kinds.join(", "))
    }
}

/// That a prefix cache became warmer from the first probe to the last, which later loads profit from.
pub(super) fn warming(probes: &[ProbeRecord]) -> Option<String> {
    let mut shares = probes.iter().filter_map(|probe| probe.cached_share);
    let (first, last) = (shares.next()?, shares.next_back()?);
    (last - first >= WARMER).then(|| {
        format!(
            "{} % of the first probe's prompt tokens came from the server's prefix cache and {} % of the \
             last one's, which makes later loads look faster.",
            percent(first),
            percent(last)
        )
    })
}

/// A figure with as many digits as people read.
pub(super) fn short(seen: f64) -> f64 {
    format!("{seen:.3e}").parse().unwrap_or(seen)
}

/// The beginning of a sentence.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.collect::<String>() + letters.as_str()
}

/// A limit as people read it.
fn typeset(target: &str) -> String {
    target.replace("<=", "≤").replace(">=", "≥")
}

/// A share as percent: one decimal, two below one.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 1.0 || percent <= 0.0 {
        let text = format!("{percent:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    } else {
        format!("{percent:.2}")
    }
}
