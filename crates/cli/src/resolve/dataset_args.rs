//! Owns the options of datasets (`--dataset-args`): reading them, and what is said about one that the
//! dataset does not know.
//!
//! It must not know what an option does.

use evalscope_workload::dataset::{ArgsError, ArgsReader};
use serde_json::{Map, Value};

use crate::catalog::row::nearest;
use crate::failure::hinted;
use crate::flags::prompts::PromptArgs;
use crate::sources::DatasetKind;

use super::texts::text_or_file;

const FLAG: &str = "--dataset-args";
const OLD_FLAG: &str = "--multi-turn-args";

/// A key of EvalScope's that tunes its own processes.
const TUNING: &str = "num_workers";

/// The options of the dataset, known to be good if it is a built-in one.
pub(super) fn dataset_args(
    args: &PromptArgs,
    set: &DatasetKind,
    notes: &mut Vec<String>,
) -> anyhow::Result<Map<String, Value>> {
    let mut options = match &args.multi_turn_args {
        None => Map::new(),
        Some(text) => {
            notes.push(format!("`{OLD_FLAG}` is the old name of `{FLAG}`"));
            object_of(OLD_FLAG, text)?
        }
    };
    if let Some(text) = &args.dataset_args {
        options.extend(object_of(FLAG, text)?);
    }
    if options.shift_remove(TUNING).is_some() {
        notes.push(format!(
            "`{TUNING}` in `{FLAG}` has no effect: this program does not need this tuning"
        ));
    }
    match set {
        DatasetKind::BuiltIn(row) => {
            let mut reader = ArgsReader::new(options.clone());
            let checked = (row.args)(&mut reader).and_then(|()| reader.finish());
            checked.map_err(|error| explained(row.name, error))?;
        }
        DatasetKind::Single(_) if !options.is_empty() => {
            notes.push(format!(
                "`{FLAG}` has no effect: `--prompt` overrides the dataset"
            ));
        }
        // a plugin knows its own
        DatasetKind::Plugin(_) | DatasetKind::Single(_) => {}
    }
    Ok(options)
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
