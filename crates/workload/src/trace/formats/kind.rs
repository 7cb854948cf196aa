//! Owns which formats there are, what each is by default, and finding out which one a file has.

use serde_json::Value;

use super::super::settings::TraceSettings;
use super::azure::{self, Azure};
use super::bailian::Bailian;
use super::burstgpt::{self, BurstGpt};
use super::mooncake::Mooncake;
use super::reader::TraceReader;
use super::timed::Timed;
use super::times::clipped;
use super::workload::Workload;

/// A format of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// `EvalScope`'s recorded bodies.
    Workload,
    /// Mooncake's, with some of `AIPerf`'s extensions.
    Mooncake,
    /// vLLM's.
    Timed,
    /// Qwen-Bailian's.
    Bailian,
    /// Azure's.
    Azure,
    /// `BurstGPT`'s.
    BurstGpt,
}

impl TraceKind {
    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "workload_trace",
            Self::Mooncake => "mooncake_trace",
            Self::Timed => "timed_trace",
            Self::Bailian => "bailian_trace",
            Self::Azure => "azure_trace",
            Self::BurstGpt => "burstgpt_trace",
        }
    }

    /// Tokens of a block; `None`: the format does not tell what prompts share.
    #[must_use]
    pub const fn block_tokens(self) -> Option<u64> {
        match self {
            Self::Mooncake => Some(512),
            Self::Timed | Self::Bailian => Some(16),
            Self::Workload | Self::Azure | Self::BurstGpt => None,
        }
    }

    /// Its lines carry whole bodies.
    #[must_use]
    pub const fn has_bodies(self) -> bool {
        matches!(self, Self::Workload)
    }

    /// The first line names the columns.
    pub(in super::super) const fn has_header(self) -> bool {
        matches!(self, Self::Azure | Self::BurstGpt)
    }

    /// Lines may be in any order.
    pub(in super::super) const fn is_sorted(self) -> bool {
        matches!(self, Self::Workload)
    }

    /// A reader of a file with this first line.
    pub(in super::super) fn reader(
        self,
        settings: &TraceSettings,
        first: &[u8],
    ) -> Result<Box<dyn TraceReader>, String> {
        Ok(match self {
            Self::Workload => Box::new(Workload::new(settings)),
            Self::Mooncake => Box::new(Mooncake::new(settings)),
            Self::Timed => Box::new(Timed::new(settings)),
            Self::Bailian => Box::new(Bailian::new(settings)),
            Self::Azure => Box::new(Azure::new(settings, first)?),
            Self::BurstGpt => Box::new(BurstGpt::new(settings, first)?),
        })
    }

    /// Find out the format from the first line; the error says what the line is like.
    pub(in super::super) fn of_first_line(first: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(first);
        if first.first() != Some(&b'{') {
            let columns: Vec<&str> = text.split(',').map(str::trim).collect();
            let has = |must: &[&str]| must.iter().all(|name| columns.contains(name));
            return match () {
                () if has(&azure::MUST) => Ok(Self::Azure),
                () if has(&burstgpt::MUST) => Ok(Self::BurstGpt),
                () => Err(format!("its first line is `{}`", clipped(&text))),
            };
        }
        let Ok(Value::Object(line)) = serde_json::from_slice(first) else {
            return Err("its first line is not a JSON object".to_owned());
        };
        let has = |key: &str| line.contains_key(key);
        if has("hash_id_scope") {
            return Err("it is a session of Weka's traces, which are not built yet".to_owned());
        }
        if has("body") && has("timestamp") {
            return Ok(Self::Workload);
        }
        if has("chat_id") && has("parent_chat_id") {
            return Ok(Self::Bailian);
        }
        let is_whole = line
            .get("timestamp")
            .is_some_and(|at| at.is_i64() || at.is_u64());
        if has("hash_ids") && is_whole {
            return Ok(Self::Mooncake);
        }
        if has("hash_ids") && has("timestamp") {
            return Err("it has `hash_ids`, but a timestamp that is not a whole number".to_owned());
        }
        let keys: Vec<String> = line.keys().map(|key| format!("`{key}`")).collect();
        Err(format!("its first line has {}", clipped(&keys.join(", "))))
    }
}
