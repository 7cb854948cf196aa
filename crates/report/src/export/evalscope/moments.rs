//! Owns when a request began and ended in EvalScope's terms.

use evalscope_model::record::RequestRecord;
use evalscope_model::time::{RunClock, Timestamp};

/// When the send of a request began; of one that came not so far, when it was taken up.
pub(super) fn start(record: &RequestRecord) -> Timestamp {
    record.times.write_begun.unwrap_or(record.times.dispatched)
}

/// When the last data of a response came; the end of a failure.
pub(super) fn completion(record: &RequestRecord) -> Timestamp {
    let data = record.times.last_data.filter(|_| record.succeeded());
    data.unwrap_or(record.times.ended)
}

/// Unix time of a moment, seconds.
pub(super) fn unix_s(clock: &RunClock, at: Timestamp) -> f64 {
    (clock.wall_start_ns + at.as_nanos()) as f64 / 1e9
}
