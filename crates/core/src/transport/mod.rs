//! Owns sockets: the only module that opens one. It sends request bytes and passes on response
//! bytes, each with its arrival time.
//!
//! It must not know tokens, JSON, datasets or metrics. Nothing happens between a read and its
//! timestamp; the bytes are interpreted afterwards.

mod coding;
mod connect;
mod deadline;
mod error;
mod exchange;
mod kernel_clock;
mod proxy;
mod resolve;
mod socket;
mod system;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod verify;

use std::sync::Arc;
use std::time::Duration;

pub use deadline::Timeouts;
pub use error::TransportError;
pub use exchange::{ResponseHandler, SendTimes};
pub use kernel_clock::Arrival;
pub use proxy::{Proxy, ProxyEnv, ProxyError};
pub use socket::{ReadContext, ReadStats, Socket, TimestampBeacon};
pub use system::{local_ports, process_usage, raise_open_files_limit, sleep_until, thread_cpu_ns};
pub use target::{RequestHeaders, Route, Target, TargetError, WireRequest};
pub use tls::{TlsSetup, TlsSetupError, TlsTrust};

use connect::{Connected, connect};
use deadline::Deadline;
use evalscope_model::record::ConnectCost;
use exchange::Exchanging;

/// Whether a connection carries more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As long as the server keeps it open.
    WhileOpen,
    /// Never: the server closes it after each response, and a request sent before we notice would
    /// be lost.
    Never,
}

/// The connection of one slot: opened when a request needs it, then kept open if possible.
#[derive(Debug)]
pub struct Connection {
    target: Arc<Target>,
    timeouts: Timeouts,
    reuse: Reuse,
    context: ReadContext,
    open: Option<Connected<Socket>>,
    /// Number of reads so far, over all connections.
    reads: u64,
}

impl Connection {
    /// Create a connection that is not open yet.
    #[must_use]
    pub fn new(
        target: Arc<Target>,
        timeouts: Timeouts,
        reuse: Reuse,
        context: ReadContext,
    ) -> Self {
        Self {
            target,
            timeouts,
            reuse,
            context,
            open: None,
            reads: 0,
        }
    }

    /// Send a body, streaming or not, and pass the response to `handler`. `times` is filled as
    /// things happen, so that it is valid even if the call is cancelled halfway.
    ///
    /// # Errors
    /// If the response was not received to its end. There is no retry.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn send(
        &mut self,
        request: WireRequest<'_>,
        times: &mut SendTimes,
        handler: &mut impl ResponseHandler,
    ) -> Result<(), TransportError> {
        let deadline = Deadline::new(self.timeouts, self.context.clock().now());
        let connection = self.take_connection(&deadline).await?;
        times.connected = Some(self.context.clock().now());
        times.cost = connection.cost;
        times.peer = connection.peer;
        let mut exchange = Exchanging::new(connection, &self.context, deadline, &mut self.reads);
        let head = self.target.head(request);
        let ([body, tail], kept_header) = (request.body, request.kept_header);
        exchange.send([&head, body, tail], times).await?;
        // a connection that waits for a response holds no copy of the request
        drop(head);
        let keep = exchange.receive(times, handler, kept_header).await?;
        if keep && self.reuse == Reuse::WhileOpen {
            let mut connection = exchange.connection;
            connection.cost = ConnectCost {
                reused: true,
                ..ConnectCost::default()
            };
            self.open = Some(connection);
        }
        Ok(())
    }

    /// Close it: the next request opens its own.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Whether the connection is still open this long `after` the last response.
    pub async fn stays_open(&self, after: Duration) -> bool {
        match &self.open {
            None => false,
            Some(connection) => {
                tokio::time::sleep(after).await;
                !connection.socket.is_stale()
            }
        }
    }

    async fn take_connection(
        &mut self,
        deadline: &Deadline,
    ) -> Result<Connected<Socket>, TransportError> {
        // a server may close an idle connection at any time: checking before sending is not a
        // retry, since nothing has been sent
        if let Some(connection) = self.open.take()
            && !connection.socket.is_stale()
        {
            return Ok(connection);
        }
        // boxed, so that a slot waiting for a response does not reserve room for it
        Box::pin(connect(&self.target, &self.context, deadline)).await
    }
}
