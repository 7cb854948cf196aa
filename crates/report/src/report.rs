//! Owns [`RunReport`]: everything the files and tables of a run show, summed
//! up from its database in the one way there is.
//!
//! It must not know formats, labels or widths.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use evalscope_model::metrics::{
    Accumulator, ClientReport, ClientSnapshot, Distribution, EXACT_LIMIT, Metric, RunTotals,
};
use evalscope_model::plan::Pacing;
use evalscope_model::record::{FailureKind, Phase, RequestRecord};

use crate::findings::{self, Evidence, Finding, Spacing};
use crate::model::{RunMeta, RunState};
use crate::source::RecordSource;
use crate::speeds::{self, SpeedRow, Speeds};
use crate::sqlite::{Reader, StoreError};

/// Samples held at a time. Larger runs are read several times, a few metrics
/// at each pass, so memory stays where it is.
const SAMPLES_AT_A_TIME: u64 = 4_000_000;

/// Groups of failures shown; the rest is only counted.
pub const ERROR_GROUPS: usize = 50;

/// Groups of failures kept apart while reading: messages that never repeat
/// must not fill the memory.
const ERROR_GROUPS_READ: usize = 10_000;

/// Failures of one kind with one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    /// The kind.
    pub kind: FailureKind,
    /// The message of the first of them; numbers and ids may differ in the others.
    pub message: String,
    /// Failures in the group.
    pub count: u64,
    /// What the server said to the first of them.
    pub example: Option<String>,
}

/// Everything the files and tables of a run show.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunReport {
    /// The database it was made from.
    pub database: PathBuf,
    /// What was asked for.
    pub meta: RunMeta,
    /// How far the run came.
    pub state: RunState,
    /// When it ended: RFC 3339, local time with offset; `None` if that is not recorded.
    pub ended_at: Option<String>,
    /// Sums over the measured requests.
    pub totals: RunTotals,
    /// Distributions of all metrics.
    pub metrics: BTreeMap<Metric, Distribution>,
    /// The client's own figures, and the judgement on them.
    pub client: ClientReport,
    /// Failures by kind and message, the most frequent first.
    pub errors: Vec<ErrorGroup>,
    /// Failures in none of the groups.
    pub errors_not_shown: u64,
    /// The most GPU memory that a server started here has taken, GB.
    pub gpu_memory_gb: Option<f64>,
    /// Speed by length of the prompt; empty unless that is what was measured.
    pub speeds: Vec<SpeedRow>,
    /// What a reader of the figures must know: what the run itself warned of, then what follows
    /// from the figures.
    pub warnings: Vec<Finding>,
}

impl RunReport {
    /// Sum up a run's database.
    ///
    /// # Errors
    /// When the file is no run's database, or cannot be read.
    pub fn load(database: &Path) -> Result<Self, StoreError> {
        Self::load_with(database, SAMPLES_AT_A_TIME)
    }

    fn load_with(database: &Path, samples_at_a_time: u64) -> Result<Self, StoreError> {
        let reader = Reader::open(database)?;
        let mut report = Self::sum_up_with(&[&reader], samples_at_a_time)?;
        database.clone_into(&mut report.database);
        Ok(report)
    }

    /// Sum up the parts of one run, which several processes measured together. What is known of the
    /// run is taken from the part that began first.
    ///
    /// # Errors
    /// If a part cannot be read.
    ///
    /// # Panics
    /// Without a part.
    pub fn sum_up(parts: &[&dyn RecordSource]) -> Result<Self, StoreError> {
        Self::sum_up_with(parts, SAMPLES_AT_A_TIME)
    }

