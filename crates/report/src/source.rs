//! Owns what a report is made from: one database, or several that hold the parts of one run.
//!
//! It must not know what records add up to.

use std::time::Duration;

use evalscope_model::metrics::ClientSnapshot;
use evalscope_model::mix::{ModelId, number_of};
use evalscope_model::record::{ConversationRecord, Phase, RequestRecord};
use evalscope_model::time::RunClock;

use crate::findings::Finding;
use crate::model::{RunMeta, RunState};
use crate::sqlite::{Reader, StoreError};
use evalscope_model::plan::StoppedBy;

/// Takes a record and the number under which [`RecordSource::error_excerpt`] knows it.
pub type RecordSink<'a> = dyn FnMut(i64, RequestRecord) -> Result<(), StoreError> + 'a;

/// Records of a run, or of a part of one. Timestamps count from the start of its own clock
/// (`meta().clock`).
pub trait RecordSource {
    /// What is known of the run.
    fn meta(&self) -> &RunMeta;

    /// How far it came.
    fn state(&self) -> RunState;

    /// When it ended, RFC 3339.
    fn ended_at(&self) -> Option<&str>;

    /// What ended it before its number, its time and its profile.
    fn stopped_by(&self) -> Option<StoppedBy>;

    /// The names of the models that requests ask for, by their numbers in records.
    ///
    /// # Errors
    /// If they cannot be read.
    fn models(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Requests of a phase.
    ///
    /// # Errors
    /// If they cannot be read.
    fn count(&self, phase: Phase) -> Result<u64, StoreError>;

    /// Hand every record of a phase to `sink`, one at a time.
    ///
    /// # Errors
    /// If a record cannot be read, or `sink` fails.
    fn for_each(&self, phase: Phase, sink: &mut RecordSink<'_>) -> Result<(), StoreError>;

    /// Hand every conversation of a phase that has ended to `sink`. A source may have none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn for_each_conversation(
        &self,
        _: Phase,
        _: &mut dyn FnMut(ConversationRecord),
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// The same in any order, and without what charts do not need: the connection, the server's address,
    /// the arrival clock, what was asked for, and the sources of token counts, of which only the one that
    /// counts is there. Reading is a good part of what charts cost.
    ///
    /// # Errors
    /// If a record cannot be read, or `sink` fails.
    fn for_each_for_charts(
        &self,
        phase: Phase,
        sink: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        self.for_each(phase, sink)
    }

    /// The start of what the server said to a request that failed.
    ///
    /// # Errors
    /// If it cannot be read.
    fn error_excerpt(&self, number: i64) -> Result<Option<String>, StoreError>;

    /// The client's last figures.
    ///
    /// # Errors
    /// If they cannot be read.
    fn client(&self) -> Result<Option<ClientSnapshot>, StoreError>;

    /// What the run itself warned of, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    fn warnings(&self) -> Result<Vec<Finding>, StoreError>;

    /// The most GPU memory that a server started here has taken, GB.
    ///
    /// # Errors
    /// If it cannot be read.
    fn gpu_memory_gb(&self) -> Result<Option<f64>, StoreError>;
}

impl RecordSource for Reader {
    fn meta(&self) -> &RunMeta {
        self.meta()
    }

    fn state(&self) -> RunState {
        self.state()
    }

    fn ended_at(&self) -> Option<&str> {
        self.ended_at()
    }

    fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by()
    }

    fn models(&self) -> Result<Vec<String>, StoreError> {
        self.models()
    }

    fn count(&self, phase: Phase) -> Result<u64, StoreError> {
        self.count(phase)
    }

    fn for_each(&self, phase: Phase, sink: &mut RecordSink<'_>) -> Result<(), StoreError> {
        self.for_each(phase, sink)
    }

    fn for_each_conversation(
        &self,
        phase: Phase,
        sink: &mut dyn FnMut(ConversationRecord),
    ) -> Result<(), StoreError> {
        self.for_each_conversation(phase, sink)
    }

    fn for_each_for_charts(
        &self,
        phase: Phase,
        sink: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        self.for_each_for_charts(phase, sink)
    }

    fn error_excerpt(&self, number: i64) -> Result<Option<String>, StoreError> {
        self.error_excerpt(number)
    }

    fn client(&self) -> Result<Option<ClientSnapshot>, StoreError> {
        self.client()
    }

    fn warnings(&self) -> Result<Vec<Finding>, StoreError> {
        self.warnings()
    }

    fn gpu_memory_gb(&self) -> Result<Option<f64>, StoreError> {
        self.gpu_memory_gb()
    }
}

/// Takes a record of a part, with its number.
pub type PartSink<'a> =
    dyn FnMut(&dyn RecordSource, i64, &RequestRecord) -> Result<(), StoreError> + 'a;

/// The names of the models of all parts, each once, in the order of the parts.
///
/// # Errors
/// If they cannot be read.
pub fn models_of(parts: &[&dyn RecordSource]) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for part in parts {
        for name in part.models()? {
            number_of(&name, &mut all);
        }
    }
    Ok(all)
}

/// Hand every record of a phase of all parts to `sink`, with all moments on the clock of the part that
/// began first, and models numbered as by [`models_of`].
///
/// # Errors
/// If a record cannot be read, or `sink` fails.
pub fn each_of_parts(
    parts: &[&dyn RecordSource],
    first: &RunClock,
    phase: Phase,
    sink: &mut PartSink<'_>,
) -> Result<(), StoreError> {
    let mut all = Vec::new();
    parts.iter().try_for_each(|part| {
        let later_ns = part.meta().clock.wall_start_ns - first.wall_start_ns;
        let models = part.models()?.into_iter();
        let numbers: Vec<ModelId> = models.map(|name| number_of(&name, &mut all)).collect();
        part.for_each(phase, &mut |number, mut record| {
            if later_ns > 0 {
                record.rebase(Duration::from_nanos(later_ns));
            }
            let number_here = |model: ModelId| numbers.get(model.index()).copied();
            record.asked_model = record.asked_model.and_then(number_here);
            sink(*part, number, &record)
        })
    })
}
