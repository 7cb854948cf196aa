//! Owns which requests the page keeps one by one, for the swim-lane (R7) and the table.
//!
//! It must not know how they are shown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

use evalscope_model::metrics::Metric;
use evalscope_model::record::{FailureKind, Phase, RequestRecord, push_varint};

use super::axis::Clock;
use super::gaps::STALL;
use super::hash::mixed;

/// Requests in a page, over all of its runs; one takes about 100 bytes of the page. A run that is shown
/// has [`LEAST_KEPT`] at least.
pub const KEPT_IN_PAGE: usize = 1000;
/// See [`KEPT_IN_PAGE`].
pub const LEAST_KEPT: usize = 200;

/// Parts of the kept requests of a run, in order of precedence; the others are chosen by hash.
const SLOWEST: f64 = 0.20;
const SLOWEST_TTFT: f64 = 0.10;
const FAILED: f64 = 0.10;
const AT_EACH_END: f64 = 0.05;
const PARTS: [f64; BY] = [SLOWEST, SLOWEST_TTFT, FAILED, AT_EACH_END, AT_EACH_END, 1.0];
/// Requests of the warm-up: the last ones.
const WARMUP: f64 = 0.04;

/// Requests that keep their gaps, of each of three kinds.
const WITH_GAPS: usize = 100;
/// Bytes of gaps of a request: about 3000 tokens. One with more keeps none.
const MOST_GAP_BYTES: usize = 4096;
/// Bytes of gaps for each request that is kept, so that a page with all of them stays small.
const GAP_BYTES_PER_REQUEST: usize = 10;
/// One kind of requests with gaps is from the so many seconds with the most requests in flight.
const DENSEST_S: f64 = 10.0;

/// Characters of texts from outside.
const MOST_MESSAGE: usize = 200;
const MOST_REASON: usize = 64;
const MOST_ID: usize = 128;

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
    /// From and to the moment with the most requests in flight, microseconds from time 0.
    pub densest_us: (i64, i64),
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
    /// The failure in words, cut after 200 characters.
    pub message: Option<String>,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// Finish reason, cut after 64 characters.
    pub finish_reason: Option<String>,
    /// The response `id`, cut after 128 characters.
    pub response_id: Option<String>,
    /// Its conversation and the turn in it, both from 0.
    pub turn: Option<(u64, u32)>,
}

impl RequestRow {
    fn was_sent(&self) -> bool {
        !self.failure.is_some_and(FailureKind::is_unsent)
    }

    /// Takes what it keeps: copies would be a good part of the time.
    fn of(record: RequestRecord, clock: &Clock) -> Self {
        let times = record.times;
        let moment = |at| clock.nanos(at).div_euclid(1000);
        let micros = |metric: Metric| {
            let mut nanos = None;
            metric.samples(&record, |value| nanos = Some(value));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a cast saturates at both ends"
            )]
            nanos.map(|nanos| (nanos / 1e3).round() as u64)
        };
        let tokens = || record.events.tokens();
        let cut = |mut text: String, most: usize| {
            // most are short, which is seen at once
            let is_long = text.len() > most;
            let end = is_long.then(|| text.char_indices().nth(most)).flatten();
            if let Some((end, _)) = end {
                text = text[..end].to_owned();
            }
            text
        };
        Self {
            index: record.index,
            warmup: record.phase == Phase::Warmup,
            scheduled_us: moment(times.scheduled),
            dispatched_us: moment(times.dispatched),
            connected_us: times.connected.map(moment),
            sent_us: times.write_begun.map(moment),
            first_token_us: tokens().next().map(|stamp| moment(stamp.at)),
            last_data_us: times.last_data.map(moment),
            ended_us: moment(times.ended),
            ttft_us: micros(Metric::Ttft),
            tpot_us: micros(Metric::Tpot),
            latency_us: micros(Metric::Latency),
            input_tokens: record.prompt_tokens().0,
            cached_tokens: record.usage.cached_tokens,
            output_tokens: record.output_tokens().0,
            token_events: record.events.token_events().count() as u64,
            failure: record.failure.as_ref().map(|failure| failure.kind),
            message: record
                .failure
                .map(|failure| cut(failure.message, MOST_MESSAGE)),
            http_status: record.http_status,
            finish_reason: record.finish_reason.map(|text| cut(text, MOST_REASON)),
            response_id: record.response_id.map(|text| cut(text, MOST_ID)),
            turn: record.turn.map(|place| (place.conversation, place.turn)),
        }
    }
}

