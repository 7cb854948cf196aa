//! Owns which dataset the flags select; nothing is opened or downloaded here.
//!
//! It must not know how a dataset is read.

use evalscope_core::protocol::{BodyRules, Endpoint, Output};
use evalscope_hub::Source;
use evalscope_workload::dataset::{Canvas, PixelMode};
use evalscope_workload::tokens::Asked;
use serde_json::{Map, Value};

use crate::catalog::datasets::{self, DATASETS, DatasetRow, DrawnImages, Feeds, Origin, Sessions};
use crate::env::Environment;
use crate::failure::hinted;
use crate::flags::choices::DatasetChoice;
use crate::flags::prompts::{DataSource, PromptArgs};
use crate::sources::{DEFAULT_LENGTHS, DatasetKind, PromptPlan};

use super::dataset_args::dataset_args;
use super::settings;
use super::texts::text_or_file;

/// Most tokens of a random prompt, and of a prefix: 16 Mi.
const LONGEST_RANDOM: u64 = 1 << 24;

/// Most prefixes of random prompts: they are made before the first prompt.
const MOST_PREFIXES: u64 = 1 << 16;

/// Default length of random prompts, in tokens: what a question with
/// some context has. Between the lengths that other prompts may have, half a
/// dozen would fill a server.
const RANDOM_TOKENS: usize = 1024;

/// The dataset that was asked for; nothing is opened or fetched yet.
pub(super) fn prompt_plan(
    args: &PromptArgs,
    bodies: &BodyRules,
    options: Map<String, Value>,
    templated: bool,
    own_api: bool,
    notes: &mut Vec<String>,
) -> anyhow::Result<PromptPlan> {
    let images = images_of(args)?;
    let set = match &args.prompt {
        Some(text) => DatasetKind::Single(own_prompt(text)?),
        None => set_of(args, bodies.endpoint)?,
    };
    let lengths = lengths_of(args, &set, notes);
    if lengths.0 > lengths.1 {
        return Err(hinted(
            format!(
                "`--min-prompt-length {}` is above `--max-prompt-length {}`",
                lengths.0, lengths.1
            ),
            "lower the minimum or raise the maximum",
        ));
    }
    check_random(args, &set, lengths.1 as u64)?;
    check_ids(args, &set, bodies.conversations.is_some())?;
    if let Some(max) = args.max_turns.filter(|max| *max < args.min_turns) {
        return Err(hinted(
            format!(
                "`--min-turns {}` is above `--max-turns {max}`",
                args.min_turns
            ),
            "lower the minimum or raise the maximum",
        ));
    }
    notes.extend(set.note().map(str::to_owned));
    let asked = ["chat_template_kwargs", "tools"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), settings::sent(bodies, name)?)));
    let (options, fit) = dataset_args(args, &set, options, notes)?;
    Ok(PromptPlan {
        field: args.prompt_field.clone().filter(|_| args.prompt.is_none()),
        images,
        path: args.dataset_path.clone(),
        lengths,
        prefix: args.prefix_length,
        skip_bad: args.skip_bad_lines,
        args: options,
        fit,
        min_turns: args.min_turns,
        max_turns: args.max_turns,
        history: bodies.conversations.as_ref().map(|rules| rules.history),
        output_tokens: settings::output_tokens(bodies),
        trace: None,
        shared_headers: Vec::new(),
        any_body: own_api,
        asked: Asked::of(&asked.collect()),
        prefixes: args.prefix_count,
        // a fixed set is sent as it is, whatever the URL
        chat: templated && set.whole().is_none(),
        // an API of the user's gets what is in the dataset, and ids are those of messages
        plain: bodies.endpoint == Endpoint::Completions
            && bodies.api.output() == Output::Generated
            && !own_api
            && !args.tokenize_prompt,
        as_ids: args.tokenize_prompt,
        tokenizer: args.tokenizer_path.clone(),
        seed: bodies.seed,
        set,
    })
}

