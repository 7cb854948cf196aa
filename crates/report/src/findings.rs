//! Owns the advice a report gives: each finding is a small pure function from
//! figures to a sentence, or to none.
//!
//! It must not know where the figures come from, nor how sentences are shown.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use evalscope_core::metrics::{ClientReport, RunTotals};
use evalscope_core::plan::{Pacing, RunSpec};
use evalscope_core::record::{FailureKind, TokenSource};
use evalscope_core::time::Timestamp;

use crate::model::RunState;

/// Below this many samples the 99th percentile lies between the two largest.
const FEW_SAMPLES: u64 = 100;
/// Failures above this share are worth a sentence.
const FAILED_SHARE: f64 = 0.01;
/// Events that shared a read with one before them, above this share, were
/// bundled on their way.
const COALESCED_SHARE: f64 = 0.10;
/// Streams whose second token came with the first, above this share, were held back on
/// their way.
const BUNDLED_FIRST_SHARE: f64 = 0.10;
/// Above this many tokens in an event, times between events are no longer those between tokens.
const TOKENS_PER_EVENT: f64 = 1.1;
/// Models named in a sentence.
const SHOWN_MODELS: usize = 5;
/// New connections above this share cost latency that is not the server's.
const NEW_CONNECTION_SHARE: f64 = 0.10;
/// More prompts than this off their length are worth a word.
const MISSED_LENGTHS: f64 = 0.01;
/// Two tokenizers that agree are no further apart than this share, or than a
/// token or two, which have no text.
const COUNTS_APART: f64 = 0.05;
/// See [`COUNTS_APART`].
const COUNTS_APART_TOKENS: f64 = 2.0;
/// Slots that were free for lack of a body, above this share of their time, make a lower load than
/// was asked for.
const FEED_WAIT_SHARE: f64 = 0.01;
/// Below this share of the asked rate the load was another one.
const ACHIEVED_SHARE: f64 = 0.95;

/// When requests were due and when they left, first to last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spacing {
    first_scheduled: Option<Timestamp>,
    last_scheduled: Option<Timestamp>,
    first_dispatched: Option<Timestamp>,
    last_dispatched: Option<Timestamp>,
}

impl Spacing {
    /// Take a request in.
    pub fn push(&mut self, scheduled: Timestamp, dispatched: Timestamp) {
        let least = |a: Option<Timestamp>, b: Timestamp| Some(a.map_or(b, |a| a.min(b)));
        self.first_scheduled = least(self.first_scheduled, scheduled);
        self.last_scheduled = self.last_scheduled.max(Some(scheduled));
        self.first_dispatched = least(self.first_dispatched, dispatched);
        self.last_dispatched = self.last_dispatched.max(Some(dispatched));
    }

    /// The schedule's length over the time the dispatches took: 1 when every
    /// request left when it was due.
    fn achieved_share(&self) -> Option<f64> {
        let asked = self.last_scheduled?.nanos_since(self.first_scheduled?);
        let took = self.last_dispatched?.nanos_since(self.first_dispatched?);
        (asked > 0 && took > 0).then(|| asked as f64 / took as f64)
    }
}

/// What became of warm-up requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warmup {
    /// Requests sent.
    pub total: u64,
    /// Those that failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
}

/// Everything findings are drawn from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// How far the run came.
    pub state: RunState,
    /// The load asked for.
    pub load: &'a RunSpec,
    /// Sums over the measured requests.
    pub totals: &'a RunTotals,
    /// The client's own figures.
    pub client: &'a ClientReport,
    /// When requests were due and when they left.
    pub spacing: Spacing,
    /// What became of the requests before the measurement.
    pub warmup: &'a Warmup,
    /// Mean output tokens for each token-bearing event; and the mean over answers that have
    /// more than one token an event, if there are any.
    pub tokens_per_event: (Option<f64>, Option<f64>),
    /// Event streams were asked for.
    pub stream: bool,
    /// Successful streams that told of output tokens though no event bore one.
    pub unseen_tokens: u64,
}

/// All findings, the gravest first.
#[must_use]
pub fn all(evidence: &Evidence<'_>) -> Vec<String> {
    [
        unfinished,
        failures,
        failed_warmup,
        few_samples,
        load_not_delivered,
        not_sent,
        slow_feed,
        no_streams,
        unseen_tokens,
        buffering,
        coalesced,
        several_tokens_per_event,
        compressed,
        several_models,
        ended_by_grace,
        skipped_events,
        estimated_tokens,
        unknown_tokens,
        unknown_prompt_tokens,
        reasoning_from_total,
        prompt_lengths,
        counted_otherwise,
        new_connections,
        user_clock,
        clock_steps,
    ]
    .into_iter()
    .filter_map(|finding| finding(evidence))
    .collect()
}

