//! Whatever a plugin writes: no panic, and each request gets its own response or none.
//!
//! Input: a byte for the number of requests, then the plugin's output.
#![no_main]

use evalscope_plugin::conversation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((requests, output)) = data.split_first() else {
        return;
    };
    let requests = requests % 8;
    let heard = conversation(output, requests);
    assert_eq!(heard.answers.len(), usize::from(requests));
    // responses come in order: none after a missing one
    let answered = heard.answers.iter().take_while(|answer| answer.is_some());
    let answered = answered.count();
    assert!(heard.answers[answered..].iter().all(Option::is_none));
    let lines = output.iter().filter(|byte| **byte == b'\n').count();
    assert!(answered <= lines);
    assert!(heard.rubbish.is_some() || answered == lines);
    for result in heard.answers.iter().flatten().flatten() {
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(result).is_ok());
    }
    let shown = heard.rubbish.unwrap_or_default();
    assert!(!shown.contains(char::is_control), "{shown:?}");
});
