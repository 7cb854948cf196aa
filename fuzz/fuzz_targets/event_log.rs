//! Any bytes as the events of a record: they are rejected, or they are events that survive encoding
//! and decoding.
#![no_main]

use evalscope_model::record::{EventLog, EventLogFormat};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for format in [EventLogFormat::V1, EventLogFormat::V2] {
        let Some(log) = EventLog::from_bytes(data, format) else {
            continue;
        };
        let stamps: Vec<_> = log.stamps().map(|stamp| stamp.at).collect();
        assert!(stamps.is_sorted(), "{stamps:?}");
        assert!(stamps.len() <= data.len());
        assert!(log.len() <= stamps.len());
        assert_eq!(log.arrivals().count(), log.len());
        assert!(log.token_events().count() <= log.tokens().count());
        assert_eq!(
            EventLog::from_bytes(&log.to_bytes(), EventLogFormat::V2),
            Some(log)
        );
    }
});