/// Part of a whole; `None` of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    // never "100 %" of what is not all, nor "0 %" of something
    if percent > 99.0 && percent < 100.0 || percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn requests(n: u64) -> String {
    match n {
        1 => "1 request".to_owned(),
        n => format!("{n} requests"),
    }
}

fn answers(n: u64) -> String {
    match n {
        1 => "1 answer".to_owned(),
        n => format!("{n} answers"),
    }
}

fn unfinished(e: &Evidence<'_>) -> Option<String> {
    let sent = match e.load.requests {
        Some(asked) => format!("{} of {} were sent", e.totals.total, requests(asked)),
        None if e.totals.total == 1 => "1 request was sent".to_owned(),
        None => format!("{} requests were sent", e.totals.total),
    };
    match e.state {
        RunState::Finished => None,
        RunState::Interrupted => Some(format!("the run was interrupted: {sent}")),
        RunState::GaveUp => Some(format!("the run gave up before its end: {sent}")),
        RunState::Running => Some(format!(
            "the run has no end on record, it was killed or is still under way: {sent} and stored"
        )),
    }
}

fn failures(e: &Evidence<'_>) -> Option<String> {
    let failed = e.totals.failed();
    let share = share(failed, e.totals.total).filter(|share| *share > FAILED_SHARE)?;
    Some(if e.totals.succeeded == 0 {
        "every request failed: there is nothing to take latencies or throughput from".to_owned()
    } else {
        format!(
            "{} of the requests failed ({failed} of {}){}: latencies and throughput are those of the rest",
            percent(share),
            e.totals.total,
            match e.state {
                RunState::Interrupted => ", including those cancelled by the stop",
                _ => "",
            }
        )
    })
}

fn failed_warmup(e: &Evidence<'_>) -> Option<String> {
    let failed: u64 = e.warmup.failed.values().sum();
    (failed > 0).then(|| {
        let kinds: Vec<String> = e
            .warmup
            .failed
            .iter()
            .map(|(kind, n)| format!("{kind} {n}"))
            .collect();
        format!(
            "{failed} of {} warm-up requests failed ({}): the measurement may have begun with a cold \
             server; see table `warmup` of the database",
            e.warmup.total,
            kinds.join(", ")
        )
    })
}

fn few_samples(e: &Evidence<'_>) -> Option<String> {
    let n = e.totals.succeeded;
    (n > 0 && n < FEW_SAMPLES).then(|| {
        format!(
            "p99 of latency, TTFT and TPOT from {n} sample{} is close to the maximum: \
             send at least {FEW_SAMPLES} requests for a p99",
            if n == 1 { "" } else { "s" }
        )
    })
}

fn load_not_delivered(e: &Evidence<'_>) -> Option<String> {
    let Pacing::Poisson { rate_per_s } = e.load.pacing else {
        return None;
    };
    let share = e
        .spacing
        .achieved_share()
        .filter(|share| *share < ACHIEVED_SHARE)?;
    let waited = e.totals.waited_for_slot;
    let why = if waited > 0 {
        let slots = match e.load.concurrency {
            Some(NonZeroUsize::MIN) => "the only slot was busy: raise `--parallel`".to_owned(),
            Some(slots) => format!("all {slots} slots were busy: raise `--parallel`"),
            None => "as many were in flight as this program can hold".to_owned(),
        };
        format!(
            "; {waited} of {} were due while {slots}",
            requests(e.totals.total)
        )
    } else {
        String::new()
    };
    Some(format!(
        "requests left at {} of the asked rate of {rate_per_s} req/s{why}",
        percent(share)
    ))
}

fn not_sent(e: &Evidence<'_>) -> Option<String> {
    let unsent = e.totals.not_sent;
    (unsent > 0).then(|| {
        format!(
            "{} due but never sent, because no slot was free before the end of the run: latency and \
             TTFT from schedule count the time they had waited, so the true ones are longer",
            match unsent {
                1 => "1 request was".to_owned(),
                n => format!("{n} requests were"),
            }
        )
    })
}

