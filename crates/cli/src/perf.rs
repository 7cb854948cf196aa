//! Owns the `perf` subcommand: it wires plan, prompts, engine, database, files
//! and screen together, and turns signals into a stop.
//!
//! It must not know metric formulas or the wire.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::counting::TokenCounter;
use anyhow::Context;
use async_channel::{Receiver, Sender};
use evalscope_core::engine::{
    self, Feed, FeedError, HttpTransport, Progress, RunControl, RunEnd, RunSetup,
};
use evalscope_core::transport::{ReadStats, Reuse, Target, raise_open_files_limit};
use evalscope_model::events::SinkMessage;
use evalscope_model::plan::{Pacing, RunSpec};
use evalscope_model::record::{Masker, RecordBodies, masked};
use evalscope_model::time::{RunClock, Timestamp, wall_ns};
use evalscope_report::console as tables;
use evalscope_report::model::{FORMAT_VERSION, rfc3339_local};
use evalscope_report::{
    Database, Finding, FindingId, RunMeta, RunReport, RunState, StoreError, Tool, files, sqlite,
};
use evalscope_workload::dataset::DatasetError;
use evalscope_workload::tokens::{TOKENIZER_FILE, Tokenizer};

use evalscope_plugin::{Plugin, PluginCounts, Role};

use crate::catalog::apis::Serves;
use crate::env::Environment;
use crate::failure::{self, Unfinished, hinted};
use crate::flags::PerfArgs;
use crate::flags::choices::ApiChoice;
use crate::log::Log;
use crate::plugins::{PluginLog, Starter};
use crate::progress::Display;
use crate::progress_file::ProgressFile;
use crate::requests::bodies::BodySource;
use crate::requests::preflight::{self, Checked, Way};
use crate::requests::target::target;
use crate::requests::{doubts, models};
use crate::resolve::{self, Job};
use crate::results::{disk, folder, host};
use crate::served::Served;
use crate::served::simulator::Simulator;
use crate::sources::fetch::Fetcher;
use crate::sources::{BAD_LINE, DatasetKind, Prompts};
use crate::stages::{Counting, StageFault, log_exchange, plugin_stage, stage};
use crate::trackers::Following;
use crate::{console, env, secrets, signals};
use serde_json::Value;
use url::Url;

/// How long preparation may continue after a stop: files and templates could block it forever.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Redirects that the test request follows.
const MAX_REDIRECTS: usize = 5;

/// Records that may wait for the database. A slow disk then holds slots back,
/// which shows as dispatch lag, instead of filling the memory.
const SINK_CAPACITY: usize = 256;

pub(crate) fn run(args: PerfArgs) -> anyhow::Result<ExitCode> {
    let environment = Environment::read()?;
    let mut args = resolve::with_stdin(args)?;
    if models::is_wanted(&args) {
        args.server.model = Some(models::only(&args, &environment)?);
    }
    let job = resolve::resolve(args, &environment)?;
    let control = RunControl::default();
    signals::listen(control.clone())?;
    if let Some(plan) = &job.served {
        plan.check_port()?;
    }
    let plugin_log = PluginLog::default();
    let Some((job, prepared)) = prepare_apart(job, &control, &plugin_log)? else {
        console::err("stopped before any load was sent");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    };
    let Prepared {
        prompts,
        api_plugin,
        simulator,
    } = prepared;
    let target = Arc::new(target(&job, &job.url)?);
    let top = folder::make(&job.results, job.plan.runs())?;
    let log = Log::create(&top)?;
    plugin_log.set_log(&log);
    announce(&job, &target, &log);
    let start = |plan| Served::start(plan, &top, &control, &log);
    let served = job.served.as_ref().map(start).transpose()?;

    let mut invocation = Invocation {
        following: None,
        progress_file: None,
        served: served.as_ref(),
        bodies: BodySource {
            rules: job.bodies.clone(),
            plugin: api_plugin,
        },
        job: &job,
        prompts: &prompts,
        url: job.url.clone(),
        target,
        reuse: Reuse::WhileOpen,
        most_slots: most_slots(),
        control: &control,
        top,
        log: log.clone(),
    };
    let progress_file = job
        .progress_file
        .then(|| ProgressFile::start(&invocation.top, job.plan.runs()));
    invocation.progress_file = progress_file.as_ref();
    let tested = invocation.test();
    if !matches!(tested, Ok(true)) {
        if let Some(file) = &progress_file {
            file.end(false);
        }
        // nothing was measured, and the error gives the reason
        folder::forget(&invocation.top);
        tested?;
        log.info("stopped before any load was sent");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    }
    // only now it is known where requests go
    let following = match &job.tracker {
        Some(plan) => {
            let (settings, top) = (invocation.settings(), &invocation.top);
            Some(plan.start(&settings, top, &control, &log)?)
        }
        None => None,
    };
    invocation.following = following.as_ref();
    let code = invocation.sweep();
    if let Some(file) = &progress_file {
        file.end(matches!(&code, Ok(code) if *code == ExitCode::SUCCESS));
    }
    drop((simulator, served));
    code
}

