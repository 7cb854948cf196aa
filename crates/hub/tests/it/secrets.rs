//! Who sees the token: only the hub.

use evalscope_hub::{Hub, HubError, Source, Unwatched};
use tempfile::TempDir;

use crate::scene::{config, dataset, told};
use crate::stub::{Act, SIGNATURE, Server, Size, Stub};

const TOKEN: &str = "hf_the_token";

fn with_token(stub: &Stub, source: Source, cache: &TempDir) -> Hub {
    let variable = source.token_variables()[0];
    let endpoint = format!("http://{}", stub.hub);
    Hub::new(config(source, &endpoint, cache, &[(variable, TOKEN)]))
}

#[test]
fn the_token_is_sent_to_the_hub_and_not_to_the_cdn() {
    for source in [Source::ModelScope, Source::HuggingFace] {
        let (stub, cache) = (
            Stub::with("a", Size::Large, b"bytes"),
            TempDir::new().unwrap(),
        );
        let hub = with_token(&stub, source, &cache);
        hub.file(&dataset(), "a", &Unwatched).unwrap();
        hub.files(&dataset(), &Unwatched).unwrap();
        for seen in stub.seen() {
            let text = format!("{seen:?}");
            match seen.server {
                Server::Hub => {
                    assert_eq!(seen.headers["authorization"], format!("Bearer {TOKEN}"));
                }
                Server::Cdn => assert!(!text.contains(TOKEN), "{text}"),
            }
        }
        assert_eq!(stub.at_cdn().len(), 1);
    }
}

#[test]
fn the_token_file_of_hugging_faces_tools_is_read() {
    let (stub, cache) = (
        Stub::with("a", Size::Small, b"bytes"),
        TempDir::new().unwrap(),
    );
    let dir = cache.path().join("home/.cache/huggingface");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("token"), format!("{TOKEN}\n")).unwrap();
    let hub = stub.client(Source::HuggingFace, &cache);
    hub.file(&dataset(), "a", &Unwatched).unwrap();
    assert_eq!(
        stub.seen()[0].headers["authorization"],
        format!("Bearer {TOKEN}")
    );
}

#[test]
fn without_a_token_none_is_sent() {
    for source in [Source::ModelScope, Source::HuggingFace] {
        let (stub, cache) = (
            Stub::with("a", Size::Large, b"bytes"),
            TempDir::new().unwrap(),
        );
        stub.client(source, &cache)
            .file(&dataset(), "a", &Unwatched)
            .unwrap();
        for seen in stub.seen() {
            assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
            assert!(!seen.headers.contains_key("cookie"), "{seen:?}");
        }
    }
}

#[test]
fn no_error_shows_the_token_or_a_signature() {
    let acts: [(Vec<Act>, Vec<Act>); 7] = [
        (vec![Act::Status(401)], vec![]),
        (vec![Act::Status(403)], vec![]),
        (vec![Act::Status(418)], vec![]),
        (vec![], (0..3).map(|_| Act::Status(403)).collect()),
        (vec![], (0..3).map(|_| Act::CutAfter(1)).collect()),
        (
            vec![],
            (0..2).map(|_| Act::Bytes(b"wrong".to_vec())).collect(),
        ),
        (
            vec![],
            (0..2).map(|_| Act::Bytes(b"more".to_vec())).collect(),
        ),
    ];
    for (hub_acts, cdn_acts) in acts {
        let (stub, cache) = (
            Stub::with("a", Size::Large, b"bytes"),
            TempDir::new().unwrap(),
        );
        stub.hub_acts(hub_acts);
        stub.cdn_acts(cdn_acts);
        let hub = with_token(&stub, Source::HuggingFace, &cache);
        let error: HubError = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
        let shown = format!(
            "{} {error:?} {hub:?} {:?}",
            told(&error, &cache),
            hub.config()
        );
        assert!(!shown.contains(TOKEN), "{shown}");
        assert!(!shown.contains(SIGNATURE), "{shown}");
    }
}