fn slow_feed(e: &Evidence<'_>) -> Option<String> {
    let waited_s = e.client.feed_wait_s?;
    let slots_s = e.totals.duration_s() * e.load.concurrency.map_or(1, NonZeroUsize::get) as f64;
    let share = (slots_s > 0.0).then(|| (waited_s / slots_s).min(1.0))?;
    (share > FEED_WAIT_SHARE).then(|| {
        format!(
            "the data set cannot keep up: free slots waited {waited_s:.2} s for requests to send, {} of \
             the time of all slots; latencies are the server's, the load was lower than asked for",
            percent(share)
        )
    })
}

fn no_streams(e: &Evidence<'_>) -> Option<String> {
    let whole = e.totals.succeeded.saturating_sub(e.totals.streamed);
    (e.stream && whole > 0).then(|| {
        format!(
            "{whole} of {} successful answers were no event stream, though `--no-stream` was not given: \
             they have no TTFT, TPOT and ITL; give it if whole answers are meant, or else the URL of an \
             endpoint that sends server-sent events",
            e.totals.succeeded
        )
    })
}

fn unseen_tokens(e: &Evidence<'_>) -> Option<String> {
    (e.unseen_tokens > 0).then(|| {
        format!(
            "{} of {} successful streams told of tokens that no event held: they have no TTFT, TPOT \
             and ITL",
            e.unseen_tokens, e.totals.streamed
        )
    })
}

fn buffering(e: &Evidence<'_>) -> Option<String> {
    let (bundled, all) = (e.totals.bundled_first_reads, e.totals.first_reads);
    let share = share(bundled, all).filter(|share| *share > BUNDLED_FIRST_SHARE)?;
    Some(format!(
        "in {} of the streams the second token arrived together with the first: the server, or \
         something on the way (a proxy, a gateway), sends tokens in bundles, so TTFT is too long, and \
         TPOT and ITL are not the model's",
        percent(share)
    ))
}

fn coalesced(e: &Evidence<'_>) -> Option<String> {
    let share = e
        .totals
        .coalesced_share()
        .filter(|share| *share > COALESCED_SHARE)?;
    Some(format!(
        "{} of the token-bearing events arrived together with one before: \
         gaps between events are bundled on the way, ITL is coarse",
        percent(share)
    ))
}

fn several_tokens_per_event(e: &Evidence<'_>) -> Option<String> {
    let (mean, decoded) = e.tokens_per_event;
    let mean = mean.filter(|mean| *mean > TOKENS_PER_EVENT && decoded.is_some())?;
    Some(format!(
        "events held {mean:.2} tokens on average: the server decodes several at a time (speculative \
         decoding), or bundles them; ITL is the time between events, and TPOT leaves out the tokens \
         that came with the first one, so it is too short for short answers"
    ))
}

fn compressed(e: &Evidence<'_>) -> Option<String> {
    let n = e.totals.compressed;
    (n > 0).then(|| {
        format!(
            "{n} of {} came compressed, though `Accept-Encoding: identity` was sent: what compresses \
             them on the way may hold tokens back",
            answers(e.totals.total)
        )
    })
}

fn several_models(e: &Evidence<'_>) -> Option<String> {
    let models = &e.totals.models;
    (models.len() > 1).then(|| {
        let mut named: Vec<(&String, &u64)> = models.iter().collect();
        named.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), (*name).clone()));
        let shown: Vec<String> = named
            .iter()
            .take(SHOWN_MODELS)
            .map(|(name, n)| format!("`{name}` {n}"))
            .collect();
        let more = named.len().saturating_sub(SHOWN_MODELS);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(
            "answers name {} models ({}{more}): the figures are a mix of theirs",
            named.len(),
            shown.join(", ")
        )
    })
}

fn ended_by_grace(e: &Evidence<'_>) -> Option<String> {
    let n = e.totals.ended_by_grace;
    (n > 0).then(|| {
        format!(
            "{n} of {} had no end marker: after their finish_reason the connection stayed open and \
             silent, and they were taken as complete after 2 s, which is in no latency; token counts \
             that come after that time are missing",
            answers(e.totals.succeeded)
        )
    })
}

fn skipped_events(e: &Evidence<'_>) -> Option<String> {
    let n = e.totals.skipped_events;
    (n > 0).then(|| {
        format!(
            "{} that were no JSON were passed over, in {} of {}",
            match n {
                1 => "1 event".to_owned(),
                n => format!("{n} events"),
            },
            e.totals.skipping,
            answers(e.totals.succeeded)
        )
    })
}

