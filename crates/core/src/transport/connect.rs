//! Owns making a connection: name, addresses, TCP, proxy tunnel, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::socket::{ReadContext, Socket};
use super::tls::TlsSession;
use super::{Route, Target, TransportError};
use crate::http1::{Head, Receiver, ResponseReader};
use crate::record::{ConnectCost, FailureKind};

/// How long one address may take before the next is tried beside it
/// (RFC 8305, section 5: the recommended 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection that is ready for a request.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) socket: Socket,
    pub(super) tls: Option<TlsSession>,
    pub(super) cost: ConnectCost,
    /// The other end: the server, or the proxy.
    pub(super) peer: Option<SocketAddr>,
}

/// Connect to a target.
pub(super) async fn connect(
    target: &Target,
    context: &ReadContext,
) -> Result<Connected, TransportError> {
    let (host, port) = match &target.route {
        Route::Direct => (&target.host, target.port),
        Route::Forward(proxy) | Route::Tunnel(proxy) => (&proxy.host, proxy.port),
    };
    let clock = context.clock();
    let begun = clock.now();
    let addresses = resolve(host, port).await?;
    let resolved = clock.now();
    let stream = race(&addresses).await.map_err(|error| {
        TransportError::new(
            FailureKind::Connect,
            format!("cannot connect to {host}:{port}: {}", plain(&error)),
        )
    })?;
    let peer = stream.peer_addr().ok();
    let socket = Socket::new(stream, context).map_err(|error| {
        TransportError::new(FailureKind::Connect, format!("socket of {host}: {error}"))
    })?;
    if let Route::Tunnel(_) = target.route {
        tunnel(&socket, target, context).await?;
    }
    let connected = clock.now();
    let tls = match &target.tls {
        None => None,
        Some(setup) => {
            let session = setup
                .session(&target.host)
                .map_err(|reason| TransportError::new(FailureKind::Tls, reason))?;
            Some(handshake(&socket, session, context).await?)
        }
    };
    let ready = clock.now();
    Ok(Connected {
        socket,
        tls,
        cost: ConnectCost {
            reused: false,
            dns_ns: resolved.nanos_since(begun),
            tcp_ns: connected.nanos_since(resolved),
            tls_ns: ready.nanos_since(connected),
        },
        peer,
    })
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let fail = |reason: String| {
        TransportError::new(
            FailureKind::Dns,
            format!("cannot find the address of {host}: {reason}"),
        )
    };
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found.map_err(|error| fail(plain(&error)))?.collect();
    if found.is_empty() {
        return Err(fail("it has none".to_owned()));
    }
    Ok(interleaved(&found))
}

/// The resolver's order, but the families in turn (RFC 8305, section 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut a, mut b): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = Vec::with_capacity(addresses.len());
    a.reverse();
    b.reverse();
    while !(a.is_empty() && b.is_empty()) {
        order.extend(a.pop());
        order.extend(b.pop());
    }
    order
}

/// Happy Eyeballs: each next address starts when the one before has failed or
/// taken [`ATTEMPT_DELAY`]; the first to connect wins.
async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = addresses {
        return TcpStream::connect(only).await;
    }
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.iter().copied();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(last_error);
        }
        let delay = tokio::time::sleep(ATTEMPT_DELAY);
        tokio::select! {
            Some(result) = attempts.join_next() => match result {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last_error = error,
                Err(error) => last_error = io::Error::other(error),
            },
            () = delay, if waiting.len() > 0 => {}
        }
    }
}

/// What a proxy says to `CONNECT`.
#[derive(Default)]
struct ProxyAnswer(Option<Head>);

impl Receiver for ProxyAnswer {
    fn head(&mut self, head: Head) {
        self.0 = Some(head);
    }
    fn body(&mut self, _: &[u8]) {}
}

async fn tunnel(
    socket: &Socket,
    target: &Target,
    context: &ReadContext,
) -> Result<(), TransportError> {
    let Route::Tunnel(proxy) = &target.route else {
        return Ok(());
    };
    let fail = |reason: String| {
        TransportError::new(
            FailureKind::Proxy,
            format!("proxy {}:{}: {reason}", proxy.host, proxy.port),
        )
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
    socket
        .write_all(request.as_bytes())
        .await
        .map_err(io_fail)?;
    let mut reader = ResponseReader::default();
    let mut answer = ProxyAnswer::default();
    while answer.0.is_none() {
        let read = socket
            .read(context, |bytes, _| reader.push(bytes, &mut answer))
            .await
            .map_err(io_fail)?;
        match read {
            None => return Err(fail("closed the connection".to_owned())),
            Some(Err(error)) => return Err(fail(error.to_string())),
            Some(Ok(_)) => {}
        }
    }
    match answer.0 {
        Some(head) if (200..300).contains(&head.status) => Ok(()),
        Some(head) => Err(fail(format!(
            "status {} to CONNECT {authority}",
            head.status
        ))),
        None => Err(fail("no answer".to_owned())),
    }
}

async fn handshake(
    socket: &Socket,
    mut session: TlsSession,
    context: &ReadContext,
) -> Result<TlsSession, TransportError> {
    let fail = |reason: String| TransportError::new(FailureKind::Tls, format!("TLS: {reason}"));
    loop {
        let output = session.take_output();
        if !output.is_empty() {
            let written = socket.write_all(&output).await;
            written.map_err(|error| fail(plain(&error)))?;
        }
        if !session.is_handshaking() {
            return Ok(session);
        }
        let read = socket
            .read(context, |bytes, _| session.read(bytes, |_| {}))
            .await;
        match read {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(reason))) => {
                // tell the peer why, as far as it still listens
                let alert = session.take_output();
                let _ = socket.write_all(&alert).await;
                return Err(fail(reason));
            }
            Ok(None) => return Err(fail("the server closed the connection".to_owned())),
            Err(error) => return Err(fail(plain(&error))),
        }
    }
}

/// The system's words without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "1.1.1.2:1"].map(parse);
        let order: Vec<String> = interleaved(&given)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1"]);
    }
}
