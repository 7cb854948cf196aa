//! Responses in pieces: what is read, what is refused, and what reading costs.

use std::fmt::Write as _;

use super::*;
use proptest::prelude::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    head: Option<Head>,
    body: Vec<u8>,
}

impl Receiver for Seen {
    fn head(&mut self, head: Head) {
        assert!(self.head.is_none());
        self.head = Some(head);
    }
    fn body(&mut self, bytes: &[u8]) {
        assert!(self.head.is_some());
        self.body.extend_from_slice(bytes);
    }
}

fn read<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Seen, usize, Progress), HttpError> {
    let mut reader = ResponseReader::default();
    let mut seen = Seen::default();
    let (mut used, mut progress) = (0, Progress::Incomplete);
    for part in parts {
        let (n, p) = reader.push(part, &mut seen)?;
        used += n;
        progress = p;
    }
    Ok((seen, used, progress))
}

const CHUNKED: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
    HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
    Transfer-Encoding: chunked\r\n\r\n\
    5;ext=1\r\nhello\r\n0a\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n";

#[test]
fn a_chunked_stream_with_all_extras() {
    let (seen, used, progress) = read([CHUNKED]).unwrap();
    assert_eq!(seen.body, b"hello0123456789");
    let head = seen.head.unwrap();
    assert!(head.is_event_stream() && head.keep_alive && head.status == 200);
    assert_eq!((used, progress), (CHUNKED.len(), Progress::Complete));
}

#[test]
fn what_follows_a_response_is_left_alone() {
    let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1";
    let (seen, used, progress) = read([text.as_slice()]).unwrap();
    assert_eq!(seen.body, b"ok");
    assert_eq!((text.len() - used, progress), (8, Progress::Complete));
}