/// What the preparation makes.
struct Prepared {
    prompts: Prompts,
    api_plugin: Option<Arc<Plugin>>,
    simulator: Option<Simulator>,
}

/// [`prepare`] on its own thread, which is abandoned if it does not end after a stop: nothing has
/// been measured yet. `None`: stopped.
fn prepare_apart(
    job: Job,
    control: &RunControl,
    plugin_log: &PluginLog,
) -> anyhow::Result<Option<(Job, Prepared)>> {
    let (done, ready) = std::sync::mpsc::sync_channel(1);
    let (own, said) = (control.clone(), plugin_log.clone());
    std::thread::Builder::new()
        .name("evalscope-prepare".to_owned())
        .spawn(move || {
            // the receiver is gone if the command was stopped
            let _ = done.send(prepare(job, &own, &said));
        })
        .context("cannot start the thread that prepares prompts")?;
    let clock = RunClock::start();
    let mut stopped = None;
    loop {
        match ready.recv_timeout(Duration::from_millis(20)) {
            Ok(_) if control.stop.is_cancelled() => return Ok(None),
            Ok(prepared) => return prepared.map(Some),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(error) => {
                return Err(
                    anyhow::Error::new(error).context("the thread that prepares prompts panicked")
                );
            }
        }
        if control.stop.is_cancelled() {
            let since = *stopped.get_or_insert_with(|| clock.now());
            if control.abort.is_cancelled() || clock.now().since(since) >= STOP_GRACE {
                return Ok(None);
            }
        }
    }
}

/// Start plugins, download and load what the dataset needs, and read its first prompt: mistakes are
/// found before anything is made or sent. The job comes back with what was learned.
fn prepare(
    job: Job,
    control: &RunControl,
    plugin_log: &PluginLog,
) -> anyhow::Result<(Job, Prepared)> {
    let fetcher = Fetcher {
        source: job.hub,
        control,
    };
    let plan = job.prompts.clone();
    let tokenizer = plan.tokenizer(&fetcher)?;
    // before plugins, which get its address
    let (job, simulator) = start_simulator(job, tokenizer.as_deref())?;
    let starter = Starter {
        python: job.python.as_deref(),
        settings: &job.settings,
        control,
        plugin_log,
    };
    let api = match &job.api {
        ApiChoice::Plugin(place) => Some(starter.start(place, Role::Api)?),
        _ => None,
    };
    let dataset = match &job.prompts.set {
        DatasetKind::Plugin(place) => Some(starter.start(place, Role::Dataset)?),
        _ => None,
    };
    let job = match &api {
        Some(plugin) => job.with_api(Arc::new(plugin.api()?)),
        None => job,
    };
    let mut notes = Vec::new();
    let say = &mut |note| notes.push(note);
    let mut prompts = plan.prepare(tokenizer, &fetcher, dataset, say)?;
    prompts.survey(|| !control.stop.is_cancelled(), say)?;
    let offset = job.plan.runs()[0].dataset_offset;
    let first = prompts.open(offset, NonZeroUsize::MIN)?.next_item();
    first.map_err(|error| prompts.explained(error))?;
    let prepared = Prepared {
        prompts,
        api_plugin: api,
        simulator,
    };
    Ok((job.with_notes(notes), prepared))
}

