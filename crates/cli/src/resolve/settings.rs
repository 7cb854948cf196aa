//! Owns the record of what was asked: every setting by the name of its flag,
//! with defaults filled in and secrets masked.
//!
//! It must not know who reads the record.

use std::num::{NonZeroU32, NonZeroUsize};

use evalscope_core::protocol::{BodyRules, Endpoint, MaxTokens, Output};
use evalscope_hub::Source;
use evalscope_model::mix::UrlStrategy;
use evalscope_model::plan::{RunPlan, RunSpec};
use evalscope_report::Lang;
use evalscope_report::rules::Rule;
use serde_json::{Map, Value, json};
use url::Url;

use super::objective::Objectives;
use crate::flags::PerfArgs;
use crate::flags::choices::name_of;
use crate::flags::conversations::ConversationArgs;
use crate::flags::generation::GenerationArgs;
use crate::flags::load::LoadArgs;
use crate::flags::output::OutputArgs;
use crate::flags::prompts::{DataSource, PromptArgs};
use crate::flags::search::{SearchArgs, Vary};
use crate::flags::server::{Attention, ServerArgs};
use crate::flags::shard::{ShardArgs, StartAt};
use crate::secrets;

/// What the flags have come to, where that is not what was typed.
pub(super) struct Used<'a> {
    /// The model asked for.
    pub(super) model: &'a str,
    /// Where requests go, as far as that is known.
    pub(super) urls: &'a [Url],
    /// Headers that were asked for.
    pub(super) headers: &'a [(String, String)],
    /// A key is sent.
    pub(super) has_key: bool,
    /// The least and the greatest length of prompts.
    pub(super) lengths: (usize, usize),
    /// The options of the dataset.
    pub(super) dataset_args: &'a Map<String, Value>,
    pub(super) plan: &'a RunPlan,
    pub(super) objectives: &'a Objectives,
    pub(super) bodies: &'a BodyRules,
    pub(super) hub: Option<Source>,
    pub(super) client_threads: usize,
    /// The tracker, by its name.
    pub(super) tracker: Option<&'a str>,
    /// The language of the HTML report.
    pub(super) lang: Lang,
}

/// All settings.
pub(super) fn of(args: &PerfArgs, used: &Used<'_>) -> Value {
    let mut all = Map::new();
    of_server(&args.server, used, &mut all);
    of_load(&args.load, used, &mut all);
    of_search(&args.search, &mut all);
    of_conversations(&args.conversations, used, &mut all);
    of_prompts(&args.prompts, used, &mut all);
    of_generation(&args.generation, used.bodies, &mut all);
    of_output(&args.output, used, &mut all);
    of_shard(&args.shard, used, &mut all);
    all.into()
}

fn put<const N: usize>(all: &mut Map<String, Value>, settings: [(&str, Value); N]) {
    all.extend(settings.map(|(name, value)| (name.to_owned(), value)));
}

fn of_server(args: &ServerArgs, used: &Used<'_>, all: &mut Map<String, Value>) {
    let headers: Map<String, Value> = used
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), secrets::shown_header(name, value).into()))
        .collect();
    let key = used.has_key.then_some(secrets::MASK);
    put(
        all,
        [
            (
                "model",
                sent(used.bodies, "model").unwrap_or_else(|| json!(used.model)),
            ),
            ("api", json!(args.api.to_string())),
            (
                "url",
                json!((!used.urls.is_empty()).then(|| secrets::shown_urls(used.urls))),
            ),
            ("model_weights", json!(args.model_weights)),
            (
                "url_strategy",
                json!(
                    args.url_strategy
                        .map(|choice| UrlStrategy::from(choice).as_str())
                ),
            ),
            ("api_key", json!(key)),
            ("headers", json!(headers)),
            ("connect_timeout", json!(args.connect_timeout)),
            ("read_timeout", json!(args.read_timeout)),
            ("total_timeout", json!(args.total_timeout)),
            ("no_test_connection", json!(args.no_test_connection)),
            ("wait_for_server", json!(args.wait_for_server)),
            ("insecure", json!(args.insecure)),
            ("ca_cert", json!(args.ca_cert)),
            ("port", json!(args.port)),
            (
                "attn_implementation",
                json!(args.attn_implementation.map(Attention::name)),
            ),
            ("trust_remote_code", json!(args.trust_remote_code)),
            ("server_start_timeout", json!(args.server_start_timeout)),
        ],
    );
}

