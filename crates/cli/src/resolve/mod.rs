//! Owns what the flags mean: from the command line and the environment to the job.
//!
//! It must not know how a run is carried out.

mod objective;

mod job;

mod command_line;
mod conversations;
mod dataset_args;
mod declared;
mod endpoint;
mod headers;
mod idle;
mod inputs;
mod mix;
mod names;
mod profile_file;
mod search;
mod settings;
mod texts;
mod tracker;

mod bodies;
mod trace;

mod load;

mod shard;

mod prompts;

#[cfg(test)]
mod tests;

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::{BodyRules, Endpoint, Output};
use evalscope_core::transport::TlsTrust;
use evalscope_model::plan::Sweep;
use evalscope_model::record::RecordBodies;
use evalscope_model::shard::Shard;

use url::Url;

use crate::catalog::apis::{Serves, SigningKey};
use crate::console;
use crate::env::Environment;
use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::flags::load::LoadArgs;
use crate::flags::output::{Bodies, OutputArgs, ProgressForm};
use crate::flags::prompts::PromptArgs;
use crate::flags::server::ServerArgs;
use crate::observers::ProgressLines;
use crate::served::{self, ServePlan};
use crate::sources::PromptPlan;

use bodies::{body_rules, look_at_places};
use conversations::{conversations_of, rate_note};
use endpoint::{Destination, api_of, with_api_of_url};
use headers::{Headers, headers_of};
use load::{limit, sweep_of, timeouts_of};
use names::file_name;
use objective::{check_points, objectives_of};
use prompts::{hub_of, prompt_plan};
use search::{Known, search_of};
use settings::Used;
use shard::{check_start, seed_of, shard_of};
use trace::trace_of;
use tracker::tracker_of;

pub(crate) use job::{Connection, Job, MetricsPlace, ResultsPlace};
pub(crate) use search::Search;

pub(crate) use texts::with_stdin;
pub(crate) use trace::has_models;

/// The model of the simulated server when none is given.
const SIM_MODEL: &str = "sim";

