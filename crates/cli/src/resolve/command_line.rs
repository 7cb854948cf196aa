//! Owns the command line as it is recorded: quoted for a shell, secrets masked.
//!
//! It must not know what a flag does.

use clap::Args as _;
use evalscope_model::record::masked;
use serde_json::Value;

use crate::flags::PerfArgs;
use crate::secrets;

/// What the value of a flag may hold that must not be shown.
#[derive(Clone, Copy)]
enum Holds {
    Nothing,
    Key,
    Headers,
    Url,
    Json,
}

impl Holds {
    /// What a flag holds, by its whole name without dashes.
    fn of(flag: &str) -> Self {
        match flag {
            "api-key" | "wandb-api-key" | "swanlab-api-key" => Self::Key,
            "headers" => Self::Headers,
            "url" | "swanlab-host" => Self::Url,
            "extra-args" | "query-template" => Self::Json,
            _ => Self::Nothing,
        }
    }

    fn shown(self, value: &str) -> String {
        match self {
            Self::Key => secrets::MASK.to_owned(),
            Self::Headers => match value.split_once('=') {
                Some((name, value)) => format!("{name}={}", secrets::shown_header(name, value)),
                None => secrets::MASK.to_owned(),
            },
            Self::Url => secrets::shown_typed_url(value),
            Self::Json => serde_json::from_str::<Value>(value).map_or_else(
                |_| value.to_owned(),
                |fields| {
                    let shown = secrets::shown_fields(&fields);
                    if shown == fields {
                        value.to_owned()
                    } else {
                        shown.to_string()
                    }
                },
            ),
            Self::Nothing if value.contains("://") => secrets::shown_typed_url(value),
            Self::Nothing => value.to_owned(),
        }
    }
}

/// `evalscope perf` with these words behind it, which the parser has read. `url` is the one that
/// stands without a flag, and `hidden` are further values that must not be shown.
pub(crate) fn shown(words: &[String], url: Option<&str>, hidden: &[String]) -> String {
    let perf = PerfArgs::augment_args(clap::Command::new("perf"));
    let flags: Vec<&str> = perf
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    // beginnings that fit one flag are that flag
    let whole = |typed: &str| {
        let fitting = |flag: &&&str| flag.starts_with(typed);
        let exact = flags.iter().find(|flag| **flag == typed);
        exact.or_else(|| flags.iter().find(fitting)).copied()
    };
    let mut holds = Holds::Nothing;
    let mut shown = vec!["evalscope".to_owned(), "perf".to_owned()];
    for word in words {
        let flag = word.strip_prefix("--").filter(|flag| !flag.is_empty());
        let text = match flag.map(|flag| (flag, flag.split_once('='))) {
            Some((_, Some((flag, value)))) => {
                let of = whole(flag).map_or(Holds::Nothing, Holds::of);
                format!("--{flag}={}", of.shown(value))
            }
            Some((flag, None)) => {
                holds = whole(flag).map_or(Holds::Nothing, Holds::of);
                word.clone()
            }
            None if Some(word.as_str()) == url => Holds::Url.shown(word),
            None => holds.shown(word),
        };
        shown.push(quoted(&masked(&text, hidden)));
    }
    shown.join(" ")
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_and_secrets_are_masked() {
        let words = [
            "me:pw@h:8000/v1",
            "--api-k",
            "k1",
            "--headers",
            "X-Team=blue",
            "Accept=*/*",
            "--url=http://u:p@h/v1?token=t",
            "--extra-args",
            r#"{"user_token": "t", "top_k": 3}"#,
            "--query-template={}",
            "--prompt",
            "it's long-secret",
            "--stop",
            "",
            "--max-tokens",
            "5",
        ]
        .map(str::to_owned);
        let hidden = ["long-secret".to_owned()];
        assert_eq!(
            shown(&words, Some("me:pw@h:8000/v1"), &hidden),
            r#"evalscope perf h:8000/v1 --api-k '***' --headers 'X-Team=***' 'Accept=*/*' '--url=http://h/v1?token=***' --extra-args '{"user_token":"***","top_k":3}' '--query-template={}' --prompt 'it'\''s ***' --stop '' --max-tokens 5"#
        );
    }
}
