//! Whatever a server sends as events or as a non-streaming response: no panic, and payload that
//! belongs to the answer is always a token.
#![no_main]

use evalscope_core::protocol::{AnswerText, Api, Dashscope, OpenAi, Zhipu};
use evalscope_core::sse::Splitter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let cumulative = Dashscope {
        incremental: false,
        ..Dashscope::default()
    };
    let apis: [&dyn Api; 4] = [&OpenAi, &Dashscope::default(), &cumulative, &Zhipu];
    for api in apis {
        let mut reader = api.reader();
        let mut text = AnswerText::default();
        let mut splitter = Splitter::default();
        let _ = splitter.push(data, |event| {
            if let Some(meaning) = reader.event(event.name, event.data) {
                assert!(meaning.has_token() || !meaning.has_answer());
            }
            api.read_text(event.data, &mut text);
        });
        let mut whole = api.reader();
        let meaning = whole.whole(data);
        assert!(meaning.has_token() || !meaning.has_answer());
    }
});
