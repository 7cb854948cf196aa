//! DashScope's own protocol.

use evalscope_sim::{Fault, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::raw::{Answer, post, with_fault};

const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";
const SSE: &str = "x-dashscope-sse: enable\r\n";

fn body(parameters: &Value) -> Value {
    json!({
        "model": "qwen",
        "input": {"messages": [{"role": "user", "content": "12345"}]},
        "parameters": parameters,
    })
}

fn messages(incremental: bool) -> Value {
    body(&json!({
        "result_format": "message", "incremental_output": incremental, "max_tokens": 8,
    }))
}

fn stream(simulator: &Simulator, body: &Value) -> Answer {
    post(simulator, TEXT, SSE, body).unwrap()
}

/// The text of the first choice, as assembled by a client of incremental output.
fn text_of(answer: &Answer) -> String {
    answer
        .payloads()
        .iter()
        .filter_map(|event| event["output"]["choices"][0]["message"]["content"].as_str())
        .collect()
}

fn last_reason(answer: &Answer) -> Value {
    answer.payloads().last().unwrap()["output"]["choices"][0]["finish_reason"].clone()
}

#[test]
fn documents() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let answer = post(&simulator, TEXT, "", &messages(false)).unwrap();
    assert_eq!(answer.status, 200);
    let document = answer.json();
    let choice = &document["output"]["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(
        document["usage"],
        json!({
            "total_tokens": 10, "input_tokens": 2, "output_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    );
    assert_eq!(document["request_id"], "dashscope-sim-1");

    let bare = post(&simulator, TEXT, "", &body(&json!({"max_tokens": 3}))).unwrap();
    assert_eq!(bare.json()["output"]["finish_reason"], "length");
    assert!(bare.json()["output"]["text"].is_string());

    let parts = json!([{"text": "12345"}]);
    let request =
        json!({"model": "vl", "input": {"messages": [{"role": "user", "content": parts}]}});
    let answer = post(&simulator, MULTIMODAL, "", &request).unwrap();
    let content = &answer.json()["output"]["choices"][0]["message"]["content"];
    assert!(content[0]["text"].is_string(), "{content}");
}

#[test]
fn only_a_header_asks_for_a_stream() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let mut request = messages(true);
    request["stream"] = json!(true);
    for (headers, streams) in [
        ("", false),
        ("x-dashscope-sse: disable\r\n", false),
        ("accept: application/json\r\n", false),
        (SSE, true),
        ("Accept: text/event-stream\r\n", true),
    ] {
        let answer = post(&simulator, TEXT, headers, &request).unwrap();
        assert_eq!(
            answer.head.contains("text/event-stream"),
            streams,
            "{headers}"
        );
    }
}

#[test]
fn each_event_repeats_the_text_unless_told_otherwise() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let same_words = Simulator::start(SimConfig::default()).unwrap();
    let incremental = text_of(&stream(&simulator, &messages(true)));
    let repeating = stream(&same_words, &messages(false));
    let texts: Vec<Value> = repeating
        .payloads()
        .iter()
        .map(|event| event["output"]["choices"][0]["message"]["content"].clone())
        .collect();
    assert_eq!(texts.len(), 9, "eight tokens and the end");
    assert_eq!(
        (&texts[7], &texts[8]),
        (&json!(incremental), &json!(incremental))
    );
    assert!(texts[0].as_str().unwrap().len() < incremental.len());
    for (at, event) in repeating.payloads().iter().enumerate() {
        assert_eq!(event["usage"]["output_tokens"], 8.min(at + 1));
        let reason = &event["output"]["choices"][0]["finish_reason"];
        assert_eq!(reason, if at == 8 { "length" } else { "null" });
    }
    assert!(
        repeating
            .body
            .starts_with("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":")
    );
    assert!(!repeating.body.contains("[DONE]"));
}

#[test]
fn several_choices_have_an_index() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let request = body(&json!({"result_format": "message", "n": 2, "max_tokens": 1}));
    let order: Vec<Value> = stream(&simulator, &request)
        .payloads()
        .iter()
        .map(|event| event["output"]["choices"][0]["index"].clone())
        .collect();
    assert_eq!(order, [0, 1, 0, 1]);
}

#[test]
fn refusals_have_code_and_message_at_the_top() {
    let simulator = Simulator::start(SimConfig {
        api_key: Some("k".to_owned()),
        ..SimConfig::default()
    })
    .unwrap();
    let key = "authorization: Bearer k\r\n";
    let top = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for (path, headers, body, status, code) in [
        (TEXT, "", &messages(true), 401, "InvalidApiKey"),
        (TEXT, key, &top, 400, "InvalidParameter"),
        (
            TEXT,
            key,
            &body(&json!({"result_format": "xml"})),
            400,
            "InvalidParameter",
        ),
        ("/api/v1/services/aigc/x", key, &top, 404, "ModelNotFound"),
    ] {
        let answer = post(&simulator, path, headers, body).unwrap();
        assert_eq!(answer.status, status);
        let error = answer.json();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].is_string() && error["request_id"].is_string());
    }
    let compatible = "/compatible-mode/v1/chat/completions";
    let answer = post(&simulator, compatible, key, &top).unwrap();
    assert_eq!(answer.json()["object"], "chat.completion");
}

