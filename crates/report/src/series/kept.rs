//! Owns which requests the page keeps one by one, for the swim-lane (R7) and the table.
//!
//! It must not know how they are shown.

use evalscope_model::record::FailureKind;

/// The requests that are kept, by dispatch; those of the warm-up come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptRequests {
    /// Measured requests of the run, also those that were never sent.
    pub total: u64,
    /// How many of them are kept.
    pub kept: u64,
    /// Lanes of the swim-lane: the most kept requests in flight at a time.
    pub lanes: usize,
    /// Gaps between token-bearing events above this, milliseconds, are stalls: 3 × the run's median.
    /// `None` without gaps.
    pub stall_ms: Option<f64>,
    /// The requests, some of the warm-up among them.
    pub requests: Vec<KeptRequest>,
}

/// A request that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRequest {
    /// Its moments and counts.
    pub row: RequestRow,
    /// Where it is drawn in the swim-lane; no two requests of a lane overlap. `None`: never sent.
    pub lane: Option<usize>,
    /// Gaps between its token-bearing events, from the first one on: LEB128 varints, microseconds.
    /// `None` if they are not kept (300 requests keep theirs).
    pub gaps: Option<Vec<u8>>,
}

/// The moments and counts of a request. Moments are microseconds from time 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestRow {
    /// Position in the run, in dataset order. Warm-up requests are numbered separately.
    pub index: u64,
    /// It belongs to the warm-up.
    pub warmup: bool,
    /// When the schedule wanted it sent.
    pub scheduled_us: i64,
    /// When it was dispatched.
    pub dispatched_us: i64,
    /// When its connection was ready.
    pub connected_us: Option<i64>,
    /// When it was sent: TTFT and latency begin here.
    pub sent_us: Option<i64>,
    /// When its first token arrived.
    pub first_token_us: Option<i64>,
    /// When its last data event arrived.
    pub last_data_us: Option<i64>,
    /// When it had ended.
    pub ended_us: i64,
    /// TTFT, microseconds.
    pub ttft_us: Option<u64>,
    /// TPOT, microseconds.
    pub tpot_us: Option<u64>,
    /// Latency, microseconds.
    pub latency_us: Option<u64>,
    /// Prompt tokens.
    pub input_tokens: Option<u64>,
    /// Prompt tokens that came from the server's cache.
    pub cached_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// Token-bearing events.
    pub token_events: u64,
    /// Why it failed; `None`: it succeeded.
    pub failure: Option<FailureKind>,
    /// The failure in words, at most 200 characters.
    pub message: Option<String>,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// Finish reason, at most 64 characters.
    pub finish_reason: Option<String>,
    /// The response `id`, at most 128 characters.
    pub response_id: Option<String>,
}
