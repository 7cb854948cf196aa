//! Owns objectives: the conditions that make a request good, and their two texts, `--slo
//! "ttft<=500ms tpot<=50ms"` and vLLM's `--goodput ttft:500 tpot:50`.
//!
//! Pure. It must not know records: what a request's figures are, and whether it met a condition, is
//! in [`crate::metrics`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A figure of a request that an objective can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SloFigure {
    /// `ttft`: time to the first token of any channel.
    Ttft,
    /// `ttfat`: time to the first token of the answer.
    Ttfat,
    /// `tpot`: time per output token after the first.
    Tpot,
    /// `itl_max`: the longest gap between token-bearing events.
    ItlMax,
    /// `latency`: time to the last data event.
    Latency,
    /// `decode`: output tokens after the first over the time since the first, per second.
    Decode,
}

impl SloFigure {
    /// All figures, in the order of `--help`.
    pub const ALL: [Self; 6] = [
        Self::Ttft,
        Self::Ttfat,
        Self::Tpot,
        Self::ItlMax,
        Self::Latency,
        Self::Decode,
    ];

    /// Its name in `--slo`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Ttfat => "ttfat",
            Self::Tpot => "tpot",
            Self::ItlMax => "itl_max",
            Self::Latency => "latency",
            Self::Decode => "decode",
        }
    }

    /// It exists only for responses that are streamed. What is not generated (embeddings) never has
    /// one of these.
    #[must_use]
    pub const fn needs_stream(self) -> bool {
        !matches!(self, Self::Latency)
    }
}

/// How a figure is compared with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

/// A limit on one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    /// The figure.
    pub figure: SloFigure,
    /// On which side of the limit it has to be.
    pub comparison: Comparison,
    /// The limit, positive and finite: nanoseconds, or for [`SloFigure::Decode`] tokens per second.
    pub limit: f64,
}

impl Condition {
    /// Whether a value, in the unit of the limit, meets it.
    #[must_use]
    pub fn is_met_by(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtMost => value <= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Above => value > self.limit,
        }
    }
}

/// The conditions that make a request good: at least one, each figure at most once. Its text, as
/// `--slo` reads it, is also its form in files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slo {
    conditions: Vec<Condition>,
}

impl Slo {
    /// The conditions, in the order in which they were typed.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Read vLLM's `ttft:500 tpot:50 e2el:10000`, milliseconds: what `--goodput` was given, joined
    /// by spaces.
    ///
    /// # Errors
    /// As for [`Slo::from_str`].
    pub fn from_goodput(text: &str) -> Result<Self, SloError> {
        let mut conditions = Vec::new();
        for (part, nth) in text.split([' ', ',']).filter(|p| !p.is_empty()).zip(1..) {
            let fail = |why: String| SloError::Condition {
                nth,
                text: part.to_owned(),
                why,
            };
            let condition = goodput_of(part).map_err(fail)?;
            check_first(&conditions, &condition).map_err(fail)?;
            conditions.push(condition);
        }
        Self::of(conditions)
    }

    fn of(conditions: Vec<Condition>) -> Result<Self, SloError> {
        if conditions.is_empty() {
            return Err(SloError::Empty);
        }
        Ok(Self { conditions })
    }
}

/// A condition such as `ttft:500`.
fn goodput_of(text: &str) -> Result<Condition, String> {
    let expected = "expected ttft, tpot or e2el with milliseconds, such as ttft:500";
    let (name, limit) = text.split_once(':').ok_or(expected)?;
    let figure = match name {
        "ttft" => SloFigure::Ttft,
        "tpot" => SloFigure::Tpot,
        "e2el" => SloFigure::Latency,
        _ => return Err(format!("`{name}` is unknown: {expected}")),
    };
    let ms = limit.parse::<f64>().map_err(|_| expected)?;
    Ok(Condition {
        figure,
        comparison: Comparison::AtMost,
        limit: positive(ms * 1e6, limit)?,
    })
}

/// A limit that is greater than 0 and finite.
fn positive(limit: f64, text: &str) -> Result<f64, String> {
    if limit > 0.0 && limit.is_finite() {
        Ok(limit)
    } else {
        Err(format!("the limit has to be greater than 0, not {text}"))
    }
}

/// Each figure has at most one condition.
fn check_first(before: &[Condition], next: &Condition) -> Result<(), String> {
    match before.iter().find(|other| other.figure == next.figure) {
        Some(other) => Err(format!(
            "{} already has a limit, `{other}`",
            next.figure.name()
        )),
        None => Ok(()),
    }
}

/// Reads conditions one after the other.
struct Conditions<'a> {
    rest: &'a str,
}