fn of_load(args: &LoadArgs, used: &Used<'_>, all: &mut Map<String, Value>) {
    let runs = used.plan.runs().iter();
    let parallel: Option<Vec<usize>> = runs
        .clone()
        .map(|run| run.concurrency.map(NonZeroUsize::get))
        .collect();
    let number: Option<Vec<u64>> = runs.clone().map(|run| run.requests).collect();
    let rates = runs.map(|run| match run.pacing.schedule() {
        None => json!(-1.0),
        Some(schedule) => match schedule.profile.constant_per_s() {
            Some(rate_per_s) => json!(rate_per_s),
            None => json!(schedule.profile.to_string()),
        },
    });
    let mut rates: Vec<Value> = rates.collect();
    rates.dedup();
    let open_loop = used.plan.runs().iter().all(RunSpec::is_open_loop);
    let gaps = args.burstiness.unwrap_or(args.arrivals);
    put(
        all,
        [
            ("parallel", json!(parallel)),
            ("number", json!(number)),
            ("rate", json!(rates)),
            ("open_loop", json!(open_loop)),
            ("arrivals", json!(gaps.to_string())),
            ("max_in_flight", json!(args.max_in_flight)),
            ("when_full", json!(used.plan.runs()[0].open_loop.when_full)),
            ("drain_timeout", json!(args.drain_timeout)),
            ("stop_when_saturated", json!(args.stop_when_saturated)),
            ("duration", json!(args.duration)),
            ("warmup_num", json!(args.warmup_num)),
            ("sleep_interval", json!(args.sleep_interval)),
            ("repeats", json!(args.repeats)),
            ("max_error_rate", json!(args.max_error_rate)),
            ("slo", json!(used.objectives.slo)),
            ("slo_from", json!(used.objectives.from)),
            ("min_goodput", json!(used.objectives.min_goodput)),
            ("fail_if", json!(texts(&used.objectives.fail_if))),
            ("abort_if", json!(texts(&used.objectives.abort_if))),
            (
                "abort_after",
                json!(used.objectives.abort_after.as_secs_f64()),
            ),
            ("give_up_after", json!(args.give_up_after)),
            ("client_threads", json!(used.client_threads)),
            ("num_workers", json!(args.num_workers)),
            ("db_commit_interval", json!(args.db_commit_interval)),
            ("queue_size_multiplier", json!(args.queue_size_multiplier)),
            (
                "in_flight_task_multiplier",
                json!(args.in_flight_task_multiplier),
            ),
        ],
    );
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(Rule::to_string).collect()
}

fn of_search(args: &SearchArgs, all: &mut Map<String, Value>) {
    // one that cannot be read has ended the command before
    let params = args
        .sla_params
        .as_deref()
        .map(|text| serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into()));
    let (least_s, most_s) = args.sla_probe_time;
    put(
        all,
        [
            ("sla_auto_tune", json!(args.sla_auto_tune)),
            (
                "sla_variable",
                json!(match args.sla_variable {
                    Vary::Parallel => "parallel",
                    Vary::Rate => "rate",
                }),
            ),
            ("sla_params", json!(params)),
            // as EvalScope has them where they are not typed
            (
                "sla_num_runs",
                json!(args.sla_num_runs.map_or(3, NonZeroU32::get)),
            ),
            ("sla_lower_bound", json!(args.sla_lower_bound)),
            ("sla_upper_bound", json!(args.sla_upper_bound)),
            ("sla_fixed_parallel", json!(args.sla_fixed_parallel)),
            ("sla_number_multiplier", json!(args.sla_number_multiplier)),
            ("sla_precision", json!(args.sla_precision)),
            ("sla_confidence", json!(args.sla_confidence)),
            ("sla_probe_time", json!(format!("{least_s}..{most_s}"))),
            ("sla_max_time", json!(args.sla_max_time)),
        ],
    );
}