/// Work out what the flags mean.
#[expect(
    clippy::too_many_lines,
    reason = "one step after the other, and one line for each field of the job"
)]
pub(crate) fn resolve(args: PerfArgs, environment: &Environment) -> anyhow::Result<Job> {
    let mut notes = Vec::new();
    let args = &with_api_of_url(args, &mut notes);
    let asked_headers = headers::asked(&args.server.headers, &environment.header_lines)?;
    notes.extend(idle::notes(args, &asked_headers));
    let PerfArgs {
        server,
        load,
        conversations,
        objective,
        search: searched,
        prompts,
        generation,
        output,
        shard: sharding,
        typed,
        words,
    } = args;
    let key = key_of(server, environment)?;
    let row = server.api.named();
    let models = models_of(server, prompts)?;
    let model = mix::joined(&models);
    let declaration = declared::of(&server.api, !generation.no_stream)?;
    let declaration = declaration.as_ref();
    let hub = hub_of(prompts, environment);
    let served = served::plan(server, &model, hub, &asked_headers, environment)?;
    let sent_model = served.as_ref().map_or(model.clone(), ServePlan::model);
    let (first, mut urls) = mix::destinations_of(server, prompts, declaration, &mut notes)?;
    let Destination {
        url,
        endpoint,
        templated,
    } = first;
    notes.extend(idle::of_url(typed, &url));
    let headers = headers_of(&asked_headers, key, row, declaration, url);
    let Headers {
        url,
        fields,
        mut secrets,
    } = headers;
    secrets.extend(urls.iter().skip(1).flat_map(headers::secrets_in));
    urls[0].clone_from(&url);
    let shard = shard_of(sharding, &environment.ranks)?;
    let seed = seed_of(args, shard.unwrap_or_default(), &mut notes)?;
    let mut bodies = bodies_of(
        args,
        declaration,
        &sent_model,
        &url,
        endpoint,
        seed,
        &mut notes,
    )?;
    inputs::check(args, bodies.api.output())?;
    let options = inputs::options_in_extra(&mut bodies, prompts.built_in(), &mut notes);
    let (talks, rules) =
        conversations_of(conversations, prompts, &server.api, &bodies, &mut notes)?.unzip();
    let bodies = BodyRules {
        conversations: rules,
        mix: mix::mix_of(
            server,
            &models,
            prompts.tokenizer_path.as_deref(),
            seed,
            &mut notes,
        )?,
        ..bodies
    };
    let prompt_plan = prompt_plan(
        prompts,
        &bodies,
        options,
        templated,
        row.is_none(),
        &mut notes,
    )?;
    let typed_model = server.typed_models();
    let typed_model = (!typed_model.is_empty()).then(|| mix::joined(&typed_model));
    let trace = trace_of(&prompt_plan, typed_model.as_deref(), &mut notes)?;
    // a search has a load of its own
    let load = &LoadArgs {
        open_loop: load.open_loop && !searched.sla_auto_tune,
        ..load.clone()
    };
    let sweep = sweep_of(
        load,
        prompts,
        prompt_plan.set.whole(),
        trace.as_deref(),
        (seed, shard.unwrap_or_default()),
        &mut notes,
    )?;
    let prompt_plan = PromptPlan {
        trace,
        shared_headers: fields.iter().map(|(name, _)| name.clone()).collect(),
        ..prompt_plan
    };
    let plan = Sweep {
        conversations: talks,
        connections: conversations.connections.into(),
        ..sweep
    }
    .expand()?;
    check_start(args, &plan)?;
    let without_stream = match bodies.api.output() {
        Output::Generated => generation.no_stream.then(|| "--no-stream".to_owned()),
        Output::Vectors | Output::Scores => Some(format!("--api {}", server.api)),
    };
    let objectives = objectives_of(objective, without_stream.as_deref(), searched.sla_auto_tune)?;
    let known = Known {
        objectives: &objectives,
        template: &plan.runs()[0],
        is_trace: prompt_plan.trace.is_some(),
        without_stream: without_stream.as_deref(),
        generates: bodies.api.output() == Output::Generated,
    };
    let search = search_of(args, &known, &mut notes)?;
    let plan = match &search {
        // further values are not known yet
        Some(search) => plan.beginning_with(search.first()),
        None => plan,
    };
    check_points(&objectives.fail_if, plan.runs())?;
    notes.extend(idle::of_plan(typed, &plan));
    notes.extend(rate_note(&plan));
    let (tracker, tracker_keys) = tracker_of(output, &mix::short_name(&models), environment);
    secrets.extend(tracker_keys);
    let threads = threads_of(load);
    let used = Used {
        model: &model,
        // a simulated server has an address of its own once it is started
        urls: if server.api.serves() == Serves::Simulator {
            &[]
        } else {
            &urls
        },
        headers: &asked_headers,
        has_key: key.is_some(),
        lengths: prompt_plan.lengths,
        dataset_args: &prompt_plan.args,
        plan: &plan,
        objectives: &objectives,
        bodies: &bodies,
        hub,
        client_threads: threads.get(),
        tracker: tracker.as_ref().map(|plan| plan.place.kind.as_str()),
        lang: output.lang(environment.lang),
    };
    let settings = settings::of(args, &used);
    Ok(Job {
        command_line: command_line::shown(words, server.positional_url.as_deref(), &secrets),
        tracker,
        plan,
        url_strategy: server.url_strategy.map(Into::into).unwrap_or_default(),
        urls,
        connection: connection_of(server, fields, key, environment),
        api: server.api.clone(),
        secrets,
        test_connection: !server.no_test_connection,
        wait_for_server: server.wait_for_server.map(Duration::from_secs_f64),
        stream: settings::streams(&bodies),
        most_tokens: settings::most_tokens(&bodies),
        bodies,
        served,
        hub,
        image_patch: prompts.image_patch_size.get(),
        prompts: prompt_plan,
        threads,
        record_bodies: record_bodies_of(output.record_bodies),
        max_error_rate: load.max_error_rate,
        search,
        objectives,
        give_up_after: limit(load.give_up_after),
        // 0 is never
        log_every: NonZeroU64::new(output.log_every_n_query).map_or(u64::MAX, NonZeroU64::get),
        progress_file: output.enable_progress_tracker,
        progress_lines: match output.progress {
            ProgressForm::Auto => ProgressLines::Off,
            ProgressForm::Json => ProgressLines::On,
        },
        metrics: output.metrics_listen.map(|address| MetricsPlace {
            address,
            linger: Duration::from_secs_f64(output.metrics_linger.unwrap_or(0.0)),
        }),
        repeat_prompts: prompts.repeat_prompts,
        debug: output.debug,
        results: results_of(output, &models, shard, environment),
        start_at: sharding.start_at.unwrap_or_default(),
        run_id: sharding.run_id.clone(),
        metadata: output.metadata.iter().cloned().collect(),
        models,
        model,
        python: environment.python.clone(),
        notes,
        settings,
    })
}

