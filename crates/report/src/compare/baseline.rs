//! Owns baselines: small files with the runs of one side, to be committed beside the code.
//!
//! It must not know how runs are compared.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blocks::{AllBlocks, Timed, within_bytes};
use super::run::Run;
use crate::model::Tool;
use crate::names::{FigureKey, Stat};
use crate::rules::PointPlace;

/// The runs of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "baseline"))]
pub struct Baseline {
    /// `evalscope-baseline`.
    pub kind: String,
    /// Version of this format. 1 had no histograms.
    pub format_version: u32,
    /// The program that wrote it.
    pub tool: Tool,
    /// The runs.
    pub runs: Vec<Run>,
}

/// A file is not a baseline that can be read.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is of a version that is not known.
    #[error(
        "it is a baseline of format version {version}, and this program reads 1 to {}; use a newer evalscope, or save \
         the baseline again with this one",
        Baseline::VERSION
    )]
    Version {
        /// The version.
        version: String,
    },
    /// Something in it is wrong.
    #[error("it is not a baseline: {0}")]
    Json(#[from] serde_json::Error),
}

impl Baseline {
    /// What `kind` says.
    pub const KIND: &str = "evalscope-baseline";

    /// The version that is written.
    const VERSION: u32 = 2;

    /// The most bytes of the runs of a load, as far as histograms decide.
    const MOST_BYTES: usize = 60_000;

    /// Percentiles that runs do not have anyway, and that a baseline keeps: p99.9 and p99.99 of its times.
    #[must_use]
    pub fn further() -> Vec<FigureKey> {
        let nines = ["99.9", "99.99"].map(|text| text.parse().expect("it is a percentile"));
        let of = |timed: Timed| {
            nines.map(|own| FigureKey::Metric(timed.metric(), Stat::Percentile(own)))
        };
        Timed::ALL.into_iter().flat_map(of).collect()
    }

    /// These runs.
    #[must_use]
    pub fn of(runs: &[Run]) -> Self {
        Self {
            kind: Self::KIND.to_owned(),
            format_version: Self::VERSION,
            tool: Tool::this(),
            runs: runs.to_vec(),
        }
    }

    /// Read the JSON of a file.
    ///
    /// # Errors
    /// If it is not a baseline of a known version.
    pub fn read(value: Value) -> Result<Self, BaselineError> {
        let version = &value["format_version"];
        let is_known = version
            .as_u64()
            .is_none_or(|own| (1..=u64::from(Self::VERSION)).contains(&own));
        if !is_known {
            return Err(BaselineError::Version {
                version: version.to_string(),
            });
        }
        Ok(serde_json::from_value(value)?)
    }

    /// The text of the file: a line for each run. Where a load has many runs, their histograms are coarser.
    ///
    /// # Errors
    /// When a value has no JSON form.
    pub fn text(&self) -> serde_json::Result<String> {
        let mut text = format!(
            "{{\"kind\": {}, \"format_version\": {}, \"tool\": {}, \"runs\": [",
            serde_json::to_string(&self.kind)?,
            self.format_version,
            serde_json::to_string(&self.tool)?
        );
        for (nth, run) in self.runs.iter().enumerate() {
            let bare = Run {
                blocks: AllBlocks::new(),
                ..run.clone()
            };
            let room = Self::MOST_BYTES / self.repeats_of(&run.place);
            let left = room.saturating_sub(serde_json::to_string(&bare)?.len());
            let blocks = within_bytes(&run.blocks, left);
            let comma = if nth == 0 { "" } else { "," };
            let line = serde_json::to_string(&Run { blocks, ..bare })?;
            let _ = write!(text, "{comma}\n{line}");
        }
        text.push_str("\n]}\n");
        Ok(text)
    }

    fn repeats_of(&self, place: &PointPlace) -> usize {
        let same = self.runs.iter().filter(|run| run.place.is_same_load(place));
        same.count().max(1)
    }
}
