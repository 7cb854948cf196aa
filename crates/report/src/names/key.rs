//! Owns the short names of figures, `ttft_p99` or `output_tokens_per_s`, by which rules and comparisons
//! know them: which there are, their units, which direction is better, and their values.
//!
//! It must not know rules or comparisons.

use std::fmt;
use std::str::FromStr;

use evalscope_model::metrics::{Distribution, Metric, PERCENTILE_ROWS};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::report::RunReport;

/// A figure by its short name, in the order of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FigureKey {
    /// A figure of the whole run.
    Rate(Rate),
    /// A statistic of a metric.
    Metric(Metric, Stat),
}

/// A figure of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// Successes per second.
    Requests,
    /// Output tokens per second.
    OutputTokens,
    /// Prompt and output tokens per second.
    TotalTokens,
    /// Prompt tokens per second.
    InputTokens,
    /// Share of requests that failed, were shed or did not finish.
    Errors,
    /// Share of requests that met the objective.
    Goodput,
    /// Share of prompt tokens that came from the server's cache.
    Cached,
}

/// A statistic of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stat {
    /// The mean.
    Mean,
    /// The standard deviation.
    Std,
    /// The smallest sample.
    Min,
    /// A percentile, one of those that a distribution has.
    Percentile(u8),
    /// The largest sample.
    Max,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// Neither: a property of the workload.
    Neither,
}

/// The unit of a figure's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// A number of tokens.
    Tokens,
    /// Requests per second.
    RequestsPerS,
    /// Tokens per second.
    TokensPerS,
    /// A share, 0 to 1; shown as percent.
    Share,
}

impl Unit {
    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::S => "s",
            Self::Tokens => "tokens",
            Self::RequestsPerS => "req/s",
            Self::TokensPerS => "tok/s",
            Self::Share => "%",
        }
    }
}

impl Rate {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Requests,
        Self::OutputTokens,
        Self::TotalTokens,
        Self::InputTokens,
        Self::Errors,
        Self::Goodput,
        Self::Cached,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_s",
            Self::OutputTokens => "output_tokens_per_s",
            Self::TotalTokens => "total_tokens_per_s",
            Self::InputTokens => "input_tokens_per_s",
            Self::Errors => "error_rate",
            Self::Goodput => "goodput",
            Self::Cached => "cached_share",
        }
    }
}

/// The percentiles of a distribution.
pub fn percentiles() -> impl Iterator<Item = u8> {
    PERCENTILE_ROWS
        .iter()
        .filter_map(|(label, _)| label.strip_suffix('%')?.parse().ok())
}

impl Stat {
    /// All statistics of a distribution.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Mean, Self::Std, Self::Min]
            .into_iter()
            .chain(percentiles().map(Self::Percentile))
            .chain([Self::Max])
    }

    /// Its value in a distribution.
    #[must_use]
    pub fn of(self, distribution: &Distribution) -> Option<f64> {
        match self {
            Self::Mean => distribution.mean,
            Self::Std => distribution.std,
            Self::Min => distribution.min,
            Self::Max => distribution.max,
            Self::Percentile(p) => {
                let label = format!("{p}%");
                let row = PERCENTILE_ROWS.iter().find(|(own, _)| *own == label);
                row.and_then(|(_, value)| value(distribution))
            }
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mean"),
            Self::Std => f.write_str("std"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::Percentile(p) => write!(f, "p{p}"),
        }
    }
}

/// The metrics that have short names, in order.
pub const METRICS: [Metric; 14] = [
    Metric::Ttft,
    Metric::Ttfat,
    Metric::Tpot,
    Metric::Itl,
    Metric::SteadyItl,
    Metric::PdHandoffLatency,
    Metric::PdHandoffOverhead,
    Metric::Latency,
    Metric::LatencyFromSchedule,
    Metric::TtftFromSchedule,
    Metric::InputTokens,
    Metric::OutputTokens,
    Metric::DispatchLag,
    Metric::ClientLag,
];

/// The short name of a metric: its key without the unit.
#[must_use]
pub fn metric_name(metric: Metric) -> &'static str {
    let key = metric.key();
    let short = key.strip_suffix("_ms").or_else(|| key.strip_suffix("_s"));
    short.unwrap_or(key)
}

impl FigureKey {
    /// The figures of a comparison that say whether a server is better: `output_tokens_per_s`,
    /// `error_rate`, `ttft_p50`, `ttft_p99`, `tpot_p50` and `latency_p99`.
    pub const PRIMARY: [Self; 6] = [
        Self::Rate(Rate::OutputTokens),
        Self::Rate(Rate::Errors),
        Self::Metric(Metric::Ttft, Stat::Percentile(50)),
        Self::Metric(Metric::Ttft, Stat::Percentile(99)),
        Self::Metric(Metric::Tpot, Stat::Percentile(50)),
        Self::Metric(Metric::Latency, Stat::Percentile(99)),
    ];