fn of_conversations(args: &ConversationArgs, used: &Used<'_>, all: &mut Map<String, Value>) {
    let first = &used.plan.runs()[0];
    let history = first.conversations.map(|talks| talks.history);
    let history = history.unwrap_or(args.history.into());
    let delay = args.turn_delay.map(|delay| delay.to_string());
    put(
        all,
        [
            ("multi_turn", json!(first.conversations.is_some())),
            ("history", json!(history.as_str())),
            ("max_turn_tokens", json!(args.max_turn_tokens)),
            ("turn_delay", json!(delay)),
            ("max_context", json!(args.max_context)),
            ("salt", json!(args.salt)),
            ("finish_conversations", json!(args.finish_conversations)),
            ("session_header", json!(args.session_header)),
            ("session_token_header", json!(args.session_token_header)),
            ("connections", json!(first.connections)),
        ],
    );
}

fn of_prompts(args: &PromptArgs, used: &Used<'_>, all: &mut Map<String, Value>) {
    let hub = match used.hub {
        Some(Source::ModelScope) => DataSource::Modelscope,
        Some(Source::HuggingFace) => DataSource::Huggingface,
        None => DataSource::Local,
    };
    let template = args.query_template.as_deref().map(|text| {
        serde_json::from_str::<Value>(text)
            .map_or_else(|_| text.into(), |value| secrets::shown_fields(&value))
    });
    put(
        all,
        [
            ("dataset", json!(args.dataset.to_string())),
            ("dataset_path", json!(args.dataset_path)),
            ("prompt_field", json!(args.prompt_field)),
            ("skip_bad_lines", json!(args.skip_bad_lines)),
            ("dataset_args", json!(used.dataset_args)),
            ("min_turns", json!(args.min_turns)),
            ("max_turns", json!(args.max_turns)),
            ("data_source", json!(name_of(&hub))),
            ("tokenizer_path", json!(args.tokenizer_path)),
            ("tokenize_prompt", json!(args.tokenize_prompt)),
            ("prefix_length", json!(args.prefix_length)),
            ("prefix_count", json!(args.prefix_count)),
            ("dataset_offset", json!(args.dataset_offset)),
            ("repeat_prompts", json!(args.repeat_prompts)),
            ("image_num", json!(args.image_num)),
            ("image_width", json!(args.image_width)),
            ("image_height", json!(args.image_height)),
            ("image_format", json!(args.image_format)),
            ("image_patch_size", json!(args.image_patch_size)),
            ("prompt", json!(args.prompt)),
            ("query_template", json!(template)),
            ("min_prompt_length", json!(used.lengths.0)),
            ("max_prompt_length", json!(used.lengths.1)),
            (
                "apply_chat_template",
                json!(used.bodies.endpoint == Endpoint::Chat),
            ),
        ],
    );
}

fn of_generation(args: &GenerationArgs, bodies: &BodyRules, all: &mut Map<String, Value>) {
    let extra = args
        .extra_args
        .as_ref()
        .map(|_| secrets::shown_fields(&Value::Object(bodies.extra.clone())));
    let field = |name| sent(bodies, name).unwrap_or(Value::Null);
    put(
        all,
        [
            ("max_tokens", limits(bodies).into()),
            ("min_tokens", field("min_tokens")),
            ("temperature", field("temperature")),
            ("top_p", field("top_p")),
            ("top_k", field("top_k")),
            ("frequency_penalty", field("frequency_penalty")),
            ("repetition_penalty", field("repetition_penalty")),
            ("logprobs", field("logprobs")),
            ("n_choices", field("n")),
            ("seed", json!(bodies.seed)),
            ("stop", field("stop")),
            ("stop_token_ids", field("stop_token_ids")),
            ("stream", json!(streams(bodies))),
            ("extra_args", json!(extra)),
        ],
    );
}

/// The greatest length of a response, or the range it is drawn from, as it is sent.
fn limits(bodies: &BodyRules) -> Vec<Value> {
    if bodies.api.output() != Output::Generated {
        return Vec::new();
    }
    let limit = ["max_tokens", "max_completion_tokens"];
    let limit = limit.iter().find_map(|name| match sent(bodies, name) {
        Some(Value::Null) | None => None,
        Some(limit) => Some(limit),
    });
    match (limit, bodies.max_tokens) {
        (Some(limit), _) => vec![limit],
        (None, MaxTokens::Fixed(n)) => vec![n.into()],
        (None, MaxTokens::Uniform(low, high)) => vec![low.into(), high.into()],
    }
}

