//! Owns what must never be shown: tokens, and the parts of URLs that can contain one.

use std::fmt;

use url::Url;

/// Replaces a secret.
const MASK: &str = "***";

/// A token. It can be sent but never shown: `Debug` prints a mask, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A token from a variable or a file, trimmed. `None` if nothing is left, or if it is not valid
    /// in a header (only visible ASCII is).
    #[must_use]
    pub fn new(text: &str) -> Option<Secret> {
        let text = text.trim();
        let sendable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        sendable.then(|| Secret(text.to_owned()))
    }

    /// The token itself, for a header.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// External text, with the token masked if it occurs.
    pub(crate) fn mask(&self, text: &str) -> String {
        text.replace(&self.0, MASK)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A URL for display: no user, no password, no query. The query of a signed URL is as good as a
/// password, and what the query of a hub says is also said in words next to it.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // these fail for URLs that cannot have a user, and those have none
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let token = Secret::new(" hf_secret\n").unwrap();
        assert_eq!(token.reveal(), "hf_secret");
        assert_eq!(format!("{token:?}"), "***");
        assert_eq!(token.mask("no hf_secret here"), "no *** here");
    }

    #[test]
    fn what_cannot_be_sent_is_no_secret() {
        for text in ["", "  ", "two words", "line\nline", "é"] {
            assert_eq!(Secret::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_shown_url_has_neither_password_nor_signature() {
        let url = Url::parse("https://u:p@cdn.example/a/b?Signature=s&Key=k#f").unwrap();
        assert_eq!(shown(&url), "https://cdn.example/a/b");
    }
}
