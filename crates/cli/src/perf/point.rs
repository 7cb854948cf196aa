//! Owns measuring one point: it wires prompts, engine, pipeline and database together and says how
//! the run ended.
//!
//! It must not know which points come before and after.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use async_channel::Sender;
use evalscope_core::engine::{
    self, Feed, FeedError, Pipeline, PipelineFault, RunControl, RunEnd, RunOutcome, RunSetup,
};
use evalscope_core::schedule::{Arrivals, Offsets};
use evalscope_core::search::ProbeJudge;
use evalscope_model::events::{Observer, RunEvent, Stage};
use evalscope_model::experiment::Point;
use evalscope_model::plan::{RunSpec, StoppedBy};
use evalscope_model::record::masked;
use evalscope_model::search::ProbeJudgement;
use evalscope_model::slo::SloFrom;
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_plugin::PluginCounts;
use evalscope_report::model::{FORMAT_VERSION, rfc3339_local};
use evalscope_report::rules::RecentRequests;
use evalscope_report::{
    Database, Finding, FindingId, Objective, RunMeta, RunState, StoreError, Tool, sqlite,
};
use evalscope_workload::dataset::{DatasetError, PromptStream};

use super::command::Command;
use super::load::{MostInFlight, announce_run, in_flight_note, in_flight_of};
use super::prove::Proven;
use super::start::{Starting, Unbegun};
use crate::observers::{
    ABORT_WINDOW, Abort, DebugLog, Display, EndedRun, Following, JudgedProbe, MetricsBoard,
    ProbeWatch, ProgressFile, SearchProgress, Standing, Watching,
};
use crate::requests::{doubts, vectors};
use crate::results::host;
use crate::secrets;
use crate::served::Served;
use crate::stages::{Mask, PluginCounting, TokenCounter, TokenCounting};

/// Events that may wait for the database. A slow disk then holds sessions back,
/// which shows as dispatch lag, instead of filling the memory.
const SINK_CAPACITY: usize = 256;

/// The thread that writes the database.
type Writer = std::thread::JoinHandle<Result<(), StoreError>>;

/// How a run ended, beside its records.
pub(super) struct Ended {
    /// What went wrong in this program, and how.
    pub(super) error: Option<(&'static str, anyhow::Error)>,
    /// What it was judged to be, if it was a probe.
    pub(super) judgements: Vec<ProbeJudgement>,
}

/// Measures the points of a command.
#[derive(Clone, Copy)]
pub(super) struct Measuring<'a> {
    pub(super) command: Command<'a>,
    pub(super) proven: &'a Proven,
    /// The experiment tracker.
    pub(super) following: Option<&'a Following>,
    /// The file with the progress of the command.
    pub(super) progress_file: Option<&'a ProgressFile>,
    /// How far the search is that the points are probes of.
    pub(super) searching: Option<&'a SearchProgress>,
    /// The metrics of the command's runs.
    pub(super) board: &'a MetricsBoard,
    /// The most connections that this process may hold open.
    pub(super) most_in_flight: MostInFlight,
}

