//! Our response parser compared with hyper's: if hyper has a complete response, so have we, with
//! the same status and the same body.
//!
//! Input: a byte that selects the start of the head, then the bytes from the server, which then
//! closes the connection.
//!
//! Deliberate differences, which are excluded here:
//! * 101: hyper hands over the connection, we support no other protocol.
//! * hyper ignores a transfer coding or a length with a byte above 127 in its header.
//! * We reject transfer codings other than `chunked`; hyper emits the encoded bytes.
//! * A `Transfer-Encoding` that is empty or `identity` names no coding for us, so a length beside it
//!   counts; hyper then reads until the connection closes.
//! * We reject an invalid length even if the body is framed otherwise (204, a transfer coding), and
//!   endless interim responses.
//! * We accept what hyper rejects: a bare line feed in chunked framing, HTTP/1.0 with a chunked
//!   body, trailers that are not header fields, more than 100 headers. Nothing is asserted then.
#![no_main]

use std::cell::RefCell;

use bytes::Bytes;
use evalscope_core::http1::{Head, HttpError, Progress, Receiver, ResponseReader};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

#[derive(Default, Debug)]
struct Seen {
    head: Option<Head>,
    body: Vec<u8>,
}

impl Receiver for Seen {
    fn head(&mut self, head: Head) {
        assert!(self.head.is_none(), "two heads");
        self.head = Some(head);
    }
    fn body(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }
}

fn ours(bytes: &[u8]) -> Result<Option<(u16, Vec<u8>)>, HttpError> {
    let mut reader = ResponseReader::default();
    let mut seen = Seen::default();
    let (_, progress) = reader.push(bytes, &mut seen)?;
    let complete = progress == Progress::Complete || reader.complete_at_close();
    let head = seen.head.filter(|_| complete);
    Ok(head.map(|head| (head.status, seen.body)))
}

/// hyper's result for a server that sends this and closes.
async fn hypers(bytes: Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let (client, mut server) = duplex(1 << 20);
    let (mut sender, connection) = handshake(TokioIo::new(client)).await.ok()?;
    let connection = tokio::spawn(connection);
    let server = tokio::spawn(async move {
        // hyper treats bytes that arrive before its request as an error
        let mut request = [0; 1024];
        let _ = server.read(&mut request).await;
        let _ = server.write_all(&bytes).await;
    });
    let request = hyper::Request::get("/").header("host", "x");
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?;
        Some((status, body.to_bytes().to_vec()))
    }
    .await;
    connection.abort();
    server.abort();
    answer
}

/// What we reject by design, recognised by the message.
fn is_refused(error: &HttpError) -> bool {
    let said = error.to_string();
    said.starts_with("`transfer-encoding: ") || said.contains("interim")
}

/// Some head in it has a transfer coding.
fn is_coded(bytes: &[u8]) -> bool {
    let text = bytes.to_ascii_lowercase();
    text.windows(18).any(|word| word == b"transfer-encoding:")
}

const HEADS: [&[u8]; 4] = [
    b"",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
];

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().build().expect("a single-threaded runtime"),
    );
}

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first() else {
        return;
    };
    if !data.is_ascii() {
        return;
    }
    let bytes = [HEADS[usize::from(*head) % HEADS.len()], rest].concat();
    let theirs = RUNTIME.with_borrow(|runtime| runtime.block_on(hypers(bytes.clone())));
    let Some((status, body)) = theirs.filter(|(status, _)| *status != 101) else {
        return;
    };
    match ours(&bytes) {
        Ok(Some(ours)) if is_coded(&bytes) && ours.1.len() < body.len() => {
            // without a coding that means anything, the length counts for us
            assert_eq!(ours.0, status);
            assert!(body.starts_with(&ours.1), "{ours:?} {body:?}");
        }
        Ok(Some(ours)) => assert_eq!(ours, (status, body)),
        Err(HttpError::Length(_)) if is_coded(&bytes) || matches!(status, 204 | 304) => {}
        Err(error) if is_refused(&error) => {}
        other => panic!(
            "hyper got {status} with {} bytes, we got {other:?}",
            body.len()
        ),
    }
});
