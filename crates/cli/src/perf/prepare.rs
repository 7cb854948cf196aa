//! Owns the preparation of a job: plugins, downloads, tokenizer and the first prompt, so that
//! mistakes are found before anything is made or sent.
//!
//! It must not know servers, but for the simulated one that it starts.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evalscope_core::engine::RunControl;
use evalscope_plugin::Role;
use evalscope_workload::tokens::{TOKENIZER_FILE, Tokenizer};
use url::Url;

use crate::catalog::apis::Serves;
use crate::flags::choices::ApiChoice;
use crate::plugins::{PluginLog, Starter};
use crate::requests::bodies::BodySource;
use crate::resolve::Job;
use crate::results::host;
use crate::served::simulator::Simulator;
use crate::sources::fetch::Fetcher;
use crate::sources::{DatasetKind, Prompts};
use crate::wait;

/// How long preparation may continue after a stop: files and templates could block it forever.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A job with everything that it needs before a server is asked.
pub(super) struct Prepared {
    pub(super) job: Job,
    pub(super) prompts: Prompts,
    pub(super) bodies: BodySource,
    /// The simulated server, which lives as long as this.
    _simulator: Option<Simulator>,
}

/// Prepare a job, on its own thread, which is abandoned if it does not end after a stop: nothing has
/// been measured yet. `None`: stopped.
pub(super) fn prepare(
    job: Job,
    control: &RunControl,
    plugin_log: &PluginLog,
) -> anyhow::Result<Option<Prepared>> {
    let (own, said) = (control.clone(), plugin_log.clone());
    let names = ("evalscope-prepare", "the thread that prepares prompts");
    let prepared = wait::apart(names, control, STOP_GRACE, move || {
        prepare_here(job, &own, &said)
    })?;
    match prepared {
        Some(prepared) if !control.stop.is_cancelled() => prepared.map(Some),
        _ => Ok(None),
    }
}

/// Start plugins, download and load what the dataset needs, and read its first prompt: mistakes are
/// found before anything is made or sent.
fn prepare_here(
    job: Job,
    control: &RunControl,
    plugin_log: &PluginLog,
) -> anyhow::Result<Prepared> {
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
    let concurrency = job.plan.runs().iter().filter_map(|run| run.concurrency);
    if let (Some(most), Some(bytes)) = (concurrency.max(), host::memory_bytes())
        && let Some(note) = prompts.memory_note(most.get(), bytes)
    {
        say(note);
    }
    let offset = job.plan.runs()[0].dataset_offset;
    let first = prompts.open(offset, NonZeroUsize::MIN)?.next_item();
    let first = first.map_err(|error| prompts.explained(error))?;
    let first = Some(first).filter(|_| prompts.has_bodies());
    let job = job.with_notes(notes);
    Ok(Prepared {
        prompts,
        bodies: BodySource {
            rules: job.bodies.clone(),
            plugin: api,
            first,
        },
        job,
        _simulator: simulator,
    })
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
    let simulator = Simulator::start(&job.models[0], seed, place)?;
    let mut url =
        Url::parse(&simulator.address).context("the simulated server has no usable address")?;
    url.set_path(job.url().path());
    Ok((job.with_url(url), Some(simulator)))
}
