//! The run loop under a paused clock, with a transport that only waits.

mod mixed;
mod open_loops;
mod shards;

use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::engine::dispatch::Dispatch;
use crate::engine::http::Requester;
use crate::engine::no_response::without_answer;
use crate::protocol::{
    BodyBuilder, BodyError, BodyRules, BuildBodies, Endpoint, MaxTokens, OpenAi, PreparedRequest,
};
use crate::schedule::Arrivals;
use evalscope_model::conversation::KeepConnection;
use evalscope_model::mix::UrlId;
use evalscope_model::plan::{OpenLoop, Pacing, WhenFull};
use evalscope_model::point::PointId;
use evalscope_model::profile::{Gaps, Schedule};
use evalscope_model::prompt::{Item, Prompt, Workload};
use evalscope_model::record::{
    Bodies, ConversationRecord, Exchange, Failure, FailureKind, Phase, RequestRecord,
};
use evalscope_model::shard::Deal;
use evalscope_model::time::Timestamp;

mod conversations;

#[derive(Clone)]
struct PausedClock {
    begun: tokio::time::Instant,
    /// How long it takes to look at it.
    look_takes: Duration,
    looks: Arc<AtomicU64>,
}

impl PausedClock {
    fn start(look_takes: Duration) -> Self {
        Self {
            begun: tokio::time::Instant::now(),
            look_takes,
            looks: Arc::default(),
        }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let looks = u32::try_from(self.looks.fetch_add(1, Ordering::Relaxed)).unwrap();
        let waited = tokio::time::Instant::now() - self.begun;
        Timestamp::ZERO.after(waited + looks * self.look_takes)
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(at.since(self.now())).await;
    }
}

/// Answers after a time that depends on the request.
#[derive(Clone)]
struct Waiting {
    service: Arc<dyn Fn(u64) -> Duration + Send + Sync>,
    at_url: Arc<dyn Fn(UrlId) -> Duration + Send + Sync>,
    panics_at: Option<u64>,
    fails_at: Option<u64>,
    clock: PausedClock,
    stats: Arc<[Arc<ReadStats>]>,
}

impl Transport for Waiting {
    type Requester = Self;
    type Thread = ();

    fn stats(&self) -> &[Arc<ReadStats>] {
        &self.stats
    }

    fn thread(&self, _: usize) {}

    fn requester(&self, (): &()) -> Self {
        self.clone()
    }
}

impl Requester for Waiting {
    async fn send(
        &mut self,
        _: &mut PreparedRequest,
        dispatch: Dispatch,
        given_up: impl Future<Output = Failure>,
    ) -> Exchange {
        let at_url = (self.at_url)(dispatch.url.unwrap());
        let mut failure = (self.fails_at == Some(dispatch.index))
            .then(|| Failure::new(FailureKind::Status(500), "the test's server fails"));
        assert!(
            self.panics_at != Some(dispatch.index),
            "the test's requester panics"
        );
        tokio::select! {
            () = tokio::time::sleep((self.service)(dispatch.index) + at_url) => {}
            why = given_up => failure = Some(why),
        }
        let now = self.clock.now();
        let mut record = without_answer(dispatch, now);
        record.failure = failure;
        Exchange {
            record,
            bodies: Bodies::default(),
        }
    }
}

struct Case {
    spec: RunSpec,
    service: Arc<dyn Fn(u64) -> Duration + Send + Sync>,
    panics_at: Option<u64>,
    stop_after: Option<Duration>,
    abort_after: Option<Duration>,
    fails_at: Option<u64>,
    feed: Feed,
    barrier: Option<Barrier>,
    spread: Spread,
    look_takes: Duration,
    /// How much longer a request takes at a URL.
    at_url: Arc<dyn Fn(UrlId) -> Duration + Send + Sync>,
}

impl Case {
    /// Constant arrivals without a limit on concurrency.
    fn open_loop(profile: &str, service: impl Fn(u64) -> Duration + Send + Sync + 'static) -> Self {
        let mut case = Self::new(1, 60, service);
        case.spec.concurrency = None;
        case.spec.pacing = Pacing::Arrivals(Schedule {
            profile: profile.parse().unwrap(),
            gaps: Gaps::Constant,
        });
        case
    }