fn reasoning_from_total(e: &Evidence<'_>) -> Option<String> {
    let n = e.totals.reasoning_from_total;
    (n > 0).then(|| {
        format!(
            "in {n} of {} the server counts reasoning tokens in the total only: what the total has \
             beyond prompt and completion is counted as generated",
            answers(e.totals.succeeded)
        )
    })
}

fn from_source(e: &Evidence<'_>, source: TokenSource) -> Option<f64> {
    let n = e.totals.token_sources.get(source.as_str()).copied()?;
    share(n, e.totals.succeeded).filter(|share| *share > 0.0)
}

fn estimated_tokens(e: &Evidence<'_>) -> Option<String> {
    let share = from_source(e, TokenSource::EventCount)?;
    Some(format!(
        "output tokens are estimated for {} of the answers, one for each token-bearing event: \
         the server told no usage",
        percent(share)
    ))
}

fn unknown_tokens(e: &Evidence<'_>) -> Option<String> {
    let share = from_source(e, TokenSource::Unknown)?;
    Some(format!(
        "output tokens are unknown for {} of the answers: token throughput leaves them out",
        percent(share)
    ))
}

fn unknown_prompt_tokens(e: &Evidence<'_>) -> Option<String> {
    let unknown = e.totals.succeeded.saturating_sub(e.totals.input_known);
    let share = share(unknown, e.totals.succeeded).filter(|share| *share > 0.0)?;
    Some(format!(
        "the prompt tokens of {} of the answers are unknown: \
         input and total throughput leave them out",
        percent(share)
    ))
}

fn prompt_lengths(e: &Evidence<'_>) -> Option<String> {
    let lengths = &e.totals.prompt_lengths;
    let missed = lengths.equal_share().map(|share| 1.0 - share);
    let missed = missed.filter(|share| *share > MISSED_LENGTHS)?;
    let (asked, seen) = lengths.means()?;
    Some(format!(
        "the server counted other tokens than were asked for in {} of the prompts: {asked:.1} \
         asked, {seen:.1} seen on average, {} at most apart; is `--tokenizer-path` the \
         server's tokenizer, with its chat template?",
        percent(missed),
        lengths.max_difference
    ))
}

fn counted_otherwise(e: &Evidence<'_>) -> Option<String> {
    let output = &e.totals.counted_output;
    let (ours, theirs) = output.means()?;
    let apart = (ours - theirs).abs();
    (apart > COUNTS_APART * theirs && apart > COUNTS_APART_TOKENS).then(|| {
        format!(
            "the tokenizer here counts {ours:.1} output tokens where the server tells {theirs:.1}, \
             over {} answers: `--tokenizer-path` is not the server's tokenizer, or the server \
             counts tokens that have no text",
            output.requests
        )
    })
}

fn new_connections(e: &Evidence<'_>) -> Option<String> {
    // each slot has to open one, and one more after a failure, which drops its own
    let slots = e.load.concurrency?.get() as u64;
    let expected = slots.saturating_add(e.totals.failed());
    let extra = e.totals.new_connections.saturating_sub(expected);
    let share = share(extra, e.totals.total.saturating_sub(expected))
        .filter(|share| *share > NEW_CONNECTION_SHARE)?;
    Some(format!(
        "{} of the requests that could have used an open connection made a new one: the server or a \
         proxy closes connections, and TCP and TLS handshakes load it",
        percent(share)
    ))
}

fn user_clock(e: &Evidence<'_>) -> Option<String> {
    let (user, kernel) = (e.totals.user_clock, e.totals.kernel_clock);
    (user > 0).then(|| {
        let whose = if kernel == 0 {
            String::new()
        } else {
            format!(" for {user} of {} answers", user + kernel)
        };
        format!(
            "arrivals were stamped in user space{whose}: \
             the kernel's receive times are not to be had, so a busy client shows in latencies"
        )
    })
}

