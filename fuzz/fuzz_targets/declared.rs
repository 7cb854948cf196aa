//! Responses read by the rules of a user or a plugin, whatever they are: no panic, and payload that
//! belongs to the answer is always a token.
//!
//! Input: a byte that selects the declaration, then a stream, which is also read as a non-streaming
//! response.
#![no_main]

use std::sync::LazyLock;

use evalscope_core::protocol::{AnswerText, Api, Declared, Opaque};
use evalscope_core::sse::Splitter;
use libfuzzer_sys::fuzz_target;

const SHORT: &str = r#"
[request]
template = '{"inputs": "%{prompt}"}'
[stream]
ends_with_body = true
error_event = "oops"
text = ["/token/text", "/0", "", "/a~1b/~0"]
completion_tokens = "/details/generated_tokens"
response_id = "/id"
[whole]
text = "/0/generated_text"
error = ["/error", "/0/error"]
"#;

const REASONS: &str = r#"
[request]
template = '{"prompt": "%p", "n": 1}'
[stream]
end_event = "end"
text = "/delta"
reasoning = ["/thought", "/delta/thought"]
prompt_tokens = ["/u/0", "/u/in"]
cached_tokens = "/u/cached"
reasoning_tokens = "/u/2"
finish_reason = "/why"
failed_finish_reasons = ["error", ""]
[whole]
text = ""
"#;

static APIS: LazyLock<Vec<Box<dyn Api>>> = LazyLock::new(|| {
    let openai = include_str!("../../docs/examples/openai.toml");
    let mut apis: Vec<Box<dyn Api>> = Vec::new();
    for text in [openai, SHORT, REASONS] {
        let declaration = toml::from_str(text).expect("it declares an API");
        apis.push(Box::new(Declared::new(declaration)));
    }
    for told in [
        r#"{"stream": {"text": "/tok", "error": "/oops"}}"#,
        r#"{"whole": {"text": ["/tok", "/toks"], "reasoning": "/why"}}"#,
    ] {
        let told = serde_json::from_str(told).expect("the rules are valid");
        let api = Opaque::new("x".to_owned(), Some(told)).expect("the rules say where text is");
        apis.push(Box::new(api));
    }
    apis.push(Box::new(Opaque::untold("x".to_owned())));
    apis
});

fuzz_target!(|data: &[u8]| {
    let Some((chosen, stream)) = data.split_first() else {
        return;
    };
    let api = &APIS[usize::from(*chosen) % APIS.len()];
    let mut reader = api.reader();
    let mut text = AnswerText::default();
    let mut splitter = Splitter::default();
    let mut take = |name: &[u8], data: &[u8]| {
        let ended = reader.state().done;
        if let Some(meaning) = reader.event(name, data) {
            assert!(meaning.has_token() || !meaning.has_answer());
            assert!(!ended, "no event after the end is part of the response");
        }
        api.read_text(data, &mut text);
    };
    let _ = splitter.push(stream, |event| take(event.name, event.data));
    splitter.finish(|event| take(event.name, event.data));
    reader.body_ended();
    let _ = reader.take();

    let mut whole = api.reader();
    let meaning = whole.whole(stream);
    assert!(meaning.has_token() || !meaning.has_answer());
    assert!(whole.take().done);
    api.read_text(stream, &mut text);
    let _ = api.doubt().map(|doubt| doubt.to_string());
});
