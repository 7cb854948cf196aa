//! The analysis script of the documents: bodies out of the database are what went over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::Context;

fn simulator() -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 1.0,
            itl_ms: 1.0,
            seed: 5,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

/// What the simulator says to its n-th request, asked for without a stream.
fn said(simulator: &Simulator, tokens: u64) -> String {
    let body = json!({"messages": [{"role": "user", "content": "p"}], "max_tokens": tokens});
    let body = body.to_string();
    let mut stream = TcpStream::connect(simulator.addr()).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let json = answer.split("\r\n\r\n").nth(1).unwrap();
    let answer: Value = serde_json::from_str(json).unwrap();
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A column as Python's `pickle.loads(base64.b64decode(column))` sees it.
fn unpickled<'de, T: serde::Deserialize<'de>>(column: &str) -> T {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(column)
        .unwrap();
    serde_pickle::from_slice(&bytes, serde_pickle::DeOptions::new()).unwrap()
}

#[test]
fn prompts_and_completions_come_out_of_the_database() {
    let (measured, reference) = (simulator(), simulator());
    let context = Context::new();
    let url = measured.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "sample",
        "--number",
        "5",
        "--max-tokens",
        "24",
        "--no-test-connection",
        "--seed",
        "3",
    ]);
    let database = context.database();
    // the query of the documents, with the times beside it
    let query = "SELECT request, response_messages, prompt_tokens, completion_tokens, chunk_times, \
                 start_time, completed_time FROM result WHERE success='True'";
    let mut statement = database.prepare(query).unwrap();
    let rows: Vec<(String, String, i64, i64, String, f64, f64)> = statement
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
            ))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 5);
    for (request, responses, prompt_tokens, completion_tokens, times, start, end) in rows {
        let request: Value = unpickled(&request);
        assert_eq!(request["model"], "sim");
        assert_eq!(request["seed"], 3);
        assert_eq!(request["stream"], true);
        assert_eq!(request["temperature"], 0.0);
        assert_eq!(request["stream_options"], json!({"include_usage": true}));
        let prompt = request["messages"][0]["content"].as_str().unwrap();
        assert!(!prompt.is_empty() && prompt_tokens > 0);

        let responses: Vec<String> = unpickled(&responses);
        let completion: String = responses
            .iter()
            .map(|response| {
                let response: Value = serde_json::from_str(response).unwrap();
                let piece = &response["choices"][0]["delta"]["content"];
                piece.as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(completion, said(&reference, 24));
        assert_eq!(responses.len(), 24);
        assert_eq!(completion_tokens, 24);

        let times: Vec<f64> = serde_json::from_str(&times).unwrap();
        assert_eq!(times.len(), responses.len(), "a time for each message");
        assert!(times.is_sorted() && start < times[0], "{start} {times:?}");
        // a double holds today's Unix seconds to a quarter of a microsecond
        assert!(times[23] <= end + 1e-6, "{} {end}", times[23]);
    }
}

#[test]
fn a_whole_answer_is_one_message() {
    let (measured, reference) = (simulator(), simulator());
    let context = Context::new();
    let url = measured.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "2",
        "--max-tokens",
        "6",
        "--no-test-connection",
        "--no-stream",
    ]);
    for column in context.column::<String>("SELECT response_messages FROM result ORDER BY idx") {
        let messages: Vec<String> = unpickled(&column);
        assert_eq!(messages.len(), 1);
        let answer: Value = serde_json::from_str(&messages[0]).unwrap();
        assert_eq!(
            answer["choices"][0]["message"]["content"],
            said(&reference, 6)
        );
    }
}
