//! Owns the short names of figures, `ttft_p99` or `output_tokens_per_s`, by which rules and comparisons
//! know them: which there are, their units, which direction is better, and their values.
//!
//! It must not know rules or comparisons.

use std::fmt;
use std::str::FromStr;

use evalscope_model::metrics::{Distribution, Metric, PERCENTILE_ROWS};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::percentile::{NotAPercentile, Percentile};
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
    /// A percentile. Those that a distribution has are known of every run.
    Percentile(Percentile),
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
pub fn percentiles() -> impl Iterator<Item = Percentile> {
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

    /// A whole percentile.
    #[must_use]
    pub const fn percentile(percent: u8) -> Self {
        Self::Percentile(Percentile::whole(percent))
    }

    /// Its value in a distribution, where that has it.
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

/// A text is not a statistic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownStat {
    /// It looks like a percentile.
    #[error(transparent)]
    Percentile(#[from] NotAPercentile),
    /// It is none at all.
    #[error(
        "`{0}` is not a statistic: expected mean, std, min, max or a percentile such as p50, p99 or p99.9"
    )]
    None(String),
}

impl FromStr for Stat {
    type Err = UnknownStat;

    fn from_str(text: &str) -> Result<Self, UnknownStat> {
        match text {
            "mean" => Ok(Self::Mean),
            "std" => Ok(Self::Std),
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            _ => match text.strip_prefix('p') {
                Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => {
                    Ok(Self::Percentile(number.parse()?))
                }
                _ => Err(UnknownStat::None(text.to_owned())),
            },
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
        Self::Metric(Metric::Ttft, Stat::percentile(50)),
        Self::Metric(Metric::Ttft, Stat::percentile(99)),
        Self::Metric(Metric::Tpot, Stat::percentile(50)),
        Self::Metric(Metric::Latency, Stat::percentile(99)),
    ];

    /// The figures that every run has, in order; percentiles that a distribution does not have are not among them.
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

    /// A percentile that a distribution does not have: it is computed from the requests themselves.
    #[must_use]
    pub fn further_percentile(self) -> Option<(Metric, Percentile)> {
        match self {
            Self::Metric(metric, Stat::Percentile(own)) => percentiles()
                .all(|known| known != own)
                .then_some((metric, own)),
            _ => None,
        }
    }

    /// Its value in a report; `None` for further percentiles, too.
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
        if METRICS.iter().any(|own| metric_name(*own) == name) {
            return format!("`{name}` needs a statistic, such as {name}_p99 or {name}_mean");
        }
        // of `ttft_p100`, what follows the metric
        let stat = of_metric(name).map(|(_, stat)| stat.parse::<Stat>());
        if let Some(Err(UnknownStat::Percentile(error))) = stat {
            return error.to_string();
        }
        match &self.nearest {
            Some(nearest) => format!("no figure is called `{name}`; did you mean {nearest}?"),
            None => format!(
                "no figure is called `{name}`, expected one such as ttft_p99, output_tokens_per_s or error_rate"
            ),
        }
    }
}

/// The metric of a name, and what follows it: `ttft_p99` or `ttft.p99`.
fn of_metric(name: &str) -> Option<(Metric, &str)> {
    METRICS.into_iter().find_map(|metric| {
        let rest = name.strip_prefix(metric_name(metric))?;
        // `ttft_from_schedule_p50` is of another metric than `ttft`
        let stat = rest.strip_prefix(['_', '.'])?;
        let is_longer = METRICS.iter().any(|other| {
            let longer = metric_name(*other);
            longer.len() > metric_name(metric).len() && name.starts_with(longer)
        });
        (!is_longer).then_some((metric, stat))
    })
}

impl FromStr for FigureKey {
    type Err = UnknownFigure;

    /// Read `ttft_p99` or `ttft.p99`.
    fn from_str(text: &str) -> Result<Self, UnknownFigure> {
        let rate = Rate::ALL.into_iter().find(|rate| rate.name() == text);
        let of_metric = || {
            let (metric, stat) = of_metric(text)?;
            Some(Self::Metric(metric, stat.parse().ok()?))
        };
        let found = rate.map(Self::Rate).or_else(of_metric);
        found.ok_or_else(|| {
            let near = Self::all().map(|key| (strsim::osa_distance(&key.to_string(), text), key));
            let near = near.min_by_key(|(distance, _)| *distance);
            UnknownFigure {
                name: text.to_owned(),
                nearest: near
                    .filter(|(distance, _)| *distance <= 1 + text.len() / 4)
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
        for text in ["ttft_p99.9", "ttft_from_schedule_p42", "itl_p0.5"] {
            let key: FigureKey = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
            assert!(key.further_percentile().is_some(), "{text}");
        }
        assert_eq!("ttft.p99.9".parse(), "ttft_p99.9".parse::<FigureKey>());
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
                "ttft_p100",
                "`p100` is not a percentile: expected a number above 0 and below 100",
            ),
            ("ttft.p99.9999", "`p99.9999` is not a percentile"),
            ("ttft_from_schedule_p0", "`p0` is not a percentile"),
            ("eror_rate", "did you mean error_rate?"),
            ("output_tokens_per_sec", "did you mean output_tokens_per_s?"),
            ("kilowatts_of_the_server", "expected one such as ttft_p99"),
        ] {
            assert!(says(text).contains(part), "{text}: {}", says(text));
        }
    }
}
