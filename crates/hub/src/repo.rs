//! Owns the identity of a hub file: the hub, the repository and its kind, the revision, the path
//! inside. Names that could lead out of a directory are rejected here, so the rest of the crate
//! need not check them.
//!
//! It must not know URLs or where files are kept.

use std::fmt;
use std::str::FromStr;

/// Why a name is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// An unknown hub.
    #[error("unknown hub `{got}`, expected modelscope or huggingface")]
    Source {
        /// As given.
        got: String,
    },
    /// The id of a repository is invalid.
    #[error("`{id}` is not a repository such as owner/name: {reason}")]
    RepoId {
        /// As given.
        id: String,
        /// The reason.
        reason: &'static str,
    },
    /// A revision is invalid.
    #[error("`{revision}` is not a revision: {reason}")]
    Revision {
        /// As given.
        revision: String,
        /// The reason.
        reason: &'static str,
    },
    /// The path of a file is invalid.
    #[error("`{path}` is not a path inside a repository: {reason}")]
    FilePath {
        /// As given.
        path: String,
        /// The reason.
        reason: &'static str,
    },
}

/// A hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// modelscope.cn.
    ModelScope,
    /// huggingface.co.
    HuggingFace,
}

impl Source {
    /// Its name in flags and directories: `modelscope`, `huggingface`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Source::ModelScope => "modelscope",
            Source::HuggingFace => "huggingface",
        }
    }

    /// The hub to try if this one does not have the file.
    #[must_use]
    pub fn other(self) -> Source {
        match self {
            Source::ModelScope => Source::HuggingFace,
            Source::HuggingFace => Source::ModelScope,
        }
    }

    /// The variables that can hold the token; the first one set counts.
    #[must_use]
    pub fn token_variables(self) -> &'static [&'static str] {
        match self {
            Source::ModelScope => &["MODELSCOPE_API_TOKEN"],
            Source::HuggingFace => &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"],
        }
    }

    /// The branch used if no revision is given.
    pub(crate) fn default_revision(self) -> &'static str {
        match self {
            Source::ModelScope => "master",
            Source::HuggingFace => "main",
        }
    }
}

/// The name as people write it: `ModelScope`, `Hugging Face`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::ModelScope => "ModelScope",
            Source::HuggingFace => "Hugging Face",
        })
    }
}

impl FromStr for Source {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        [Source::ModelScope, Source::HuggingFace]
            .into_iter()
            .find(|source| source.key() == text)
            .ok_or_else(|| NameError::Source {
                got: text.to_owned(),
            })
    }
}

/// What is in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepoKind {
    /// Weights, tokenizer, configuration.
    Model,
    /// A dataset.
    Dataset,
}

impl RepoKind {
    /// Its name on both hubs and in all caches: `models`, `datasets`.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        }
    }

    /// The flag that takes a local path instead of a repository.
    #[must_use]
    pub fn path_flag(self) -> &'static str {
        match self {
            RepoKind::Model => "--tokenizer-path",
            RepoKind::Dataset => "--dataset-path",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RepoKind::Model => "model",
            RepoKind::Dataset => "dataset",
        })
    }
}

/// A repository, optionally at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repo {
    kind: RepoKind,
    id: String,
    revision: Option<String>,
}

impl Repo {
    /// A repository by its id, `owner/name` (or just `name`, as for old ones on Hugging Face).
    ///
    /// # Errors
    /// [`NameError::RepoId`] if the id is malformed or could lead out of a directory.
    pub fn new(kind: RepoKind, id: &str) -> Result<Repo, NameError> {
        let refused = |reason| NameError::RepoId {
            id: id.to_owned(),
            reason,
        };
        check_components(id).map_err(refused)?;
        if id.split('/').count() > 2 {
            return Err(refused("it has more than two parts"));
        }
        Ok(Repo {
            kind,
            id: id.to_owned(),
            revision: None,
        })
    }

