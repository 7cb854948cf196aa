//! Owns what a search for capacity asks of a load: figures with limits, as `--sla-params` has them in
//! EvalScope's form, and their texts.
//!
//! Pure. It must not know how figures are measured, nor how a search goes on.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::slo::{Comparison, Condition, SloFigure};

/// A percentile that can have a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
}

impl Rank {
    const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P95, Self::P99, Self::P999];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
        }
    }

    /// The share of requests that may lie beyond it.
    #[must_use]
    pub const fn beyond(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.1,
            Self::P95 => 0.05,
            Self::P99 => 0.01,
            Self::P999 => 0.001,
        }
    }
}

/// A figure of a load that can have a limit. In files it is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SlaFigure {
    /// A percentile over the requests.
    Percentile(Rank, SloFigure),
    /// The mean over the requests.
    Mean(SloFigure),
    /// Successes per second.
    RequestsPerS,
    /// Output tokens per second.
    OutputTokensPerS,
    /// Successes over all requests, percent.
    SuccessRate,
    /// Requests per second that met `--slo`.
    Goodput,
}

/// The figures of a request that can have limits.
const OF_REQUESTS: [SloFigure; 4] = [
    SloFigure::Latency,
    SloFigure::Ttft,
    SloFigure::Ttfat,
    SloFigure::Tpot,
];

impl SlaFigure {
    /// All figures.
    pub fn all() -> impl Iterator<Item = Self> {
        let ranks = OF_REQUESTS
            .into_iter()
            .flat_map(|of| Rank::ALL.map(|rank| Self::Percentile(rank, of)));
        let means = OF_REQUESTS.into_iter().map(Self::Mean);
        ranks.chain(means).chain([
            Self::RequestsPerS,
            Self::OutputTokensPerS,
            Self::SuccessRate,
            Self::Goodput,
        ])
    }

    /// Whether it is what a server delivers per second.
    #[must_use]
    pub const fn is_throughput(self) -> bool {
        matches!(
            self,
            Self::RequestsPerS | Self::OutputTokensPerS | Self::Goodput
        )
    }

    /// Its name in `--sla-params`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Percentile(rank, of) => format!("{}_{}", rank.name(), of.name()),
            Self::Mean(of) => format!("avg_{}", of.name()),
            Self::RequestsPerS => "rps".to_owned(),
            Self::OutputTokensPerS => "tps".to_owned(),
            Self::SuccessRate => "success_rate".to_owned(),
            Self::Goodput => "goodput".to_owned(),
        }
    }

    /// What people call it.
    #[must_use]
    pub fn label(self) -> String {
        let of_request = |of: SloFigure| match of {
            SloFigure::Latency => "latency",
            SloFigure::Ttft => "TTFT",
            SloFigure::Ttfat => "TTFAT",
            SloFigure::Tpot => "TPOT",
            SloFigure::ItlMax => "longest gap",
            SloFigure::Decode => "decode speed",
        };
        match self {
            Self::Percentile(rank, of) => format!("{} {}", rank.name(), of_request(of)),
            Self::Mean(of) => format!("mean {}", of_request(of)),
            Self::RequestsPerS => "throughput".to_owned(),
            Self::OutputTokensPerS => "output".to_owned(),
            Self::SuccessRate => "success".to_owned(),
            Self::Goodput => "goodput".to_owned(),
        }
    }

    /// The unit of its values: that of EvalScope's reports.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Percentile(_, SloFigure::Latency) | Self::Mean(SloFigure::Latency) => "s",
            Self::Percentile(..) | Self::Mean(_) => "ms",
            Self::RequestsPerS | Self::Goodput => "req/s",
            Self::OutputTokensPerS => "tok/s",
            Self::SuccessRate => "%",
        }
    }

    /// How many of the unit of [`Condition::limit`] are in one of this figure.
    #[must_use]
    pub fn ns_per_unit(self) -> f64 {
        if self.unit() == "s" { 1e9 } else { 1e6 }
    }

    /// The figure of a request that it is about.
    #[must_use]
    pub const fn of_request(self) -> Option<SloFigure> {
        match self {
            Self::Percentile(_, of) | Self::Mean(of) => Some(of),
            _ => None,
        }
    }

    /// It exists only for responses that are streamed.
    #[must_use]
    pub fn needs_stream(self) -> bool {
        self.of_request().is_some_and(SloFigure::needs_stream)
    }

    /// Read a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|figure| figure.name() == name)
    }
}

impl fmt::Display for SlaFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl From<SlaFigure> for String {
    fn from(figure: SlaFigure) -> Self {
        figure.name()
    }
}

impl TryFrom<String> for SlaFigure {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::from_name(&name).ok_or_else(|| format!("`{name}` is not the name of a figure"))
    }
}

/// A limit on a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlaLimit {
    /// The figure.
    pub figure: SlaFigure,
    /// On which side of the limit it has to be.
    pub comparison: Comparison,
    /// The limit, in the figure's unit.
    pub limit: f64,
}

