//! Owns what the flags mean: from the command line to the job. The only reader of the environment,
//! apart from the console's colours and width.
//!
//! It must not know how a run is carried out.

pub(crate) mod settings;

mod command_line;
mod declared;
mod endpoint;
mod headers;
mod idle;
mod prompts;

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::{BodyRules, Endpoint, MaxTokens, OpenAi};
use evalscope_core::transport::{ProxyEnv, Timeouts, TlsTrust};
use evalscope_hub::Source;
use evalscope_model::plan::{RunPlan, Sweep, Warmup};
use evalscope_model::record::RecordBodies;
use evalscope_plugin::TrackerPlace;
use serde_json::{Map, Value, json};
use url::Url;

use crate::catalog::apis::{Serves, SigningKey};
use crate::env::{needed_variable, proxies, variable};
use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::flags::choices::ApiChoice;
use crate::flags::generation::GenerationArgs;
use crate::flags::load::LoadArgs;
use crate::flags::output::{Bodies, OutputArgs, Visualizer};
use crate::flags::prompts::PromptArgs;
use crate::flags::server::ServerArgs;
use crate::served::{self, ServePlan};
use crate::sources::PromptPlan;
use crate::trackers::TrackerPlan;

use endpoint::{api_of, for_images, for_plain_prompts, is_own_path, url_of};
use headers::{Headers, headers_of};
use prompts::{hub_of, prompt_plan};
use settings::Used;

/// The model of the simulated server when none is given.
const SIM_MODEL: &str = "sim";
/// Default length of a response, in tokens.
pub(crate) const DEFAULT_MAX_TOKENS: u64 = 2048;

/// Everything that a command will do.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent setting"
)]
pub(crate) struct Job {
    pub(crate) plan: RunPlan,
    pub(crate) api: ApiChoice,
    pub(crate) model: String,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    /// Values that must not be shown, wherever they turn up.
    pub(crate) secrets: Vec<String>,
    pub(crate) proxies: ProxyEnv,
    pub(crate) trust: TlsTrust,
    pub(crate) timeouts: Timeouts,
    pub(crate) test_connection: bool,
    /// How long the server may take to come up, where somebody has said so.
    pub(crate) wait_for_server: Option<Duration>,
    pub(crate) bodies: BodyRules,
    pub(crate) prompts: PromptPlan,
    /// What is served here for the length of the command.
    pub(crate) served: Option<ServePlan>,
    /// The hub that files are fetched from; `None`: nothing is fetched.
    pub(crate) hub: Option<Source>,
    /// Side of the square of an image that is estimated as one token, pixels.
    pub(crate) image_patch: u32,
    /// The key that signs, where the API wants that.
    pub(crate) signing_key: Option<SigningKey>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) record_bodies: RecordBodies,
    pub(crate) max_error_rate: Option<f64>,
    /// How long a run goes on without a server.
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) log_every: u64,
    pub(crate) debug: bool,
    pub(crate) outputs_dir: PathBuf,
    pub(crate) name: String,
    /// What follows the run elsewhere.
    pub(crate) tracker: Option<TrackerPlan>,
    pub(crate) timestamp: bool,
    /// A file is to tell how far the command is.
    pub(crate) progress_file: bool,
    /// Every run begins at the first prompt.
    pub(crate) repeat_prompts: bool,
    /// The interpreter of plugins in Python, where somebody has chosen one.
    pub(crate) python: Option<String>,
    /// A file that wants to hold the path of the results.
    pub(crate) result_path_file: Option<PathBuf>,
    /// What was changed or filled in, for the person to know.
    pub(crate) notes: Vec<String>,
    /// The command as it was typed; secrets are masked.
    pub(crate) command_line: String,
    /// What the user wants to remember of the command.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Every setting, for the record; secrets are masked.
    pub(crate) settings: Value,
}