    /// All figures, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_metrics = METRICS
            .into_iter()
            .flat_map(|metric| Stat::all().map(move |stat| Self::Metric(metric, stat)));
        Rate::ALL.map(Self::Rate).into_iter().chain(of_metrics)
    }

    /// Which direction is better.
    #[must_use]
    pub const fn better(self) -> Better {
        match self {
            Self::Rate(Rate::Errors) => Better::Lower,
            Self::Rate(_) => Better::Higher,
            Self::Metric(Metric::InputTokens | Metric::OutputTokens, _) => Better::Neither,
            Self::Metric(..) => Better::Lower,
        }
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Rate(Rate::Requests) => Unit::RequestsPerS,
            Self::Rate(Rate::OutputTokens | Rate::TotalTokens | Rate::InputTokens) => {
                Unit::TokensPerS
            }
            Self::Rate(Rate::Errors | Rate::Goodput | Rate::Cached) => Unit::Share,
            Self::Metric(metric, _) if metric.key().ends_with("_ms") => Unit::Ms,
            Self::Metric(metric, _) if metric.key().ends_with("_s") => Unit::S,
            Self::Metric(..) => Unit::Tokens,
        }
    }

    /// Its value in a report.
    #[must_use]
    pub fn value(self, report: &RunReport) -> Option<f64> {
        match self {
            Self::Metric(metric, stat) => stat.of(report.metric(metric)),
            Self::Rate(Rate::Requests) => report.requests_per_s(),
            Self::Rate(Rate::OutputTokens) => report.output_tokens_per_s(),
            Self::Rate(Rate::TotalTokens) => report.total_tokens_per_s(),
            Self::Rate(Rate::InputTokens) => report.input_tokens_per_s(),
            Self::Rate(Rate::Errors) => report.lost_share(),
            Self::Rate(Rate::Goodput) => report.goodput.as_ref()?.share,
            Self::Rate(Rate::Cached) => report.cached_share(),
        }
    }

    /// Its value in a run of a `result.json`, where that has it.
    #[must_use]
    pub fn value_in(self, run: &Json) -> Option<f64> {
        match self {
            Self::Metric(metric, stat) => run["metrics"][metric.key()][stat.to_string()].as_f64(),
            Self::Rate(
                rate
                @ (Rate::Requests | Rate::OutputTokens | Rate::TotalTokens | Rate::InputTokens),
            ) => run["throughput"][rate.name()].as_f64(),
            Self::Rate(Rate::Goodput) => run["goodput"]["share"].as_f64(),
            Self::Rate(Rate::Errors | Rate::Cached) => None,
        }
    }
}

impl fmt::Display for FigureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => f.write_str(rate.name()),
            Self::Metric(metric, stat) => write!(f, "{}_{stat}", metric_name(*metric)),
        }
    }
}

impl From<FigureKey> for String {
    fn from(key: FigureKey) -> Self {
        key.to_string()
    }
}

/// There is no figure of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct UnknownFigure {
    /// The name.
    pub name: String,
    /// The figure whose name is the closest.
    pub nearest: Option<String>,
}

impl UnknownFigure {
    fn text(&self) -> String {
        let name = &self.name;
        // of `ttft_p99.9`, what follows the metric
        let percentile = METRICS.iter().find_map(|own| {
            let stat = name
                .strip_prefix(metric_name(*own))?
                .strip_prefix(['_', '.'])?;
            let number = stat.strip_prefix('p')?;
            number.parse::<f64>().is_ok().then_some(stat)
        });
        if METRICS.iter().any(|own| metric_name(*own) == name) {
            return format!("`{name}` needs a statistic, such as {name}_p99 or {name}_mean");
        }
        if let Some(percentile) = percentile {
            let all: Vec<String> = percentiles().map(|p| format!("p{p}")).collect();
            return format!(
                "`{percentile}` is not one of the percentiles {}",
                all.join(", ")
            );
        }
        match &self.nearest {
            Some(nearest) => format!("no figure is called `{name}`; did you mean {nearest}?"),
            None => format!(
                "no figure is called `{name}`, expected one such as ttft_p99, output_tokens_per_s or error_rate"
            ),
        }
    }
}

impl FromStr for FigureKey {
    type Err = UnknownFigure;

    /// Read `ttft_p99` or `ttft.p99`.
    fn from_str(text: &str) -> Result<Self, UnknownFigure> {
        let name = match text.rsplit_once('.') {
            // not the point of p99.9
            Some((metric, stat)) if !stat.starts_with(|c: char| c.is_ascii_digit()) => {
                format!("{metric}_{stat}")
            }
            _ => text.to_owned(),
        };
        let found = Self::all().find(|key| key.to_string() == name);
        found.ok_or_else(|| {
            let near = Self::all().map(|key| (strsim::osa_distance(&key.to_string(), &name), key));
            let near = near.min_by_key(|(distance, _)| *distance);
            UnknownFigure {
                name: text.to_owned(),
                nearest: near
                    .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
                    .map(|(_, key)| key.to_string()),
            }
        })
    }
}

impl TryFrom<String> for FigureKey {
    type Error = UnknownFigure;

    fn try_from(text: String) -> Result<Self, UnknownFigure> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_read_as_it_is_shown() {
        for key in FigureKey::all() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert_eq!("ttft.p99".parse(), "ttft_p99".parse::<FigureKey>());
        assert!(
            FigureKey::PRIMARY
                .iter()
                .all(|key| FigureKey::all().any(|own| own == *key))
        );
    }

    #[test]
    fn a_name_that_is_unknown_names_the_nearest() {
        let says = |text: &str| text.parse::<FigureKey>().unwrap_err().to_string();
        for (text, part) in [
            ("tfft_p99", "did you mean ttft_p99?"),
            (
                "ttft",
                "`ttft` needs a statistic, such as ttft_p99 or ttft_mean",
            ),
            (
                "ttft_p99.9",
                "`p99.9` is not one of the percentiles p1, p5, p10",
            ),
            ("ttft_p42", "`p42` is not one of the percentiles"),
            ("eror_rate", "did you mean error_rate?"),
            ("output_tokens_per_sec", "did you mean output_tokens_per_s?"),
            ("kilowatts_of_the_server", "expected one such as ttft_p99"),
        ] {
            assert!(says(text).contains(part), "{text}: {}", says(text));
        }
    }
}
