//! Unusual but valid responses.

use evalscope_sim::{Fault, SimConfig};
use serde_json::json;

use crate::client::{Response, ask, chat, exchange, post, post_chat, start, text_of, with_fault};

/// What a client must read from every oddity: the same text as from a plain response.
#[test]
fn oddities_have_the_text_of_a_plain_answer() {
    let options = json!({"stream": true, "max_tokens": 8});
    let plain = text_of(&ask(&start(SimConfig::default()), &options).events());
    let not_content = [
        Fault::Reasoning,
        Fault::ReasoningContent,
        Fault::ReasoningDetails,
        Fault::ToolCalls,
        Fault::Refusal,
        // All of its words are Chinese.
        Fault::SplitUtf8,
        // The real head is the second.
        Fault::EarlyHints,
        Fault::JsonInsteadOfStream,
    ];
    for fault in Fault::ALL.iter().filter(|fault| fault.is_oddity()) {
        if not_content.contains(fault) {
            continue;
        }
        let response = ask(&with_fault(*fault), &options);
        assert!(response.complete, "{fault}");
        assert_eq!(text_of(&response.events()), plain, "{fault}");
        assert_eq!(response.finish_reasons(), ["length"], "{fault}");
        assert_eq!(response.is_done(), *fault != Fault::NoDone, "{fault}");
    }
}

#[test]
fn oddities_of_the_event_stream() {
    let options = json!({
        "stream": true, "max_tokens": 8, "stream_options": {"include_usage": true},
    });
    let text = |fault| ask(&with_fault(fault), &options).text().to_owned();
    assert!(text(Fault::Crlf).ends_with("data: [DONE]\r\n\r\n"));
    let cr = text(Fault::Cr);
    assert!(cr.ends_with("data: [DONE]\r\r") && !cr.contains('\n'));
    assert!(text(Fault::NoSpace).starts_with("data:{"));
    assert!(text(Fault::Comments).starts_with(": ping\n\ndata: {"));
    assert!(text(Fault::EventIdLines).contains("\n\nevent: message\nid: 3\ndata: {"));
    assert!(text(Fault::RetryLine).starts_with("retry: 3000\n\ndata: {"));
    assert!(text(Fault::NoBlankEnd).ends_with("\n\ndata: [DONE]\n"));
    assert_eq!(text(Fault::NoUsage).matches("usage").count(), 0);
    assert_eq!(
        text(Fault::PartialUsage)
            .matches("\"usage\":{\"prompt_tokens\":2}")
            .count(),
        1
    );
    assert_eq!(
        text(Fault::UsageEverywhere).matches("\"usage\":{").count(),
        11
    );
    assert_eq!(text(Fault::ErrorNull).matches("\"error\":null").count(), 11);
    assert_eq!(text(Fault::NoObject).matches("\"object\"").count(), 0);
    assert_eq!(text(Fault::Timings).matches("\"predicted_n\":8").count(), 1);
    assert_eq!(
        text(Fault::Reasoning).matches("{\"reasoning\":\"").count(),
        3
    );
    assert_eq!(
        text(Fault::ReasoningContent)
            .matches("{\"reasoning_content\":\"")
            .count(),
        3
    );
    assert_eq!(
        text(Fault::ReasoningDetails)
            .matches("reasoning.text")
            .count(),
        3
    );
    assert_eq!(text(Fault::Refusal).matches("{\"refusal\":\"").count(), 8);
    assert_eq!(text(Fault::DeltaNull).matches("\"delta\":null").count(), 1);
    assert_eq!(
        text(Fault::ContentNull).matches("\"content\":null").count(),
        2
    );
    let in_finish = ask(&with_fault(Fault::UsageWithChoices), &options).events();
    assert_eq!(
        in_finish.last().expect("events")["choices"][0]["finish_reason"],
        "length"
    );
    assert_eq!(
        in_finish.last().expect("events")["usage"]["completion_tokens"],
        8
    );
    assert_eq!(
        ask(&with_fault(Fault::MultiToken), &options).events().len(),
        6
    );
    let tool = ask(&with_fault(Fault::ToolCalls), &options);
    assert_eq!(tool.finish_reasons(), ["tool_calls"]);
}

#[test]
fn oddities_of_http() {
    let options = json!({"stream": true, "max_tokens": 4});
    let keep_alive = post("/v1/chat/completions", "", &chat(&options).to_string());
    let (bytes, _) = exchange(with_fault(Fault::NoKeepAlive).addr(), &keep_alive);
    let response = Response::parse(&bytes);
    assert!(response.head.contains("connection: close") && !response.head.contains("chunked"));
    assert!(response.is_done());

    let raw = |fault| exchange(with_fault(fault).addr(), &post_chat(&options)).0;
    let response = Response::parse(&raw(Fault::ContentLengthStream));
    assert!(response.head.contains("content-length: ") && response.complete);
    assert!(raw(Fault::Trailers).ends_with(b"\r\n0\r\nx-sim-trailer: done\r\n\r\n"));
    let extended = String::from_utf8(raw(Fault::ChunkExtensions)).expect("UTF-8");
    assert!(extended.contains(";sim=1;note=\"a;b\"\r\n"), "{extended}");
    let hinted = String::from_utf8(raw(Fault::EarlyHints)).expect("UTF-8");
    assert!(hinted.starts_with("HTTP/1.1 103 Early Hints\r\n") && hinted.contains("HTTP/1.1 200"));
    let document = Response::parse(&raw(Fault::JsonInsteadOfStream));
    assert_eq!(document.json()["object"], "chat.completion");
    let split = Response::parse(&raw(Fault::SplitUtf8));
    assert!(split.is_done() && split.text().contains("\r\n\r\n"));
    assert!(!text_of(&split.events()).is_ascii());
    assert_eq!(Response::parse(&raw(Fault::SlowHeaders)).status, 200);
    let compressed = raw(Fault::Gzip);
    assert!(Response::parse(&compressed).is_done());
    let plain = compressed.windows(5).any(|five| five == b"data:");
    assert!(!plain, "compressed for real");
}
