//! Owns what is known of a run besides its records: [`RunMeta`] (what was
//! asked, when, of whom) and [`RunState`] (how far it came).
//!
//! It must not know how either is stored or shown.

use std::collections::BTreeMap;

use evalscope_model::metrics::ShardClient;
use evalscope_model::plan::RunSpec;
pub use evalscope_model::record::RecordBodies;
use evalscope_model::shard::UNMADE;
use evalscope_model::slo::{Slo, SloFrom};
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_model::trace::TraceReport;
use serde::{Deserialize, Serialize};

/// Version of [`RunMeta`] and of the files made from it.
pub const FORMAT_VERSION: u32 = 3;

/// The program that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    /// This program.
    #[must_use]
    pub fn this() -> Self {
        Self {
            name: "evalscope".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The machine that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Host {
    /// Its name in the network; `null` where the system does not say.
    pub name: Option<String>,
    /// Operating system and its release, e.g. `Linux 6.8.0`.
    pub os: String,
    /// Architecture of the processor, e.g. `x86_64`.
    pub architecture: String,
    /// Processors that the program may use.
    pub cpus: u64,
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Under way, or killed before it could say otherwise.
    Running,
    /// Everything was sent and answered, or given up on.
    Finished,
    /// Stopped before its end, from outside or because something failed.
    Interrupted,
    /// Ended early because the server was not there, or refused everything.
    GaveUp,
    /// Ended early because a rule was broken (`--abort-if`).
    Aborted,
    /// Merged from some of its shards, or from shards that did not all finish.
    Partial,
}

impl RunState {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::GaveUp => "gave_up",
            Self::Aborted => "aborted",
            Self::Partial => "partial",
        }
    }

    /// Read a name as written by [`RunState::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Running,
            Self::Finished,
            Self::Interrupted,
            Self::GaveUp,
            Self::Aborted,
            Self::Partial,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }
}

/// What makes a request good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The conditions.
    pub slo: Slo,
    /// Where times begin.
    pub from: SloFrom,
}

/// The language of the HTML report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Lang {
    /// The tag that HTML and files know it by.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The language of a locale such as `zh_CN.UTF-8`: English unless it is Chinese.
    #[must_use]
    pub fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '-', '.', '@']).next();
        match language {
            Some(tag) if tag.eq_ignore_ascii_case("zh") => Self::Zh,
            _ => Self::En,
        }
    }
}

/// What was asked of a run, and where it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunMeta {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format_version: u32,
    /// The program that measured.
    pub tool: Tool,
    /// Name of the run: `parallel_<P>_number_<N>`.
    pub name: String,
    /// The model asked for; several are separated by commas.
    pub model: String,
    /// The API spoken.
    pub api: String,
    /// The address the requests went to; several are separated by commas.
    pub url: String,
    /// The addresses, by their numbers in records; empty in files of earlier versions.
    #[serde(default)]
    pub urls: Vec<String>,
    /// The dataset that the prompts came from.
    pub dataset: String,
    /// The load.
    pub load: RunSpec,
    /// What is known of the trace that is replayed; `None` where the dataset is none.
    #[serde(default)]
    pub trace: Option<TraceReport>,
    /// How long after its start the schedule has its first request, nanoseconds; `None` without a
    /// schedule, and in files of earlier versions.
    #[serde(default)]
    pub first_arrival_ns: Option<u64>,
    /// What makes a request good (`--slo`); `None` where nothing does.
    #[serde(default)]
    pub objective: Option<Objective>,
    /// Every setting as resolved; secrets are masked before they come here.
    pub settings: serde_json::Value,
    /// The machine that measured; `None` in files of earlier versions.
    #[serde(default)]
    pub host: Option<Host>,
    /// The command as it was typed, quoted for a shell, secrets masked; `None` in files of earlier versions.
    #[serde(default)]
    pub command_line: Option<String>,
    /// What the user wants to remember of the command (`--metadata`).
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// What the processes share that carry out the run together (`--run-id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The processes that carried out the run together, where their databases were merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardMeta>,
    /// Their own figures as clients, judged by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shard_clients: Vec<ShardClient>,
    /// The numbers of those whose databases were missing then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_shards: Vec<u32>,
    /// The run's folder, as seen from where the command was started; `None` in files of earlier versions.
    #[serde(default)]
    pub folder: Option<String>,
    /// When the run's clock was started: RFC 3339, local time with offset.
    pub started_at: String,
    /// The run's clock.
    pub clock: RunClock,
    /// Which requests keep their bodies.
    pub record_bodies: RecordBodies,
    /// Event streams were asked for.
    pub stream: bool,
    /// The language of the HTML report; English in files of earlier versions.
    #[serde(default)]
    pub lang: Lang,
}