impl SlaLimit {
    /// Whether a value, in the figure's unit, meets it.
    #[must_use]
    pub fn is_met_by(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtMost => value <= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Above => value > self.limit,
        }
    }

    /// The figure has to be small.
    #[must_use]
    pub const fn is_upper(&self) -> bool {
        matches!(self.comparison, Comparison::AtMost | Comparison::Below)
    }

    /// The same limit on the figure of one request, for one that is about requests.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        Some(Condition {
            figure: self.figure.of_request()?,
            comparison: self.comparison,
            limit: self.limit * self.figure.ns_per_unit(),
        })
    }

    /// The limit as EvalScope writes it: `<= 2 s`.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{} {}", self.sign(false), value(self.figure, self.limit))
    }

    /// As people read it: `p99 TTFT ≤ 500 ms`.
    #[must_use]
    pub fn phrase(&self) -> String {
        let (label, sign) = (self.figure.label(), self.sign(true));
        format!("{label} {sign} {}", value(self.figure, self.limit))
    }

    const fn sign(&self, is_typeset: bool) -> &'static str {
        match (self.comparison, is_typeset) {
            (Comparison::AtMost, false) => "<=",
            (Comparison::AtMost, true) => "≤",
            (Comparison::AtLeast, false) => ">=",
            (Comparison::AtLeast, true) => "≥",
            (Comparison::Below, _) => "<",
            (Comparison::Above, _) => ">",
        }
    }
}

/// A value with the unit of its figure, as Python writes the number.
#[must_use]
pub fn value(figure: SlaFigure, value: f64) -> String {
    format!("{value} {}", figure.unit())
}

/// What is asked of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Criterion {
    /// It has a limit.
    Limit(SlaLimit),
    /// It is to be as great as possible.
    Greatest(SlaFigure),
    /// It is to be as small as possible.
    Smallest(SlaFigure),
}

impl Criterion {
    /// The figure.
    #[must_use]
    pub const fn figure(&self) -> SlaFigure {
        match self {
            Self::Limit(limit) => limit.figure,
            Self::Greatest(figure) | Self::Smallest(figure) => *figure,
        }
    }

    /// What is asked, as EvalScope writes it: `<= 2 s`, `max`.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Limit(limit) => limit.target(),
            Self::Greatest(_) => "max".to_owned(),
            Self::Smallest(_) => "min".to_owned(),
        }
    }
}

/// Criteria that have to be met together.
pub type Group = Vec<Criterion>;

/// Why `--sla-params` cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlaError {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// A group is not an object of criteria.
    #[error("expected an object of criteria, or a list of them, and none empty")]
    NoGroup,
    /// A figure is unknown.
    #[error("`{name}` is not a figure of a load")]
    UnknownFigure {
        /// What was written.
        name: String,
    },
    /// A criterion cannot be read.
    #[error("`{text}` for `{figure}`: {why}")]
    Criterion {
        /// The figure.
        figure: SlaFigure,
        /// What was written.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// `max` or `min` beside other criteria.
    #[error("`max` and `min` have to be the only criterion of the only group")]
    NotAlone,
}

/// Read `--sla-params`: an object, or a list of objects, each of which is a search of its own.
///
/// ```
/// use evalscope_model::sla::groups;
/// let one = groups(r#"{"p99_latency": "<=2s", "p99_ttft": "<0.5s"}"#).unwrap();
/// let targets: Vec<String> = one[0].iter().map(|criterion| criterion.target()).collect();
/// assert_eq!(targets, ["<= 2 s", "< 500 ms"]);
/// ```
///
/// # Errors
/// When it is not JSON of that form, a figure is unknown, or a limit cannot be read.
pub fn groups(text: &str) -> Result<Vec<Group>, SlaError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| SlaError::NotJson(error.to_string()))?;
    let objects = match value {
        Value::Array(objects) => objects,
        other => vec![other],
    };
    let groups = objects
        .iter()
        .map(group)
        .collect::<Result<Vec<Group>, _>>()?;
    if groups.is_empty() {
        return Err(SlaError::NoGroup);
    }
    let has_extreme = groups
        .iter()
        .flatten()
        .any(|criterion| !matches!(criterion, Criterion::Limit(_)));
    if has_extreme && (groups.len() > 1 || groups[0].len() > 1) {
        return Err(SlaError::NotAlone);
    }
    Ok(groups)
}

