//! Owns findings about objectives.

use super::finding::{Evidence, Finding};
use super::id::FindingId;

/// A condition that applies to no request limits nothing.
pub(super) fn never_applied(e: &Evidence<'_>) -> Option<Finding> {
    let goodput = e.goodput.filter(|goodput| goodput.due > 0)?;
    let idle: Vec<String> = goodput
        .conditions
        .iter()
        .filter(|condition| condition.applied == 0)
        .map(|condition| format!("`{}`", condition.condition))
        .collect();
    (!idle.is_empty()).then(|| {
        let text = format!(
            "no request has the figure of {}: it limits nothing, and every request meets it; TPOT, gaps and \
             decode speed need responses of several tokens, and all but the latency need streams",
            idle.join(" and ")
        );
        Finding::new(FindingId::ObjectiveNotApplied, text)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{none, one};
    use super::*;
    use evalscope_model::metrics::{Delivery, GoodputAccumulator, Judge, Metric};
    use evalscope_model::slo::SloFrom;

    #[test]
    fn a_condition_that_limits_nothing_is_named() {
        let of = |slo: &str| {
            let judge = Judge::new(slo.parse().unwrap(), SloFrom::Send, Delivery::Whole);
            let mut goodput = GoodputAccumulator::new(judge);
            let record = crate::samples::successes(1).remove(0).record;
            assert!(Metric::Latency.of_request(&record).is_some());
            goodput.push(&record);
            goodput.finish(1.0)
        };
        one(
            |c| c.goodput = Some(of("ttft<=1ms latency<=9s")),
            FindingId::ObjectiveNotApplied,
            "no request has the figure of `ttft<=1ms`",
        );
        none(|c| c.goodput = Some(of("latency<=9s")));
    }
}
