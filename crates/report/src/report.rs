//! Owns [`RunReport`]: everything the files and tables of a run show, summed
//! up from its database in the one way there is.
//!
//! It must not know formats, labels or widths.

mod errors;
mod passes;
mod sessions;
mod sums;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evalscope_model::metrics::{
    ClientReport, ClientSnapshot, ConversationFigures, Distribution, Goodput, LoadVerdict, Metric,
    PercentilesWithFailures, RunTotals, TraceFigures, TurnRow, Verdict,
};
use evalscope_model::plan::{Pacing, StoppedBy};
use evalscope_model::record::{FailureKind, Phase, RequestRecord};

use crate::figures::{
    self, Differences, LoadFigures, MixFigures, PlateauFigures, SegmentFigures, WithoutPlateau,
};
use crate::findings::{self, Evidence, Finding, Spacing};
use crate::model::{RunMeta, RunState};
use crate::source::{PartSink, RecordSource, each_of_parts, models_of};
use crate::speeds::{self, SpeedRow, Speeds};
use crate::sqlite::{Reader, StoreError};
use crate::workload::Timeline;

pub use errors::{ERROR_GROUPS, ErrorGroup};
pub use sums::Intervals;

pub(crate) use errors::without_numbers;

use errors::Errors;
use passes::passes;
use sessions::SessionSums;
use sums::{Found, Pass};

