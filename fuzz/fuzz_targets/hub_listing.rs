//! Whatever a hub returns when asked for a repository's files: no panic, hashes are hashes, and the
//! next page is on the same server.
//!
//! Input: the body of a page of either hub, and the header that names the next.
#![no_main]

use evalscope_hub::{RemoteFile, Source, listed, next_link};
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|data: &[u8]| {
    for source in [Source::HuggingFace, Source::ModelScope] {
        let Ok((files, entries)) = listed(source, data) else {
            continue;
        };
        assert!(files.len() <= entries);
        for file in &files {
            let hash = file.sha256.as_deref().unwrap_or("");
            let is_hash = hash.len() == 64
                && hash
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            assert!(is_hash || file.sha256.is_none(), "{hash}");
        }
        // the listing is kept as JSON
        let kept = serde_json::to_vec(&files).expect("strings and numbers are JSON");
        let back: Vec<RemoteFile> = serde_json::from_slice(&kept).expect("it was written in this format");
        assert_eq!(back, files);
    }
    if let Ok(links) = std::str::from_utf8(data) {
        let page = Url::parse("https://huggingface.co/api/datasets/a/b/tree/main").expect("a URL");
        if let Ok(Some(next)) = next_link(links, &page) {
            assert_eq!(next.origin(), page.origin());
        }
    }
});