impl Measuring<'_> {
    /// Measure a point into a folder. `None`: the command was stopped before the load began.
    pub(super) fn point(&self, point: &Point, folder: &Path) -> anyhow::Result<Option<Ended>> {
        let spec = &point.spec;
        let Command {
            job,
            control,
            log,
            served,
            prompts: dataset,
            ..
        } = self.command;
        let prompts = dataset.open(spec.dataset_offset, job.threads)?;
        let (passed_rounds, tally) = (prompts.rounds(), prompts.tally());
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join(sqlite::FILE_NAME);
        let clock = RunClock::start();
        let part = &spec.part();
        let in_flight = in_flight_of(part, self.most_in_flight);
        let database = Database::create(&path, &self.meta(spec, clock))?
            .with_gpu_memory(served.and_then(Served::peak_gpu_mib));
        let fewer = in_flight_note(part, in_flight, self.most_in_flight);
        announce_run(part, in_flight, fewer.as_deref(), log);
        // the stop of this run must not be the stop of the next one
        let own = RunControl {
            stop: control.stop.child_token(),
            abort: control.abort.child_token(),
            enough: Arc::default(),
        };
        let judged = point
            .probe
            .clone()
            .map(|plan| JudgedProbe::new(ProbeJudge::new(plan, spec)));
        let fault = PipelineFault::new(own.stop.clone());
        let (sink, events) = async_channel::bounded(SINK_CAPACITY);
        let (display, standing) = Display::start(
            part,
            clock,
            log.clone(),
            job.log_every,
            self.progress_file.cloned(),
            job.progress_lines,
            self.searching.cloned(),
        );
        let aborted = Arc::default();
        let probe = judged
            .as_ref()
            .map(|judged| judged.watch(clock, Arc::clone(&own.enough)));
        let observers = self.observers(part, clock, &standing, (&own, &aborted), probe);
        let pipeline = Pipeline::new(events, self.stages(), observers, fault.clone());
        let writer = write(database, pipeline)?;
        let (outcome, starting) = self.load(spec, in_flight, prompts, (clock, &own), &sink)?;
        if let Some(unbegun) = starting.unbegun() {
            drop((display, sink));
            let _ = stored(writer);
            return self.never_began(unbegun, folder);
        }
        let ended = clock.now();
        drop(display);
        let died = served.and_then(|served| served.end(outcome.failed > 0));
        let died = died.map(|how| {
            let text = format!("the server ended during the run: {how}");
            Finding::new(FindingId::ServerEnded, text)
        });
        let is_served = died.is_none();
        let tally = tally.lock().map(|tally| tally.clone()).unwrap_or_default();
        let skipped = dataset.passed_over(&tally);
        let doubts = self.doubts(spec, passed_rounds, &outcome);
        let findings = died
            .into_iter()
            .chain(doubts)
            .chain(fewer.map(|text| Finding::new(FindingId::FewerSlots, text)))
            .chain(skipped.map(|text| Finding::new(FindingId::ItemsSkipped, text)));
        for finding in findings {
            let _ = sink.send_blocking(finding.into());
        }
        drop(sink);
        let written = stored(writer);
        self.note_progress(match spec.conversations {
            Some(_) => standing.conversations(),
            None => outcome.measured,
        });
        let is_whole = is_served && fault.message().is_none() && written.is_ok();
        let (state, stopped_by) = state_of(&outcome.end, is_whole, &aborted);
        let error = error_of(written, &fault, outcome.end, &job.secrets);
        let stated = sqlite::set_end(&path, state, &rfc3339_local(&clock, ended), stopped_by);
        self.tell_end(EndedRun {
            state,
            folder: folder.display().to_string(),
            progress: standing.progress(part, &clock, ended),
        });
        let unstated =
            |error: StoreError| ("the end of the run could not be recorded", error.into());
        Ok(Some(Ended {
            judgements: judged.map(|judged| judged.finish()).unwrap_or_default(),
            error: error.or(stated.err().map(unstated)),
        }))
    }

    /// Note in the progress file that a run has ended, with so many requests or conversations.
    fn note_progress(&self, ended: u64) {
        if let Some(searching) = self.searching {
            searching.run_ended();
        }
        if let Some(file) = self.progress_file {
            file.run_ended(ended);
        }
    }

    /// Tell other programs that a run is over.
    fn tell_end(&self, run: EndedRun) {
        self.command.job.progress_lines.ended(&run);
        self.board.end(run);
    }

    /// Leave nothing of a point whose load never began.
    fn never_began(&self, unbegun: Unbegun, folder: &Path) -> anyhow::Result<Option<Ended>> {
        self.board.withdraw();
        let _ = std::fs::remove_dir_all(folder);
        match unbegun {
            Unbegun::Late(late) => Err(late.error()),
            Unbegun::Stopped => Ok(None),
        }
    }

    /// Send the requests of a point, once it may begin.
    fn load(
        &self,
        spec: &RunSpec,
        in_flight: NonZeroUsize,
        prompts: PromptStream,
        (clock, control): (RunClock, &RunControl),
        sink: &Sender<RunEvent>,
    ) -> anyhow::Result<(RunOutcome, Starting)> {
        let Command { job, start, .. } = self.command;
        let threads = job.threads.min(in_flight);
        let transport = self.proven.transport(self.command, clock, threads.get());
        std::thread::scope(|scope| {
            let run = spec.point.label.as_str();
            let (barrier, starting) =
                start.begin(scope, run, (clock, control.clone()), sink.clone())?;
            let setup = RunSetup {
                spec: spec.clone(),
                most_in_flight: in_flight,
                feed: Feed {
                    prompts: Box::new(prompts),
                    bodies: self.proven.bodies.builder(),
                },
                spread: self.proven.spread(job.url_strategy),
                clock,
                give_up_after: job.give_up_after,
                barrier,
            };
            Ok((engine::run(setup, &transport, control, sink), starting))
        })
    }

    /// What changes exchanges before they are stored. Secrets are masked last, so that nothing else
    /// reads altered responses.
    fn stages(&self) -> Vec<Box<dyn Stage>> {
        let Command { job, log, .. } = self.command;
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        if let Some(plugin) = &self.proven.bodies.plugin {
            let counts = PluginCounts::new(Arc::clone(plugin), job.secrets.clone());
            let counting = PluginCounting::new(counts, job.secrets.clone(), log.clone());
            stages.push(Box::new(counting));
        }
        if let Some(counter) = self.counter() {
            stages.push(Box::new(TokenCounting::new(counter, log.clone())));
        }
        stages.push(Box::new(Mask::new(&job.secrets)));
        stages
    }

    /// What watches the run.
    fn observers(
        &self,
        spec: &RunSpec,
        clock: RunClock,
        standing: &Standing,
        (control, aborted): (&RunControl, &Arc<AtomicBool>),
        probe: Option<ProbeWatch>,
    ) -> Vec<Box<dyn Observer>> {
        let Command { job, log, .. } = self.command;
        let shown = (job.model.as_str(), &job.secrets[..]);
        let tap = self.board.post(spec, clock, standing.clone(), shown);
        let mut observers: Vec<Box<dyn Observer>> =
            vec![Box::new(Watching(standing.clone())), Box::new(tap)];
        if !job.objectives.abort_if.is_empty() {
            observers.push(Box::new(Abort {
                recent: RecentRequests::new(job.objectives.abort_if.clone(), ABORT_WINDOW),
                after: job.objectives.abort_after,
                looked: Timestamp::ZERO,
                clock,
                stop: control.stop.clone(),
                log: log.clone(),
                has_aborted: Arc::clone(aborted),
            }));
        }
        if let Some(probe) = probe {
            observers.push(Box::new(probe));
        }
        if let Some(following) = self.following {
            observers.push(Box::new(following.live(&spec.point.label, job.log_every)));
        }
        if job.debug {
            let headers: Vec<String> = job
                .connection
                .headers
                .iter()
                .map(|(name, value)| format!("'{name}': '{}'", secrets::shown_header(name, value)))
                .collect();
            observers.push(Box::new(DebugLog {
                url: secrets::shown_urls(&self.proven.urls()),
                headers: headers.join(", "),
                hidden: job.secrets.clone(),
                clock,
                log: log.clone(),
            }));
        }
        observers
    }

    /// What counts tokens that the server does not report.
    fn counter(&self) -> Option<TokenCounter> {
        let Command { job, prompts, .. } = self.command;
        Some(TokenCounter {
            tokenizer: Arc::clone(prompts.tokenizer.as_ref()?),
            api: Arc::clone(&self.proven.bodies.rules.api),
            frame: prompts.frame,
            image_patch: job.image_patch,
        })
    }

    /// Findings about a run that its records do not show. Warnings are logged at once, but not the error that
    /// ends the command.
    fn doubts(&self, spec: &RunSpec, passed_rounds: u64, outcome: &RunOutcome) -> Vec<Finding> {
        let mut findings = Vec::new();
        let (held, asked) = match spec.conversations {
            Some(_) => ("conversations", "conversations"),
            None => ("prompts", "requests"),
        };
        if self.command.prompts.name != "prompt"
            && let Some(how) = repeats(
                spec.dataset_offset == self.command.job.plan.runs()[0].dataset_offset,
                passed_rounds,
                outcome.rounds,
                (held, asked),
            )
        {
            // probes are compared with one another
            let share = self.command.job.search.is_some().then(|| {
                let percent = 100.0 * outcome.repeated_share;
                format!(" ({percent:.0} % of its {held} had been used before)")
            });
            let text = format!(
                "the dataset `{}` has fewer {held} than {how}{}, so the server's prefix cache may be warm",
                self.command.prompts.name,
                share.unwrap_or_default()
            );
            findings.push(Finding::new(FindingId::PromptsRepeated, text));
        }
        let rules = &self.proven.bodies.rules;
        let doubt = rules.api.doubt();
        findings.extend(doubt.as_ref().map(doubts::finding));
        for finding in &findings {
            self.command.log.warn(&finding.text);
        }
        let is_set = |field: &str| {
            let template = rules.template.as_ref();
            rules.extra.contains_key(field) || template.is_some_and(|body| body.contains_key(field))
        };
        // a note, which is read with the figures
        findings.extend(vectors::advice(&*rules.api, is_set, outcome.received_per_s));
        let (id, what, why) = match &outcome.end {
            RunEnd::Feed(error) => (
                FindingId::RequestsNotMade,
                "no more requests could be made",
                error.to_string(),
            ),
            RunEnd::Fault(fault) => (
                FindingId::ProgramFault,
                "a part of this program failed",
                fault.to_string(),
            ),
            RunEnd::GaveUp(why) => (FindingId::GiveUpReason, "the run gave up", why.to_string()),
            RunEnd::Complete | RunEnd::Load(_) | RunEnd::Stopped | RunEnd::SinkGone => {
                return findings;
            }
        };
        let first = why.lines().next().unwrap_or_default();
        let text = masked(&format!("{what}: {first}"), &self.command.job.secrets);
        findings.push(Finding::new(id, text));
        findings
    }

    fn meta(&self, spec: &RunSpec, clock: RunClock) -> RunMeta {
        let job = self.command.job;
        RunMeta {
            format_version: FORMAT_VERSION,
            tool: Tool::this(),
            name: spec.point.label.clone(),
            model: job.model.clone(),
            api: job.api.to_string(),
            url: secrets::shown_urls(&self.proven.urls()),
            urls: self.proven.urls().iter().map(secrets::shown_url).collect(),
            dataset: self.command.prompts.name.clone(),
            load: spec.clone(),
            trace: self.command.prompts.trace_report(spec),
            first_arrival_ns: first_arrival_ns(spec),
            objective: job.objectives.slo.clone().map(|slo| Objective {
                slo,
                from: (job.objectives.from)
                    .unwrap_or_else(|| SloFrom::of_load(spec.is_open_loop())),
            }),
            settings: job.settings_at(&self.proven.urls()),
            started_at: rfc3339_local(&clock, Timestamp::ZERO),
            clock,
            record_bodies: job.record_bodies,
            stream: job.stream,
            lang: job.results.lang,
            host: Some(host::this()),
            command_line: Some(job.command_line.clone()),
            metadata: job.metadata.clone(),
            run_id: job.run_id.clone(),
            shards: Vec::new(),
            shard_clients: Vec::new(),
            missing_shards: Vec::new(),
            folder: Some(
                self.command
                    .top
                    .join(spec.point.folder())
                    .display()
                    .to_string(),
            ),
        }
    }
}