#[test]
fn connections_that_may_not_be_reused() {
    for head in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (seen, ..) = read([head.as_bytes()]).unwrap();
        assert!(!seen.head.unwrap().keep_alive, "{head}");
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let error = |text: &str| read([text.as_bytes()]).unwrap_err().to_string();
    insta::assert_snapshot!(error("SSH-2.0-OpenSSH_9.2\r\n"), @r#"not an HTTP/1.x response: invalid HTTP version, starting with "SSH-2.0-OpenSSH_9.2\r\n""#);
    insta::assert_snapshot!(error("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), @"`content-length: x` is not a length");
    insta::assert_snapshot!(
        error("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), @"the chunked body is broken: byte 0x7a in a chunk size");
}

fn head_of(headers: &str) -> Result<Head, HttpError> {
    let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    let (seen, ..) = read([text.as_bytes()])?;
    Ok(seen.head.unwrap())
}

#[test]
fn a_length_is_digits_and_one_number() {
    for good in [
        "content-length: 5\r\n",
        "content-length: 005\r\n",
        "content-length: 5\r\nContent-Length: 5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: 5,5 , 5\r\ncontent-length:5\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{good}\r\nhelloworld");
        let (seen, ..) = read([text.as_bytes()]).unwrap();
        assert_eq!(seen.body, b"hello", "{good}");
    }
    for bad in [
        "+5",
        "-5",
        "",
        "5,",
        "5, 6",
        "0x5",
        "5 5",
        "5.0",
        "99999999999999999999",
        "\u{665}",
    ] {
        let error = head_of(&format!("content-length: {bad}\r\n")).unwrap_err();
        assert!(matches!(error, HttpError::Length(_)), "{bad}: {error}");
    }
    let error = head_of("content-length: 5\r\ncontent-length: 6\r\n").unwrap_err();
    insta::assert_snapshot!(error, @"`content-length: 6, and a different one` is not a length");
}

#[test]
fn transfer_encodings_are_one_list() {
    for good in [
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: Chunked ,\r\n",
        "transfer-encoding:\r\ntransfer-encoding: chunked\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{good}\r\n2\r\nok\r\n0\r\n\r\n");
        let (seen, _, progress) = read([text.as_bytes()]).unwrap();
        assert_eq!(
            (seen.body.as_slice(), progress),
            (b"ok".as_slice(), Progress::Complete)
        );
        assert!(seen.head.unwrap().keep_alive, "{good}");
    }
    for (headers, told) in [
        ("transfer-encoding: gzip, chunked\r\n", "gzip, chunked"),
        (
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            "gzip, chunked",
        ),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
            "chunked, gzip",
        ),
        (
            "transfer-encoding: chunked, identity\r\n",
            "chunked, identity",
        ),
        (
            "transfer-encoding: chunked, chunked\r\n",
            "chunked, chunked",
        ),
        ("transfer-encoding: gzip\r\n", "gzip"),
        ("transfer-encoding: xchunked\r\n", "xchunked"),
    ] {
        let error = head_of(headers).unwrap_err();
        assert_eq!(
            error,
            HttpError::TransferEncoding(told.to_owned()),
            "{headers}"
        );
    }
    insta::assert_snapshot!(
        head_of("transfer-encoding: gzip, chunked\r\n").unwrap_err(),
        @"`transfer-encoding: gzip, chunked` is not supported, only `chunked` alone");
}

#[test]
fn a_length_beside_chunks_ends_the_connection() {
    for headers in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\nconnection: keep-alive\r\ncontent-length: 2\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n5\r\nhello\r\n0\r\n\r\n");
        let (seen, _, progress) = read([text.as_bytes()]).unwrap();
        assert_eq!(
            (seen.body.as_slice(), progress),
            (b"hello".as_slice(), Progress::Complete)
        );
        assert!(!seen.head.unwrap().keep_alive, "{headers}");
    }
    let old = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
    let (seen, ..) = read([old.as_slice()]).unwrap();
    assert!(!seen.head.unwrap().keep_alive);
}

#[test]
fn codings_are_one_list_without_identity() {
    let coding = |headers: &str| head_of(headers).unwrap().content_encoding;
    assert_eq!(coding("content-encoding: Identity\r\n"), "");
    assert_eq!(coding("content-encoding: GZip\r\n"), "gzip");
    assert_eq!(
        coding("content-encoding: deflate\r\ncontent-encoding: identity, br\r\n"),
        "deflate, br"
    );
}

#[test]
fn heads_are_limited_in_every_way() {
    let many = |n: usize| head_of(&"x: 1\r\n".repeat(n)).map(|head| head.status);
    assert_eq!(many(MAX_HEADERS), Ok(200));
    assert_eq!(many(MAX_HEADERS + 1), Err(HttpError::TooManyHeaders));
    let long = format!("x: {}\r\n", "a".repeat(MAX_HEAD_BYTES));
    assert_eq!(head_of(&long), Err(HttpError::HeadTooLarge));
    let endless = b"HTTP/1.1 200 OK\r\nx: "
        .iter()
        .chain(std::iter::repeat(&b'a'));
    let endless: Vec<u8> = endless.take(MAX_HEAD_BYTES + 1).copied().collect();
    assert_eq!(read(endless.chunks(1000)), Err(HttpError::HeadTooLarge));
    let interim = |n: u32| {
        let heads = "HTTP/1.1 102 Processing\r\n\r\n".repeat(n as usize);
        read([format!("{heads}HTTP/1.1 204 No Content\r\n\r\n").as_bytes()])
    };
    assert!(interim(MAX_INTERIM_HEADS).is_ok());
    assert_eq!(
        interim(MAX_INTERIM_HEADS + 1),
        Err(HttpError::TooManyInterim)
    );
    let zeros = "0".repeat(MAX_HEAD_BYTES + 10);
    let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{zeros}");
    assert!(read([text.as_bytes()]).unwrap_err().is_too_large());
}

#[test]
fn an_interim_response_has_no_body_whatever_its_headers_say() {
    for header in [
        "content-length: soon",
        "content-length: 5",
        "transfer-encoding: gzip",
    ] {
        let text = format!(
            "HTTP/1.1 103 Early Hints\r\n{header}\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        );
        let (seen, _, progress) = read([text.as_bytes()]).expect(header);
        assert_eq!(progress, Progress::Complete, "{header}");
        assert_eq!(seen.body, b"ok", "{header}");
    }
}

#[test]
fn a_port_that_speaks_tls_is_recognized() {
    let alert = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];
    assert_eq!(read([alert.as_slice()]), Err(HttpError::SpeaksTls));
    assert_eq!(read(alert.chunks(1)), Err(HttpError::SpeaksTls));
    assert_eq!(
        HttpError::SpeaksTls.to_string(),
        "the server speaks TLS on this port"
    );
}

#[test]
fn what_is_no_response_is_told_before_its_end() {
    assert!(read([b"SSH-2.0-OpenSSH_9.2\r\n".as_slice()]).is_err());
    assert!(read(b"SSH-2.0-OpenSSH_9.2\r\n".chunks(1)).is_err());
    assert!(read([b"HTTP/1.1 200 OK\r\n\x00".as_slice()]).is_err());
}

/// Steps taken for these pieces, and their total size.
fn cost<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (usize, usize) {
    let mut bytes = 0;
    let ((), steps) = evalscope_model::steps::counted(|| {
        let mut reader = ResponseReader::default();
        let mut seen = Seen::default();
        for part in parts {
            bytes += part.len();
            if reader.push(part, &mut seen).is_err() {
                break;
            }
        }
    });
    let steps = steps.expect("test builds count steps");
    (usize::try_from(steps).unwrap(), bytes)
}

proptest! {
    #[test]
    fn reading_is_linear_however_it_is_cut(
        headers in 0usize..400, interim in 0usize..10, cut in 1usize..64, end in any::<bool>(),
    ) {
        let mut text = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(interim);
        text.push_str("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
        for n in 0..headers {
            write!(text, "x-{n}: {}\r\n", "v".repeat(n % 90)).unwrap();
        }
        if end {
            text.push_str("\r\n5\r\nhello\r\n0\r\n\r\n");
        }
        let (steps, bytes) = cost(text.as_bytes().chunks(cut));
        // one pass of our own search, at most two by retries on a growing head, one at its end
        prop_assert!(steps <= 5 * bytes + 16, "{steps} steps for {bytes} bytes");
    }

    #[test]
    fn splitting_anywhere_reads_the_same(cuts in prop::collection::vec(0usize..300, 0..10)) {
        let want = read([CHUNKED]).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(CHUNKED.len())).collect();
        cuts.extend([0, CHUNKED.len()]);
        cuts.sort_unstable();
        let got = read(cuts.windows(2).map(|w| &CHUNKED[w[0]..w[1]])).unwrap();
        prop_assert_eq!(&got, &want);
        prop_assert_eq!(&read(CHUNKED.chunks(1)).unwrap(), &want);
    }

    #[test]
    fn no_input_panics(prefix in any::<bool>(), parts in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
        let head = if prefix { head } else { b"" };
        let _ = read(std::iter::once(head).chain(parts.iter().map(Vec::as_slice)));
    }
}
