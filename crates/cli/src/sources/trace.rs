//! Owns the prompts of a trace that was read once: the words they are made of, and opening it for each
//! run.
//!
//! It must not know formats of traces, nor when requests are sent.

use std::sync::Arc;

use anyhow::Context as _;
use evalscope_model::plan::{Pacing, RunSpec, sub_seed};
use evalscope_model::trace::TraceReport;
use evalscope_workload::tokens::Words;
use evalscope_workload::trace::{Blocks, Trace, TracePrompts, TraceSource};

use crate::failure::hinted;

use super::plan::PromptPlan;
use super::prompts::Prompts;

impl PromptPlan {
    /// Check that texts can be made of exactly the blocks that the trace tells.
    pub(super) fn check_words(
        &self,
        trace: &Trace,
        words: &Words,
        say: &mut dyn FnMut(String),
    ) -> anyhow::Result<()> {
        if !words.is_exact() {
            return Err(hinted(
                "the vocabulary of the tokenizer has too few usable words: texts of exact length that share \
                 what the trace says cannot be made",
                "send ids with `--tokenize-prompt` to a URL that ends in /v1/completions, or use another \
                 tokenizer",
            ));
        }
        let around = if self.as_ids { 0 } else { words.overhead() };
        let of_template = if around > 0 {
            format!(", with {around} tokens of each from the chat template or special tokens")
        } else {
            String::new()
        };
        say(format!(
            "prompts of {} are made from {} distinct tokens{of_template}",
            trace.report().format,
            words.variety()
        ));
        Ok(())
    }
}

impl Prompts {
    /// The requests of the trace for a run. Texts of a later run are others, so that its prompts do not
    /// meet a cache that holds those of an earlier one.
    pub(super) fn trace(&self, offset: u64) -> anyhow::Result<TraceSource> {
        let trace = self.plan.trace.as_ref().context("the trace was not read")?;
        let seed = match offset {
            0 => self.plan.seed,
            later => sub_seed(self.plan.seed, &format!("trace from {later}")),
        };
        let blocks = self.words.as_ref().filter(|_| trace.needs_words());
        let blocks = blocks.map(|words| Arc::new(Blocks::new(Arc::clone(words), self.frame, seed)));
        let prompts = TracePrompts {
            blocks,
            typed_headers: self.plan.shared_headers.clone(),
        };
        Ok(TraceSource::open(Arc::clone(trace), prompts)?)
    }

    /// What is known of the trace that a run replays.
    pub(crate) fn trace_report(&self, spec: &RunSpec) -> Option<TraceReport> {
        let report = self.plan.trace.as_ref()?.report();
        Some(TraceReport {
            times_ignored: !matches!(spec.pacing, Pacing::Recorded(_)),
            ..report.clone()
        })
    }

    /// Requests have bodies of their own, which is what a test request has to be like.
    pub(crate) fn has_bodies(&self) -> bool {
        let trace = self.plan.trace.as_ref();
        trace.is_some_and(|trace| trace.kind().has_bodies())
    }
}
