//! What becomes of answers, byte by byte, without a socket.

use super::*;
use crate::protocol::{Api, Dashscope, OpenAi};
use evalscope_model::record::Phase;
use evalscope_model::record::{TokenSource, Usage};

/// An answer, made of what came when.
struct Received {
    collector: Collector,
    dispatch: Dispatch,
    now: Timestamp,
    reads: u64,
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn head(status: u16, content_type: &str) -> Head {
    Head {
        status,
        content_type: content_type.to_owned(),
        ..Head::default()
    }
}

impl Received {
    fn of(api: &dyn Api, stream: bool, head: Head) -> Self {
        let mut answer = Self {
            collector: Collector::new(api.reader(), RecordBodies::All, stream),
            dispatch: Dispatch {
                index: 0,
                phase: Phase::Measured,
                scheduled: ms(0),
                slot_free: ms(0),
                dispatched: ms(0),
                stream,
                output_asked: true,
                asked_tokens: None,
                asked_output_tokens: None,
                turn: None,
                trace: None,
                model: None,
                url: None,
            },
            now: ms(10),
            reads: 0,
        };
        answer.collector.head(head, arrival(answer.now));
        answer
    }

    /// A stream with its proper head.
    fn stream() -> Self {
        Self::of(&OpenAi, true, head(200, "text/event-stream"))
    }

    /// Bytes that come 10 ms after what came before.
    fn then(mut self, bytes: &str) -> Self {
        self.now = self.now.after(Duration::from_millis(10));
        self.reads += 1;
        self.collector
            .body(bytes.as_bytes(), arrival(self.now), self.reads);
        self
    }

    fn later(mut self, wait: u64) -> Self {
        self.now = self.now.after(Duration::from_millis(wait));
        self
    }

    fn end(self, result: Result<(), TransportError>) -> Exchange {
        let now = self.now;
        self.collector.finish(
            self.dispatch,
            None,
            &SendTimes::default(),
            result,
            Vec::new,
            now,
        )
    }

