//! File listings.

use evalscope_hub::{HubError, Missing, RemoteFile, Repo, RepoKind, Source, Unwatched};
use tempfile::TempDir;

use crate::scene::{dataset, model, sha256};
use crate::stub::{Act, Size, Stub};

#[test]
fn all_pages_of_hugging_face_are_read() {
    let (stub, cache) = (Stub::start(), TempDir::new().unwrap());
    for name in ["a", "b", "c", "d"] {
        stub.put(name, Size::Small, name.as_bytes());
    }
    stub.put("e", Size::Large, b"large");
    let hub = stub.client(Source::HuggingFace, &cache);
    let files = hub.files(&dataset(), &Unwatched).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(stub.seen().len(), 3);
    assert_eq!(files[0].size_bytes, Some(1));
    let large = RemoteFile {
        path: "e".to_owned(),
        size_bytes: Some(5),
        sha256: Some(sha256(b"large")),
    };
    assert_eq!(files[4], large);
}

#[test]
fn all_pages_of_modelscope_are_read() {
    let (stub, cache) = (Stub::start(), TempDir::new().unwrap());
    for number in 0..230 {
        stub.put(&format!("part-{number:03}"), Size::Small, b"x");
    }
    let hub = stub.client(Source::ModelScope, &cache);
    let files = hub.files(&dataset(), &Unwatched).unwrap();
    assert_eq!(files.len(), 230, "without the directory");
    assert_eq!(stub.seen().len(), 3);
    assert_eq!(hub.files(&model(), &Unwatched).unwrap(), files);
    assert_eq!(stub.seen().len(), 4, "for a model it is one page");
}

#[test]
fn for_one_file_the_list_is_read_as_far_as_needed() {
    let (stub, cache) = (Stub::start(), TempDir::new().unwrap());
    for number in 0..230 {
        stub.put(&format!("part-{number:03}"), Size::Small, b"x");
    }
    let hub = stub.client(Source::ModelScope, &cache);
    hub.file(&dataset(), "part-120", &Unwatched).unwrap();
    assert_eq!(stub.seen().len(), 3, "two pages and the file");
    hub.files(&dataset(), &Unwatched).unwrap();
    hub.file(&dataset(), "part-121", &Unwatched).unwrap();
    assert_eq!(stub.seen().len(), 7, "three pages, then only the file");
}

#[test]
fn a_failing_page_is_asked_for_again() {
    for source in [Source::ModelScope, Source::HuggingFace] {
        let (stub, cache) = (Stub::with("a", Size::Small, b"x"), TempDir::new().unwrap());
        stub.listing_acts([Act::Status(502), Act::Status(429)]);
        let hub = stub.client(source, &cache);
        assert_eq!(hub.files(&dataset(), &Unwatched).unwrap().len(), 1);
    }
}

#[test]
fn a_repository_that_is_not_there_is_named() {
    let (stub, cache) = (Stub::start(), TempDir::new().unwrap());
    let repo = Repo::new(RepoKind::Dataset, "owner/wrong").unwrap();
    for source in [Source::ModelScope, Source::HuggingFace] {
        let hub = stub.client(source, &cache);
        for error in [
            hub.files(&repo, &Unwatched).map(drop).unwrap_err(),
            hub.optional_file(&repo, "a", &Unwatched)
                .map(drop)
                .unwrap_err(),
        ] {
            let missing = Missing::Repository;
            assert!(
                matches!(&error, HubError::NotFound { missing: found, .. } if *found == missing),
                "{error:?}"
            );
        }
    }
}