/// How a run ended, beside its records.
struct Ended {
    /// What went wrong in this program, and how.
    error: Option<(&'static str, anyhow::Error)>,
}

/// One command being carried out.
struct Invocation<'a> {
    job: &'a Job,
    prompts: &'a Prompts,
    /// The server that this command started.
    served: Option<&'a Served>,
    /// The experiment tracker.
    following: Option<&'a Following>,
    /// The file with the progress of the command.
    progress_file: Option<&'a ProgressFile>,
    /// Where requests go, after redirects.
    url: Url,
    /// How bodies are made, as learned from the test request.
    bodies: BodySource,
    target: Arc<Target>,
    /// What the server does with connections, as learned from the test request.
    reuse: Reuse,
    control: &'a RunControl,
    /// The most connections that this process may hold open.
    most_slots: usize,
    /// The folder of all results.
    top: PathBuf,
    log: Log,
}

impl Invocation<'_> {
    /// Send the test request, unless disabled. Says whether to go on.
    fn test(&mut self) -> anyhow::Result<bool> {
        let tested = if self.job.test_connection {
            self.follow()
        } else {
            Ok(!self.control.stop.is_cancelled())
        };
        // if the server started here has died, that is the reason
        match self.served.and_then(|served| served.error(tested.is_err())) {
            Some(error) => Err(error.context("the server ended during the test request")),
            None => tested.map_err(|error| match self.served {
                Some(served) => served.blamed(error),
                None => error,
            }),
        }
    }

    /// Send the test request, and follow where it leads.
    fn follow(&mut self) -> anyhow::Result<bool> {
        let mut seen = Vec::new();
        for _ in 0..MAX_REDIRECTS {
            let transport = self.transport(RunClock::start(), 1);
            let proxy = self.target.proxy();
            let way = Way {
                proxy: proxy.map(|proxy| (proxy, env::proxy_variable(&self.url))),
                known_api: self.job.api.named().is_some(),
                wait: self.job.wait_for_server,
                secrets: &self.job.secrets,
            };
            let checked = preflight::check(
                &mut self.bodies,
                &self.url,
                &way,
                &transport,
                self.control,
                &self.log,
            )?;
            match checked {
                Checked::Ready(reuse) => {
                    self.reuse = reuse;
                    return Ok(true);
                }
                Checked::Stopped => return Ok(false),
                Checked::Moved(to) => {
                    let shown = masked(&secrets::shown_url(&to), &self.job.secrets);
                    seen.push(self.url.clone());
                    if seen.contains(&to) {
                        return Err(hinted(
                            format!(
                                "the test request failed: the server redirects in a circle, back to \
                                 {shown}"
                            ),
                            "give the URL of the endpoint itself",
                        ));
                    }
                    self.log.info(&format!(
                        "the server redirects to {shown}: requests go there"
                    ));
                    self.target = Arc::new(target(self.job, &to)?);
                    self.url = to;
                }
            }
        }
        Err(hinted(
            format!("the server redirected {MAX_REDIRECTS} times"),
            "give the URL of the endpoint itself",
        ))
    }

    /// All runs of the plan, one after another.
    fn sweep(&self) -> anyhow::Result<ExitCode> {
        let Self {
            job,
            control,
            top,
            log,
            ..
        } = self;
        let screen = console::screen();
        let mut reports: Vec<RunReport> = Vec::new();
        let mut broken = None;
        // prompts that runs without a number have used
        let mut used = 0;
        for (i, spec) in job.plan.runs().iter().enumerate() {
            if i > 0 && !pause(job.plan.sleep_interval(), control, log) {
                break;
            }
            let folder = top.join(&spec.name);
            let spec = &RunSpec {
                dataset_offset: spec.dataset_offset + used,
                ..spec.clone()
            };
            let ended = match self.one_run(spec, &folder) {
                Ok(ended) => ended,
                // the results of earlier runs are kept and shown
                Err(error) if !reports.is_empty() => {
                    broken = Some(("a run could not start", error));
                    break;
                }
                Err(error) => return Err(error),
            };
            let report = match RunReport::load(&folder.join(sqlite::FILE_NAME)) {
                Ok(report) => report,
                Err(error) => {
                    let unread = ("the database cannot be read", error.into());
                    broken = ended.error.or(Some(unread));
                    break;
                }
            };
            log.keep("INFO", wall_ns(), &format!("results of {}", spec.name));
            console::out(&tables::run(&report, screen));
            let own = files::write_run(&folder, &report);
            if let Some(following) = self.following {
                following.summary(&report);
            }
            if spec.requests.is_none() && !job.repeat_prompts {
                used += report.totals.total;
            }
            reports.push(report);
            // after each run, so that a later mishap loses nothing
            let written = own.and_then(|()| files::write_invocation(top, &reports));
            let unwritten = |error: files::FilesError| ("not all files were written", error.into());
            broken = ended.error.or(written.err().map(unwritten));
            if broken.is_some() {
                break;
            }
            if control.stop.is_cancelled() {
                break;
            }
        }
        if reports.len() > 1 {
            console::out(&tables::sweep(&reports, screen));
        }
        if let Some(following) = self.following {
            following.files(top);
        }
        log.info(&format!("results are in {}", top.display()));
        if broken.is_none()
            && let Some(source) = self.served.and_then(|served| served.error(false))
        {
            let what = "the server ended during the command";
            let hint = format!("the measurements are in {}", top.display());
            return Err(Unfinished { what, source, hint }.into());
        }
        if let Some((what, source)) = broken {
            let bad_line = matches!(source.downcast_ref(), Some(DatasetError::Item { .. }));
            let hint = if bad_line {
                format!("{BAD_LINE}; the measurements are in {}", top.display())
            } else {
                format!(
                    "the measurements are in the databases: fix the cause, then run `evalscope report {}`",
                    top.display()
                )
            };
            return Err(Unfinished { what, source, hint }.into());
        }
        Ok(self.exit_code(&reports))
    }

    fn exit_code(&self, reports: &[RunReport]) -> ExitCode {
        let Self {
            job, control, log, ..
        } = self;
        if control.stop.is_cancelled() {
            return ExitCode::from(failure::INTERRUPTED);
        }
        let total: u64 = reports.iter().map(|r| r.totals.total).sum();
        let failed: u64 = reports.iter().map(|r| r.totals.failed()).sum();
        // a point without a success has no figures, whatever the others have
        let empty: Vec<&str> = reports
            .iter()
            .filter(|report| report.totals.succeeded == 0)
            .map(|report| report.meta.name.as_str())
            .collect();
        if !empty.is_empty() {
            log.warn(&match (total, reports.len() == empty.len()) {
                (0, _) => "no request was sent: none was due before the run ended".to_owned(),
                (_, true) => "no request succeeded".to_owned(),
                (_, false) => format!("no request succeeded in {}", empty.join(", ")),
            });
            return ExitCode::from(failure::FAILED);
        }
        if let Some(limit) = job.max_error_rate {
            let rate = failed as f64 / total as f64;
            if rate > limit {
                log.warn(&format!(
                "{failed} of {total} requests failed: {:.2} % is above `--max-error-rate` {:.2} %",
                rate * 100.0,
                limit * 100.0
            ));
                return ExitCode::from(failure::FAILED);
            }
        } else if failed > 0 {
            log.info(&format!(
                "{failed} of {} failed; the exit code is still 0; `--max-error-rate 1%` sets a limit",
                counted(total, "request")
            ));
        }
        ExitCode::SUCCESS
    }

    fn one_run(&self, spec: &RunSpec, folder: &Path) -> anyhow::Result<Ended> {
        let Self {
            job, control, log, ..
        } = self;
        let prompts = self.prompts.open(spec.dataset_offset, job.threads)?;
        let passed_rounds = prompts.rounds();
        let tally = prompts.tally();
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join(sqlite::FILE_NAME);
        let clock = RunClock::start();
        let slots = slots_of(spec, self.most_slots);
        let threads = job.threads.min(slots);
        let database = Database::create(&path, &self.meta(spec, clock))?
            .with_gpu_memory(self.served.and_then(Served::peak_gpu_mib))
            .with_edit(masking(&job.secrets));
        announce_run(spec, slots, log);
        let (to_database, records) = async_channel::bounded(SINK_CAPACITY);
        let writer = std::thread::Builder::new()
            .name("evalscope-sqlite".to_owned())
            .spawn(move || database.run(records))
            .context("cannot start the thread that writes the database")?;
        // the stop of this run must not be the stop of the next one
        let own = RunControl {
            stop: control.stop.child_token(),
            abort: control.abort.child_token(),
        };
        let fault = StageFault::new(own.stop.clone());
        let (sink, stages) = self.stages(spec, to_database, clock, &fault)?;

        let setup = RunSetup {
            spec: spec.clone(),
            most_in_flight: slots,
            feed: Feed {
                prompts: Box::new(prompts),
                bodies: self.bodies.builder(),
            },
            clock,
            give_up_after: job.give_up_after,
        };
        let transport = self.transport(clock, threads.get());
        let progress = Arc::new(Progress::default());
        let display = Display::start(
            spec,
            Arc::clone(&progress),
            clock,
            log.clone(),
            job.log_every,
            self.progress_file.cloned(),
        );
        let outcome = engine::run(setup, &transport, &own, &progress, &sink);
        let ended_at = rfc3339_local(&clock, clock.now());
        drop(display);
        self.note_progress(&progress);

        let died = self
            .served
            .and_then(|served| served.end(progress.has_failures()));
        if let Some(how) = died {
            let text = format!("the server ended during the run: {how}");
            let ended = Finding::new(FindingId::ServerEnded, text);
            let _ = sink.send_blocking(ended.into());
        }
        let tally = tally.lock().map(|tally| tally.clone()).unwrap_or_default();
        let passed_over = self.prompts.passed_over(&tally);
        let slots_note =
            slots_note(spec, slots).map(|text| Finding::new(FindingId::FewerSlots, text));
        let passed_over = passed_over.map(|text| Finding::new(FindingId::ItemsSkipped, text));
        for finding in self
            .doubts(spec, passed_rounds, &outcome)
            .into_iter()
            .chain(slots_note)
            .chain(passed_over)
        {
            let _ = sink.send_blocking(finding.into());
        }
        drop(sink);
        for stage in stages.into_iter().rev() {
            let _ = stage.join();
        }
        let written = stored(writer);
        let state = match &outcome.end {
            RunEnd::GaveUp(_) => RunState::GaveUp,
            RunEnd::Complete if died.is_none() && fault.said().is_none() && written.is_ok() => {
                RunState::Finished
            }
            _ => RunState::Interrupted,
        };
        let error = match (written, fault.said()) {
            (Err(error), _) => Some((
                "the database could not be written: the run was stopped",
                error,
            )),
            (Ok(()), Some(said)) => Some((
                "a part of this program failed: the run was stopped",
                anyhow::anyhow!("{said}"),
            )),
            (Ok(()), None) => what_ended(outcome.end, &job.secrets),
        };
        let stated = sqlite::set_end(&path, state, &ended_at);
        let unstated =
            |error: StoreError| ("the end of the run could not be recorded", error.into());
        Ok(Ended {
            error: error.or(stated.err().map(unstated)),
        })
    }

    /// Write into the progress file that a run is over.
    fn note_progress(&self, progress: &Progress) {
        if let Some(file) = self.progress_file {
            file.run_ended(progress);
        }
    }

    /// Warnings about a run that its records do not show. All but the error that ends the command are
    /// logged at once.
    fn doubts(
        &self,
        spec: &RunSpec,
        passed_rounds: u64,
        outcome: &engine::RunOutcome,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.prompts.name != "prompt"
            && let Some(how) = repeats(
                spec.dataset_offset == self.job.plan.runs()[0].dataset_offset,
                passed_rounds,
                outcome.rounds,
            )
        {
            let text = format!(
                "the dataset `{}` has fewer prompts than {how}, so the server's prefix cache may be warm",
                self.prompts.name
            );
            findings.push(Finding::new(FindingId::PromptsRepeated, text));
        }
        let doubt = self.bodies.rules.api.doubt();
        findings.extend(doubt.as_ref().map(doubts::finding));
        for finding in &findings {
            self.log.warn(&finding.text);
        }
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
            RunEnd::Complete | RunEnd::Stopped | RunEnd::SinkGone => return findings,
        };
        let first = why.lines().next().unwrap_or_default();
        let text = masked(&format!("{what}: {first}"), &self.job.secrets);
        findings.push(Finding::new(id, text));
        findings
    }

    fn transport(&self, clock: RunClock, threads: usize) -> HttpTransport {
        let job = self.job;
        HttpTransport {
            target: Arc::clone(&self.target),
            reuse: self.reuse,
            timeouts: job.connection.timeouts,
            // what is to be logged or counted has to be kept that long
            record_bodies: if job.debug
                || self.prompts.tokenizer.is_some()
                || self.bodies.plugin.is_some()
            {
                RecordBodies::All
            } else {
                job.record_bodies
            },
            api: Arc::clone(&self.bodies.rules.api),
            clock,
            stats: Arc::new(
                (0..threads)
                    .map(|_| Arc::new(ReadStats::default()))
                    .collect(),
            ),
            user_clock_only: false,
        }
    }

    /// The settings, with the URL that requests go to.
    fn settings(&self) -> Value {
        self.job.settings_at(&self.url)
    }

    fn meta(&self, spec: &RunSpec, clock: RunClock) -> RunMeta {
        let job = self.job;
        RunMeta {
            format_version: FORMAT_VERSION,
            tool: Tool::this(),
            name: spec.name.clone(),
            model: job.model.clone(),
            api: job.api.to_string(),
            url: secrets::shown_url(&self.url),
            dataset: self.prompts.name.clone(),
            load: spec.clone(),
            settings: self.settings(),
            started_at: rfc3339_local(&clock, Timestamp::ZERO),
            clock,
            record_bodies: job.record_bodies,
            stream: job.stream,
            host: Some(host::this()),
            command_line: Some(job.command_line.clone()),
            metadata: job.metadata.clone(),
            folder: Some(self.top.join(&spec.name).display().to_string()),
        }
    }

    /// The stages between the slots and the database: where records go in, and the threads, the last
    /// one first.
    fn stages(
        &self,
        spec: &RunSpec,
        to_database: Sender<SinkMessage>,
        clock: RunClock,
        fault: &StageFault,
    ) -> anyhow::Result<(Sender<SinkMessage>, Vec<std::thread::JoinHandle<()>>)> {
        let mut stages = Vec::new();
        let mut sink = to_database;
        if self.job.debug {
            let (before, seen) = async_channel::bounded(SINK_CAPACITY);
            stages.push(self.debug_stage(seen, sink, clock, fault)?);
            sink = before;
        }
        if let Some(following) = self.following {
            let (before, seen) = async_channel::bounded(SINK_CAPACITY);
            let live = following.live(&spec.name, self.job.log_every);
            let name = ("evalscope-live", "the thread that reports to the tracker");
            stages.push(stage(name, seen, sink, fault.clone(), live)?);
            sink = before;
        }
        if let Some(counter) = self.counter() {
            let (before, seen) = async_channel::bounded(SINK_CAPACITY);
            let (log, next, mut doubted) = (self.log.clone(), sink.clone(), false);
            let name = ("evalscope-count", "the thread that counts tokens");
            stages.push(stage(name, seen, sink, fault.clone(), move |exchange| {
                let doubt = counter.count(exchange).filter(|_| !doubted);
                if let Some(doubt) = doubt {
                    doubted = true;
                    log.warn(&doubt.to_string());
                    let finding = doubts::finding(&doubt);
                    let _ = next.send_blocking(finding.into());
                }
            })?);
            sink = before;
        }
        if let Some(plugin) = &self.bodies.plugin {
            let (before, seen) = async_channel::bounded(SINK_CAPACITY);
            let secrets = self.job.secrets.clone();
            let counts = PluginCounts::new(Arc::clone(plugin), secrets.clone());
            stages.push(plugin_stage(
                seen,
                sink,
                fault.clone(),
                Counting::new(counts, secrets, self.log.clone()),
            )?);
            sink = before;
        }
        Ok((sink, stages))
    }

    /// Log every exchange on its way to the database, off the receiving path.
    fn debug_stage(
        &self,
        seen: Receiver<SinkMessage>,
        to_database: Sender<SinkMessage>,
        clock: RunClock,
        fault: &StageFault,
    ) -> anyhow::Result<std::thread::JoinHandle<()>> {
        let (job, log) = (self.job, self.log.clone());
        let url = secrets::shown_url(&self.url);
        let headers: Vec<String> = job
            .connection
            .headers
            .iter()
            .map(|(name, value)| format!("'{name}': '{}'", secrets::shown_header(name, value)))
            .collect();
        let headers = headers.join(", ");
        let hidden = job.secrets.clone();
        let name = ("evalscope-debug", "the thread that logs requests");
        stage(name, seen, to_database, fault.clone(), move |exchange| {
            log_exchange(exchange, &url, &headers, &hidden, &clock, &log);
        })
    }

    /// Counts tokens that the server does not report.
    fn counter(&self) -> Option<TokenCounter> {
        Some(TokenCounter {
            tokenizer: Arc::clone(self.prompts.tokenizer.as_ref()?),
            api: Arc::clone(&self.bodies.rules.api),
            frame: self.prompts.frame,
            image_patch: self.job.image_patch,
        })
    }
}

