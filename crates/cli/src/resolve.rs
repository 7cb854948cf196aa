//! Owns what the flags mean: from what was typed to what will be done. The only
//! reader of the environment, apart from the console's own colours and width.
//!
//! It must not know how a run is carried out.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evalscope_core::dataset::{Canvas, PixelMode, ShareGptLanguage};
use evalscope_core::plan::{RunPlan, Sweep, Warmup};
use evalscope_core::protocol::dashscope::{self, Dashscope};
use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::zhipu::{self, Zhipu, ZhipuKey};
use evalscope_core::protocol::{self, BodyRules, Declared, Endpoint, MaxTokens, Opaque, OpenAi};
use evalscope_core::record::RecordBodies;
use evalscope_core::transport::{ProxyEnv, Timeouts, TlsTrust};
use serde_json::{Map, Value, json};
use url::Url;

use evalscope_hub::Source;
use evalscope_plugin::TrackerPlace;

use crate::args::{
    Api, Bodies, DataSource, Dataset, GenerationArgs, LoadArgs, OutputArgs, PerfArgs, PromptArgs,
    ServerArgs, Visualizer,
};
use crate::choices::{ApiChoice, DatasetChoice};
use crate::failure::hinted;
use crate::served::{self, ServePlan};
use crate::sources::{Pictures, PromptPlan, Set};
use crate::trackers::TrackerPlan;
use crate::{declared, secrets, settings};

/// The URL when none is given: the reference tool's.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8877/v1/chat/completions";
/// The same without its path.
const DEFAULT_HOST: &str = "http://127.0.0.1:8877";
/// The same for plain prompts.
const DEFAULT_PLAIN_URL: &str = "http://127.0.0.1:8877/v1/completions";
/// The model of the simulated server when none is given.
const SIM_MODEL: &str = "sim";
/// Tokens of an answer when nobody says how many.
pub(crate) const DEFAULT_MAX_TOKENS: u64 = 2048;
/// Requests in flight beside which the process needs some files of its own.
const SPARE_FILES: u64 = 64;

/// Everything one invocation will do. Nothing of it changes any more.
#[derive(Debug)]
pub(crate) struct Resolved {
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
    pub(crate) bodies: BodyRules,
    pub(crate) prompts: PromptPlan,
    /// What is served here for the length of the command.
    pub(crate) served: Option<ServePlan>,
    /// The hub that files are fetched from; `None`: nothing is fetched.
    pub(crate) hub: Option<Source>,
    /// Side of the square of a picture that is estimated as one token, pixels.
    pub(crate) image_patch: u32,
    /// The key that signs, where the API wants that.
    pub(crate) signing_key: Option<ZhipuKey>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) record_bodies: RecordBodies,
    pub(crate) max_error_rate: Option<f64>,
    pub(crate) log_every: u64,
    pub(crate) debug: bool,
    pub(crate) outputs_dir: PathBuf,
    pub(crate) name: String,
    /// What follows the run elsewhere.
    pub(crate) tracker: Option<TrackerPlan>,
    pub(crate) timestamp: bool,
    /// The interpreter of plugins in Python, where somebody has chosen one.
    pub(crate) python: Option<String>,
    /// A file that wants to hold the path of the results.
    pub(crate) result_path_file: Option<PathBuf>,
    /// What was changed or filled in, for the person to know.
    pub(crate) notes: Vec<String>,
    /// Every setting, for the record; secrets are masked.
    pub(crate) settings: Value,
}

