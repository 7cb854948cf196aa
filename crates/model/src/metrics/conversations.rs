//! Owns the figures of the conversations of a run: how long they took with and without the time that
//! their clients waited, how many were under way, how they ended, and what their turns shared.
//!
//! Pure. It must not know where records come from, nor how figures are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sharing::{CachedShare, Left, cached_of};
use super::turns::TurnTable;
use super::{Distribution, Metric, Samples, TurnGroup, TurnRow};
use crate::conversation::{EndedBy, History, TurnPlace};
use crate::record::{ConversationRecord, RequestRecord};
use crate::time::Timestamp;

/// The figures of the conversations of a run. Missing values are `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct ConversationFigures {
    /// Conversations that sent a turn.
    pub started: u64,
    /// Those that were whole: every turn that was to come succeeded.
    pub whole: u64,
    /// Those that have ended, by why.
    pub ended_by: EndedByCounts,
    /// Those without an end on record: the run was killed.
    pub not_ended: u64,
    /// Turns sent.
    pub turns: u64,
    /// Turns sent, per conversation.
    pub turns_mean: Option<f64>,
    /// Number of the turn, from 1, on average over the successes: EvalScope's `Avg Turns/Request`.
    pub turn_number_mean: Option<f64>,
    /// Whole conversations over the duration of the run.
    pub conversations_per_s: Option<f64>,
    /// Conversations under way on average, those included that waited before a turn.
    pub in_flight_mean: Option<f64>,
    /// The most conversations under way at a time.
    pub in_flight_max: u64,
    /// Share of the time of conversations in which their clients waited before a turn, 0 to 1.
    pub thinking_share: Option<f64>,
    /// Distributions over whole conversations.
    pub per_conversation: PerConversation,
    /// Requests that are the first turn of a conversation.
    pub first_turn: TurnGroup,
    /// Requests that are a later turn.
    pub later_turns: TurnGroup,
    /// Cached tokens over prompt tokens.
    pub cached: CachedShare,
    /// Cached tokens of turns after the first, over what the turn before left in the cache.
    pub eligible: CachedShare,
    /// Prompt tokens that did not come from the cache, over the duration of the run; `null` if no
    /// server reported cached tokens.
    pub new_input_tokens_per_s: Option<f64>,
    /// Prompt tokens that came from the cache, over the duration of the run.
    pub cached_input_tokens_per_s: Option<f64>,
    /// By how many tokens new messages were to make a prompt longer, and by how many they did; `null`
    /// where no length was asked for, or nothing was reported.
    pub increments: Option<IncrementFigures>,
    /// Responses without text that are part of a history.
    pub empty_replies: u64,
    /// Tool results without a tool call of the server to go with, and the other way round.
    pub tools_unmatched: u64,
}

/// Conversations by why they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct EndedByCounts {
    /// All turns are done.
    pub completed: u64,
    /// As many turns are done as `--max-turns` lets a conversation have.
    pub max_turns: u64,
    /// The next turn did not fit into the context.
    pub context_limit: u64,
    /// A turn failed.
    pub failed: u64,
    /// The time of the run was up.
    pub duration: u64,
    /// The run was stopped.
    pub cancelled: u64,
}

impl EndedByCounts {
    fn push(&mut self, why: EndedBy) {
        let count = match why {
            EndedBy::Completed => &mut self.completed,
            EndedBy::MaxTurns => &mut self.max_turns,
            EndedBy::ContextLimit => &mut self.context_limit,
            EndedBy::Failed => &mut self.failed,
            EndedBy::Duration => &mut self.duration,
            EndedBy::Cancelled => &mut self.cancelled,
        };
        *count += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.whole() + self.context_limit + self.failed + self.duration + self.cancelled
    }

    /// Those whose every turn that was to come has come.
    #[must_use]
    pub const fn whole(&self) -> u64 {
        self.completed + self.max_turns
    }
}

