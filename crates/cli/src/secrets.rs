//! Owns what must never be shown or stored: keys, and values that look like one.
//!
//! It must not know where secrets come from.

use serde_json::Value;
use url::Url;

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "***";

/// Parts of names of fields and parameters whose values are secret. The Python package has the
/// same ones.
const WORDS: [&str; 13] = [
    "auth",
    "bearer",
    "cookie",
    "credential",
    "jwt",
    "key",
    "passphrase",
    "passw",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
];

/// Headers whose values are no secrets. A list of names that give a secret away would never be
/// complete: gateways call their keys as they like. The Python package has the same list.
const PLAIN_HEADERS: [&str; 21] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "expect",
    "host",
    "openai-beta",
    "traceparent",
    "user-agent",
    "x-correlation-id",
    "x-dashscope-sse",
    "x-request-id",
    "x-trace-id",
];

/// The least length of a secret that is taken out of texts wherever it stands: one of a few
/// letters would mask half of every text.
const LEAST_BYTES: usize = 4;

/// The same for what may be no secret at all, as a header `blue` or a name `user`.
pub(crate) const LEAST_DOUBTFUL_BYTES: usize = 8;

/// Whether the value of a parameter or a field is to be masked.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Whether the value of a header may be seen.
fn is_plain_header(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    PLAIN_HEADERS.contains(&name.as_str())
}

/// A header's value for people to see.
pub(crate) fn shown_header(name: &str, value: &str) -> String {
    if is_plain_header(name) {
        value.to_owned()
    } else {
        MASK.to_owned()
    }
}

/// What of a header must not be seen wherever it turns up: its value, and without the scheme
/// that may stand before it.
pub(crate) fn of_header(name: &str, value: &str) -> Vec<String> {
    if is_plain_header(name) {
        return Vec::new();
    }
    let surely = is_secret_name(name)
        || ["access", "pass"]
            .iter()
            .any(|word| name.to_ascii_lowercase().contains(word));
    let least = if surely {
        LEAST_BYTES
    } else {
        LEAST_DOUBTFUL_BYTES
    };
    let value = value.trim();
    let bare = value
        .split_once(' ')
        .map(|(_, credential)| credential.trim());
    [Some(value), bare]
        .into_iter()
        .flatten()
        .filter(|secret| secret.len() >= least)
        .map(str::to_owned)
        .collect()
}

/// Those that are long enough to be taken out of texts.
pub(crate) fn telling(mut secrets: Vec<String>) -> Vec<String> {
    secrets.retain(|secret| secret.len() >= LEAST_BYTES);
    secrets
}

/// The value of a parameter of a URL for people to see.
fn shown_parameter(name: &str, value: &str) -> String {
    if is_secret_name(name) {
        MASK.to_owned()
    } else {
        value.to_owned()
    }
}

/// URLs for people to see, in one text.
pub(crate) fn shown_urls(urls: &[Url]) -> String {
    let shown: Vec<String> = urls.iter().map(shown_url).collect();
    shown.join(",")
}

/// A URL for people to see: no user, no password, no secret parameter.
pub(crate) fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    if url.query_pairs().any(|(name, _)| is_secret_name(&name)) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = shown_parameter(&name, &value);
                (name.into_owned(), value)
            })
            .collect();
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.to_string()
}

/// A URL as it was typed, whether it is one or not, for people to see: without user and password,
/// and with secret parameters masked.
pub(crate) fn shown_typed_url(text: &str) -> String {
    let (start, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // what stands behind a colon and is no port may be the beginning of a
    // password that holds a slash
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = authority
        .rsplit_once(':')
        .is_none_or(|(_, port)| is_port(port) || port.contains(['@', ']']));
    let user_end = if plain { authority } else { rest }.rfind('@');
    let host = user_end.map_or(0, |at| at + 1);
    let (place, query) = match rest[host..].split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (&rest[host..], None),
    };
    let query = query.map(|query| {
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => format!("{name}={}", shown_parameter(name, value)),
                None => pair.to_owned(),
            })
            .collect();
        format!("?{}", pairs.join("&"))
    });
    format!("{start}{place}{}", query.unwrap_or_default())
}

/// A body for people to see: fields with secret names are masked at any depth,
/// unless they hold nothing but numbers, as `max_tokens` and its like do.
pub(crate) fn shown_fields(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                let shown = if is_secret_name(name) && holds_text(value) {
                    MASK.into()
                } else {
                    shown_fields(value)
                };
                (name.clone(), shown)
            })
            .collect(),
        Value::Array(items) => items.iter().map(shown_fields).collect(),
        other => other.clone(),
    }
}

/// The body of a request for people to see, by the same rule. One without secrets stays as it is,
/// byte for byte.
pub(crate) fn shown_body(body: &[u8]) -> String {
    let plain = || String::from_utf8_lossy(body).into_owned();
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return plain();
    };
    let shown = shown_fields(&value);
    if shown == value {
        plain()
    } else {
        shown.to_string()
    }
}

fn holds_text(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(items) => items.iter().any(holds_text),
        Value::Object(map) => map.values().any(holds_text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_and_fields_lose_their_secrets() {
        let url = Url::parse("https://me:pw@h/v1/chat?api-version=2&api-key=sk-1").unwrap();
        assert_eq!(
            shown_url(&url),
            "https://h/v1/chat?api-version=2&api-key=***"
        );
        for (typed, shown) in [
            ("http://me:pw@h:99999/", "http://h:99999/"),
            ("me:p@w@h/v1?x=1&token=t", "h/v1?x=1&token=***"),
            ("ftp://h/a@b", "ftp://h/a@b"),
            ("", ""),
        ] {
            assert_eq!(shown_typed_url(typed), shown);
        }
        let fields = json!({"user_token": "t", "max_tokens": 5, "stop_token_ids": [1],
            "nested": [{"api_key": "k", "password": {"x": "y"}}]});
        let want = json!({"user_token": "***", "max_tokens": 5, "stop_token_ids": [1],
            "nested": [{"api_key": "***", "password": "***"}]});
        assert_eq!(shown_fields(&fields), want);
        let body = br#"{ "max_tokens": 5, "user_token": "t" }"#;
        assert_eq!(shown_body(body), r#"{"max_tokens":5,"user_token":"***"}"#);
        let body = br#"{ "max_tokens": 5 }"#;
        assert_eq!(shown_body(body).as_bytes(), body);
    }

    #[test]
    fn a_header_is_shown_only_if_it_is_known_to_be_plain() {
        for name in [
            "X-My-Pass",
            "X-Pwd",
            "x-jwt",
            "X-Access",
            "X-Team",
            "Authorization",
        ] {
            assert_eq!(shown_header(name, "value"), MASK, "{name}");
        }
        for name in ["Content-Type", "accept", "User-Agent", "X-Request-Id"] {
            assert_eq!(shown_header(name, "value"), "value", "{name}");
        }
        assert_eq!(
            of_header("Authorization", "Bearer sk-1234"),
            ["Bearer sk-1234", "sk-1234"]
        );
        assert_eq!(of_header("X-My-Pass", "hunter2"), ["hunter2"]);
        assert_eq!(of_header("X-Team", "blue"), [""; 0]);
        assert_eq!(of_header("X-Tenant", "deep-blue-sea"), ["deep-blue-sea"]);
        assert_eq!(of_header("User-Agent", "a long one"), [""; 0]);
    }
}