/// Work out what the flags mean.
pub(crate) fn resolve(mut args: PerfArgs) -> anyhow::Result<Job> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    add_environment(&mut args.server)?;
    let mut notes = idle::notes(&args);
    let PerfArgs {
        server,
        load,
        mut prompts,
        generation,
        output,
        typed,
        words,
    } = args;
    let model = model_of(&server)?;
    let declaration = declared::of(&server.api, !generation.no_stream)?;
    let declaration = declaration.as_ref();
    let (served, sent_model) = served_of(&server, &prompts, &model)?;
    let chat = prompts.chat();
    let (mut url, endpoint) = url_of(&server, declaration, chat, &mut notes)?;
    for_images(&server, &prompts, &mut url, &mut notes)?;
    // ids are templated as the endpoint would have done it
    let templated = endpoint == Endpoint::Chat
        // which makes a message of a plain prompt, too
        || is_own_path(&server.api, url.path());
    let (url, endpoint) = for_plain_prompts(&server, &prompts, url, endpoint, &mut notes)?;
    notes.extend(idle::of_url(&typed, &url));
    let signing = server.api.named().and_then(|api| api.signing);
    let signing_key = signing.zip(server.api_key.clone());
    let signing_key = signing_key.map(|(signing, key)| SigningKey { key, signing });
    let Headers {
        url,
        fields: headers,
        mut secrets,
    } = headers_of(&server, declaration, url)?;
    let seed = generation.seed.unwrap_or_else(|| drawn_seed(&mut notes));
    let streams = server.api.named().is_none_or(|api| api.streams);
    let mut bodies = body_rules(&generation, &prompts, &sent_model, endpoint, streams, seed)?;
    bodies.api = api_of(&server.api, declaration, &url, &bodies);
    if let Some(declaration) = declaration {
        look_at_places(declaration, &bodies, &mut notes)?;
    }
    let own_api = server.api.named().is_none();
    let prompt_plan = prompt_plan(&mut prompts, &bodies, templated, own_api, &mut notes)?;
    let whole = prompt_plan.set.whole();
    let plan = sweep_of(&load, &prompts, whole, seed).expand()?;
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let name = output.name.as_deref().and_then(file_name);
    let name = name.or_else(|| file_name(&base_name(&model)));
    let (tracker, keys) = tracker_of(&output, &base_name(&model));
    secrets.extend(keys);
    let hub = hub_of(&prompts);
    let threads = load.client_threads.unwrap_or(cores);
    let used = Used {
        model: &model,
        // a simulated server has an address of its own once it is started
        url: (server.api.serves() != Serves::Simulator).then_some(&url),
        plan: &plan,
        bodies: &bodies,
        hub,
        client_threads: threads.get(),
        tracker: tracker.as_ref().map(|plan| plan.place.kind.as_str()),
    };
    let settings = settings::of(&server, &load, &prompts, &generation, &output, &used);
    let timeouts = timeouts_of(&server);
    Ok(Job {
        command_line: command_line::shown(&words, server.positional_url.as_deref(), &secrets),
        metadata: output.metadata.into_iter().collect(),
        tracker,
        plan,
        api: server.api,
        model,
        url,
        headers,
        secrets,
        proxies: proxies(),
        trust: TlsTrust {
            insecure: server.insecure,
            ca_cert: server.ca_cert,
        },
        timeouts,
        test_connection: !server.no_test_connection,
        wait_for_server: server.wait_for_server.map(Duration::from_secs_f64),
        bodies,
        served,
        hub,
        image_patch: prompts.image_patch_size.get(),
        prompts: prompt_plan,
        signing_key,
        threads,
        record_bodies: record_bodies_of(output.record_bodies),
        max_error_rate: load.max_error_rate,
        give_up_after: limit(load.give_up_after),
        // 0 is never
        log_every: NonZeroU64::new(output.log_every_n_query).map_or(u64::MAX, NonZeroU64::get),
        progress_file: output.enable_progress_tracker,
        repeat_prompts: prompts.repeat_prompts,
        debug: output.debug,
        outputs_dir: output.outputs_dir,
        name: name.unwrap_or_else(|| "unknown".to_owned()),
        timestamp: !output.no_timestamp,
        python: set("EVALSCOPE_PYTHON"),
        result_path_file: set("EVALSCOPE_RESULT_PATH_FILE").map(PathBuf::from),
        notes,
        settings,
    })
}

/// A seed that no other command has: random prompts that repeat an earlier command's would meet
/// a warm prefix cache. 32 bits, which a person can type.
fn drawn_seed(notes: &mut Vec<String>) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    // the standard library's only source of randomness of the system
    let seed = RandomState::new().build_hasher().finish() >> 32;
    notes.push(format!(
        "random seed {seed}: repeat this load with `--seed {seed}`"
    ));
    seed
}

