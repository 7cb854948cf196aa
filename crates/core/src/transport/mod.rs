//! Owns sockets: the only module that opens one. It sends request bytes and passes on response
//! bytes, each with its arrival time.
//!
//! It must not know tokens, JSON, datasets or metrics. Nothing happens between a read and its
//! timestamp; the bytes are interpreted afterwards.

mod coding;
mod connect;
mod deadline;
mod exchange;
mod kernel_clock;
mod proxy;
mod resolve;
mod socket;
mod system;
#[cfg(test)]
mod tests;
mod tls;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use url::Url;

pub use kernel_clock::Arrival;
pub use proxy::{Proxy, ProxyEnv, ProxyError};
pub use socket::{ReadContext, ReadStats, Socket, TimestampBeacon};
pub use system::{process_usage, raise_open_files_limit, sleep_until, thread_cpu_ns};
pub use tls::{TlsSetup, TlsSetupError, TlsTrust};

use crate::credential::Credential;
use crate::http1::Head;
use connect::{Connected, connect};
use deadline::Deadline;
use evalscope_model::record::{ConnectCost, Failure};
use evalscope_model::time::{Timestamp, wall_ns};
use exchange::Exchanging;
use resolve::Name;

/// A failure of the transport, as in a record.
pub type TransportError = Failure;

/// The route to a server.
#[derive(Clone, Debug)]
pub enum Route {
    /// Direct.
    Direct,
    /// Through a proxy that forwards plain HTTP.
    Forward(Proxy),
    /// Through a proxy's tunnel.
    Tunnel(Proxy),
}

/// Where requests go, and everything about them that never changes.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    route: Route,
    /// The host to connect to: the server, or the proxy.
    name: Arc<Name>,
    tls: Option<TlsSetup>,
    /// Request line and headers, except `Content-Length`.
    head: Vec<u8>,
    /// The same for a streaming request.
    stream_head: Vec<u8>,
    /// A header that is renewed from time to time.
    renewed: Option<Arc<Renewed>>,
}

/// A header whose value expires, with its current value.
struct Renewed {
    credential: Box<dyn Credential>,
    /// Expiry in Unix milliseconds, and the header line.
    line: Mutex<(u64, Vec<u8>)>,
}

impl Renewed {
    fn append_to(&self, head: &mut Vec<u8>) {
        let now = wall_ns() / 1_000_000;
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.0 <= now {
            let (value, until) = self.credential.value(now);
            let text = format!("{}: {value}\r\n", self.credential.header());
            *line = (until, text.into_bytes());
        }
        head.extend_from_slice(&line.1);
    }
}

/// Headers of every request.
#[derive(Debug, Default)]
pub struct RequestHeaders<'a> {
    /// Headers given by the user, and the key.
    pub fields: &'a [(String, String)],
    /// Headers that the API needs for a streaming request; `fields` take precedence.
    pub stream: &'static [(&'static str, &'static str)],
    /// Headers it needs for any other request.
    pub whole: &'static [(&'static str, &'static str)],
    /// A header that is renewed from time to time; takes precedence over `fields`.
    pub renewed: Option<Box<dyn Credential>>,
}

impl fmt::Debug for Target {
    // the head may contain a key
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// Why a URL cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It does not parse.
    #[error("`{url}` is not a URL: {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// The parser's error.
        reason: String,
    },
    /// Neither http nor https.
    #[error("`{0}` is not an http:// or https:// URL")]
    Scheme(String),
    /// The proxy from the environment.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// A header that is not valid in HTTP.
    #[error("the header `{0}` contains characters that HTTP does not allow")]
    Header(String),
}

impl Target {
    /// Prepare requests to a URL.
    ///
    /// # Errors
    /// If the URL, a header, the proxy or the certificates cannot be used.
    pub fn new(
        url: &Url,
        headers: RequestHeaders<'_>,
        proxies: &ProxyEnv,
        trust: &TlsTrust,
    ) -> Result<Self, TargetError> {
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some(TlsSetup::new(trust)?),
            _ => return Err(TargetError::Scheme(url.to_string())),
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let route = match (proxies.proxy_for(url)?, &tls) {
            (None, _) => Route::Direct,
            (Some(proxy), None) => Route::Forward(proxy),
            (Some(proxy), Some(_)) => Route::Tunnel(proxy),
        };
        let name = match &route {
            Route::Direct => Name::new(&host, port),
            Route::Forward(proxy) | Route::Tunnel(proxy) => Name::new(&proxy.host, proxy.port),
        };
        let mut target = Self {
            host,
            port,
            route,
            name,
            tls,
            head: Vec::new(),
            stream_head: Vec::new(),
            renewed: None,
        };
        let renewed = headers.renewed.as_ref().map(|own| own.header());
        let mut fields = headers.fields.to_vec();
        fields.retain(|(name, _)| renewed.is_none_or(|own| !own.eq_ignore_ascii_case(name)));
        target.head = target.request_head(url, headers.whole, &fields)?;
        target.stream_head = target.request_head(url, headers.stream, &fields)?;
        target.renewed = headers.renewed.map(|credential| {
            Arc::new(Renewed {
                credential,
                line: Mutex::default(),
            })
        });
        Ok(target)
    }

    /// The same target, with GET.
    #[must_use]
    pub fn with_get(mut self) -> Self {
        for head in [&mut self.head, &mut self.stream_head] {
            let post = head.iter().take_while(|byte| **byte != b' ').count();
            head.splice(..post, *b"GET");
        }
        self
    }