    fn sum_up_with(
        parts: &[&dyn RecordSource],
        samples_at_a_time: u64,
    ) -> Result<Self, StoreError> {
        let first = parts
            .iter()
            .min_by_key(|part| part.meta().clock.wall_start_ns)
            .expect("a report is made from at least one part");
        let meta = first.meta().clone();
        // all moments on the clock of the part that began first
        let each = |phase: Phase, sink: &mut PartSink<'_>| {
            parts.iter().try_for_each(|part| {
                let later_ns = part.meta().clock.wall_start_ns - meta.clock.wall_start_ns;
                part.for_each(phase, &mut |number, mut record| {
                    if later_ns > 0 {
                        record.rebase(Duration::from_nanos(later_ns));
                    }
                    sink(*part, number, &record)
                })
            })
        };
        let mut rows = 0;
        for part in parts {
            rows += part.count(Phase::Measured)?;
        }
        let mut sums = Sums {
            // elsewhere each length would be a row
            with_speeds: speeds::is_measured(&meta.dataset),
            ..Sums::default()
        };
        let mut metrics = BTreeMap::new();
        for (pass, some) in passes(rows, samples_at_a_time).into_iter().enumerate() {
            let mut accumulator = Accumulator::new(&some);
            each(Phase::Measured, &mut |part, number, record| {
                accumulator.push(record);
                if pass == 0 {
                    sums.push(record, || part.error_excerpt(number))?;
                }
                Ok(())
            })?;
            metrics.extend(accumulator.finish());
        }
        let totals = sums.totals;
        let own = Own::of(parts)?;
        let client =
            ClientReport::judge(own.client.as_ref(), &totals, &metrics[&Metric::ClientLag]);
        let mut warmup = findings::Warmup::default();
        each(Phase::Warmup, &mut |_, _, record| {
            // what was never sent did not fail at the server
            if !record.dispatched() {
                return Ok(());
            }
            if let Some(failure) = &record.failure {
                *warmup.failed.entry(failure.kind).or_insert(0) += 1;
            }
            warmup.total += 1;
            Ok(())
        })?;
        let mut warnings = own.warnings;
        warnings.extend(findings::all(&Evidence {
            state: own.state,
            load: &meta.load,
            totals: &totals,
            client: &client,
            spacing: sums.spacing,
            warmup: &warmup,
            tokens_per_event: (
                metrics[&Metric::TokensPerEvent].mean,
                metrics[&Metric::DecodedTokensPerEvent].mean,
            ),
            stream: meta.stream,
            unseen_tokens: sums.unseen_tokens,
        }));
        let (errors, errors_not_shown) = sums.errors.finish();
        let speeds = sums.speeds.finish();
        Ok(Self {
            database: PathBuf::new(),
            state: own.state,
            ended_at: own.ended_at,
            meta,
            totals,
            metrics,
            client,
            errors,
            errors_not_shown,
            gpu_memory_gb: own.gpu_memory_gb,
            speeds,
            warnings,
        })
    }

    /// Requests had a schedule.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.meta.load.pacing != Pacing::Unpaced
    }

    /// The distribution of a metric.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> &Distribution {
        self.metrics
            .get(&metric)
            .expect("a report has a distribution for every metric")
    }

    /// Successes over all requests; `None` without any.
    #[must_use]
    pub fn success_share(&self) -> Option<f64> {
        (self.totals.total > 0).then(|| self.totals.succeeded as f64 / self.totals.total as f64)
    }

    /// Successes over the duration, per second.
    #[must_use]
    pub fn requests_per_s(&self) -> Option<f64> {
        self.totals.rate_per_s(self.totals.succeeded)
    }

    /// Output tokens over the duration; `None` if they are unknown for all responses.
    #[must_use]
    pub fn output_tokens_per_s(&self) -> Option<f64> {
        let known = self.metric(Metric::OutputTokens).count > 0;
        self.totals
            .rate_per_s(self.totals.output_tokens)
            .filter(|_| known)
    }

    /// Prompt tokens over the duration; `None` if the server reported none.
    #[must_use]
    pub fn input_tokens_per_s(&self) -> Option<f64> {
        self.totals
            .rate_per_s(self.totals.input_tokens)
            .filter(|_| self.totals.input_known > 0)
    }

    /// Prompt and output tokens over the duration; `None` unless both are known.
    #[must_use]
    pub fn total_tokens_per_s(&self) -> Option<f64> {
        Some(self.input_tokens_per_s()? + self.output_tokens_per_s()?)
    }
}

/// Takes a record of a part.
type PartSink<'a> =
    dyn FnMut(&dyn RecordSource, i64, &RequestRecord) -> Result<(), StoreError> + 'a;

/// What the parts of a run say of themselves, taken together.
struct Own {
    state: RunState,
    ended_at: Option<String>,
    client: Option<ClientSnapshot>,
    warnings: Vec<Finding>,
    gpu_memory_gb: Option<f64>,
}

impl Own {
    fn of(parts: &[&dyn RecordSource]) -> Result<Self, StoreError> {
        let mut own = Self {
            state: RunState::Finished,
            // the run has ended when all parts have
            ended_at: parts
                .iter()
                .map(|part| part.ended_at())
                .collect::<Option<Vec<_>>>()
                .and_then(|ends| ends.into_iter().max().map(str::to_owned)),
            client: None,
            warnings: Vec::new(),
            gpu_memory_gb: None,
        };
        let mut clients = Vec::new();
        for part in parts {
            if own.state == RunState::Finished {
                own.state = part.state();
            }
            clients.extend(part.client()?);
            own.warnings.extend(part.warnings()?);
            let gb = part.gpu_memory_gb()?;
            own.gpu_memory_gb = own.gpu_memory_gb.into_iter().chain(gb).reduce(f64::max);
        }
        own.client = ClientSnapshot::sum(&clients);
        Ok(own)
    }
}

