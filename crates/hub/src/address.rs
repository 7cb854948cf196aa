//! Owns the URLs of both hubs. Pure.
//!
//! It must not know how they are fetched or what the responses look like.

use url::Url;

use crate::repo::{Repo, RepoKind, RepoPath, Source};

/// Number of entries per page of `ModelScope`'s listing; its own tools request the same.
pub(crate) const PAGE_ENTRIES: usize = 100;

/// The URL of a file.
pub(crate) fn file(source: Source, endpoint: &Url, repo: &Repo, path: &RepoPath) -> Url {
    let revision = repo.revision().unwrap_or(source.default_revision());
    match source {
        Source::HuggingFace => {
            let kind = match repo.kind() {
                RepoKind::Model => None,
                RepoKind::Dataset => Some("datasets"),
            };
            let parts = kind
                .into_iter()
                .chain(repo.id().split('/'))
                .chain(["resolve", revision])
                .chain(path.as_str().split('/'));
            extended(endpoint, parts)
        }
        Source::ModelScope => {
            let mut url = model_scope(endpoint, repo, &["repo"]);
            if repo.kind() == RepoKind::Dataset {
                url.query_pairs_mut().append_pair("Source", "SDK");
            }
            url.query_pairs_mut()
                .append_pair("Revision", revision)
                .append_pair("FilePath", path.as_str());
            url
        }
    }
}

/// The URL of a page of the file listing, counted from 1. Hugging Face itself names the next page.
pub(crate) fn listing(source: Source, endpoint: &Url, repo: &Repo, page: usize) -> Url {
    let revision = repo.revision().unwrap_or(source.default_revision());
    match (source, repo.kind()) {
        (Source::HuggingFace, kind) => {
            let parts = ["api", kind.plural()]
                .into_iter()
                .chain(repo.id().split('/'))
                .chain(["tree", revision]);
            let mut url = extended(endpoint, parts);
            url.query_pairs_mut().append_pair("recursive", "true");
            url
        }
        (Source::ModelScope, RepoKind::Model) => {
            let mut url = model_scope(endpoint, repo, &["repo", "files"]);
            url.query_pairs_mut()
                .append_pair("Revision", revision)
                .append_pair("Recursive", "true");
            url
        }
        (Source::ModelScope, RepoKind::Dataset) => {
            let mut url = model_scope(endpoint, repo, &["repo", "tree"]);
            url.query_pairs_mut()
                .append_pair("Revision", revision)
                .append_pair("Root", "/")
                .append_pair("Recursive", "True")
                .append_pair("PageNumber", &page.to_string())
                .append_pair("PageSize", &PAGE_ENTRIES.to_string());
            url
        }
    }
}

fn model_scope(endpoint: &Url, repo: &Repo, end: &[&str]) -> Url {
    let parts = ["api", "v1", repo.kind().plural()]
        .into_iter()
        .chain(repo.id().split('/'))
        .chain(end.iter().copied());
    extended(endpoint, parts)
}

/// The endpoint with further path components, each encoded separately.
fn extended<'a>(endpoint: &Url, parts: impl Iterator<Item = &'a str>) -> Url {
    let mut url = endpoint.clone();
    // these fail for URLs that cannot have a user, and those have none
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.path_segments_mut()
        .expect("an http URL has a path")
        .pop_if_empty()
        .extend(parts);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(source: Source, endpoint: &str, repo: &Repo) -> String {
        let endpoint = Url::parse(endpoint).unwrap();
        let path = RepoPath::new("data/a b&c.json").unwrap();
        format!(
            "{}\n{}",
            file(source, &endpoint, repo, &path),
            listing(source, &endpoint, repo, 2)
        )
    }

    #[test]
    fn the_forms_of_hugging_face() {
        let model = Repo::new(RepoKind::Model, "o/n").unwrap();
        let dataset = Repo::new(RepoKind::Dataset, "o/n").unwrap();
        insta::assert_snapshot!(urls(Source::HuggingFace, "https://huggingface.co", &model), @"
        https://huggingface.co/o/n/resolve/main/data/a%20b&c.json
        https://huggingface.co/api/models/o/n/tree/main?recursive=true
        ");
        let at = dataset.at("refs/pr/1").unwrap();
        insta::assert_snapshot!(urls(Source::HuggingFace, "http://user:password@mirror/hf/?x=y", &at), @"
        http://mirror/hf/datasets/o/n/resolve/refs%2Fpr%2F1/data/a%20b&c.json
        http://mirror/hf/api/datasets/o/n/tree/refs%2Fpr%2F1?recursive=true
        ");
    }

    #[test]
    fn the_forms_of_model_scope() {
        let model = Repo::new(RepoKind::Model, "o/n").unwrap();
        let dataset = Repo::new(RepoKind::Dataset, "o/n").unwrap();
        insta::assert_snapshot!(urls(Source::ModelScope, "https://www.modelscope.cn", &model), @"
        https://www.modelscope.cn/api/v1/models/o/n/repo?Revision=master&FilePath=data%2Fa+b%26c.json
        https://www.modelscope.cn/api/v1/models/o/n/repo/files?Revision=master&Recursive=true
        ");
        insta::assert_snapshot!(urls(Source::ModelScope, "https://www.modelscope.cn", &dataset), @"
        https://www.modelscope.cn/api/v1/datasets/o/n/repo?Source=SDK&Revision=master&FilePath=data%2Fa+b%26c.json
        https://www.modelscope.cn/api/v1/datasets/o/n/repo/tree?Revision=master&Root=%2F&Recursive=True&PageNumber=2&PageSize=100
        ");
    }
}
