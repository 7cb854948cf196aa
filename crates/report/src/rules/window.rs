//! Owns the last seconds of a run that is under way, and whether rules hold in them.
//!
//! It must not know clocks, nor what becomes of a run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use evalscope_model::metrics::{Metric, Samples};
use evalscope_model::record::{FailureKind, Phase, RequestRecord};
use evalscope_model::time::Timestamp;

use super::grammar::{Bound, Rule};
use super::judge::shown;
use crate::names::{FigureKey, Rate, Stat};

/// What is kept of a request that has ended.
#[derive(Debug)]
struct Ended {
    at: Timestamp,
    /// It succeeded, with so many prompt and output tokens.
    delivered: Option<[Option<u64>; 2]>,
    samples: Vec<(Metric, Vec<f64>)>,
}

/// The measured requests that ended in the last seconds, and the rules about them.
#[derive(Debug)]
pub struct RecentRequests {
    rules: Vec<Rule>,
    metrics: Vec<Metric>,
    length: Duration,
    ended: VecDeque<Ended>,
}

/// Whether a window of a run has a figure: what is known only at its end, it has not.
#[must_use]
pub fn is_of_windows(figure: FigureKey) -> bool {
    !matches!(figure, FigureKey::Rate(Rate::Goodput | Rate::Cached))
}

impl RecentRequests {
    /// An empty window of this length for these rules, which have absolute bounds.
    #[must_use]
    pub fn new(rules: Vec<Rule>, length: Duration) -> Self {
        let mut metrics: Vec<Metric> = Vec::new();
        for condition in rules.iter().flat_map(Rule::conditions) {
            if let FigureKey::Metric(metric, _) = condition.figure
                && !metrics.contains(&metric)
            {
                metrics.push(metric);
            }
        }
        Self {
            rules,
            metrics,
            length,
            ended: VecDeque::new(),
        }
    }

    /// Add a request that has ended.
    pub fn push(&mut self, record: &RequestRecord) {
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        let says_nothing = matches!(
            kind,
            Some(FailureKind::Cancelled | FailureKind::ContextLimit | FailureKind::NotSent)
        );
        if record.phase != Phase::Measured || says_nothing {
            return;
        }
        let samples = self.metrics.iter().map(|metric| {
            let mut own = Vec::new();
            metric.samples(record, |value| own.push(value));
            (*metric, own)
        });
        self.ended.push_back(Ended {
            at: record.times.ended,
            delivered: record
                .succeeded()
                .then(|| [record.prompt_tokens().0, record.output_tokens().0]),
            samples: samples.collect(),
        });
    }

    /// The first rule that holds in the seconds before this moment, and its figures in words.
    pub fn broken(&mut self, now: Timestamp) -> Option<(String, String)> {
        let length = self.length;
        // those of other threads may be somewhat out of order
        self.ended.retain(|one| now.since(one.at) <= length);
        let mut values: BTreeMap<FigureKey, Option<f64>> = BTreeMap::new();
        for condition in self.rules.iter().flat_map(Rule::conditions) {
            let figure = condition.figure;
            values.entry(figure).or_insert_with(|| self.value(figure));
        }
        self.rules.iter().find_map(|rule| {
            let mut words = Vec::new();
            for condition in rule.conditions() {
                let value = values[&condition.figure]?;
                let Bound::Value(bound) = condition.bound else {
                    return None;
                };
                if !condition.op.holds(value, bound) {
                    return None;
                }
                words.push(format!(
                    "{} is {}",
                    condition.figure,
                    shown(condition.figure, value)
                ));
            }
            Some((rule.to_string(), words.join(" and ")))
        })
    }

    fn value(&self, figure: FigureKey) -> Option<f64> {
        let all = self.ended.len();
        let succeeded = || self.ended.iter().filter_map(|one| one.delivered);
        let per_s = |amount: u64| (all > 0).then(|| amount as f64 / self.length.as_secs_f64());
        let tokens = |nth: usize| -> u64 { succeeded().filter_map(|own| own[nth]).sum() };
        match figure {
            FigureKey::Rate(Rate::Errors) => {
                (all > 0).then(|| (all - succeeded().count()) as f64 / all as f64)
            }
            FigureKey::Rate(Rate::Requests) => per_s(succeeded().count() as u64),
            FigureKey::Rate(Rate::InputTokens) => per_s(tokens(0)),
            FigureKey::Rate(Rate::OutputTokens) => per_s(tokens(1)),
            FigureKey::Rate(Rate::TotalTokens) => per_s(tokens(0) + tokens(1)),
            FigureKey::Rate(Rate::Goodput | Rate::Cached) => None,
            FigureKey::Metric(metric, stat) => {
                let mut samples = Samples::exact();
                let own = self.ended.iter().flat_map(|one| &one.samples);
                for value in own
                    .filter(|(own, _)| *own == metric)
                    .flat_map(|(_, all)| all)
                {
                    samples.push(*value);
                }
                if let Stat::Percentile(own) = stat {
                    samples.quantiles(&[own.share()], metric.scale())[0]
                } else {
                    stat.of(&samples.distribution(metric.scale()))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn only_the_last_seconds_count() {
        let rules: Vec<Rule> = ["error_rate>50%", "ttft_p50>1s"]
            .map(|rule| rule.parse().unwrap())
            .into();
        let mut window = RecentRequests::new(rules, Duration::from_secs(1));
        // a request ends every 50 ms, from 48 ms on; the first twenty succeed
        for exchange in samples::successes(20) {
            window.push(&exchange.record);
        }
        let at = |ms: u64| Timestamp::from_nanos(ms * 1_000_000);
        assert_eq!(window.broken(at(1100)), None);
        for nth in 20..33 {
            window.push(&samples::failure(nth, FailureKind::Reset, "reset", "").record);
        }
        let (rule, words) = window.broken(at(1700)).unwrap();
        assert_eq!(
            (rule.as_str(), words.as_str()),
            ("error_rate>50%", "error_rate is 68.42 %")
        );
        // nothing has ended for longer than the window
        assert_eq!(window.broken(at(60_000)), None);
    }

    #[test]
    fn times_and_rates_of_the_window_are_known() {
        let holds = |rule: &str| {
            let mut window =
                RecentRequests::new(vec![rule.parse().unwrap()], Duration::from_secs(2));
            for exchange in samples::successes(20) {
                window.push(&exchange.record);
            }
            window
                .broken(Timestamp::from_nanos(1_100_000_000))
                .is_some()
        };
        for (rule, expected) in [
            ("ttft_p50>20ms", true),
            ("ttft_p50>1s", false),
            ("ttft_p99.9>20ms", true),
            ("ttft_p99.9>1s", false),
            ("requests_per_s>=10", true),
            ("requests_per_s>10", false),
            ("output_tokens_per_s>=200", true),
            ("ttft_p50>20ms and error_rate>1%", false),
        ] {
            assert_eq!(holds(rule), expected, "{rule}");
        }
    }
}
