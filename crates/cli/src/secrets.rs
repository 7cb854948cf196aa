//! Owns what must never be shown or stored: keys, and what looks like one.

use serde_json::Value;
use url::Url;

/// What stands in a secret's place.
pub(crate) const MASK: &str = "***";

/// Whether a header's or a parameter's value is to be masked.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "auth",
        "bearer",
        "cookie",
        "credential",
        "key",
        "passw",
        "secret",
        "session",
        "signature",
        "token",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// A header for people to see.
pub(crate) fn shown_header(name: &str, value: &str) -> String {
    if is_secret_name(name) {
        MASK.to_owned()
    } else {
        value.to_owned()
    }
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
                let value = shown_header(&name, &value);
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
                Some((name, value)) => format!("{name}={}", shown_header(name, value)),
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
    }
}
