//! Owns grammatically valid inputs, and ways to corrupt them.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// A response, and what it was built from.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Its framing marks its end, not the end of the connection.
    pub(crate) framed: bool,
}

fn field() -> impl Strategy<Value = (String, String)> {
    let name = select(vec![
        "Date",
        "server",
        "X-Request-Id",
        "Content-Type",
        "retry-after",
        "LOCATION",
        "connection",
        "x",
        "content-encoding",
        "set-cookie",
    ]);
    let value = prop_oneof![
        select(vec![
            "text/event-stream; charset=utf-8",
            "keep-alive",
            "close",
            "",
            "identity",
            "Keep-Alive, x",
            "120",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,40}",
    ];
    (name.prop_map(str::to_owned), value)
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(field(), 0..12)
}

fn push_head(bytes: &mut Vec<u8>, line: &str, fields: &[(String, String)], framing: &str) {
    let mut head = format!("HTTP/1.1 {line}\r\n");
    for (at, (name, value)) in fields.iter().enumerate() {
        if at == fields.len() / 2 {
            head.push_str(framing);
        }
        let space = [" ", "", "\t ", "  "][value.len() % 4];
        write!(head, "{name}:{space}{value}\r\n").unwrap();
    }
    if fields.is_empty() {
        head.push_str(framing);
    }
    head.push_str("\r\n");
    bytes.extend_from_slice(head.as_bytes());
}

/// Responses according to RFC 9112, including 1xx heads before them.
pub(crate) fn response(body: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Response> {
    let status = select(vec![
        (200, "200 OK"),
        (200, "200"),
        (404, "404 Not Found"),
        (503, "503 Service Unavailable"),
        (307, "307 "),
    ]);
    let chunks = prop::collection::vec(1usize..40, 1..8);
    let extension = select(vec!["", ";", ";a=1", " ; a=\"b c\"", "\t"]);
    let trailers = select(vec!["", "x-t: 1\r\n", "a: b\r\nc:\r\n"]);
    let early = prop::option::of(fields());
    let shape = (0usize..3, chunks, extension, trailers);
    (status, fields(), early, body, shape).prop_map(
        |((status, line), fields, early, body, (framing, chunks, extension, trailers))| {
            let mut bytes = Vec::new();
            if let Some(early) = early {
                push_head(&mut bytes, "103 Early Hints", &early, "");
            }
            match framing {
                0 => {
                    let framing = format!("Content-Length: {}\r\n", body.len());
                    push_head(&mut bytes, line, &fields, &framing);
                    bytes.extend_from_slice(&body);
                }
                1 => {
                    push_head(&mut bytes, line, &fields, "transfer-encoding: Chunked\r\n");
                    let mut rest = body.as_slice();
                    for size in chunks.iter().cycle().take_while(|_| !rest.is_empty()) {
                        let (chunk, after) = rest.split_at((*size).min(rest.len()));
                        rest = after;
                        let size = format!("{:x}{extension}\r\n", chunk.len());
                        bytes.extend_from_slice(size.as_bytes());
                        bytes.extend_from_slice(chunk);
                        bytes.extend_from_slice(b"\r\n");
                        if rest.is_empty() {
                            break;
                        }
                    }
                    bytes.extend_from_slice(format!("00{extension}\r\n{trailers}\r\n").as_bytes());
                }
                _ => {
                    push_head(&mut bytes, line, &fields, "");
                    bytes.extend_from_slice(&body);
                }
            }
            Response {
                bytes,
                status,
                body,
                framed: framing < 2,
            }
        },
    )
}

/// Texts, including characters that need escaping in JSON or several bytes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        select(vec![
            "[DONE]",
            "stop",
            "error",
            "length",
            " a",
            "日本",
            "\u{1f600}",
            "data: x",
            "\n\n",
            "%p"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

/// Any value, to replace another.
fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = select(vec![
            "text",
            "content",
            "message",
            "type",
            "arguments",
            "code",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4).prop_map(|entries| {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect())
            }),
        ]
    })
}

/// A value, usually of this kind.
fn mostly(kind: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![8 => kind, 1 => odd(), 1 => Just(Value::Null)].boxed()
}

/// An object with a random selection of these fields.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| {
            prop::option::weighted(0.6, value.prop_map(move |value| (name, value)))
        })
        .collect();
    fields
        .prop_map(|fields| {
            let fields = fields.into_iter().flatten();
            Value::Object(
                fields
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<Map<_, _>>(),
            )
        })
        .boxed()
}

fn words() -> BoxedStrategy<Value> {
    mostly(text().prop_map(Value::from))
}

fn count() -> BoxedStrategy<Value> {
    mostly((0u64..3_000).prop_map(Value::from))
}

fn parts() -> BoxedStrategy<Value> {
    let part = object(vec![
        ("type", words()),
        ("text", words()),
        ("data", words()),
    ]);
    mostly(prop::collection::vec(part, 0..3).prop_map(Value::from))
}

fn usage() -> BoxedStrategy<Value> {
    let details = || {
        mostly(object(vec![
            ("cached_tokens", count()),
            ("reasoning_tokens", count()),
        ]))
    };
    mostly(object(vec![
        ("prompt_tokens", count()),
        ("completion_tokens", count()),
        ("input_tokens", count()),
        ("output_tokens", count()),
        ("total_tokens", count()),
        ("prompt_tokens_details", details()),
        ("completion_tokens_details", details()),
        ("output_tokens_details", details()),
    ]))
}

