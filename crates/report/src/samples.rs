//! Records, databases and reports for tests.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evalscope_model::conversation::{Conversations, EndedBy, TurnPlace};
use evalscope_model::events::{LoadSnapshot, NamedModel, RunEvent, Snapshot};
use evalscope_model::metrics::{ClientSnapshot, DenseHistogram, HANDLING_BITS};
use evalscope_model::mix::{ModelId, UrlId};
use evalscope_model::plan::{OpenLoop, Pacing, Recording, RunSpec};
use evalscope_model::point::PointId;
use evalscope_model::profile::{Gaps, Profile, Schedule};
use evalscope_model::prompt::TraceEntry;
use evalscope_model::record::{
    ArrivalClock, Bodies, ConnectCost, ConversationRecord, CountedTokens, Ending, EventLog,
    EventStamp, Exchange, Failure, FailureKind, Phase, PluginTokens, RequestRecord, RequestTimes,
    Texts, Usage,
};
use evalscope_model::slo::SloFrom;
use evalscope_model::time::{RunClock, Timestamp};

use crate::model::{
    FORMAT_VERSION, Host, Lang, Objective, RecordBodies, RunMeta, RunState, ShardMeta, Tool,
};
use crate::report::RunReport;
use crate::sqlite::{Database, FILE_NAME, set_end};

/// When the runs of tests ended.
const ENDED_AT: &str = "2026-01-31T12:59:00.000+08:00";

pub(crate) fn meta(model: &str) -> RunMeta {
    RunMeta {
        format_version: FORMAT_VERSION,
        tool: Tool {
            name: "evalscope".to_owned(),
            version: "0.0.0".to_owned(),
        },
        name: "parallel_5_number_30".to_owned(),
        model: model.to_owned(),
        api: "openai".to_owned(),
        url: "http://127.0.0.1:8000/v1/chat/completions".to_owned(),
        urls: Vec::new(),
        dataset: "openqa".to_owned(),
        load: RunSpec {
            point: PointId::first("parallel_5_number_30"),
            concurrency: NonZeroUsize::new(5),
            open_loop: OpenLoop::default(),
            requests: Some(30),
            conversations: None,
            connections: evalscope_model::conversation::KeepConnection::Keep,
            pacing: Pacing::Unpaced,
            warmup_requests: 5,
            duration_s: None,
            drain_timeout_s: None,
            seed: 42,
            dataset_offset: 0,
            shard: evalscope_model::shard::Shard::WHOLE,
        },
        trace: None,
        first_arrival_ns: None,
        objective: None,
        settings: serde_json::json!({"model": model, "api_key": "***"}),
        host: Some(Host {
            name: Some("client".to_owned()),
            os: "Linux 6.8.0".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 8,
        }),
        command_line: Some("evalscope perf --model m".to_owned()),
        metadata: [("gpu".to_owned(), "H100".to_owned())].into(),
        run_id: None,
        shards: Vec::new(),
        shard_clients: Vec::new(),
        missing_shards: Vec::new(),
        folder: Some("outputs/20260131_120000/m/parallel_5_number_30".to_owned()),
        started_at: "2026-01-31T12:00:00.123+08:00".to_owned(),
        clock: RunClock {
            wall_start_ns: 1_769_832_000_123_456_789,
            monotonic_start_ns: 77,
        },
        record_bodies: RecordBodies::All,
        stream: true,
        lang: Lang::En,
    }
}

pub(crate) fn sweep_meta(parallel: usize, requests: u64) -> RunMeta {
    let mut meta = meta("m");
    meta.name = format!("parallel_{parallel}_number_{requests}");
    meta.load.point.label.clone_from(&meta.name);
    meta.load.concurrency = NonZeroUsize::new(parallel);
    meta.load.requests = Some(requests);
    meta.load.warmup_requests = parallel as u64;
    meta.started_at = format!("2026-01-31T12:{parallel:02}:00.000+08:00");
    meta
}

fn us(micros: u64) -> Timestamp {
    Timestamp::from_nanos(micros * 1000)
}