fn start_simulator(
    job: Job,
    tokenizer: Option<&Tokenizer>,
) -> anyhow::Result<(Job, Option<Simulator>)> {
    if job.api.serves() != Serves::Simulator {
        return Ok((job, None));
    }
    let seed = job.plan.runs()[0].seed;
    // with its folder it finds the chat template too
    let place = tokenizer.map(|tokenizer| match tokenizer.path().parent() {
        Some(folder) if tokenizer.path().ends_with(TOKENIZER_FILE) => folder,
        _ => tokenizer.path(),
    });
    let place = place.map(|place| {
        if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        }
    });
    let simulator = Simulator::start(&job.model, seed, place)?;
    let mut url =
        Url::parse(&simulator.address).context("the simulated server has no usable address")?;
    url.set_path(job.url.path());
    Ok((job.with_url(url), Some(simulator)))
}

/// Files beside connections: the database, logs, event loops, plugins, a margin.
const SPARE_FILES: u64 = 64;

/// The most connections that this process may hold open, after it has raised its limit.
fn most_slots() -> usize {
    raise_open_files_limit().map_or(usize::MAX, |limit| {
        // of a limit that is tiny, half is left for connections
        let spare = SPARE_FILES.min(limit / 2);
        usize::try_from(limit - spare).unwrap_or(usize::MAX)
    })
}

