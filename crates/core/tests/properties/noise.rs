//! Nearly valid input is parsed without a panic, with the same result however it is split; valid
//! input is parsed as it was meant.

use evalscope_core::http1::{Head, HttpError, Progress, Receiver, ResponseReader};
use evalscope_core::protocol::openai::error_text;
use evalscope_core::protocol::{AnswerText, Api, Dashscope, Declared, Opaque, OpenAi, Zhipu};
use evalscope_core::sse::Splitter;
use proptest::prelude::*;

use crate::grammar::{self, Response, spoils, spoilt};

#[derive(Debug, Default, PartialEq)]
struct Seen {
    head: Option<Head>,
    body: Vec<u8>,
}

impl Receiver for Seen {
    fn head(&mut self, head: Head) {
        assert!(self.head.is_none(), "a second head");
        self.head = Some(head);
    }
    fn body(&mut self, bytes: &[u8]) {
        assert!(self.head.is_some(), "a body before its head");
        self.body.extend_from_slice(bytes);
    }
}

fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<(Seen, Progress), HttpError> {
    let mut reader = ResponseReader::default();
    let mut seen = Seen::default();
    let mut progress = Progress::Incomplete;
    for part in parts {
        (_, progress) = reader.push(part, &mut seen)?;
    }
    Ok((seen, progress))
}

fn apis() -> Vec<Box<dyn Api>> {
    let cumulative = Dashscope {
        incremental: false,
        ..Dashscope::default()
    };
    let declared = include_str!("../../../../docs/examples/openai.toml");
    vec![
        Box::new(OpenAi),
        Box::new(Dashscope::default()),
        Box::new(cumulative),
        Box::new(Zhipu),
        Box::new(Opaque::untold("x".to_owned())),
        Box::new(Declared::new(toml::from_str(declared).unwrap())),
    ]
}

fn body() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..120),
        Just(b"data: {}\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n".to_vec()),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn a_response_is_read_as_it_was_meant(response in grammar::response(body()), at_a_time in 1usize..50) {
        let Response { bytes, status, body, framed } = response;
        let (seen, progress) = read(bytes.chunks(at_a_time)).unwrap();
        prop_assert_eq!(seen.body, body);
        prop_assert_eq!(seen.head.map(|head| head.status), Some(status));
        prop_assert_eq!(progress == Progress::Complete, framed);
    }

    #[test]
    fn a_spoilt_response_is_the_same_however_it_is_cut(
        response in grammar::response(body()),
        spoils in spoils(),
        at_a_time in 1usize..50,
    ) {
        let bytes = spoilt(response.bytes, &spoils);
        // before an error, one read may emit more than several do
        if let (Ok(whole), Ok(parts)) = (read([bytes.as_slice()]), read(bytes.chunks(at_a_time))) {
            prop_assert_eq!(whole, parts);
        }
    }

    #[test]
    fn no_stream_makes_a_reader_panic(
        stream in grammar::stream(),
        spoils in spoils(),
        at_a_time in 1usize..50,
    ) {
        let stream = spoilt(stream, &spoils);
        for api in apis() {
            let mut reader = api.reader();
            let mut text = AnswerText::default();
            let mut splitter = Splitter::default();
            let mut take = |name: &[u8], data: &[u8]| {
                if let Some(meaning) = reader.event(name, data) {
                    assert!(meaning.has_token() || !meaning.has_answer());
                }
                api.read_text(data, &mut text);
            };
            for part in stream.chunks(at_a_time) {
                splitter.push(part, |event| take(event.name, event.data)).unwrap();
            }
            splitter.finish(|event| take(event.name, event.data));
            reader.body_ended();
            let _ = reader.take();
        }
    }

    #[test]
    fn no_answer_makes_a_reader_panic(answer in grammar::answer(), spoils in spoils()) {
        let answer = spoilt(answer.to_string().into_bytes(), &spoils);
        for api in apis() {
            let mut reader = api.reader();
            let meaning = reader.whole(&answer);
            prop_assert!(meaning.has_token() || !meaning.has_answer());
            prop_assert!(reader.take().done);
            api.read_text(&answer, &mut AnswerText::default());
        }
    }

    #[test]
    fn an_error_is_a_short_line(error in grammar::error_body(), spoils in spoils()) {
        let text = error_text(&spoilt(error, &spoils));
        prop_assert!(text.chars().count() <= 301, "{text}");
        prop_assert!(!text.contains(char::is_control), "{text:?}");
    }
}
