//! Owns making a connection: TCP to one of the addresses, proxy tunnel, TLS.
//!
//! It must not know how names are resolved, or what is sent afterwards.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::deadline::{Deadline, Stage};
use super::error::{TransportError, not_http, plain};
use super::proxy::Proxy;
use super::resolve::Name;
use super::socket::{ReadContext, Socket, Wire, write_all};
use super::target::{Route, Target};
use super::tls::TlsSession;
use crate::http1::{Head, Receiver, ResponseReader};
use evalscope_model::record::{ConnectCost, FailureKind};
use evalscope_model::time::Timestamp;

/// How long one address may take before the next is tried in parallel (RFC 8305, section 5: the
/// recommended 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection that is ready for a request.
#[derive(Debug)]
pub(super) struct Connected<W> {
    pub(super) socket: W,
    pub(super) tls: Option<TlsSession>,
    pub(super) cost: ConnectCost,
    /// The peer: the server, or the proxy.
    pub(super) peer: Option<SocketAddr>,
}

/// Connect to a target.
pub(super) async fn connect(
    target: &Target,
    context: &ReadContext,
    deadline: &Deadline,
) -> Result<Connected<Socket>, TransportError> {
    let begun = context.now();
    let reached = deadline
        .hold(context, Stage::Connect, &Cell::new(begun), async {
            let addresses = target.name.addresses().await;
            let addresses = addresses.map_err(|reason| not_found(target, &reason))?;
            let resolved = context.now();
            let stream = race(&target.name, &addresses).await;
            let stream = stream.map_err(|error| unreachable(target, &plain(&error)))?;
            Ok((resolved, stream))
        })
        .await;
    let (resolved, stream) = reached?;
    let peer = stream.peer_addr().ok();
    let socket =
        Socket::new(stream, context).map_err(|error| unreachable(target, &plain(&error)))?;
    let (tls, connected) = establish(&socket, target, context, deadline).await?;
    Ok(Connected {
        socket,
        tls,
        cost: ConnectCost {
            reused: false,
            dns_ns: resolved.nanos_since(begun),
            tcp_ns: connected.nanos_since(resolved),
            tls_ns: context.now().nanos_since(connected),
        },
        peer,
    })
}

fn not_found(target: &Target, reason: &str) -> TransportError {
    match &target.route {
        Route::Direct => TransportError::new(
            FailureKind::Dns,
            format!("cannot resolve {}: {reason}", target.host),
        ),
        Route::Forward(proxy) | Route::Tunnel(proxy) => {
            let reason = format!("cannot resolve {}: {reason}", proxy.host);
            unreachable(target, &reason)
        }
    }
}

fn unreachable(target: &Target, reason: &str) -> TransportError {
    let place = target.name.shown();
    match &target.route {
        Route::Direct => TransportError::new(
            FailureKind::Connect,
            format!("cannot connect to {place}: {reason}"),
        ),
        Route::Forward(_) | Route::Tunnel(_) => TransportError::new(
            FailureKind::Proxy,
            format!("cannot connect to the proxy {place}: {reason}"),
        ),
    }
}

/// Everything after TCP: the proxy's tunnel and TLS, if needed. Returns when the server could be
/// reached.
pub(super) async fn establish<W: Wire>(
    socket: &W,
    target: &Target,
    context: &ReadContext,
    deadline: &Deadline,
) -> Result<(Option<TlsSession>, Timestamp), TransportError> {
    if let Route::Tunnel(proxy) = &target.route {
        let heard = Cell::new(context.now());
        let opening = tunnel(socket, target, proxy, context, &heard);
        deadline
            .hold(context, Stage::Tunnel, &heard, opening)
            .await?;
    }
    let connected = context.now();
    let Some(setup) = &target.tls else {
        return Ok((None, connected));
    };
    let session = setup
        .session(&target.host)
        .map_err(|reason| TransportError::new(FailureKind::Tls, reason))?;
    let heard = Cell::new(connected);
    let shaking = handshake(socket, session, context, &heard);
    let session = deadline
        .hold(context, Stage::Handshake, &heard, shaking)
        .await?;
    Ok((Some(session), connected))
}