/// Distributions over whole conversations: one that was abandoned has no latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct PerConversation {
    /// From the send of the first turn to the last data event of the last, waiting included.
    pub latency_s: Distribution,
    /// The same from the moment at which the conversation was due.
    pub latency_from_schedule_s: Distribution,
    /// The sum of the latencies of its turns.
    pub busy_s: Distribution,
    /// The sum of the times that its client waited before its turns.
    pub thinking_s: Distribution,
    /// The time to the first token of its first turn.
    pub first_turn_ttft_ms: Distribution,
    /// From the send of the first turn to the first token of the last.
    pub time_to_final_answer_s: Distribution,
    /// Output tokens per second after the first token of each turn, on average over its turns.
    pub decode_tok_per_s: Distribution,
    /// Cached tokens over prompt tokens, 0 to 1.
    pub cached_share: Distribution,
    /// Cached tokens of its later turns over what the turns before left in the cache, 0 to 1.
    pub eligible_share: Distribution,
}

/// New messages that were to add a number of tokens to a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct IncrementFigures {
    /// Later turns with both counts.
    pub requests: u64,
    /// Mean of what was asked for.
    pub asked_mean_tokens: f64,
    /// Mean of what the server counted: the prompt, less the prompt before and its response.
    pub seen_mean_tokens: f64,
    /// Median of the difference, whichever is larger.
    pub difference_p50_tokens: f64,
    /// Greatest difference.
    pub difference_max_tokens: u64,
}

/// Sums of asked and seen increments.
#[derive(Clone, Debug)]
struct Increments {
    asked: u64,
    seen: i64,
    differences: Samples,
}

impl Increments {
    fn push(&mut self, asked: u64, seen: i64) {
        self.asked = self.asked.saturating_add(asked);
        self.seen = self.seen.saturating_add(seen);
        let difference = seen.abs_diff(asked.cast_signed());
        self.differences.push(difference as f64);
    }

    fn finish(self) -> Option<IncrementFigures> {
        let differences = self.differences.distribution(1.0);
        let n = differences.count as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of tokens"
        )]
        let most = differences.max? as u64;
        Some(IncrementFigures {
            requests: differences.count,
            asked_mean_tokens: self.asked as f64 / n,
            seen_mean_tokens: self.seen as f64 / n,
            difference_p50_tokens: differences.p50?,
            difference_max_tokens: most,
        })
    }
}

/// The conversation whose turns are being read.
#[derive(Clone, Debug)]
struct Open {
    index: u64,
    turn: u32,
    scheduled: Timestamp,
    dispatched: Timestamp,
    sent: Option<Timestamp>,
    ended: Timestamp,
    last_data: Option<Timestamp>,
    busy_ns: f64,
    thinking_ns: u64,
    first_ttft_ns: Option<f64>,
    /// The first token of the turn read last.
    final_token: Option<Timestamp>,
    decode: (f64, u32),
    cached: CachedShare,
    eligible: CachedShare,
    left: Option<Left>,
}

impl Open {
    fn new(place: TurnPlace, record: &RequestRecord) -> Self {
        let times = &record.times;
        Self {
            index: place.conversation,
            turn: place.turn,
            scheduled: times.scheduled,
            dispatched: times.dispatched,
            sent: times.write_begun,
            ended: times.ended,
            last_data: None,
            busy_ns: 0.0,
            thinking_ns: 0,
            first_ttft_ns: Metric::Ttft.of_request(record),
            final_token: None,
            decode: (0.0, 0),
            cached: CachedShare::default(),
            eligible: CachedShare::default(),
            left: None,
        }
    }

    /// Whether a turn goes on with it.
    fn goes_on(&self, place: TurnPlace) -> bool {
        self.index == place.conversation && place.turn > self.turn
    }
}

/// Samples over whole conversations.
#[derive(Clone, Debug)]
struct Each {
    latency: Samples,
    from_schedule: Samples,
    busy: Samples,
    thinking: Samples,
    first_ttft: Samples,
    final_answer: Samples,
    decode: Samples,
    cached: Samples,
    eligible: Samples,
}

impl Default for Each {
    fn default() -> Self {
        Self {
            latency: Samples::bounded(),
            from_schedule: Samples::bounded(),
            busy: Samples::bounded(),
            thinking: Samples::bounded(),
            first_ttft: Samples::bounded(),
            final_answer: Samples::bounded(),
            // shares and rates are no whole numbers
            decode: Samples::exact(),
            cached: Samples::exact(),
            eligible: Samples::exact(),
        }
    }
}

