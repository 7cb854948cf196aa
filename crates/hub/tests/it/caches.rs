//! Files that are already there, and what works without a network.

use std::path::Path;

use evalscope_hub::{Hub, HubConfig, HubError, Network, Source, Unwatched};
use tempfile::TempDir;

use crate::scene::{config, dataset, model};
use crate::stub::{Size, Stub};

/// Settings that cannot reach anything, and need not.
fn offline(source: Source, cache: &TempDir) -> HubConfig {
    let mut config = config(source, "http://127.0.0.1:9", cache, &[]);
    config.network = Network::Forbidden {
        by: "`HF_HUB_OFFLINE`".to_owned(),
    };
    config
}

fn write(cache: &TempDir, path: &str, text: &str) {
    let path = cache.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_cache_of_hugging_faces_tools_is_used() {
    let cache = TempDir::new().unwrap();
    let base = "home/.cache/huggingface/hub/models--owner--name";
    write(&cache, &format!("{base}/refs/main"), "abc123\n");
    write(
        &cache,
        &format!("{base}/snapshots/abc123/sub/t.json"),
        "theirs",
    );
    let hub = Hub::new(offline(Source::HuggingFace, &cache));
    let file = hub.file(&model(), "sub/t.json", &Unwatched).unwrap();
    assert_eq!(read(&file), "theirs");
    assert_eq!(hub.cached(&model(), "sub/t.json").unwrap(), file);
    let at_commit = model().at("abc123").unwrap();
    assert_eq!(
        hub.file(&at_commit, "sub/t.json", &Unwatched).unwrap(),
        file
    );
    assert_eq!(hub.cached(&model().at("def").unwrap(), "sub/t.json"), None);
    assert_eq!(hub.cached(&dataset(), "sub/t.json"), None);
}

#[test]
fn a_reference_that_leads_elsewhere_is_not_followed() {
    let cache = TempDir::new().unwrap();
    let base = "home/.cache/huggingface/hub/models--owner--name";
    write(&cache, &format!("{base}/refs/main"), "../../../..");
    write(&cache, "home/.cache/t.json", "not of a hub");
    let hub = Hub::new(offline(Source::HuggingFace, &cache));
    assert_eq!(hub.cached(&model(), "t.json"), None);
}

#[test]
fn what_hugging_faces_tools_know_to_be_absent_is_absent() {
    let cache = TempDir::new().unwrap();
    let base = "home/.cache/huggingface/hub/models--owner--name";
    write(&cache, &format!("{base}/refs/main"), "abc123");
    write(&cache, &format!("{base}/.no_exist/abc123/added.json"), "");
    let hub = Hub::new(offline(Source::HuggingFace, &cache));
    assert_eq!(
        hub.optional_file(&model(), "added.json", &Unwatched)
            .unwrap(),
        None
    );
    let error = hub
        .optional_file(&model(), "other.json", &Unwatched)
        .unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error:?}");
}

#[test]
fn the_caches_of_modelscopes_tools_are_used() {
    let places = [
        "home/.cache/modelscope/models/owner--name/snapshots/master/t.json",
        "home/.cache/modelscope/hub/models/owner/name/t.json",
        "home/.cache/modelscope/models/owner/name/t.json",
        "home/.cache/modelscope/hub/owner/name/t.json",
    ];
    for place in places {
        let cache = TempDir::new().unwrap();
        write(&cache, place, "theirs");
        let hub = Hub::new(offline(Source::ModelScope, &cache));
        let file = hub.file(&model(), "t.json", &Unwatched).unwrap();
        assert_eq!(file, cache.path().join(place));
        assert_eq!(
            hub.cached(&model().at("v2").unwrap(), "t.json"),
            None,
            "{place}"
        );
    }
}

#[test]
fn modelscopes_old_tools_write_three_underscores_for_a_dot() {
    let cache = TempDir::new().unwrap();
    let place = "home/.cache/modelscope/hub/models/Qwen/Qwen2___5-0___5B/t.json";
    write(&cache, place, "theirs");
    let hub = Hub::new(offline(Source::ModelScope, &cache));
    let repo = evalscope_hub::Repo::new(evalscope_hub::RepoKind::Model, "Qwen/Qwen2.5-0.5B");
    assert!(hub.cached(&repo.unwrap(), "t.json").is_some());
}

#[test]
fn a_file_put_into_the_cache_by_hand_counts() {
    let cache = TempDir::new().unwrap();
    write(
        &cache,
        "own/modelscope/datasets/owner/name/master/a.jsonl",
        "mine",
    );
    let hub = Hub::new(offline(Source::ModelScope, &cache));
    assert_eq!(
        read(&hub.file(&dataset(), "a.jsonl", &Unwatched).unwrap()),
        "mine"
    );
}

#[test]
fn what_was_fetched_is_there_without_a_network() {
    for source in [Source::ModelScope, Source::HuggingFace] {
        let (stub, cache) = (
            Stub::with("a", Size::Large, b"bytes"),
            TempDir::new().unwrap(),
        );
        let hub = stub.client(source, &cache);
        hub.file(&dataset(), "a", &Unwatched).unwrap();
        hub.optional_file(&dataset(), "b", &Unwatched).unwrap();
        let listed = hub.files(&dataset(), &Unwatched).unwrap();
        let requests = stub.seen().len();

        let mut unplugged = config(source, "http://127.0.0.1:9", &cache, &[]);
        unplugged.patience.tries = 1;
        for config in [offline(source, &cache), unplugged] {
            let hub = Hub::new(config);
            assert_eq!(
                read(&hub.file(&dataset(), "a", &Unwatched).unwrap()),
                "bytes"
            );
            assert_eq!(
                hub.optional_file(&dataset(), "b", &Unwatched).unwrap(),
                None
            );
            assert_eq!(hub.files(&dataset(), &Unwatched).unwrap(), listed);
            assert!(hub.file(&dataset(), "c", &Unwatched).is_err());
        }
        assert_eq!(stub.seen().len(), requests);
    }
}

#[test]
fn a_file_that_appears_is_no_longer_absent() {
    let (stub, cache) = (Stub::start(), TempDir::new().unwrap());
    let hub = stub.client(Source::HuggingFace, &cache);
    assert_eq!(
        hub.optional_file(&model(), "t.json", &Unwatched).unwrap(),
        None
    );
    stub.put("t.json", Size::Small, b"new");
    let file = hub.optional_file(&model(), "t.json", &Unwatched).unwrap();
    assert_eq!(read(&file.unwrap()), "new");
    let dir = cache.path().join("own/huggingface/models/owner/name/main");
    assert_eq!(crate::scene::tree(&dir), ["t.json"]);
}
