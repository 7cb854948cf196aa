//! Owns detecting a wrong scheme in a URL: `https://` for a port that speaks plain HTTP, or the
//! other way round.
//!
//! It is used when a test request has failed. Nothing is measured here, so it does not use the
//! engine's transport.
//!
//! It must not know what the server answers, beyond its first bytes.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use evalscope_model::record::{FailureKind, RequestRecord};
use url::Url;

/// How long to wait for a connection or a response.
const LIMIT: Duration = Duration::from_secs(1);

/// The URL with the scheme that the port speaks, if that differs from the URL's.
pub(crate) fn meant(url: &Url, record: &RequestRecord, said: &[u8]) -> Option<Url> {
    let failure = record.failure.as_ref()?;
    let nothing_came = record.http_status.is_none()
        && matches!(
            failure.kind,
            FailureKind::ConnectTimeout
                | FailureKind::Malformed
                | FailureKind::ReadTimeout
                | FailureKind::Reset
                | FailureKind::Tls
                | FailureKind::Truncated
        );
    let scheme = if url.scheme() == "https" {
        // a certificate that is not trusted was sent by TLS
        let is_plain = nothing_came
            && !failure.message.contains("certificate")
            && (failure.message.contains("does not speak TLS") || speaks_plain_http(url));
        is_plain.then_some("http")?
    } else {
        // nginx, Go and others answer unencrypted requests with these words
        let said = String::from_utf8_lossy(said).to_ascii_lowercase();
        let told = failure.kind == FailureKind::Status(400) && said.contains("https");
        ((nothing_came || told) && speaks_tls(url)).then_some("https")?
    };
    let mut meant = url.clone();
    let port = url.port_or_known_default();
    meant.set_scheme(scheme).ok()?;
    meant.set_port(port).ok()?;
    Some(meant)
}

/// Whether the first bytes of an answer to a greeting of TLS are a record of TLS: a handshake or
/// an alert, of any version (RFC 8446, 5.1).
fn speaks_tls(url: &Url) -> bool {
    let answer = ask(url, &client_hello(), 3);
    answer.is_some_and(|answer| matches!(answer[..], [0x15 | 0x16, 3, _]))
}

/// Whether a request that is not encrypted is answered, and not with the complaint of a server
/// that expects TLS.
fn speaks_plain_http(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = ask(url, request.as_bytes(), 12);
    answer.is_some_and(|answer| answer.starts_with(b"HTTP/1.") && !answer.ends_with(b" 400"))
}

/// The first bytes of what is answered to some others.
fn ask(url: &Url, question: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let host = url.host_str()?.trim_matches(['[', ']']);
    let mut addresses = (host, url.port_or_known_default()?)
        .to_socket_addrs()
        .ok()?;
    let mut stream = TcpStream::connect_timeout(&addresses.next()?, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream.set_write_timeout(Some(LIMIT)).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

/// The first message of a client of TLS 1.2 (RFC 5246, 7.4.1.2). A server that does not like it
/// says so by an alert.
fn client_hello() -> Vec<u8> {
    /// Bytes after their length, of two bytes.
    fn sized(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("a greeting is short");
        [&length.to_be_bytes(), bytes].concat()
    }
    let ciphers = [
        // the usual ones, with forward secrecy and without, and those of TLS 1.3
        0xc02b_u16, 0xc02f, 0xc02c, 0xc030, 0x009c, 0x002f, 0x1301, 0x1302,
    ];
    let ciphers = ciphers.map(u16::to_be_bytes).concat();
    // supported groups, point formats and signature algorithms
    let extensions: [(u16, &[u8]); 3] = [
        (10, &[0, 4, 0, 29, 0, 23]),
        (11, &[1, 0]),
        (13, &[0, 8, 4, 3, 8, 4, 4, 1, 2, 1]),
    ];
    let extensions = extensions
        .map(|(kind, body)| [&kind.to_be_bytes()[..], &sized(body)].concat())
        .concat();
    let body = [
        &[3, 3][..],
        // a random number that need not be one
        &[7; 32],
        &[0],
        &sized(&ciphers),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    // a handshake message of kind 1 has a length of three bytes
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[0x16, 3, 1][..], &sized(&message)].concat()
}
