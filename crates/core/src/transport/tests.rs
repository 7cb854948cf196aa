//! Tests of a request's limits and of what ends a connection, with scripts instead of sockets and
//! with the runtime's time paused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice, Write as _};

use proptest::prelude::*;
use tokio::time::Instant;

use super::connect::establish;
use super::deadline::Stage;
use super::socket::Wire;
use super::*;
use crate::http1::Head;
use evalscope_model::prompt::OwnTarget;
use evalscope_model::record::{ArrivalClock, FailureKind};
use evalscope_model::time::Timestamp;
use url::Url;

/// What happens next, and after how long.
#[derive(Clone, Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Close,
}

/// A connection whose peer follows a script and is silent after it.
#[derive(Default)]
struct Script {
    reads: RefCell<VecDeque<(Duration, Piece)>>,
    /// When the next piece is ready: set when it is first awaited.
    ready: Cell<Option<Instant>>,
    /// How long each further write waits; after the last, nothing is accepted.
    writes: RefCell<VecDeque<Duration>>,
    /// All writes are accepted at once.
    takes_all: bool,
    /// Number of bytes that one write accepts.
    takes: usize,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Script {
    fn answering(reads: impl IntoIterator<Item = (Duration, Piece)>) -> Self {
        Self {
            reads: RefCell::new(reads.into_iter().collect()),
            takes_all: true,
            ..Self::default()
        }
    }
}

impl Wire for Script {
    async fn read<R>(
        &self,
        context: &ReadContext,
        sink: impl FnOnce(&[u8], Arrival) -> R,
    ) -> io::Result<Option<R>> {
        let Some((delay, piece)) = self.reads.borrow().front().cloned() else {
            return pending().await;
        };
        let ready = self.ready.get().unwrap_or_else(|| Instant::now() + delay);
        self.ready.set(Some(ready));
        tokio::time::sleep_until(ready).await;
        self.ready.set(None);
        self.reads.borrow_mut().pop_front();
        let arrival = Arrival {
            at: context.now(),
            clock: ArrivalClock::User,
            handling_ns: None,
        };
        match piece {
            Piece::Bytes(bytes) => Ok(Some(sink(&bytes, arrival))),
            Piece::Close => Ok(None),
        }
    }

