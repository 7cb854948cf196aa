//! Owns the locations of files: the layout of our cache, and of the caches of the hubs' own tools.
//!
//! Nothing here writes. It must not know how files get there.

use std::path::{Path, PathBuf};

use crate::config::HubConfig;
use crate::repo::{ABSENT, PARTIAL, PARTIAL_OF, Repo, RepoPath, Source, check_component};

/// The owner directory for repositories without an owner. No owner has this name.
const NO_OWNER: &str = "_";

/// The locations of one file in our cache.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Complete and verified.
    pub(crate) file: PathBuf,
    /// The partial download.
    pub(crate) partial: PathBuf,
    /// Which file the partial download belongs to.
    pub(crate) partial_of: PathBuf,
    /// Marks that the hub does not have the file.
    pub(crate) absent: PathBuf,
    /// Held by the process that fetches the file. In a separate tree, because it must stay: a lock
    /// file that is removed can be locked twice.
    pub(crate) lock: PathBuf,
}

impl Places {
    pub(crate) fn new(config: &HubConfig, repo: &Repo, path: &RepoPath) -> Places {
        let inside = repo_dir(config.source, repo)
            .join(revision_dir(config.source, repo))
            .join(native(path));
        let file = config.cache_dir.join(&inside);
        Places {
            partial: with_ending(&file, PARTIAL),
            partial_of: with_ending(&file, PARTIAL_OF),
            absent: with_ending(&file, ABSENT),
            lock: with_ending(&config.cache_dir.join(".locks").join(inside), ".lock"),
            file,
        }
    }
}

/// The listing of a repository's files, as it was last fetched.
pub(crate) fn listing(config: &HubConfig, repo: &Repo) -> PathBuf {
    let revision = revision_dir(config.source, repo);
    config
        .cache_dir
        .join(repo_dir(config.source, repo))
        .join(format!("{revision}.files.json"))
}

/// A file in a cache of the hub's own tools.
pub(crate) fn elsewhere(config: &HubConfig, repo: &Repo, path: &RepoPath) -> Option<PathBuf> {
    config
        .other_caches
        .iter()
        .flat_map(|base| match config.source {
            Source::HuggingFace => hugging_face_snapshot(base, "snapshots", repo)
                .into_iter()
                .collect(),
            Source::ModelScope => model_scope_dirs(base, repo),
        })
        .map(|dir| dir.join(native(path)))
        .find(|file| file.is_file())
}

/// Whether a cache of the hub's own tools records that the hub does not have the file.
pub(crate) fn known_absent_elsewhere(config: &HubConfig, repo: &Repo, path: &RepoPath) -> bool {
    config.source == Source::HuggingFace
        && config.other_caches.iter().any(|base| {
            hugging_face_snapshot(base, ".no_exist", repo)
                .is_some_and(|dir| dir.join(native(path)).is_file())
        })
}

/// `<base>/models--owner--name/snapshots/<commit>`, with the commit from `refs/`.
fn hugging_face_snapshot(base: &Path, tree: &str, repo: &Repo) -> Option<PathBuf> {
    let id = repo.id().replace('/', "--");
    let dir = base.join(format!("{}--{id}", repo.kind().plural()));
    let revision = repo
        .revision()
        .unwrap_or(Source::HuggingFace.default_revision());
    let commit = std::fs::read_to_string(dir.join("refs").join(revision))
        .map_or_else(|_| revision.to_owned(), |text| text.trim().to_owned());
    check_component(&commit).ok()?;
    Some(dir.join(tree).join(commit))
}

/// Where versions of `ModelScope`'s tools keep a repository. The older layouts do not record the
/// revision, so they only count for the default branch; they also write `___` for a dot.
fn model_scope_dirs(base: &Path, repo: &Repo) -> Vec<PathBuf> {
    let branch = Source::ModelScope.default_revision();
    let revision = repo.revision().unwrap_or(branch);
    let kind = repo.kind().plural();
    let id = repo.id().replace('/', "--");
    let mut dirs = vec![base.join(kind).join(id).join("snapshots").join(revision)];
    if let (Some(owner), name) = repo.owner_and_name()
        && revision == branch
    {
        for root in [
            base.join(kind),
            base.join("hub").join(kind),
            base.join("hub"),
        ] {
            for name in [name.to_owned(), name.replace('.', "___")] {
                dirs.push(root.join(owner).join(name));
            }
        }
    }
    dirs
}

/// `<source>/<models|datasets>/<owner>/<name>`.
fn repo_dir(source: Source, repo: &Repo) -> PathBuf {
    let (owner, name) = repo.owner_and_name();
    let mut dir = PathBuf::from(source.key());
    dir.extend([repo.kind().plural(), owner.unwrap_or(NO_OWNER), name]);
    dir
}

/// A single directory, even for `refs/pr/1`.
fn revision_dir(source: Source, repo: &Repo) -> String {
    repo.revision()
        .unwrap_or(source.default_revision())
        .replace('%', "%25")
        .replace('/', "%2F")
}

fn native(path: &RepoPath) -> PathBuf {
    path.as_str().split('/').collect()
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::RepoKind;

    fn config(source: Source) -> HubConfig {
        HubConfig::from_env(source, |name| {
            (name == "EVALSCOPE_CACHE").then(|| "/c".to_owned())
        })
        .unwrap()
    }

    fn file(source: Source, repo: &Repo) -> String {
        let path = RepoPath::new("a/b.json").unwrap();
        let places = Places::new(&config(source), repo, &path);
        places.file.display().to_string()
    }

    #[cfg(unix)]
    #[test]
    fn each_revision_has_a_directory() {
        let repo = Repo::new(RepoKind::Dataset, "o/n").unwrap();
        let old = Repo::new(RepoKind::Model, "gpt2").unwrap();
        assert_eq!(
            file(Source::ModelScope, &repo),
            "/c/modelscope/datasets/o/n/master/a/b.json"
        );
        assert_eq!(
            file(Source::HuggingFace, &repo.at("refs/pr/1").unwrap()),
            "/c/huggingface/datasets/o/n/refs%2Fpr%2F1/a/b.json"
        );
        assert_eq!(
            file(Source::HuggingFace, &old),
            "/c/huggingface/models/_/gpt2/main/a/b.json"
        );
    }
}
