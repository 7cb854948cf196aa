//! The cost of reading: a server must not be able to make a few bytes expensive. Checked by
//! counting the bytes that are looked at (`evalscope_model::steps`), not by time.

use evalscope_core::http1::{Head, Receiver, ResponseReader};
use evalscope_core::protocol::openai::error_text;
use evalscope_core::protocol::{Api, Embedding};
use evalscope_core::sse::Splitter;
use evalscope_model::record::masked;
use evalscope_model::steps::counted;
use proptest::prelude::*;
use proptest::sample::select;

use crate::grammar::{self, spoils, spoilt};

struct Nobody;

impl Receiver for Nobody {
    fn head(&mut self, _: Head) {}
    fn body(&mut self, _: &[u8]) {}
}

/// Run this work on input of this many bytes, and check that it takes at most `most` steps per
/// byte.
fn hold(what: &str, bytes: usize, most: u64, work: impl FnOnce()) -> Result<(), TestCaseError> {
    let ((), steps) = counted(work);
    let Some(steps) = steps else {
        return Ok(());
    };
    // a reader that counts nothing would pass
    prop_assert!(
        steps > 0 || bytes == 0,
        "{what}: `steps::add` is not called where it reads"
    );
    // small inputs may cost a fixed minimum
    let allowed = most * bytes as u64 + 1024;
    prop_assert!(
        steps <= allowed,
        "{what}: {steps} steps for {bytes} bytes, {allowed} allowed"
    );
    Ok(())
}

fn push_response(bytes: &[u8], at_a_time: usize) {
    let mut reader = ResponseReader::default();
    for part in bytes.chunks(at_a_time) {
        if reader.push(part, &mut Nobody).is_err() {
            return;
        }
    }
}

fn push_stream(bytes: &[u8], at_a_time: usize) {
    let mut splitter = Splitter::default();
    for part in bytes.chunks(at_a_time) {
        splitter.push(part, |_| {}).unwrap();
    }
    splitter.finish(|_| {});
}

/// Heads with many or long fields, complete or without an end.
fn long_head() -> impl Strategy<Value = Vec<u8>> {
    let field = (select(vec!["x", "Set-Cookie", "via"]), 1usize..2000);
    (prop::collection::vec(field, 1..60), any::<bool>()).prop_map(|(fields, ends)| {
        let mut head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_vec();
        for (name, length) in fields {
            head.extend_from_slice(format!("{name}: {}\r\n", "v".repeat(length)).as_bytes());
        }
        if ends {
            head.extend_from_slice(b"\r\n");
        }
        head
    })
}

/// Streams of long events, of many lines, and of neither.
fn long_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "data: a\n",
        ": ping\n",
        "data: {\"a\":1}\n\n",
        "\r",
        "x",
        "\n",
        "event: e\r\n",
        "data:",
    ]);
    prop::collection::vec((piece, 1usize..600), 1..12).prop_map(|pieces| {
        pieces
            .iter()
            .map(|(piece, n)| piece.repeat(*n))
            .collect::<String>()
            .into_bytes()
    })
}

/// Errors nested inside errors.
fn deep_error() -> impl Strategy<Value = Vec<u8>> {
    let layer = select(vec![
        "data:",
        "data: ",
        "x\ndata: ",
        "\n",
        "{\"error\":",
        "[",
        "data:{",
    ]);
    (
        prop::collection::vec((layer, 1usize..200), 1..8),
        "[ -~]{0,40}",
    )
        .prop_map(|(layers, end)| {
            let mut error: String = layers.iter().map(|(layer, n)| layer.repeat(*n)).collect();
            error.push_str(&end);
            error.into_bytes()
        })
}

fn read_vectors(body: &[u8]) {
    let _ = Embedding::default().reader().whole(body);
}

/// Vectors, complete or not, in lists inside of lists.
fn deep_vectors() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "[1,", "[ -1", "{", "{\"a\":", "\"", "\\", "]", "}", ",", "0.1,", " ", "[",
    ]);
    (
        select(vec!["{\"data\":[", "[", "{\"error\":"]),
        prop::collection::vec((piece, 1usize..400), 1..8),
    )
        .prop_map(|(begin, pieces)| {
            let pieces = pieces.iter().map(|(piece, n)| piece.repeat(*n));
            (begin.to_owned() + &pieces.collect::<String>()).into_bytes()
        })
}

/// A response with a vector of so many numbers.
fn vector(numbers: usize) -> String {
    let numbers: Vec<String> = (0..numbers).map(|n| format!("-0.0{n:07}")).collect();
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{}]}}],"model":"m","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#,
        numbers.join(",")
    )
}

#[test]
fn the_numbers_of_a_vector_are_passed_over_four_times() {
    let body = vector(4096);
    hold("vectors", body.len(), 4, || read_vectors(body.as_bytes())).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn vectors_cost_their_bytes_however_deep_they_are(body in deep_vectors()) {
        hold("vectors", body.len(), 16, || read_vectors(&body))?;
    }

    #[test]
    fn a_head_costs_its_bytes_in_reads_of_any_size(
        head in long_head(),
        at_a_time in prop_oneof![Just(1usize), 1usize..2000],
    ) {
        hold("http1", head.len(), 8, || push_response(&head, at_a_time))?;
    }

    #[test]
    fn a_stream_costs_its_bytes_in_reads_of_any_size(
        stream in long_stream(),
        at_a_time in prop_oneof![Just(1usize), 1usize..2000],
    ) {
        hold("sse", stream.len(), 8, || push_stream(&stream, at_a_time))?;
    }

    #[test]
    fn what_servers_send_costs_its_bytes_too(
        response in grammar::response(grammar::stream()),
        spoils in spoils(),
        at_a_time in 1usize..50,
    ) {
        let body = spoilt(response.body, &spoils);
        hold("sse", body.len(), 8, || push_stream(&body, at_a_time))?;
        let bytes = spoilt(response.bytes, &spoils);
        hold("http1", bytes.len(), 8, || push_response(&bytes, at_a_time))?;
    }

    #[test]
    fn an_error_costs_its_bytes_however_deep_it_is(error in deep_error()) {
        hold("error_text", error.len(), 8, || drop(error_text(&error)))?;
    }

    #[test]
    fn masking_costs_its_bytes_for_each_secret(
        secrets in prop::collection::vec("[a-f]{1,400}", 0..4),
        pieces in prop::collection::vec((select(vec!["ab", "…", " x", "abcdef", "\n"]), 1usize..300), 1..8),
    ) {
        let text: String = pieces.iter().map(|(piece, n)| piece.repeat(*n)).collect();
        let bytes = (text.len() + secrets.iter().map(String::len).sum::<usize>()) * secrets.len();
        hold("masked", bytes, 8, || drop(masked(&text, &secrets)))?;
    }
}
