//! Owns what is changed in recorded bodies and headers before they are sent again.
//!
//! Pure. It must not know how they were recorded.

use serde_json::{Map, Value};

use evalscope_model::prompt::OwnHeaders;

use super::settings::TraceSettings;

/// Headers of one connection, which are not a recorded request's to set (RFC 9110, section 7.6.1), and
/// what depends on the body that is sent.
const OF_CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn is_of_connection(name: &str) -> bool {
    let mut all = OF_CONNECTION.iter();
    all.any(|own| own.eq_ignore_ascii_case(name))
}

/// Check that recorded headers can be sent.
pub(super) fn check_headers(recorded: &[(String, String)]) -> Result<(), String> {
    let mut headers = OwnHeaders::default();
    for (name, value) in recorded.iter().filter(|(name, _)| !is_of_connection(name)) {
        let pushed = headers.push(name, value);
        pushed.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The headers of a recorded request that it may set.
pub(super) fn own_headers(recorded: Vec<(String, String)>, typed: &[String]) -> OwnHeaders {
    let mut headers = OwnHeaders::default();
    for (name, value) in recorded {
        let is_taken = typed.iter().any(|own| own.eq_ignore_ascii_case(&name));
        if !is_taken && !is_of_connection(&name) {
            // those that HTTP does not allow were refused when the trace was read
            let _ = headers.push(&name, &value);
        }
    }
    headers
}

/// `model_mapping` first, then `model_override`; otherwise the recorded model stays.
pub(super) fn rewrite_model(body: &mut Map<String, Value>, settings: &TraceSettings) {
    let recorded = body.get("model").and_then(Value::as_str);
    let mapped = recorded.and_then(|model| settings.model_mapping.get(model));
    if let Some(model) = mapped.or(settings.model_override.as_ref()) {
        body.insert("model".to_owned(), model.clone().into());
    }
}

/// Output follows a grammar, which ends it: servers fail where `ignore_eos` makes them go on
/// (vllm-project/vllm, issue 37506).
pub(super) fn is_constrained(body: &Map<String, Value>) -> bool {
    let format = body
        .get("response_format")
        .and_then(|format| format.get("type"));
    let format = format.and_then(Value::as_str);
    if matches!(format, Some("json_object" | "json_schema")) {
        return true;
    }
    let has_tools = match body.get("tools") {
        Some(Value::Array(tools)) => !tools.is_empty(),
        Some(Value::Null) | None => false,
        Some(_) => true,
    };
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    let is_free = choice.is_null() || matches!(choice.as_str(), Some("none" | "auto"));
    has_tools && !is_free
}
