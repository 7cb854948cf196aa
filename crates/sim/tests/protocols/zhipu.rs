//! Zhipu's protocol.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evalscope_sim::clock::wall_ms;
use evalscope_sim::{Fault, SimConfig, Simulator};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::raw::{Answer, post, with_fault};

const PATH: &str = "/api/paas/v4/chat/completions";

fn body(stream: bool) -> Value {
    json!({
        "model": "glm", "messages": [{"role": "user", "content": "12345"}],
        "max_tokens": 8, "stream": stream,
    })
}

fn stream(simulator: &Simulator) -> Answer {
    post(simulator, PATH, "", &body(true)).unwrap()
}

fn text_of(answer: &Answer) -> String {
    answer
        .payloads()
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect()
}

#[test]
fn streams_and_documents() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let streamed = stream(&simulator);
    let events = streamed.payloads();
    assert_eq!(events.len(), 9, "eight tokens and the end");
    assert_eq!(events[0]["id"], "zhipu-sim-1");
    assert_eq!(events[0]["request_id"], "zhipu-sim-1");
    assert_eq!(events[0]["choices"][0].get("finish_reason"), None);
    assert!(events[..8].iter().all(|event| event.get("usage").is_none()));
    assert_eq!(events[8]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[8]["usage"]["completion_tokens"], 8);
    assert!(streamed.body.ends_with("data: [DONE]\n\n"));

    let same_words = Simulator::start(SimConfig::default()).unwrap();
    let document = post(&same_words, PATH, "", &body(false)).unwrap().json();
    let message = &document["choices"][0]["message"];
    assert_eq!(message["content"], text_of(&streamed));
    assert_eq!(document["usage"]["total_tokens"], 10);
}

/// A token as made by Zhipu's own client from a key.
fn token(id: &str, secret: &str, lives_ms: i64) -> String {
    let now_ms = i64::try_from(wall_ms()).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "sign_type": "SIGN"})),
        part(&json!({"api_key": id, "exp": now_ms + lives_ms, "timestamp": now_ms}))
    );
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .unwrap()
        .chain_update(&signed)
        .finalize()
        .into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

#[test]
fn keys_may_be_signed() {
    let simulator = Simulator::start(SimConfig {
        api_key: Some("id.secret".to_owned()),
        ..SimConfig::default()
    })
    .unwrap();
    let ask = |path, token: &str| {
        let headers = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let answer = post(&simulator, path, &headers, &body(false)).unwrap();
        (answer.status, answer.json()["error"]["code"].clone())
    };
    let signed = token("id", "secret", 60_000);
    for (token, status, code) in [
        (signed.as_str(), 200, Value::Null),
        ("id.secret", 200, Value::Null),
        ("", 401, json!("1001")),
        ("nonsense", 401, json!("1002")),
        (&token("id", "secret", -1), 401, json!("1003")),
        (&token("id", "wrong", 60_000), 401, json!("1000")),
        (&token("other", "secret", 60_000), 401, json!("1000")),
    ] {
        assert_eq!(ask(PATH, token), (status, code), "{token}");
    }
    assert_eq!(ask("/v1/chat/completions", &signed).0, 401, "only here");
}

#[test]
fn statuses_have_its_codes() {
    for (fault, status, code) in [
        (Fault::Http400, 400, "1210"),
        (Fault::Http401, 401, "1000"),
        (Fault::Http404, 404, "1222"),
        (Fault::Http422, 422, "1210"),
        (Fault::Http429, 429, "1302"),
        (Fault::Http500, 500, "500"),
        (Fault::Http503, 503, "1234"),
        (Fault::ErrorBody, 200, "500"),
    ] {
        let answer = stream(&with_fault(fault));
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["error"]["code"], code);
    }
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let answer = post(&simulator, PATH, "", &json!({"messages": []})).unwrap();
    assert_eq!(answer.json()["error"]["code"], "1214");
}

/// How every fault and oddity looks in a stream.
#[test]
fn faults_have_its_form() {
    let plain = text_of(&stream(&Simulator::start(SimConfig::default()).unwrap()));
    for fault in Fault::ALL {
        let simulator = with_fault(*fault);
        let answer = match (fault, post(&simulator, PATH, "", &body(true))) {
            // An endless event of 64 MiB, which another test reads.
            (Fault::OversizedEvent, _) => continue,
            (
                Fault::ResetBefore | Fault::CloseBefore | Fault::StallBefore | Fault::Garbage,
                answer,
            ) => {
                assert!(answer.is_none(), "{fault}");
                continue;
            }
            (_, answer) => answer.unwrap(),
        };
        if answer.status != 200 || matches!(fault, Fault::ErrorBody) {
            continue;
        }
        let events = answer.payloads();
        let last = events.last().cloned().unwrap_or_default();
        let reason = &last["choices"][0]["finish_reason"];
        match fault {
            Fault::ErrorEvent => {
                let end = "\n\ndata: {\"error\":{\"code\":\"500\",\"message\":\"simulated failure \
                           while decoding\"}}\n\ndata: [DONE]\n\n";
                assert!(answer.body.ends_with(end), "{}", answer.body);
            }
            Fault::ErrorEventNamed => assert!(answer.body.contains("\n\nevent: error\ndata: {")),
            Fault::ErrorString => assert!(last["error"].is_string()),
            Fault::FinishError => assert_eq!(reason, "network_error"),
            Fault::Cut | Fault::CutChunked | Fault::Reset | Fault::GarbageChunk | Fault::Stall => {
                assert_eq!((events.len(), reason), (4, &Value::Null), "{fault}");
                let broken = answer.error.is_some() || !answer.complete;
                assert_eq!(broken, *fault != Fault::Cut, "{fault}");
            }
            Fault::BrokenJson => {
                assert_eq!(answer.body.matches("data:").count(), events.len() + 2);
            }
            Fault::Empty => assert_eq!(last["usage"]["completion_tokens"], 0),
            Fault::JsonInsteadOfStream => {
                assert_eq!(answer.json()["choices"][0]["message"]["content"], plain);
            }
            Fault::Reasoning | Fault::ReasoningContent | Fault::ReasoningDetails => {
                let thought: String = events
                    .iter()
                    .filter_map(|event| event["choices"][0]["delta"]["reasoning_content"].as_str())
                    .collect();
                assert_eq!(thought + &text_of(&answer), plain, "{fault}");
            }
            Fault::ToolCalls => assert_eq!(reason, "tool_calls"),
            Fault::SplitUtf8 => assert!(!text_of(&answer).is_ascii()),
            Fault::NoUsage => assert!(!answer.body.contains("usage")),
            _ => {
                assert!(fault.is_oddity() && answer.complete, "{fault}");
                assert_eq!(text_of(&answer), plain, "{fault}");
                assert_eq!(reason, "length", "{fault}");
                assert_eq!(
                    answer.body.contains("[DONE]"),
                    *fault != Fault::NoDone,
                    "{fault}"
                );
            }
        }
    }
}