    fn whole(self) -> Exchange {
        self.end(Ok(()))
    }
}

fn arrival(at: Timestamp) -> Arrival {
    Arrival {
        at,
        clock: ArrivalClock::Kernel,
        handling_ns: None,
    }
}

fn said(exchange: &Exchange) -> String {
    let failure = exchange.record.failure.as_ref();
    failure.map_or_else(String::new, |f| format!("{}: {}", f.kind, f.message))
}

fn tokens(exchange: &Exchange) -> usize {
    exchange.record.events.tokens().count()
}

const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n";

#[test]
fn a_stream_is_known_by_its_first_bytes() {
    let body = format!("{TOKEN}{TOKEN}{FINISH}{DONE}");
    for content_type in [
        "",
        "text/plain",
        "application/json",
        "application/octet-stream",
    ] {
        for before in [
            "",
            "\u{feff}",
            "\n \r\n",
            "\u{feff}\n",
            ": ping\n\n",
            "id: 1\n",
            "event: message\n",
            "retry: 5\n\n",
        ] {
            let body = format!("{before}{body}");
            let mut answer = Received::of(&OpenAi, true, head(200, content_type));
            answer = answer.then(&body);
            let exchange = answer.whole();
            assert_eq!(said(&exchange), "", "{content_type:?} {before:?}");
            assert!(exchange.record.streamed && tokens(&exchange) == 2);
            // a byte in a read
            let mut answer = Received::of(&OpenAi, true, head(200, content_type));
            for byte in body.as_bytes() {
                answer.now = answer.now.after(Duration::from_millis(1));
                answer.reads += 1;
                answer
                    .collector
                    .body(&[*byte], arrival(answer.now), answer.reads);
            }
            let exchange = answer.whole();
            assert_eq!(said(&exchange), "", "{content_type:?} {before:?}");
            assert!(exchange.record.streamed && tokens(&exchange) == 2);
            let at: Vec<_> = exchange.record.events.arrivals().collect();
            let first = 10 + before.len() + TOKEN.len();
            assert_eq!(at[0], ms(first as u64), "the read that completed the event");
        }
    }
}

#[test]
fn what_is_no_stream_is_read_as_a_whole() {
    for body in [
        r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#,
        "  \n{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}",
        "\u{feff}{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}",
    ] {
        for stream in [true, false] {
            let mut answer = Received::of(&OpenAi, stream, head(200, "application/json"));
            for byte in body.as_bytes() {
                answer.collector.body(&[*byte], arrival(answer.now), 1);
            }
            let exchange = answer.whole();
            assert_eq!(said(&exchange), "", "{body:?}");
            assert!(!exchange.record.streamed);
        }
    }
    // not asked for
    let answer = Received::of(&OpenAi, false, head(200, "text/plain")).then(TOKEN);
    assert!(said(&answer.whole()).starts_with("malformed: the response is not a JSON object"));
    for begun in ["", "dat", "e", "\u{feff}"] {
        let exchange = Received::of(&OpenAi, true, head(200, "text/plain"))
            .then(begun)
            .whole();
        assert!(
            !exchange.record.streamed && !exchange.record.succeeded(),
            "{begun:?}"
        );
    }
}

#[test]
fn every_success_of_http_is_one() {
    for status in [200, 201, 202, 206, 299] {
        let exchange = Received::of(&OpenAi, true, head(status, "text/event-stream"))
            .then(&format!("{TOKEN}{FINISH}{DONE}"))
            .whole();
        assert_eq!(said(&exchange), "", "{status}");
        assert_eq!(exchange.record.http_status, Some(status));
    }
    for status in [199, 300, 404] {
        let exchange = Received::of(&OpenAi, true, head(status, "text/event-stream"))
            .then(TOKEN)
            .whole();
        assert!(said(&exchange).starts_with(&format!("http_{status}: ")));
    }
}

#[test]
fn after_the_finish_reason_silence_is_the_end() {
    let begun = || Received::stream().then(TOKEN).then(TOKEN).then(FINISH);
    let finished = begun().now;
    let mut answer = begun();
    assert_eq!(
        answer.collector.ends_at(),
        Some(finished.after(FINISH_GRACE))
    );
    // comments and empty data events are no news, token counts are
    answer = answer
        .then(": heartbeat\n\n")
        .then("data: {\"choices\":[]}\n\n");
    assert_eq!(
        answer.collector.ends_at(),
        Some(finished.after(FINISH_GRACE))
    );
    answer = answer.then(USAGE);
    let counted = answer.now;
    assert_eq!(
        answer.collector.ends_at(),
        Some(counted.after(FINISH_GRACE))
    );
    let exchange = answer.then(": heartbeat\n\n").later(2000).whole();
    let record = &exchange.record;
    assert_eq!(said(&exchange), "");
    assert_eq!(record.ending, Ending::Grace);
    assert_eq!(
        (record.times.ended, record.times.last_data),
        (counted, Some(counted))
    );
    assert_eq!(record.output_tokens(), (Some(2), TokenSource::ServerUsage));

    for kind in [
        FailureKind::ReadTimeout,
        FailureKind::TotalTimeout,
        FailureKind::Cancelled,
    ] {
        let exchange = begun().later(500).end(Err(Failure::new(kind, "cut")));
        assert_eq!(said(&exchange), "", "{kind}");
        assert_eq!(exchange.record.ending, Ending::Grace);
        assert_eq!(exchange.record.times.ended, finished);
        let unfinished = Received::stream()
            .then(TOKEN)
            .end(Err(Failure::new(kind, "cut")));
        assert_eq!(said(&unfinished), format!("{kind}: cut"));
    }
    for kind in [FailureKind::Reset, FailureKind::Truncated, FailureKind::Tls] {
        let exchange = begun().end(Err(Failure::new(kind, "broken")));
        assert_eq!(said(&exchange), "", "{kind}");
        assert_eq!(exchange.record.ending, Ending::Marked);
    }
    // stopped while the end of the body was waited for
    let cancelled = || Failure::new(FailureKind::Cancelled, "cut");
    let exchange = Received::stream()
        .then(TOKEN)
        .then(DONE)
        .end(Err(cancelled()));
    assert_eq!(said(&exchange), "");
    // the end of the body is an end like any other
    let exchange = begun().whole();
    assert_eq!(
        (said(&exchange), exchange.record.ending),
        (String::new(), Ending::Marked)
    );
    let exchange = begun().then("data: \"[DONE]\"\n\n").later(9000).whole();
    assert_eq!(
        (said(&exchange), exchange.record.ending),
        (String::new(), Ending::Marked)
    );
}

#[test]
fn all_choices_have_to_be_finished() {
    let both = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n";
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let answer = Received::stream().then(both).then(FINISH);
    assert_eq!(answer.collector.ends_at(), None);
    let reset = || Failure::new(FailureKind::Reset, "broken");
    assert_eq!(said(&answer.end(Err(reset()))), "reset: broken");
    let answer = Received::stream().then(both).then(FINISH).then(other);
    assert!(answer.collector.ends_at().is_some());
    assert_eq!(said(&answer.end(Err(reset()))), "");
}

#[test]
fn events_that_are_no_json_cost_no_good_answer() {
    let ping = "event: ping\ndata: 2024-04-27 01:35:43.686476\n\n";
    let broken = "data: {\"choices\":[\n\n";
    let exchange = Received::stream()
        .then(ping)
        .then(TOKEN)
        .then(broken)
        .then(FINISH)
        .then(DONE)
        .whole();
    assert_eq!(said(&exchange), "");
    assert_eq!(exchange.record.skipped_events, 2);
    assert_eq!(exchange.record.events.len(), 2);
    let malformed = "malformed: an event is not a JSON object: EOF";
    // nothing usable, or no proper end
    for answer in [
        Received::stream().then(broken).then(FINISH).then(DONE),
        Received::stream().then(TOKEN).then(broken),
    ] {
        let text = said(&answer.whole());
        assert!(text.starts_with(malformed), "{text}");
    }
    let text = said(&Received::stream().then(ping).then(TOKEN).whole());
    assert!(text.starts_with("truncated: "), "{text}");
    let text = said(
        &Received::stream()
            .then("data: {}\ndata: {}\ndata: [DONE]\n")
            .whole(),
    );
    assert!(text.contains("without blank lines between them"), "{text}");
}

#[test]
fn the_words_of_the_server_are_in_the_failure() {
    let stream = |body: &str| said(&Received::stream().then(body).whole());
    for (body, want) in [
        (
            "{\"error\":{\"message\":\"the cluster is overloaded\"}}\n",
            "server_error: the cluster is overloaded",
        ),
        (
            ": ping\n\n{\n \"error\": {\n  \"message\": \"overloaded\"\n }\n}\n\n",
            "server_error: overloaded",
        ),
        (
            "{\"code\":500,\"msg\":\"boom\"}",
            "server_error: boom (500)",
        ),
        (
            "upstream is down\n",
            "truncated: the stream ended without `[DONE]` and without a finish_reason; the server said: upstream is down",
        ),
        (
            "data: {\"message\":\"come back later\"}\n\ndata: [DONE]\n\n",
            "empty_output: the answer has no output though some was asked for; the server said: come back later",
        ),
        (
            "data: {\"busy\":true}\n\n",
            "truncated: the stream ended without `[DONE]` and without a finish_reason; the server said: {\"busy\":true}",
        ),
        (
            "data: {\"base_resp\":{\"status_code\":1004,\"status_msg\":\"login fail\"},\"choices\":null}\n\n",
            "server_error: login fail (1004)",
        ),
        (
            ": ping\n\n",
            "truncated: the stream ended without `[DONE]` and without a finish_reason",
        ),
    ] {
        assert_eq!(stream(body), want, "{body}");
    }
    let broken = Received::stream()
        .then("{\"error\":\"overloaded\"}\n")
        .end(Err(Failure::new(FailureKind::Truncated, "closed")));
    assert_eq!(said(&broken), "server_error: overloaded");
    let after_tokens = Received::stream()
        .then(TOKEN)
        .then("{\"error\":\"overloaded\"}\n\n");
    assert_eq!(said(&after_tokens.whole()), "server_error: overloaded");
}

#[test]
fn a_test_request_is_not_content_with_any_json() {
    let test = |api: &dyn Api, body: &str| {
        let mut answer = Received::of(api, true, head(200, "application/json")).then(body);
        answer.dispatch.output_asked = false;
        said(&answer.whole())
    };
    assert_eq!(
        test(
            &OpenAi,
            r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"login fail: check your API key"}}"#
        ),
        "server_error: login fail: check your API key (1004)"
    );
    assert_eq!(
        test(&OpenAi, r#"{"hello":"world"}"#),
        "empty_output: this is no answer of the API; the server said: {\"hello\":\"world\"}"
    );
    assert!(test(&Dashscope::default(), r#"{"hello":"world"}"#).starts_with("empty_output: "));
    assert_eq!(
        test(&OpenAi, r#"{"choices":[{"message":{"content":""}}]}"#),
        ""
    );
}

#[test]
fn tokens_that_came_are_never_counted_as_none() {
    let none = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n";
    let exchange = Received::stream()
        .then(TOKEN)
        .then(FINISH)
        .then(none)
        .then(DONE)
        .whole();
    let record = exchange.record;
    assert_eq!(record.output_tokens(), (Some(1), TokenSource::EventCount));
    assert_eq!(record.reported_output_tokens(), None);
    assert_eq!(record.prompt_tokens(), (None, TokenSource::Unknown));
    let exchange = Received::stream()
        .then(TOKEN)
        .then(USAGE)
        .then(FINISH)
        .then(none)
        .then(DONE)
        .whole();
    assert_eq!(
        exchange.record.output_tokens(),
        (Some(2), TokenSource::ServerUsage)
    );
    let body = r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    let exchange = Received::of(&OpenAi, false, head(200, "application/json"))
        .then(body)
        .whole();
    assert_eq!(
        exchange.record.output_tokens(),
        (None, TokenSource::Unknown)
    );
    assert_eq!(
        exchange.record.usage,
        Usage {
            prompt_tokens: Some(0),
            ..Usage::default()
        }
    );
}

#[test]
fn an_answer_without_end_is_given_up() {
    let comments = format!(": {}\n\n", "x".repeat(1 << 20));
    let mut answer = Received::stream();
    for _ in 0..300 {
        answer = answer.then(&comments);
        if answer.collector.is_lost() {
            break;
        }
    }
    assert!(answer.collector.body_bytes < MAX_STREAM_BYTES + (2 << 20));
    assert_eq!(
        said(&answer.whole()),
        "too_large: the stream is larger than 256 MiB"
    );
    let events = "data: {}\n\n".repeat(100_000);
    let mut answer = Received::stream();
    while !answer.collector.is_lost() {
        answer = answer.then(&events);
    }
    assert_eq!(
        said(&answer.whole()),
        "too_large: the stream has more than 4000000 events"
    );
    let mut answer = Received::of(&OpenAi, true, head(200, "application/json"));
    for _ in 0..65 {
        answer = answer.then(&comments.replace(':', "{"));
    }
    assert!(answer.collector.is_lost());
    assert_eq!(
        said(&answer.whole()),
        "too_large: the answer is larger than 64 MiB"
    );
}
