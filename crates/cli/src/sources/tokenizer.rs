//! Owns loading the tokenizer of `--tokenizer-path`: from this machine or from a hub.
//!
//! It must not know what is counted with it.

use std::path::Path;

use evalscope_hub::Source;
use evalscope_workload::tokens::{Tokenizer, TokenizerError, TokenizerFiles};

use crate::failure::hinted;

use super::fetch::{self, Fetcher};

/// A tokenizer here, or on the hub.
pub(super) fn load(place: &str, fetcher: &Fetcher<'_>) -> anyhow::Result<Tokenizer> {
    let path = Path::new(place);
    // a link that leads nowhere is not a hub's id
    if path.symlink_metadata().is_ok() || !looks_like_id(place, fetcher.source) {
        let files = TokenizerFiles::at(path).map_err(|error| {
            let hint = match &error {
                TokenizerError::Missing {
                    other_form: false, ..
                } => {
                    "give a folder that contains a tokenizer.json, the file itself, or a hub id such as \
                     Qwen/Qwen2.5-0.5B-Instruct"
                }
                _ => fetch::NO_TOKENIZER,
            };
            hinted(error.to_string(), hint)
        })?;
        return Ok(Tokenizer::load_files(&files)?);
    }
    Tokenizer::load_files(&fetcher.tokenizer(place)?).map_err(|error| match error {
        TokenizerError::Invalid { .. } => hinted(
            error.to_string(),
            "the file on the hub is invalid; if it has been corrected there, delete the local copy to \
             download it again",
        ),
        error => error.into(),
    })
}

/// `owner/name`, and no path; at Hugging Face old models have no owner. What ends
/// as files of tokenizers do is a path with a slip in it.
fn looks_like_id(text: &str, hub: Option<Source>) -> bool {
    let file = Path::new(text).extension().is_some_and(|ending| {
        ["json", "model", "jinja", "tiktoken"]
            .iter()
            .any(|known| ending == *known)
    });
    let mut parts = text.split('/');
    let named = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && !part.starts_with(['.', '~']))
    };
    let first = named(parts.next());
    let second = match parts.next() {
        None => hub == Some(Source::HuggingFace),
        part => named(part),
    };
    !file && first && second && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for id in ["Qwen/Qwen2.5-0.5B-Instruct", "a/b"] {
            assert!(looks_like_id(id, None), "{id}");
        }
        for path in [
            "qwen",
            "./a/b",
            "/a/b",
            "a/b/c",
            "../x",
            "~/x",
            "a/",
            "THE/PATH/x/",
            "tok/nope.json",
            "tok/tokenizer.model",
        ] {
            assert!(!looks_like_id(path, Some(Source::ModelScope)), "{path}");
        }
        assert!(looks_like_id("gpt2", Some(Source::HuggingFace)));
        assert!(!looks_like_id("tokenizer.json", Some(Source::HuggingFace)));
    }
}
