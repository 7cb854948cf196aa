//! Owns flags that were typed and can do nothing in this command: each is told, none is an error.

use url::Url;

use crate::args::{Api, Dataset, PerfArgs, Visualizer};

/// A note for each flag that does nothing, as far as that is known from the others.
pub(super) fn notes(args: &PerfArgs) -> Vec<String> {
    let api = args.server.api.named();
    let is_served = matches!(api, Some(Api::Local | Api::LocalVllm));
    let prompt = args.prompts.prompt.is_some();
    let set = args.prompts.dataset.named();
    let is_random = !prompt && matches!(set, Some(Dataset::Random | Dataset::RandomVl));
    let is_random_vl = !prompt && set == Some(Dataset::RandomVl);
    let has_images =
        is_random_vl || matches!(set, Some(Dataset::Flickr8k | Dataset::KontextBench) | None);
    let has_no_file = matches!(
        set,
        Some(
            Dataset::Sample
                | Dataset::Random
                | Dataset::RandomVl
                | Dataset::SpeedBenchmark
                | Dataset::SpeedBenchmarkLong
        )
    );
    let output = &args.output;
    let tracker = output.visualizer;
    let follows_swanlab = tracker == Some(Visualizer::Swanlab) || output.swanlab_api_key.is_some();
    let follows = tracker.is_some_and(|tracker| tracker != Visualizer::None)
        || output.swanlab_api_key.is_some()
        || output.wandb_api_key.is_some();
    let is_typed = |flag: &str| args.typed.iter().any(|typed| typed == flag);
    let idle: [(&[&str], bool, &str); 11] = [
        (
            &[
                "num-workers",
                "db-commit-interval",
                "queue-size-multiplier",
                "in-flight-task-multiplier",
            ],
            false,
            "it tunes EvalScope, and this program needs no such tuning",
        ),
        (
            &["port", "trust-remote-code", "server-start-timeout"],
            is_served,
            "it is for `--api local` and `--api local_vllm`",
        ),
        (
            &["attn-implementation"],
            api == Some(Api::Local),
            "it is for `--api local`; another server chooses by itself",
        ),
        (
            &["prefix-length", "prefix-count"],
            is_random,
            "it is for `--dataset random` and `random_vl`",
        ),
        (
            &["image-num", "image-width", "image-height", "image-format"],
            is_random_vl,
            "it is for `--dataset random_vl`",
        ),
        (
            &["image-patch-size"],
            has_images,
            "it is for data sets with images",
        ),
        (
            &["dataset", "dataset-path", "dataset-offset"],
            !prompt,
            "`--prompt` overrides it",
        ),
        (
            &["dataset-path"],
            prompt || !has_no_file,
            "this data set has no file",
        ),
        (
            &["skip-bad-lines"],
            !prompt
                && !has_no_file
                && !matches!(set, Some(Dataset::Flickr8k | Dataset::KontextBench)),
            "it is for data sets that are files of texts",
        ),
        (
            &["swanlab-host"],
            follows_swanlab,
            "it is for `--visualizer swanlab`",
        ),
        (&["tracker-files"], follows, "there is no `--visualizer`"),
    ];
    let mut notes = Vec::new();
    for (flags, works, why) in idle {
        for flag in flags.iter().filter(|flag| !works && is_typed(flag)) {
            notes.push(format!("`--{flag}` does nothing here: {why}"));
        }
    }
    notes.extend(of_headers(&args.server.headers));
    notes
}

/// Headers that a request has of its own.
fn of_headers(headers: &[String]) -> impl Iterator<Item = String> {
    let names = headers
        .iter()
        .filter_map(|pair| Some(pair.split_once('=')?.0.trim()));
    let own = |name: &&str| {
        let name = name.to_ascii_lowercase();
        ["content-length", "transfer-encoding"].contains(&name.as_str())
    };
    names.filter(own).map(|name| {
        format!("the header `{name}` is not taken from `--headers`: each request has its own")
    })
}

/// The same for flags of TLS.
pub(super) fn of_url(typed: &[String], url: &Url) -> Vec<String> {
    let flags = ["ca-cert", "insecure"];
    let idle = flags
        .into_iter()
        .filter(|flag| url.scheme() != "https" && typed.iter().any(|typed| typed == flag));
    idle.map(|flag| format!("`--{flag}` does nothing here: the URL is not https://"))
        .collect()
}
