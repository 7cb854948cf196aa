//! Owns the error formats of servers: which finish reasons and which objects are errors, and the
//! message for a person in them.
//!
//! It must not know which API is spoken.

use serde_json::Value;

/// Maximum length of a failure message, in characters.
const MESSAGE_CHARS: usize = 300;

/// Only this much of an error is examined.
const MOST_BYTES: usize = 64 << 10;

/// Errors nested deeper than this are shown as they are.
const MOST_NESTED: usize = 4;

/// Maximum length of an id, a model or a finish reason, in bytes.
const NAME_BYTES: usize = 256;

/// Finish reasons of a response that the server aborted, in lower case: vLLM, SGLang and TGI say
/// `abort` and `error`, `DeepSeek` `insufficient_system_resource`, Zhipu `network_error`; the
/// others come from gateways. Any reason that ends in `error` counts too.
const GIVEN_UP: [&str; 13] = [
    "abort",
    "aborted",
    "canceled",
    "cancelled",
    "failed",
    "failure",
    "insufficient_system_resource",
    "insufficient_system_resources",
    "interrupted",
    "overloaded",
    "system_overloaded",
    "timeout",
    "unavailable",
];

/// Whether the finish reason says that the server aborted the response.
pub(super) fn is_given_up(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.ends_with("error") || GIVEN_UP.contains(&reason.as_str())
}

/// The message for such a response.
pub(super) fn given_up(reason: &str) -> String {
    format!("the server ended generation with finish_reason `{reason}`")
}

/// Keys of a message, the most likely first.
const MESSAGES: [&str; 10] = [
    "message",
    "msg",
    "detail",
    "error_msg",
    "error_message",
    "errorMessage",
    "error_description",
    "status_msg",
    "reason",
    "title",
];

/// Keys of an error inside a larger object, the most likely first.
const WITHIN: [&str; 6] = ["error", "errors", "base_resp", "detail", "message", "fault"];

/// Keys of an error class or number, the most likely first.
const CODES: [&str; 7] = [
    "code",
    "type",
    "error_code",
    "errorCode",
    "errcode",
    "status_code",
    "status",
];

/// The message of an error in any of the usual formats.
#[must_use]
pub fn error_text(error: &[u8]) -> String {
    let error = &error[..error.len().min(MOST_BYTES)];
    evalscope_model::steps::add(error.len());
    if let Ok(value) = super::json::value(error) {
        return text_of(&value).unwrap_or_else(|| clip(error));
    }
    // some gateways format an error as an event, whatever they call it
    let mut lines = error.split(|byte| *byte == b'\n');
    let Some(mut line) = lines.find_map(|line| line.strip_prefix(b"data:")) else {
        return clip(error);
    };
    while let Some(rest) = line.trim_ascii_start().strip_prefix(b"data:") {
        evalscope_model::steps::add(line.len() - rest.len());
        line = rest;
    }
    let line = line.trim_ascii();
    let value = super::json::value(line).ok();
    value
        .and_then(|value| text_of(&value))
        .unwrap_or_else(|| clip(line))
}

/// The message and the code of an error.
fn text_of(mut value: &Value) -> Option<String> {
    let mut code = None;
    for _ in 0..=MOST_NESTED {
        // Google sends lists of one; FastAPI's `detail` is a list
        if let Some(first) = value.as_array().and_then(|items| items.first()) {
            value = first;
        }
        if let Some(text) = value.as_str() {
            return (!text.is_empty()).then(|| with_code(text, code.as_deref()));
        }
        code = CODES.iter().find_map(|key| code_in(value, key)).or(code);
        let inner = WITHIN
            .iter()
            .filter_map(|key| value.get(key))
            .find(|inner| (inner.is_object() || inner.is_array()) && !says_nothing(inner));
        if inner.is_none() || value.get("error").is_some_and(Value::is_string) {
            break;
        }
        value = inner?;
    }
    let texts = ["error"].iter().chain(&MESSAGES);
    let mut texts = texts.filter_map(|key| value.get(key)?.as_str());
    let message = texts.find(|text| !text.is_empty())?;
    Some(with_code(message, code.as_deref()))
}

fn with_code(message: &str, code: Option<&str>) -> String {
    match code {
        Some(code) => clip(format!("{message} ({code})").as_bytes()),
        None => clip(message.as_bytes()),
    }
}

fn code_in(value: &Value, key: &str) -> Option<String> {
    match value.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(n)) => Some(n.to_string()),
        _ => None,
    }
}

/// Whether an error field means "no error": some servers send one in each event.
pub(super) fn says_nothing(error: &Value) -> bool {
    match error {
        Value::Null => true,
        Value::Bool(error) => !error,
        Value::String(text) => means_success(text),
        Value::Number(n) => is_success(n.as_f64()),
        Value::Array(items) => items.iter().all(says_nothing),
        Value::Object(fields) => fields.values().all(says_nothing),
    }
}

