//! A timestamp belongs to the read that delivered the bytes: shown with a server whose writes the
//! test controls and a deliberately late reader.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use evalscope_core::http1::Head;
use evalscope_core::transport::{
    Arrival, Connection, ProxyEnv, ReadContext, ReadStats, RequestHeaders, ResponseHandler, Reuse,
    SendTimes, Target, Timeouts, TimestampBeacon, TlsTrust, WireRequest,
};
use evalscope_model::record::ArrivalClock;
use evalscope_model::time::{RunClock, Timestamp};

/// A server that writes each piece on command, and confirms it.
struct Commanded {
    url: url::Url,
    write: Sender<&'static str>,
    written: Receiver<()>,
}

fn commanded() -> Commanded {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (write, pieces) = channel::<&'static str>();
    let (done, written) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 4096];
        let n = stream.read(&mut request).unwrap();
        assert!(request[..n].starts_with(b"POST /v1/x HTTP/1.1\r\n"));
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            done.send(()).unwrap();
        }
    });
    Commanded {
        url: url::Url::parse(&format!("http://{address}/v1/x")).unwrap(),
        write,
        written,
    }
}

/// Records arrivals; after the first piece it has the second written, then waits before it reads
/// on.
struct Late {
    server: Commanded,
    clock: RunClock,
    seen: Vec<(String, Arrival, u64)>,
    woke: Option<Timestamp>,
}

impl ResponseHandler for Late {
    fn head(&mut self, head: Head, _: Arrival) {
        assert_eq!(head.status, 200);
    }

    #[expect(clippy::disallowed_methods, reason = "the reader is late on purpose")]
    fn body(&mut self, bytes: &[u8], at: Arrival, read: u64) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.seen.push((text, at, read));
        if self.woke.is_none() {
            // the confirmation of the first piece, then of the second
            self.server.written.recv().unwrap();
            self.server.write.send(SECOND).unwrap();
            self.server.written.recv().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            self.woke = Some(self.clock.now());
        }
    }

    fn is_satisfied(&self) -> bool {
        false
    }

    fn ends_at(&self) -> Option<Timestamp> {
        None
    }

    fn is_lost(&self) -> bool {
        false
    }
}

const FIRST: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
const SECOND: &str = "6\r\nsecond\r\n0\r\n\r\n";

fn receive_late(user_clock_only: bool) -> (Late, Arc<ReadStats>) {
    let _beacon = TimestampBeacon::light();
    let server = commanded();
    server.write.send(FIRST).unwrap();
    let target = Target::new(
        &server.url,
        RequestHeaders::default(),
        &ProxyEnv::default(),
        &TlsTrust::default(),
    )
    .unwrap();
    let clock = RunClock::start();
    let stats = Arc::new(ReadStats::default());
    let mut late = Late {
        server,
        clock,
        seen: Vec::new(),
        woke: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let context = ReadContext::new(clock, Arc::clone(&stats), user_clock_only);
        let mut connection = Connection::new(
            Arc::new(target),
            Timeouts::default(),
            Reuse::WhileOpen,
            context,
        );
        let mut times = SendTimes::default();
        let request = WireRequest {
            body: [b"{}", b""],
            stream: false,
            target: None,
            kept_header: None,
            headers: &[],
        };
        connection
            .send(request, &mut times, &mut late)
            .await
            .unwrap();
        assert!(times.write_begun <= times.write_done);
        assert!(times.connected <= times.write_begun);
    });
    (late, stats)
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_stamps_bytes_that_wait_for_a_late_reader() {
    let (late, stats) = receive_late(false);
    let [
        (first, at_first, read_first),
        (second, at_second, read_second),
    ] = &late.seen[..]
    else {
        panic!("{:?}", late.seen);
    };
    assert_eq!((first.as_str(), second.as_str()), ("first", "second"));
    assert_ne!(read_first, read_second);
    assert_eq!(at_second.clock, ArrivalClock::Kernel);
    assert!(at_first.at < at_second.at);
    // read after the reader woke up, but arrived before
    assert!(at_second.at < late.woke.unwrap(), "{at_second:?}");
    assert!(at_second.handling_ns.unwrap() > 10_000_000);
    assert!(stats.handling.snapshot().quantile(1.0).unwrap() > 1e7);
}

#[test]
fn without_the_kernel_the_user_clock_stamps_and_says_so() {
    let (late, stats) = receive_late(true);
    let bytes = FIRST.len() + SECOND.len();
    assert_eq!(stats.bytes.load(Ordering::Relaxed), bytes as u64);
    let (_, at_second, _) = &late.seen[1];
    assert_eq!(at_second.clock, ArrivalClock::User);
    assert_eq!(at_second.handling_ns, None);
    assert!(at_second.at >= late.woke.unwrap());
}