impl Each {
    fn push(&mut self, one: &Open) {
        if let (Some(sent), Some(last)) = (one.sent, one.last_data) {
            self.latency.push(last.nanos_since(sent) as f64);
            let from_schedule = last.nanos_since(one.scheduled);
            self.from_schedule.push(from_schedule as f64);
            if let Some(token) = one.final_token {
                self.final_answer.push(token.nanos_since(sent) as f64);
            }
        }
        self.busy.push(one.busy_ns);
        self.thinking.push(one.thinking_ns as f64);
        if let Some(ttft) = one.first_ttft_ns {
            self.first_ttft.push(ttft);
        }
        let (sum, turns) = one.decode;
        if turns > 0 {
            self.decode.push(sum / f64::from(turns));
        }
        if let Some(share) = one.cached.share {
            self.cached.push(share);
        }
        if let Some(share) = one.eligible.share {
            self.eligible.push(share);
        }
    }

    fn finish(self) -> PerConversation {
        PerConversation {
            latency_s: self.latency.distribution(1e-9),
            latency_from_schedule_s: self.from_schedule.distribution(1e-9),
            busy_s: self.busy.distribution(1e-9),
            thinking_s: self.thinking.distribution(1e-9),
            first_turn_ttft_ms: self.first_ttft.distribution(1e-6),
            time_to_final_answer_s: self.final_answer.distribution(1e-9),
            decode_tok_per_s: self.decode.distribution(1.0),
            cached_share: self.cached.distribution(1.0),
            eligible_share: self.eligible.distribution(1.0),
        }
    }
}