/// A streamed success: 10 events after a role event, a little longer with each index.
pub(crate) fn success(index: u64) -> Exchange {
    let sent = 1_000 + index * 50_000;
    let first = sent + 20_000 + index * 100;
    let mut events = EventLog::default();
    let mut responses = Texts::default();
    let mut push = |at: u64, token: bool, answer: bool| {
        events.push(EventStamp {
            at: us(at),
            token,
            answer,
            finish: false,
            coalesced: false,
            choice: 0,
            continued: false,
        });
    };
    push(first - 5_000, false, false);
    for i in 0..10 {
        push(first + i * 3_000, true, i > 1);
        responses.push(
            format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"片{i} "}}}}]}}"#).as_bytes(),
        );
    }
    let last = first + 27_000;
    Exchange {
        record: RequestRecord {
            index,
            phase: Phase::Measured,
            failure: None,
            streamed: true,
            times: RequestTimes {
                scheduled: us(sent - 300),
                slot_free: us(sent - 300),
                dispatched: us(sent - 250),
                connected: Some(us(sent - 50)),
                write_begun: Some(us(sent)),
                write_done: Some(us(sent + 15)),
                first_byte: Some(us(first - 6_000)),
                headers: Some(us(first - 6_000)),
                last_data: Some(us(last)),
                ended: us(last + 100),
            },
            connect: ConnectCost {
                reused: index >= 5,
                dns_ns: 0,
                tcp_ns: if index < 5 { 150_000 } else { 0 },
                tls_ns: 0,
            },
            clock: ArrivalClock::Kernel,
            events,
            http_status: Some(200),
            usage: Usage {
                prompt_tokens: Some(40 + index % 7),
                completion_tokens: Some(20),
                cached_tokens: Some(16),
                reasoning_tokens: None,
                reasoning_from_total: false,
            },
            plugin: PluginTokens::default(),
            asked_prompt_tokens: None,
asked_output_tokens: None,
inputs: None,
            counted: CountedTokens::default(),
            finish_reason: Some(if index.is_multiple_of(4) { "length" } else { "stop" }.to_owned()),
            response_id: Some(format!("chatcmpl-{index}")),
            model: None,
            ending: Ending::Marked,
            skipped_events: 0,
            compressed: false,
            asked_model: None,
            url: None,
            peer: None,
turn: None,
trace: None,
},
        bodies: Bodies {
            request: format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"问题 {index}"}}],"stream":true,"temperature":0.5,"n":null}}"#
            )
            .into_bytes(),
            responses,
            final_event: br#"{"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":20}}"#.to_vec(),
            ..Bodies::default()
        },
    }
}

pub(crate) fn failure(index: u64, kind: FailureKind, message: &str, excerpt: &str) -> Exchange {
    let mut exchange = success(index);
    let record = &mut exchange.record;
    record.failure = Some(Failure::new(kind, message));
    record.events = EventLog::default();
    record.usage = Usage::default();
    record.finish_reason = None;
    record.http_status = None;
    record.times.last_data = None;
    exchange.bodies.responses.clear();
    exchange.bodies.final_event.clear();
    exchange.bodies.error_excerpt = excerpt.as_bytes().to_vec();
    exchange
}

pub(crate) fn successes(n: u64) -> Vec<Exchange> {
    (0..n).map(success).collect()
}

/// Mostly successes, some failures of two kinds, in no order.
pub(crate) fn mixed(n: u64) -> Vec<Exchange> {
    let mut exchanges: Vec<_> = (0..n)
        .map(|i| match i % 15 {
            7 => failure(
                i,
                FailureKind::Status(503),
                "the server answered 503 Service Unavailable",
                "{\"error\": {\"message\": \"overloaded,\ntry again \u{1b}[31mlater\"}}",
            ),
            14 => failure(i, FailureKind::Reset, "connection reset by peer", ""),
            _ => success(i),
        })
        .collect();
    let half = exchanges.len() / 2;
    exchanges.rotate_left(half);
    exchanges
}

pub(crate) fn all_failed(n: u64) -> Vec<Exchange> {
    (0..n)
        .map(|i| {
            failure(
                i,
                FailureKind::Connect,
                "connection refused (127.0.0.1:8000)",
                "",
            )
        })
        .collect()
}

/// Whole responses from a server that reports no usage.
pub(crate) fn whole_answers(n: u64) -> Vec<Exchange> {
    (0..n)
        .map(|i| {
            let mut exchange = success(i);
            exchange.record.streamed = false;
            exchange.record.events = EventLog::default();
            exchange.record.usage = Usage::default();
            exchange.record.clock = ArrivalClock::User;
            exchange
        })
        .collect()
}

pub(crate) fn client(delay_ns: u64) -> ClientSnapshot {
    let mut handling = DenseHistogram::new(HANDLING_BITS);
    for i in 0..100 {
        handling.record(delay_ns + i * 100);
    }
    ClientSnapshot {
        receive_cpu_s: vec![0.1, 0.08],
        handling: handling.snapshot(),
        kernel_reads: 100,
        user_reads: 0,
        clock_steps: 0,
        cpu_s: 0.25,
        elapsed_s: 2.5,
        max_rss_bytes: 20_000_000,
        client_threads: 1,
        feed_wait_s: 0.0,
    }
}