/// What makes bodies, but for conversations.
fn bodies_of(
    args: &PerfArgs,
    declaration: Option<&Declaration>,
    model: &str,
    url: &Url,
    endpoint: Endpoint,
    seed: u64,
    notes: &mut Vec<String>,
) -> anyhow::Result<BodyRules> {
    let api = &args.server.api;
    let streams = api.named().is_none_or(|row| row.streams);
    let rules = body_rules(
        &args.generation,
        &args.prompts,
        model,
        endpoint,
        streams,
        seed,
    )?;
    let api = api_of(api, declaration, url, &rules);
    let (bodies, lost) = rules.with_api(api);
    notes.extend(lost.iter().map(|field| {
        format!(
            "`--api {}` has no field for `{field}`: it is not sent (`--extra-args` sends it)",
            bodies.api.name()
        )
    }));
    if let Some(declaration) = declaration {
        look_at_places(declaration, &bodies, notes)?;
    }
    Ok(bodies)
}

/// Receive threads: one per core, unless somebody says so.
fn threads_of(load: &LoadArgs) -> NonZeroUsize {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    load.client_threads.unwrap_or(cores)
}

fn record_bodies_of(typed: Bodies) -> RecordBodies {
    match typed {
        Bodies::All => RecordBodies::All,
        Bodies::Failed => RecordBodies::Failed,
        Bodies::None => RecordBodies::None,
    }
}

/// The models that are asked for, at least one.
fn models_of(server: &ServerArgs, prompts: &PromptArgs) -> anyhow::Result<Vec<String>> {
    let typed = server.typed_models();
    if !typed.is_empty() {
        return Ok(typed);
    }
    if has_models(prompts) {
        return Ok(vec![prompts.dataset.to_string()]);
    }
    let hint = match server.api.serves() {
        Serves::Simulator => return Ok(vec![SIM_MODEL.to_owned()]),
        Serves::Transformers | Serves::Vllm => "give the model's folder, or its id on a hub",
        Serves::Elsewhere => "give the name of the model on the server",
    };
    Err(hinted("`--model` is missing", hint))
}

/// The key that was typed, else that of the environment.
fn key_of<'a>(
    server: &'a ServerArgs,
    environment: &'a Environment,
) -> anyhow::Result<Option<&'a str>> {
    match &server.api_key {
        Some(key) => Ok(Some(key)),
        None => environment.api_key(),
    }
}

fn connection_of(
    server: &ServerArgs,
    headers: Vec<(String, String)>,
    key: Option<&str>,
    environment: &Environment,
) -> Connection {
    let signing = server.api.named().and_then(|row| row.signing);
    let signed = signing.zip(key);
    Connection {
        headers,
        signing_key: signed.map(|(signing, key)| SigningKey::new(signing, key)),
        proxies: environment.proxies.clone(),
        timeouts: timeouts_of(server),
        trust: TlsTrust {
            insecure: server.insecure,
            ca_cert: server.ca_cert.clone(),
        },
    }
}

fn results_of(
    output: &OutputArgs,
    models: &[String],
    shard: Option<Shard>,
    environment: &Environment,
) -> ResultsPlace {
    let name = output.name.as_deref().and_then(file_name);
    let name = name.or_else(|| file_name(&mix::short_name(models)));
    ResultsPlace {
        // shards share a folder, but not what they write
        outputs_dir: match shard {
            Some(shard) => {
                let own = format!("shard-{}-of-{}", shard.index(), shard.of());
                output.outputs_dir.join(own)
            }
            None => output.outputs_dir.clone(),
        },
        name: name.unwrap_or_else(|| "unknown".to_owned()),
        timestamp: !output.no_timestamp,
        path_file: environment.result_path_file.clone(),
        confidence: console::confidence(output.confidence),
        page: output.page(),
        lang: output.lang(environment.lang),
    }
}
