//! The response parser gives the same head and body however the bytes are split, also inside
//! chunked framing, and never panics.
#![no_main]

use evalscope_core::http1::{Head, HttpError, Progress, Receiver, ResponseReader};
use libfuzzer_sys::fuzz_target;

#[derive(Default, PartialEq, Debug)]
struct Seen {
    heads: Vec<Head>,
    body: Vec<u8>,
}

impl Receiver for Seen {
    fn head(&mut self, head: Head) {
        self.heads.push(head);
    }
    fn body(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }
}

fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Seen, Result<Progress, HttpError>) {
    let mut reader = ResponseReader::default();
    let mut seen = Seen::default();
    let mut progress = Progress::Incomplete;
    for part in parts {
        match reader.push(part, &mut seen) {
            Ok((used, now)) => {
                assert!(used <= part.len());
                progress = now;
            }
            Err(error) => return (seen, Err(error)),
        }
    }
    (seen, Ok(progress))
}

const HEADS: [&[u8]; 3] = [
    b"",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
];

fuzz_target!(|data: &[u8]| {
    let [head, cut, rest @ ..] = data else {
        return;
    };
    let bytes = [HEADS[usize::from(*head) % HEADS.len()], rest].concat();
    let (whole, progress) = read([bytes.as_slice()]);
    assert!(whole.heads.len() <= 1);
    let (parts, part_progress) = read(bytes.chunks(usize::from(*cut).max(1)));
    // before an error, more may have been emitted, and an invalid head may be rejected earlier
    if progress.is_ok() && part_progress.is_ok() {
        assert_eq!(whole, parts);
        assert_eq!(progress, part_progress);
    }
});
