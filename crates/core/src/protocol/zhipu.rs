//! Owns what Zhipu adds to OpenAI's format: its URL, and its keys, which sign a token instead of
//! being sent.
//!
//! It must not know what time it is: the sender of a token passes it in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::api::{AnswerReader, Api};
use super::openai::OpenAiReader;
use super::text::AnswerText;
use crate::credential::Credential;

/// The URL of chat completions.
pub const DEFAULT_URL: &str = "https://open.bigmodel.cn/api/paas/v4/chat/completions";

/// Lifetime of a token; the same as in Zhipu's own Python client.
const LIFETIME_MS: u64 = 210_000;

/// How long a token is used: the rest tolerates a clock that is a minute late.
const USED_MS: u64 = LIFETIME_MS / 2;

/// Zhipu's chat completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zhipu;

impl Api for Zhipu {
    fn name(&self) -> &'static str {
        "zhipu"
    }

    /// The last event of every stream has token counts.
    fn takes_stream_options(&self) -> bool {
        false
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::<OpenAiReader>::default()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        super::openai::read_choices(answer, text);
    }
}

/// A key of the form `id.secret`. The secret signs short-lived tokens and is
/// never sent.
#[derive(Clone, PartialEq, Eq)]
pub struct ZhipuKey {
    id: String,
    secret: String,
}

impl ZhipuKey {
    /// A signing key. `None` for anything else, such as a finished token, which is sent as it is.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (id, secret) = key.split_once('.')?;
        let signs = !id.is_empty() && !secret.is_empty() && !secret.contains('.');
        signs.then(|| Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The prefix of every token, including its dot: used to find tokens that must not be shown.
    #[must_use]
    pub fn token_start() -> String {
        let header = json!({"alg": "HS256", "sign_type": "SIGN"});
        format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    fn token(&self, unix_ms: u64) -> String {
        let payload = json!({
            "api_key": self.id,
            "exp": unix_ms.saturating_add(LIFETIME_MS),
            "timestamp": unix_ms,
        });
        let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
        let signed = format!("{}{payload}", Self::token_start());
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{signed}.{signature}")
    }
}

impl fmt::Debug for ZhipuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZhipuKey").finish_non_exhaustive()
    }
}

impl Credential for ZhipuKey {
    fn header(&self) -> &'static str {
        "Authorization"
    }

    fn value(&self, unix_ms: u64) -> (String, u64) {
        let value = format!("Bearer {}", self.token(unix_ms));
        (value, unix_ms.saturating_add(USED_MS))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, Value};

    use super::super::{BodyBuilder, BodyRules, Endpoint, MaxTokens};
    use super::*;
    use evalscope_model::prompt::Prompt;

    /// Computed with Python's `hmac`, `hashlib` and `base64`.
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04ifQ.\
        eyJhcGlfa2V5IjoiMDEyMzQ1Njc4OWFiY2RlZiIsImV4cCI6MTc2NDAwMDIxMDEyMywidGltZXN0YW1wIjoxNzY0MDAwMDAwMTIzfQ.\
        67L4VTue9dr_x9zWpfoB39_d3rdptq_KxYOKqnuWRvU";

    #[test]
    fn a_token_is_what_another_program_makes_of_the_same_key() {
        let key = ZhipuKey::parse("0123456789abcdef.s3cr3t-_~").unwrap();
        let (value, until) = key.value(1_764_000_000_123);
        assert_eq!(value, format!("Bearer {TOKEN}"));
        assert_eq!(key.header(), "Authorization");
        assert_eq!(until, 1_764_000_105_123);
    }

    #[test]
    fn a_token_outlives_its_use_by_more_than_a_minute() {
        const { assert!(LIFETIME_MS - USED_MS > 60_000) };
        let key = ZhipuKey::parse("id.secret").unwrap();
        let (_, until) = key.value(u64::MAX);
        assert_eq!(until, u64::MAX);
    }

    #[test]
    fn only_an_id_and_a_secret_sign() {
        for plain in [
            "",
            "sk-123",
            ".",
            "id.",
            ".secret",
            "id..secret",
            "id.secret.",
            TOKEN,
        ] {
            assert_eq!(ZhipuKey::parse(plain), None, "{plain}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = ZhipuKey::parse("identity.topsecret").unwrap();
        assert_eq!(format!("{key:?}"), "ZhipuKey { .. }");
    }

    fn body(template: Option<&str>, prompt: Prompt) -> String {
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut builder = BodyBuilder::new(BodyRules {
            conversations: None,
            api: Arc::new(Zhipu),
            endpoint: Endpoint::Chat,
            template: template.map(|text| BodyRules::parse_template(text).unwrap()),
            model: "glm-4-flash".to_owned(),
            mix: None,
            typed: Map::new(),
            defaults: object(json!({"temperature": 0.0, "stream": true})),
            max_tokens: MaxTokens::Fixed(64),
            max_tokens_typed: false,
            include_usage: true,
            extra: object(json!({"do_sample": false, "temperature": null})),
            seed: 0,
        });
        String::from_utf8(builder.prepare(0, prompt).unwrap().body).unwrap()
    }

    #[test]
    fn bodies_are_those_of_openai_without_options_of_the_stream() {
        insta::assert_snapshot!(body(None, Prompt::Text("hi".into())), @r#"{"model":"glm-4-flash","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":64,"do_sample":false}"#);
        insta::assert_snapshot!(body(Some(r#"{"model":"%m","messages":[{"role":"user","content":"%p"}],"stream_options":{"include_usage":true},"thinking":{"type":"disabled"}}"#), Prompt::Text("hi".into())), @r#"{"model":"glm-4-flash","messages":[{"role":"user","content":"hi"}],"thinking":{"type":"disabled"},"stream":true,"max_tokens":64,"do_sample":false}"#);
        assert!(Zhipu.headers(true).is_empty());
        assert_eq!(Zhipu.name(), "zhipu");
    }
}
