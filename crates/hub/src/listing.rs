//! Owns the listing of a repository's files: its pages, and the formats of the two hubs.
//!
//! It must not know what the listing is for or where it is kept.

use std::collections::HashSet;
use std::io::Read as _;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::address::{self, PAGE_ENTRIES};
use crate::client::{Answer, Client, broken, text};
use crate::config::HubConfig;
use crate::error::{HubError, Missing, Wanted};
use crate::partial::as_sha256;
use crate::repo::{Repo, RepoKind, Source};
use crate::tries::{Progress, Setback, Tries};
use crate::watch::Watch;

/// Maximum size of a page. A thousand files, as sent by Hugging Face, take 0.5 MB.
const PAGE_BYTES: u64 = 64 << 20;

/// Maximum length of a listing.
const MOST_FILES: usize = 1_000_000;

/// A file of a repository, as listed by the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Its path, with `/` as separator.
    pub path: String,
    /// Its size in bytes, if the hub states it.
    pub size_bytes: Option<u64>,
    /// Its SHA-256 in hex, if the hub states it. Hugging Face does so only for large files.
    pub sha256: Option<String>,
}

/// The current listing, in the hub's order.
pub(crate) struct Listing {
    pub(crate) files: Vec<RemoteFile>,
    /// Whether all pages were read.
    pub(crate) is_whole: bool,
}

/// Fetch the listing, up to the page with the file `until` if given.
pub(crate) fn fetch(
    client: &Client,
    config: &HubConfig,
    repo: &Repo,
    wanted: &Wanted,
    until: Option<&str>,
    watch: &dyn Watch,
) -> Result<Listing, HubError> {
    let (source, endpoint) = (config.source, &config.endpoint);
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let mut url = address::listing(source, endpoint, repo, 1);
    let mut page = 1;
    loop {
        let found = fetch_page(client, config, &url, wanted, watch).map_err(about_repository)?;
        let before = files.len();
        let entries = found.entries;
        files.extend(
            found
                .files
                .into_iter()
                .filter(|file| seen.insert(file.path.clone())),
        );
        if files.len() > MOST_FILES {
            return Err(HubError::Malformed {
                wanted: Box::new(wanted.clone()),
                host: url.host_str().unwrap_or_default().to_owned(),
                reason: format!("it has more than {MOST_FILES} files"),
            });
        }
        let next = match (source, repo.kind()) {
            (Source::HuggingFace, _) => found.next,
            (Source::ModelScope, RepoKind::Model) => None,
            // A full page may be followed by another. A page that brings nothing new comes from a
            // server that ignores page numbers.
            (Source::ModelScope, RepoKind::Dataset) => (entries >= PAGE_ENTRIES
                && (page == 1 || files.len() > before))
                .then(|| address::listing(source, endpoint, repo, page + 1)),
        };
        let is_found = until.is_some_and(|path| files[before..].iter().any(|f| f.path == path));
        match next {
            Some(next) if !is_found => {
                url = next;
                page += 1;
            }
            next => {
                let is_whole = next.is_none();
                return Ok(Listing { files, is_whole });
            }
        }
    }
}

/// If no revision was given, a missing listing means a missing repository.
fn about_repository(error: HubError) -> HubError {
    match error {
        HubError::NotFound {
            wanted,
            missing: Missing::Something,
        } if wanted.repo.revision().is_none() => HubError::NotFound {
            wanted,
            missing: Missing::Repository,
        },
        other => other,
    }
}

/// One parsed page.
struct Page {
    files: Vec<RemoteFile>,
    /// Including directories.
    entries: usize,
    next: Option<Url>,
}

fn fetch_page(
    client: &Client,
    config: &HubConfig,
    url: &Url,
    wanted: &Wanted,
    watch: &dyn Watch,
) -> Result<Page, HubError> {
    let mut tries = Tries::new(&config.patience, wanted, Progress::default());
    loop {
        match attempt(client, url, &mut tries) {
            Ok((answer, body)) => {
                let malformed = |reason| HubError::Malformed {
                    wanted: Box::new(wanted.clone()),
                    host: answer.host.clone(),
                    reason,
                };
                let (files, entries) = listed(config.source, &body)
                    .map_err(|reason| malformed(client.masked(&reason)))?;
                let next = next_page(&answer, url).map_err(malformed)?;
                return Ok(Page {
                    files,
                    entries,
                    next,
                });
            }
            Err(Setback::Again(trouble)) => tries.again(trouble, Progress::default(), watch)?,
            Err(Setback::Final(error)) => return Err(error),
            Err(Setback::StartOver) => {}
        }
    }
}