/// Check what texts of random words need; `longest` is the greatest length of a prompt.
fn check_random(args: &PromptArgs, set: &DatasetKind, longest: u64) -> anyhow::Result<()> {
    let is_random = set.is_random();
    if set.makes_texts() && args.tokenizer_path.is_none() {
        return Err(hinted(
            format!(
                "the dataset `{}` needs `--tokenizer-path`: the length of its prompts is in tokens",
                set.name()
            ),
            "give the model's tokenizer: a folder, a tokenizer.json or a hub id",
        ));
    }
    if is_random {
        let limits = [
            ("--max-prompt-length", longest),
            ("--prefix-length", args.prefix_length),
        ];
        for (flag, tokens) in limits {
            if tokens > LONGEST_RANDOM {
                return Err(hinted(
                    format!(
                        "`{flag} {tokens}` is above the limit for random prompts, {LONGEST_RANDOM} tokens"
                    ),
                    "no model has such a long context",
                ));
            }
        }
    }
    if args.prefix_count > 1 {
        if !is_random || args.prefix_length == 0 {
            return Err(hinted(
                format!(
                    "`--prefix-count {}` needs `--dataset random` and a `--prefix-length`",
                    args.prefix_count
                ),
                "only random prompts have prefixes",
            ));
        }
        if args.prefix_count > MOST_PREFIXES {
            return Err(hinted(
                format!(
                    "`--prefix-count {}` is above {MOST_PREFIXES}",
                    args.prefix_count
                ),
                "so many prefixes are hardly ever shared: leave out `--prefix-length`",
            ));
        }
    }
    Ok(())
}

/// Check that prompts can be sent as ids, if that is asked for.
fn check_ids(args: &PromptArgs, set: &DatasetKind, are_conversations: bool) -> anyhow::Result<()> {
    if !args.tokenize_prompt {
        return Ok(());
    }
    if are_conversations {
        return Err(hinted(
            "`--tokenize-prompt` sends token ids, but conversations are messages",
            "leave out `--tokenize-prompt`",
        ));
    }
    if args.tokenizer_path.is_none() {
        return Err(hinted(
            "`--tokenize-prompt` needs `--tokenizer-path`",
            "give the model's tokenizer: a folder, a tokenizer.json or a hub id",
        ));
    }
    if set.has_images() {
        return Err(hinted(
            format!(
                "`--tokenize-prompt` sends token ids, but the dataset `{}` has images",
                set.name()
            ),
            "leave out `--tokenize-prompt`",
        ));
    }
    Ok(())
}

/// Whether sessions are conversations: `--multi-turn` as it was typed, or as the dataset needs it.
pub(super) fn is_multi_turn(
    args: &PromptArgs,
    typed: bool,
    notes: &mut Vec<String>,
) -> anyhow::Result<bool> {
    let sessions = match (&args.prompt, args.dataset.named()) {
        (Some(_), _) => Sessions::Requests,
        (None, Some(row)) => row.sessions,
        // a plugin may give what it likes
        (None, None) => Sessions::Either,
    };
    match (sessions, typed) {
        (Sessions::Conversations, false) => {
            notes.push(format!(
                "the dataset `{}` has conversations: `--multi-turn` is on",
                args.dataset
            ));
            Ok(true)
        }
        (Sessions::Requests, true) => {
            let what = match &args.prompt {
                Some(_) => "`--prompt`".to_owned(),
                None => format!("the dataset `{}`", args.dataset),
            };
            let rows = DATASETS.rows.iter();
            let names = rows.filter(|row| row.sessions != Sessions::Requests);
            let names: Vec<&str> = names.map(|row| row.name).collect();
            Err(hinted(
                format!("`--multi-turn` needs conversations, but {what} has single requests"),
                format!(
                    "these datasets have conversations: {}; or leave out `--multi-turn`",
                    names.join(", ")
                ),
            ))
        }
        (_, typed) => Ok(typed),
    }
}

/// The text of `--prompt`.
fn own_prompt(typed: &str) -> anyhow::Result<String> {
    let text = text_or_file("--prompt", typed)?;
    if text.contains('\0') {
        return Err(hinted(
            format!("the file of `--prompt {typed}` contains a NUL character"),
            "the file is damaged, or not in UTF-8",
        ));
    }
    if text.trim().is_empty() {
        return Err(hinted(
            if typed.starts_with('@') {
                format!("the file of `--prompt {typed}` is blank")
            } else {
                "`--prompt` is blank".to_owned()
            },
            "give a text, or leave out `--prompt` for the prompts of `--dataset`",
        ));
    }
    Ok(text)
}