/// Work out what the flags mean.
pub(crate) fn resolve(mut args: PerfArgs) -> anyhow::Result<Resolved> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    args.server.api_key = args.server.api_key.or_else(|| set("EVALSCOPE_API_KEY"));
    let settings = settings::of(&args);
    let PerfArgs {
        server,
        load,
        prompts,
        generation,
        output,
    } = args;
    let mut notes = Vec::new();
    let model = model_of(&server)?;
    let declaration = declared::of(&server.api, !generation.no_stream)?;
    let declaration = declaration.as_ref();
    let (served, sent_model) = served_of(&server, &prompts, &model)?;
    let chat = chat_template_choice(&prompts);
    let (mut url, endpoint) = url_of(&server, declaration, chat, &mut notes)?;
    for_pictures(&server, &prompts, &mut url, &mut notes)?;
    // ids are templated as the endpoint would have done it
    let templated = endpoint == Endpoint::Chat
        // which makes a message of a plain prompt, too
        || server.api.named() == Some(Api::Dashscope) && is_native(url.path());
    let (url, endpoint) = for_plain_prompts(&server, &prompts, url, endpoint, &mut notes)?;
    let signing_key = match (server.api.named(), &server.api_key) {
        (Some(Api::Zhipu), Some(key)) => ZhipuKey::parse(key),
        _ => None,
    };
    let Headers {
        url,
        fields: headers,
        mut secrets,
    } = headers_of(&server, declaration, url)?;
    let seed = generation.seed.unwrap_or(0);
    let mut bodies = body_rules(&generation, &prompts, &sent_model, endpoint, seed)?;
    bodies.api = api_of(&server.api, declaration, &url, &bodies);
    if let Some(declaration) = declaration {
        look_at_places(declaration, &bodies, &mut notes)?;
    }
    let prompt_plan = prompt_plan(&prompts, endpoint, templated, seed)?;
    let whole = prompt_plan.set.whole();
    let plan = sweep_of(&load, prompts.repeat_prompts, whole, seed).expand()?;
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let name = output.name.clone().unwrap_or_else(|| base_name(&model));
    if output.log_every_n_query == 0 {
        return Err(hinted(
            "`--log-every-n-query 0` logs nothing",
            "give a number from 1 on; a large one for quiet",
        ));
    }
    let (tracker, keys) = tracker_of(&output, &base_name(&model));
    secrets.extend(keys);
    Ok(Resolved {
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
        timeouts: Timeouts {
            connect: server.connect_timeout.map(Duration::from_secs_f64),
            read: server.read_timeout.map(Duration::from_secs_f64),
            total: Some(Duration::from_secs_f64(server.total_timeout)),
        },
        test_connection: !server.no_test_connection,
        bodies,
        served,
        hub: hub_of(&prompts),
        image_patch: prompts.image_patch_size.get(),
        prompts: prompt_plan,
        signing_key,
        threads: load.client_threads.unwrap_or(cores),
        record_bodies: match output.record_bodies {
            Bodies::All => RecordBodies::All,
            Bodies::Failed => RecordBodies::Failed,
            Bodies::None => RecordBodies::None,
        },
        max_error_rate: load.max_error_rate,
        log_every: output.log_every_n_query,
        debug: output.debug,
        outputs_dir: output.outputs_dir,
        name: file_name(&name),
        timestamp: !output.no_timestamp,
        python: set("EVALSCOPE_PYTHON"),
        result_path_file: set("EVALSCOPE_RESULT_PATH_FILE").map(PathBuf::from),
        notes,
        settings,
    })
}

