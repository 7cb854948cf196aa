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
        let _ = text;
        todo!()
    }
}

impl FromStr for Slo {
    type Err = SloError;

    /// Read `ttft<=500ms tpot<=50ms decode>=20tok/s`; commas may separate, and spaces may surround
    /// the sign and the unit.
    fn from_str(text: &str) -> Result<Self, SloError> {
        let _ = text;
        todo!()
    }
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
    #[error("no condition is given\nwrite one such as ttft<=500ms")]
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