/// The least and the greatest length of prompts.
fn lengths_of(args: &PromptArgs, set: &DatasetKind, notes: &mut Vec<String>) -> (usize, usize) {
    let (min, max) = DEFAULT_LENGTHS;
    let (min, max) = match (args.min_prompt_length, args.max_prompt_length) {
        (None, None) if set.is_random() => {
            notes.push(format!(
                "no prompt length was given: random prompts have {RANDOM_TOKENS} tokens each \
                 (`--min-prompt-length`, `--max-prompt-length`)"
            ));
            (RANDOM_TOKENS, RANDOM_TOKENS)
        }
        (Some(min), None) if set.is_random() => {
            let max = min.max(RANDOM_TOKENS);
            notes.push(format!(
                "no maximum prompt length was given: random prompts have at most {max} tokens \
                 (`--max-prompt-length`)"
            ));
            (min, max)
        }
        (typed_min, typed_max) => (typed_min.unwrap_or(min), typed_max.unwrap_or(max)),
    };
    (min, max)
}

fn set_of(args: &PromptArgs, endpoint: Endpoint) -> anyhow::Result<DatasetKind> {
    let named = args.dataset.named();
    if args.prompt_field.is_some() {
        return field_reader(args, named).map(DatasetKind::BuiltIn);
    }
    let row = match &args.dataset {
        DatasetChoice::Named(row) => row,
        DatasetChoice::Plugin(place) => return Ok(DatasetKind::Plugin(place.clone())),
    };
    if row.needs_file() && args.dataset_path.is_none() {
        return Err(hinted(
            format!(
                "the dataset `{}` needs `--dataset-path`: {}",
                row.name,
                match (row.origin, row.sessions, row.feeds) {
                    (Origin::Trace(_), ..) => "the file of the trace",
                    (_, Sessions::Conversations, _) => "a file with one conversation per line",
                    (_, _, Feeds::Texts) => "a file of texts",
                    (_, _, Feeds::Rankings) => "a file of queries with their documents",
                    (_, _, Feeds::Prompts) => "a text file with one prompt per line",
                }
            ),
            match row.feeds {
                Feeds::Prompts | Feeds::Texts => {
                    "for a first try, `--dataset sample` needs no file"
                }
                Feeds::Rankings => {
                    "`--dataset random_rerank` with `--tokenizer-path` needs no file"
                }
            },
        ));
    }
    // what `--tokenize-prompt` has to do with it is said elsewhere
    if row.origin.has_images() && endpoint == Endpoint::Completions && !args.tokenize_prompt {
        return Err(hinted(
            format!(
                "the dataset `{}` has images, which only chat endpoints accept",
                row.name
            ),
            "give a URL that ends in /chat/completions",
        ));
    }
    Ok(DatasetKind::BuiltIn(row))
}

/// The images of random prompts, if the dataset has such.
fn images_of(args: &PromptArgs) -> anyhow::Result<Option<DrawnImages>> {
    let set = args.built_in();
    if !set.is_some_and(|set| set.origin == Origin::RandomImages) {
        return Ok(None);
    }
    let mode = PixelMode::parse(&args.image_format);
    let canvas = mode.and_then(|mode| Canvas::new(args.image_width, args.image_height, mode));
    let canvas = canvas.map_err(|error| {
        hinted(
            error.to_string(),
            "see `--image-format`, `--image-width` and `--image-height`",
        )
    })?;
    Ok(Some(DrawnImages {
        canvas,
        each: args.image_num,
    }))
}

/// The dataset that reads the file of `--prompt-field`. Another one must not be named.
fn field_reader(
    args: &PromptArgs,
    named: Option<&'static DatasetRow>,
) -> anyhow::Result<&'static DatasetRow> {
    let mut rows = DATASETS.rows.iter();
    let own = named.is_some_and(|row| row.reads_fields || row.name == datasets::DEFAULT);
    let reader = rows.find(|row| row.reads_fields).filter(|_| own);
    let Some(reader) = reader else {
        return Err(hinted(
            format!(
                "`--prompt-field` and `--dataset {}` cannot be combined",
                args.dataset
            ),
            "it reads your own file: `--dataset custom --dataset-path FILE`",
        ));
    };
    if args.dataset_path.is_none() {
        return Err(hinted(
            "`--prompt-field` needs `--dataset-path`",
            "give a JSON list, JSON Lines, CSV with a header, or Parquet",
        ));
    }
    Ok(reader)
}

/// The hub of `--data-source`; where only Hugging Face's mirror is named, that
/// is meant.
pub(super) fn hub_of(prompts: &PromptArgs, environment: &Environment) -> Option<Source> {
    match prompts.data_source {
        Some(DataSource::Local) => None,
        Some(DataSource::Huggingface) => Some(Source::HuggingFace),
        None if environment.has_hugging_face => Some(Source::HuggingFace),
        Some(DataSource::Modelscope) | None => Some(Source::ModelScope),
    }
}
