//! A response from its first byte to its record, however the bytes are split: no panic, events in
//! order, and never a count of 0 tokens for a response whose tokens arrived.
//!
//! Input: one byte for API and bodies, two for the alternating lengths of reads, one for what is
//! known about the request and the end of the connection, then the bytes from the server.
#![no_main]

use evalscope_core::engine::{Collector, Dispatch};
use evalscope_core::http1::{Head, Progress, Receiver, ResponseReader};
use evalscope_core::protocol::{Api, Dashscope, Opaque, OpenAi, Zhipu};
use evalscope_model::record::{
    ArrivalClock, EXCERPT_BYTES, EventLog, EventLogFormat, Exchange, Failure, FailureKind,
    MOST_TOKENS, Phase, RecordBodies,
};
use evalscope_model::time::Timestamp;
use evalscope_core::transport::{Arrival, ResponseHandler, SendTimes};
use libfuzzer_sys::fuzz_target;

/// Passes on what the connection's reader finds, as the transport does.
struct Sink<'a> {
    collector: &'a mut Collector,
    arrival: Arrival,
    read: u64,
}

impl Receiver for Sink<'_> {
    fn head(&mut self, head: Head) {
        self.collector.head(head, self.arrival);
    }
    fn body(&mut self, bytes: &[u8]) {
        self.collector.body(bytes, self.arrival, self.read);
    }
}

fn broken(kind: FailureKind) -> Result<(), Failure> {
    Err(Failure::new(kind, "as the transport would say"))
}

/// The record of a response that arrives in reads of these alternating lengths.
fn collected(api: u8, known: u8, bytes: &[u8], lengths: [usize; 2]) -> Exchange {
    let keep = [
        RecordBodies::All,
        RecordBodies::Failed,
        RecordBodies::None,
        RecordBodies::All,
    ];
    let cumulative = Dashscope {
        incremental: false,
        ..Dashscope::default()
    };
    let untold = Opaque::untold("x".to_owned());
    let apis: [&dyn Api; 5] = [&OpenAi, &Dashscope::default(), &cumulative, &Zhipu, &untold];
    let reader = apis[usize::from(api >> 2) % apis.len()].reader();
    let mut collector = Collector::new(reader, keep[usize::from(api & 3)], known & 1 == 0);

    let mut responses = ResponseReader::default();
    let (mut rest, mut reads) = (bytes, 0);
    let at = |reads: u64| Timestamp::from_nanos(1_000 + 10 * reads);
    let result = loop {
        if rest.is_empty() {
            break match known & 4 {
                0 if responses.complete_at_close() => Ok(()),
                0 => broken(FailureKind::Truncated),
                _ => broken(FailureKind::ReadTimeout),
            };
        }
        let (read, after) = rest.split_at(lengths[(reads % 2) as usize].min(rest.len()));
        rest = after;
        reads += 1;
        let mut sink = Sink {
            collector: &mut collector,
            arrival: Arrival {
                at: at(reads),
                clock: ArrivalClock::Kernel,
                handling_ns: None,
            },
            read: reads,
        };
        match responses.push(read, &mut sink) {
            Ok((_, Progress::Complete)) => break Ok(()),
            Ok((used, Progress::Incomplete)) => assert_eq!(used, read.len()),
            Err(_) => break broken(FailureKind::Malformed),
        }
        if collector.is_lost() {
            break Ok(());
        }
    };
    let result = if collector.is_satisfied() {
        Ok(())
    } else {
        result
    };
    let dispatch = Dispatch {
        index: 0,
        phase: Phase::Measured,
        scheduled: Timestamp::from_nanos(1),
        slot_free: Timestamp::from_nanos(1),
        dispatched: Timestamp::from_nanos(2),
        stream: known & 1 == 0,
        output_asked: known & 2 == 0,
        asked_tokens: None,
        asked_output_tokens: None,
        turn: None,
        trace: None,
        model: None,
        url: None,
    };
    collector.finish(
        dispatch,
        None,
        &SendTimes::default(),
        result,
        || b"{}".to_vec(),
        at(reads + 1),
    )
}

fn check(exchange: &Exchange) {
    let Exchange { record, bodies } = exchange;
    let times = &record.times;
    let stamps: Vec<_> = record.events.stamps().map(|stamp| stamp.at).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    let ordered = [times.headers, times.last_data, Some(times.ended)];
    assert!(ordered.iter().flatten().is_sorted(), "{times:?}");
    assert!(stamps.last().is_none_or(|last| *last <= times.ended));
    let bytes = record.events.to_bytes();
    assert_eq!(
        EventLog::from_bytes(&bytes, EventLogFormat::V2).as_ref(),
        Some(&record.events)
    );

    let tokens = record.events.tokens().count();
    assert!(record.events.token_events().count() <= tokens);
    let (output, source) = record.output_tokens();
    assert!(
        tokens == 0 || output != Some(0),
        "{tokens} events: {source:?}"
    );
    for count in [record.usage.prompt_tokens, record.usage.completion_tokens] {
        assert!(count.is_none_or(|n| n <= MOST_TOKENS), "{count:?}");
    }
    assert!(record.succeeded() || times.ended > Timestamp::ZERO);
    assert!(record.http_status.is_some() || !record.succeeded());
    assert!(bodies.error_excerpt.len() <= EXCERPT_BYTES);
    assert!(bodies.error_excerpt.is_empty() || !record.succeeded());
    let mut kept = 0;
    bodies.responses.for_each(|_| kept += 1);
    assert_eq!(kept, bodies.responses.len());
    assert!(!record.streamed || kept <= record.events.len());
}

fuzz_target!(|data: &[u8]| {
    let [api, first, second, known, bytes @ ..] = data else {
        return;
    };
    let lengths = [first, second].map(|length| usize::from(*length) + 1);
    let in_parts = collected(*api, *known, bytes, lengths);
    check(&in_parts);
    let at_once = collected(*api, *known, bytes, [bytes.len().max(1); 2]);
    check(&at_once);
    // a byte order mark split over reads is not recognised, and for invalid bytes one read may emit
    // more than several do
    let both = [&in_parts.record, &at_once.record];
    if both.iter().all(|record| record.succeeded()) && !bytes.contains(&0xef) {
        let said = both.map(|record| {
            let tokens = record.events.tokens().count();
            (
                tokens,
                record.usage,
                &record.finish_reason,
                record.events.len(),
            )
        });
        assert_eq!(said[0], said[1]);
    }
});
