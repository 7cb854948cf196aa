//! What the user reads when a file is not available.

use std::net::TcpListener;

use evalscope_hub::{Hub, HubError, NameError, Network, Repo, RepoKind, Source, Unwatched};
use insta::assert_snapshot;
use tempfile::TempDir;

use crate::scene::{config, dataset, hiding_numbers, model, noise, told};
use crate::stub::{Act, Size, Stub};

/// The error for a request of file `a` of the dataset when the servers behave like this.
fn refusal(source: Source, hub_acts: Vec<Act>, cdn_acts: Vec<Act>) -> String {
    let (stub, cache) = (
        Stub::with("a", Size::Large, &noise(1000, 1)),
        TempDir::new().unwrap(),
    );
    stub.hub_acts(hub_acts);
    stub.cdn_acts(cdn_acts);
    let hub = stub.client(source, &cache);
    let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    told(&error, &cache)
}

fn thrice(act: impl Fn() -> Act) -> Vec<Act> {
    (0..3).map(|_| act()).collect()
}

/// An address without a listener.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn nothing_listens() {
    let cache = TempDir::new().unwrap();
    let told_of = |source, repo: &Repo| {
        let hub = Hub::new(config(source, &nowhere(), &cache, &[]));
        told(&hub.file(repo, "a", &Unwatched).unwrap_err(), &cache)
    };
    hiding_numbers(|| {
        assert_snapshot!(told_of(Source::ModelScope, &dataset()), @"
        cannot connect to 127.0.0.1:[port] for `a` of dataset owner/name
        cause: Connection refused (os error [n])
        hint: check the network, or `HTTPS_PROXY` if there is a proxy; without a network, put the file at [tmp]/own/modelscope/datasets/owner/name/master/a, or give a local path with `--dataset-path`
        ");
        assert_snapshot!(told_of(Source::HuggingFace, &model()), @"
        cannot connect to 127.0.0.1:[port] for `a` of model owner/name
        cause: Connection refused (os error [n])
        hint: check the network, or `HTTPS_PROXY` if there is a proxy; without a network, put the file at [tmp]/own/huggingface/models/owner/name/main/a, or give a local path with `--tokenizer-path`
        ");
    });
}

#[test]
fn no_such_host() {
    let cache = TempDir::new().unwrap();
    // reserved never to resolve
    let hub = Hub::new(config(
        Source::HuggingFace,
        "https://hub.invalid",
        &cache,
        &[],
    ));
    let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    // the cause is the system's message
    assert_snapshot!(error, @"cannot connect to hub.invalid for `a` of dataset owner/name");
}

#[test]
fn offline() {
    let cache = TempDir::new().unwrap();
    let variables = [("HF_HUB_OFFLINE", "1")];
    let config = config(Source::HuggingFace, &nowhere(), &cache, &variables);
    assert!(matches!(config.network, Network::Forbidden { .. }));
    let hub = Hub::new(config);
    let error = hub
        .file(&dataset(), "data/a.jsonl", &Unwatched)
        .unwrap_err();
    assert_snapshot!(told(&error, &cache), @"
    `data/a.jsonl` of dataset owner/name is not cached, and `HF_HUB_OFFLINE` forbids network access
    hint: put the file at [tmp]/own/huggingface/datasets/owner/name/main/data/a.jsonl, or give a local path with `--dataset-path`
    ");
    let error = hub.files(&dataset(), &Unwatched).unwrap_err();
    assert_snapshot!(told(&error, &cache), @"
    the list of files of dataset owner/name is not cached, and `HF_HUB_OFFLINE` forbids network access
    hint: give a local path with `--dataset-path`
    ");
}

#[test]
fn gated() {
    assert_snapshot!(refusal(Source::HuggingFace, vec![Act::Status(401)], vec![]), @"
    Hugging Face refuses `a` of dataset owner/name (HTTP 401): the stub says no to hf_the_token
    hint: it is gated or private: request access on the website, and put your token into `HF_TOKEN`, which is not set
    ");
    assert_snapshot!(refusal(Source::ModelScope, vec![Act::Status(403)], vec![]), @"
    ModelScope refuses `a` of dataset owner/name (HTTP 403): the stub says no to hf_the_token
    hint: it is gated or private: request access on the website, and put your token into `MODELSCOPE_API_TOKEN`, which is not set
    ");
}

#[test]
fn gated_though_a_token_was_sent() {
    let (stub, cache) = (Stub::with("a", Size::Small, b"x"), TempDir::new().unwrap());
    stub.hub_acts([Act::Status(403)]);
    let endpoint = format!("http://{}", stub.hub);
    let variables = [("HF_TOKEN", "hf_the_token")];
    let hub = Hub::new(config(Source::HuggingFace, &endpoint, &cache, &variables));
    let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    assert_snapshot!(told(&error, &cache), @"
    Hugging Face refuses `a` of dataset owner/name (HTTP 403): the stub says no to ***
    hint: a token was sent: check that `HF_TOKEN` holds a valid one and that its owner has access, which the website grants
    ");
}

#[test]
fn not_found() {
    let (stub, cache) = (Stub::with("a", Size::Small, b"x"), TempDir::new().unwrap());
    let wrong = Repo::new(RepoKind::Dataset, "owner/wrong").unwrap();
    let told_of = |source, repo: &Repo| {
        let hub = stub.client(source, &cache);
        told(&hub.file(repo, "b", &Unwatched).unwrap_err(), &cache)
    };
    assert_snapshot!(told_of(Source::ModelScope, &dataset()), @"
    ModelScope has no `b` of dataset owner/name
    hint: check the name of the dataset and the path; Hugging Face may have it: `--data-source huggingface`
    ");
    assert_snapshot!(told_of(Source::HuggingFace, &dataset()), @"
    Hugging Face has no `b` of dataset owner/name
    hint: check the path; ModelScope may have it: `--data-source modelscope`
    ");
    assert_snapshot!(told_of(Source::ModelScope, &wrong), @"
    ModelScope has no dataset owner/wrong
    hint: check the name, and if it is private, the token; Hugging Face may have it: `--data-source huggingface`
    ");
    assert_snapshot!(told_of(Source::HuggingFace, &wrong), @"
    Hugging Face has no dataset owner/wrong
    hint: check the name, and if it is private, the token; ModelScope may have it: `--data-source modelscope`
    ");
    let left = crate::scene::tree(&cache.path().join("own"));
    assert_eq!(left, ["modelscope/datasets/owner/name/master.files.json"]);
}

#[test]
fn failing_servers() {
    hiding_numbers(|| {
        let busy = refusal(Source::HuggingFace, thrice(|| Act::Status(429)), vec![]);
        assert_snapshot!(busy, @"
        127.0.0.1:[port] returned HTTP 429 for `a` of dataset owner/name: the stub says no to hf_the_token
        hint: wait a while; Hugging Face allows more requests with a token in `HF_TOKEN`
        ");
        let broken = refusal(Source::ModelScope, thrice(|| Act::Status(503)), vec![]);
        assert_snapshot!(broken, @"
        127.0.0.1:[port] returned HTTP 503 for `a` of dataset owner/name: the stub says no to hf_the_token
        hint: try again later; Hugging Face may have it: `--data-source huggingface`
        ");
        let cut = refusal(Source::HuggingFace, vec![], thrice(|| Act::CutAfter(100)));
        assert_snapshot!(cut, @"
        the connection to 127.0.0.1:[port] broke 3 times; 300 of 1000 bytes of `a` of dataset owner/name arrived
        cause: Peer disconnected
        hint: run it again: it resumes where it stopped; or put the file at [tmp]/own/huggingface/datasets/owner/name/main/a, or give a local path with `--dataset-path`
        ");
        let odd = refusal(Source::HuggingFace, vec![Act::Status(418)], vec![]);
        assert_snapshot!(odd, @"
        127.0.0.1:[port] returned HTTP 418 for `a` of dataset owner/name: the stub says no to hf_the_token
        hint: try again later; ModelScope may have it: `--data-source modelscope`
        ");
    });
}

#[test]
fn wrong_bytes() {
    let other = || Act::Bytes(noise(1000, 2));
    assert_snapshot!(refusal(Source::HuggingFace, vec![], thrice(other)), @"
    `a` of dataset owner/name arrived with SHA-256 48f99f3f759645235634a20226e06736c895faf1c24bfd3a8b0032312b20dae6; Hugging Face says it has ae26722f340430bc2cd3896038dd76ef2fe3729929eb8877aa84fb0877db7f63
    hint: it was fetched twice, and nothing was kept; a proxy may be changing the data; ModelScope may have it: `--data-source modelscope`
    ");
    assert_snapshot!(refusal(Source::ModelScope, vec![], thrice(other)), @"
    `a` of dataset owner/name arrived with SHA-256 48f99f3f759645235634a20226e06736c895faf1c24bfd3a8b0032312b20dae6; ModelScope says it has ae26722f340430bc2cd3896038dd76ef2fe3729929eb8877aa84fb0877db7f63
    hint: it was fetched twice, and nothing was kept; a proxy may be changing the data; Hugging Face may have it: `--data-source huggingface`
    ");
    let size = refusal(Source::HuggingFace, thrice(|| Act::StateSize(2000)), vec![]);
    assert_snapshot!(size, @"
    `a` of dataset owner/name arrived with 1000 bytes; Hugging Face says it has 2000
    hint: it was fetched twice, and nothing was kept; a proxy may be changing the data; ModelScope may have it: `--data-source modelscope`
    ");
}

#[test]
fn wrong_bytes_are_not_kept() {
    let (stub, cache) = (
        Stub::with("a", Size::Large, b"right"),
        TempDir::new().unwrap(),
    );
    stub.cdn_acts(thrice(|| Act::Bytes(b"wrong".to_vec())));
    let hub = stub.client(Source::HuggingFace, &cache);
    hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    assert_eq!(stub.at_cdn().len(), 2, "once more, but not again");
    assert_eq!(crate::scene::tree(&cache.path().join("own")), [""; 0]);
}

#[test]
fn names_that_lead_out_of_the_cache() {
    let (stub, cache) = (Stub::start(), TempDir::new().unwrap());
    let hub = stub.client(Source::HuggingFace, &cache);
    for path in [
        "../a",
        "/etc/passwd",
        "a/../../b",
        "C:\\a",
        "C:a",
        "a\\b",
        "",
    ] {
        let error = hub.file(&dataset(), path, &Unwatched).unwrap_err();
        assert!(
            matches!(error, HubError::Name(NameError::FilePath { .. })),
            "{path}: {error:?}"
        );
        assert!(hub.optional_file(&dataset(), path, &Unwatched).is_err());
        assert_eq!(hub.cached(&dataset(), path), None);
    }
    assert_eq!(stub.seen().len(), 0);
    let error = hub.file(&dataset(), "a/../b", &Unwatched).unwrap_err();
    assert_snapshot!(told(&error, &cache), @"`a/../b` is not a path inside a repository: it has a part that is `.` or `..`");
    let error = Repo::new(RepoKind::Model, "../secrets").unwrap_err().into();
    assert_snapshot!(told(&error, &cache), @"`../secrets` is not a repository such as owner/name: it has a part that is `.` or `..`");
    let lonely = Repo::new(RepoKind::Model, "gpt2").unwrap();
    let hub = stub.client(Source::ModelScope, &cache);
    let error = hub.file(&lonely, "a", &Unwatched).unwrap_err();
    assert_snapshot!(told(&error, &cache), @"`gpt2` is not a repository such as owner/name: it has no owner");
}

#[test]
fn a_cache_that_cannot_be_written() {
    let (stub, cache) = (Stub::with("a", Size::Small, b"x"), TempDir::new().unwrap());
    // a file where a directory has to be: also fails for root
    std::fs::write(cache.path().join("own"), "").unwrap();
    let hub = stub.client(Source::HuggingFace, &cache);
    let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    hiding_numbers(|| {
        assert_snapshot!(told(&error, &cache), @"
    cannot create the directory [tmp]/own/.locks/huggingface/datasets/owner/name/main
    cause: Not a directory (os error [n])
    hint: set `EVALSCOPE_CACHE` to a writable directory
    ");
    });
}