/// The gaps between token-bearing events, as [`KeptRequest::gaps`]. What is lost by rounding a gap is added
/// to the next.
fn encoded_gaps(record: &RequestRecord) -> Option<Vec<u8>> {
    let mut events = record.events.token_events();
    let first = events.next()?;
    let (mut bytes, mut last_us) = (Vec::new(), 0);
    for at in events {
        let at_us = at.nanos_since(first) / 1000;
        push_varint(&mut bytes, at_us.saturating_sub(last_us));
        last_us = last_us.max(at_us);
        if bytes.len() > MOST_GAP_BYTES {
            return None;
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// A request that may be kept. The order is that of what it was chosen by, then of the index.
#[derive(Clone, Debug)]
struct Candidate {
    /// The greater, the better.
    rank: u64,
    index: u64,
    row: Rc<(RequestRow, Option<Vec<u8>>)>,
}

impl Candidate {
    fn order(&self) -> (u64, u64) {
        // the lower index is the better one
        (self.rank, !self.index)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // the worst is the greatest, and is the first to go
        other.order().cmp(&self.order())
    }
}

/// The best candidates by one measure.
#[derive(Debug)]
struct Best {
    most: usize,
    heap: BinaryHeap<Candidate>,
}

impl Best {
    fn new(most: usize) -> Self {
        Self {
            most,
            heap: BinaryHeap::new(),
        }
    }

    fn takes(&self, rank: u64, index: u64) -> bool {
        self.heap.len() < self.most
            || self
                .heap
                .peek()
                .is_some_and(|worst| (rank, !index) > worst.order())
    }

    /// Add one that it takes.
    fn push(&mut self, candidate: Candidate) {
        if self.heap.len() < self.most {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut() {
            *worst = candidate;
        }
    }

    /// The best first.
    fn finish(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec()
    }
}

/// Measures by which requests are kept.
const BY: usize = 6;
/// The position of that of failures.
const FAILURE: usize = 2;
/// Those of latency, TTFT and hash: their requests have gaps.
const WITH_GAPS_BY: [usize; 3] = [0, 1, 5];

/// Chooses the requests to keep. It holds twice as many as it will keep at most, each with its gaps.
#[derive(Debug)]
pub(super) struct Keeper {
    clock: Clock,
    total: u64,
    best: [Best; BY],
    /// The first failure of each kind, by the moment of its dispatch.
    first_of_kind: BTreeMap<FailureKind, Candidate>,
    warmup: Best,
}

impl Keeper {
    /// Keeps so many requests at most.
    pub(super) fn new(clock: Clock, most: usize) -> Self {
        Self {
            clock,
            total: 0,
            best: PARTS.map(|share| Best::new(part(most, share))),
            first_of_kind: BTreeMap::new(),
            warmup: Best::new(part(most, WARMUP)),
        }
    }

    /// Add a request of any phase.
    pub(super) fn push(&mut self, record: RequestRecord) {
        let dispatched = record.times.dispatched.as_nanos();
        let index = record.index;
        if record.phase == Phase::Warmup {
            if record.dispatched() && self.warmup.takes(dispatched, index) {
                self.warmup.push(Candidate {
                    rank: dispatched,
                    index,
                    row: Rc::new((RequestRow::of(record, &self.clock), None)),
                });
            }
            return;
        }
        self.total += 1;
        let sample = |metric: Metric| {
            let mut nanos = None;
            metric.samples(&record, |value| nanos = Some(value));
            // positive numbers are in the order of their bits
            nanos.map(f64::to_bits)
        };
        let failure = record.failure.as_ref().map(|failure| failure.kind);
        let ranks: [Option<u64>; BY] = [
            sample(Metric::Latency),
            sample(Metric::Ttft),
            failure.map(|_| !dispatched),
            Some(!dispatched).filter(|_| record.dispatched()),
            Some(dispatched).filter(|_| record.dispatched()),
            // turns of a conversation stay together
            Some(!mixed(
                record.turn.map_or(index, |place| place.conversation),
            )),
        ];
        let takes = |by: usize| ranks[by].is_some_and(|rank| self.best[by].takes(rank, index));
        // almost each request is the last one when it comes: its gaps are not worth their time
        let with_gaps = WITH_GAPS_BY.into_iter().any(takes);
        let (mut record, mut made) = (Some(record), None);
        let mut candidate = |rank| Candidate {
            rank,
            index,
            row: Rc::clone(made.get_or_insert_with(|| {
                let record = record.take().expect("it is made once");
                let gaps = with_gaps.then(|| encoded_gaps(&record)).flatten();
                Rc::new((RequestRow::of(record, &self.clock), gaps))
            })),
        };
        for (best, rank) in self.best.iter_mut().zip(ranks) {
            if let Some(rank) = rank
                && best.takes(rank, index)
            {
                best.push(candidate(rank));
            }
        }
        let Some(kind) = failure else {
            return;
        };
        let first = self.first_of_kind.get(&kind);
        let is_full = self.first_of_kind.len() >= self.best[FAILURE].most;
        let is_first = first.map_or(!is_full, |first| (!dispatched, !index) > first.order());
        if is_first {
            self.first_of_kind.insert(kind, candidate(!dispatched));
        }
    }

    /// All that a page may keep. `in_flight` is the mean of each bin of the axis, `itl_p50_ms` the run's
    /// median gap.
    pub(super) fn finish(self, in_flight: &[f64], itl_p50_ms: Option<f64>) -> KeptRequests {
        let best = self.best.into_iter().flat_map(Best::finish);
        let measured = self.first_of_kind.into_values().chain(best);
        let mut seen = BTreeSet::new();
        let measured = measured.filter(|candidate| seen.insert(candidate.index));
        let all = self.warmup.finish().into_iter().chain(measured);
        let requests = all.map(|candidate| {
            let (row, gaps) = Rc::unwrap_or_clone(candidate.row);
            KeptRequest {
                row,
                lane: None,
                gaps,
            }
        });
        let mut kept = KeptRequests {
            total: self.total,
            kept: 0,
            lanes: 0,
            stall_ms: itl_p50_ms.map(|p50| p50 * STALL),
            densest_us: densest(&self.clock, in_flight),
            requests: requests.collect(),
        };
        kept.settle();
        kept
    }
}

/// So many of the requests that are kept.
fn part(most: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a small number"
    )]
    let part = (most as f64 * share) as usize;
    part
}

impl KeptRequests {
    /// So many of these requests, chosen as if no more had ever been kept.
    pub(super) fn at_most(&self, most: usize) -> Self {
        let (warmup, measured): (Vec<_>, Vec<_>) =
            self.requests.iter().partition(|one| one.row.warmup);
        let mut chosen: BTreeSet<u64> = BTreeSet::new();
        for (by, share) in PARTS.into_iter().enumerate() {
            // those of one measure may have been chosen by another, which makes room for others
            let part = part(most, share);
            let from = chosen.len();
            let best = best_by(by, &measured);
            let candidates = if by == FAILURE { best.len() } else { part };
            for one in best.into_iter().take(candidates) {
                if chosen.len() < most && chosen.len() - from < part {
                    chosen.insert(one.row.index);
                }
            }
        }
        let measured = measured.into_iter();
        let measured: Vec<_> = measured
            .filter(|one| chosen.contains(&one.row.index))
            .collect();
        let with_gaps = with_gaps(&measured, self.densest_us, most * GAP_BYTES_PER_REQUEST);
        let skipped = warmup.len().saturating_sub(part(most, WARMUP));
        let warmup = warmup.into_iter().skip(skipped);
        let requests = warmup.chain(measured).map(|one| {
            let gaps = one.gaps.clone();
            KeptRequest {
                gaps: gaps.filter(|_| with_gaps.contains(&one.row.index)),
                ..one.clone()
            }
        });
        let mut kept = Self {
            requests: requests.collect(),
            ..*self
        };
        kept.settle();
        kept
    }

    /// Sort the requests, count them, and give each its lane.
    fn settle(&mut self) {
        self.requests.sort_unstable_by_key(|one| {
            let row = &one.row;
            (!row.warmup, row.dispatched_us, row.index)
        });
        let measured = self.requests.iter().filter(|one| !one.row.warmup);
        self.kept = measured.count() as u64;
        self.lanes = into_lanes(&mut self.requests);
    }
}

/// Measured requests from the best to the worst by one measure, without those that have none.
fn best_by<'a>(by: usize, measured: &[&'a KeptRequest]) -> Vec<&'a KeptRequest> {
    let rank = |row: &RequestRow| match by {
        0 => row.latency_us.map(|us| Reverse(i128::from(us))),
        1 => row.ttft_us.map(|us| Reverse(i128::from(us))),
        2 => row.failure.map(|_| Reverse(-i128::from(row.dispatched_us))),
        3 => Some(Reverse(-i128::from(row.dispatched_us))).filter(|_| row.was_sent()),
        4 => Some(Reverse(i128::from(row.dispatched_us))).filter(|_| row.was_sent()),
        _ => {
            let whole = row.turn.map_or(row.index, |(conversation, _)| conversation);
            Some(Reverse(-i128::from(mixed(whole))))
        }
    };
    let mut ranked: Vec<_> = measured
        .iter()
        .filter_map(|one| Some((rank(&one.row)?, one.row.index, *one)))
        .collect();
    ranked.sort_unstable_by_key(|(rank, index, _)| (*rank, *index));
    let ranked = ranked.into_iter().map(|(_, _, one)| one);
    if by != FAILURE {
        return ranked.collect();
    }
    let mut kinds = BTreeSet::new();
    let (mut first, others): (Vec<_>, Vec<_>) =
        ranked.partition(|one| one.row.failure.is_some_and(|kind| kinds.insert(kind)));
    first.extend(others);
    first
}

