//! Owns the check of signed tokens: JSON Web Tokens with HMAC-SHA256, as Zhipu's clients make them
//! from an API key `id.secret`.
//!
//! It must not know how requests carry tokens, or read a clock.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// How far the `timestamp` of a token may differ from the server's clock, in milliseconds: a day.
/// Clocks differ by less; a timestamp in seconds is decades off.
const LARGEST_SKEW_MS: u64 = 86_400_000;

/// Why a token is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is not a signed token: three parts in base64url with dots between them")]
    Form,
    #[error("the token's header must have alg HS256 and sign_type SIGN")]
    Header,
    #[error("the token's payload must have api_key, exp and timestamp, the times in milliseconds")]
    Payload,
    #[error("the token is for another api_key")]
    Key,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token expired: exp is {exp_ms} ms, now is {now_ms} ms")]
    Expired { exp_ms: u64, now_ms: u64 },
    #[error("the token's timestamp is {timestamp_ms} ms, more than a day from now ({now_ms} ms)")]
    Timestamp { timestamp_ms: u64, now_ms: u64 },
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    sign_type: String,
}

#[derive(Deserialize)]
struct Payload {
    api_key: String,
    exp: u64,
    timestamp: u64,
}

/// The id and the secret of a key that has both.
pub(crate) fn parts(key: &str) -> Option<(&str, &str)> {
    key.split_once('.')
        .filter(|(id, secret)| !id.is_empty() && !secret.is_empty() && !secret.contains('.'))
}

/// Check `token` against the key `id.secret` at the time `now_ms`, in milliseconds since the Unix
/// epoch.
pub(crate) fn check(token: &str, id: &str, secret: &str, now_ms: u64) -> Result<(), TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Form)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form);
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);

    let header: Header = serde_json::from_slice(&header).map_err(|_| TokenError::Header)?;
    if header.alg != "HS256" || header.sign_type != "SIGN" {
        return Err(TokenError::Header);
    }
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes keys of any length")
        .chain_update(signed)
        .verify_slice(&signature)
        .map_err(|_| TokenError::Signature)?;
    let payload: Payload = serde_json::from_slice(&payload).map_err(|_| TokenError::Payload)?;
    if payload.api_key != id {
        return Err(TokenError::Key);
    }
    if payload.exp <= now_ms {
        return Err(TokenError::Expired {
            exp_ms: payload.exp,
            now_ms,
        });
    }
    if payload.timestamp.abs_diff(now_ms) > LARGEST_SKEW_MS {
        return Err(TokenError::Timestamp {
            timestamp_ms: payload.timestamp,
            now_ms,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn token(header: &Value, payload: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("any length")
            .chain_update(&signed)
            .finalize()
            .into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    fn checked(header: &Value, payload: &Value, secret: &str) -> Result<(), TokenError> {
        check(&token(header, payload, secret), "id", "secret", NOW_MS)
    }

    #[test]
    fn tokens_are_checked_in_every_respect() {
        let header = json!({"alg": "HS256", "sign_type": "SIGN"});
        let payload = json!({"api_key": "id", "exp": NOW_MS + 1, "timestamp": NOW_MS});
        assert_eq!(checked(&header, &payload, "secret"), Ok(()));
        assert_eq!(
            checked(&header, &payload, "other"),
            Err(TokenError::Signature)
        );
        let none = json!({"alg": "none", "sign_type": "SIGN"});
        assert_eq!(checked(&none, &payload, "secret"), Err(TokenError::Header));
        let no_sign_type = json!({"alg": "HS256", "typ": "JWT"});
        assert_eq!(
            checked(&no_sign_type, &payload, "secret"),
            Err(TokenError::Header)
        );
        for (payload, error) in [
            (
                json!({"api_key": "x", "exp": NOW_MS + 1, "timestamp": NOW_MS}),
                TokenError::Key,
            ),
            (
                json!({"api_key": "id", "exp": NOW_MS, "timestamp": NOW_MS}),
                TokenError::Expired {
                    exp_ms: NOW_MS,
                    now_ms: NOW_MS,
                },
            ),
            (
                json!({"api_key": "id", "exp": NOW_MS + 1, "timestamp": NOW_MS / 1000}),
                TokenError::Timestamp {
                    timestamp_ms: NOW_MS / 1000,
                    now_ms: NOW_MS,
                },
            ),
            (
                json!({"api_key": "id", "exp": NOW_MS + 1}),
                TokenError::Payload,
            ),
        ] {
            assert_eq!(checked(&header, &payload, "secret"), Err(error));
        }
        for text in ["", "a.b", "a.b.c.d", "id.secret", "%.%.%"] {
            assert_eq!(
                check(text, "id", "secret", NOW_MS),
                Err(TokenError::Form),
                "{text}"
            );
        }
    }

    /// RFC 4231, test case 2, so that signing and checking cannot be wrong in the same way.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let mac = Hmac::<Sha256>::new_from_slice(b"Jefe")
            .expect("any length")
            .chain_update("what do ya want for nothing?")
            .finalize()
            .into_bytes();
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }

    #[test]
    fn keys_have_two_parts() {
        assert_eq!(parts("id.secret"), Some(("id", "secret")));
        for key in ["plain", ".x", "x.", "a.b.c"] {
            assert_eq!(parts(key), None, "{key}");
        }
    }
}
