//! Owns what is summed up of conversations, of a trace, and of tokens over time while the records of a
//! run are read for the first time.
//!
//! It must not know where records come from, nor how the sums are shown.

use std::collections::BTreeMap;

use evalscope_model::metrics::{
    ConversationAccumulator, ConversationFigures, Distribution, Metric, RunTotals,
    TraceAccumulator, TraceFigures, TurnRow,
};
use evalscope_model::plan::Pacing;
use evalscope_model::record::{ConversationRecord, RequestRecord};

use crate::model::RunMeta;
use crate::workload::{Timeline, Workload};

/// Points of the timeline of a run at most: more are no more to see, and the file stays small.
const MOST_POINTS: usize = 16_384;

/// What the first pass sums up.
#[derive(Debug)]
pub(super) struct SessionSums {
    conversations: Option<ConversationAccumulator>,
    trace: TraceAccumulator,
    workload: Workload,
}

/// What it amounts to.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) conversations: Option<ConversationFigures>,
    pub(super) turns: Vec<TurnRow>,
    pub(super) trace: Option<TraceFigures>,
    pub(super) workload: Option<Timeline>,
}

impl SessionSums {
    pub(super) fn new(meta: &RunMeta) -> Self {
        let of_run = meta.load.conversations;
        Self {
            conversations: of_run.map(|own| ConversationAccumulator::new(own.history)),
            trace: TraceAccumulator::default(),
            workload: Workload::new(MOST_POINTS),
        }
    }

    /// Whether the ends of conversations matter.
    pub(super) fn has_conversations(&self) -> bool {
        self.conversations.is_some()
    }

    /// Add how a measured conversation ended: before any request.
    pub(super) fn push_end(&mut self, record: &ConversationRecord) {
        if let Some(conversations) = &mut self.conversations {
            conversations.push_end(record);
        }
    }

    /// Add a measured request, by index.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        if let Some(conversations) = &mut self.conversations {
            conversations.push(record);
        }
        self.trace.push(record);
        if record.succeeded() {
            self.workload.push(record);
        }
    }

    pub(super) fn finish(
        self,
        meta: &RunMeta,
        totals: &RunTotals,
        metrics: &BTreeMap<Metric, Distribution>,
    ) -> Sessions {
        let conversations = self.conversations;
        let conversations = conversations.map(|all| all.finish(totals.duration_s()));
        let (conversations, turns) = conversations.unzip();
        // elsewhere the moments of the trace are not those of the load
        let is_replayed = matches!(meta.load.pacing, Pacing::Recorded(_));
        let lag = is_replayed.then(|| &metrics[&Metric::ClientLag]);
        Sessions {
            conversations,
            turns: turns.unwrap_or_default(),
            trace: self.trace.finish(lag),
            workload: self.workload.finish(&meta.clock),
        }
    }
}