fn clock_steps(e: &Evidence<'_>) -> Option<String> {
    let steps = e.client.clock_steps;
    (steps > 0).then(|| {
        format!(
            "the wall clock stepped {steps} time{} during the run: \
             latencies are unaffected, Unix times may be off",
            if steps == 1 { "" } else { "s" }
        )
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use evalscope_core::metrics::{Comparison, Distribution};

    use super::*;

    struct Case {
        state: RunState,
        load: RunSpec,
        totals: RunTotals,
        client: ClientReport,
        spacing: Spacing,
        warmup: Warmup,
        tokens_per_event: (Option<f64>, Option<f64>),
        stream: bool,
        unseen_tokens: u64,
    }

    /// A run nothing can be said against.
    fn fine() -> Case {
        let totals = RunTotals {
            total: 1000,
            succeeded: 1000,
            streamed: 1000,
            input_known: 1000,
            token_events: 100_000,
            kernel_clock: 1000,
            new_connections: 10,
            token_sources: [("server_usage", 1000)].into(),
            ..RunTotals::default()
        };
        Case {
            state: RunState::Finished,
            load: RunSpec {
                name: "parallel_10_number_1000".to_owned(),
                concurrency: NonZeroUsize::new(10),
                requests: Some(1000),
                pacing: Pacing::Unpaced,
                warmup_requests: 0,
                duration_s: None,
                seed: 0,
                dataset_offset: 0,
            },
            client: ClientReport::judge(None, &totals, &Distribution::default()),
            totals,
            spacing: Spacing::default(),
            warmup: Warmup {
                total: 4,
                ..Warmup::default()
            },
            tokens_per_event: (Some(1.0), None),
            stream: true,
            unseen_tokens: 0,
        }
    }

    fn findings(change: impl FnOnce(&mut Case)) -> Vec<String> {
        let mut case = fine();
        change(&mut case);
        all(&Evidence {
            state: case.state,
            load: &case.load,
            totals: &case.totals,
            client: &case.client,
            spacing: case.spacing,
            warmup: &case.warmup,
            tokens_per_event: case.tokens_per_event,
            stream: case.stream,
            unseen_tokens: case.unseen_tokens,
        })
    }

    #[track_caller]
    fn one(change: impl FnOnce(&mut Case), words: &str) {
        let found = findings(change);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }

    #[test]
    fn nothing_is_found_in_a_good_run() {
        assert_eq!(findings(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn an_unfinished_run_says_so() {
        let cut = |state| {
            move |c: &mut Case| {
                c.state = state;
                c.load.requests = Some(2000);
            }
        };
        one(
            cut(RunState::Interrupted),
            "interrupted: 1000 of 2000 requests were sent",
        );
        one(
            cut(RunState::GaveUp),
            "gave up before its end: 1000 of 2000 requests were sent",
        );
        one(
            cut(RunState::Running),
            "killed or is still under way: 1000 of 2000",
        );
    }

    #[test]
    fn failures_are_named_above_one_percent() {
        let fail = |n: u64| {
            move |c: &mut Case| {
                c.totals.total += n;
                c.load.requests = c.load.requests.map(|asked| asked + n);
            }
        };
        assert_eq!(findings(fail(10)), Vec::<String>::new());
        one(fail(11), "1.1 % of the requests failed (11 of 1011)");
        one(
            |c| {
                c.totals = RunTotals {
                    total: 5,
                    new_connections: 5,
                    ..RunTotals::default()
                }
            },
            "every request failed",
        );
    }

    #[test]
    fn a_p99_of_few_samples_is_the_maximum() {
        one(
            |c| {
                c.totals.succeeded = 15;
                c.totals.streamed = 15;
                c.totals.total = 15;
                c.totals.input_known = 15;
            },
            "from 15 samples is close to the maximum",
        );
    }

    #[test]
    fn a_schedule_that_slips_is_named() {
        let at = |s: u64| Timestamp::from_nanos(s * 1_000_000_000);
        let slip = |last: u64, waited: u64| {
            move |c: &mut Case| {
                c.load.pacing = Pacing::Poisson { rate_per_s: 10.0 };
                c.spacing.push(at(1), at(1));
                c.spacing.push(at(101), at(last));
                c.totals.waited_for_slot = waited;
            }
        };
        assert_eq!(findings(slip(104, 900)), Vec::<String>::new());
        one(slip(201, 0), "50 % of the asked rate of 10 req/s");
        one(
            slip(201, 900),
            "900 of 1000 requests were due while all 10 slots were busy",
        );
    }

    #[test]
    fn a_slow_data_set_is_named() {
        let wait = |seconds: f64| {
            move |c: &mut Case| {
                c.totals.first_dispatch = Some(Timestamp::from_nanos(0));
                c.totals.last_end = Some(Timestamp::from_nanos(10_000_000_000));
                c.client.feed_wait_s = Some(seconds);
            }
        };
        assert_eq!(findings(wait(1.0)), Vec::<String>::new());
        one(
            wait(25.0),
            "the data set cannot keep up: free slots waited 25.00 s for requests to send, 25 % of",
        );
    }

    #[test]
    fn a_second_token_with_the_first_is_a_proxy() {
        let bundled = |n: u64| {
            move |c: &mut Case| (c.totals.first_reads, c.totals.bundled_first_reads) = (1000, n)
        };
        assert_eq!(findings(bundled(100)), Vec::<String>::new());
        one(
            bundled(970),
            "in 97 % of the streams the second token arrived together with the first",
        );
    }

    #[test]
    fn a_failed_warm_up_is_named() {
        one(
            |c| c.warmup.failed = [(FailureKind::Status(503), 3)].into(),
            "3 of 4 warm-up requests failed (http_503 3)",
        );
    }

    #[test]
    fn requests_that_were_never_sent_are_named() {
        one(
            |c| c.totals.not_sent = 242,
            "242 requests were due but never sent",
        );
    }

    #[test]
    fn several_tokens_in_an_event_are_named() {
        let tokens = |mean, decoded| move |c: &mut Case| c.tokens_per_event = (Some(mean), decoded);
        assert_eq!(findings(tokens(1.1, Some(1.1))), Vec::<String>::new());
        // a token without text at the end of short answers
        assert_eq!(findings(tokens(1.3, None)), Vec::<String>::new());
        one(tokens(2.5, Some(2.6)), "events held 2.50 tokens on average");
    }

    #[test]
    fn what_servers_do_unasked_is_named() {
        one(
            |c| c.totals.compressed = 7,
            "7 of 1000 answers came compressed",
        );
        one(
            |c| c.totals.models = [("a".to_owned(), 3), ("b".to_owned(), 997)].into(),
            "answers name 2 models (`b` 997, `a` 3)",
        );
        one(
            |c| c.totals.ended_by_grace = 2,
            "2 of 1000 answers had no end marker",
        );
        one(
            |c| (c.totals.skipping, c.totals.skipped_events) = (3, 9),
            "9 events that were no JSON were passed over, in 3 of 1000 answers",
        );
        one(
            |c| c.totals.reasoning_from_total = 5,
            "in 5 of 1000 answers the server counts reasoning tokens in the total only",
        );
    }

    #[test]
    fn bundled_events_are_named() {
        one(
            |c| c.totals.coalesced_events = 20_000,
            "20 % of the token-bearing events",
        );
    }

    #[test]
    fn token_counts_say_where_they_come_from() {
        one(
            |c| c.totals.token_sources = [("server_usage", 250), ("event_count", 750)].into(),
            "estimated for 75 %",
        );
        one(
            |c| c.totals.token_sources = [("server_usage", 999), ("unknown", 1)].into(),
            "unknown for 0.1 %",
        );
        one(|c| c.totals.input_known = 4, "99.6 % of the answers");
        let compared = |ours, theirs| Comparison {
            requests: 1000,
            equal: 400,
            ours,
            theirs,
            max_difference: 3,
        };
        one(
            |c| c.totals.prompt_lengths = compared(100_000, 101_000),
            "in 60 % of the prompts: 100.0 asked, 101.0 seen",
        );
        one(
            |c| c.totals.counted_output = compared(90_000, 100_000),
            "counts 90.0 output tokens where the server tells 100.0",
        );
    }

    #[test]
    fn answers_without_times_are_named() {
        one(
            |c| c.totals.streamed = 992,
            "8 of 1000 successful answers were no event stream, though `--no-stream` was not given",
        );
        assert_eq!(
            findings(|c| (c.stream, c.totals.streamed) = (false, 0)),
            Vec::<String>::new()
        );
        one(
            |c| c.unseen_tokens = 7,
            "7 of 1000 successful streams told of tokens that no event held",
        );
    }

    #[test]
    fn connections_beyond_one_for_each_slot_are_counted() {
        assert_eq!(
            findings(|c| c.totals.new_connections = 100),
            Vec::<String>::new()
        );
        one(
            |c| c.totals.new_connections = 505,
            "50 % of the requests that could have used an open connection made a new one",
        );
        // each failure drops its connection
        one(
            |c| {
                c.totals.new_connections = 510;
                c.totals.succeeded -= 500;
                c.totals.streamed -= 500;
                c.totals.input_known -= 500;
            },
            "50 % of the requests failed",
        );
    }

    #[test]
    fn a_missing_kernel_clock_is_named() {
        one(
            |c| (c.totals.user_clock, c.totals.kernel_clock) = (1000, 0),
            "stamped in user space:",
        );
        one(
            |c| c.totals.user_clock = 7,
            "in user space for 7 of 1007 answers",
        );
    }

    #[test]
    fn clock_steps_are_named() {
        one(|c| c.client.clock_steps = 2, "stepped 2 times");
    }
}