    async fn write_some(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.takes_all {
            return Ok(bytes);
        }
        let Some(delay) = self.writes.borrow_mut().pop_front() else {
            return pending().await;
        };
        tokio::time::sleep(delay).await;
        Ok(bytes.min(self.takes))
    }
}

/// Records what arrives. In its bodies `f` means that only the end is missing, `d` is more data,
/// and anything else is a comment.
#[derive(Default)]
struct Noted {
    body: Vec<u8>,
    arrivals: Vec<(Timestamp, u64)>,
    status: u16,
    finished: bool,
    last_data: Timestamp,
    done: bool,
    limit: Option<usize>,
}

const GRACE: Duration = Duration::from_secs(2);

impl ResponseHandler for Noted {
    fn head(&mut self, head: Head, _: Arrival) {
        self.status = head.status;
    }
    fn body(&mut self, bytes: &[u8], at: Arrival, read: u64) {
        self.body.extend_from_slice(bytes);
        self.arrivals.push((at.at, read));
        self.finished |= bytes.contains(&b'f');
        if bytes.iter().any(|byte| b"fd".contains(byte)) {
            self.last_data = at.at;
        }
    }
    fn is_satisfied(&self) -> bool {
        self.done || self.status != 200 && self.status != 0
    }
    fn ends_at(&self) -> Option<Timestamp> {
        self.finished.then(|| self.last_data.after(GRACE))
    }
    fn is_lost(&self) -> bool {
        self.limit.is_some_and(|limit| self.body.len() >= limit)
    }
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

fn timeouts(connect: Option<u64>, read: Option<u64>, total: Option<u64>) -> Timeouts {
    Timeouts {
        connect: connect.map(ms),
        read: read.map(ms),
        total: total.map(ms),
    }
}

fn target(url: &str, proxies: &ProxyEnv) -> Target {
    let trust = TlsTrust {
        insecure: true,
        ca_cert: None,
    };
    let url = Url::parse(url).unwrap();
    Target::new(&url, RequestHeaders::default(), proxies, &trust).unwrap()
}

fn bytes(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

/// The result of one request.
#[derive(Debug)]
struct Went {
    result: Result<bool, TransportError>,
    took: Duration,
}

impl Went {
    fn kind(&self) -> Option<FailureKind> {
        self.result.as_ref().err().map(|error| error.kind)
    }
    fn message(&self) -> &str {
        self.result
            .as_ref()
            .err()
            .map_or("", |error| &error.message)
    }
}

/// A request for a stream, with nothing of its own.
fn streamed(body: &[u8]) -> WireRequest<'_> {
    WireRequest {
        body: [body, &[]],
        stream: true,
        kept_header: None,
        target: None,
        headers: &[],
    }
}

/// One request; its name lookup takes a while and its connection is a script.
fn request(
    target: &Target,
    timeouts: Timeouts,
    name: Duration,
    script: Script,
    body: usize,
    handler: &mut Noted,
) -> Went {
    paused(async {
        let context = ReadContext::of_runtime();
        let begun = context.now();
        let deadline = Deadline::new(timeouts, begun);
        let result = async {
            deadline
                .hold(&context, Stage::Connect, &Cell::new(begun), async {
                    tokio::time::sleep(name).await;
                    Ok(())
                })
                .await?;
            let (tls, _) = establish(&script, target, &context, &deadline).await?;
            let connection = Connected {
                socket: script,
                tls,
                cost: ConnectCost::default(),
                peer: None,
            };
            let mut reads = 0;
            let mut times = SendTimes::default();
            let mut exchange = Exchanging::new(connection, &context, deadline, &mut reads);
            let body = vec![b'x'; body];
            let head = target.head(streamed(&body));
            exchange.send([&head, &body, &[]], &mut times).await?;
            exchange.receive(&mut times, handler, None).await
        }
        .await;
        Went {
            result,
            took: context.now().since(begun),
        }
    })
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn plain_target() -> Target {
    target("http://model.invalid/v1", &ProxyEnv::default())
}

fn tunnel_target() -> Target {
    let proxies = ProxyEnv {
        https: Some("http://proxy.invalid:3128".to_owned()),
        ..ProxyEnv::default()
    };
    target("https://model.invalid/v1", &proxies)
}

fn answered(timeouts: Timeouts, reads: Vec<(Duration, Piece)>) -> (Went, Noted) {
    let mut noted = Noted::default();
    let script = Script::answering(reads);
    let went = request(&plain_target(), timeouts, ms(0), script, 10, &mut noted);
    (went, noted)
}

/// Timers fire up to a millisecond late, and limits are checked a millisecond after them.
const LATE: Duration = Duration::from_millis(3);

fn about(took: Duration, want: Duration) -> bool {
    took >= want && took <= want + LATE
}

#[test]
fn a_silent_peer_ends_the_handshake_and_the_tunnel() {
    let direct = target("https://model.invalid/v1", &ProxyEnv::default());
    for (target, words) in [
        (direct, "nothing arrived for 2 s during the TLS handshake"),
        (tunnel_target(), "nothing arrived from the proxy for 2 s"),
    ] {
        let silent = |timeouts| {
            let mut noted = Noted::default();
            request(
                &target,
                timeouts,
                ms(0),
                Script::answering([]),
                10,
                &mut noted,
            )
        };
        let went = silent(timeouts(None, Some(2000), Some(60_000)));
        assert_eq!(went.message(), words);
        assert_eq!(went.kind(), Some(FailureKind::ReadTimeout));
        assert!(about(went.took, ms(2000)), "{went:?}");
        let went = silent(timeouts(Some(3000), None, Some(60_000)));
        assert_eq!(went.kind(), Some(FailureKind::ConnectTimeout));
        assert!(about(went.took, ms(3000)), "{went:?}");
        let went = silent(timeouts(Some(8000), None, Some(2000)));
        assert_eq!(went.kind(), Some(FailureKind::TotalTimeout));
        assert!(about(went.took, ms(2000)), "{went:?}");
        // without any option there is still a limit
        let went = silent(timeouts(None, None, None));
        assert_eq!(went.message(), "no connection within 120 s");
        // the test request has only a limit on silence
        let went = silent(timeouts(None, Some(120_000), None));
        assert!(about(went.took, ms(120_000)), "{went:?}");
    }
}

#[test]
fn a_peer_that_says_a_byte_now_and_then_is_not_waited_for_without_end() {
    let trickle = (0..10_000).map(|_| (ms(900), bytes("H")));
    let mut noted = Noted::default();
    let went = request(
        &tunnel_target(),
        timeouts(None, Some(1000), None),
        ms(0),
        Script::answering(
            [(ms(900), bytes("HTTP/1.1 200 OK\r\nx: "))]
                .into_iter()
                .chain(trickle),
        ),
        10,
        &mut noted,
    );
    assert_eq!(went.message(), "no connection within 120 s");
}

#[test]
fn an_upload_may_take_long_but_not_stand_still() {
    let upload = |writes: Vec<Duration>, total| {
        let script = Script {
            writes: RefCell::new(writes.into()),
            takes: 1000,
            reads: RefCell::new(
                [(ms(1), bytes("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))].into(),
            ),
            ..Script::default()
        };
        let mut noted = Noted::default();
        let limits = timeouts(None, Some(1000), total);
        request(&plain_target(), limits, ms(0), script, 20_000, &mut noted)
    };
    // 18 s in total, never a whole second without a byte
    let went = upload(vec![ms(900); 30], None);
    assert_eq!(went.result, Ok(true));
    assert!(went.took > ms(18_000), "{went:?}");
    let went = upload([vec![ms(900); 5], vec![ms(1500); 20]].concat(), None);
    assert_eq!(
        went.message(),
        "the server accepted no more of the request for 1 s"
    );
    assert_eq!(went.kind(), Some(FailureKind::ReadTimeout));
    assert!(about(went.took, ms(5500)), "{went:?}");
    let went = upload(vec![ms(900); 30], Some(4000));
    assert_eq!(went.kind(), Some(FailureKind::TotalTimeout));
    assert!(about(went.took, ms(4000)), "{went:?}");
}

#[test]
fn a_silent_server_ends_the_answer() {
    let limits = timeouts(None, Some(1000), Some(5000));
    let reads = vec![(ms(700), bytes(CHUNKED)), (ms(700), bytes("1\r\na\r\n"))];
    let (went, _) = answered(limits, reads);
    assert_eq!(went.message(), "nothing arrived for 1 s");
    assert!(about(went.took, ms(2400)), "{went:?}");
    let busy = (0..100).map(|_| (ms(700), bytes("1\r\na\r\n")));
    let (went, _) = answered(
        limits,
        std::iter::once((ms(0), bytes(CHUNKED)))
            .chain(busy)
            .collect(),
    );
    assert_eq!(went.message(), "not finished within 5 s");
    assert!(about(went.took, ms(5000)), "{went:?}");
}

fn finished_then(more: impl IntoIterator<Item = (Duration, Piece)>) -> Vec<(Duration, Piece)> {
    let first = [(ms(0), bytes(CHUNKED)), (ms(100), bytes("1\r\nf\r\n"))];
    first.into_iter().chain(more).collect()
}

#[test]
fn comments_do_not_hold_an_answer_that_has_finished() {
    let comments = || (0..1000).map(|_| (ms(250), bytes("1\r\n:\r\n")));
    let limits = timeouts(None, Some(60_000), None);
    let (went, _) = answered(limits, finished_then(comments()));
    assert_eq!(went.result, Ok(false), "such a connection is not reused");
    assert!(about(went.took, ms(2100)), "{went:?}");
    // nor do thousands per second
    let flood = (0..20_000).map(|_| (Duration::from_micros(200), bytes("1\r\n:\r\n")));
    let (went, _) = answered(limits, finished_then(flood));
    assert!(about(went.took, ms(2100)), "{went:?}");
}

#[test]
fn data_moves_the_end() {
    let limits = timeouts(None, Some(60_000), None);
    let later = vec![
        (ms(1500), bytes("1\r\nd\r\n")),
        (ms(1900), bytes("1\r\n:\r\n")),
        (ms(50), bytes("1\r\nd\r\n")),
    ];
    let (went, noted) = answered(limits, finished_then(later));
    assert_eq!(went.result, Ok(false));
    assert_eq!(noted.body, b"fd:d");
    assert!(about(went.took, ms(100 + 1500 + 1950 + 2000)), "{went:?}");
    // an end that arrives in time is a proper end
    let (went, _) = answered(limits, finished_then([(ms(1500), bytes("0\r\n\r\n"))]));
    assert_eq!((went.result, went.took < ms(1650)), (Ok(true), true));
}

#[test]
fn limits_within_the_grace_fail_no_answer_that_has_finished() {
    for limits in [
        timeouts(None, Some(500), None),
        timeouts(None, None, Some(1000)),
    ] {
        let (went, _) = answered(limits, finished_then([]));
        assert_eq!(went.result, Ok(false), "{limits:?}");
        assert!(went.took < ms(1100));
    }
}

#[test]
fn errors_before_any_answer_name_what_was_found() {
    let (went, _) = answered(
        Timeouts::default(),
        vec![(ms(1), Piece::Bytes(vec![0x15, 3, 3, 0, 2, 2, 40]))],
    );
    assert_eq!(went.kind(), Some(FailureKind::Malformed));
    assert_eq!(went.message(), "the server speaks TLS on this port");
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(300 << 10));
    let (went, _) = answered(Timeouts::default(), vec![(ms(1), bytes(&huge))]);
    assert_eq!(went.kind(), Some(FailureKind::TooLarge));
    let direct = target("https://model.invalid/v1", &ProxyEnv::default());
    let plain = Script::answering([(ms(1), bytes("HTTP/1.1 400 Bad Request\r\n\r\n"))]);
    let went = request(
        &direct,
        Timeouts::default(),
        ms(0),
        plain,
        1,
        &mut Noted::default(),
    );
    assert_eq!(went.kind(), Some(FailureKind::Tls));
    assert_eq!(
        went.message(),
        "TLS: the server does not speak TLS on this port"
    );
}

#[test]
fn a_connection_is_used_again_only_when_nothing_followed_the_answer() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".as_slice();
    let receive = |coded: &dyn Fn(&mut rustls::ServerConnection) -> Vec<u8>| {
        let (session, mut server) = tls::pair();
        let coded = coded(&mut server);
        paused(async {
            let context = ReadContext::of_runtime();
            let connection = Connected {
                socket: Script::answering([(ms(1), Piece::Bytes(coded))]),
                tls: Some(session),
                cost: ConnectCost::default(),
                peer: None,
            };
            let deadline = Deadline::new(timeouts(None, Some(1000), None), context.now());
            let mut reads = 0;
            let mut exchange = Exchanging::new(connection, &context, deadline, &mut reads);
            let mut noted = Noted::default();
            let kept = exchange
                .receive(&mut SendTimes::default(), &mut noted, None)
                .await;
            assert_eq!(noted.body, b"ok");
            kept
        })
    };
    let sealed = |server: &mut rustls::ServerConnection| {
        let mut out = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut out).unwrap();
        }
        out
    };
    let in_order = receive(&|server| {
        server.writer().write_all(answer).unwrap();
        sealed(server)
    });
    assert_eq!(in_order, Ok(true));
    let closed = receive(&|server| {
        server.writer().write_all(answer).unwrap();
        server.send_close_notify();
        sealed(server)
    });
    assert_eq!(closed, Ok(false));
    let more = receive(&|server| {
        server.writer().write_all(answer).unwrap();
        let mut out = sealed(server);
        server.writer().write_all(b"more").unwrap();
        out.extend(sealed(server));
        out
    });
    assert_eq!(more, Ok(false));
    let more_in_one_record = receive(&|server| {
        server
            .writer()
            .write_all(&[answer, b"more"].concat())
            .unwrap();
        sealed(server)
    });
    assert_eq!(more_in_one_record, Ok(false));
    let broken = receive(&|server| {
        server.writer().write_all(answer).unwrap();
        let mut out = sealed(server);
        out.extend([0x17, 3, 3, 0, 40]);
        out.extend([7; 40]);
        out
    });
    assert_eq!(broken, Ok(false));
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn coded(status: &str, coding: &str, body: &[u8]) -> Vec<(Duration, Piece)> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
    );
    let half = body.len() / 2;
    vec![
        (ms(1), bytes(&head)),
        (ms(10), Piece::Bytes(body[..half].to_vec())),
        (ms(10), Piece::Bytes(body[half..].to_vec())),
    ]
}

#[test]
fn a_compressed_answer_is_read_as_it_comes() {
    let text: Vec<u8> = (0..2000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    for coding in ["gzip", "X-GZip", "identity, gzip"] {
        let (went, noted) = answered(Timeouts::default(), coded("200 OK", coding, &gzip(&text)));
        assert_eq!(went.result, Ok(true), "{coding}");
        assert!(noted.body == text, "{coding}");
        let reads: Vec<u64> = noted.arrivals.iter().map(|(_, read)| *read).collect();
        assert!(
            reads.is_sorted() && reads[0] == 2 && reads.ends_with(&[3]),
            "{reads:?}"
        );
        let moments = noted
            .arrivals
            .iter()
            .map(|(at, _)| at.as_nanos() / 10_000_000);
        assert!(moments.eq(reads.iter().map(|read| read - 1)));
    }
    let (went, noted) = answered(
        Timeouts::default(),
        coded("401 Unauthorized", "gzip", &gzip(b"no key")),
    );
    assert_eq!(
        (went.result, noted.body.as_slice()),
        (Ok(true), b"no key".as_slice())
    );
}

#[test]
fn a_coding_that_cannot_be_read_is_named() {
    let (went, noted) = answered(Timeouts::default(), coded("200 OK", "br", &[1; 20]));
    assert_eq!(went.kind(), Some(FailureKind::Malformed));
    assert_eq!(
        went.message(),
        "the response is encoded as br: only gzip and deflate are supported"
    );
    assert!(noted.body.is_empty());
    let (went, noted) = answered(
        Timeouts::default(),
        coded("401 Unauthorized", "zstd", &[1; 20]),
    );
    assert_eq!((went.result, noted.status), (Ok(false), 401));
    let (went, _) = answered(Timeouts::default(), coded("204 No Content", "br", &[]));
    assert_eq!(went.result, Ok(true));
    let mut broken = gzip(&[b'a'; 100]);
    broken[10] = 0xff;
    let (went, _) = answered(Timeouts::default(), coded("200 OK", "gzip", &broken));
    assert_eq!(went.kind(), Some(FailureKind::Malformed));
    assert!(
        went.message()
            .starts_with("the compressed response cannot be decoded: "),
        "{went:?}"
    );
    let mut cut = gzip(&[b'a'; 100]);
    cut.truncate(15);
    let (went, _) = answered(Timeouts::default(), coded("200 OK", "gzip", &cut));
    assert_eq!(went.kind(), Some(FailureKind::Truncated));
}

#[test]
fn a_bomb_is_given_up_where_the_reader_of_the_answer_says() {
    let mut noted = Noted {
        limit: Some(1 << 20),
        ..Noted::default()
    };
    let bomb = coded("200 OK", "gzip", &gzip(&vec![0; 8 << 20]));
    let script = Script::answering(bomb);
    let went = request(
        &plain_target(),
        Timeouts::default(),
        ms(0),
        script,
        1,
        &mut noted,
    );
    assert_eq!(went.result, Ok(false));
    assert!(noted.body.len() < 2 << 20, "{}", noted.body.len());
}

#[test]
fn no_coding_is_asked_for_unless_the_person_does() {
    let head = |fields: &[(String, String)]| {
        let headers = RequestHeaders {
            fields,
            ..RequestHeaders::default()
        };
        let url = Url::parse("http://h/").unwrap();
        let target = Target::new(&url, headers, &ProxyEnv::default(), &TlsTrust::default());
        String::from_utf8(target.unwrap().head(streamed(b"{}"))).unwrap()
    };
    assert!(head(&[]).contains("\r\nAccept-Encoding: identity\r\n"));
    let own = head(&[("accept-encoding".to_owned(), "gzip".to_owned())]);
    assert!(own.contains("\r\naccept-encoding: gzip\r\n") && !own.contains("identity"));
}

fn connected_to(target: Target, timeouts: Timeouts) -> TransportError {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let context = ReadContext::new(
        evalscope_model::time::RunClock::start(),
        Arc::default(),
        false,
    );
    let mut connection = Connection::new(Arc::new(target), timeouts, Reuse::WhileOpen, context);
    let sending = async {
        connection
            .send(
                streamed(b"{}"),
                &mut SendTimes::default(),
                &mut Noted::default(),
            )
            .await
    };
    runtime.block_on(sending).unwrap_err()
}

/// The kernel would accept all of this request at once, and the server would seem silent long
/// before it has received everything.
#[cfg(target_os = "linux")]
#[test]
fn a_server_that_reads_slowly_is_not_silent() {
    use std::io::Read as _;
    const BODY: usize = 3 << 20;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (pace, paced) = std::sync::mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut piece = vec![0; 64 << 10];
        let mut read = 0;
        while read < BODY {
            read += stream.read(&mut piece).unwrap();
            let _ = paced.recv_timeout(ms(60));
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let context = ReadContext::new(
        evalscope_model::time::RunClock::start(),
        Arc::default(),
        false,
    );
    let target = target(&format!("http://{address}/"), &ProxyEnv::default());
    let limits = timeouts(None, Some(1000), Some(60_000));
    let mut connection = Connection::new(Arc::new(target), limits, Reuse::WhileOpen, context);
    let body = vec![b'x'; BODY];
    let (mut times, mut noted) = (SendTimes::default(), Noted::default());
    let sending = connection.send(streamed(&body), &mut times, &mut noted);
    assert_eq!(runtime.block_on(sending), Ok(()));
    let took = times.first_byte.unwrap().since(times.write_begun.unwrap());
    assert!(took > ms(2000), "{took:?}");
    drop(pace);
    server.join().unwrap();
}

/// A loopback port without a listener.
fn dead_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn who_cannot_be_reached_is_named() {
    let port = dead_port();
    let direct = |host: &str| {
        let url = format!("http://{host}:{port}/v1");
        connected_to(target(&url, &ProxyEnv::default()), Timeouts::default())
    };
    let refused = direct("127.0.0.1");
    assert_eq!(refused.kind, FailureKind::Connect);
    assert_eq!(
        refused.message,
        format!("cannot connect to 127.0.0.1:{port}: connection refused")
    );
    // the message of a machine without IPv6 varies
    let start = format!("cannot connect to [::1]:{port}: ");
    let refused = direct("[::1]");
    assert!(refused.message.starts_with(&start), "{refused:?}");
    for url in ["http://model.invalid/v1", "https://model.invalid/v1"] {
        let proxy = format!("http://me:secret@127.0.0.1:{port}");
        let proxies = ProxyEnv {
            all: Some(proxy),
            ..ProxyEnv::default()
        };
        let refused = connected_to(target(url, &proxies), Timeouts::default());
        assert_eq!(refused.kind, FailureKind::Proxy);
        assert_eq!(
            refused.message,
            format!("cannot connect to the proxy 127.0.0.1:{port}: connection refused")
        );
    }
}

prop_compose! {
    fn limits()(
        connect in prop::option::of(1u64..6000),
        read in prop::option::of(1u64..6000),
        total in 1u64..12_000,
    ) -> Timeouts {
        timeouts(connect, read, Some(total))
    }
}

proptest! {
    /// Whatever stalls, and wherever: no request exceeds its total time, no connection attempt its
    /// own limit, and no silence its own.
    #[test]
    fn no_stall_outlives_a_limit(
        limits in limits(),
        name in 0u64..4000,
        tunnel in any::<bool>(),
        through in any::<bool>(),
        gaps in prop::collection::vec(0u64..3000, 1..30),
        closes in any::<bool>(),
    ) {
        let target = if tunnel { tunnel_target() } else { plain_target() };
        let text = match (tunnel, through) {
            (false, _) => format!("{CHUNKED}1\r\na\r\n1\r\nb\r\n3\r\nabc\r\n1\r\nd"),
            (true, false) => "HTTP/1.1 200 OK\r\nx-forwarded: by me and by others\r\n".to_owned(),
            // then the start of a record that never ends
            (true, true) => "HTTP/1.1 200 OK\r\n\r\n\u{16}\u{3}\u{3}\u{40}\0\u{2}\0\u{3f}".to_owned(),
        };
        let reads = text
            .bytes()
            .zip(gaps.iter().copied().cycle().take(gaps.len() * 2))
            .map(|(byte, gap)| (ms(gap), Piece::Bytes(vec![byte])));
        let end = closes.then(|| (ms(gaps[0]), Piece::Close));
        let script = Script {
            reads: RefCell::new(reads.chain(end).collect()),
            writes: RefCell::new(gaps.iter().map(|gap| ms(*gap)).collect()),
            takes: 40,
            ..Script::default()
        };
        let went = request(&target, limits, ms(name), script, 300, &mut Noted::default());
        let total = limits.total.unwrap();
        prop_assert!(went.took <= total + LATE, "{went:?}");
        prop_assert!(went.result.is_err(), "none of these succeed");
        match went.kind() {
            Some(FailureKind::TotalTimeout) => prop_assert!(went.took >= total),
            Some(FailureKind::ConnectTimeout) => {
                prop_assert!(about(went.took, limits.connect.unwrap()), "{went:?}");
            }
            Some(FailureKind::ReadTimeout) => prop_assert!(went.took >= limits.read.unwrap()),
            _ => {}
        }
        if let Some(connect) = limits.connect && tunnel {
            prop_assert!(went.took <= connect + LATE, "{went:?}");
        }
    }
}

#[test]
fn headers_of_a_request_replace_those_of_all() {
    let fields = [("X-Team".to_owned(), "a".to_owned())];
    let headers = RequestHeaders {
        fields: &fields,
        stream: &[],
        whole: &[],
        renewed: None,
    };
    let url = Url::parse("http://127.0.0.1:9/v1").unwrap();
    let target = Target::new(&url, headers, &ProxyEnv::default(), &TlsTrust::default()).unwrap();
    let shared = String::from_utf8(target.head(streamed(b"{}"))).unwrap();
    let mut own = evalscope_model::prompt::OwnHeaders::default();
    own.push("x-team", "b").unwrap();
    own.push("x-session", "7").unwrap();
    let request = WireRequest {
        headers: own.fields(),
        ..streamed(b"{}")
    };
    let with_own = String::from_utf8(target.head(request)).unwrap();
    let want = shared.replace("X-Team: a\r\n", "").replace(
        "Content-Length",
        "x-team: b\r\nx-session: 7\r\nContent-Length",
    );
    assert_eq!(with_own, want);
    for (name, value) in [
        ("", "a"),
        ("a b", "c"),
        ("a", "b\r\nc: d"),
        ("Content-Length", "1"),
    ] {
        assert!(own.push(name, value).is_err(), "{name}");
    }
}

#[test]
fn a_request_may_have_a_path_of_its_own_on_the_same_server() {
    let url = Url::parse("http://server.test/v1/chat?a=1").unwrap();
    let proxied = ProxyEnv {
        http: Some("http://proxy.test:3128".to_owned()),
        ..ProxyEnv::default()
    };
    let own = OwnTarget::new("/v1/embeddings?b=2").unwrap();
    for (proxies, server) in [(ProxyEnv::default(), ""), (proxied, "http://server.test")] {
        let headers = RequestHeaders::default();
        let target = Target::new(&url, headers, &proxies, &TlsTrust::default()).unwrap();
        let text = |request| String::from_utf8(target.head(request)).unwrap();
        let shared = text(streamed(b"{}"));
        let with_own = text(WireRequest {
            target: Some(&own),
            ..streamed(b"{}")
        });
        let line = |path: &str| format!("POST {server}{path} HTTP/1.1\r\nHost: server.test\r\n");
        assert!(shared.starts_with(&line("/v1/chat?a=1")), "{shared}");
        assert!(
            with_own.starts_with(&line("/v1/embeddings?b=2")),
            "{with_own}"
        );
        assert_eq!(
            with_own.split_once("\r\n").unwrap().1,
            shared.split_once("\r\n").unwrap().1
        );
        let got = Target::new(
            &url,
            RequestHeaders::default(),
            &proxies,
            &TlsTrust::default(),
        )
        .unwrap()
        .with_get();
        let with_get = got.head(WireRequest {
            target: Some(&own),
            ..streamed(b"{}")
        });
        assert!(with_get.starts_with(format!("GET {server}/v1/embeddings").as_bytes()));
    }
}
