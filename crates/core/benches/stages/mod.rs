//! The stages of an event on its way from bytes to record, each as work on the same [`EVENTS`]
//! events, to be timed or counted.

use std::hint::black_box;

use evalscope_core::http1::{Head, Receiver, ResponseReader};
use evalscope_core::ndjson::LineSplitter;
use evalscope_core::protocol::{Anthropic, Api, Declared, Embedding, OpenAi, Reply, Responses};
use evalscope_core::sse::Splitter;
use evalscope_model::metrics::{Accumulator, Metric};
use evalscope_model::record::{
    ArrivalClock, ConnectCost, CountedTokens, Ending, EventLog, EventLogFormat, EventStamp, Phase,
    PluginTokens, RequestRecord, RequestTimes, Texts, Usage,
};
use evalscope_model::time::Timestamp;

/// Number of events that a stage processes.
pub(crate) const EVENTS: u64 = 128;

/// Names of the stages, in the order in which an event passes through them.
pub(crate) const STAGES: [&str; 13] = [
    "chunks of http",
    "framing, whole reads",
    "framing, split reads",
    "reading json",
    "reading json of responses",
    "reading json of messages",
    "framing json lines",
    "reading json of lines",
    "counting vectors of 4096 numbers",
    "keeping texts",
    "keeping a reply for the next turn",
    "event log to bytes and back",
    "metrics of a record",
];

/// A stage's work, with its input prepared.
pub(crate) fn stage(name: &str) -> Box<dyn FnMut()> {
    match name {
        "chunks of http" => {
            let bytes = response();
            Box::new(move || {
                let mut count = Count(0);
                let _ = black_box(ResponseReader::default().push(&bytes, &mut count));
                black_box(count.0);
            })
        }
        "framing, whole reads" => {
            let bytes = stream();
            Box::new(move || split(&bytes, bytes.len()))
        }
        // a read ends in the middle of every event, so every byte is copied
        "framing, split reads" => {
            let bytes = stream();
            let size = bytes.len() / usize::try_from(EVENTS).expect("128") - 7;
            Box::new(move || split(&bytes, size))
        }
        "reading json" => reading(OpenAi, events()),
        "reading json of responses" => reading(
            Responses,
            numbered(|i| {
                format!(
                    r#"{{"type":"response.output_text.delta","sequence_number":{i},"item_id":"msg_67c9fdcf37fc8190","output_index":0,"content_index":0,"delta":" token{i}","logprobs":[]}}"#
                )
            }),
        ),
        "reading json of messages" => reading(
            Anthropic,
            numbered(|i| {
                format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" token{i}"}}}}"#
                )
            }),
        ),
        "framing json lines" => {
            let lines = lines().into_iter().map(|line| line + "\n");
            let bytes = lines.collect::<String>().into_bytes();
            Box::new(move || split_lines(&bytes))
        }
        // by an API that a file declares
        "reading json of lines" => {
            let file = include_str!("../../../../docs/examples/ollama.toml");
            let declaration = toml::from_str(file).expect("an example");
            reading(Declared::new(declaration), lines())
        }
        // a response for each event: 30 µs each are allowed
        "counting vectors of 4096 numbers" => {
            let body = vector();
            Box::new(move || {
                let mut reader = Embedding::default().reader();
                for _ in 0..EVENTS {
                    black_box(reader.whole(body.as_bytes()));
                    black_box(reader.take());
                }
            })
        }
        "keeping texts" => {
            let events = events();
            Box::new(move || {
                let mut texts = Texts::default();
                for event in &events {
                    texts.push(event.as_bytes());
                }
                black_box(texts);
            })
        }
        "keeping a reply for the next turn" => {
            let events = events();
            Box::new(move || {
                let mut reply = Reply::default();
                for event in &events {
                    OpenAi.read_reply(event.as_bytes(), &mut reply);
                }
                black_box(reply);
            })
        }
        "event log to bytes and back" => {
            let record = record();
            Box::new(move || {
                black_box(EventLog::from_bytes(
                    &record.events.to_bytes(),
                    EventLogFormat::V2,
                ));
            })
        }
        "metrics of a record" => {
            let record = record();
            Box::new(move || {
                let mut accumulator = Accumulator::new(&Metric::ALL);
                accumulator.push(&record);
                black_box(accumulator);
            })
        }
        other => panic!("no stage {other:?}"),
    }
}

