//! Downloads over connections that break, from servers that misbehave.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use evalscope_hub::{HubError, Repo, RepoKind, Source, Unwatched};
use tempfile::TempDir;

use crate::scene::{Counter, config, dataset, model, noise, tree};
use crate::stub::{Act, Size, Stub};

const BOTH: [Source; 2] = [Source::ModelScope, Source::HuggingFace];

fn tmp() -> TempDir {
    TempDir::new().unwrap()
}

fn ranges(stub: &Stub) -> Vec<Option<String>> {
    let seen = stub.at_cdn();
    seen.iter()
        .map(|seen| seen.headers.get("range").cloned())
        .collect()
}

fn sent(stub: &Stub) -> usize {
    stub.at_cdn().iter().map(|seen| seen.sent).sum()
}

#[test]
fn a_file_arrives_whole_and_once() {
    for source in BOTH {
        for (size, repo) in [(Size::Small, model()), (Size::Large, dataset())] {
            let bytes = noise(200_000, 1);
            let (stub, cache) = (Stub::with("data/a.jsonl", size, &bytes), tmp());
            let hub = stub.client(source, &cache);
            assert_eq!(hub.cached(&repo, "data/a.jsonl"), None);
            let watch = Counter::default();
            let file = hub.file(&repo, "data/a.jsonl", &watch).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), bytes);
            assert_eq!(watch.begun(), [(Some(200_000), 0)]);
            assert_eq!(watch.advanced.load(Ordering::Relaxed), 200_000);
            assert_eq!(watch.ended.load(Ordering::Relaxed), 1);

            let requests = stub.seen().len();
            assert_eq!(hub.file(&repo, "data/a.jsonl", &watch).unwrap(), file);
            assert_eq!(hub.cached(&repo, "data/a.jsonl").unwrap(), file);
            assert_eq!(
                stub.seen().len(),
                requests,
                "the second time is from the cache"
            );
            assert_eq!(watch.begun().len(), 1);
        }
    }
}