    /// The same repository at a branch, tag or commit. By default, the hub's default branch is
    /// used.
    ///
    /// # Errors
    /// [`NameError::Revision`] if it could lead out of a directory.
    pub fn at(self, revision: &str) -> Result<Repo, NameError> {
        check_components(revision).map_err(|reason| NameError::Revision {
            revision: revision.to_owned(),
            reason,
        })?;
        Ok(Repo {
            revision: Some(revision.to_owned()),
            ..self
        })
    }

    /// Model or dataset.
    #[must_use]
    pub fn kind(&self) -> RepoKind {
        self.kind
    }

    /// `owner/name`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The revision, if given.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Owner, if the id has one, and name.
    pub(crate) fn owner_and_name(&self) -> (Option<&str>, &str) {
        match self.id.split_once('/') {
            Some((owner, name)) => (Some(owner), name),
            None => (None, &self.id),
        }
    }
}

/// `dataset owner/name`.
impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)?;
        match &self.revision {
            Some(revision) => write!(f, " at {revision}"),
            None => Ok(()),
        }
    }
}

/// Suffixes that the cache itself uses next to a file.
pub(crate) const PARTIAL: &str = ".partial";
/// Next to a partial file: which file it belongs to.
pub(crate) const PARTIAL_OF: &str = ".partial.json";
/// Next to the place of a file that the hub does not have.
pub(crate) const ABSENT: &str = ".absent";

/// The path of a file inside a repository, with `/` as separator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RepoPath(String);

impl RepoPath {
    pub(crate) fn new(path: &str) -> Result<RepoPath, NameError> {
        let refused = |reason| NameError::FilePath {
            path: path.to_owned(),
            reason,
        };
        check_components(path).map_err(refused)?;
        if [PARTIAL, PARTIAL_OF, ABSENT]
            .iter()
            .any(|ending| path.ends_with(ending))
        {
            return Err(refused("the cache reserves such names"));
        }
        Ok(RepoPath(path.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `/`-separated text can safely become directories and a file on any system.
fn check_components(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.starts_with('/') {
        return Err("it is an absolute path");
    }
    for part in text.split('/') {
        check_component(part)?;
    }
    Ok(())
}

/// Whether text is the name of a single file or directory on any system.
pub(crate) fn check_component(part: &str) -> Result<(), &'static str> {
    let bytes = part.as_bytes();
    match part {
        "" => Err("it has an empty part"),
        "." | ".." => Err("it has a part that is `.` or `..`"),
        _ if part.contains('\\') => Err("it has a backslash"),
        _ if part.chars().any(char::is_control) => Err("it has a control character"),
        // `C:x` names a drive on Windows
        _ if bytes.get(1) == Some(&b':') => Err("it has a drive letter"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let bad = [
            "", "/", "/etc", "..", "../x", "a/..", "a/../b", "a//b", "a/", "./a", ".", "a\\b",
            "C:", "C:x", "a/C:x", "a\0b", "a\nb",
        ];
        for text in bad {
            assert!(RepoPath::new(text).is_err(), "path {text:?}");
            assert!(Repo::new(RepoKind::Model, text).is_err(), "id {text:?}");
            let repo = Repo::new(RepoKind::Model, "a/b").unwrap();
            assert!(repo.at(text).is_err(), "revision {text:?}");
        }
    }

    #[test]
    fn ordinary_names_are_taken() {
        for text in [
            "a",
            "a/b.json",
            "..a/b..",
            "data/train-00000 of 1.parquet",
            "数据/é.txt",
        ] {
            assert!(RepoPath::new(text).is_ok(), "{text:?}");
        }
        assert!(Repo::new(RepoKind::Model, "gpt2").is_ok());
        assert!(Repo::new(RepoKind::Dataset, "a/b/c").is_err());
    }

    #[test]
    fn names_that_the_cache_uses_are_refused() {
        for text in ["a.partial", "b/a.partial.json", "a.absent"] {
            assert!(RepoPath::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_source_is_read_as_it_is_written_in_flags() {
        for source in [Source::ModelScope, Source::HuggingFace] {
            assert_eq!(source.key().parse::<Source>().unwrap(), source);
        }
        assert!("hf".parse::<Source>().is_err());
    }
}