fn error() -> BoxedStrategy<Value> {
    let inner = object(vec![
        ("message", words()),
        ("detail", words()),
        ("code", mostly(any::<u16>().prop_map(Value::from))),
        ("type", words()),
    ]);
    prop_oneof![3 => inner, 1 => words(), 1 => select(vec![json!(false), json!({}), json!("")])]
        .boxed()
}

/// An event or a non-streaming response of any built-in API.
pub(crate) fn answer() -> BoxedStrategy<Value> {
    let call = object(vec![
        ("index", count()),
        ("id", words()),
        (
            "function",
            mostly(object(vec![("name", words()), ("arguments", words())])),
        ),
    ]);
    let calls = mostly(prop::collection::vec(call, 0..3).prop_map(Value::from));
    let message = || {
        mostly(object(vec![
            ("role", words()),
            ("content", prop_oneof![words(), parts()].boxed()),
            ("reasoning_content", words()),
            ("reasoning", words()),
            ("refusal", words()),
            ("tool_calls", calls.clone()),
        ]))
    };
    let choice = object(vec![
        ("index", count()),
        ("delta", message()),
        ("message", message()),
        ("text", words()),
        ("finish_reason", words()),
    ]);
    let choices = mostly(prop::collection::vec(choice, 0..3).prop_map(Value::from));
    let output = object(vec![
        ("text", words()),
        ("choices", choices.clone()),
        ("finish_reason", words()),
    ]);
    object(vec![
        ("id", words()),
        ("request_id", words()),
        ("object", words()),
        ("choices", choices),
        ("output", mostly(output)),
        ("usage", usage()),
        (
            "error",
            prop_oneof![3 => Just(Value::Null), 1 => error()].boxed(),
        ),
        ("code", words()),
        ("message", words()),
    ])
}

/// An error as servers phrase it, formatted as an event or not.
pub(crate) fn error_body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        error(),
        error().prop_map(|error| json!({"error": error})),
        answer(),
        odd()
    ];
    let frame = select(vec![
        ("", ""),
        ("data: ", "\n\n"),
        ("event: error\ndata: ", "\n\n"),
        (": x\ndata:", ""),
        ("data: data: ", "\n"),
        ("<html>", "</html>"),
    ]);
    (value, frame)
        .prop_map(|(value, (before, after))| format!("{before}{value}{after}").into_bytes())
}

/// Streams of such events, with everything that may surround them.
pub(crate) fn stream() -> BoxedStrategy<Vec<u8>> {
    let data = prop_oneof![6 => answer().prop_map(|event| event.to_string()), 1 => text()];
    let end = || select(vec!["\n", "\r\n", "\r"]);
    let before = select(vec![
        "",
        ": ping",
        "id: 7",
        "retry: 10",
        "event: error",
        "event: x",
        "data",
        "odd: 1",
    ]);
    let event = (before, select(vec!["data: ", "data:"]), data, end());
    let done = select(vec![
        "",
        "data: [DONE]\n\n",
        "data: [DONE]",
        "data: [DONE]\r\n\r\n",
    ]);
    (prop::collection::vec(event, 0..8), done)
        .prop_map(|(events, done)| {
            let mut stream = String::new();
            for (before, field, data, end) in events {
                if !before.is_empty() {
                    write!(stream, "{before}{end}").unwrap();
                }
                // a text may contain line ends: then the rest is a separate line
                write!(stream, "{field}{data}{end}{end}").unwrap();
            }
            stream.push_str(done);
            stream.into_bytes()
        })
        .boxed()
}

/// Corrupts bytes: some are changed, removed, duplicated, or cut off.
#[derive(Clone, Debug)]
pub(crate) enum Spoil {
    Byte(Index, u8),
    Remove(Index),
    Double(Index, Index),
    Insert(Index, &'static str),
    Cut(Index),
}

pub(crate) fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let at = any::<Index>;
    let piece = select(vec![
        "\r\n",
        "\n\n",
        "\r",
        "{",
        "\"",
        "[DONE]",
        "data:",
        "0\r\n\r\n",
        "\u{feff}",
        ": ",
        "\\u",
        "…",
    ]);
    let spoil = prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Spoil::Byte(at, byte)),
        at().prop_map(Spoil::Remove),
        (at(), at()).prop_map(|(from, to)| Spoil::Double(from, to)),
        (at(), piece).prop_map(|(at, piece)| Spoil::Insert(at, piece)),
        at().prop_map(Spoil::Cut),
    ];
    prop::collection::vec(spoil, 0..4)
}

pub(crate) fn spoilt(mut bytes: Vec<u8>, spoils: &[Spoil]) -> Vec<u8> {
    for spoil in spoils {
        if bytes.is_empty() {
            break;
        }
        match spoil {
            Spoil::Byte(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Spoil::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Spoil::Double(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                let at = from.max(to);
                bytes.splice(at..at, piece);
            }
            Spoil::Insert(at, piece) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, piece.bytes());
            }
            Spoil::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}