/// A response with its complete body.
fn attempt(
    client: &Client,
    url: &Url,
    tries: &mut Tries<'_>,
) -> Result<(Answer, Vec<u8>), Setback> {
    let mut answer = client
        .get(url, None)
        .map_err(|failure| tries.failed(failure))?;
    tries.reached();
    if answer.status != 200 {
        return Err(tries.refused(client, answer));
    }
    let mut body = Vec::new();
    answer
        .body
        .as_reader()
        .take(PAGE_BYTES)
        .read_to_end(&mut body)
        .map_err(|error| tries.failed(broken(error, &answer.host)))?;
    Ok((answer, body))
}

/// The files in the body of a page, and its number of entries. Public for the fuzz target, which
/// has no server.
///
/// # Errors
/// What is wrong with the body.
pub fn listed(source: Source, body: &[u8]) -> Result<(Vec<RemoteFile>, usize), String> {
    match source {
        Source::HuggingFace => hugging_face(body),
        Source::ModelScope => model_scope(body),
    }
}

#[derive(Deserialize)]
struct HuggingFaceEntry {
    r#type: String,
    path: String,
    size: Option<u64>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: Option<u64>,
}

fn hugging_face(body: &[u8]) -> Result<(Vec<RemoteFile>, usize), String> {
    let entries: Vec<HuggingFaceEntry> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let count = entries.len();
    let files = entries
        .into_iter()
        .filter(|entry| entry.r#type == "file")
        .map(|entry| RemoteFile {
            path: entry.path,
            size_bytes: entry.lfs.as_ref().and_then(|lfs| lfs.size).or(entry.size),
            sha256: entry.lfs.and_then(|lfs| as_sha256(&lfs.oid)),
        })
        .collect();
    Ok((files, count))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModelScopePage {
    code: Option<i64>,
    message: Option<String>,
    data: Option<ModelScopeData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModelScopeData {
    files: Option<Vec<ModelScopeEntry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModelScopeEntry {
    path: String,
    r#type: String,
    size: Option<u64>,
    sha256: Option<String>,
}

fn model_scope(body: &[u8]) -> Result<(Vec<RemoteFile>, usize), String> {
    let page: ModelScopePage = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if let Some(code) = page.code.filter(|&code| code != 200) {
        let message = page.message.unwrap_or_default();
        return Err(format!("it has the code {code}: {message}"));
    }
    let entries = page.data.and_then(|data| data.files).unwrap_or_default();
    let count = entries.len();
    let files = entries
        .into_iter()
        .filter(|entry| entry.r#type != "tree")
        .map(|entry| RemoteFile {
            path: entry.path,
            size_bytes: entry.size,
            // small files may have an empty hash
            sha256: entry.sha256.as_deref().and_then(as_sha256),
        })
        .collect();
    Ok((files, count))
}

fn next_page(answer: &Answer, url: &Url) -> Result<Option<Url>, String> {
    text(&answer.headers, "link").map_or(Ok(None), |links| next_link(links, url))
}

/// The next page, if a header names one: `Link: <url>; rel="next"`. It must be on the same server.
///
/// # Errors
/// If it is not.
pub fn next_link(links: &str, url: &Url) -> Result<Option<Url>, String> {
    let next = links.split(',').find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        let is_next = parameters
            .split(';')
            .any(|parameter| matches!(parameter.trim(), r#"rel="next""# | "rel=next"));
        is_next.then(|| target.trim().trim_start_matches('<'))
    });
    let Some(next) = next else {
        return Ok(None);
    };
    url.join(next)
        .ok()
        .filter(|next| next.origin() == url.origin())
        .map(Some)
        .ok_or_else(|| "its next page is on another server".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_of_hugging_face_have_a_hash() {
        let oid = "a".repeat(64);
        let body = format!(
            r#"[{{"type":"directory","oid":"1","size":0,"path":"data"}},
                {{"type":"file","oid":"2","size":12,"path":"README.md"}},
                {{"type":"file","oid":"3","size":130,"path":"data/a.parquet",
                  "lfs":{{"oid":"{oid}","size":9000,"pointerSize":130}}}}]"#
        );
        let (files, entries) = hugging_face(body.as_bytes()).unwrap();
        assert_eq!(entries, 3);
        assert_eq!(files[0].path, "README.md");
        assert_eq!(
            (files[0].size_bytes, files[0].sha256.clone()),
            (Some(12), None)
        );
        assert_eq!(
            (files[1].size_bytes, files[1].sha256.clone()),
            (Some(9000), Some(oid))
        );
    }

    #[test]
    fn an_empty_list_of_model_scope_is_null() {
        let (files, entries) = model_scope(br#"{"Code":200,"Data":{"Files":null}}"#).unwrap();
        assert_eq!((files.len(), entries), (0, 0));
        let error = model_scope(br#"{"Code":10010205,"Message":"no","Data":null}"#).unwrap_err();
        assert_eq!(error, "it has the code 10010205: no");
    }
}