    fn new(
        slots: usize,
        requests: u64,
        service: impl Fn(u64) -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self {
            spec: RunSpec {
                point: PointId::first("test"),
                concurrency: NonZeroUsize::new(slots),
                open_loop: OpenLoop::default(),
                requests: Some(requests),
                conversations: None,
                connections: KeepConnection::Keep,
                pacing: Pacing::Unpaced,
                warmup_requests: 0,
                duration_s: None,
                drain_timeout_s: None,
                seed: 7,
                dataset_offset: 0,
                shard: evalscope_model::shard::Shard::WHOLE,
            },
            service: Arc::new(service),
            panics_at: None,
            stop_after: None,
            abort_after: None,
            fails_at: None,
            feed: feed(),
            barrier: None,
            spread: Spread::ONE,
            look_takes: Duration::ZERO,
            at_url: Arc::new(|_| Duration::ZERO),
        }
    }

    /// The records, in the order in which they came.
    fn run(self) -> Vec<RequestRecord> {
        self.run_whole().0
    }

    /// The records of requests, and those of conversations.
    fn run_whole(self) -> (Vec<RequestRecord>, Vec<ConversationRecord>) {
        // every body fits the queue, so that feeding never waits
        assert!(self.spec.requests <= Some(64 - self.spec.warmup_requests));
        let mut setup = setup(self.spec.clone(), self.feed);
        setup.spread = self.spread;
        let control = RunControl::default();
        let (sink, records) = async_channel::bounded(1024);
        let prepared = Prepared::new(&setup, 1, &control, &sink);
        let shared = prepared.shared;
        feed_jobs(
            setup.feed,
            &prepared.queue,
            prepared.sessions,
            &control.stop,
            &setup.clock,
        );
        drop(prepared.queue);
        paused().block_on(async {
            let clock = PausedClock::start(self.look_takes);
            let transport = Waiting {
                service: self.service,
                at_url: self.at_url,
                panics_at: self.panics_at,
                fails_at: self.fails_at,
                clock: clock.clone(),
                stats: Arc::default(),
            };
            let ending = async {
                if let Some(after) = self.stop_after {
                    tokio::time::sleep(after).await;
                    control.stop.cancel();
                }
                if let Some(after) = self.abort_after {
                    tokio::time::sleep(after).await;
                    control.abort.cancel();
                }
                // as the thread of the run does
                while shared.drain_end().is_none_or(|end| clock.now() < end) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                shared.end_drain();
                std::future::pending::<()>().await;
            };
            let under_way = UnderWay::default();
            let lane = serve(0, &transport, &(), &clock, &shared, &under_way);
            let local = LocalSet::new();
            let lane = local.run_until(lane);
            let running = async {
                tokio::select! {
                    _ = async { tokio::join!(lane, deal(&clock, &shared, self.barrier)) } => {}
                    () = ending => {}
                }
            };
            let most = Duration::from_hours(1);
            tokio::time::timeout(most, running)
                .await
                .expect("the run ends");
        });
        for exchange in shared.left_over(Timestamp::ZERO.after(Duration::from_hours(1))) {
            sink.try_send(RunEvent::Exchange(Box::new(exchange)))
                .unwrap();
        }
        drop((sink, shared));
        let (mut seen, mut conversations) = (Vec::new(), Vec::new());
        while let Ok(message) = records.try_recv() {
            match message {
                RunEvent::Exchange(exchange) => seen.push(exchange.record),
                RunEvent::Conversation(record) => conversations.push(*record),
                RunEvent::Snapshot(_)
                | RunEvent::Warning(_)
                | RunEvent::Began(_)
                | RunEvent::Model(_) => {}
            }
        }
        (seen, conversations)
    }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

fn setup(spec: RunSpec, feed: Feed) -> RunSetup {
    RunSetup {
        most_in_flight: (spec.part().concurrency.or(spec.open_loop.max_in_flight))
            .unwrap_or(NonZeroUsize::MAX),
        spec,
        feed,
        spread: Spread::ONE,
        clock: RunClock::start(),
        give_up_after: None,
        barrier: None,
    }
}

/// The same prompt without end.
#[derive(Debug)]
struct OnePrompt;

impl Workload for OnePrompt {
    fn next_item(&mut self) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Prompt::Text("hello".to_owned()).into())
    }

    fn rounds(&self) -> u64 {
        0
    }
}