impl<'a> Conditions<'a> {
    /// What comes next, up to where `ends` holds, and spaces after it are skipped.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let name = self.word(|c| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
        let figure = SloFigure::ALL.into_iter().find(|f| f.name() == name);
        let figure = figure.ok_or_else(|| {
            let names = SloFigure::ALL.map(SloFigure::name).join(", ");
            format!("`{name}` is not one of {names}")
        })?;
        let comparison = match self.word(|c| !"<>=".contains(c)) {
            "<=" => Comparison::AtMost,
            "<" => Comparison::Below,
            ">=" => Comparison::AtLeast,
            ">" => Comparison::Above,
            "" => return Err(format!("expected <=, <, >= or > after {name}")),
            sign => {
                return Err(format!(
                    "expected <=, <, >= or > after {name}, not `{sign}`"
                ));
            }
        };
        let is_upper = matches!(comparison, Comparison::AtMost | Comparison::Below);
        match (figure, is_upper) {
            (SloFigure::Decode, true) => {
                return Err("a speed needs a lower limit, such as decode>=20tok/s".to_owned());
            }
            (SloFigure::Decode, false) | (_, true) => {}
            (_, false) => {
                return Err(format!(
                    "a time needs an upper limit, such as {name}<=500ms"
                ));
            }
        }
        let number = self.word(|c| !(c.is_ascii_digit() || ".+-".contains(c)));
        let value: f64 = number.parse().map_err(|_| {
            format!(
                "expected a number and a unit, such as {name}{}",
                example(figure)
            )
        })?;
        let unit = self.unit();
        let per_unit = match (figure, unit) {
            (SloFigure::Decode, "tok/s") => 1.0,
            (SloFigure::Decode, "") => {
                return Err(format!("{number} of what? write {number}tok/s"));
            }
            (SloFigure::Decode, unit) => return Err(format!("`{unit}` is not tok/s")),
            (_, "ms") => 1e6,
            (_, "s") => 1e9,
            (_, "") => return Err(format!("{number} of what? write {number}ms or {number}s")),
            (_, unit) => return Err(format!("`{unit}` is not a unit of time: expected ms or s")),
        };
        let limit = positive(value * per_unit, number)?;
        Ok(Condition {
            figure,
            comparison,
            limit,
        })
    }

    /// A unit, unless what comes next is the name of another condition.
    fn unit(&mut self) -> &'a str {
        let mut ahead = Self { rest: self.rest };
        let unit = ahead.word(|c| c == ',' || c.is_whitespace() || "<>=".contains(c));
        if ahead.rest.starts_with(['<', '>', '=']) {
            return "";
        }
        self.rest = ahead.rest;
        unit
    }
}

impl FromStr for Slo {
    type Err = SloError;

    /// Read `ttft<=500ms tpot<=50ms decode>=20tok/s`; commas may separate, and spaces may surround
    /// the sign and the unit.
    fn from_str(text: &str) -> Result<Self, SloError> {
        let mut left = Conditions {
            rest: text.trim_start(),
        };
        let mut conditions = Vec::new();
        loop {
            left.rest = left.rest.trim_start_matches([' ', '\t', '\n', ',']);
            if left.rest.is_empty() {
                return Self::of(conditions);
            }
            let whole = left.rest;
            let condition = left.condition().and_then(|condition| {
                check_first(&conditions, &condition)?;
                Ok(condition)
            });
            conditions.push(condition.map_err(|why| SloError::Condition {
                nth: conditions.len() + 1,
                text: beginning(whole),
                why,
            })?);
        }
    }
}

/// What may follow a name.
const fn example(figure: SloFigure) -> &'static str {
    match figure {
        SloFigure::Decode => ">=20tok/s",
        _ => "<=500ms",
    }
}

/// A condition with what is wrong in it: up to the next comma, or as much as a condition takes.
fn beginning(text: &str) -> String {
    const MOST: usize = 40;
    let one = text.split(',').next().unwrap_or_default();
    // a space separates conditions, unless it is around the sign
    let mut words = one.split_whitespace();
    let mut shown = words.next().unwrap_or_default().to_owned();
    for word in words {
        let goes_on = word.starts_with(['<', '>', '=']) || shown.ends_with(['<', '>', '=']);
        if !goes_on {
            break;
        }
        shown.push(' ');
        shown.push_str(word);
    }
    shown.chars().take(MOST).collect()
}

/// Where the times to the first token and the latency begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SloFrom {
    /// When the request was due: waiting for its turn counts.
    Schedule,
    /// When it was sent.
    Send,
}

impl SloFrom {
    /// What applies where `--slo-from` was not typed: the schedule in an open loop, the send
    /// elsewhere.
    #[must_use]
    pub const fn of_load(open_loop: bool) -> Self {
        if open_loop {
            Self::Schedule
        } else {
            Self::Send
        }
    }
}