#[test]
fn files_lie_where_the_documentation_says() {
    let (stub, cache) = (Stub::with("data/a.jsonl", Size::Large, b"x"), tmp());
    for source in BOTH {
        let hub = stub.client(source, &cache);
        hub.file(&dataset(), "data/a.jsonl", &Unwatched).unwrap();
        assert_eq!(
            hub.optional_file(&dataset(), "b.json", &Unwatched).unwrap(),
            None
        );
    }
    insta::assert_snapshot!(tree(&cache.path().join("own")).join("\n"), @"
    huggingface/datasets/owner/name/main/b.json.absent
    huggingface/datasets/owner/name/main/data/a.jsonl
    modelscope/datasets/owner/name/master.files.json
    modelscope/datasets/owner/name/master/b.json.absent
    modelscope/datasets/owner/name/master/data/a.jsonl
    ");
}

#[test]
fn an_empty_file_is_a_file() {
    for source in BOTH {
        let (stub, cache) = (Stub::with("empty", Size::Small, b""), tmp());
        let file = stub
            .client(source, &cache)
            .file(&model(), "empty", &Unwatched)
            .unwrap();
        assert_eq!(std::fs::read(file).unwrap(), b"");
    }
}

#[test]
fn a_cut_connection_goes_on_where_it_stopped() {
    for source in BOTH {
        let bytes = noise(300_000, 2);
        let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
        stub.cdn_acts([Act::CutAfter(100_000), Act::CutAfter(50_000)]);
        let watch = Counter::default();
        let file = stub
            .client(source, &cache)
            .file(&dataset(), "a", &watch)
            .unwrap();
        assert_eq!(std::fs::read(file).unwrap(), bytes);
        let asked = [None, Some("bytes=100000-"), Some("bytes=150000-")];
        assert_eq!(ranges(&stub), asked.map(|range| range.map(str::to_owned)));
        assert_eq!(sent(&stub), 300_000, "no byte came twice");
        let total = Some(300_000);
        assert_eq!(
            watch.begun(),
            [(total, 0), (total, 100_000), (total, 150_000)]
        );
        assert_eq!(watch.ended.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn an_aborted_fetch_goes_on_in_another_process() {
    for source in BOTH {
        let bytes = noise(300_000, 3);
        let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
        stub.cdn_acts([Act::CutAfter(100_000)]);
        let mut impatient = stub.config(source, &cache);
        impatient.patience.tries = 1;
        let hub = evalscope_hub::Hub::new(impatient);
        let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
        assert!(
            matches!(
                error,
                HubError::Cut {
                    got_bytes: 100_000,
                    ..
                }
            ),
            "{error:?}"
        );
        drop(hub);

        let watch = Counter::default();
        let file = stub
            .client(source, &cache)
            .file(&dataset(), "a", &watch)
            .unwrap();
        assert_eq!(std::fs::read(file).unwrap(), bytes);
        assert_eq!(ranges(&stub)[1].as_deref(), Some("bytes=100000-"));
        assert_eq!(sent(&stub), 300_000);
        assert_eq!(watch.begun(), [(Some(300_000), 100_000)]);
    }
}

#[test]
fn a_stopped_fetch_keeps_what_it_has() {
    let bytes = noise(1_000_000, 4);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    let hub = stub.client(Source::HuggingFace, &cache);
    let watch = Counter {
        stop_at: Some(100_000),
        ..Counter::default()
    };
    let error = hub.file(&dataset(), "a", &watch).unwrap_err();
    assert!(matches!(error, HubError::Cancelled { .. }), "{error:?}");
    assert_eq!(watch.ended.load(Ordering::Relaxed), 1);
    let place = cache
        .path()
        .join("own/huggingface/datasets/owner/name/main/a.partial");
    let kept = std::fs::metadata(place).unwrap().len();
    assert_eq!(kept, watch.advanced.load(Ordering::Relaxed));
    assert!((100_000..1_000_000).contains(&kept), "{kept}");

    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(ranges(&stub)[1], Some(format!("bytes={kept}-")));
}

#[test]
fn a_partial_file_that_is_whole_needs_no_request() {
    let bytes = noise(1000, 5);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    let dir = cache
        .path()
        .join("own/huggingface/datasets/owner/name/main");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("a.partial"), &bytes).unwrap();
    let of = format!(
        r#"{{"etag":"e","size_bytes":1000,"sha256":"{}"}}"#,
        crate::scene::sha256(&bytes)
    );
    std::fs::write(dir.join("a.partial.json"), of).unwrap();
    let hub = stub.client(Source::HuggingFace, &cache);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(stub.seen().len(), 0);
    assert_eq!(tree(&dir), ["a"]);
}

#[test]
fn a_partial_file_of_nobody_knows_what_is_dropped() {
    let bytes = noise(1000, 6);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    let dir = cache
        .path()
        .join("own/huggingface/datasets/owner/name/main");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("a.partial"), b"stray").unwrap();
    let hub = stub.client(Source::HuggingFace, &cache);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(ranges(&stub), [None]);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let bytes = noise(300_000, 7);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    stub.cdn_acts([Act::CutAfter(100_000), Act::IgnoreRange]);
    let watch = Counter::default();
    let hub = stub.client(Source::HuggingFace, &cache);
    let file = hub.file(&dataset(), "a", &watch).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(watch.begun(), [(Some(300_000), 0), (Some(300_000), 0)]);
}

#[test]
fn a_file_that_changed_meanwhile_starts_over() {
    for size in [Size::Small, Size::Large] {
        let (old, new) = (noise(300_000, 8), noise(300_000, 9));
        let (stub, cache) = (Stub::with("a", size, &old), tmp());
        let cut = [Act::CutAfter(100_000)];
        match size {
            Size::Small => stub.hub_acts(cut),
            Size::Large => stub.cdn_acts(cut),
        }
        let mut impatient = stub.config(Source::HuggingFace, &cache);
        impatient.patience.tries = 1;
        let hub = evalscope_hub::Hub::new(impatient);
        hub.file(&dataset(), "a", &Unwatched).unwrap_err();
        stub.put("a", size, &new);
        let hub = stub.client(Source::HuggingFace, &cache);
        let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
        assert_eq!(std::fs::read(file).unwrap(), new, "{size:?}");
    }
}

#[test]
fn a_file_that_became_shorter_starts_over() {
    // the server responds with 416
    let (stub, cache) = (Stub::with("a", Size::Large, &noise(300_000, 10)), tmp());
    stub.cdn_acts([Act::CutAfter(100_000)]);
    let mut impatient = stub.config(Source::ModelScope, &cache);
    impatient.patience.tries = 1;
    evalscope_hub::Hub::new(impatient)
        .file(&dataset(), "a", &Unwatched)
        .unwrap_err();
    let new = noise(500, 11);
    stub.put("a", Size::Large, &new);
    let hub = stub.client(Source::ModelScope, &cache);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), new);
    assert_eq!(ranges(&stub)[1..], [Some("bytes=100000-".to_owned()), None]);
}

#[test]
fn an_answer_without_a_length_that_ends_early_is_a_cut() {
    let bytes = noise(300_000, 12);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    stub.cdn_acts([Act::UntoldUntil(100_000)]);
    let hub = stub.client(Source::HuggingFace, &cache);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(sent(&stub), 300_000);
}