/// Samples of eight bytes held at a time, 144 MB. Larger runs are read more often, with less to sum up
/// at each pass, so memory stays where it is. A million requests are read three times; each time takes
/// two seconds, most of them for the columns of SQLite.
const SAMPLES_AT_A_TIME: u64 = 18_000_000;

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
    /// 95 % intervals of percentiles within the run, for the main metrics; empty where the server did
    /// not keep up with an open loop.
    pub intervals: BTreeMap<Metric, Intervals>,
    /// Percentiles in which failures count, for the main metrics.
    pub with_failures: BTreeMap<Metric, PercentilesWithFailures>,
    /// The figures of the schedule; `None` without one.
    pub load: Option<LoadFigures>,
    /// Those of the segments of its profile.
    pub segments: Vec<SegmentFigures>,
    /// Those of each model that requests asked for; empty for a single one.
    pub by_model: Vec<MixFigures>,
    /// Those of each URL; empty for a single one.
    pub by_url: Vec<MixFigures>,
    /// The part of the run in which the server was as loaded as it was meant to be.
    pub plateau: Result<PlateauFigures, WithoutPlateau>,
    /// How many requests met the objective; `None` without one.
    pub goodput: Option<Goodput>,
    /// The figures of its conversations; `None` for single requests.
    pub conversations: Option<ConversationFigures>,
    /// Requests by the turn that they are; empty for single requests.
    pub turns: Vec<TurnRow>,
    /// How true the replay was to its trace; `None` without one.
    pub trace: Option<TraceFigures>,
    /// Tokens over time; `None` without a success.
    pub(crate) workload: Option<Timeline>,
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
        let mut meta = first.meta().clone();
        // one of several processes is measured by its part
        meta.load = meta.load.part();
        let meta = meta;
        let each =
            |phase: Phase, sink: &mut PartSink<'_>| each_of_parts(parts, &meta.clock, phase, sink);
        let mut rows = 0;
        for part in parts {
            rows += part.count(Phase::Measured)?;
        }
        let mut sums = Sums {
            // elsewhere each length would be a row
            with_speeds: speeds::is_measured(&meta.dataset),
            sessions: Some(SessionSums::new(&meta)),
            ..Sums::default()
        };
        if let Some(sessions) = sums.sessions.as_mut().filter(|own| own.has_conversations()) {
            for part in parts {
                part.for_each_conversation(Phase::Measured, &mut |record| {
                    sessions.push_end(&record);
                })?;
            }
        }
        let mut warmup = findings::Warmup::default();
        let mut found = Found::new(&meta, models_of(parts)?);
        let passes = passes(found.wanted(), rows, samples_at_a_time);
        for (nth, works) in passes.iter().enumerate() {
            let mut pass = Pass::new(works, &found);
            each(Phase::Measured, &mut |part, number, record| {
                pass.push(record);
                if nth == 0 {
                    found.was_due(record);
                    sums.push(record, || part.error_excerpt(number))?;
                }
                Ok(())
            })?;
            if nth == 0 || pass.needs_warmup() {
                each(Phase::Warmup, &mut |_, _, record| {
                    pass.push(record);
                    if nth == 0 {
                        found.was_due(record);
                        warmup.push(record);
                    }
                    Ok(())
                })?;
            }
            pass.finish(&mut found);
        }
        let own = Own::of(parts)?;
        Ok(Self::of(meta, own, sums, found, &warmup))
    }

    /// Draw what follows from the sums.
    fn of(
        meta: RunMeta,
        own: Own,
        sums: Sums,
        mut found: Found,
        warmup: &findings::Warmup,
    ) -> Self {
        let totals = sums.totals;
        let mut metrics = std::mem::take(&mut found.metrics);
        for metric in Metric::ALL {
            // those that were not asked for have no sample
            metrics.entry(metric).or_default();
        }
        let client =
            ClientReport::judge(own.client.as_ref(), &totals, &metrics[&Metric::ClientLag])
                .of_shards(meta.shard_clients.clone());
        let client_limited = client.verdict == Verdict::ClientLimited;
        let sessions = sums
            .sessions
            .map(|own| own.finish(&meta, &totals, &metrics));
        let sessions = sessions.unwrap_or_default();
        let conversations = sessions.conversations.as_ref();
        let due = conversations.map_or(
            totals.total + totals.unfinished + totals.shed + totals.not_sent,
            |figures| figures.started,
        );
        let mut load = load_figures(&meta, &own, due, &mut found, client_limited);
        if let (Some(load), Some(_)) = (&mut load, conversations) {
            // those of conversations say more: a server works at later turns, too
            load.in_flight = None;
        }
        let verdict = load.as_ref().and_then(LoadFigures::verdict);
        let mut intervals = std::mem::take(&mut found.intervals);
        if verdict.is_some_and(|verdict| verdict != LoadVerdict::KeptUp) {
            intervals.clear();
        }
        let goodput = found.goodput(totals.duration_s());
        let plateau = found.plateau();
        let mut warnings = own.warnings;
        warnings.extend(findings::all(&Evidence {
            state: own.state,
            load: &meta.load,
            totals: &totals,
            by_model: &found.by_model,
            client: &client,
            spacing: sums.spacing,
            warmup,
            metrics: &metrics,
            figures: load.as_ref(),
            plateau: plateau.as_ref().map_err(|why| *why),
            goodput: goodput.as_ref(),
            conversations,
            trace: sessions.trace.as_ref(),
            shards: &meta.shards,
            missing_shards: &meta.missing_shards,
            stream: meta.stream,
            unseen_tokens: sums.unseen_tokens,
        }));
        let (errors, errors_not_shown) = sums.errors.finish();
        Self {
            database: PathBuf::new(),
            state: own.state,
            ended_at: own.ended_at,
            meta,
            totals,
            metrics,
            intervals,
            with_failures: found.with_failures,
            load,
            segments: found.segments,
            by_model: found.by_model,
            by_url: found.by_url,
            plateau,
            goodput,
            conversations: sessions.conversations,
            turns: sessions.turns,
            trace: sessions.trace,
            workload: sessions.workload,
            client,
            errors,
            errors_not_shown,
            gpu_memory_gb: own.gpu_memory_gb,
            speeds: sums.speeds.finish(),
            warnings,
        }
    }

    /// The API generates tokens: others have vectors or scores.
    #[must_use]
    pub fn generates(&self) -> bool {
        self.totals.without_output == 0
    }

    /// Texts or documents of successes over the duration, per second; `None` for an API that generates.
    #[must_use]
    pub fn inputs_per_s(&self) -> Option<f64> {
        let rate = self.totals.rate_per_s(self.totals.inputs);
        rate.filter(|_| !self.generates())
    }

    /// Requests had a schedule.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.meta.load.pacing != Pacing::Unpaced
    }

    /// Requests never waited for the responses to others.
    #[must_use]
    pub fn is_open_loop(&self) -> bool {
        self.is_paced() && self.meta.load.is_open_loop()
    }

    /// Mean arrivals per second that were asked for; `None` without a schedule, and for one of a single
    /// moment.
    #[must_use]
    pub fn rate_per_s(&self) -> Option<f64> {
        self.meta.rate_per_s()
    }

    /// The distribution of a metric.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> &Distribution {
        self.metrics
            .get(&metric)
            .expect("a report has a distribution for every metric")
    }

    /// What of the run differs from its plateau by more than the limits; `None` without a plateau.
    #[must_use]
    pub fn differences(&self) -> Option<Differences> {
        let plateau = self.plateau.as_ref().ok()?;
        Some(Differences::of(plateau, &self.totals, &self.metrics))
    }

    /// Requests that failed, that were shed, and that were still in flight at the end of the drain
    /// timeout. How those that the stop of a run cancelled would have ended is not known.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let totals = &self.totals;
        totals.failed() + totals.shed + (totals.unfinished - totals.cancelled)
    }

    /// These over the requests that were lost or succeeded; `None` without any.
    #[must_use]
    pub fn lost_share(&self) -> Option<f64> {
        let due = self.totals.succeeded + self.lost();
        (due > 0).then(|| self.lost() as f64 / due as f64)
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

    /// Cached prompt tokens over the prompt tokens of the successes that reported them; `None` without any.
    #[must_use]
    pub fn cached_share(&self) -> Option<f64> {
        let totals = &self.totals;
        let cached = totals
            .cached_tokens
            .filter(|_| totals.cached_of_tokens > 0)?;
        Some(cached as f64 / totals.cached_of_tokens as f64)
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

/// The figures of the schedule with their verdict, and those of its segments. `due`: requests or
/// conversations that were.
fn load_figures(
    meta: &RunMeta,
    own: &Own,
    due: u64,
    found: &mut Found,
    client_limited: bool,
) -> Option<LoadFigures> {
    let spec = &meta.load;
    let profile_ended = own.state == RunState::Finished
        && own.stopped_by.is_none()
        && spec.requests.is_none_or(|asked| due < asked)
        && spec.duration_s.is_none();
    if client_limited {
        for (_, saturation) in &mut found.saturations {
            *saturation = saturation.client_limited();
        }
    }
    for figures in &mut found.segments {
        let own = found.saturations.iter();
        let mut own = own.filter(|(segment, _)| *segment == figures.position);
        figures.saturation = own.next().map(|(_, saturation)| *saturation);
        figures.plateau = found.segment_plateaus.remove(&figures.position);
    }
    let timing = found.timing()?;
    let sums = found.load.take()?;
    let schedule = spec.pacing.schedule()?;
    let mut figures = sums.finish(schedule, timing.start, profile_ended, own.stopped_by);
    figures.judged = figures::worst(&found.saturations);
    Some(figures)
}

/// What the parts of a run say of themselves, taken together.
struct Own {
    state: RunState,
    stopped_by: Option<StoppedBy>,
    ended_at: Option<String>,
    client: Option<ClientSnapshot>,
    warnings: Vec<Finding>,
    gpu_memory_gb: Option<f64>,
}

impl Own {
    fn of(parts: &[&dyn RecordSource]) -> Result<Self, StoreError> {
        let mut own = Self {
            state: RunState::Finished,
            stopped_by: parts.iter().find_map(|part| part.stopped_by()),
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

/// What the first pass sums up besides distributions.
#[derive(Default)]
struct Sums {
    totals: RunTotals,
    spacing: Spacing,
    /// Successful streams that reported output tokens although no event bore one.
    unseen_tokens: u64,
    errors: Errors,
    sessions: Option<SessionSums>,
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
        if let Some(sessions) = &mut self.sessions {
            sessions.push(record);
        }
        if record.dispatched() && record.starts_session() {
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
            && failure.kind != FailureKind::ContextLimit
        {
            self.errors.push(failure.kind, &failure.message, excerpt)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
