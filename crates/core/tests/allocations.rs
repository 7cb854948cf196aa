//! What reading allocates. The counter is the allocator of the whole process, so this is the only test of
//! its binary.

use std::alloc::System;

use evalscope_core::protocol::{AnswerReader, Anthropic, Api, Embedding, OpenAi, Responses};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that this work allocates, whether or not it frees them.
fn allocated(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    region.change().bytes_allocated
}

/// A response with a vector of so many numbers.
fn vector(numbers: usize) -> String {
    let numbers: Vec<String> = (0..numbers).map(|n| format!("-0.0{n:07}")).collect();
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{}]}}],"model":"m","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#,
        numbers.join(",")
    )
}

#[test]
fn reading_allocates_nothing_for_numbers_and_ordinary_events() {
    let of_vector = |numbers| {
        let body = vector(numbers);
        let mut reader = Embedding::default().reader();
        allocated(|| {
            reader.whole(body.as_bytes());
        })
    };
    // names and counts, however long the vector is
    assert_eq!(of_vector(4096), of_vector(1));
    assert!(of_vector(4096) < 512, "{}", of_vector(4096));

    let of_events = |mut reader: Box<dyn AnswerReader>, event: &str| {
        // the first one has names that are kept
        reader.event(b"", event.as_bytes());
        allocated(|| {
            for _ in 0..128 {
                reader.event(b"", event.as_bytes());
            }
        })
    };
    for (api, event) in [
        (
            &OpenAi as &dyn Api,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#,
        ),
        (
            &Responses,
            r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":" token","logprobs":[]}"#,
        ),
        (
            &Anthropic,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}"#,
        ),
    ] {
        let events = of_events(api.reader(), event);
        assert_eq!(events, 0, "{}", api.name());
    }
}
