//! Owns the options of datasets (`--dataset-args`): reading them, and what is said about one that the
//! dataset does not know.
//!
//! It must not know what an option does.

use anyhow::Context;
use evalscope_workload::dataset::{ArgsError, ArgsReader, Shorter, TextArgs};
use serde_json::{Map, Value};

use crate::catalog::datasets::DatasetRow;
use crate::catalog::row::nearest;
use crate::failure::hinted;
use crate::flags::prompts::PromptArgs;
use crate::sources::DatasetKind;

use super::texts::text_or_file;

const FLAG: &str = "--dataset-args";
const OLD_FLAG: &str = "--multi-turn-args";

/// The key of conversations whose history the server keeps.
const KEPT_BY_SERVER: &str = "previous_response_id";

/// A key of EvalScope's that tunes its own processes.
const TUNING: &str = "num_workers";

/// The options of the dataset, known to be good if it is a built-in one, and those of them that give its
/// prompts a length.
pub(super) fn dataset_args(
    args: &PromptArgs,
    set: &DatasetKind,
    in_extra: Map<String, Value>,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Map<String, Value>, Option<TextArgs>)> {
    if args.multi_turn_args.is_some() {
        notes.push(format!("`{OLD_FLAG}` is the old name of `{FLAG}`"));
    }
    let mut options = in_extra;
    options.extend(typed(args)?);
    // it says how conversations are sent, whatever the dataset
    options.shift_remove(KEPT_BY_SERVER);
    if options.shift_remove(TUNING).is_some() {
        notes.push(format!(
            "`{TUNING}` in `{FLAG}` has no effect: this program does not need this tuning"
        ));
    }
    let mut fit = None;
    match set {
        DatasetKind::BuiltIn(row) => {
            let checked = checked(row, options.clone());
            fit = checked.map_err(|error| explained(row.name, error))?;
        }
        DatasetKind::Single(_) if !options.is_empty() => {
            notes.push(format!(
                "`{FLAG}` has no effect: `--prompt` overrides the dataset"
            ));
        }
        // a plugin knows its own
        DatasetKind::Plugin(_) | DatasetKind::Single(_) => {}
    }
    if let Some(fit) = &fit {
        look_at_lengths(args, fit, notes)?;
    }
    Ok((options, fit))
}

/// Whether the server keeps the history of conversations (`previous_response_id`).
pub(super) fn server_keeps_history(args: &PromptArgs) -> anyhow::Result<bool> {
    match typed(args)?.get(KEPT_BY_SERVER) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(kept)) => Ok(*kept),
        Some(other) => Err(hinted(
            format!("`{FLAG}`: `{KEPT_BY_SERVER}` must be true or false, but is {other}"),
            "each turn then names the response before it, by the id that the server gave",
        )),
    }
}

/// The options as they were typed.
fn typed(args: &PromptArgs) -> anyhow::Result<Map<String, Value>> {
    let flags = [
        (OLD_FLAG, &args.multi_turn_args),
        (FLAG, &args.dataset_args),
    ];
    let mut options = Map::new();
    for (flag, text) in flags {
        if let Some(text) = text {
            options.extend(object_of(flag, text)?);
        }
    }
    Ok(options)
}

fn checked(row: &DatasetRow, options: Map<String, Value>) -> Result<Option<TextArgs>, ArgsError> {
    let mut reader = ArgsReader::new(options);
    (row.args)(&mut reader)?;
    let fit = if row.fits {
        TextArgs::read(&mut reader)?
    } else {
        None
    };
    reader.finish()?;
    Ok(fit)
}

/// What else prompts need that are given a length.
fn look_at_lengths(
    args: &PromptArgs,
    fit: &TextArgs,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    if args.tokenizer_path.is_none() {
        return Err(hinted(
            "`target_input_len` needs `--tokenizer-path`: it is in tokens",
            "give the model's tokenizer: a folder, a tokenizer.json or a hub id",
        ));
    }
    let lengths = [
        ("--min-prompt-length", args.min_prompt_length),
        ("--max-prompt-length", args.max_prompt_length),
    ];
    for (flag, _) in lengths.iter().filter(|(_, typed)| typed.is_some()) {
        notes.push(format!(
            "`{flag}` has no effect: `target_input_len` gives the prompts their length"
        ));
    }
    if let Shorter::Filled(file, _) = &fit.shorter {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the `prefix_file` {}", file.display()))?;
        if text.is_empty() {
            return Err(hinted(
                format!("the `prefix_file` {} is empty", file.display()),
                "give a file with a text",
            ));
        }
    }
    Ok(())
}

fn object_of(flag: &str, text: &str) -> anyhow::Result<Map<String, Value>> {
    let text = text_or_file(flag, text)?;
    let hint = "give one JSON object, for example '{\"target_input_len\": 2048}'";
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(hinted(format!("`{flag}` is not a JSON object"), hint)),
        Err(error) => Err(hinted(format!("`{flag}` is not JSON: {error}"), hint)),
    }
}

fn explained(dataset: &str, error: ArgsError) -> anyhow::Error {
    let hint = "docs/datasets.md lists the options of each dataset";
    match error {
        ArgsError::Unknown { key, known } if known.is_empty() => hinted(
            format!("the dataset `{dataset}` has no options, but `{FLAG}` has `{key}`"),
            format!("leave out `{FLAG}`"),
        ),
        ArgsError::Unknown { key, known } => hinted(
            format!(
                "unknown key `{key}` in `{FLAG}`: the dataset `{dataset}` knows {}{}",
                known.join(", "),
                nearest(&key, known.iter().copied())
            ),
            hint,
        ),
        error => hinted(format!("`{FLAG}`: {error}"), hint),
    }
}
