//! Owns sending a request over HTTP and making an exchange of what comes back.
//!
//! It must not know when a request is due, nor what becomes of its record.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::collect::Collector;
use super::dispatch::Dispatch;
use crate::protocol::{Api, PreparedRequest};
use crate::transport::{
    Connection, ReadContext, ReadStats, Reuse, SendTimes, Target, Timeouts, WireRequest,
};
use evalscope_model::mix::UrlId;
use evalscope_model::record::{Exchange, Failure, RecordBodies};

/// Sends one request at a time.
pub trait Requester {
    /// Send a request and wait for the end of its response. A request that is
    /// given up when `abort` is done still makes its exchange, with what came. What the response
    /// says is noted in the request where its conversation goes on with it.
    fn send(
        &mut self,
        request: &mut PreparedRequest,
        dispatch: Dispatch,
        given_up: impl Future<Output = Failure>,
    ) -> impl Future<Output = Exchange>;

    /// Close the connection: the next request opens its own.
    fn hang_up(&mut self) {}
}

/// Makes requesters on the thread that will run them.
pub trait Transport: Sync {
    /// Counters, one for each receiving thread: there are as many threads.
    fn stats(&self) -> &[Arc<ReadStats>];
    /// What sends a request.
    type Requester: Requester + 'static;
    /// What the requesters of one thread share.
    type Thread;
    /// Set up a thread; `thread` counts from 0.
    fn thread(&self, thread: usize) -> Self::Thread;
    /// A new requester of a thread.
    fn requester(&self, thread: &Self::Thread) -> Self::Requester;
}

/// What is at a URL.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where requests go.
    pub target: Arc<Target>,
    /// Whether connections carry more than one request.
    pub reuse: Reuse,
}

/// Requesters that speak HTTP.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    /// Where requests go, by the number of the URL; never empty.
    pub servers: Arc<[Server]>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Which bodies are kept.
    pub record_bodies: RecordBodies,
    /// The API that is spoken.
    pub api: Arc<dyn Api>,
    /// The run's clock.
    pub clock: evalscope_model::time::RunClock,
    /// Counters, one for each receiving thread.
    pub stats: Arc<Vec<Arc<ReadStats>>>,
    /// Do not ask the kernel for times.
    pub user_clock_only: bool,
}

impl Transport for HttpTransport {
    type Requester = HttpRequester;
    type Thread = ReadContext;

    fn stats(&self) -> &[Arc<ReadStats>] {
        &self.stats
    }

    fn thread(&self, thread: usize) -> ReadContext {
        let stats = Arc::clone(&self.stats[thread]);
        ReadContext::new(self.clock, stats, self.user_clock_only)
    }

    fn requester(&self, context: &ReadContext) -> HttpRequester {
        HttpRequester {
            servers: Arc::clone(&self.servers),
            timeouts: self.timeouts,
            connections: Vec::new(),
            context: context.clone(),
            record_bodies: self.record_bodies,
            api: Arc::clone(&self.api),
        }
    }
}

/// A requester with a connection of its own to each URL that it has sent to.
#[derive(Debug)]
pub struct HttpRequester {
    servers: Arc<[Server]>,
    timeouts: Timeouts,
    /// Few: they are looked through.
    connections: Vec<(UrlId, Connection)>,
    context: ReadContext,
    record_bodies: RecordBodies,
    api: Arc<dyn Api>,
}

impl HttpRequester {
    /// Whether the connection of the only answer is still open `after` it.
    pub(super) async fn connection_stays_open(&self, after: Duration) -> bool {
        match self.connections.first() {
            Some((_, connection)) => connection.stays_open(after).await,
            None => false,
        }
    }

    /// The connection to a URL.
    fn connection(&mut self, url: UrlId) -> &mut Connection {
        let known = self.connections.iter().position(|(own, _)| *own == url);
        let at = known.unwrap_or_else(|| {
            let server = self.servers.get(url.index()).unwrap_or(&self.servers[0]);
            let connection = Connection::new(
                Arc::clone(&server.target),
                self.timeouts,
                server.reuse,
                self.context.clone(),
            );
            self.connections.push((url, connection));
            self.connections.len() - 1
        });
        &mut self.connections[at].1
    }
}

impl Requester for HttpRequester {
    async fn send(
        &mut self,
        request: &mut PreparedRequest,
        dispatch: Dispatch,
        given_up: impl Future<Output = Failure>,
    ) -> Exchange {
        let mut collector = Collector::new(self.api.reader(), self.record_bodies, request.stream);
        if request.wants_reply() {
            collector.keep_reply(Arc::clone(&self.api));
        }
        let mut sent = SendTimes::default();
        let wire = WireRequest {
            body: [&request.body, &request.tail],
            stream: request.stream,
            kept_header: request.token_header().or(self.api.tokens_header()),
            target: request.target.as_ref(),
            headers: request.headers.fields(),
        };
        let result = {
            let connection = self.connection(dispatch.url.unwrap_or(UrlId::FIRST));
            let sending = connection.send(wire, &mut sent, &mut collector);
            tokio::select! {
                biased;
                result = sending => result,
                why = given_up => Err(why),
            }
        };
        let now = self.context.clock().now();
        if request.conversing.is_some() {
            request.note_reply(collector.take_reply(), collector.take_kept_header());
        }
        let inputs = request.inputs;
        let body = || request.take_recorded();
        collector.finish(dispatch, inputs, &sent, result, body, now)
    }

    fn hang_up(&mut self) {
        for (_, connection) in &mut self.connections {
            connection.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_sending<F: Future>(
        _: impl FnOnce(&'static mut HttpRequester, &'static mut PreparedRequest, Dispatch) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// Thousands of requests wait for responses at a time: what only connecting needs must not
    /// lie in each of them.
    #[test]
    fn a_request_under_way_takes_little_memory() {
        let sending = size_of_sending(|requester, request, dispatch| {
            requester.send(request, dispatch, std::future::pending())
        });
        assert!(sending <= 4096, "{sending} bytes");
        assert!(
            size_of::<HttpRequester>() <= 1536,
            "{}",
            size_of::<HttpRequester>()
        );
    }
}
