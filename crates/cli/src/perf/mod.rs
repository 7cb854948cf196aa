//! Owns the `perf` command, as a table of contents: prepare, prove that the server answers, measure
//! the points, and say what came of it.
//!
//! It must not know metric formulas or the wire.

mod command;
mod load;
mod point;
mod points;
mod prepare;
mod prove;
mod start;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use evalscope_core::engine::RunControl;
use evalscope_core::search::{CapacitySearch, EvalscopeSearch, GreatestSearch};
use evalscope_core::transport::Target;
use evalscope_model::experiment::Planned;

use crate::env::Environment;
use crate::failure;
use crate::flags::PerfArgs;
use crate::flags::output::ProgressForm;
use crate::flags::shard::StartAt;
use crate::log::Log;
use crate::observers::{MetricsBoard, ProgressFile, SearchProgress, serve_metrics};
use crate::plugins::PluginLog;
use crate::requests::models;
use crate::requests::target::target;
use crate::resolve::{self, MetricsPlace, Search};
use crate::results::folder;
use crate::served::Served;
use crate::{console, signals, wait};
use command::Command;
use load::most_in_flight;
use point::Measuring;
use prepare::Prepared;
use prove::Proven;
use start::Start;

pub(crate) fn run(args: PerfArgs) -> anyhow::Result<ExitCode> {
    if args.output.progress == ProgressForm::Json {
        console::write_json_lines();
    }
    let environment = Environment::read()?;
    let mut args = resolve::with_stdin(args)?;
    if models::is_wanted(&args) {
        args.server.model = vec![models::only(&args, &environment)?];
    }
    let job = resolve::resolve(args, &environment)?;
    let control = RunControl::default();
    let first = format!(
        "stopping: no more requests are sent; those in flight have {} s to finish (repeat to stop now)",
        load::longest_drain(&job).as_secs_f64()
    );
    let has_stdin = job.start_at != StartAt::Stdin;
    signals::listen(control.clone(), first, has_stdin)?;
    let first_run = job.plan.runs()[0].point.label.clone();
    let start = Start::new(job.start_at, job.progress_lines, &control)?;
    start.check(&first_run)?;
    if let Some(plan) = &job.served {
        plan.check_port()?;
    }
    let board = MetricsBoard::default();
    let serve = |place: MetricsPlace| serve_metrics(place.address, board.clone());
    let metrics_at = job.metrics.map(serve).transpose()?;
    let plugin_log = PluginLog::default();
    let Some(prepared) = prepare::prepare(job, &control, &plugin_log)? else {
        console::err("stopped before any load was sent");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    };
    // the test request is a load, too
    start.check(&first_run)?;
    let job = &prepared.job;
    let targets = job.urls.iter().map(|url| Ok(Arc::new(target(job, url)?)));
    let targets = targets.collect::<anyhow::Result<Vec<_>>>()?;
    let top = &folder::make(&job.results, &job.model, job.plan.runs())?;
    let log = &Log::create(top)?;
    plugin_log.set_log(log);
    load::announce(job, &targets[0], top, log);
    if let Some(address) = metrics_at {
        announce_metrics(address, log);
    }
    let serve = |plan| Served::start(plan, top, &control, log);
    let served = job.served.as_ref().map(serve).transpose()?;
    let command = Command {
        job,
        prompts: &prepared.prompts,
        served: served.as_ref(),
        control: &control,
        start: &start,
        top,
        log,
    };
    let searching = job.search.as_ref();
    let searching = searching.map(|search| SearchProgress::new(search.estimate()));
    let progress_file = job
        .progress_file
        .then(|| ProgressFile::start(top, job.plan.runs(), searching.clone()));
    let progress = (progress_file.as_ref(), searching);
    let code = measured(command, &prepared, targets, progress, &board);
    if let Some(file) = &progress_file {
        file.end(matches!(&code, Ok(code) if *code == ExitCode::SUCCESS));
    }
    drop(served);
    if board.has_runs() {
        if let Err(error) = board.write(top) {
            log.warn(&format!("metrics.prom was not written: {error}"));
        }
        linger(job.metrics, &control, log);
    }
    code
}

fn announce_metrics(address: SocketAddr, log: &Log) {
    log.info(&format!("metrics are at http://{address}/metrics"));
    if !address.ip().is_loopback() {
        log.warn(&format!(
            "{address} is not a loopback address: other machines can read the metrics"
        ));
    }
}

/// Serve metrics for a while after the last run. One more signal ends that.
fn linger(place: Option<MetricsPlace>, control: &RunControl, log: &Log) {
    let Some(place) = place.filter(|place| !place.linger.is_zero()) else {
        return;
    };
    log.info(&format!(
        "metrics are served for {} s more (`--metrics-linger`); Ctrl-C ends this",
        place.linger.as_secs_f64()
    ));
    let token = if control.stop.is_cancelled() {
        &control.abort
    } else {
        &control.stop
    };
    wait::stopped_within(token, place.linger);
}

/// Prove that the server answers, then measure.
fn measured(
    command: Command<'_>,
    prepared: &Prepared,
    targets: Vec<Arc<Target>>,
    (progress_file, searching): (Option<&ProgressFile>, Option<SearchProgress>),
    board: &MetricsBoard,
) -> anyhow::Result<ExitCode> {
    let Command {
        job,
        control,
        top,
        log,
        ..
    } = command;
    let proven = match Proven::of(command, targets, prepared.bodies.clone()) {
        Ok(Some(proven)) => proven,
        unproven => {
            // nothing was measured, and the error gives the reason
            folder::forget(top);
            unproven?;
            log.info("stopped before any load was sent");
            return Ok(ExitCode::from(failure::INTERRUPTED));
        }
    };
    // only now it is known where requests go
    let following = match &job.tracker {
        Some(plan) => {
            let settings = job.settings_at(&proven.urls());
            Some(plan.start(&settings, top, control, log)?)
        }
        None => None,
    };
    let measuring = Measuring {
        command,
        proven: &proven,
        following: following.as_ref(),
        progress_file,
        searching: searching.as_ref(),
        board,
        most_in_flight: most_in_flight(job.urls.len()),
    };
    match job.search.clone() {
        None => measuring.points(&mut Planned::new(job.plan.runs(), job.repeat_prompts)),
        Some(Search::Evalscope(plan, way)) => {
            measuring.points(&mut EvalscopeSearch::new(plan, way))
        }
        Some(Search::Measured(plan, way)) => {
            let mut search = CapacitySearch::new(plan, way);
            log.info(&search_plan(search.estimate()));
            measuring.points(&mut search)
        }
        Some(Search::Greatest(plan, way, figure)) => {
            let mut search = GreatestSearch::new(plan, way, figure);
            log.info(&search_plan(search.estimate()));
            measuring.points(&mut search)
        }
    }
}

/// What a search is going to take.
fn search_plan((probes, seconds): (u32, f64)) -> String {
    let time = if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    };
    format!("the search takes about {probes} probes, {time} of load")
}