impl Resolved {
    /// Files that a run needs open at most.
    pub(crate) fn files_wanted(&self) -> u64 {
        let slots = self.plan.runs().iter().map(|run| run.concurrency.get());
        slots.max().unwrap_or(1) as u64 + SPARE_FILES
    }
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

/// The load that was asked for. `whole`: requests of a set that is meant to be
/// sent whole.
fn sweep_of(load: &LoadArgs, repeat_prompts: bool, whole: Option<u64>, seed: u64) -> Sweep {
    let points = load.parallel.len();
    Sweep {
        number: load.number.clone().or_else(|| Some(vec![whole?; points])),
        repeat_prompts,
        parallel: load.parallel.clone(),
        rate: load.rate.clone(),
        warmup: warmup_of(load.warmup_num),
        duration_s: load.duration,
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
    match (&server.model, server.api.named()) {
        (Some(model), _) if !model.is_empty() => Ok(model.clone()),
        (_, Some(Api::LocalSim)) => Ok(SIM_MODEL.to_owned()),
        _ => Err(hinted(
            "`--model` is missing",
            match server.api.named() {
                Some(Api::Local | Api::LocalVllm) => {
                    "give the folder of the model, or the id of a hub"
                }
                _ => {
                    "give the name that the server lists under /v1/models; only `--api local_sim` needs none"
                }
            },
        )),
    }
}

/// What was typed of `--[no-]apply-chat-template`.
pub(crate) fn chat_template_choice(prompts: &PromptArgs) -> Option<bool> {
    match (prompts.apply_chat_template, prompts.no_apply_chat_template) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// The endpoint's URL, completed where needed, and the shape of its bodies.
fn url_of(
    server: &ServerArgs,
    declaration: Option<&Declaration>,
    chat: Option<bool>,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Url, Endpoint)> {
    let api = server.api.named();
    let typed = server.url.as_ref().or(server.positional_url.as_ref());
    if matches!(api, Some(Api::LocalSim | Api::Local | Api::LocalVllm))
        && let Some(typed) = typed
    {
        notes.push(format!(
            "`--api {}` starts its own server: the URL {} is not used",
            server.api,
            secrets::shown_typed_url(typed)
        ));
    }
    let here = format!(
        "http://{}:{}/v1/{}completions",
        served::HOST,
        server.port,
        if chat == Some(false) { "" } else { "chat/" }
    );
    let text = match (api, typed) {
        (Some(Api::Local | Api::LocalVllm), _) => &here,
        (None, None) if declaration.is_some() => DEFAULT_HOST,
        (Some(Api::LocalSim), _) | (Some(Api::Openai) | None, None) if chat == Some(false) => {
            DEFAULT_PLAIN_URL
        }
        (Some(Api::LocalSim), _) | (Some(Api::Openai) | None, None) => DEFAULT_URL,
        (Some(Api::Dashscope), None) => dashscope::DEFAULT_URL,
        (Some(Api::Zhipu), None) => zhipu::DEFAULT_URL,
        (_, Some(typed)) => typed,
    };
    let text = text.trim();
    let shown = secrets::shown_typed_url(text);
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let mut url = Url::parse(&with_scheme)
        .map_err(|error| anyhow::anyhow!("`--url {shown}` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        anyhow::bail!("`--url {shown}` is not an http:// or https:// URL");
    }
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if let Some(shape) = own_url(declaration, api, &mut url, notes) {
        return Ok((url, chat.map_or(shape, endpoint)));
    }
    if api == Some(Api::Dashscope) && is_native(&path) {
        if path.ends_with("/generation") {
            url.set_path(&path);
        } else {
            url.set_path(dashscope::TEXT_PATH);
            notes.push(format!(
                "the URL was completed to {}",
                secrets::shown_url(&url)
            ));
        }
        return Ok((url, endpoint(chat.unwrap_or(true))));
    }
    let chat_by_path = path.ends_with("/chat/completions");
    if chat_by_path || path.ends_with("/completions") {
        url.set_path(&path);
        let chat = chat.unwrap_or(chat_by_path);
        return Ok((url, endpoint(chat)));
    }
    for other in [
        "/responses",
        "/embeddings",
        "/rerank",
        "/reranks",
        "/messages",
    ] {
        if path.ends_with(other) {
            return Err(hinted(
                format!(
                    "`--url {shown}` ends in `{other}`, which is no endpoint of `--api {}`",
                    server.api
                ),
                "give a URL that ends in /chat/completions or /completions",
            ));
        }
    }
    let chat = chat.unwrap_or(true);
    let suffix = if chat {
        "chat/completions"
    } else {
        "completions"
    };
    let completed = if path.is_empty() && api == Some(Api::Zhipu) {
        format!("/api/paas/v4/{suffix}")
    } else if path.is_empty() {
        format!("/v1/{suffix}")
    } else {
        format!("{path}/{suffix}")
    };
    url.set_path(&completed);
    notes.push(format!(
        "the URL was completed to {}",
        secrets::shown_url(&url)
    ));
    Ok((url, endpoint(chat)))
}

/// The shape of bodies where the URL is not completed as OpenAI's: a declared
/// API has a path of its own, and what a plugin speaks goes where it is told.
fn own_url(
    declaration: Option<&Declaration>,
    api: Option<Api>,
    url: &mut Url,
    notes: &mut Vec<String>,
) -> Option<Endpoint> {
    let has_path = !matches!(url.path(), "" | "/");
    if let Some(declaration) = declaration {
        if !has_path && let Some(path) = &declaration.path {
            url.set_path(path);
            notes.push(format!(
                "the URL was completed to {}",
                secrets::shown_url(url)
            ));
        }
        return Some(endpoint(declaration.is_chat()));
    }
    let path = url.path();
    let plain = path.ends_with("/completions") && !path.ends_with("/chat/completions");
    (api.is_none() && has_path).then(|| endpoint(!plain))
}

/// Look whether what was asked for reaches a declared API.
fn look_at_places(
    declaration: &Declaration,
    bodies: &BodyRules,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    if bodies.template.is_some() {
        return Err(hinted(
            "`--query-template` does not go together with a declared API: both say how a body looks",
            "put its fields into `template` of the declaration",
        ));
    }
    let limit = ["max_tokens", "max_completion_tokens"];
    let no_limit = bodies.max_tokens_typed && !limit.iter().any(|field| declaration.takes(field));
    let typed = bodies.typed.keys().map(String::as_str);
    let lost =
        typed.filter(|field| !matches!(*field, "model" | "stream") && !declaration.takes(field));
    for field in lost.chain(no_limit.then_some("max_tokens")) {
        notes.push(format!(
            "the declared API has no place for `{field}`: it is not sent"
        ));
    }
    Ok(())
}

/// Pictures go to another path of DashScope's own protocol than texts: that one
/// is taken where the person has left it open.
fn for_pictures(
    server: &ServerArgs,
    prompts: &PromptArgs,
    url: &mut Url,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let pictures = prompts.prompt.is_none()
        && [Dataset::RandomVl, Dataset::Flickr8k, Dataset::KontextBench]
            .iter()
            .any(|set| prompts.dataset.named() == Some(*set));
    let is_text = url.path() == dashscope::TEXT_PATH;
    if server.api.named() != Some(Api::Dashscope) || !pictures || !is_text {
        return Ok(());
    }
    let typed = server.url.as_ref().or(server.positional_url.as_ref());
    if typed.is_some_and(|typed| typed.contains(dashscope::TEXT_PATH)) {
        return Err(hinted(
            format!("{} takes no pictures", secrets::shown_url(url)),
            format!("give a URL with the path {}", dashscope::MULTIMODAL_PATH),
        ));
    }
    url.set_path(dashscope::MULTIMODAL_PATH);
    notes.push(format!("pictures go to {}", secrets::shown_url(url)));
    Ok(())
}

/// A path of DashScope's own protocol, or none at all; the others are those of
/// its OpenAI-compatible one.
fn is_native(path: &str) -> bool {
    path.ends_with("/generation") || matches!(path, "" | "/api" | "/api/v1")
}

/// The protocol that is spoken with a URL.
fn api_of(
    api: &ApiChoice,
    declaration: Option<&Declaration>,
    url: &Url,
    bodies: &BodyRules,
) -> Arc<dyn protocol::Api> {
    if let Some(declaration) = declaration {
        return Arc::new(Declared::new(declaration.clone()));
    }
    let path = url.path();
    let Some(named) = api.named() else {
        let name = api.to_string();
        return Arc::new(Opaque { name });
    };
    match named {
        Api::Dashscope if is_native(path) => {
            // models that can only repeat the text so far are asked to
            let said = [Some(&bodies.extra), bodies.template.as_ref()]
                .into_iter()
                .flatten()
                .find_map(|fields| {
                    let nested = fields.get("parameters");
                    let name = "incremental_output";
                    fields.get(name).or_else(|| nested?.get(name))
                });
            Arc::new(Dashscope {
                incremental: said.and_then(Value::as_bool).unwrap_or(true),
                form: dashscope::Form::of_path(path),
            })
        }
        Api::Zhipu => Arc::new(Zhipu),
        Api::Openai | Api::Dashscope | Api::LocalSim | Api::Local | Api::LocalVllm => {
            Arc::new(OpenAi)
        }
    }
}

/// The URL and the shape of bodies where prompts must be plain: ids, and sets
/// that measure the speed at a length, go to `/completions`.
fn for_plain_prompts(
    server: &ServerArgs,
    prompts: &PromptArgs,
    mut url: Url,
    shape: Endpoint,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Url, Endpoint)> {
    let speed = prompts.prompt.is_none()
        && matches!(
            prompts.dataset.named(),
            Some(Dataset::SpeedBenchmark | Dataset::SpeedBenchmarkLong)
        );
    if !prompts.tokenize_prompt && !speed {
        return Ok((url, shape));
    }
    let why = if speed {
        "the data set `speed_benchmark` sends plain prompts"
    } else {
        "`--tokenize-prompt` sends ids"
    };
    if matches!(server.api.named(), Some(Api::Dashscope | Api::Zhipu)) {
        return Err(hinted(
            format!("{why}, which `--api {}` does not take", server.api),
            "use `--api openai` with a URL that ends in /v1/completions",
        ));
    }
    let base = url.path().strip_suffix("/chat/completions");
    if let Some(base) = base.filter(|_| server.api.named().is_some()) {
        let path = format!("{base}/completions");
        url.set_path(&path);
        notes.push(format!(
            "{why}: requests go to {}",
            secrets::shown_url(&url)
        ));
    }
    Ok((url, Endpoint::Completions))
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
    let given = keys.iter().filter_map(|(_, variable, key)| {
        let key = key.as_ref().filter(|key| !key.is_empty())?;
        Some(((*variable).to_owned(), key.clone()))
    });
    let environment: Vec<(String, String)> = given.collect();
    let secrets = environment
        .iter()
        .map(|(_, key)| key.clone())
        // `local` stands for no key at all
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
    };
    let plan = TrackerPlan {
        place: TrackerPlace {
            kind: kind.to_owned(),
            environment,
        },
        host: output.swanlab_host.clone(),
        python: variable("EVALSCOPE_PYTHON"),
        name,
    };
    (Some(plan), secrets)
}

/// The hub of `--data-source`; where only Hugging Face's mirror is named, that
/// is meant.
fn hub_of(prompts: &PromptArgs) -> Option<Source> {
    match prompts.data_source {
        Some(DataSource::Local) => None,
        Some(DataSource::Huggingface) => Some(Source::HuggingFace),
        None if variable("HF_ENDPOINT").is_some_and(|value| !value.is_empty()) => {
            Some(Source::HuggingFace)
        }
        Some(DataSource::Modelscope) | None => Some(Source::ModelScope),
    }
}

fn endpoint(chat: bool) -> Endpoint {
    if chat {
        Endpoint::Chat
    } else {
        Endpoint::Completions
    }
}

/// The headers of every request, and what was learned with them.
#[derive(Debug)]
struct Headers {
    /// The URL without its user.
    url: Url,
    fields: Vec<(String, String)>,
    /// Values that must not be shown.
    secrets: Vec<String>,
}

/// Headers, with those that come from the key and from the URL's user; and the
/// values among them that are secret.
fn headers_of(
    server: &ServerArgs,
    declaration: Option<&Declaration>,
    mut url: Url,
) -> anyhow::Result<Headers> {
    let key = server.api_key.as_ref().filter(|key| !key.is_empty());
    let declared = declaration.map(|declaration| declared::headers(declaration, key));
    let declared = declared.unwrap_or_default();
    let mut headers: Vec<(String, String)> = Vec::new();
    for pair in &server.headers {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(hinted(
                format!(
                    "`--headers {}` is not KEY=VALUE",
                    pair.split(':').next().unwrap_or("")
                ),
                "write --headers name=value other=value",
            ));
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    headers.extend(declared.fields.into_iter().filter(|(name, _)| {
        let given = server
            .headers
            .iter()
            .filter_map(|pair| pair.split_once('='));
        !given
            .map(|(name, _)| name.trim())
            .any(|other| other.eq_ignore_ascii_case(name))
    }));
    let mut secrets: Vec<String> = headers
        .iter()
        .filter(|(name, _)| secrets::is_secret_name(name))
        .flat_map(|(_, value)| {
            let bare = value
                .split_once(' ')
                .map(|(_, credential)| credential.to_owned());
            [Some(value.clone()), bare]
        })
        .flatten()
        .collect();
    let mut set = |name: &str, value: String| {
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value));
    };
    if !url.username().is_empty() || url.password().is_some() {
        use base64::Engine as _;
        let user = format!("{}:{}", url.username(), url.password().unwrap_or_default());
        let encoded = base64::engine::general_purpose::STANDARD.encode(user);
        secrets.push(encoded.clone());
        secrets.extend(url.password().map(str::to_owned));
        set("Authorization", format!("Basic {encoded}"));
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    if let Some(key) = key {
        secrets.push(key.clone());
        // a key of two parts is signed with, and its second part is the secret
        secrets.extend(key.split_once('.').map(|(_, secret)| secret.to_owned()));
        if server.api.named() == Some(Api::Zhipu) {
            secrets.push(ZhipuKey::token_start());
        }
        if !declared.carry_key {
            set("Authorization", format!("Bearer {key}"));
        }
    }
    secrets.extend(
        url.query_pairs()
            .filter(|(name, _)| secrets::is_secret_name(name))
            .map(|(_, value)| value.into_owned()),
    );
    // a value of a few letters would mask half of every text
    secrets.retain(|secret| secret.len() >= 4);
    Ok(Headers {
        url,
        fields: headers,
        secrets,
    })
}

fn body_rules(
    generation: &GenerationArgs,
    prompts: &PromptArgs,
    model: &str,
    endpoint: Endpoint,
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
    let defaults = [("stream", json!(true)), ("temperature", json!(0.0))]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    let max_tokens = match generation.max_tokens.as_deref() {
        None => MaxTokens::Fixed(DEFAULT_MAX_TOKENS),
        Some([n]) => MaxTokens::Fixed(*n),
        Some([low, high]) if low <= high => MaxTokens::Uniform(*low, *high),
        Some(values) => {
            return Err(hinted(
                format!("`--max-tokens {}` is no range", spaced(values)),
                "give one value, or the smaller and then the larger end",
            ));
        }
    };
    let template = match &prompts.query_template {
        None => None,
        Some(text) => {
            let text = text_or_file("--query-template", text)?;
            Some(BodyRules::parse_template(&text)?)
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
    let hint = "write it as one JSON object, for example '{\"ignore_eos\": true}'";
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(hinted("`--extra-args` is no JSON object", hint)),
        Err(error) => Err(hinted(format!("`--extra-args` is not JSON: {error}"), hint)),
    }
}

/// The data set that was asked for; nothing is opened or fetched yet.
fn prompt_plan(
    args: &PromptArgs,
    endpoint: Endpoint,
    templated: bool,
    seed: u64,
) -> anyhow::Result<PromptPlan> {
    let lengths = (args.min_prompt_length, args.max_prompt_length);
    if lengths.0 > lengths.1 {
        return Err(hinted(
            format!(
                "`--min-prompt-length {}` is above `--max-prompt-length {}`",
                lengths.0, lengths.1
            ),
            "no prompt can be both: lower the one or raise the other",
        ));
    }
    let set = match &args.prompt {
        Some(text) => Set::Single(text_or_file("--prompt", text)?),
        None => set_of(args, endpoint)?,
    };
    if matches!(set, Set::Random | Set::RandomVl(_)) && args.tokenizer_path.is_none() {
        return Err(hinted(
            format!(
                "the data set `{}` needs `--tokenizer-path`: its prompts have a length in tokens",
                set.name()
            ),
            "give the model's tokenizer: a folder, a tokenizer.json, or a hub's id",
        ));
    }
    if args.tokenize_prompt {
        if args.tokenizer_path.is_none() {
            return Err(hinted(
                "`--tokenize-prompt` needs `--tokenizer-path`",
                "give the model's tokenizer: a folder, a tokenizer.json, or a hub's id",
            ));
        }
        if matches!(set, Set::RandomVl(_) | Set::Flickr8k | Set::KontextBench) {
            return Err(hinted(
                format!(
                    "`--tokenize-prompt` sends ids, and the data set `{}` has pictures",
                    set.name()
                ),
                "leave out `--tokenize-prompt`",
            ));
        }
    }
    Ok(PromptPlan {
        path: args.dataset_path.clone(),
        lengths,
        prefix: args.prefix_length,
        // a fixed set is sent as it is, whatever the URL
        chat: templated && set.whole().is_none(),
        as_ids: args.tokenize_prompt,
        tokenizer: args.tokenizer_path.clone(),
        seed,
        set,
    })
}

fn set_of(args: &PromptArgs, endpoint: Endpoint) -> anyhow::Result<Set> {
    let dataset = match &args.dataset {
        DatasetChoice::Named(dataset) => *dataset,
        DatasetChoice::Plugin(place) => return Ok(Set::Plugin(place.clone())),
    };
    let set = match dataset {
        Dataset::Sample => Set::Sample,
        Dataset::Openqa => Set::Openqa,
        Dataset::Longalpaca => Set::Longalpaca,
        Dataset::LineByLine => Set::LineByLine,
        Dataset::ShareGptZh => Set::ShareGpt(ShareGptLanguage::Chinese),
        Dataset::ShareGptEn => Set::ShareGpt(ShareGptLanguage::English),
        Dataset::Flickr8k => Set::Flickr8k,
        Dataset::KontextBench => Set::KontextBench,
        Dataset::SpeedBenchmark => Set::SpeedBenchmark,
        Dataset::SpeedBenchmarkLong => Set::SpeedBenchmarkLong,
        Dataset::Random => Set::Random,
        Dataset::RandomVl => {
            let mode = PixelMode::parse(&args.image_format);
            let canvas =
                mode.and_then(|mode| Canvas::new(args.image_width, args.image_height, mode));
            let canvas = canvas.map_err(|error| {
                hinted(
                    error.to_string(),
                    "see `--image-format`, `--image-width` and `--image-height`",
                )
            })?;
            Set::RandomVl(Pictures {
                canvas,
                each: args.image_num,
            })
        }
    };
    if dataset == Dataset::LineByLine && args.dataset_path.is_none() {
        return Err(hinted(
            "the data set `line_by_line` needs `--dataset-path`: a text file, one prompt a line",
            "for a first try, `--dataset sample` needs no file",
        ));
    }
    let pictures = matches!(set, Set::RandomVl(_) | Set::Flickr8k | Set::KontextBench);
    // what `--tokenize-prompt` has to do with it is said elsewhere
    if pictures && endpoint == Endpoint::Completions && !args.tokenize_prompt {
        return Err(hinted(
            format!(
                "the data set `{}` has pictures, which only chat endpoints take",
                set.name()
            ),
            "give a URL that ends in /chat/completions",
        ));
    }
    Ok(set)
}

fn text_or_file(flag: &str, value: &str) -> anyhow::Result<String> {
    match value.strip_prefix('@') {
        None => Ok(value.to_owned()),
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the file of `{flag} {value}`")),
    }
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

/// A name that every file system takes.
fn file_name(name: &str) -> String {
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
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn proxies() -> ProxyEnv {
    // lower case first: curl's order
    let var = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
    ProxyEnv {
        http: var("http_proxy"),
        https: var("https_proxy"),
        all: var("all_proxy"),
        none: var("no_proxy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> ServerArgs {
        ServerArgs {
            positional_url: None,
            url: Some(url.to_owned()),
            model: Some("m".to_owned()),
            api: ApiChoice::Named(Api::Openai),
            api_key: None,
            headers: Vec::new(),
            connect_timeout: None,
            read_timeout: None,
            total_timeout: 1.0,
            no_test_connection: false,
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
        assert_eq!(file_name(&base_name("Qwen/Qwen2.5-0.5B")), "Qwen2.5-0.5B");
        assert_eq!(file_name(&base_name("/models/x/")), "x");
        assert_eq!(file_name("a:b*c"), "a_b_c");
        assert_eq!(file_name(".."), "unknown");
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
    }
}