/// Take what is in the environment and not on the command line.
fn add_environment(server: &mut ServerArgs) -> anyhow::Result<()> {
    if server.api_key.is_none() {
        server.api_key = needed_variable("EVALSCOPE_API_KEY")?;
    }
    if let Some(lines) = needed_variable("EVALSCOPE_HEADERS")? {
        headers::add_lines(&mut server.headers, &lines);
    }
    Ok(())
}

/// What is served here, if anything, and the model as requests have to name it.
fn served_of(
    server: &ServerArgs,
    prompts: &PromptArgs,
    model: &str,
) -> anyhow::Result<(Option<ServePlan>, String)> {
    let modelscope = hub_of(prompts) == Some(Source::ModelScope);
    let plan = served::plan(server, model, modelscope, variable)?;
    let sent_model = plan
        .as_ref()
        .map_or_else(|| model.to_owned(), ServePlan::model);
    Ok((plan, sent_model))
}

fn timeouts_of(server: &ServerArgs) -> Timeouts {
    Timeouts {
        // by default, connecting has a separate limit
        connect: server
            .connect_timeout
            .map(|seconds| limit(seconds).unwrap_or(NO_LIMIT)),
        read: server.read_timeout.and_then(limit),
        total: limit(server.total_timeout),
    }
}

/// As good as none, in a field whose absence means a default.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// A limit in seconds; 0 means no limit.
fn limit(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
}

fn record_bodies_of(typed: Bodies) -> RecordBodies {
    match typed {
        Bodies::All => RecordBodies::All,
        Bodies::Failed => RecordBodies::Failed,
        Bodies::None => RecordBodies::None,
    }
}

/// The load that was asked for. `whole`: requests of a set that is meant to be
/// sent whole.
fn sweep_of(load: &LoadArgs, prompts: &PromptArgs, whole: Option<u64>, seed: u64) -> Sweep {
    Sweep {
        number: load.number.clone(),
        whole,
        dataset_offset: prompts.dataset_offset,
        repeat_prompts: prompts.repeat_prompts,
        parallel: load.parallel.clone(),
        rate: load.rate.clone(),
        warmup: warmup_of(load.warmup_num),
        duration_s: load.duration.filter(|seconds| *seconds > 0.0),
        sleep_interval_s: load.sleep_interval,
        seed,
    }
}

/// A share where it is one, or else a number.
fn warmup_of(typed: f64) -> Warmup {
    if typed > 0.0 && typed < 1.0 {
        return Warmup::Share(typed);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and negative means none"
    )]
    Warmup::Count(typed as u64)
}

fn model_of(server: &ServerArgs) -> anyhow::Result<String> {
    if let Some(model) = server.model.as_ref().filter(|model| !model.is_empty()) {
        return Ok(model.clone());
    }
    let hint = match server.api.serves() {
        Serves::Simulator => return Ok(SIM_MODEL.to_owned()),
        Serves::Transformers | Serves::Vllm => "give the model's folder, or its id on a hub",
        Serves::Elsewhere => "give the name of the model on the server",
    };
    Err(hinted("`--model` is missing", hint))
}

/// Look whether what was asked for reaches a declared API.
fn look_at_places(
    declaration: &Declaration,
    bodies: &BodyRules,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    if bodies.template.is_some() {
        return Err(hinted(
            "`--query-template` cannot be combined with a declared API: both define the request body",
            "put its fields into `template` in the declaration",
        ));
    }
    let limit = ["max_tokens", "max_completion_tokens"];
    let no_limit = bodies.max_tokens_typed && !limit.iter().any(|field| declaration.takes(field));
    let typed = bodies.typed.keys().map(String::as_str);
    let lost =
        typed.filter(|field| !matches!(*field, "model" | "stream") && !declaration.takes(field));
    for field in lost.chain(no_limit.then_some("max_tokens")) {
        notes.push(format!(
            "the declared API has no field for `{field}`: it is not sent"
        ));
    }
    // a `null` leaves out, and %p takes its text from what is a prompt
    let lost = bodies.extra.iter().filter(|(field, value)| {
        !value.is_null()
            && !matches!(field.as_str(), "messages" | "prompt")
            && !declaration.takes(field)
    });
    for (field, _) in lost {
        notes.push(format!(
            "the declared API has no field for `{field}` in `--extra-args`: it is not sent \
             (`other_fields = true` in `[request]` sends it)"
        ));
    }
    Ok(())
}

