//! Owns flags on the command line that have no effect in this command: each gets a note, none is an
//! error.
//!
//! It must not know what a flag does where it has an effect.

use evalscope_model::plan::{RunPlan, RunSpec};
use evalscope_workload::trace::TraceKind;
use url::Url;

use crate::catalog::apis::Serves;
use crate::catalog::datasets::Origin;
use crate::flags::PerfArgs;
use crate::flags::output::Visualizer;

/// A note for each flag that does nothing, as far as that is known from the others.
pub(super) fn notes(args: &PerfArgs, headers: &[(String, String)]) -> Vec<String> {
    let serves = args.server.api.serves();
    let prompt = args.prompts.prompt.is_some();
    // `None` for a plugin
    let origin = args.prompts.dataset.named().map(|set| set.origin);
    let is_random = !prompt && origin.is_some_and(Origin::is_random);
    let is_random_vl = !prompt && origin == Some(Origin::RandomImages);
    let has_images = is_random_vl || matches!(origin, Some(Origin::Images) | None);
    let has_no_file = origin.is_some_and(|origin| !origin.has_file());
    let output = &args.output;
    let tracker = output.visualizer;
    let follows_swanlab = tracker == Some(Visualizer::Swanlab) || output.swanlab_api_key.is_some();
    let follows = tracker.is_some_and(|tracker| tracker != Visualizer::None)
        || output.swanlab_api_key.is_some()
        || output.wandb_api_key.is_some();
    let is_typed = |flag: &str| args.typed.iter().any(|typed| typed == flag);
    let idle: [(&[&str], bool, &str); 13] = [
        (
            &[
                "num-workers",
                "db-commit-interval",
                "queue-size-multiplier",
                "in-flight-task-multiplier",
            ],
            false,
            "this program does not need this tuning",
        ),
        (
            &["metrics-linger"],
            output.metrics_listen.is_some(),
            "only `--metrics-listen` serves metrics",
        ),
        (
            &["port", "trust-remote-code", "server-start-timeout"],
            serves.is_program(),
            "only `--api local` and `--api local_vllm` use it",
        ),
        (
            &["attn-implementation"],
            serves == Serves::Transformers,
            "only `--api local` uses it",
        ),
        (
            &["prefix-length", "prefix-count"],
            is_random,
            "only random datasets use it",
        ),
        (
            &["image-num", "image-width", "image-height", "image-format"],
            is_random_vl,
            "only `--dataset random_vl` uses it",
        ),
        (
            &["image-patch-size"],
            has_images,
            "only datasets with images use it",
        ),
        (
            &["dataset", "dataset-path", "dataset-offset"],
            !prompt,
            "`--prompt` overrides it",
        ),
        (
            &["dataset-path"],
            prompt || !has_no_file,
            "this dataset does not use a file",
        ),
        (
            &["skip-bad-lines"],
            !prompt
                && matches!(
                    origin,
                    Some(Origin::Texts | Origin::Lengths | Origin::Trace(_)) | None
                ),
            "only datasets in text files use it",
        ),
        (
            &["swanlab-host"],
            follows_swanlab,
            "only `--visualizer swanlab` uses it",
        ),
        (
            &["url-strategy"],
            args.server.typed_urls().len() > 1,
            "there is one URL",
        ),
        (&["tracker-files"], follows, "`--visualizer` is not given"),
    ];
    let mut notes = Vec::new();
    for (flags, works, why) in idle {
        for flag in flags.iter().filter(|flag| !works && is_typed(flag)) {
            notes.push(format!("`--{flag}` has no effect: {why}"));
        }
    }
    notes.extend(of_traces(args));
    notes.extend(of_headers(headers));
    notes
}

/// Flags of prompts and bodies that a trace has the say in.
fn of_traces(args: &PerfArgs) -> Vec<String> {
    let row = args.prompts.built_in();
    let origin = row.map(|row| row.origin);
    let is_trace = matches!(origin, Some(Origin::Trace(_)));
    let is_recorded = origin == Some(Origin::Trace(Some(TraceKind::Workload)));
    let idle: [(&[&str], bool, &str); 3] = [
        (
            &["min-prompt-length", "max-prompt-length"],
            !is_trace,
            "`max_input` in `--dataset-args` leaves out long prompts of a trace",
        ),
        (
            &["max-tokens", "min-tokens"],
            !is_trace,
            "a trace has the length of each output",
        ),
        (
            &[
                "temperature",
                "top-p",
                "top-k",
                "frequency-penalty",
                "repetition-penalty",
                "logprobs",
                "n-choices",
                "stop",
                "stop-token-ids",
                "stream",
                "no-stream",
                "extra-args",
                "query-template",
            ],
            !is_recorded,
            "recorded bodies are sent as they are",
        ),
    ];
    let is_typed = |flag: &str| args.typed.iter().any(|typed| typed == flag);
    let idle = idle.iter().filter(|(_, works, _)| !works);
    idle.flat_map(|(flags, _, why)| flags.iter().map(move |flag| (flag, why)))
        .filter(|(flag, _)| is_typed(flag))
        .map(|(flag, why)| format!("`--{flag}` has no effect: {why}"))
        .collect()
}

/// Headers that are set for each request.
fn of_headers(headers: &[(String, String)]) -> impl Iterator<Item = String> {
    let names = headers.iter().map(|(name, _)| name);
    let own = |name: &&String| {
        let name = name.to_ascii_lowercase();
        ["content-length", "transfer-encoding"].contains(&name.as_str())
    };
    names.filter(own).map(|name| {
        format!("the header `{name}` in `--headers` is ignored: it is set for each request")
    })
}

/// The same for flags of loads that this command does not have.
pub(super) fn of_plan(typed: &[String], plan: &RunPlan) -> Vec<String> {
    let runs = plan.runs();
    let idle: [(&[&str], bool, &str); 3] = [
        (
            &[
                "history",
                "max-turn-tokens",
                "turn-delay",
                "max-context",
                "salt",
                "finish-conversations",
                "min-turns",
                "max-turns",
                "session-header",
                "session-token-header",
            ],
            runs.iter().any(|run| run.conversations.is_some()),
            "only conversations use it (`--multi-turn`)",
        ),
        (
            &["max-in-flight", "when-full", "stop-when-saturated"],
            runs.iter().any(RunSpec::is_open_loop),
            "only an open loop uses it (`--open-loop --rate`)",
        ),
        (
            &["arrivals", "burstiness"],
            runs.iter().any(|run| run.pacing.schedule().is_some()),
            "only `--rate` uses it",
        ),
    ];
    let mut notes = Vec::new();
    for (flags, works, why) in idle {
        for flag in flags
            .iter()
            .filter(|flag| !works && typed.iter().any(|typed| typed == *flag))
        {
            notes.push(format!("`--{flag}` has no effect: {why}"));
        }
    }
    notes
}

/// The same for flags of TLS.
pub(super) fn of_url(typed: &[String], url: &Url) -> Vec<String> {
    let flags = ["ca-cert", "insecure"];
    let idle = flags
        .into_iter()
        .filter(|flag| url.scheme() != "https" && typed.iter().any(|typed| typed == flag));
    idle.map(|flag| format!("`--{flag}` has no effect: the URL is not https://"))
        .collect()
}
