//! Owns the record of what was asked: every setting by the name of its flag,
//! with defaults filled in and secrets masked.

use evalscope_core::plan::DEFAULT_REQUESTS;
use serde_json::{Map, Value, json};
use url::Url;

use crate::args::{
    Api, Attention, GenerationArgs, LoadArgs, OutputArgs, PerfArgs, PromptArgs, ServerArgs,
};
use crate::choices::name_of;
use crate::resolve::{DEFAULT_MAX_TOKENS, DEFAULT_URL, chat_template_choice};
use crate::secrets;

/// All settings.
pub(crate) fn of(args: &PerfArgs) -> Value {
    let mut all = Map::new();
    server(&args.server, &mut all);
    load(&args.load, &mut all);
    prompts(&args.prompts, &mut all);
    generation(&args.generation, &mut all);
    output(&args.output, &mut all);
    all.into()
}

fn put<const N: usize>(all: &mut Map<String, Value>, settings: [(&str, Value); N]) {
    all.extend(settings.map(|(name, value)| (name.to_owned(), value)));
}

fn server(args: &ServerArgs, all: &mut Map<String, Value>) {
    let url = args.url.as_ref().or(args.positional_url.as_ref());
    let url = url.map_or(DEFAULT_URL, String::as_str);
    let parsed = Url::parse(url).or_else(|_| Url::parse(&format!("http://{url}")));
    let url = parsed.map_or_else(|_| secrets::MASK.to_owned(), |url| secrets::shown_url(&url));
    // what is served here has its own
    let served = matches!(args.api.named(), Some(Api::Local | Api::LocalVllm));
    let url = (!served).then_some(url);
    let headers: Map<String, Value> = args
        .headers
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), secrets::shown_header(name, value).into()))
        .collect();
    let key = args.api_key.as_ref().map(|_| secrets::MASK);
    put(
        all,
        [
            ("model", json!(args.model)),
            ("api", json!(args.api.to_string())),
            ("url", json!(url)),
            ("api_key", json!(key)),
            ("headers", json!(headers)),
            ("connect_timeout", json!(args.connect_timeout)),
            ("read_timeout", json!(args.read_timeout)),
            ("total_timeout", json!(args.total_timeout)),
            ("no_test_connection", json!(args.no_test_connection)),
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

fn load(args: &LoadArgs, all: &mut Map<String, Value>) {
    let number = args.number.clone();
    let number = number.unwrap_or_else(|| vec![DEFAULT_REQUESTS; args.parallel.len()]);
    put(
        all,
        [
            ("parallel", json!(args.parallel)),
            ("number", json!(number)),
            ("rate", json!(args.rate)),
            ("duration", json!(args.duration)),
            ("warmup_num", json!(args.warmup_num)),
            ("sleep_interval", json!(args.sleep_interval)),
            ("max_error_rate", json!(args.max_error_rate)),
            ("client_threads", json!(args.client_threads)),
        ],
    );
}

fn prompts(args: &PromptArgs, all: &mut Map<String, Value>) {
    let template = args.query_template.as_deref().map(|text| {
        serde_json::from_str::<Value>(text)
            .map_or_else(|_| text.into(), |value| secrets::shown_fields(&value))
    });
    put(
        all,
        [
            ("dataset", json!(args.dataset.to_string())),
            ("dataset_path", json!(args.dataset_path)),
            (
                "data_source",
                json!(args.data_source.map(|at| name_of(&at))),
            ),
            ("tokenizer_path", json!(args.tokenizer_path)),
            ("tokenize_prompt", json!(args.tokenize_prompt)),
            ("prefix_length", json!(args.prefix_length)),
            ("repeat_prompts", json!(args.repeat_prompts)),
            ("image_num", json!(args.image_num)),
            ("image_width", json!(args.image_width)),
            ("image_height", json!(args.image_height)),
            ("image_format", json!(args.image_format)),
            ("image_patch_size", json!(args.image_patch_size)),
            ("prompt", json!(args.prompt)),
            ("query_template", json!(template)),
            ("min_prompt_length", json!(args.min_prompt_length)),
            ("max_prompt_length", json!(args.max_prompt_length)),
            ("apply_chat_template", json!(chat_template_choice(args))),
        ],
    );
}

fn generation(args: &GenerationArgs, all: &mut Map<String, Value>) {
    let max_tokens = args.max_tokens.clone();
    let extra = args.extra_args.as_deref().map(|text| {
        serde_json::from_str(text).map_or(Value::Null, |value| secrets::shown_fields(&value))
    });
    put(
        all,
        [
            (
                "max_tokens",
                json!(max_tokens.unwrap_or_else(|| vec![DEFAULT_MAX_TOKENS])),
            ),
            ("min_tokens", json!(args.min_tokens)),
            ("temperature", json!(args.temperature.unwrap_or(0.0))),
            ("top_p", json!(args.top_p)),
            ("top_k", json!(args.top_k)),
            ("frequency_penalty", json!(args.frequency_penalty)),
            ("repetition_penalty", json!(args.repetition_penalty)),
            ("logprobs", json!(args.logprobs)),
            ("n_choices", json!(args.n_choices)),
            ("seed", json!(args.seed)),
            ("stop", json!(args.stop)),
            ("stop_token_ids", json!(args.stop_token_ids)),
            ("stream", json!(!args.no_stream)),
            ("extra_args", json!(extra)),
        ],
    );
}

fn output(args: &OutputArgs, all: &mut Map<String, Value>) {
    put(
        all,
        [
            ("outputs_dir", json!(args.outputs_dir)),
            ("visualizer", json!(args.visualizer.map(|at| name_of(&at)))),
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
            ("no_timestamp", json!(args.no_timestamp)),
            ("record_bodies", json!(name_of(&args.record_bodies))),
            ("log_every_n_query", json!(args.log_every_n_query)),
            ("debug", json!(args.debug)),
        ],
    );
}