/// Why a text is not an objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SloError {
    /// Nothing is in it.
    #[error("no condition is given\nwrite one such as ttft<=500ms (--slo) or ttft:500 (--goodput)")]
    Empty,
    /// A condition cannot be read.
    #[error("condition {nth}, `{text}`: {why}")]
    Condition {
        /// Which, from 1.
        nth: usize,
        /// The condition, or its beginning.
        text: String,
        /// What is wrong with it, and what is allowed.
        why: String,
    },
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, condition) in self.conditions.iter().enumerate() {
            let space = if nth == 0 { "" } else { " " };
            write!(f, "{space}{condition}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::AtMost => "<=",
            Comparison::Below => "<",
            Comparison::AtLeast => ">=",
            Comparison::Above => ">",
        };
        write!(f, "{}{sign}", self.figure.name())?;
        match self.figure {
            SloFigure::Decode => write!(f, "{}tok/s", self.limit),
            _ => write!(f, "{}ms", self.limit / 1e6),
        }
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl TryFrom<String> for Slo {
    type Error = SloError;

    fn try_from(text: String) -> Result<Self, SloError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn condition() -> impl Strategy<Value = Condition> {
        let figure = prop::sample::select(SloFigure::ALL.to_vec());
        (figure, any::<bool>(), 1u32..10_000_000).prop_map(|(figure, strict, limit)| {
            let comparison = match (figure, strict) {
                (SloFigure::Decode, false) => Comparison::AtLeast,
                (SloFigure::Decode, true) => Comparison::Above,
                (_, false) => Comparison::AtMost,
                (_, true) => Comparison::Below,
            };
            let limit = match figure {
                SloFigure::Decode => f64::from(limit) / 8.0,
                _ => f64::from(limit) * 1000.0,
            };
            Condition {
                figure,
                comparison,
                limit,
            }
        })
    }

    proptest! {
        #[test]
        fn an_objective_survives_its_text(mut conditions in prop::collection::vec(condition(), 1..6)) {
            conditions.sort_by_key(|c| c.figure);
            conditions.dedup_by_key(|c| c.figure);
            let slo = Slo { conditions };
            let json = serde_json::to_string(&slo).unwrap();
            let back = serde_json::from_str::<Slo>(&json).unwrap();
            for (here, there) in slo.conditions().iter().zip(back.conditions()) {
                prop_assert_eq!((here.figure, here.comparison), (there.figure, there.comparison));
                prop_assert!((here.limit / there.limit - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[a-z<>=:., 0-9/]{0,40}|.{0,20}") {
            let _ = text.parse::<Slo>();
            let _ = Slo::from_goodput(&text);
        }
    }

    #[test]
    fn texts_are_read() {
        let read = |text: &str| text.parse::<Slo>().unwrap().to_string();
        assert_eq!(
            read("ttft<=500ms tpot<=50ms latency<=10s"),
            "ttft<=500ms tpot<=50ms latency<=10000ms"
        );
        assert_eq!(
            read(" ttfat < 1.5 s,itl_max<=200ms , decode >= 20 tok/s "),
            "ttfat<1500ms itl_max<=200ms decode>=20tok/s"
        );
        assert_eq!(read("decode>0.5tok/s"), "decode>0.5tok/s");
        let vllm = Slo::from_goodput("ttft:500 tpot:50.5 e2el:10000").unwrap();
        assert_eq!(
            vllm.to_string(),
            "ttft<=500ms tpot<=50.5ms latency<=10000ms"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let slo = [
            "",
            " , ",
            "ttft",
            "ttft<=500",
            "ttft<=500 tpot<=50ms",
            "ttft<=500ms tpot <= 50",
            "ttft<=500ms,tbt<=3ms",
            "ttft=500ms",
            "ttft<=ms",
            "ttft<=-5ms",
            "ttft<=0s",
            "ttft>=5ms",
            "decode<=20tok/s",
            "decode>=20",
            "decode>=20ms",
            "latency<=5m",
            "ttft<=500ms tpot<=5ms ttft<=3s",
            "ttft:500",
            "TTFT<=5ms",
        ]
        .map(|text| format!("--slo {text:?} => {}", text.parse::<Slo>().unwrap_err()));
        let goodput = [
            "",
            "ttft",
            "ttft:",
            "ttft:0",
            "ttft:inf",
            "ttft:500ms",
            "itl:5",
            "ttft:1 tpot:2 ttft:3",
        ]
        .map(|text| {
            format!(
                "--goodput {text:?} => {}",
                Slo::from_goodput(text).unwrap_err()
            )
        });
        let all: Vec<String> = slo.into_iter().chain(goodput).collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