/// The start and end of the seconds with the most requests in flight, microseconds from time 0.
fn densest(clock: &Clock, in_flight: &[f64]) -> (i64, i64) {
    let axis = clock.axis();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to 100"
    )]
    let bins = (DENSEST_S / axis.width_s()).ceil().max(1.0) as usize;
    let measured = &in_flight[axis.warmup_bins..];
    let bins = bins.min(measured.len());
    let sums = measured
        .windows(bins)
        .map(|window| window.iter().sum::<f64>());
    let mut best = (0, f64::NEG_INFINITY);
    for (nth, sum) in sums.enumerate() {
        if sum > best.1 {
            best = (nth, sum);
        }
    }
    let first = axis.warmup_bins + best.0;
    (
        clock.edge_ns(first) / 1000,
        clock.edge_ns(first + bins) / 1000,
    )
}

/// The requests that keep their gaps, in turn from the slowest, those with the smallest hash, and those
/// with the smallest hash of the densest time, until the bytes are used up.
fn with_gaps(chosen: &[&KeptRequest], densest: (i64, i64), most_bytes: usize) -> BTreeSet<u64> {
    let have = chosen.iter().copied().filter(|one| one.gaps.is_some());
    let have: Vec<&KeptRequest> = have.collect();
    let mut slowest = have.clone();
    slowest.sort_by_key(|one| (Reverse(one.row.latency_us), one.row.index));
    let mut by_hash = have;
    by_hash.sort_by_key(|one| mixed(one.row.index));
    let in_densest = |one: &&KeptRequest| {
        let row = &one.row;
        row.dispatched_us <= densest.1 && densest.0 <= row.ended_us
    };
    let dense: Vec<&KeptRequest> = by_hash.iter().copied().filter(in_densest).collect();
    let mut left = [slowest, by_hash, dense].map(|kind| kind.into_iter().take(WITH_GAPS));
    let (mut kept, mut bytes) = (BTreeSet::new(), 0);
    for _ in 0..WITH_GAPS {
        for one in left.iter_mut().filter_map(Iterator::next) {
            let more = one.gaps.as_ref().map_or(0, Vec::len);
            if bytes + more <= most_bytes && kept.insert(one.row.index) {
                bytes += more;
            }
        }
    }
    kept
}

/// Put each request, in the order of its dispatch, into the first lane that is free. Returns the number of
/// lanes.
fn into_lanes(requests: &mut [KeptRequest]) -> usize {
    let mut free: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    let mut busy: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    let mut lanes = 0;
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|nth| (requests[*nth].row.dispatched_us, *nth));
    for nth in order {
        let row = &requests[nth].row;
        if !row.was_sent() {
            continue;
        }
        while let Some(Reverse((ended, lane))) = busy.peek().copied()
            && ended <= row.dispatched_us
        {
            busy.pop();
            free.push(Reverse(lane));
        }
        let lane = free.pop().map_or(lanes, |Reverse(lane)| lane);
        lanes = lanes.max(lane + 1);
        busy.push(Reverse((row.ended_us, lane)));
        requests[nth].lane = Some(lane);
    }
    lanes
}
