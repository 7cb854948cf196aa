//! Owns the headers of every request, and which parts of them must not be shown.
//!
//! It must not know what is sent besides them.

use evalscope_core::protocol::declared::Declaration;
use url::Url;

use crate::catalog::apis::ApiRow;
use crate::failure::hinted;
use crate::secrets::{self, LEAST_DOUBTFUL_BYTES};

use super::declared;

/// The headers of every request, and what was learned with them.
#[derive(Debug)]
pub(super) struct Headers {
    /// The URL without its user.
    pub(super) url: Url,
    pub(super) fields: Vec<(String, String)>,
    /// Values that must not be shown.
    pub(super) secrets: Vec<String>,
}

/// The headers that were asked for. Those of `EVALSCOPE_HEADERS`, which `ps` does not show, come
/// behind those of the flags; a name that was given as a flag keeps that value.
pub(super) fn asked(flags: &[String], lines: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let name = |pair: &str| pair.split('=').next().unwrap_or("").trim().to_lowercase();
    let named: Vec<String> = flags.iter().map(|pair| name(pair)).collect();
    let added = lines.iter().filter(|line| !named.contains(&name(line)));
    let mut headers = Vec::new();
    for (pair, number) in flags.iter().chain(added).zip(1..) {
        let split = pair.split_once('=');
        let Some((name, value)) = split.filter(|(name, _)| is_token(name.trim())) else {
            return Err(hinted(
                format!("{} is not KEY=VALUE", shown_start(pair, number)),
                "write `--headers name=value other=value`",
            ));
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(headers)
}

/// Whether a text can be the name of a header (RFC 9110, 5.1).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// What can be shown of an invalid header: its value may be a key, and a key may
/// stand alone.
fn shown_start(pair: &str, number: usize) -> String {
    let name = pair.split(|c| !is_token_char(c)).next().unwrap_or("");
    let rest = &pair[name.len()..];
    if !name.is_empty() && rest.starts_with([':', ' ']) {
        format!("the header `{name}`")
    } else {
        format!("header {number}")
    }
}

/// Headers, with those that come from the key and from the URL's user; and the
/// values among them that are secret.
pub(super) fn headers_of(
    asked: &[(String, String)],
    key: Option<&str>,
    api: Option<&ApiRow>,
    declaration: Option<&Declaration>,
    mut url: Url,
) -> Headers {
    let key = key.filter(|key| !key.is_empty());
    let declared = declaration.map(|declaration| declared::headers(declaration, key));
    let declared = declared.unwrap_or_default();
    let is_asked = |name: &str| {
        let mut names = asked.iter().map(|(name, _)| name);
        names.any(|other| other.eq_ignore_ascii_case(name))
    };
    let mut headers = asked.to_vec();
    let declared_fields = declared.fields.into_iter();
    headers.extend(declared_fields.filter(|(name, _)| !is_asked(name)));
    let mut secrets: Vec<String> = headers
        .iter()
        .flat_map(|(name, value)| secrets::of_header(name, value))
        .collect();
    let mut set = |name: &str, value: String| {
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value));
    };
    if !url.username().is_empty() || url.password().is_some() {
        use base64::Engine as _;
        // a `:` in a password, or an `@`, can stand there in no other way
        let (user, password) = (url.username(), url.password());
        let pair = [&decoded(user), &b":"[..], &decoded(password.unwrap_or(""))].concat();
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        secrets.push(encoded.clone());
        // some keys are given as a user without a password
        let typed = password.or((user.len() >= LEAST_DOUBTFUL_BYTES).then_some(user));
        if let Some(typed) = typed {
            let meant = String::from_utf8_lossy(&decoded(typed)).into_owned();
            if meant != typed {
                secrets.push(typed.to_owned());
            }
            secrets.push(meant);
        }
        set("Authorization", format!("Basic {encoded}"));
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    if let Some(key) = key {
        secrets.push(key.to_owned());
        // a key of two parts is signed with, and its second part is the secret
        secrets.extend(key.split_once('.').map(|(_, secret)| secret.to_owned()));
        let signing = api.and_then(|api| api.signing);
        secrets.extend(signing.map(|signing| (signing.token_start)()));
        match api.and_then(|api| api.key_header) {
            Some(name) => set(name, key.to_owned()),
            None if declared.carry_key => {}
            None => set("Authorization", format!("Bearer {key}")),
        }
    }
    secrets.extend(secrets_in(&url));
    Headers {
        url,
        fields: headers,
        secrets: secrets::telling(secrets),
    }
}

/// The secrets among the parameters of a URL.
pub(super) fn secrets_in(url: &Url) -> Vec<String> {
    let pairs = url.query_pairs();
    pairs
        .filter(|(name, _)| secrets::is_secret_name(name))
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// Undo the percent-encoding of a user or a password; a `%` that begins none stays.
fn decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_key_is_not_shown() {
        for (pair, shown) in [
            ("X-Api-Key: sk-abcdef==", "the header `X-Api-Key`"),
            ("X-Api-Key sk-abcdef", "the header `X-Api-Key`"),
            ("sk-abcdef", "header 2"),
            ("=sk-abcdef", "header 2"),
            ("s\u{e9}cret", "header 2"),
            ("", "header 2"),
        ] {
            assert_eq!(shown_start(pair, 2), shown, "{pair}");
        }
    }

    #[test]
    fn flags_win_over_lines() {
        let owned = |pairs: &[&str]| -> Vec<String> {
            pairs.iter().map(|pair| (*pair).to_owned()).collect()
        };
        let lines = ["x-team=red", "Authorization=Bearer a=b", "X-Id=1", "X-Id=2"];
        let headers = asked(&owned(&["X-Team=blue"]), &owned(&lines)).unwrap();
        let headers = headers.iter();
        let headers: Vec<_> = headers.map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            headers,
            [
                ("X-Team", "blue"),
                ("Authorization", "Bearer a=b"),
                ("X-Id", "1"),
                ("X-Id", "2")
            ]
        );
    }
}
