//! Owns a single request outside of any run: a test of the connection.
//!
//! It must not know why the connection is tested.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatch;
use super::end::Fault;
use super::http::{HttpTransport, Requester, Transport};
use super::run::runtime;
use super::shared::cancelled;
use crate::protocol::PreparedRequest;
use crate::transport::{Reuse, TimestampBeacon};
use evalscope_model::mix::UrlId;
use evalscope_model::record::{Exchange, Masker, Phase};

/// A server closes a connection that it does not keep within this time.
const CLOSE_WAIT: Duration = Duration::from_millis(100);

/// What a single request taught.
#[derive(Debug)]
pub struct Probe {
    /// The request and its answer.
    pub exchange: Exchange,
    /// What the server does with a connection after an answer.
    pub reuse: Reuse,
}

/// Send a single request to the first URL, outside any run: a test of the connection. What a server that refuses
/// it repeats of `secrets` is masked.
///
/// # Errors
/// When the system refuses an event loop.
pub fn probe(
    mut request: PreparedRequest,
    transport: &HttpTransport,
    secrets: &[String],
    abort: &CancellationToken,
) -> Result<Probe, Fault> {
    let _beacon = TimestampBeacon::light();
    let clock = transport.clock;
    let dispatch = Dispatch {
        index: 0,
        phase: Phase::Warmup,
        scheduled: clock.now(),
        slot_free: clock.now(),
        dispatched: clock.now(),
        stream: request.stream,
        output_asked: false,
        asked_tokens: request.asked_tokens,
        asked_output_tokens: None,
        turn: None,
        trace: None,
        model: None,
        url: Some(UrlId::FIRST),
    };
    let context = transport.thread(0);
    let mut requester = transport.requester(&context);
    Ok(runtime()?.block_on(async {
        let mut exchange = requester
            .send(&mut request, dispatch, cancelled(abort))
            .await;
        Masker::new(secrets).hide(&mut exchange);
        let reuse = if requester.connection_stays_open(CLOSE_WAIT).await {
            Reuse::WhileOpen
        } else {
            Reuse::Never
        };
        Probe { exchange, reuse }
    }))
}