/// The same as numbers: the fewest and the most tokens.
pub(super) fn output_tokens(bodies: &BodyRules) -> (u64, u64) {
    let limits: Vec<u64> = limits(bodies).iter().filter_map(Value::as_u64).collect();
    match limits.as_slice() {
        [] => (1, 1),
        [one] => (*one.max(&1), *one.max(&1)),
        [low, .., high] => (*low.max(&1), *high.max(&1)),
    }
}

/// Whether streams are asked for.
pub(super) fn streams(bodies: &BodyRules) -> bool {
    sent(bodies, "stream").is_some_and(|stream| stream == true)
}

/// Output tokens that a request asks for at most, on average.
pub(super) fn most_tokens(bodies: &BodyRules) -> f64 {
    let limits = limits(bodies);
    let limits: Vec<f64> = limits.iter().filter_map(Value::as_f64).collect();
    let choices = sent(bodies, "n").and_then(|n| n.as_f64()).unwrap_or(1.0);
    choices * limits.iter().sum::<f64>() / limits.len().max(1) as f64
}

/// A field of the bodies, whoever gives it; `None` where nobody does. A field of a prompt that is
/// itself a body is not known here.
pub(super) fn sent(bodies: &BodyRules, name: &str) -> Option<Value> {
    let extra = bodies.api.fields(bodies.extra.clone());
    if let Some(value) = extra.get(name) {
        return Some(value.clone());
    }
    let is_limit = matches!(name, "max_tokens" | "max_completion_tokens");
    if is_limit && bodies.max_tokens_typed {
        // what was typed takes the place of the template's
        return None;
    }
    let template = bodies.template.clone().unwrap_or_default();
    let template = bodies.api.fields(template);
    [&bodies.typed, &template, &bodies.defaults]
        .iter()
        .find_map(|fields| fields.get(name).cloned())
}

fn of_output(args: &OutputArgs, used: &Used<'_>, all: &mut Map<String, Value>) {
    put(
        all,
        [
            ("outputs_dir", json!(args.outputs_dir)),
            ("visualizer", json!(used.tracker)),
            ("tracker_files", json!(name_of(&args.tracker_files))),
            (
                "wandb_api_key",
                json!(args.wandb_api_key.as_ref().map(|_| secrets::MASK)),
            ),
            (
                "swanlab_api_key",
                json!(args.swanlab_api_key.as_ref().map(|_| secrets::MASK)),
            ),
            ("swanlab_host", json!(args.swanlab_host)),
            ("name", json!(args.name)),
            ("alias", json!(args.alias)),
            (
                "metadata",
                args.metadata
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
                    .collect(),
            ),
            ("no_timestamp", json!(args.no_timestamp)),
            ("record_bodies", json!(name_of(&args.record_bodies))),
            ("confidence", json!(args.confidence)),
            ("enable_pd_metrics", json!(args.enable_pd_metrics)),
            ("no_html", json!(args.no_html)),
            ("lang", json!(used.lang)),
            ("log_every_n_query", json!(args.log_every_n_query)),
            ("progress", json!(name_of(&args.progress))),
            ("metrics_listen", json!(args.metrics_listen)),
            ("metrics_linger", json!(args.metrics_linger)),
            (
                "enable_progress_tracker",
                json!(args.enable_progress_tracker),
            ),
            ("debug", json!(args.debug)),
        ],
    );
}

/// Settings that differ between the parts of a run are named in `evalscope_report::merge`.
fn of_shard(args: &ShardArgs, used: &Used<'_>, all: &mut Map<String, Value>) {
    let shard = used.plan.runs()[0].shard;
    let start_at = match args.start_at {
        None | Some(StartAt::Ready) => Value::Null,
        Some(StartAt::Unix(unix_ns)) => json!(unix_ns as f64 / 1e9),
        Some(StartAt::Stdin) => json!("stdin"),
    };
    put(
        all,
        [
            ("shard", json!(args.shard.map(|_| shard.to_string()))),
            ("start_at", start_at),
            ("run_id", json!(args.run_id)),
        ],
    );
}
