//! Owns the list of findings: the id and the severity of each.
//!
//! It must not know when a finding applies, nor its words.

use std::fmt;

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know: the figures are right.
    Note,
    /// Some figures are weaker than they look, or mean something else.
    Warning,
    /// The run did not do what it was asked to.
    Error,
}

impl Severity {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! finding_ids {
    ($($(#[doc = $when:literal])+ $variant:ident, $name:literal, $severity:ident;)+) => {
        /// Which finding it is. The names are stable: programs may rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum FindingId {
            $($(#[doc = $when])+ #[serde(rename = $name)] $variant,)+
        }

        impl FindingId {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// How much it matters.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)+
                }
            }
        }
    };
}

finding_ids! {
    /// The run was stopped before its end.
    RunInterrupted, "run_interrupted", Warning;
    /// The run gave up before its end.
    RunGaveUp, "run_gave_up", Error;
    /// See [`crate::RunState::Aborted`].
    RunAborted, "run_aborted", Error;
    /// No end of the run is recorded: it was killed, or is still under way.
    RunNotEnded, "run_not_ended", Error;
    /// Shards of the run are missing, or did not finish.
    ShardsMissing, "shards_missing", Error;
    /// Why the run gave up.
    GiveUpReason, "give_up_reason", Error;
    /// The server that was started for the run ended during it.
    ServerEnded, "server_ended", Error;
    /// No more requests could be made.
    RequestsNotMade, "requests_not_made", Error;
    /// A part of this program failed.
    ProgramFault, "program_fault", Error;
    /// Every request failed.
    AllRequestsFailed, "all_requests_failed", Error;
    /// More than 1 % of the requests failed.
    RequestsFailed, "requests_failed", Warning;
    /// Warm-up requests failed.
    WarmupFailed, "warmup_failed", Warning;
    /// Fewer warm-up requests were asked for than are in flight at a time.
    WarmupBelowConcurrency, "warmup_below_concurrency", Warning;
    /// Fewer than 100 requests succeeded.
    FewSamples, "few_samples", Note;
    /// The server did not keep up with an open loop.
    ServerSaturated, "server_saturated", Warning;
    /// Whether the server kept up with an open loop cannot be said.
    LoadUndecided, "load_undecided", Note;
    /// As many requests were in flight as may be in an open loop.
    InFlightCapReached, "in_flight_cap_reached", Warning;
    /// The load ended the run before its number, its time and its profile.
    StoppedByLoad, "stopped_by_load", Note;
    /// Requests were not sent because as many were in flight as may be.
    RequestsShed, "requests_shed", Warning;
    /// Requests were still in flight at the end of the drain timeout.
    RequestsUnfinished, "requests_unfinished", Warning;
    /// A condition of `--slo` applies to no request.
    ObjectiveNotApplied, "objective_not_applied", Warning;
    /// Requests of an open loop were sent later than they were due.
    SentLate, "sent_late", Warning;
    /// Requests of a paced run were sent more slowly than asked.
    RateNotReached, "rate_not_reached", Warning;
    /// Requests were due but never sent.
    RequestsNotSent, "requests_not_sent", Warning;
    /// A run of 100 requests or more has no plateau.
    NoPlateau, "no_plateau", Note;
    /// The figures of the plateau are others than those of the whole run.
    PlateauDiffers, "plateau_differs", Warning;
    /// The plateau is not steady.
    PlateauDrifts, "plateau_drifts", Warning;
    /// Free slots waited for requests to send.
    DatasetTooSlow, "dataset_too_slow", Warning;
    /// Fewer requests were in flight than `--parallel` says.
    FewerSlots, "fewer_slots", Warning;
    /// Prompts were sent more than once.
    PromptsRepeated, "prompts_repeated", Warning;
    /// More than 1 % of the conversations ended before their last turn.
    ConversationsAbandoned, "conversations_abandoned", Warning;
    /// New turns do not make prompts longer by as much as was asked for.
    IncrementsDiffer, "increments_differ", Warning;
    /// The server reports no cached tokens.
    CachedTokensUnknown, "cached_tokens_unknown", Note;
    /// Requests of a trace were not sent as the trace has them.
    TraceNotFaithful, "trace_not_faithful", Warning;
    /// Many requests of a trace have the same moment.
    TraceInBursts, "trace_in_bursts", Note;
    /// `--skip-bad-lines` skipped items of the dataset.
    ItemsSkipped, "items_skipped", Note;
    /// Responses were not event streams, although streams were asked for.
    NotStreamed, "not_streamed", Warning;
    /// Streams reported tokens that no event held.
    UnseenTokens, "unseen_tokens", Warning;
    /// The second token often arrived together with the first.
    FirstTokensBundled, "first_tokens_bundled", Warning;
    /// Events often arrived together with the one before.
    EventsBundled, "events_bundled", Warning;
    /// Events held several tokens.
    SeveralTokensPerEvent, "several_tokens_per_event", Warning;
    /// Responses were compressed.
    Compressed, "compressed", Warning;
    /// Responses named several models.
    SeveralModels, "several_models", Warning;
    /// Responses had no end marker and were taken as complete.
    NoEndMarker, "no_end_marker", Note;
    /// Events that are not JSON were skipped.
    EventsSkipped, "events_skipped", Note;
    /// Output tokens are estimated.
    OutputTokensEstimated, "output_tokens_estimated", Warning;
    /// Output tokens are unknown.
    OutputTokensUnknown, "output_tokens_unknown", Warning;
    /// Prompt tokens are unknown.
    PromptTokensUnknown, "prompt_tokens_unknown", Warning;
    /// Reasoning tokens are in the total only.
    ReasoningFromTotal, "reasoning_from_total", Note;
    /// Prompts do not have the lengths that were asked for.
    PromptLengthsDiffer, "prompt_lengths_differ", Warning;
    /// The tokenizer here counts other output tokens than the server.
    TokenizersDiffer, "tokenizers_differ", Warning;
    /// It is not known which events bear tokens.
    TokenEventsGuessed, "token_events_guessed", Warning;
    /// The events of streams repeat the text so far.
    TextRepeated, "text_repeated", Note;
    /// The text of responses may not be where the API's description says.
    TextNotFound, "text_not_found", Warning;
    /// The plugin did not count the tokens of every response.
    PluginCountsMissing, "plugin_counts_missing", Warning;
    /// Many embeddings arrived as decimal numbers.
    VectorsAsDecimals, "vectors_as_decimals", Note;
    /// Requests opened more connections than they needed to.
    NewConnections, "new_connections", Warning;
    /// Arrivals were stamped in user space.
    UserClock, "user_clock", Note;
    /// The wall clock was stepped.
    ClockSteps, "clock_steps", Note;
    /// The clocks of the machines of a run are apart.
    ShardClocksApart, "shard_clocks_apart", Warning;
    /// A shard began later than its schedule.
    ShardStartedLate, "shard_started_late", Warning;
    /// A shard of a closed loop had no more requests while others had.
    ShardIdle, "shard_idle", Note;
    /// Bodies of a request could not be stored.
    BodiesNotStored, "bodies_not_stored", Warning;
    /// Written by another version of this program, which gave it no id or one that is unknown here.
    Other, "other", Warning;
}

impl FindingId {
    /// Read a name as written by [`FindingId::as_str`]; [`FindingId::Other`] if it is unknown.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = Self::ALL.iter().copied().find(|id| id.as_str() == name);
        known.unwrap_or(Self::Other)
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_id_in_order() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/troubleshooting.md");
        let text = std::fs::read_to_string(path).unwrap();
        let section = text.split("\n## ").find(|s| s.starts_with("Findings\n"));
        let rows: Vec<(&str, &str)> = section
            .unwrap()
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                Some((cells.next()?.strip_suffix('`')?, cells.next()?))
            })
            .collect();
        let want: Vec<_> = FindingId::ALL
            .iter()
            .map(|id| (id.as_str(), id.severity().as_str()))
            .collect();
        assert_eq!(rows, want);
    }

    #[test]
    fn names_are_read_back_and_are_those_of_files() {
        for id in FindingId::ALL {
            assert_eq!(FindingId::from_name(id.as_str()), *id);
            assert_eq!(serde_json::to_value(id).unwrap(), id.as_str());
            let severity = id.severity();
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        }
        assert_eq!(FindingId::from_name("of_a_later_version"), FindingId::Other);
    }
}
