//! Owns what goes with an API that generates nothing, and what does not: flags, datasets, and options
//! that EvalScope takes from `--extra-args`.
//!
//! It must not know how such an API is spoken.

use evalscope_core::protocol::{BodyRules, Output};
use serde_json::{Map, Value};

use crate::catalog::datasets::{DatasetRow, Feeds, Origin, Sessions};
use crate::failure::hinted;
use crate::flags::PerfArgs;

/// Flags about generated tokens, and about conversations.
const GENERATION: [&str; 13] = [
    "stream",
    "multi-turn",
    "max-tokens",
    "min-tokens",
    "temperature",
    "top-p",
    "top-k",
    "frequency-penalty",
    "repetition-penalty",
    "logprobs",
    "n-choices",
    "stop",
    "stop-token-ids",
];

/// Options of datasets that stand in `--extra-args` in EvalScope.
const EXTRA_KEYS: [&str; 3] = ["batch_size", "num_documents", "document_length_ratio"];

/// Refuse what does not go with the API.
pub(super) fn check(args: &PerfArgs, output: Output) -> anyhow::Result<()> {
    let api = &args.server.api;
    let what = match output {
        Output::Generated => "tokens",
        Output::Vectors => "vectors",
        Output::Scores => "scores",
    };
    let mut typed = args.typed.iter();
    let flag = typed.find(|flag| GENERATION.contains(&flag.as_str()));
    if let Some(flag) = flag.filter(|_| output != Output::Generated) {
        return Err(hinted(
            format!(
                "`--{flag}` does not go with `--api {api}`: its responses have {what}, and nothing is \
                 generated"
            ),
            format!("leave out `--{flag}`"),
        ));
    }
    let prompts = &args.prompts;
    let row = match (&prompts.prompt, prompts.dataset.named()) {
        (None, Some(row)) => row,
        (Some(_), _) if output == Output::Scores => {
            return Err(hinted(
                format!("`--prompt` does not go with `--api {api}`: it has no documents to rank"),
                RANKINGS,
            ));
        }
        // what a plugin gives is not known yet
        (Some(_), _) | (None, None) => return Ok(()),
    };
    match (output, row.feeds) {
        (Output::Scores, Feeds::Rankings)
        | (Output::Vectors, Feeds::Texts)
        | (Output::Generated, Feeds::Prompts) => Ok(()),
        (Output::Vectors, Feeds::Prompts) => check_texts(row, &api.to_string()),
        (Output::Scores, _) => Err(hinted(
            format!(
                "`--api {api}` needs queries with documents, which the dataset `{}` does not have",
                row.name
            ),
            RANKINGS,
        )),
        (_, feeds) => Err(hinted(
            format!(
                "the dataset `{}` has {}, which `--api {api}` does not accept",
                row.name,
                if feeds == Feeds::Rankings {
                    "queries with documents to rank"
                } else {
                    "texts to embed"
                }
            ),
            format!(
                "use `--api {}`, or another dataset",
                if feeds == Feeds::Rankings {
                    "rerank"
                } else {
                    "embedding"
                }
            ),
        )),
    }
}

const RANKINGS: &str = "use `--dataset rerank --dataset-path FILE`, or `--dataset random_rerank` with \
                        `--tokenizer-path`";

/// Prompts that are more than a text cannot be embedded.
fn check_texts(row: &DatasetRow, api: &str) -> anyhow::Result<()> {
    let has = if row.sessions == Sessions::Conversations {
        "conversations"
    } else if row.origin.has_images() {
        "images"
    } else if let Origin::Trace(_) = row.origin {
        "recorded requests"
    } else {
        return Ok(());
    };
    Err(hinted(
        format!(
            "the dataset `{}` has {has}, which `--api {api}` does not accept",
            row.name
        ),
        "use a dataset of texts, such as `embedding` or `random_embedding`",
    ))
}

/// Take the options that EvalScope has in `--extra-args` out of the bodies. Returns those of the dataset.
pub(super) fn options_in_extra(
    bodies: &mut BodyRules,
    row: Option<&DatasetRow>,
    notes: &mut Vec<String>,
) -> Map<String, Value> {
    let mut options = Map::new();
    if bodies.api.output() == Output::Generated {
        return options;
    }
    for key in EXTRA_KEYS {
        let Some(value) = bodies.extra.shift_remove(key) else {
            continue;
        };
        if row.is_some_and(|row| row.extra_keys.contains(&key)) {
            notes.push(format!(
                "`{key}` in `--extra-args` is an option of the dataset and is not sent: write it into \
                 `--dataset-args`"
            ));
            options.insert(key.to_owned(), value);
        } else {
            notes.push(format!(
                "`{key}` in `--extra-args` has no effect with this dataset, and is not sent"
            ));
        }
    }
    options
}