/// The tracker that was asked for, and its keys.
fn tracker_of(output: &OutputArgs, model: &str) -> (Option<TrackerPlan>, Vec<String>) {
    let keys = [
        (Visualizer::Wandb, "WANDB_API_KEY", &output.wandb_api_key),
        (
            Visualizer::Swanlab,
            "SWANLAB_API_KEY",
            &output.swanlab_api_key,
        ),
    ];
    // a key alone asks for its tracker
    let implied = keys
        .iter()
        .find_map(|(kind, _, key)| key.is_some().then_some(*kind));
    let Some(kind) = output.visualizer.or(implied) else {
        return (None, Vec::new());
    };
    if kind == Visualizer::None {
        let keys = keys.iter().filter_map(|(_, _, key)| (*key).clone());
        return (None, keys.filter(|key| key.len() > 8).collect());
    }
    // of what is in the environment a child gets nothing by itself
    let inherited = match kind {
        Visualizer::Wandb => &["WANDB_API_KEY"][..],
        Visualizer::Swanlab => &["SWANLAB_API_KEY"],
        Visualizer::Clearml => &[
            "CLEARML_API_ACCESS_KEY",
            "CLEARML_API_SECRET_KEY",
            "CLEARML_AUTH_TOKEN",
        ],
        Visualizer::None => &[],
    };
    let inherited = inherited
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), variable(name)?)));
    // the last of a name counts
    let given = keys.iter().filter_map(|(of, variable, key)| {
        let key = key.as_ref().filter(|key| *of == kind && !key.is_empty())?;
        Some(((*variable).to_owned(), key.clone()))
    });
    let environment: Vec<(String, String)> = inherited.chain(given).collect();
    let keys_of_others = keys.iter().filter_map(|(_, _, key)| (*key).clone());
    let secrets: Vec<String> = environment
        .iter()
        .map(|(_, key)| key.clone())
        .chain(keys_of_others)
        // `local` means that no key is used
        .filter(|key| key.len() > 8)
        .collect();
    let name = output.name.clone().unwrap_or_else(|| {
        let now = jiff::Zoned::now().strftime("%Y%m%d_%H%M%S");
        format!("{model}_{now}")
    });
    let kind = match kind {
        Visualizer::Wandb => "wandb",
        Visualizer::Swanlab => "swanlab",
        Visualizer::Clearml => "clearml",
        Visualizer::None => "none",
    };
    let plan = TrackerPlan {
        place: TrackerPlace {
            kind: kind.to_owned(),
            environment,
        },
        host: output.swanlab_host.clone(),
        python: variable("EVALSCOPE_PYTHON"),
        name,
        files: output.tracker_files,
        debug: output.debug,
        secrets: secrets.clone(),
    };
    (Some(plan), secrets)
}

fn body_rules(
    generation: &GenerationArgs,
    prompts: &PromptArgs,
    model: &str,
    endpoint: Endpoint,
    streams: bool,
    seed: u64,
) -> anyhow::Result<BodyRules> {
    let mut typed = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            typed.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put("min_tokens", generation.min_tokens.map(Into::into));
    put("temperature", generation.temperature.map(Into::into));
    put("top_p", generation.top_p.map(Into::into));
    put("top_k", generation.top_k.map(Into::into));
    put(
        "frequency_penalty",
        generation.frequency_penalty.map(Into::into),
    );
    put(
        "repetition_penalty",
        generation.repetition_penalty.map(Into::into),
    );
    put("logprobs", generation.logprobs.then_some(true.into()));
    put("n", generation.n_choices.map(Into::into));
    put("seed", generation.seed.map(Into::into));
    put("stop", generation.stop.clone().map(Into::into));
    put(
        "stop_token_ids",
        generation.stop_token_ids.clone().map(Into::into),
    );
    let stream = match (generation.stream, generation.no_stream) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    put("stream", stream.map(Into::into));
    let defaults = [("stream", json!(streams)), ("temperature", json!(0.0))]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    let max_tokens = match generation.max_tokens.as_deref() {
        None => MaxTokens::Fixed(DEFAULT_MAX_TOKENS),
        Some([n]) => MaxTokens::Fixed(*n),
        Some([low, high]) if low <= high => MaxTokens::Uniform(*low, *high),
        Some(values @ [_, _]) => {
            return Err(hinted(
                format!("`--max-tokens {}` is not a range", spaced(values)),
                "give one value, or the minimum and then the maximum",
            ));
        }
        Some(values) => {
            return Err(hinted(
                format!(
                    "`--max-tokens {}` has {} values",
                    spaced(values),
                    values.len()
                ),
                "give one value, or two as a range",
            ));
        }
    };
    if let (Some(fewest), Some(typed)) = (generation.min_tokens, &generation.max_tokens)
        && let Some(most) = typed.iter().find(|most| **most < fewest)
    {
        return Err(hinted(
            format!("`--min-tokens {fewest}` is above `--max-tokens {most}`"),
            "lower `--min-tokens` or raise `--max-tokens`",
        ));
    }
    let template = match &prompts.query_template {
        None => None,
        Some(text) => {
            let text = text_or_file("--query-template", text)?;
            let template = BodyRules::parse_template(&text).map_err(|error| {
                hinted(
                    error.to_string(),
                    "give one JSON object, for example '{\"model\": \"%m\", \"messages\": [{\"role\": \
                     \"user\", \"content\": \"%p\"}]}', or @FILE",
                )
            })?;
            Some(template)
        }
    };
    Ok(BodyRules {
        api: Arc::new(OpenAi),
        endpoint,
        template,
        model: model.to_owned(),
        typed,
        defaults,
        max_tokens,
        max_tokens_typed: generation.max_tokens.is_some(),
        include_usage: true,
        extra: extra_args(generation.extra_args.as_deref())?,
        seed,
    })
}