/// Happy Eyeballs: each address is tried when the one before has failed or taken [`ATTEMPT_DELAY`];
/// the first to connect wins. Reports to `name` which addresses failed, and which lost to one that
/// started later.
async fn race(name: &Name, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = addresses {
        let connected = TcpStream::connect(only).await;
        if connected.is_err() {
            name.tried(addresses, None);
        }
        return connected;
    }
    let mut attempts = JoinSet::new();
    let mut started = 0;
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(&address) = addresses.get(started) {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            started += 1;
        } else if attempts.is_empty() {
            name.tried(addresses, None);
            return Err(last_error);
        }
        let delay = tokio::time::sleep(ATTEMPT_DELAY);
        tokio::select! {
            Some(result) = attempts.join_next() => match result {
                Ok((winner, Ok(stream))) => {
                    let place = addresses.iter().position(|address| *address == winner);
                    let beaten = &addresses[..place.unwrap_or(0)];
                    if !beaten.is_empty() {
                        name.tried(beaten, Some(winner));
                    }
                    return Ok(stream);
                }
                Ok((_, Err(error))) => last_error = error,
                Err(error) => last_error = io::Error::other(error),
            },
            () = delay, if started < addresses.len() => {}
        }
    }
}

/// A proxy's response to `CONNECT`.
#[derive(Default)]
struct ProxyAnswer(Option<Head>);

impl Receiver for ProxyAnswer {
    fn head(&mut self, head: Head) {
        self.0 = Some(head);
    }
    fn body(&mut self, _: &[u8]) {}
}

async fn tunnel(
    socket: &impl Wire,
    target: &Target,
    proxy: &Proxy,
    context: &ReadContext,
    heard: &Cell<Timestamp>,
) -> Result<(), TransportError> {
    let fail = |reason: String| {
        let place = target.name.shown();
        TransportError::new(FailureKind::Proxy, format!("proxy {place}: {reason}"))
    };
    let authority = target.authority();
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let io_fail = |error: io::Error| fail(plain(&error));
    write_all(socket, &mut [IoSlice::new(request.as_bytes())], || {
        heard.set(context.now());
    })
    .await
    .map_err(io_fail)?;
    let mut reader = ResponseReader::default();
    let mut answer = ProxyAnswer::default();
    while answer.0.is_none() {
        let read = socket
            .read(context, |bytes, _| reader.push(bytes, &mut answer))
            .await
            .map_err(io_fail)?;
        heard.set(context.now());
        match read {
            None => return Err(fail("closed the connection".to_owned())),
            Some(Err(error)) => return Err(fail(not_http(&error).message)),
            Some(Ok(_)) => {}
        }
    }
    match answer.0 {
        Some(Head { status, .. }) if (200..300).contains(&status) => Ok(()),
        Some(Head { status, .. }) => Err(fail(format!("status {status} to CONNECT {authority}"))),
        None => Err(fail("no response".to_owned())),
    }
}

async fn handshake(
    socket: &impl Wire,
    mut session: TlsSession,
    context: &ReadContext,
    heard: &Cell<Timestamp>,
) -> Result<TlsSession, TransportError> {
    let fail = |reason: String| TransportError::new(FailureKind::Tls, format!("TLS: {reason}"));
    loop {
        let output = session.take_output();
        if !output.is_empty() {
            let written = write_all(socket, &mut [IoSlice::new(&output)], || {
                heard.set(context.now());
            })
            .await;
            written.map_err(|error| fail(plain(&error)))?;
        }
        if !session.is_handshaking() {
            return Ok(session);
        }
        let read = socket
            .read(context, |bytes, _| session.read(bytes, |_| {}))
            .await;
        heard.set(context.now());
        match read {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => {
                // tell the peer why, if it still listens
                let alert = session.take_output();
                let _ = write_all(socket, &mut [IoSlice::new(&alert)], || {}).await;
                return Err(fail(error.while_shaking_hands()));
            }
            Ok(None) => return Err(fail("the server closed the connection".to_owned())),
            Err(error) => return Err(fail(plain(&error))),
        }
    }
}
