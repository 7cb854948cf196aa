//! Owns taking secrets out of texts that servers say.
//!
//! It must not know which texts, nor where the secrets come from.

/// The beginning of a secret from this length on is masked where a text was cut.
const TELLING_BYTES: usize = 4;

/// A text in which none of `secrets` stands any more, nor its beginning where
/// the text was cut: at its end, or before an ellipsis.
///
/// ```
/// use evalscope_core::record::masked;
/// let secrets = ["sk-12345".to_owned()];
/// assert_eq!(masked("bad key sk-12345", &secrets), "bad key ***");
/// assert_eq!(masked("bad key sk-12… [503]", &secrets), "bad key ***… [503]");
/// assert_eq!(masked("bad key sk-12", &secrets), "bad key ***");
/// ```
///
/// A secret that ends in a dot is what tokens begin with that are signed anew
/// now and then: all of the token is taken out.
///
/// ```
/// use evalscope_core::record::masked;
/// let secrets = ["eyJhbGci.".to_owned()];
/// assert_eq!(masked("not eyJhbGci.eyJh_x.9-Q: bad", &secrets), "not ***: bad");
/// ```
#[must_use]
pub fn masked(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        crate::steps::add(text.len());
        if text.contains(secret.as_str()) {
            text = if secret.ends_with('.') {
                without_tokens(&text, secret)
            } else {
                text.replace(secret.as_str(), "***")
            };
        }
        for n in (TELLING_BYTES..secret.len()).rev() {
            let Some(part) = secret.get(..n) else {
                continue;
            };
            if let Some(rest) = text.strip_suffix(part) {
                text = format!("{rest}***");
            }
            crate::steps::add(text.len());
            if text.contains('…') {
                text = text.replace(&format!("{part}…"), "***…");
            }
        }
    }
    text
}

/// A text in which every token that begins like this is masked to its end.
fn without_tokens(text: &str, start: &str) -> String {
    let mut parts = text.split(start);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("***");
        // base64 for URLs, and the dots between parts
        let of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        out.push_str(part.trim_start_matches(of_token));
    }
    out
}