    /// The proxy in use, for display; never with a password.
    #[must_use]
    pub fn proxy(&self) -> Option<String> {
        match &self.route {
            Route::Direct => None,
            Route::Forward(proxy) | Route::Tunnel(proxy) => Some(format!("{proxy:?}")),
        }
    }

    /// Source of the trusted certificates; `None` without TLS.
    #[must_use]
    pub fn tls_roots(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.roots.as_str())
    }

    /// The bytes of a request.
    fn request(&self, request: WireRequest<'_>) -> Vec<u8> {
        let WireRequest {
            body,
            stream,
            headers,
        } = request;
        let length = body.len().to_string();
        let head = if stream {
            &self.stream_head
        } else {
            &self.head
        };
        let head = if headers.is_empty() {
            Cow::Borrowed(head)
        } else {
            Cow::Owned(with_headers(head, headers))
        };
        let mut request = Vec::with_capacity(head.len() + length.len() + 4 + body.len());
        request.extend_from_slice(&head);
        if let Some(renewed) = &self.renewed {
            renewed.append_to(&mut request);
        }
        request.extend_from_slice(b"Content-Length: ");
        request.extend_from_slice(length.as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body);
        request
    }

    fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    fn request_head(
        &self,
        url: &Url,
        of_api: &[(&str, &str)],
        headers: &[(String, String)],
    ) -> Result<Vec<u8>, TargetError> {
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        let host = if self.port == default_port {
            url.host_str().unwrap_or_default().to_owned()
        } else {
            self.authority()
        };
        let line = match &self.route {
            Route::Forward(_) => format!("POST http://{host}{path} HTTP/1.1\r\n"),
            _ => format!("POST {path} HTTP/1.1\r\n"),
        };
        let mut head = line.into_bytes();
        let mut fields: Vec<(&str, &str)> = vec![
            ("Host", &host),
            (
                "User-Agent",
                concat!("evalscope/", env!("CARGO_PKG_VERSION")),
            ),
            ("Accept", "text/event-stream, application/json"),
            // without it a gateway may choose any coding (RFC 9110, section 12.5.3), and one that
            // compresses delays events
            ("Accept-Encoding", "identity"),
            ("Content-Type", "application/json"),
        ];
        if let Route::Forward(Proxy {
            authorization: Some(authorization),
            ..
        }) = &self.route
        {
            fields.push(("Proxy-Authorization", authorization));
        }
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in of_api.iter().copied().chain(headers) {
            let bad_name = name.is_empty() || !name.bytes().all(is_token_byte);
            let bad_value = value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f);
            if bad_name || bad_value {
                return Err(TargetError::Header(name.to_owned()));
            }
            fields.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            fields.push((name, value));
        }
        for (name, value) in fields {
            // we set the length ourselves
            if name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
            {
                continue;
            }
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        Ok(head)
    }
}

/// Host and port as written in a URL.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What is sent of one request.
#[derive(Clone, Copy, Debug)]
pub struct WireRequest<'a> {
    /// The body.
    pub body: &'a [u8],
    /// It asks for a stream.
    pub stream: bool,
    /// Well-formed headers of its own. One with the name of a shared header replaces it.
    pub headers: &'a [(String, String)],
}

/// A head with other headers: the request line, the fields that none of them replaces, and them.
fn with_headers(head: &[u8], headers: &[(String, String)]) -> Vec<u8> {
    let mut own = Vec::with_capacity(head.len() + 64 * headers.len());
    for (n, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_replaced = n > 0
            && headers
                .iter()
                .any(|(other, _)| other.as_bytes().eq_ignore_ascii_case(name));
        if !is_replaced {
            own.extend_from_slice(line);
        }
    }
    for (name, value) in headers {
        for part in [name.as_str(), ": ", value.as_str(), "\r\n"] {
            own.extend_from_slice(part.as_bytes());
        }
    }
    own
}

/// Timeouts of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// To make a connection: name, TCP, proxy and TLS together. Two minutes by default.
    pub connect: Option<Duration>,
    /// Silence: between two reads of a response, of a TLS handshake or of a proxy's response, and
    /// while sending, between two moments at which the peer accepts more of the request.
    pub read: Option<Duration>,
    /// For the whole request, from its dispatch to its end.
    pub total: Option<Duration>,
}

/// Interprets a response as it arrives.
pub trait ResponseHandler {
    /// The head has arrived.
    fn head(&mut self, head: Head, at: Arrival);
    /// Bytes of the body have arrived. All calls of one read have the same arrival, and `read`
    /// distinguishes reads.
    fn body(&mut self, bytes: &[u8], at: Arrival, read: u64);
    /// Nothing more is needed: how the response ends does not matter.
    fn is_satisfied(&self) -> bool;
    /// The moment after which we stop waiting, as things stand; `None` while something is missing.
    /// Data that arrives earlier may move it.
    fn ends_at(&self) -> Option<Timestamp>;
    /// Nothing more can be understood: there is no point in reading on.
    fn is_lost(&self) -> bool;
}

/// What is known about the sending of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendTimes {
    /// A connection was ready.
    pub connected: Option<Timestamp>,
    /// Just before the first byte was passed to the kernel.
    pub write_begun: Option<Timestamp>,
    /// Just after the last byte was.
    pub write_done: Option<Timestamp>,
    /// Arrival of the first byte of the response.
    pub first_byte: Option<Timestamp>,
    /// What the connection cost.
    pub cost: ConnectCost,
    /// The peer of the connection.
    pub peer: Option<SocketAddr>,
}

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
        exchange.send(self.target.request(request), times).await?;
        let keep = exchange.receive(times, handler).await?;
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
