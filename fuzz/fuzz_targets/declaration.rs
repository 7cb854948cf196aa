//! Any text as the declaration of an API: it is rejected, or responses are read and bodies built
//! with it without a panic.
//!
//! Input: TOML as in a file or, if it starts with `{`, JSON as sent by a plugin.
#![no_main]

use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::{AnswerText, Api, Declared, Opaque, ResponseRules};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const EVENT: &[u8] = br#"{"id":"x","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],
    "text":["b",{"text":"c"}],"usage":{"prompt_tokens":3},"error":{"message":"no"},"0":null}"#;

fn read_by(api: &dyn Api) {
    let mut text = AnswerText::default();
    let mut reader = api.reader();
    for (name, data) in [(&b""[..], EVENT), (b"error", b"gone"), (b"", b"[DONE]")] {
        let _ = reader.event(name, data);
        api.read_text(data, &mut text);
    }
    reader.body_ended();
    let _ = reader.take();
    let meaning = api.reader().whole(EVENT);
    assert!(meaning.has_token() || !meaning.has_answer());
    let _ = api.doubt().map(|doubt| doubt.to_string());
}

fuzz_target!(|text: &str| {
    if text.starts_with('{') {
        let told = serde_json::from_str::<ResponseRules>(text).ok();
        let api = told.and_then(|told| Opaque::new("x".to_owned(), Some(told)).ok());
        if let Some(api) = api {
            read_by(&api);
        }
        return;
    }
    let declaration = match toml::from_str::<Declaration>(text) {
        Ok(declaration) => declaration,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let (streams, wholes) = (declaration.check(true), declaration.check(false));
    for error in [&streams, &wholes]
        .into_iter()
        .filter_map(|result| result.as_ref().err())
    {
        assert!(!error.to_string().is_empty());
    }
    let chat = declaration.is_chat();
    let (takes_seed, other_fields) = (declaration.takes("seed"), declaration.request.other_fields);
    let api = Declared::new(declaration);
    let fields = if chat {
        json!({"model": "m", "messages": [{"role": "user", "content": "%p %m"}], "seed": 7})
    } else {
        json!({"model": "m", "prompt": "%p", "seed": 7})
    };
    let serde_json::Value::Object(fields) = fields else {
        unreachable!()
    };
    let body = api.body(fields);
    assert!(!takes_seed || !other_fields || !body.is_empty());
    read_by(&api);
});
