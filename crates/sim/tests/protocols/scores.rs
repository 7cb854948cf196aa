//! Embeddings and reranking.

use evalscope_sim::{CacheBlocks, Fault, FaultRule, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::raw::post;

#[test]
fn vectors_and_scores_are_served_and_logged() {
    let simulator = Simulator::start(SimConfig {
        keeps_truth: true,
        cache_blocks: CacheBlocks::Unlimited,
        ..SimConfig::default()
    })
    .unwrap();
    let ask = |path: &str, body: Value| post(&simulator, path, "", &body).unwrap().json();
    let text = "x".repeat(100);
    let embedded = ask(
        "/v1/embeddings",
        json!({"model": "e", "input": [text, "12345"]}),
    );
    assert_eq!(embedded["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        embedded["data"][1]["embedding"].as_array().unwrap().len(),
        1024
    );
    assert_eq!(embedded["usage"]["prompt_tokens"], 27);
    let documents = json!([text, "12345", "1"]);
    for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
        let body = json!({"model": "r", "query": "1234", "documents": documents});
        let ranked = ask(path, body);
        assert_eq!(ranked["results"].as_array().unwrap().len(), 3);
        assert_eq!(ranked["usage"]["total_tokens"], 31);
    }
    let truth = simulator.stop().unwrap();
    let seen: Vec<_> = truth
        .requests
        .iter()
        .map(|request| {
            (
                request.prompt_tokens,
                request.completion_tokens,
                request.stream,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (27, 0, false),
            (31, 0, false),
            (31, 0, false),
            (31, 0, false)
        ]
    );
    let hits: Vec<u64> = truth
        .requests
        .iter()
        .map(|request| request.hit_blocks)
        .collect();
    assert_eq!(
        hits,
        [0, 0, 1, 1],
        "only the long document with its query fills a block"
    );
}

#[test]
fn they_fail_as_other_requests_do() {
    for fault in Fault::ALL {
        let simulator = Simulator::start(SimConfig {
            faults: vec![FaultRule::always(*fault)],
            stall: std::time::Duration::from_millis(1),
            ..SimConfig::default()
        })
        .unwrap();
        let bodies = [
            ("/v1/embeddings", json!({"input": "x", "dimensions": 4})),
            ("/v1/rerank", json!({"query": "q", "documents": ["a"]})),
        ];
        for (path, body) in bodies {
            let answer = post(&simulator, path, "", &body);
            let document = answer.as_ref().and_then(|answer| {
                let whole = answer.status == 200 && answer.complete;
                whole.then(|| serde_json::from_str::<Value>(&answer.body).ok())?
            });
            let results = document.as_ref().and_then(|document| {
                let list = document.get("data").or(document.get("results"))?;
                list.as_array()
            });
            let is_plain = results.is_some_and(|results| results.len() == 1);
            // In one document, broken JSON is a failure; without tokens, no error ends them early.
            let plain = fault.is_oddity() && *fault != Fault::BrokenJson
                || matches!(fault, Fault::FinishError | Fault::OversizedEvent);
            assert_eq!(is_plain, plain, "{fault} {path}");
        }
    }
}
