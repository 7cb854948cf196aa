//! Files of datasets and models from [ModelScope](https://www.modelscope.cn) and
//! [Hugging Face](https://huggingface.co), kept in a local cache.
//!
//! A file is downloaded once, completely and verified, even if the connection breaks or several
//! processes want it. All calls block, so nothing here may run during a measurement. It must not
//! know what the files mean, how progress is shown, or the environment, which is passed in.
//!
//! ```no_run
//! use evalscope_hub::{Hub, HubConfig, Repo, RepoKind, Source, Unwatched};
//!
//! # fn main() -> Result<(), evalscope_hub::HubError> {
//! // a program passes its environment instead
//! let config = HubConfig::from_env(Source::ModelScope, |name| {
//!     (name == "HOME").then(|| "/home/me".to_owned())
//! })?;
//! let hub = Hub::new(config);
//! let repo = Repo::new(RepoKind::Dataset, "AI-ModelScope/HC3-Chinese")?;
//! let file = hub.file(&repo, "open_qa.jsonl", &Unwatched)?;
//! println!("{}", file.display());
//! # Ok(())
//! # }
//! ```
//!
//! # The cache
//!
//! ```text
//! <cache>/<modelscope|huggingface>/<models|datasets>/<owner>/<name>/
//!     <revision>/<path>                 a file: whole, and checked where the hub states a hash
//!     <revision>/<path>.partial         on its way; beside it .partial.json: what it is a part of
//!     <revision>/<path>.absent          the hub did not have it
//!     <revision>.files.json             the list of files
//! <cache>/.locks/                       the same tree of lock files; they are empty and stay
//! ```
//!
//! A file put there by hand counts. Without a revision, the hub's default branch is used.

mod secret;

mod watch;

mod repo;

mod error;

mod advice;

mod proxies;

mod config;

mod places;

mod address;

mod client;

mod tries;

mod partial;

mod listing;

mod fetch;

mod hub;

pub use config::{HubConfig, Network, Patience};
pub use error::{HubError, Missing, TokenUse, Wanted};
pub use hub::Hub;
pub use listing::RemoteFile;
// only for the fuzz target `hub_listing`: without a server, listings cannot be reached in any other
// way
#[doc(hidden)]
pub use listing::{listed, next_link};
pub use proxies::Proxies;
pub use repo::{NameError, Repo, RepoKind, Source};
pub use secret::Secret;
pub use watch::{Unwatched, Watch};
