//! Whatever a server sends as events or as a whole answer: no panic, and a
//! payload that belongs to the answer is always a token.
#![no_main]

use evalscope_core::protocol::AnswerReader;
use evalscope_core::protocol::openai::OpenAiReader;
use evalscope_core::sse::Splitter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = OpenAiReader::default();
    let mut splitter = Splitter::default();
    let _ = splitter.push(data, |event| {
        if let Some(meaning) = reader.event(event.name, event.data) {
            assert!(meaning.token || !meaning.answer);
        }
    });
    let mut whole = OpenAiReader::default();
    let meaning = whole.whole(data);
    assert!(meaning.token || !meaning.answer);
});