#[test]
fn statuses_have_its_codes() {
    for (fault, status, code) in [
        (Fault::Http400, 400, "InvalidParameter"),
        (Fault::Http401, 401, "InvalidApiKey"),
        (Fault::Http404, 404, "ModelNotFound"),
        (Fault::Http422, 422, "InvalidParameter"),
        (Fault::Http429, 429, "Throttling.RateQuota"),
        (Fault::Http500, 500, "InternalError"),
        (Fault::Http503, 503, "ModelUnavailable"),
        (Fault::ErrorBody, 200, "InternalError"),
    ] {
        let answer = stream(&with_fault(fault), &messages(true));
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["code"], code);
        assert_eq!(answer.json()["request_id"], "dashscope-sim-1");
    }
}

/// How every fault and oddity looks in a stream.
#[test]
fn faults_have_its_form() {
    let plain = text_of(&stream(
        &Simulator::start(SimConfig::default()).unwrap(),
        &messages(true),
    ));
    for fault in Fault::ALL {
        let simulator = with_fault(*fault);
        let answer = match (fault, post(&simulator, TEXT, SSE, &messages(true))) {
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
        match fault {
            Fault::ErrorEvent | Fault::ErrorEventNamed => {
                let end = "id:4\nevent:error\n:HTTP_STATUS/500\ndata:{\"code\":\"InternalError\",\
                           \"message\":\"simulated failure while decoding\",\
                           \"request_id\":\"dashscope-sim-1\"}\n\n";
                assert!(answer.body.ends_with(end), "{}", answer.body);
            }
            Fault::ErrorString => {
                assert!(answer.body.contains("id:4\nevent:result\n"));
                assert_eq!(events[3]["code"], "InternalError");
            }
            Fault::FinishError => assert_eq!(last_reason(&answer), "error"),
            Fault::Cut | Fault::CutChunked | Fault::Reset | Fault::GarbageChunk | Fault::Stall => {
                assert_eq!(events.len(), 4, "{fault}");
                assert_eq!(last_reason(&answer), "null", "{fault}");
                let broken = answer.error.is_some() || !answer.complete;
                assert_eq!(broken, *fault != Fault::Cut, "{fault}");
            }
            Fault::BrokenJson => {
                assert_eq!(answer.body.matches("data:").count(), events.len() + 1);
            }
            Fault::Empty => {
                assert_eq!(events.len(), 1);
                assert_eq!(events[0]["usage"]["output_tokens"], 0);
            }
            Fault::JsonInsteadOfStream => {
                let message = &answer.json()["output"]["choices"][0]["message"];
                assert_eq!(message["content"], plain);
            }
            Fault::Reasoning | Fault::ReasoningContent | Fault::ReasoningDetails => {
                let thought: String = events
                    .iter()
                    .filter_map(|event| {
                        event["output"]["choices"][0]["message"]["reasoning_content"].as_str()
                    })
                    .collect();
                assert_eq!(thought + &text_of(&answer), plain, "{fault}");
            }
            Fault::ToolCalls => {
                assert_eq!(last_reason(&answer), "tool_calls");
                assert_eq!(text_of(&answer), "");
            }
            Fault::SplitUtf8 => assert!(!text_of(&answer).is_ascii()),
            _ => {
                assert!(fault.is_oddity() && answer.complete, "{fault}");
                assert_eq!(text_of(&answer), plain, "{fault}");
                assert_eq!(last_reason(&answer), "length", "{fault}");
            }
        }
    }
}

#[test]
fn oddities_of_the_event_stream() {
    let text = |fault| stream(&with_fault(fault), &messages(true)).body;
    assert!(text(Fault::Crlf).starts_with("id:1\r\nevent:result\r\n:HTTP_STATUS/200\r\ndata:{"));
    let cr = text(Fault::Cr);
    assert!(cr.ends_with("}\r\r") && !cr.contains('\n'));
    assert!(text(Fault::Comments).starts_with(": ping\n\nid:1\n"));
    assert!(text(Fault::RetryLine).starts_with("retry: 3000\n\nid:1\n"));
    let no_end = text(Fault::NoBlankEnd);
    assert!(no_end.ends_with("}\n") && !no_end.ends_with("\n\n"));
    assert_eq!(text(Fault::NoUsage).matches("usage").count(), 0);
    assert_eq!(
        text(Fault::PartialUsage)
            .matches("\"usage\":{\"input_tokens\":2}")
            .count(),
        9
    );
    assert_eq!(
        text(Fault::ErrorNull)
            .matches("\"code\":\"\",\"message\":\"\"")
            .count(),
        9
    );
    assert_eq!(text(Fault::MultiToken).matches("data:").count(), 4);
    assert_eq!(text(Fault::FinishWithContent).matches("data:").count(), 8);
    assert_eq!(
        text(Fault::ContentNull).matches("\"content\":null").count(),
        1
    );
}