/// Numbers of conversations, a bit each.
#[derive(Clone, Debug, Default)]
struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    fn insert(&mut self, number: u64) {
        *self.0.entry(number / 64).or_insert(0) |= 1 << (number % 64);
    }

    fn contains(&self, number: u64) -> bool {
        let word = self.0.get(&(number / 64));
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

/// Sums up conversations in one pass: first how they ended, in any order, then their turns, each
/// conversation as a whole and in order. Takes a bit for each conversation that has ended, and eight
/// bytes for each figure of one that sent a turn.
#[derive(Clone, Debug)]
pub struct ConversationAccumulator {
    history: History,
    whole: Numbers,
    figures: ConversationFigures,
    turns: TurnTable,
    increments: Increments,
    each: Each,
    /// Starts and ends, nanoseconds: twice the moment, plus 1 for a start.
    moments: Vec<u64>,
    under_way_ns: f64,
    thinking_ns: f64,
    new_input: u64,
    turn_numbers: u64,
    open: Option<Box<Open>>,
}

impl ConversationAccumulator {
    /// An empty sum.
    #[must_use]
    pub fn new(history: History) -> Self {
        Self {
            history,
            whole: Numbers::default(),
            figures: ConversationFigures::default(),
            turns: TurnTable::default(),
            increments: Increments {
                asked: 0,
                seen: 0,
                differences: Samples::bounded(),
            },
            each: Each::default(),
            moments: Vec::new(),
            under_way_ns: 0.0,
            thinking_ns: 0.0,
            new_input: 0,
            turn_numbers: 0,
            open: None,
        }
    }

    /// Add how a measured conversation ended.
    pub fn push_end(&mut self, record: &ConversationRecord) {
        let figures = &mut self.figures;
        figures.ended_by.push(record.ended_by);
        figures.empty_replies += u64::from(record.empty_replies);
        figures.tools_unmatched += u64::from(record.tools_unmatched);
        if record.ended_by.is_whole() {
            self.whole.insert(record.index);
        }
    }

    /// Add a measured request. One that was never sent, and one of no conversation, changes nothing.
    pub fn push(&mut self, record: &RequestRecord) {
        let Some(place) = record.turn.filter(|_| record.dispatched()) else {
            return;
        };
        if self.open.as_ref().is_none_or(|open| !open.goes_on(place)) {
            self.close();
            self.open = Some(Box::new(Open::new(place, record)));
        }
        self.turns.push(place.turn, record);
        self.figures.turns += 1;
        if let Some(mut open) = self.open.take() {
            self.add(&mut open, place, record);
            self.open = Some(open);
        }
    }

    fn add(&mut self, open: &mut Open, place: TurnPlace, record: &RequestRecord) {
        let times = &record.times;
        open.turn = place.turn;
        open.ended = open.ended.max(times.ended);
        let delay = u64::try_from(place.delay.as_nanos()).unwrap_or(u64::MAX);
        open.thinking_ns = open.thinking_ns.saturating_add(delay);
        let left = open.left.take();
        if !record.succeeded() {
            return;
        }
        self.turn_numbers += u64::from(place.turn) + 1;
        open.last_data = times.last_data;
        open.busy_ns += Metric::Latency.of_request(record).unwrap_or(0.0);
        let tokens = record.events.tokens().next().filter(|_| record.streamed);
        open.final_token = tokens.map(|stamp| stamp.at);
        if let Some(rate) = Metric::DecodeTokPerS.of_request(record) {
            open.decode.0 += rate;
            open.decode.1 += 1;
        }
        if let Some((cached, prompt)) = cached_of(record) {
            self.figures.cached.push(cached, prompt);
            open.cached.push(cached, prompt);
            let new = prompt.saturating_sub(cached);
            self.new_input = self.new_input.saturating_add(new);
            if let Some(eligible) = left.and_then(|left| left.eligible(self.history, prompt)) {
                self.figures.eligible.push(cached, eligible);
                open.eligible.push(cached, eligible);
            }
        }
        if let (Some(left), Some(asked), Some(prompt)) =
            (left, place.asked_increment, record.reported_prompt_tokens())
            && let Some(seen) = left.increment(self.history, prompt)
        {
            self.increments.push(asked, seen);
        }
        open.left = Left::by(record);
    }

    /// The conversation that was read has no more turns.
    fn close(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.figures.started += 1;
        for (at, start) in [(open.dispatched, 1), (open.ended, 0)] {
            self.moments.push(at.as_nanos().saturating_mul(2) | start);
        }
        self.under_way_ns += open.ended.nanos_since(open.dispatched) as f64;
        self.thinking_ns += open.thinking_ns as f64;
        if self.whole.contains(open.index) {
            self.each.push(&open);
        }
    }

    /// The figures of a run of this length, and the table of its turns.
    #[must_use]
    pub fn finish(mut self, duration_s: f64) -> (ConversationFigures, Vec<TurnRow>) {
        self.close();
        let rate = |amount: u64| (duration_s > 0.0).then(|| amount as f64 / duration_s);
        let figures = self.figures;
        let (started, any) = (figures.started as f64, figures.started > 0);
        let reported = figures.cached.requests > 0;
        let cached_tokens = figures.cached.cached_tokens;
        let (first_turn, later_turns, rows) = self.turns.finish();
        let succeeded = first_turn.succeeded + later_turns.succeeded;
        let figures = ConversationFigures {
            whole: figures.ended_by.whole(),
            not_ended: figures.started.saturating_sub(figures.ended_by.total()),
            turns_mean: any.then(|| figures.turns as f64 / started),
            turn_number_mean: (succeeded > 0).then(|| self.turn_numbers as f64 / succeeded as f64),
            conversations_per_s: rate(figures.ended_by.whole()).filter(|_| any),
            in_flight_mean: (any && duration_s > 0.0).then(|| self.under_way_ns / 1e9 / duration_s),
            in_flight_max: most_under_way(self.moments),
            thinking_share: (self.under_way_ns > 0.0).then(|| self.thinking_ns / self.under_way_ns),
            per_conversation: self.each.finish(),
            first_turn,
            later_turns,
            increments: self.increments.finish(),
            new_input_tokens_per_s: rate(self.new_input).filter(|_| reported),
            cached_input_tokens_per_s: rate(cached_tokens).filter(|_| reported),
            ..figures
        };
        (figures, rows)
    }
}

/// The most at a time, from starts and ends. What ends at a moment makes room for what starts then.
fn most_under_way(mut moments: Vec<u64>) -> u64 {
    moments.sort_unstable();
    let (mut now, mut most) = (0_i64, 0);
    for moment in moments {
        now += if moment & 1 == 1 { 1 } else { -1 };
        most = most.max(now);
    }
    most.unsigned_abs()
}

#[cfg(test)]
mod tests;