/// How long after its start a run's schedule has its first request.
fn first_arrival_ns(spec: &RunSpec) -> Option<u64> {
    let schedule = spec.pacing.schedule()?.clone();
    let arrivals = Offsets::from(Arrivals::new(schedule, spec.seed));
    let first = arrivals.dealt(spec.deal()).next_offset()?;
    u64::try_from(first.as_nanos()).ok()
}

/// How far a run came, and what ended its load early. `is_whole`: all of its results are there.
/// `aborted`: a rule has stopped it.
fn state_of(end: &RunEnd, is_whole: bool, aborted: &AtomicBool) -> (RunState, Option<StoppedBy>) {
    match end {
        RunEnd::Stopped if aborted.load(Ordering::Relaxed) => (RunState::Aborted, None),
        RunEnd::GaveUp(_) => (RunState::GaveUp, None),
        RunEnd::Complete if is_whole => (RunState::Finished, None),
        RunEnd::Load(why) if is_whole => (RunState::Finished, Some(*why)),
        RunEnd::Load(why) => (RunState::Interrupted, Some(*why)),
        _ => (RunState::Interrupted, None),
    }
}

/// What went wrong in this program during a run.
fn error_of(
    written: anyhow::Result<()>,
    fault: &PipelineFault,
    end: RunEnd,
    secrets: &[String],
) -> Option<(&'static str, anyhow::Error)> {
    match (written, fault.message()) {
        (Err(error), _) => Some((
            "the database could not be written: the run was stopped",
            error,
        )),
        (Ok(()), Some(message)) => Some((
            "a part of this program failed: the run was stopped",
            anyhow::anyhow!("{message}"),
        )),
        (Ok(()), None) => what_ended(end, secrets),
    }
}