/// Log in brief what will be done.
fn announce(job: &Job, target: &Target, log: &Log) {
    for note in job.notes.iter().chain(&disk::note(job)) {
        log.info(note);
    }
    log.info(&format!(
        "model {}, api {}, {}",
        job.model,
        job.api,
        secrets::shown_url(&job.url)
    ));
    if let Some(proxy) = target.proxy() {
        log.info(&format!("using the proxy {proxy}"));
    }
    if job.connection.trust.insecure && job.url.scheme() == "https" {
        log.warn("the server's certificate is not verified");
    } else if let Some(roots) = target.tls_roots() {
        log.info(&format!("trusted certificates: {roots}"));
    }
    log.info(&format!(
        "dataset {}, max_tokens {}, {}",
        job.prompts.set.name(),
        match job.bodies.max_tokens {
            evalscope_core::protocol::MaxTokens::Fixed(n) => n.to_string(),
            evalscope_core::protocol::MaxTokens::Uniform(a, b) => format!("{a} to {b}"),
        },
        counted(job.threads.get() as u64, "receive thread")
    ));
}

/// Slots if requests in flight are unlimited: each takes about 9 KB, and few servers hold as many
/// open streams.
const MOST_IN_FLIGHT: usize = 10_000;

/// Slots that are worth making: no more than requests, and no more than the machine can open
/// connections for.
fn slots_of(spec: &RunSpec, most: usize) -> NonZeroUsize {
    let requests = spec.requests.unwrap_or(u64::MAX).max(spec.warmup_requests);
    let requests = usize::try_from(requests).unwrap_or(usize::MAX);
    let asked = spec.concurrency.map_or(MOST_IN_FLIGHT, NonZeroUsize::get);
    NonZeroUsize::new(asked.min(requests).min(most)).unwrap_or(NonZeroUsize::MIN)
}

