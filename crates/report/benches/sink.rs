//! What storing costs: the sink takes 2000 requests of 128 events, about 230
//! bytes of JSON each. Divide by 256,000 for the time of an event.

use std::fmt::Write as _;

use divan::Bencher;
use divan::counter::ItemsCount;
use evalscope_model::events::RunEvent;
use evalscope_model::plan::{OpenLoop, Pacing, RunSpec};
use evalscope_model::point::PointId;
use evalscope_model::record::{
    ArrivalClock, Bodies, ConnectCost, CountedTokens, Ending, EventLog, EventStamp, Exchange,
    Phase, PluginTokens, RequestRecord, RequestTimes, Texts, Usage,
};
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_report::model::FORMAT_VERSION;
use evalscope_report::{Database, RecordBodies, RunMeta, Tool};

const REQUESTS: u64 = 2000;
const EVENTS: u64 = 128;

fn main() {
    divan::main();
}

fn exchange(index: u64) -> Exchange {
    let at = |micros: u64| Timestamp::from_nanos((index * 3_000 + micros) * 1_000);
    let mut events = EventLog::default();
    let mut responses = Texts::default();
    for i in 0..EVENTS {
        events.push(EventStamp {
            at: at(10_000 * (i + 1)),
            token: true,
            answer: true,
            finish: false,
            coalesced: false,
            choice: 0,
            continued: false,
        });
        let text = format!(
            "{{\"id\":\"chatcmpl-{index:032}\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"Qwen2.5-7B-Instruct\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" {i:06}\"}},\
             \"logprobs\":null,\"finish_reason\":null}}]}}"
        );
        responses.push(text.as_bytes());
    }
    let mut prompt = String::new();
    for i in 0..100 {
        let _infallible = write!(prompt, "word {i} ");
    }
    Exchange {
        record: RequestRecord {
            index,
            phase: Phase::Measured,
            failure: None,
            streamed: true,
            times: RequestTimes {
                connected: Some(at(2)),
                write_begun: Some(at(3)),
                write_done: Some(at(4)),
                first_byte: Some(at(10_000)),
                headers: Some(at(10_000)),
                last_data: Some(at(10_000 * EVENTS)),
                ended: at(10_000 * EVENTS + 1),
                ..RequestTimes::default()
            },
            connect: ConnectCost::default(),
            clock: ArrivalClock::Kernel,
            events,
            http_status: Some(200),
            usage: Usage {
                prompt_tokens: Some(100),
                completion_tokens: Some(EVENTS),
                ..Usage::default()
            },
            plugin: PluginTokens::default(),
            asked_prompt_tokens: None,
asked_output_tokens: None,
inputs: None,
            counted: CountedTokens::default(),
            finish_reason: Some("length".to_owned()),
            response_id: Some(format!("chatcmpl-{index:032}")),
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
                "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}],\"stream\":true}}"
            )
            .into_bytes(),
            responses,
            ..Bodies::default()
        },
    }
}

#[divan::bench(args = [RecordBodies::All, RecordBodies::None], sample_count = 10)]
fn sink(bencher: Bencher<'_, '_>, record_bodies: RecordBodies) {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let path = folder.path().join("benchmark_data.db");
    let meta = RunMeta {
        format_version: FORMAT_VERSION,
        tool: Tool::this(),
        name: "bench".to_owned(),
        model: "m".to_owned(),
        api: "openai".to_owned(),
        url: "http://127.0.0.1/".to_owned(),
        urls: Vec::new(),
        dataset: "openqa".to_owned(),
        load: RunSpec {
            point: PointId::first("bench"),
            concurrency: std::num::NonZeroUsize::new(1),
            open_loop: OpenLoop::default(),
            requests: Some(REQUESTS),
            conversations: None,
            connections: evalscope_model::conversation::KeepConnection::Keep,
            pacing: Pacing::Unpaced,
            warmup_requests: 0,
            duration_s: None,
            drain_timeout_s: None,
            seed: 0,
            dataset_offset: 0,
            shard: evalscope_model::shard::Shard::WHOLE,
        },
        trace: None,
        first_arrival_ns: None,
        objective: None,
        settings: serde_json::Value::Null,
        host: None,
        command_line: None,
        metadata: [].into(),
        run_id: None,
        shards: Vec::new(),
        shard_clients: Vec::new(),
        missing_shards: Vec::new(),
        folder: None,
        started_at: "2026-01-31T12:00:00+00:00".to_owned(),
        clock: RunClock::start(),
        record_bodies,
        stream: true,
        lang: evalscope_report::Lang::En,
    };
    bencher
        .counter(ItemsCount::new(REQUESTS * EVENTS))
        .with_inputs(|| {
            let events: Vec<RunEvent> = (0..REQUESTS)
                .map(|index| RunEvent::Exchange(Box::new(exchange(index))))
                .collect();
            let _absent_at_first = std::fs::remove_file(&path);
            let database = Database::create(&path, &meta).expect("the folder is writable");
            (database, events)
        })
        .bench_values(|(database, events)| database.run(events));
}
