//! Owns the records of requests that have no response: never sent, or lost to a panic.

use std::time::Duration;

use super::dispatch::Dispatch;
use super::gate::{Unsent, UnsentWhy};
use evalscope_model::conversation::TurnPlace;
use evalscope_model::record::{
    ArrivalClock, Bodies, ConnectCost, CountedTokens, Ending, EventLog, Exchange, Failure,
    FailureKind, PluginTokens, RequestRecord, RequestTimes, Usage,
};
use evalscope_model::time::Timestamp;

/// The record of a request whose task panicked: a fault of this program, and not lost.
pub(super) fn panicked(dispatch: Dispatch, now: Timestamp, message: &str) -> Exchange {
    let mut record = without_answer(dispatch, now);
    record.failure = Some(Failure::new(
        FailureKind::Internal,
        format!("this program panicked while handling the request: {message}; please report it"),
    ));
    Exchange {
        record,
        bodies: Bodies::default(),
    }
}

/// The record of a request that was due and was not sent. It had waited until `end`.
pub(super) fn unsent(unsent: &Unsent, end: Timestamp) -> Exchange {
    let Unsent {
        request,
        session,
        phase,
        due,
        why,
    } = unsent;
    let dispatch = Dispatch {
        index: request.index,
        phase: *phase,
        scheduled: *due,
        // one that still waited for room: until then there was none
        slot_free: match why {
            UnsentWhy::NoRoom => end.max(*due),
            UnsentWhy::Full | UnsentWhy::Over => *due,
        },
        dispatched: end.max(*due),
        stream: request.stream,
        output_asked: request.output_asked,
        asked_tokens: request.asked_tokens,
        asked_output_tokens: request.asked_output_tokens,
        turn: request.conversing.as_ref().map(|_| TurnPlace {
            conversation: *session,
            turn: 0,
            delay: Duration::ZERO,
            asked_increment: request.asked_tokens,
        }),
        trace: request.trace,
        model: request.model,
        url: None,
    };
    let mut record = without_answer(dispatch, dispatch.dispatched);
    record.inputs = request.inputs.map(|inputs| inputs.count.into());
    record.failure = Some(match why {
        UnsentWhy::NoRoom => Failure::new(
            FailureKind::NotSent,
            "it was due, but the run ended before there was room for it",
        ),
        UnsentWhy::Over => Failure::new(
            FailureKind::NotSent,
            "it was due, but the run ended before it was sent",
        ),
        UnsentWhy::Full => Failure::new(
            FailureKind::Shed,
            "it was due while as many requests were in flight as may be",
        ),
    });
    Exchange {
        record,
        bodies: Bodies::default(),
    }
}

/// A record of which nothing is known but its dispatch.
pub(super) fn without_answer(dispatch: Dispatch, ended: Timestamp) -> RequestRecord {
    RequestRecord {
        index: dispatch.index,
        phase: dispatch.phase,
        failure: None,
        streamed: dispatch.stream,
        times: RequestTimes {
            scheduled: dispatch.scheduled,
            slot_free: dispatch.slot_free,
            dispatched: dispatch.dispatched,
            ended,
            ..RequestTimes::default()
        },
        connect: ConnectCost::default(),
        clock: ArrivalClock::User,
        events: EventLog::default(),
        http_status: None,
        usage: Usage::default(),
        plugin: PluginTokens::default(),
        asked_prompt_tokens: dispatch.asked_tokens,
        asked_output_tokens: dispatch.asked_output_tokens,
        inputs: None,
        counted: CountedTokens::default(),
        finish_reason: None,
        response_id: None,
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        peer: None,
        asked_model: dispatch.model,
        url: dispatch.url,
        turn: dispatch.turn,
        trace: dispatch.trace,
    }
}