/// Split the metrics so that no pass holds more samples than this; at least
/// one metric for each pass.
fn passes(rows: u64, samples_at_a_time: u64) -> Vec<Vec<Metric>> {
    let samples = |metric: Metric| match metric {
        // a histogram takes over at the limit
        Metric::Itl | Metric::EventGap => EXACT_LIMIT as u64,
        _ => rows,
    };
    let mut held = 0;
    let mut passes = vec![Vec::new()];
    for metric in Metric::ALL {
        let last = passes
            .last_mut()
            .expect("it begins with one and only grows");
        if !last.is_empty() && held + samples(metric) > samples_at_a_time {
            passes.push(vec![metric]);
            held = samples(metric);
        } else {
            last.push(metric);
            held += samples(metric);
        }
    }
    passes
}

/// What one pass sums up besides distributions.
#[derive(Default)]
struct Sums {
    totals: RunTotals,
    spacing: Spacing,
    /// Successful streams that reported output tokens although no event bore one.
    unseen_tokens: u64,
    errors: Errors,
    /// Only for datasets that are made for it.
    speeds: Speeds,
    with_speeds: bool,
}

impl Sums {
    fn push(
        &mut self,
        record: &RequestRecord,
        excerpt: impl FnOnce() -> Result<Option<String>, StoreError>,
    ) -> Result<(), StoreError> {
        self.totals.push(record);
        if record.dispatched() {
            self.spacing
                .push(record.times.scheduled, record.times.dispatched);
        }
        let reported = record.reported_output_tokens().unwrap_or(0) > 0;
        let unseen = reported && record.events.tokens().next().is_none();
        self.unseen_tokens += u64::from(record.succeeded() && record.streamed && unseen);
        if self.with_speeds {
            self.speeds.push(record);
        }
        if let Some(failure) = &record.failure
            && record.dispatched()
        {
            self.errors.push(failure.kind, &failure.message, excerpt)?;
        }
        Ok(())
    }
}

/// Failures by kind and message, whatever numbers and ids stand in the message.
#[derive(Default)]
struct Errors {
    groups: HashMap<(FailureKind, String), ErrorGroup>,
    not_told_apart: u64,
}

impl Errors {
    fn push(
        &mut self,
        kind: FailureKind,
        message: &str,
        excerpt: impl FnOnce() -> Result<Option<String>, StoreError>,
    ) -> Result<(), StoreError> {
        let key = (kind, without_numbers(message));
        if let Some(group) = self.groups.get_mut(&key) {
            group.count += 1;
        } else if self.groups.len() < ERROR_GROUPS_READ {
            let group = ErrorGroup {
                kind,
                message: message.to_owned(),
                count: 1,
                example: excerpt()?,
            };
            self.groups.insert(key, group);
        } else {
            self.not_told_apart += 1;
        }
        Ok(())
    }

    fn finish(self) -> (Vec<ErrorGroup>, u64) {
        let mut groups: Vec<ErrorGroup> = self.groups.into_values().collect();
        groups.sort_by(|a, b| (b.count, a.kind, &a.message).cmp(&(a.count, b.kind, &b.message)));
        let rest = groups.split_off(groups.len().min(ERROR_GROUPS));
        let not_shown = self.not_told_apart + rest.iter().map(|group| group.count).sum::<u64>();
        (groups, not_shown)
    }
}