/// The models that requests of tests ask for.
fn models(several: bool) -> impl Iterator<Item = NamedModel> {
    let names = ["base", "adapter"]
        .into_iter()
        .take(if several { 2 } else { 1 });
    (0..).zip(names).map(|(id, name)| NamedModel {
        id: ModelId(id),
        name: name.to_owned(),
    })
}

/// Of a run with two models and two URLs.
pub(crate) fn mixed_traffic_report(n: u64) -> RunReport {
    let mut meta = meta("base,adapter");
    meta.urls = ["a", "b"]
        .map(|host| format!("http://{host}:8000/v1/chat/completions"))
        .into();
    meta.url = meta.urls.join(",");
    let mut exchanges = mixed(n);
    for Exchange { record, .. } in &mut exchanges {
        record.asked_model = Some(ModelId(u16::from(record.index % 4 == 3)));
        record.url = Some(UrlId(u16::from(record.index % 2 == 1)));
    }
    report(&meta, exchanges)
}

fn stored(
    folder: &Path,
    meta: &RunMeta,
    exchanges: Vec<Exchange>,
    ends: Vec<ConversationRecord>,
    client: ClientSnapshot,
) -> PathBuf {
    let path = folder.join(FILE_NAME);
    let database = Database::create(&path, meta).unwrap();
    let snapshot = Snapshot {
        client,
        load: LoadSnapshot::default(),
    };
    let events = exchanges.into_iter().map(Box::new);
    let events = models(meta.urls.len() > 1)
        .map(RunEvent::Model)
        .chain(events.map(RunEvent::Exchange));
    let ends = ends.into_iter().map(Box::new).map(RunEvent::Conversation);
    let last = RunEvent::Snapshot(Box::new(snapshot));
    database.run(events.chain(ends).chain([last])).unwrap();
    set_end(&path, RunState::Finished, ENDED_AT, None).unwrap();
    path
}

/// The database of a finished run.
pub(crate) fn finished(folder: &Path, meta: &RunMeta, exchanges: Vec<Exchange>) -> PathBuf {
    stored(folder, meta, exchanges, Vec::new(), client(20_000))
}

/// A report with a path that is the same everywhere.
pub(crate) fn report(meta: &RunMeta, exchanges: Vec<Exchange>) -> RunReport {
    let folder = tempfile::tempdir().unwrap();
    let mut report = RunReport::load(&finished(folder.path(), meta, exchanges)).unwrap();
    report.database = Path::new(&meta.name).join(FILE_NAME);
    report
}

/// A run whose client came late to its bytes.
pub(crate) fn limited(exchanges: Vec<Exchange>) -> RunReport {
    let folder = tempfile::tempdir().unwrap();
    RunReport::load(&stored(
        folder.path(),
        &meta("m"),
        exchanges,
        Vec::new(),
        client(25_000_000),
    ))
    .unwrap()
}

/// A run of an open loop with 20 requests a second and an objective.
pub(crate) fn open_loop_meta() -> RunMeta {
    let mut meta = meta("m");
    meta.name = "rate_20.0_number_600".to_owned();
    meta.load.point.label.clone_from(&meta.name);
    meta.load.concurrency = None;
    meta.load.requests = Some(600);
    meta.load.drain_timeout_s = Some(30.0);
    meta.load.pacing = Pacing::Arrivals(Schedule {
        profile: Profile::Constant { rate_per_s: 20.0 },
        gaps: Gaps::Constant,
    });
    meta.objective = Some(Objective {
        slo: "ttft<=70ms latency<=1s".parse().unwrap(),
        from: SloFrom::Schedule,
    });
    meta
}

/// As many requests, each of which takes this much longer than the one before.
pub(crate) fn slower_and_slower(n: u64, by: Duration) -> Vec<Exchange> {
    let mut exchanges = successes(n);
    for (nth, exchange) in exchanges.iter_mut().enumerate() {
        let times = &mut exchange.record.times;
        let later = by * u32::try_from(nth).unwrap();
        times.last_data = times.last_data.map(|at| at.after(later));
        times.ended = times.ended.after(later);
    }
    exchanges
}

/// A run of conversations, whose server reports cached tokens.
pub(crate) fn conversations_meta() -> RunMeta {
    let mut meta = meta("m");
    meta.dataset = "random_multi_turn".to_owned();
    meta.load.conversations = Some(Conversations::default());
    meta.load.requests = Some(40);
    meta
}

