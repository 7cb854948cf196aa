//! Any bytes as the events of a record: they are refused, or they are events that survive being
//! written and read again.
#![no_main]

use evalscope_core::record::EventLog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(log) = EventLog::from_bytes(data) else {
        return;
    };
    assert!(log.len() <= data.len());
    assert!(log.tokens().count() <= log.iter().count());
    let stamps: Vec<_> = log.iter().map(|event| event.at).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    assert_eq!(EventLog::from_bytes(&log.to_bytes()), Some(log));
});