/// A message with every word that holds a digit written as `#`: request ids,
/// ports and positions would make a group of each failure.
fn without_numbers(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut rest = message;
    while !rest.is_empty() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(word);
        if head.contains(|c: char| c.is_ascii_digit()) {
            text.push('#');
        } else {
            text.push_str(head);
        }
        let other = tail.find(is_word).unwrap_or(tail.len());
        text.push_str(&tail[..other]);
        rest = &tail[other..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn messages_are_grouped_without_their_numbers() {
        for (message, want) in [
            (
                "status 503: busy (id req-1f3, 20 s)",
                "status #: busy (id #, # s)",
            ),
            ("no digits: 你好", "no digits: 你好"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(message), want);
        }
    }

    #[test]
    fn a_warm_up_request_that_was_never_sent_is_no_failed_one() {
        use crate::findings::FindingId;
        use evalscope_model::record::Failure;
        let warmup = |kind| {
            let mut exchange = samples::successes(1).remove(0);
            exchange.record.phase = Phase::Warmup;
            exchange.record.failure = Some(Failure::new(kind, "no"));
            let mut exchanges = samples::successes(3);
            exchanges.push(exchange);
            let warnings = samples::report(&samples::meta("m"), exchanges).warnings;
            warnings
                .iter()
                .any(|warning| warning.id == FindingId::WarmupFailed)
        };
        assert!(warmup(FailureKind::Reset));
        assert!(!warmup(FailureKind::NotSent));
    }

    #[test]
    fn many_passes_make_the_same_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(40));
        let whole = RunReport::load(&path).unwrap();
        let parts = RunReport::load_with(&path, 1).unwrap();
        assert_eq!(whole, parts);
        assert_eq!(whole.metrics.len(), Metric::ALL.len());
    }

    /// Processes that began later, with clocks of their own, measured the rest: the figures are
    /// those of one process that measured all of it.
    #[test]
    fn parts_make_the_report_of_the_whole() {
        let all = samples::mixed(40);
        let folder = tempfile::tempdir().unwrap();
        let whole_path = samples::finished(folder.path(), &samples::meta("m"), all.clone());
        let whole = RunReport::load(&whole_path).unwrap();
        for later_ns in [0, 1_500_000] {
            let parts: Vec<_> = [0, 1]
                .into_iter()
                .map(|part| {
                    let mut meta = samples::meta("m");
                    let ahead = if part == 0 { 0 } else { later_ns };
                    meta.clock.wall_start_ns += ahead;
                    let own = all.iter().filter(|e| e.record.index % 2 == part);
                    let own = own.cloned().map(|mut exchange| {
                        exchange.record = behind(exchange.record, ahead);
                        exchange
                    });
                    let folder = tempfile::tempdir().unwrap();
                    let path = samples::finished(folder.path(), &meta, own.collect());
                    (Reader::open(&path).unwrap(), folder)
                })
                .collect();
            // the later one first
            let merged = RunReport::sum_up(&[&parts[1].0, &parts[0].0]).unwrap();
            assert_eq!(merged.totals, whole.totals);
            assert_eq!(merged.metrics, whole.metrics);
            assert_eq!(merged.errors, whole.errors);
            assert_eq!(merged.meta, whole.meta);
            assert_eq!(
                (merged.state, &merged.ended_at),
                (whole.state, &whole.ended_at)
            );
        }
    }

    /// A record as a process that began `ahead` nanoseconds later would have it.
    fn behind(mut record: RequestRecord, ahead: u64) -> RequestRecord {
        use evalscope_model::record::EventLog;
        use evalscope_model::time::Timestamp;
        let moved = |at: Timestamp| Timestamp::from_nanos(at.as_nanos() - ahead);
        let times = &mut record.times;
        for at in [
            &mut times.scheduled,
            &mut times.slot_free,
            &mut times.dispatched,
            &mut times.ended,
        ] {
            *at = moved(*at);
        }
        for at in [
            &mut times.connected,
            &mut times.write_begun,
            &mut times.write_done,
            &mut times.first_byte,
            &mut times.headers,
            &mut times.last_data,
        ] {
            *at = at.map(moved);
        }
        let mut events = EventLog::default();
        for mut stamp in record.events.stamps() {
            stamp.at = moved(stamp.at);
            events.push(stamp);
        }
        record.events = events;
        record
    }

    #[test]
    fn passes_hold_few_samples_and_leave_no_metric_out() {
        assert_eq!(passes(1000, SAMPLES_AT_A_TIME).len(), 1);
        for rows in [0, 1, 300_000, 1_000_000, 10_000_000] {
            let passes = passes(rows, SAMPLES_AT_A_TIME);
            assert_eq!(passes.concat(), Metric::ALL);
        }
        assert!(
            passes(1_000_000, SAMPLES_AT_A_TIME)
                .iter()
                .all(|p| p.len() <= 4)
        );
    }

    #[test]
    fn failures_are_grouped_and_the_rest_is_counted() {
        let mut errors = Errors::default();
        for i in 0..60 {
            for _ in 0..=i {
                errors
                    .push(FailureKind::Reset, &"x".repeat(i + 1), || {
                        Ok(Some(format!("example {i}")))
                    })
                    .unwrap();
            }
        }
        let (groups, not_shown) = errors.finish();
        assert_eq!(groups.len(), ERROR_GROUPS);
        assert_eq!((groups[0].count, groups[0].message.len()), (60, 60));
        assert_eq!(groups[0].example.as_deref(), Some("example 59"));
        assert_eq!(not_shown, (1..=10).sum::<u64>());
    }
}