/// One of the processes that carried out a run together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ShardMeta {
    /// Its number, from 0.
    pub index: u32,
    /// The machine that it ran on; `null` where the system does not say.
    pub host: Option<String>,
    /// By how much the clock of its machine was ahead of the one that all moments are given in, nanoseconds.
    pub offset_ns: i64,
    /// How far off `offset_ns` may be.
    pub offset_error_ns: u64,
    /// How long after its schedule it sent its first request, nanoseconds; `null` if it sent none.
    pub started_late_ns: Option<u64>,
    /// How long before the end of the run its last measured request ended, nanoseconds; `null` without one.
    pub idle_ns: Option<u64>,
    /// Measured requests in its database.
    pub requests: u64,
    /// How far it came.
    pub state: RunState,
}

impl RunMeta {
    /// The process that a request belongs to, by its number and that of its conversation; `None` if one
    /// process carried out the run.
    #[must_use]
    pub fn shard_of(&self, index: u64, conversation: Option<u64>) -> Option<u32> {
        if !self.load.shard.is_whole() {
            return Some(self.load.shard.index());
        }
        if self.shards.is_empty() {
            return None;
        }
        let of = (self.shards.len() + self.missing_shards.len()) as u64;
        let session = conversation.unwrap_or_else(|| index.checked_sub(UNMADE).unwrap_or(index));
        u32::try_from(session % of).ok()
    }

    /// The name that the user gave the run besides the model's (`--alias`).
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.settings["alias"].as_str()
    }

    /// The hand-off from prefill to decode is reported (`--enable-pd-metrics`).
    #[must_use]
    pub fn reports_handoff(&self) -> bool {
        self.settings["enable_pd_metrics"] == true
    }

    /// Mean arrivals per second that were asked for; `None` without a schedule, and for one of a single
    /// moment.
    #[must_use]
    pub fn rate_per_s(&self) -> Option<f64> {
        let rate_per_s = self.load.pacing.rate_per_s();
        rate_per_s.filter(|rate| rate.is_finite())
    }
}

/// A moment of a clock as RFC 3339 in local time with offset, to the millisecond.
#[must_use]
pub fn rfc3339_local(clock: &RunClock, at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(clock.unix_ns(at))).map_or_else(
        |_| String::new(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_names_its_offset() {
        let clock = RunClock {
            wall_start_ns: 1_700_000_000_123_000_000,
            monotonic_start_ns: 0,
        };
        for (later_ns, milliseconds) in [(0, 1_700_000_000_123), (2_500_000, 1_700_000_000_125)] {
            let text = rfc3339_local(&clock, Timestamp::from_nanos(later_ns));
            let at: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(at.as_millisecond(), milliseconds);
        }
    }

    #[test]
    fn locales_name_their_language() {
        for (locale, lang) in [
            ("zh_CN.UTF-8", Lang::Zh),
            ("zh", Lang::Zh),
            ("ZH-TW", Lang::Zh),
            ("en_US.UTF-8", Lang::En),
            ("C", Lang::En),
            ("zhx", Lang::En),
            ("", Lang::En),
        ] {
            assert_eq!(Lang::of_locale(locale), lang, "{locale}");
        }
    }

    #[test]
    fn states_keep_their_names() {
        for state in [
            RunState::Running,
            RunState::Finished,
            RunState::Interrupted,
            RunState::GaveUp,
            RunState::Aborted,
            RunState::Partial,
        ] {
            assert_eq!(RunState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(RunState::from_name("no"), None);
    }
}