/// The same for an unparsed value; the usual ones are recognised as text.
pub(super) fn says_nothing_raw(raw: &str) -> bool {
    match raw {
        "null" | "false" | "\"\"" | "{}" | "[]" | "0" => true,
        raw if raw.starts_with(['{', '[', '"']) || raw.as_bytes()[0].is_ascii_digit() => {
            super::json::value(raw.as_bytes()).is_ok_and(|value| says_nothing(&value))
        }
        _ => false,
    }
}

fn means_success(text: &str) -> bool {
    let words = ["", "ok", "success", "succeeded", "none", "null"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.parse().is_ok_and(|n| is_success(Some(n)))
}

/// 0, and the HTTP statuses that are not errors.
fn is_success(number: Option<f64>) -> bool {
    number.is_some_and(|n| n == 0.0 || (200.0..300.0).contains(&n))
}

/// Classification of an object that has no part of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// Nothing of interest.
    None,
    /// A message that may explain why there was no output.
    Notice(String),
    /// An error, with its message.
    Error(String),
}

/// Classify an object without any part of a response: is it an error under a name other than
/// `error`?
pub(super) fn remark(raw: &[u8]) -> Remark {
    let Ok(value @ Value::Object(_)) = super::json::value(raw) else {
        return Remark::None;
    };
    let says = |key: &&str| value.get(key).is_some_and(|value| !says_nothing(value));
    let is_text = |key: &&str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|t| !t.is_empty())
    };
    let failed = ["status", "type", "object", "event"].iter().any(|key| {
        let word = value.get(key).and_then(Value::as_str).unwrap_or_default();
        ["error", "fail", "failed", "failure", "exception"].contains(&&*word.to_ascii_lowercase())
    });
    let untrue = ["success", "ok", "is_success"];
    let untrue = untrue
        .iter()
        .any(|key| value.get(key) == Some(&Value::Bool(false)));
    let named = [
        "error",
        "errors",
        "error_code",
        "errorCode",
        "errcode",
        "error_msg",
    ];
    let named = named
        .iter()
        .chain(&["error_message", "errorMessage", "fault", "detail"])
        .any(says);
    let coded = ["code", "status_code"].iter().any(says) && MESSAGES.iter().any(is_text);
    let of_http = ["code", "status", "status_code"].iter().any(|key| {
        let code = value.get(key).and_then(Value::as_f64);
        code.is_some_and(|code| (400.0..600.0).contains(&code))
    });
    let refused = value
        .pointer("/base_resp/status_code")
        .is_some_and(|code| !says_nothing(code));
    // a state that is not a failure, such as `queued`, is not an error code
    let state = value.get("code").is_some_and(is_state);
    if failed || untrue || named || refused || of_http || coded && !state {
        return Remark::Error(error_text(raw));
    }
    match text_of(&value) {
        Some(words) => Remark::Notice(words),
        None => Remark::None,
    }
}

/// The message of an object that is an error.
pub(crate) fn error_in(raw: &[u8]) -> Option<String> {
    match remark(raw) {
        Remark::Error(words) => Some(words),
        Remark::None | Remark::Notice(_) => None,
    }
}

/// Whether a code is the state of a request in progress, rather than `InvalidApiKey` or `1004`.
fn is_state(value: &Value) -> bool {
    let states = [
        "queued",
        "queueing",
        "pending",
        "waiting",
        "processing",
        "running",
        "in_progress",
        "loading",
        "started",
        "progress",
        "completed",
    ];
    let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
    states.contains(&&*text)
}