/// Write what comes out of a pipeline, on a thread of its own.
fn write(database: Database, events: Pipeline) -> anyhow::Result<Writer> {
    std::thread::Builder::new()
        .name("evalscope-store".to_owned())
        .spawn(move || database.run(events))
        .context("cannot start the thread that writes the database")
}

/// Wait until everything is in the database.
fn stored(writer: Writer) -> anyhow::Result<()> {
    match writer.join() {
        Ok(written) => written.map_err(anyhow::Error::new),
        Err(_) => Err(anyhow::anyhow!(
            "the thread that writes the database panicked; please report it"
        )),
    }
}

/// What went wrong if a run ended early.
fn what_ended(end: RunEnd, secrets: &[String]) -> Option<(&'static str, anyhow::Error)> {
    Some(match end {
        RunEnd::Complete | RunEnd::Load(_) | RunEnd::Stopped => return None,
        RunEnd::Feed(FeedError::Workload(error)) => (
            "the dataset failed: the run was stopped",
            match error.downcast::<DatasetError>() {
                Ok(error) => anyhow::Error::new(*error),
                Err(other) => anyhow::Error::from_boxed(other),
            },
        ),
        RunEnd::Feed(FeedError::Bodies(error)) => (
            "no request could be built: the run was stopped",
            error.into(),
        ),
        RunEnd::GaveUp(why) => (
            "the run gave up (`--give-up-after`)",
            anyhow::anyhow!("{}", masked(&why.to_string(), secrets)),
        ),
        RunEnd::SinkGone => (
            "a part of this program failed: the run was stopped",
            anyhow::anyhow!("the database stopped accepting records"),
        ),
        RunEnd::Fault(fault) => (
            "a part of this program failed: the run was stopped",
            fault.into(),
        ),
    })
}

/// How prompts were repeated, to continue "fewer prompts than"; `held` and `asked` are what a dataset has
/// and a run asks for. `passed` is how often the dataset had
/// been started over before the run, for the prompts of earlier runs, and `rounds` how often by its
/// end.
fn repeats(
    is_first: bool,
    passed: u64,
    rounds: u64,
    (held, asked): (&str, &str),
) -> Option<String> {
    let own = match rounds.saturating_sub(passed) {
        0 if passed == 0 || is_first => return None,
        0 => {
            return Some(format!(
                "the runs so far have {asked}: this one reused their {held}"
            ));
        }
        1 => "once".to_owned(),
        own => format!("{own} times"),
    };
    Some(if is_first {
        format!("the run has {asked}: it was started over {own}")
    } else {
        format!("the runs so far have {asked}: it was started over {own} in this one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_thread_that_panics_is_an_error_of_the_run() {
        let panicking = std::thread::spawn(|| panic!("the test's database panics"));
        let error = stored(panicking).unwrap_err().to_string();
        assert_eq!(
            error,
            "the thread that writes the database panicked; please report it"
        );
    }
}
