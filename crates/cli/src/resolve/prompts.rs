//! Owns which data set the flags ask for; nothing is opened or fetched here.

use evalscope_core::dataset::{Canvas, PixelMode, ShareGptLanguage};
use evalscope_core::protocol::Endpoint;
use evalscope_hub::Source;

use crate::args::{DataSource, Dataset, PromptArgs};
use crate::choices::DatasetChoice;
use crate::failure::hinted;
use crate::sources::{Pictures, PromptPlan, Set};

use super::{text_or_file, variable};

/// Most tokens of a random prompt, and of a prefix: 16 Mi.
const LONGEST_RANDOM: u64 = 1 << 24;

/// Most prefixes of random prompts: they are made before the first prompt.
const MOST_PREFIXES: u64 = 1 << 16;

/// The data set that was asked for; nothing is opened or fetched yet.
pub(super) fn prompt_plan(
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
    if matches!(set, Set::Random | Set::RandomVl(_)) {
        let longest = [
            ("--max-prompt-length", lengths.1 as u64),
            ("--prefix-length", args.prefix_length),
        ];
        for (flag, tokens) in longest {
            if tokens > LONGEST_RANDOM {
                return Err(hinted(
                    format!(
                        "`{flag} {tokens}` is more than random prompts may have: {LONGEST_RANDOM} tokens"
                    ),
                    "no model reads as much",
                ));
            }
        }
    }
    if args.prefix_count > 1 {
        let is_random = matches!(set, Set::Random | Set::RandomVl(_));
        if !is_random || args.prefix_length == 0 {
            return Err(hinted(
                format!(
                    "`--prefix-count {}` needs `--dataset random` and a `--prefix-length`",
                    args.prefix_count
                ),
                "several prefixes are those of random prompts",
            ));
        }
        if args.prefix_count > MOST_PREFIXES {
            return Err(hinted(
                format!(
                    "`--prefix-count {}` is above {MOST_PREFIXES}",
                    args.prefix_count
                ),
                "as many prefixes share nothing: leave out `--prefix-length`",
            ));
        }
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
        prefixes: args.prefix_count,
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

/// The hub of `--data-source`; where only Hugging Face's mirror is named, that
/// is meant.
pub(super) fn hub_of(prompts: &PromptArgs) -> Option<Source> {
    match prompts.data_source {
        Some(DataSource::Local) => None,
        Some(DataSource::Huggingface) => Some(Source::HuggingFace),
        None if variable("HF_ENDPOINT").is_some_and(|value| !value.is_empty()) => {
            Some(Source::HuggingFace)
        }
        Some(DataSource::Modelscope) | None => Some(Source::ModelScope),
    }
}