/// The start of a text, on one line.
#[must_use]
pub fn clip(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * MESSAGE_CHARS)]);
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MESSAGE_CHARS)
        .collect();
    if text.chars().nth(MESSAGE_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// Clip a name, so that a server cannot fill memory with one.
pub(super) fn clipped(mut name: String) -> String {
    if name.len() > NAME_BYTES {
        name.truncate(name.floor_char_boundary(NAME_BYTES));
        name.shrink_to_fit();
    }
    name
}

/// A name in a JSON string; `None` if it is empty or not a string.
pub(super) fn name_in(raw: &serde_json::value::RawValue) -> Option<String> {
    let name: String = serde_json::from_str(raw.get()).ok()?;
    (!name.is_empty()).then(|| clipped(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_in_every_shape_have_words() {
        for (error, want) in [
            (
                r#"{"error":{"message":"out of memory","type":"server_error","code":500}}"#,
                "out of memory (500)",
            ),
            (r#"{"error":"overloaded"}"#, "overloaded"),
            (r#"{"error":"overloaded","code":503}"#, "overloaded (503)"),
            (
                r#"{"object":"error","message":"bad","code":400}"#,
                "bad (400)",
            ),
            (
                r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"login fail"}}"#,
                "login fail (1004)",
            ),
            (
                r#"{"error_code":336003,"error_msg":"the max input is 5120"}"#,
                "the max input is 5120 (336003)",
            ),
            (
                r#"{"code":"InvalidApiKey","message":"no key","request_id":"x"}"#,
                "no key (InvalidApiKey)",
            ),
            (r#"{"code":10002,"msg":"busy"}"#, "busy (10002)"),
            (r#"{"success":false,"message":"quota"}"#, "quota"),
            (
                r#"{"errors":[{"code":7003,"message":"no route"}]}"#,
                "no route (7003)",
            ),
            (r#"{"errors":{"message":"no route"}}"#, "no route"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (
                r#"{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}"#,
                "field required (missing)",
            ),
            (
                r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]"#,
                "quota (429)",
            ),
            (r#"{"error":{"error":{"message":"deep"}}}"#, "deep"),
            (r#""just words""#, "just words"),
            ("plain words", "plain words"),
            ("data: {\"message\":\"framed\"}\n\n", "framed"),
            ("data:data: x", "x"),
        ] {
            assert_eq!(error_text(error.as_bytes()), want, "{error}");
        }
    }

    #[test]
    fn objects_without_an_answer_that_are_errors() {
        for (object, error) in [
            (
                r#"{"base_resp":{"status_code":1004,"status_msg":"login fail"}}"#,
                true,
            ),
            (r#"{"base_resp":{"status_code":0,"status_msg":""}}"#, false),
            (r#"{"code":401,"msg":"no key"}"#, true),
            (r#"{"code":0,"msg":"success"}"#, false),
            (r#"{"code":200,"message":"ok"}"#, false),
            (r#"{"code":"200","message":"ok"}"#, false),
            (r#"{"code":"Throttling","message":"slow down"}"#, true),
            (r#"{"status":"queued","message":"position 3"}"#, false),
            (r#"{"status":"completed","message":"all done"}"#, false),
            (r#"{"code":"running","message":"step 2"}"#, false),
            (r#"{"status":"failed","message":"gone"}"#, true),
            (r#"{"status":503}"#, true),
            (r#"{"error_code":17,"error_msg":"limit"}"#, true),
            (r#"{"success":false}"#, true),
            (r#"{"success":true,"message":"hello"}"#, false),
            (r#"{"errors":["no"]}"#, true),
            (r#"{"errors":[]}"#, false),
            (r#"{"detail":"Not Found"}"#, true),
            (r#"{"type":"ping"}"#, false),
            (r#"{"message":"hello"}"#, false),
            ("{}", false),
        ] {
            let seen = remark(object.as_bytes());
            assert_eq!(
                matches!(seen, Remark::Error(_)),
                error,
                "{object}: {seen:?}"
            );
        }
        assert_eq!(
            remark(br#"{"status":"queued","message":"position 3"}"#),
            Remark::Notice("position 3 (queued)".to_owned())
        );
    }

    #[test]
    fn errors_that_are_none() {
        for (raw, nothing) in [
            ("null", true),
            ("false", true),
            ("0", true),
            ("200", true),
            (r#""""#, true),
            (r#""ok""#, true),
            (r#"{"code":0,"message":""}"#, true),
            (r#"{"code":null}"#, true),
            ("[]", true),
            ("true", false),
            ("1", false),
            (r#""no""#, false),
            (r#"{"code":0,"message":"no"}"#, false),
        ] {
            assert_eq!(says_nothing_raw(raw), nothing, "{raw}");
        }
    }

    #[test]
    fn reasons_of_answers_that_were_given_up() {
        for reason in [
            "abort",
            "error",
            "insufficient_system_resource",
            "network_error",
            "ABORT",
        ] {
            assert!(is_given_up(reason), "{reason}");
        }
        for reason in [
            "stop",
            "length",
            "tool_calls",
            "content_filter",
            "sensitive",
            "eos_token",
        ] {
            assert!(!is_given_up(reason), "{reason}");
        }
    }

    /// Data from a server must not block a receive thread or exhaust its stack.
    #[test]
    fn an_endless_frame_costs_nothing() {
        let data = "data:".repeat(3 << 20);
        assert_eq!(error_text(data.as_bytes()), "d", "what is left of a frame");
        let nested = "[".repeat(1 << 20);
        assert!(error_text(nested.as_bytes()).starts_with("[[["));
    }

    #[test]
    fn long_messages_are_clipped_on_one_line() {
        let text = clip(&"é\n".repeat(1000).into_bytes());
        assert_eq!(text.chars().count(), MESSAGE_CHARS + 1);
        assert!(!text.contains('\n'));
        assert_eq!(clipped("é".repeat(200)).len(), 256);
        assert_eq!(clipped(format!("x{}", "é".repeat(200))).len(), 255);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (error_text(&bytes), remark(&bytes));
        }
    }
}