fn extra_args(text: Option<&str>) -> anyhow::Result<Map<String, Value>> {
    let Some(text) = text else {
        return Ok(Map::new());
    };
    let text = &text_or_file("--extra-args", text)?;
    let hint = "give one JSON object, for example '{\"ignore_eos\": true}'";
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(hinted("`--extra-args` is not a JSON object", hint)),
        Err(error) => Err(hinted(format!("`--extra-args` is not JSON: {error}"), hint)),
    }
}

/// A text, or that of `@FILE`. `@@` begins a text that begins with `@`.
fn text_or_file(flag: &str, value: &str) -> anyhow::Result<String> {
    match value.strip_prefix('@') {
        None => Ok(value.to_owned()),
        Some(text) if text.starts_with('@') => Ok(text.to_owned()),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the file of `{flag} {value}`"))?;
            // some editors put a mark before the text
            Ok(match text.strip_prefix('\u{feff}') {
                Some(text) => text.to_owned(),
                None => text,
            })
        }
    }
}

/// Put what comes on stdin in the place of `@-`, once for a command.
pub(crate) fn take_stdin(args: &mut PerfArgs) -> anyhow::Result<()> {
    let places = [
        ("--prompt", &mut args.prompts.prompt),
        ("--query-template", &mut args.prompts.query_template),
        ("--extra-args", &mut args.generation.extra_args),
    ];
    let mut taken = None;
    for (flag, value) in places {
        let Some(value) = value.as_mut().filter(|value| *value == "@-") else {
            continue;
        };
        if let Some(other) = taken.replace(flag) {
            return Err(hinted(
                format!("`{other} @-` and `{flag} @-` cannot both be read from stdin"),
                "put one of them into a file: @FILE",
            ));
        }
        let text = std::io::read_to_string(std::io::stdin())
            .with_context(|| format!("cannot read stdin for `{flag} @-`"))?;
        *value = if text.starts_with('@') {
            format!("@{text}")
        } else {
            text
        };
    }
    Ok(())
}