fn reading(api: impl Api + 'static, events: Vec<String>) -> Box<dyn FnMut()> {
    Box::new(move || {
        let mut reader = api.reader();
        for event in &events {
            black_box(reader.event(b"", event.as_bytes()));
        }
    })
}

struct Count(usize);

impl Receiver for Count {
    fn head(&mut self, _: Head) {}
    fn body(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

fn split(bytes: &[u8], size: usize) {
    let mut n = 0;
    let mut splitter = Splitter::default();
    for part in bytes.chunks(size) {
        let pushed = splitter.push(part, |event| n += event.data.len());
        pushed.expect("small events");
    }
    black_box(n);
}

fn split_lines(bytes: &[u8]) {
    let mut n = 0;
    let mut splitter = LineSplitter::default();
    let pushed = splitter.push(bytes, |event| n += event.data.len());
    pushed.expect("small events");
    black_box(n);
}

/// A response with a vector.
fn vector() -> String {
    let numbers: Vec<String> = (0..4096).map(|n| format!("-0.0{n:07}")).collect();
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{}]}}],"model":"m","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#,
        numbers.join(",")
    )
}

fn events() -> Vec<String> {
    numbered(event)
}

fn numbered(event: impl Fn(u64) -> String) -> Vec<String> {
    (0..EVENTS).map(event).collect()
}

fn event(i: u64) -> String {
    format!(
        r#"{{"id":"chatcmpl-5f1c","object":"chat.completion.chunk","created":1795310344,"model":"qwen2.5","choices":[{{"index":0,"delta":{{"content":" token{i}"}},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

/// Ollama's.
fn lines() -> Vec<String> {
    numbered(|i| {
        format!(
            r#"{{"model":"qwen3:0.6b","created_at":"2026-11-26T10:00:00.000000Z","message":{{"role":"assistant","content":" token{i}"}},"done":false}}"#
        )
    })
}

fn stream() -> Vec<u8> {
    let lines = events()
        .into_iter()
        .map(|event| format!("data: {event}\n\n"));
    lines.collect::<String>().into_bytes()
}

/// One chunk per event, as servers write them.
fn response() -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for i in 0..EVENTS {
        let text = format!("data: {}\n\n", event(i));
        bytes.extend_from_slice(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn record() -> RequestRecord {
    let mut events = EventLog::default();
    for i in 0..EVENTS {
        events.push(EventStamp {
            at: Timestamp::from_nanos(50_000_000 + i * 10_000_000),
            token: true,
            answer: true,
            finish: false,
            coalesced: false,
            choice: 0,
            continued: false,
        });
    }
    RequestRecord {
        index: 0,
        phase: Phase::Measured,
        failure: None,
        streamed: true,
        times: RequestTimes {
            write_begun: Some(Timestamp::ZERO),
            last_data: Some(Timestamp::from_nanos(1_320_000_000)),
            ..RequestTimes::default()
        },
        connect: ConnectCost::default(),
        clock: ArrivalClock::Kernel,
        events,
        http_status: Some(200),
        usage: Usage::default(),
        plugin: PluginTokens::default(),
        asked_prompt_tokens: None,
        asked_output_tokens: None,
        inputs: None,
        turn: None,
        trace: None,
        counted: CountedTokens::default(),
        finish_reason: None,
        response_id: None,
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        asked_model: None,
        url: None,
        peer: None,
    }
}