/// Conversations of one to five turns, one second between two of them; every tenth fails at its last
/// turn. Five are under way at a time. The server caches all but the last 16 tokens of what it has
/// seen.
pub(crate) fn conversations(n: u64) -> (Vec<Exchange>, Vec<ConversationRecord>) {
    let (mut exchanges, mut ends) = (Vec::new(), Vec::new());
    let mut index = 0;
    for conversation in 0..n {
        let turns = u32::try_from(1 + conversation % 5).unwrap();
        let begun = us(conversation / 5 * 6_000_000 + conversation % 5 * 1000);
        let fails = conversation % 10 == 9;
        let mut prompt = 60;
        let mut last_end = begun;
        for turn in 0..turns {
            let mut exchange = success(conversation);
            let record = &mut exchange.record;
            let delay = Duration::from_millis(if turn == 0 { 0 } else { 1000 });
            record.rebase(last_end.after(delay).since(record.times.scheduled));
            record.index = index + u64::from(turn);
            record.usage.prompt_tokens = Some(prompt);
            record.usage.cached_tokens = Some(if turn == 0 { 0 } else { prompt - 46 });
            record.turn = Some(TurnPlace {
                conversation,
                turn,
                delay,
                asked_increment: Some(if turn == 0 { 60 } else { 30 }),
            });
            last_end = record.times.ended;
            // the response, and the new turn
            prompt += 20 + 30;
            if fails && turn + 1 == turns {
                exchange = failing(exchange, FailureKind::Reset);
            }
            exchanges.push(exchange);
        }
        index += 5;
        ends.push(ConversationRecord {
            index: conversation,
            phase: Phase::Measured,
            session: None,
            turns_planned: turns,
            turns_sent: turns,
            ended_by: if fails {
                EndedBy::Failed
            } else {
                EndedBy::Completed
            },
            scheduled: begun,
            ended: last_end,
            empty_replies: 0,
            tools_unmatched: 0,
        });
    }
    (exchanges, ends)
}

/// The report of a run of conversations.
pub(crate) fn conversations_report(n: u64) -> RunReport {
    let folder = tempfile::tempdir().unwrap();
    let meta = conversations_meta();
    let (exchanges, ends) = conversations(n);
    let path = stored(folder.path(), &meta, exchanges, ends, client(20_000));
    let mut report = RunReport::load(&path).unwrap();
    report.database = Path::new(&meta.name).join(FILE_NAME);
    report
}

/// The report of the replay of a trace, with prompts that share half of their tokens; each request is
/// sent this late.
pub(crate) fn trace_report(n: u64, late: Duration) -> RunReport {
    let mut meta = meta("m");
    meta.name = "rate_20.0_number_200".to_owned();
    meta.dataset = "mooncake_trace".to_owned();
    meta.load.concurrency = None;
    meta.load.requests = Some(n);
    meta.load.pacing = Pacing::Recorded(Recording::default());
    let mut exchanges = successes(n);
    for (line, exchange) in (1..).zip(&mut exchanges) {
        let record = &mut exchange.record;
        record.rebase(late);
        record.times.scheduled = us(record.index * 50_000);
        record.times.slot_free = record.times.scheduled;
        record.asked_prompt_tokens = record.usage.prompt_tokens;
        record.asked_output_tokens = Some(20);
        record.trace = Some(TraceEntry {
            line,
            possible_cached_tokens: Some(20),
        });
    }
    report(&meta, exchanges)
}

/// It ends in this way.
pub(crate) fn failing(mut exchange: Exchange, kind: FailureKind) -> Exchange {
    exchange.record.failure = Some(Failure::new(kind, "no"));
    exchange
}

/// Three runs, of which the last fails in part and takes longer.
pub(crate) fn sweep() -> Vec<RunReport> {
    let slow = |n: u64| {
        let mut exchanges = mixed(n);
        for exchange in &mut exchanges {
            if let Some(last) = &mut exchange.record.times.last_data {
                *last = last.after(Duration::from_millis(200));
            }
        }
        exchanges
    };
    vec![
        report(&sweep_meta(1, 20), successes(20)),
        report(&sweep_meta(10, 120), successes(120)),
        report(&sweep_meta(50, 45), slow(45)),
    ]
}

/// A file of the documentation has this text. With `UPDATE_DOCS` set, it is written.
pub(crate) fn assert_documented(path: &str, text: &str) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a developer's wish to rewrite a file, no setting of the program"
    )]
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let documented = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        documented == text,
        "run the tests with UPDATE_DOCS=1 to rewrite {path}"
    );
}

/// A shard nothing can be said against.
pub(crate) fn shard(index: u32) -> ShardMeta {
    ShardMeta {
        index,
        host: Some(format!("host{index}")),
        offset_ns: 0,
        offset_error_ns: 0,
        started_late_ns: Some(1_000_000),
        idle_ns: Some(0),
        requests: 250,
        state: RunState::Finished,
    }
}
