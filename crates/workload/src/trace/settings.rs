//! Owns the options of traces (`--dataset-args`).
//!
//! It must not know how a trace is read.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::dataset::{ArgsError, ArgsReader};

/// What is replayed of a trace, and how.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct TraceSettings {
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// Where the window begins, in seconds after the first line.
    pub start_s: f64,
    /// How long the window is, seconds.
    pub length_s: Option<f64>,
    /// Spread requests of one moment evenly up to the next one.
    pub spread: bool,
    /// The share of sessions that is kept.
    pub sample: f64,
    /// When the turns of a session start.
    pub sessions: Sessions,
    /// The unit of timestamps, where it is not the format's.
    pub timestamp_unit: Option<TimeUnit>,
    /// Tokens of a block, where they are not the format's.
    pub block_size: Option<u64>,
    /// Outputs have exactly the recorded length.
    pub force_output: bool,
    /// Longer prompts are left out, tokens.
    pub max_input: Option<u64>,
    /// Requests whose prompt and output are longer together are left out, tokens.
    pub max_context: Option<u64>,
    /// Put lines in the order of their moments.
    pub sort: bool,
    /// Read no more than moments and lengths before the load.
    pub no_scan: bool,
    /// The file's names for columns, by the format's names.
    pub columns: BTreeMap<String, String>,
    /// The model of all bodies.
    pub model_override: Option<String>,
    /// Models of bodies by the recorded ones; goes before `model_override`.
    pub model_mapping: BTreeMap<String, String>,
    /// Generate as many tokens as were recorded.
    pub match_output_length: bool,
}

/// When the turns of a session start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    /// Each at its own moment, whatever happened before.
    #[default]
    Time,
    /// Not before the turn before it has ended.
    After,
}

/// A unit of timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
}

impl TimeUnit {
    /// Nanoseconds in one.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        match self {
            Self::S => 1_000_000_000,
            Self::Ms => 1_000_000,
            Self::Us => 1_000,
        }
    }
}

/// The longest window and the greatest speed: 31 years in a second.
const MOST: f64 = 1e9;

impl TraceSettings {
    /// Take them all.
    ///
    /// # Errors
    /// If one has a value that it cannot have.
    pub fn take(args: &mut ArgsReader) -> Result<Self, ArgsError> {
        let flag = |args: &mut ArgsReader, key| args.take(key, "true or false", |_: &bool| true);
        let tokens = |args: &mut ArgsReader, key| {
            args.take(key, "a whole number greater than 0", |tokens: &u64| {
                *tokens > 0
            })
        };
        let settings = Self {
            speed: args
                .take("speed", "a number greater than 0", |speed: &f64| {
                    *speed > 1.0 / MOST && *speed < MOST
                })?
                .unwrap_or(1.0),
            start_s: args
                .take(
                    "start",
                    "a number of seconds, 0 or greater",
                    |start: &f64| (0.0..MOST).contains(start),
                )?
                .unwrap_or(0.0),
            length_s: args.take("length", "a number of seconds greater than 0", |s: &f64| {
                *s > 0.0 && *s < MOST
            })?,
            spread: flag(args, "spread")?.unwrap_or(false),
            sample: args
                .take(
                    "sample",
                    "a share greater than 0 and up to 1",
                    |share: &f64| *share > 0.0 && *share <= 1.0,
                )?
                .unwrap_or(1.0),
            sessions: args
                .take("sessions", "\"time\" or \"after\"", |_| true)?
                .unwrap_or_default(),
            timestamp_unit: args.take("timestamp_unit", "\"s\", \"ms\" or \"us\"", |_| true)?,
            block_size: tokens(args, "block_size")?,
            force_output: flag(args, "force_output")?.unwrap_or(true),
            max_input: tokens(args, "max_input")?,
            max_context: tokens(args, "max_context")?,
            sort: flag(args, "sort")?.unwrap_or(false),
            no_scan: flag(args, "no_scan")?.unwrap_or(false),
            columns: args
                .take("columns", "an object of names of columns", |_| true)?
                .unwrap_or_default(),
            model_override: args.take("model_override", "the name of a model", |_| true)?,
            model_mapping: args
                .take("model_mapping", "an object of names of models", |_| true)?
                .unwrap_or_default(),
            match_output_length: flag(args, "match_output_length")?.unwrap_or(false),
        };
        if settings.sessions == Sessions::After {
            let text =
                "`sessions`: \"after\" is not built yet; requests start at their own moments";
            return Err(ArgsError::Conflict(text.to_owned()));
        }
        if settings.no_scan && settings.sort {
            let text =
                "`no_scan` and `sort` cannot be combined: lines are put in order by the first pass";
            return Err(ArgsError::Conflict(text.to_owned()));
        }
        Ok(settings)
    }
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self::take(&mut ArgsReader::new(serde_json::Map::new()))
            .expect("every option has a default")
    }
}