fn spaced(values: &[u64]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

fn base_name(model: &str) -> String {
    let trimmed = model.trim_end_matches(['/', '\\']);
    let name = Path::new(trimmed).file_name();
    name.map_or_else(
        || "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A name that every file system accepts; `None` if nothing of it is left.
fn file_name(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_control() || "<>:\"/\\|?*".contains(c) {
                '_'
            } else {
                c
            }
        })
        .collect();
    let name = name.trim_matches(['.', ' ']).to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::apis::OPENAI;

    fn server(url: &str) -> ServerArgs {
        ServerArgs {
            positional_url: None,
            url: Some(url.to_owned()),
            model: Some("m".to_owned()),
            api: ApiChoice::Named(&OPENAI),
            api_key: None,
            headers: Vec::new(),
            connect_timeout: None,
            read_timeout: None,
            total_timeout: 1.0,
            no_test_connection: false,
            wait_for_server: None,
            insecure: false,
            ca_cert: None,
            port: 8877,
            attn_implementation: None,
            trust_remote_code: false,
            server_start_timeout: 1.0,
        }
    }

    #[test]
    fn urls_are_completed_sensibly() {
        for (given, chat, want, shape) in [
            (
                "http://h:8000",
                None,
                "http://h:8000/v1/chat/completions",
                Endpoint::Chat,
            ),
            (
                "h:8000/",
                None,
                "http://h:8000/v1/chat/completions",
                Endpoint::Chat,
            ),
            (
                "http://h/v1",
                None,
                "http://h/v1/chat/completions",
                Endpoint::Chat,
            ),
            (
                "http://h/v1/",
                Some(false),
                "http://h/v1/completions",
                Endpoint::Completions,
            ),
            (
                "https://h/openai/v3",
                None,
                "https://h/openai/v3/chat/completions",
                Endpoint::Chat,
            ),
            (
                "http://h/v1/chat/completions/",
                None,
                "http://h/v1/chat/completions",
                Endpoint::Chat,
            ),
            (
                "http://h/v1/completions?x=1",
                None,
                "http://h/v1/completions?x=1",
                Endpoint::Completions,
            ),
            (
                "http://h/v1/completions",
                Some(true),
                "http://h/v1/completions",
                Endpoint::Chat,
            ),
        ] {
            let (url, got) = url_of(&server(given), None, chat, &mut Vec::new()).unwrap();
            assert_eq!((url.as_str(), got), (want, shape), "{given}");
        }
        for bad in ["ftp://h/", "http://", "http://h/v1/embeddings"] {
            assert!(
                url_of(&server(bad), None, None, &mut Vec::new()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn names_become_folders() {
        let of = |name: &str| file_name(&base_name(name));
        assert_eq!(of("Qwen/Qwen2.5-0.5B").as_deref(), Some("Qwen2.5-0.5B"));
        assert_eq!(of("/models/x/").as_deref(), Some("x"));
        assert_eq!(file_name("a:b*c").as_deref(), Some("a_b_c"));
        assert_eq!(file_name(".."), None);
        assert_eq!(file_name(""), None);
    }

    #[test]
    fn a_user_in_the_url_becomes_a_header() {
        let mut args = server("http://me:pass@h/v1");
        args.headers = vec!["X-Api-Key=secret1".into(), "x=1".into()];
        let (url, _) = url_of(&args, None, None, &mut Vec::new()).unwrap();
        let headers = headers_of(&args, None, url).unwrap();
        assert_eq!(headers.url.as_str(), "http://h/v1/chat/completions");
        assert!(
            headers
                .fields
                .contains(&("Authorization".into(), "Basic bWU6cGFzcw==".into()))
        );
        assert_eq!(headers.secrets, ["secret1", "bWU6cGFzcw==", "pass"]);
        // which stands in every body
        let args = server("http://user@h/v1");
        let (url, _) = url_of(&args, None, None, &mut Vec::new()).unwrap();
        let headers = headers_of(&args, None, url).unwrap();
        assert_eq!(headers.secrets, ["dXNlcjo="]);
    }

    #[test]
    fn a_user_and_a_password_are_decoded() {
        use base64::Engine as _;
        for (typed, meant) in [
            ("user:p%40ss", "user:p@ss"),
            ("user:p@ss", "user:p@ss"),
            ("a%40b.org:c%3Ad%2Fe%23f%25g", "a@b.org:c:d/e#f%g"),
            ("user:100%", "user:100%"),
            ("user:%zz%+1", "user:%zz%+1"),
            ("user:p\u{e4}ss", "user:p\u{e4}ss"),
            ("key%2Balone", "key+alone:"),
        ] {
            let args = server(&format!("http://{typed}@h/v1"));
            let (url, _) = url_of(&args, None, None, &mut Vec::new()).unwrap();
            let headers = headers_of(&args, None, url).unwrap();
            let encoded = base64::engine::general_purpose::STANDARD.encode(meant);
            let wanted = ("Authorization".to_owned(), format!("Basic {encoded}"));
            assert_eq!(headers.fields, [wanted], "{typed}");
            assert_eq!(headers.url.as_str(), "http://h/v1/chat/completions");
        }
    }
}