fn group(value: &Value) -> Result<Group, SlaError> {
    let criteria = value.as_object().filter(|object| !object.is_empty());
    let criteria = criteria.ok_or(SlaError::NoGroup)?;
    criteria
        .iter()
        .map(|(name, target)| {
            let figure = SlaFigure::from_name(name);
            let figure = figure.ok_or_else(|| SlaError::UnknownFigure { name: name.clone() })?;
            let text = match target {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            criterion(figure, &text).map_err(|why| SlaError::Criterion { figure, text, why })
        })
        .collect()
}

fn criterion(figure: SlaFigure, text: &str) -> Result<Criterion, String> {
    let plain = text
        .replace('≤', "<=")
        .replace(['≥', '≧'], ">=")
        .replace('\u{2009}', "");
    let plain = plain.trim();
    let (comparison, rest) = match plain {
        "max" => return Ok(Criterion::Greatest(figure)),
        "min" => return Ok(Criterion::Smallest(figure)),
        _ if plain.starts_with("<=") => (Comparison::AtMost, &plain[2..]),
        _ if plain.starts_with(">=") => (Comparison::AtLeast, &plain[2..]),
        _ if plain.starts_with('<') => (Comparison::Below, &plain[1..]),
        _ if plain.starts_with('>') => (Comparison::Above, &plain[1..]),
        _ => {
            let unit = figure.unit();
            return Err(format!(
                "expected <=, <, >= or > and a number, such as \"<=2{unit}\", or max or min"
            ));
        }
    };
    let rest = rest.trim();
    let unit_at = rest
        .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
        .unwrap_or(rest.len());
    let (number, unit) = rest.split_at(unit_at);
    let number: f64 = number
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("`{rest}` is not a number with a unit"))?;
    let factor = match (unit.trim(), figure.unit()) {
        (unit, own) if unit.is_empty() || unit == own => 1.0,
        ("s", "ms") => 1e3,
        ("ms", "s") => 1e-3,
        (unit, own) => {
            return Err(format!("the unit of {figure} is {own}, not {unit}"));
        }
    };
    Ok(Criterion::Limit(SlaLimit {
        figure,
        comparison,
        limit: number * factor,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<String> {
        let groups = groups(text).unwrap();
        let all = groups.iter().flatten();
        all.map(|criterion| format!("{} {}", criterion.figure(), criterion.target()))
            .collect()
    }

    fn wrong(text: &str) -> String {
        groups(text).unwrap_err().to_string()
    }

    #[test]
    fn criteria_are_read_as_evalscope_reads_them() {
        assert_eq!(
            targets(r#"[{"p99_latency": "<=2s", "p99_ttft": "<500ms"}, {"rps": ">=5"}]"#),
            ["p99_latency <= 2 s", "p99_ttft < 500 ms", "rps >= 5 req/s"]
        );
        assert_eq!(
            targets(r#"{"avg_latency": "≤ 1500ms", "avg_tpot": "<=0.05 s", "p50_ttft": "≧ 1"}"#),
            [
                "avg_latency <= 1.5 s",
                "avg_tpot <= 50 ms",
                "p50_ttft >= 1 ms"
            ]
        );
        assert_eq!(targets(r#"[{"tps": "max"}]"#), ["tps max"]);
        assert_eq!(
            targets(r#"{"tps": ">1e2tok/s", "success_rate": ">=99%"}"#),
            ["tps > 100 tok/s", "success_rate >= 99 %"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        assert!(wrong("{").starts_with("it is not JSON"));
        for empty in ["[]", "{}", "[{}]", "3"] {
            assert_eq!(wrong(empty), SlaError::NoGroup.to_string(), "{empty}");
        }
        assert_eq!(
            wrong(r#"{"p99_tfft": "<1s"}"#),
            "`p99_tfft` is not a figure of a load"
        );
        assert_eq!(
            wrong(r#"{"tps": "<=5s"}"#),
            "`<=5s` for `tps`: the unit of tps is tok/s, not s"
        );
        assert_eq!(
            wrong(r#"{"rps": "5"}"#),
            "`5` for `rps`: expected <=, <, >= or > and a number, such as \"<=2req/s\", or max or min"
        );
        assert_eq!(
            wrong(r#"{"rps": "<=x"}"#),
            "`<=x` for `rps`: `x` is not a number with a unit"
        );
        for text in [
            r#"{"tps": "max", "rps": ">1"}"#,
            r#"[{"tps": "max"}, {"rps": ">1"}]"#,
        ] {
            assert_eq!(wrong(text), SlaError::NotAlone.to_string());
        }
    }

    #[test]
    fn names_are_read_back() {
        for figure in SlaFigure::all() {
            assert_eq!(SlaFigure::from_name(&figure.name()), Some(figure));
        }
        assert_eq!(SlaFigure::all().count(), 28);
    }

    #[test]
    fn a_limit_is_one_on_requests_in_their_unit() {
        let group = &groups(r#"{"p99_latency": "<=2s", "p90_tpot": "<50ms"}"#).unwrap()[0];
        let conditions = group.iter().map(|criterion| match criterion {
            Criterion::Limit(limit) => limit.condition().unwrap().to_string(),
            _ => unreachable!(),
        });
        let conditions: Vec<String> = conditions.collect();
        assert_eq!(conditions, ["latency<=2000ms", "tpot<50ms"]);
    }
}
