//! Owns the hints: what the user can do about an error.
//!
//! It must not know how anything is fetched.

use crate::error::{HubError, Missing, TokenUse, Wanted};
use crate::repo::{RepoKind, Source};

impl HubError {
    /// What the user can do about it, as a sentence for the line below the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            HubError::Offline { wanted, .. } => Some(place_it(wanted)),
            HubError::Unreachable { wanted, .. } => Some(format!(
                "check the network, or `HTTPS_PROXY` if there is a proxy; without a network, {}",
                place_it(wanted)
            )),
            HubError::Cut { wanted, .. } => Some(format!(
                "run it again: it resumes where it stopped; or {}",
                place_it(wanted)
            )),
            HubError::Certificate { .. } => Some(
                "behind a proxy that intercepts TLS, set `SSL_CERT_FILE` to its certificate, and \
                 check that the clock is right"
                    .to_owned(),
            ),
            HubError::Denied { wanted, token, .. } => Some(denied(wanted, *token)),
            HubError::NotFound { wanted, missing } => Some(not_found(wanted, *missing)),
            HubError::Status { wanted, status, .. } => Some(match status {
                429 => format!(
                    "wait a while; {} allows more requests with a token in `{}`",
                    wanted.source,
                    wanted.source.token_variables()[0]
                ),
                _ => format!("try again later; {}", other_hub(wanted)),
            }),
            HubError::WrongSize { wanted, .. } | HubError::WrongHash { wanted, .. } => {
                Some(format!(
                    "it was fetched twice, and nothing was kept; a proxy may be changing the data; {}",
                    other_hub(wanted)
                ))
            }
            HubError::Malformed { wanted, .. } => Some(format!(
                "check that {} is the address of a hub, and that there is no login page in between; {}",
                endpoint_variable(wanted.source),
                other_hub(wanted)
            )),
            HubError::DiskFull { missing_bytes, .. } => Some(format!(
                "make room{}, or set `EVALSCOPE_CACHE` to a directory elsewhere; what has arrived \
                 is kept",
                missing_bytes.map_or(String::new(), |bytes| format!(" for {bytes} more bytes"))
            )),
            HubError::Disk { .. } => {
                Some("set `EVALSCOPE_CACHE` to a writable directory".to_owned())
            }
            HubError::NoCacheDir { .. } => Some("set `EVALSCOPE_CACHE` to a directory".to_owned()),
            HubError::Cancelled { .. } => {
                Some("what has arrived is kept; the next run resumes from there".to_owned())
            }
            HubError::Name(_) | HubError::Setting { .. } | HubError::Certificates { .. } => None,
        }
    }
}

fn endpoint_variable(source: Source) -> &'static str {
    match source {
        Source::ModelScope => "`MODELSCOPE_ENDPOINT`",
        Source::HuggingFace => "`HF_ENDPOINT`",
    }
}

fn place_it(wanted: &Wanted) -> String {
    let flag = wanted.repo.kind().path_flag();
    match &wanted.path {
        Some(_) => format!(
            "put the file at {}, or give a local path with `{flag}`",
            wanted.place.display()
        ),
        None => format!("give a local path with `{flag}`"),
    }
}

fn other_hub(wanted: &Wanted) -> String {
    let other = wanted.source.other();
    format!("{other} may have it: `--data-source {}`", other.key())
}

fn denied(wanted: &Wanted, token: TokenUse) -> String {
    let variable = wanted.source.token_variables()[0];
    match token {
        TokenUse::NoneSet => format!(
            "it is gated or private: request access on the website, and put your token into \
             `{variable}`, which is not set"
        ),
        TokenUse::Sent => format!(
            "a token was sent: check that `{variable}` holds a valid one and that its owner has \
             access, which the website grants"
        ),
    }
}

fn not_found(wanted: &Wanted, missing: Missing) -> String {
    let private = match missing {
        Missing::Repository => ", and if it is private, the token",
        Missing::Revision | Missing::File | Missing::Something => "",
    };
    let what = match (missing, wanted.repo.kind()) {
        (Missing::File, _) => "the path",
        (Missing::Revision, _) => "the revision",
        (Missing::Repository, _) => "the name",
        (Missing::Something, RepoKind::Model) => "the name of the model and the path",
        (Missing::Something, RepoKind::Dataset) => "the name of the dataset and the path",
    };
    format!("check {what}{private}; {}", other_hub(wanted))
}
