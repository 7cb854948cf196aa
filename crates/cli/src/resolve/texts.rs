//! Owns texts of flags that may come from a file or from stdin.
//!
//! It must not know what they say.

use anyhow::Context;

use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::flags::shard::StartAt;

/// A text, or that of `@FILE`. `@@` begins a text that begins with `@`.
pub(super) fn text_or_file(flag: &str, value: &str) -> anyhow::Result<String> {
    match value.strip_prefix('@') {
        None => Ok(value.to_owned()),
        Some(text) if text.starts_with('@') => Ok(text.to_owned()),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the file of `{flag} {value}`"))?;
            // some editors put a mark before the text
            Ok(match text.strip_prefix('\u{feff}') {
                Some(text) => text.to_owned(),
                None => text,
            })
        }
    }
}

/// The flags with what comes on stdin in the place of `@-`, once for a command.
pub(crate) fn with_stdin(mut args: PerfArgs) -> anyhow::Result<PerfArgs> {
    let places = [
        ("--prompt", &mut args.prompts.prompt),
        ("--query-template", &mut args.prompts.query_template),
        ("--extra-args", &mut args.generation.extra_args),
        ("--dataset-args", &mut args.prompts.dataset_args),
        ("--multi-turn-args", &mut args.prompts.multi_turn_args),
    ];
    let mut taken = None;
    let starts_by_stdin = args.shard.start_at == Some(StartAt::Stdin);
    for (flag, value) in places {
        let Some(value) = value.as_mut().filter(|value| *value == "@-") else {
            continue;
        };
        if let Some(other) = taken.replace(flag) {
            return Err(hinted(
                format!("`{other} @-` and `{flag} @-` cannot both be read from stdin"),
                "put one of them into a file: @FILE",
            ));
        }
        if starts_by_stdin {
            return Err(hinted(
                format!("`{flag} @-` and `--start-at stdin` cannot both read stdin"),
                format!("put the text of `{flag}` into a file: @FILE"),
            ));
        }
        let text = std::io::read_to_string(std::io::stdin())
            .with_context(|| format!("cannot read stdin for `{flag} @-`"))?;
        *value = if text.starts_with('@') {
            format!("@{text}")
        } else {
            text
        };
    }
    Ok(args)
}