/// A note if there are fewer slots than asked for.
fn slots_note(spec: &RunSpec, slots: NonZeroUsize) -> Option<String> {
    let asked = spec.concurrency.filter(|asked| slots < *asked)?;
    let requests = spec.requests.unwrap_or(u64::MAX).max(spec.warmup_requests);
    let why = if slots.get() as u64 == requests {
        format!("the run has only {}", counted(requests, "request"))
    } else {
        "this process may not open more files (raise the limit with `ulimit -Hn`)".to_owned()
    };
    Some(format!(
        "`--parallel {asked}` is limited to {slots} in flight: {why}"
    ))
}

/// Wait until everything is in the database.
fn stored(writer: std::thread::JoinHandle<Result<(), StoreError>>) -> anyhow::Result<()> {
    match writer.join() {
        Ok(written) => written.map_err(anyhow::Error::new),
        Err(_) => Err(anyhow::anyhow!(
            "the thread that writes the database panicked; please report it"
        )),
    }
}

/// Masks secrets that a server has repeated in failed exchanges, when records are stored, off the
/// receiving path.
fn masking(secrets: &[String]) -> sqlite::BeforeStoring {
    let masker = Masker::new(secrets);
    Box::new(move |exchange| masker.hide(exchange))
}

/// What went wrong if a run ended early.
fn what_ended(end: RunEnd, secrets: &[String]) -> Option<(&'static str, anyhow::Error)> {
    Some(match end {
        RunEnd::Complete | RunEnd::Stopped => return None,
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

/// Log in brief what a run will do.
fn announce_run(spec: &RunSpec, slots: NonZeroUsize, log: &Log) {
    if let Some(note) = slots_note(spec, slots) {
        log.warn(&note);
    }
    log.info(&format!(
        "{}: {}{}",
        spec.name,
        match (spec.requests, spec.duration_s) {
            (Some(requests), None) => counted(requests, "request"),
            (Some(requests), Some(seconds)) =>
                format!("{} in at most {seconds} s", counted(requests, "request")),
            (None, seconds) => format!("requests for {} s", seconds.unwrap_or(0.0)),
        },
        match (spec.pacing, spec.concurrency) {
            (Pacing::Unpaced, _) => format!(", {slots} in flight"),
            (Pacing::Poisson { rate_per_s }, Some(_)) =>
                format!(", Poisson arrivals at {rate_per_s}/s, at most {slots} in flight"),
            (Pacing::Poisson { rate_per_s }, None) => {
                let is_capped = spec
                    .requests
                    .is_none_or(|requests| (slots.get() as u64) < requests);
                let most = if is_capped {
                    format!(" (this program can hold {slots})")
                } else {
                    String::new()
                };
                format!(", Poisson arrivals at {rate_per_s}/s, no limit in flight{most}")
            }
        }
    ));
}

/// A number with its noun.
fn counted(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// How prompts were repeated, to continue "fewer prompts than". `passed` is how often the dataset had
/// been started over before the run, for the prompts of earlier runs, and `rounds` how often by its
/// end.
fn repeats(is_first: bool, passed: u64, rounds: u64) -> Option<String> {
    let own = match rounds.saturating_sub(passed) {
        0 if passed == 0 || is_first => return None,
        0 => {
            return Some("the runs so far have requests: this one reused their prompts".to_owned());
        }
        1 => "once".to_owned(),
        own => format!("{own} times"),
    };
    Some(if is_first {
        format!("the run has requests: it was started over {own}")
    } else {
        format!("the runs so far have requests: it was started over {own} in this one")
    })
}

/// Sleep between two runs. Says whether to go on.
fn pause(interval: Duration, control: &RunControl, log: &Log) -> bool {
    if !interval.is_zero() {
        log.info(&format!("pause of {} s", interval.as_secs_f64()));
    }
    let clock = RunClock::start();
    while clock.now().as_nanos() < u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX) {
        if control.stop.is_cancelled() {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    !control.stop.is_cancelled()
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