fn rules() -> BodyRules {
    BodyRules {
        conversations: None,
        api: Arc::new(OpenAi),
        endpoint: Endpoint::Chat,
        template: None,
        model: "m".to_owned(),
        mix: None,
        typed: Map::new(),
        defaults: Map::new(),
        max_tokens: MaxTokens::Fixed(1),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        seed: 0,
    }
}

fn feed() -> Feed {
    Feed {
        prompts: Box::new(OnePrompt),
        bodies: Box::new(BodyBuilder::new(rules())),
    }
}

fn millis(at: Timestamp) -> u64 {
    at.as_nanos() / 1_000_000
}

/// When each request of a closed loop is sent and ends, in milliseconds: the
/// slot that is free first takes the next request.
fn greedy(slots: usize, service: &[u64]) -> Vec<(u64, u64)> {
    let mut free = BinaryHeap::from(vec![std::cmp::Reverse(0u64); slots]);
    service
        .iter()
        .map(|ms| {
            let std::cmp::Reverse(at) = free.pop().unwrap();
            free.push(std::cmp::Reverse(at + ms));
            (at, at + ms)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Never more in flight than slots, never an idle slot while work remains,
    /// and one record for each request: it is the greedy schedule, exactly.
    #[test]
    fn a_closed_loop_keeps_its_slots_busy(
        slots in 1usize..9,
        service in prop::collection::vec(1u64..500, 1..60),
    ) {
        let times = service.clone();
        let case = Case::new(slots, service.len() as u64, move |i| {
            Duration::from_millis(times[usize::try_from(i).unwrap()])
        });
        let mut got: Vec<_> = case.run();
        got.sort_by_key(|r| r.index);
        let want = greedy(slots, &service);
        prop_assert_eq!(got.len(), service.len());
        for (i, (record, (sent, ended))) in got.iter().zip(&want).enumerate() {
            prop_assert_eq!(record.index, i as u64);
            prop_assert_eq!(millis(record.times.dispatched), *sent);
            prop_assert_eq!(millis(record.times.ended), *ended);
            prop_assert_eq!(record.times.dispatched, record.times.slot_free);
        }
    }

    /// The schedule is the seed's, whatever the server does; lateness is kept.
    #[test]
    fn arrivals_do_not_depend_on_service_times(
        slots in 1usize..4,
        service in prop::collection::vec(1u64..2000, 20),
    ) {
        let schedule = Schedule::poisson(5.0);
        let mut case = Case::new(slots, 20, move |i| {
            Duration::from_millis(service[usize::try_from(i).unwrap()])
        });
        case.spec.pacing = Pacing::Arrivals(schedule.clone());
        let mut got = case.run();
        got.sort_by_key(|r| r.index);
        let mut arrivals = Arrivals::new(schedule, 7);
        prop_assert_eq!(got.len(), 20);
        for record in &got {
            let want = Timestamp::ZERO.after(arrivals.next_offset().unwrap());
            prop_assert_eq!(record.times.scheduled, want);
            prop_assert!(record.times.dispatched >= want);
        }
        let mut in_flight = BTreeMap::new();
        for record in &got {
            *in_flight.entry((record.times.dispatched, 1)).or_insert(0i64) += 1;
            *in_flight.entry((record.times.ended, 0)).or_insert(0i64) -= 1;
        }
        let mut now = 0;
        for change in in_flight.values() {
            now += change;
            prop_assert!(now <= i64::try_from(slots).unwrap());
        }
    }
}

/// The warm-up hands its places over one by one: warm-up and measurement together are one greedy
/// schedule.
#[test]
fn the_measurement_begins_on_a_busy_server() {
    let mut case = Case::new(3, 10, |i| Duration::from_millis(10 + 7 * i));
    case.spec.warmup_requests = 7;
    let mut records = case.run();
    records.sort_by_key(|r| (r.phase == Phase::Measured, r.index));
    let service: Vec<u64> = (0..7).chain(0..10).map(|i| 10 + 7 * i).collect();
    let got: Vec<_> = records
        .iter()
        .map(|r| (millis(r.times.dispatched), millis(r.times.ended)))
        .collect();
    assert_eq!(got, greedy(3, &service));
    let warm_until = got[..7].iter().map(|(_, ended)| ended).max();
    assert!(Some(&got[7].0) < warm_until, "{got:?}");
}

/// How many records there are of each end.
fn ends(records: &[RequestRecord]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for record in records {
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        let name = kind.map_or("success".to_owned(), |kind| kind.to_string());
        *ends.entry(name).or_insert(0) += 1;
    }
    ends
}

#[test]
fn what_is_in_flight_when_its_time_is_over_is_unfinished() {
    let mut case = Case::open_loop("10@2", |i| Duration::from_secs(if i == 3 { 60 } else { 1 }));
    case.spec.drain_timeout_s = Some(5.0);
    let records = case.run();
    insta::assert_debug_snapshot!(ends(&records), @r#"
    {
        "success": 19,
        "unfinished": 1,
    }
    "#);
    let last = records.last().unwrap();
    // the last one was sent after 1.9 s
    assert_eq!((last.index, millis(last.times.ended)), (3, 6900));
}

#[test]
fn at_the_cap_requests_wait_are_shed_or_end_the_run() {
    let run = |when_full| {
        let mut case = Case::open_loop("10@2", |_| Duration::from_millis(450));
        case.spec.open_loop.max_in_flight = NonZeroUsize::new(2);
        case.spec.open_loop.when_full = when_full;
        let records = case.run();
        let sent = records.iter().filter(|record| record.dispatched());
        let last = sent.map(|record| millis(record.times.dispatched)).max();
        (ends(&records), last)
    };
    insta::assert_debug_snapshot!([WhenFull::Wait, WhenFull::Drop, WhenFull::Stop].map(run));
}

/// A server that answers nothing for a while does not move the moments of those that come later.
#[test]
fn a_pause_of_the_server_moves_no_arrival() {
    let run = |pause: bool| {
        let case = Case::open_loop("10@4", move |i| {
            let due = Duration::from_millis(100) * u32::try_from(i).unwrap();
            let (from, until) = (Duration::from_secs(1), Duration::from_secs(3));
            let waits = pause && due >= from;
            Duration::from_millis(50)
                + if waits {
                    until.saturating_sub(due)
                } else {
                    Duration::ZERO
                }
        });
        let mut records = case.run();
        records.sort_by_key(|record| record.index);
        records
    };
    let (paused, smooth) = (run(true), run(false));
    let scheduled = |records: &[RequestRecord]| -> Vec<_> {
        records
            .iter()
            .map(|record| record.times.scheduled)
            .collect()
    };
    assert_eq!(scheduled(&paused), scheduled(&smooth));
    for (i, record) in (0u64..).zip(&paused) {
        let latency = millis(record.times.ended) - millis(record.times.scheduled);
        let want = if (10..30).contains(&i) {
            50 + 3000 - 100 * i
        } else {
            50
        };
        assert_eq!(
            (record.times.dispatched, latency),
            (record.times.scheduled, want)
        );
    }
}

/// The time may be up between the gate's start of a session and its first request.
#[test]
fn a_session_that_finds_the_time_up_ends_the_run() {
    for slots in [1, 2, 3] {
        for millis in 1..40 {
            let mut case = Case::new(slots, 60, |_| Duration::from_millis(5));
            case.spec.duration_s = Some(f64::from(millis) / 1000.0);
            case.look_takes = Duration::from_millis(1);
            for record in case.run() {
                assert!(record.succeeded(), "{record:?}");
            }
        }
    }
}

#[test]
fn the_duration_stops_dispatch_and_lets_requests_end() {
    for pacing in [Pacing::Unpaced, Pacing::Arrivals(Schedule::poisson(20.0))] {
        let mut case = Case::new(2, 60, |_| Duration::from_millis(300));
        case.spec.duration_s = Some(1.0);
        case.spec.pacing = pacing;
        let mut records = case.run();
        records.retain(RequestRecord::succeeded);
        assert!(
            records.len() >= 6 && records.len() <= 8,
            "{}",
            records.len()
        );
        for record in &records {
            assert!(millis(record.times.dispatched) < 1001, "{record:?}");
            assert_eq!(
                record.times.ended.nanos_since(record.times.dispatched),
                300_000_000
            );
        }
    }
}

#[test]
fn a_stop_lets_requests_in_flight_end() {
    let mut case = Case::new(2, 60, |_| Duration::from_millis(300));
    case.stop_after = Some(Duration::from_secs(1));
    let records = case.run();
    // sent at 0, 300, 600 and 900 ms
    assert_eq!(records.len(), 8);
    assert!(records.iter().all(RequestRecord::succeeded));
    assert_eq!(
        records.iter().map(|r| millis(r.times.ended)).max(),
        Some(1200)
    );
}

#[test]
fn a_stop_while_waiting_for_an_arrival_ends_at_once() {
    let mut case = Case::new(2, 10, |_| Duration::from_millis(1));
    case.spec.pacing = Pacing::Arrivals(Schedule::poisson(0.001));
    case.stop_after = Some(Duration::from_millis(10));
    assert_eq!(case.run().len(), 0);
}

#[test]
fn an_abort_gives_up_requests_in_flight() {
    let mut case = Case::new(3, 60, |_| Duration::from_hours(1));
    case.stop_after = Some(Duration::from_millis(100));
    case.abort_after = Some(Duration::from_millis(50));
    let records = case.run();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|r| millis(r.times.ended) == 150));
}

#[test]
fn a_session_that_panics_costs_one_request() {
    let mut case = Case::new(2, 20, |_| Duration::from_millis(10));
    case.spec.warmup_requests = 3;
    case.panics_at = Some(2);
    let records = case.run();
    assert_eq!(records.len(), 23, "the others are sent all the same");
    let failed: Vec<_> = records.iter().filter(|r| !r.succeeded()).collect();
    assert_eq!(failed.len(), 2, "one in each phase");
    for record in failed {
        let failure = record.failure.as_ref().unwrap();
        assert_eq!(failure.kind, FailureKind::Internal);
        assert!(
            failure.message.contains("the test's requester panics"),
            "{failure:?}"
        );
        assert_eq!(record.index, 2);
    }
}

#[test]
fn a_sink_that_is_gone_ends_the_run() {
    let case = Case::new(2, 60, |_| Duration::from_millis(10));
    let setup = setup(case.spec.clone(), feed());
    let control = RunControl::default();
    let (sink, records) = async_channel::bounded(1);
    drop(records);
    let prepared = Prepared::new(&setup, 1, &control, &sink);
    feed_jobs(
        setup.feed,
        &prepared.queue,
        prepared.sessions,
        &control.stop,
        &setup.clock,
    );
    drop(prepared.queue);
    paused().block_on(async {
        let clock = PausedClock::start(Duration::ZERO);
        let transport = Waiting {
            service: case.service,
            at_url: Arc::new(|_| Duration::ZERO),
            panics_at: None,
            fails_at: None,
            clock: clock.clone(),
            stats: Arc::default(),
        };
        let under_way = UnderWay::default();
        let shared = &prepared.shared;
        let lane = serve(0, &transport, &(), &clock, shared, &under_way);
        let local = LocalSet::new();
        tokio::join!(local.run_until(lane), deal(&clock, shared, None));
    });
    assert!(control.stop.is_cancelled());
}

/// Arrivals of a schedule that are due by a moment.
fn due_by(spec: &RunSpec, end: Duration) -> Vec<Timestamp> {
    let mut arrivals = Arrivals::new(spec.pacing.schedule().unwrap().clone(), spec.seed);
    std::iter::from_fn(|| arrivals.next_offset())
        .take_while(|offset| *offset < end)
        .take(usize::try_from(spec.requests.unwrap()).unwrap())
        .map(|offset| Timestamp::ZERO.after(offset))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every arrival that was due is a record, sent or not, however few slots there were and
    /// however the run ended.
    #[test]
    fn no_arrival_goes_missing(
        slots in 1usize..4,
        rate in 1.0f64..200.0,
        service_ms in 1u64..3000,
        end_ms in 50u64..3000,
        stopped in any::<bool>(),
    ) {
        let mut case = Case::new(slots, 60, move |_| Duration::from_millis(service_ms));
        case.spec.pacing = Pacing::Arrivals(Schedule::poisson(rate));
        let end = Duration::from_millis(end_ms);
        if stopped {
            case.stop_after = Some(end);
        } else {
            case.spec.duration_s = Some(end.as_secs_f64());
        }
        let spec = case.spec.clone();
        let mut got = case.run();
        got.sort_by_key(|r| r.index);
        let due = due_by(&spec, end);
        // the runtime's timer wakes on whole milliseconds
        let surely = due_by(&spec, end.saturating_sub(Duration::from_millis(2)));
        let perhaps = due_by(&spec, end + Duration::from_millis(2));
        prop_assert!(
            (surely.len()..=perhaps.len()).contains(&got.len()),
            "{} of {}", got.len(), due.len()
        );
        for (i, (record, scheduled)) in got.iter().zip(&perhaps).enumerate() {
            prop_assert_eq!(record.index, i as u64);
            prop_assert_eq!(record.times.scheduled, *scheduled);
            if let Some(failure) = &record.failure {
                prop_assert_eq!(failure.kind, FailureKind::NotSent);
                prop_assert!(record.times.ended >= *scheduled);
                prop_assert!(!stopped || millis(record.times.ended) >= end_ms);
            }
        }
    }
}

/// Answers at once.
struct Instantly {
    stats: Arc<[Arc<ReadStats>]>,
    /// The receiving thread that panics.
    panics: Option<usize>,
}

struct InstantRequester(RunClock);

impl Requester for InstantRequester {
    async fn send(
        &mut self,
        _: &mut PreparedRequest,
        dispatch: Dispatch,
        _: impl Future<Output = Failure>,
    ) -> Exchange {
        tokio::task::yield_now().await;
        Exchange {
            record: without_answer(dispatch, self.0.now()),
            bodies: Bodies::default(),
        }
    }
}

impl Transport for Instantly {
    type Requester = InstantRequester;
    type Thread = ();

    fn stats(&self) -> &[Arc<ReadStats>] {
        &self.stats
    }

    fn thread(&self, thread: usize) {
        assert_ne!(self.panics, Some(thread), "the test's thread panics");
    }

    fn requester(&self, (): &()) -> InstantRequester {
        InstantRequester(RunClock::start())
    }
}

/// Starts so many threads and no more.
struct Refusing(std::sync::atomic::AtomicUsize);

impl Threads for Refusing {
    fn start<'scope>(
        &self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        name: &str,
        work: Box<dyn FnOnce() + Send + 'scope>,
    ) -> std::io::Result<()> {
        let left = |n: usize| n.checked_sub(1);
        if self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_err()
        {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        SystemThreads.start(scope, name, work)
    }
}

/// A run of 3 receiving threads in which something of this program fails: how it ends, and how
/// many records it leaves.
fn failing(
    paced: bool,
    threads: usize,
    panics: Option<usize>,
    bodies: Option<Box<dyn BuildBodies>>,
    records_taken: usize,
) -> (String, usize) {
    let mut spec = Case::new(8, 200, |_| Duration::ZERO).spec;
    spec.warmup_requests = 20;
    if paced {
        spec.pacing = Pacing::Arrivals(Schedule::poisson(1e5));
    }
    let mut feed = feed();
    feed.bodies = bodies.unwrap_or(feed.bodies);
    let transport = Instantly {
        stats: (0..3).map(|_| Arc::default()).collect(),
        panics,
    };
    let (sink, records) = async_channel::bounded(4);
    let taking = std::thread::spawn(move || {
        let mut taken = 0;
        while taken < records_taken
            && let Ok(message) = records.recv_blocking()
        {
            // what was due and never sent is no matter here
            let sent = |exchange: &Exchange| exchange.record.dispatched();
            taken += usize::from(matches!(message, RunEvent::Exchange(e) if sent(&e)));
        }
        taken
    });
    let outcome = run_on(
        &Refusing(threads.into()),
        setup(spec, feed),
        &transport,
        &RunControl::default(),
        &sink,
    );
    drop(sink);
    let end = match outcome.end {
        RunEnd::Fault(fault) => fault.to_string(),
        end => format!("{end:?}"),
    };
    (end, taking.join().unwrap())
}

#[test]
fn a_thread_that_cannot_start_ends_the_run() {
    for paced in [false, true] {
        // the one that deals out starts, three that receive, the one that builds bodies
        let wanted = 5;
        assert_eq!(
            failing(paced, wanted, None, None, 999),
            ("Complete".to_owned(), 220)
        );
        for started in 0..wanted {
            let (end, _) = failing(paced, started, None, None, 999);
            assert!(end.starts_with("cannot start "), "{started}: {end}");
        }
    }
}

#[test]
fn a_receiving_thread_that_panics_ends_the_run() {
    for thread in 0..3 {
        let (end, _) = failing(false, 9, Some(thread), None, 999);
        assert!(end.starts_with("a receiving thread panicked: "), "{end}");
        assert!(end.contains("the test's thread panics"), "{end}");
    }
}

/// Panics at an index of a phase.
#[derive(Debug)]
struct Panics(u64);

impl BuildBodies for Panics {
    fn build(&mut self, items: Vec<(u64, Item)>) -> Result<Vec<PreparedRequest>, BodyError> {
        let first = items[0].0;
        assert!(first < self.0, "the test's builder panics");
        Ok(vec![PreparedRequest {
            index: first,
            stream: true,
            output_asked: true,
            ..PreparedRequest::default()
        }])
    }
}

#[test]
fn a_feed_that_panics_ends_the_run_and_keeps_what_came_before() {
    // before the first request, in the warm-up, and in the measurement
    for (at, sent) in [(0, 0), (10, 10), (30, 50)] {
        for paced in [false, true] {
            let (end, records) = failing(paced, 9, None, Some(Box::new(Panics(at))), 999);
            assert!(
                end.starts_with("the thread that builds bodies panicked: the test's builder"),
                "{end}"
            );
            assert_eq!(records, sent, "what was prepared before is sent");
        }
    }
}

#[test]
fn a_sink_that_goes_away_ends_the_run() {
    for taken in [0, 5, 100] {
        let (end, records) = failing(false, 9, None, None, taken);
        assert_eq!((end.as_str(), records), ("SinkGone", taken));
    }
}

/// Builds in batches, notes their sizes, and fails at an index.
#[derive(Debug)]
struct Batches {
    sizes: std::sync::mpsc::Sender<usize>,
    fails_at: u64,
}

impl BuildBodies for Batches {
    fn build(&mut self, items: Vec<(u64, Item)>) -> Result<Vec<PreparedRequest>, BodyError> {
        let first = items[0].0;
        self.sizes.send(items.len()).unwrap();
        if first >= self.fails_at {
            return Err(BodyError::Builder("no more".into()));
        }
        let request = |index| PreparedRequest {
            index,
            stream: true,
            output_asked: true,
            ..PreparedRequest::default()
        };
        Ok((first..)
            .zip(items)
            .map(|(index, _)| request(index))
            .collect())
    }

    fn batch(&self) -> usize {
        8
    }
}

#[test]
fn batches_grow_and_a_failure_keeps_what_was_built() {
    let fed = |fails_at| {
        let (sizes, seen) = std::sync::mpsc::channel();
        let feed = Feed {
            bodies: Box::new(Batches { sizes, fails_at }),
            ..feed()
        };
        let (ready, requests) = async_channel::bounded(64);
        let queue = Queue {
            ready,
            primed: CancellationToken::new(),
            budget: Budget::new(AHEAD_BYTES),
            events: async_channel::bounded(8).0,
        };
        let sessions = Sessions {
            deal: Deal {
                warmup: 5,
                ..Deal::default()
            },
            measured: 20,
        };
        let stop = CancellationToken::new();
        let error = feed_jobs(feed, &queue, sessions, &stop, &RunClock::start());
        let mut made = [0; 2];
        while let Ok(job) = requests.try_recv() {
            made[usize::from(job.phase == Phase::Measured)] += 1;
        }
        (
            seen.try_iter().collect::<Vec<_>>(),
            made,
            error.map(|e| e.to_string()),
        )
    };
    // 5 of the warm-up, then 20
    assert_eq!(fed(100), (vec![1, 2, 2, 8, 8, 4], [5, 20], None));
    assert_eq!(
        fed(8),
        (vec![1, 2, 2, 8, 8], [5, 8], Some("no more".to_owned()))
    );
}