#[test]
fn busy_and_failing_servers_are_asked_again() {
    for source in BOTH {
        let bytes = noise(1000, 13);
        let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
        stub.hub_acts([Act::Status(429), Act::Status(500)]);
        let hub = stub.client(source, &cache);
        let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
        assert_eq!(std::fs::read(file).unwrap(), bytes);
    }
}

#[test]
fn an_expired_signature_gets_a_new_one() {
    let bytes = noise(1000, 14);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    stub.cdn_acts([Act::Status(403)]);
    let hub = stub.client(Source::HuggingFace, &cache);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(stub.seen().len(), 4, "both were requested twice");
}

#[test]
fn a_silent_server_is_left() {
    let bytes = noise(300_000, 15);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    let (_keep_silent, silence) = channel();
    stub.cdn_acts([Act::HoldAfter(100_000, silence)]);
    let mut config = stub.config(Source::HuggingFace, &cache);
    config.patience.idle = Duration::from_millis(200);
    let hub = evalscope_hub::Hub::new(config);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert_eq!(ranges(&stub)[1].as_deref(), Some("bytes=100000-"));
}

#[test]
fn wrong_bytes_are_fetched_once_more() {
    for source in BOTH {
        let bytes = noise(300_000, 16);
        for wrong in [noise(300_000, 17), noise(299_999, 16), noise(400_000, 16)] {
            let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
            stub.cdn_acts([Act::Bytes(wrong)]);
            let hub = stub.client(source, &cache);
            let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
            assert_eq!(std::fs::read(file).unwrap(), bytes);
        }
    }
}

#[test]
fn a_list_that_fails_does_not_stop_the_fetch() {
    let bytes = noise(1000, 18);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    stub.listing_acts([Act::Status(500), Act::Status(500), Act::Status(500)]);
    let hub = stub.client(Source::ModelScope, &cache);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
}

#[test]
fn two_at_once_fetch_once() {
    for source in BOTH {
        let bytes = noise(300_000, 19);
        let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
        let (go_on, held) = channel();
        stub.cdn_acts([Act::HoldAfter(100_000, held)]);
        // a lock belongs to an open file, so two hubs in one process behave like two processes
        let fetch = || -> PathBuf {
            let hub = stub.client(source, &cache);
            hub.file(&dataset(), "a", &Unwatched).unwrap()
        };
        let files = std::thread::scope(|scope| {
            let first = scope.spawn(fetch);
            let second = scope.spawn(|| {
                go_on.send(()).unwrap();
                fetch()
            });
            [first.join().unwrap(), second.join().unwrap()]
        });
        assert_eq!(files[0], files[1]);
        assert_eq!(std::fs::read(&files[0]).unwrap(), bytes);
        assert_eq!(stub.at_cdn().len(), 1, "one of them waited");
    }
}

#[test]
fn whoever_waits_for_another_can_stop() {
    let (stub, cache) = (Stub::with("a", Size::Large, b"x"), tmp());
    let lock = cache
        .path()
        .join("own/.locks/huggingface/datasets/owner/name/main/a.lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let stopped = Counter {
        stop_at: Some(0),
        ..Counter::default()
    };
    let hub = stub.client(Source::HuggingFace, &cache);
    let error = hub.file(&dataset(), "a", &stopped).unwrap_err();
    assert!(matches!(error, HubError::Cancelled { .. }), "{error:?}");
    assert_eq!(stub.seen().len(), 0);
}

#[test]
fn a_renamed_repository_is_followed() {
    let bytes = noise(1000, 20);
    let (stub, cache) = (Stub::with("a", Size::Large, &bytes), tmp());
    let repo = Repo::new(RepoKind::Model, "renamed/name").unwrap();
    let hub = stub.client(Source::HuggingFace, &cache);
    let file = hub.file(&repo, "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
}

#[test]
fn a_proxy_is_used() {
    let bytes = noise(1000, 21);
    let (stub, cache) = (Stub::with("a", Size::Small, &bytes), tmp());
    // the stub itself accepts the tunnel
    let proxy = format!("http://user:pass@{}", stub.hub);
    let config = config(
        Source::HuggingFace,
        "http://hub.invalid",
        &cache,
        &[("http_proxy", proxy.as_str())],
    );
    let hub = evalscope_hub::Hub::new(config);
    let file = hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    let seen = stub.seen();
    assert_eq!(seen[0].target, "hub.invalid:80");
    assert_eq!(seen[0].headers["proxy-authorization"], "Basic dXNlcjpwYXNz");
    assert!(!seen[1].headers.contains_key("proxy-authorization"));
}
