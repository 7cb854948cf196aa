//! Owns what a response looks like that cannot be read: which other API it is of.
//!
//! It must not know how responses are read.

use evalscope_model::record::FailureKind;

/// What only responses of an API have, without spaces.
const SIGNS: [(&str, &str); 8] = [
    ("openai", "\"object\":\"chat.completion"),
    ("openai", "\"object\":\"text_completion"),
    ("openai_responses", "\"type\":\"response."),
    ("openai_responses", "\"object\":\"response\""),
    ("anthropic", "\"type\":\"message_start\""),
    ("anthropic", "\"type\":\"message\",\"role\""),
    ("embedding", "\"embedding\":"),
    ("rerank", "\"relevance_score\":"),
];

/// Paths that a server may list where it does not know the one of the request.
const PATHS: [(&str, &str); 5] = [
    ("openai", "/v1/chat/completions"),
    ("openai_responses", "/v1/responses"),
    ("anthropic", "/v1/messages"),
    ("embedding", "/v1/embeddings"),
    ("rerank", "/v1/rerank"),
];

/// What to do about a failure of the test request whose response is one of another API, or names a path
/// of another.
pub(super) fn hint(kind: FailureKind, said: &str, api: &str) -> Option<String> {
    let other = |(name, _): &&(&str, &str)| *name != api;
    if let FailureKind::Status(404 | 405) = kind {
        let mut listed = PATHS.iter().filter(|(_, path)| said.contains(path));
        let (name, path) = listed.find(other)?;
        return Some(format!(
            "the server names the path {path}: if that is what it serves, use `--api {name}` with a URL that \
             ends in {path}"
        ));
    }
    if let FailureKind::Status(_) = kind {
        return None;
    }
    let said = said.replace("\": ", "\":").replace(", \"", ",\"");
    let mut signs = SIGNS.iter().filter(|(_, sign)| said.contains(sign));
    let (name, _) = signs.find(other)?;
    Some(format!(
        "the response looks like one of `--api {name}`: use that, or check the path of `--url`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_of_another_api_is_known() {
        let other = |said: &str| hint(FailureKind::Truncated, said, "openai").unwrap_or_default();
        assert!(other("data: {\"type\": \"message_start\"}").contains("`--api anthropic`"));
        assert!(other("{\"type\":\"response.created\"}").contains("`--api openai_responses`"));
        assert_eq!(other("{\"object\":\"chat.completion.chunk\"}"), "");
        let missing = |said: &str| hint(FailureKind::Status(404), said, "openai");
        assert_eq!(missing("not found"), None);
        assert!(
            missing("try /v1/messages")
                .unwrap()
                .contains("`--api anthropic`")
        );
    }
}
