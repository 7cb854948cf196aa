//! Owns the choice of where to get a file: from our cache, from the cache of the hub's own tools,
//! or from the hub.
//!
//! It must not know the wire format or the layout on disk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::address;
use crate::client::Client;
use crate::config::{HubConfig, Network};
use crate::error::{HubError, Missing, Wanted};
use crate::fetch::{Fetch, Watched};
use crate::listing::{self, Listing, RemoteFile};
use crate::partial::{Lock, Partial, Stated, mark, replace};
use crate::places::{self, Places};
use crate::repo::{NameError, Repo, RepoPath, Source};
use crate::secret::Secret;
use crate::watch::Watch;

/// The files of one hub, through the cache.
///
/// All calls block. A `Hub` can be shared between threads; several processes can use one cache.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    /// Created with the first request: a cache hit needs neither certificates nor a token.
    client: OnceLock<Client>,
    /// File listings fetched since the start.
    listings: Mutex<HashMap<Repo, Vec<RemoteFile>>>,
}

impl Hub {
    /// A hub with these settings. Nothing is read or connected yet.
    #[must_use]
    pub fn new(config: HubConfig) -> Hub {
        Hub {
            config,
            client: OnceLock::new(),
            listings: Mutex::default(),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// A file on the local disk: from a cache if it is there, otherwise downloaded.
    ///
    /// A cached file is taken to be right and not checked for updates: when a branch moves on,
    /// delete the cache or specify a commit as the revision.
    ///
    /// # Errors
    /// Any [`HubError`]. What has arrived is kept, unless it was wrong, and the next call resumes
    /// from there.
    pub fn file(&self, repo: &Repo, path: &str, watch: &dyn Watch) -> Result<PathBuf, HubError> {
        let path = RepoPath::new(path)?;
        let places = Places::new(&self.config, repo, &path);
        if let Some(found) = self.find(repo, &path, &places) {
            return Ok(found);
        }
        let wanted = self.wanted(repo, Some(path.as_str()), places.file.clone());
        self.may_connect(&wanted)?;
        let _lock = Lock::acquire(&places.lock, watch, &wanted)?;
        // the previous holder of the lock may have fetched it
        if places.file.is_file() {
            return Ok(places.file);
        }
        self.fetch(repo, &path, &places, &wanted, watch)?;
        Ok(places.file)
    }

    /// The same for a file that may not exist: `None` if the hub says that it does not.
    ///
    /// This is remembered for when there is no network. With a network, the hub is asked again.
    ///
    /// # Errors
    /// Those of [`file`](Hub::file), and if the repository or the revision does not exist.
    pub fn optional_file(
        &self,
        repo: &Repo,
        path: &str,
        watch: &dyn Watch,
    ) -> Result<Option<PathBuf>, HubError> {
        let inside = RepoPath::new(path)?;
        let absent = Places::new(&self.config, repo, &inside).absent;
        match self.file(repo, path, watch) {
            Ok(file) => Ok(Some(file)),
            Err(HubError::NotFound {
                missing: Missing::File | Missing::Something,
                ..
            }) => {
                mark(&absent)?;
                Ok(None)
            }
            Err(error)
                if error.is_without_network()
                    && (absent.is_file()
                        || places::known_absent_elsewhere(&self.config, repo, &inside)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All files of a repository, in the hub's order. Without a network, the list as it was last
    /// fetched.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub fn files(&self, repo: &Repo, watch: &dyn Watch) -> Result<Vec<RemoteFile>, HubError> {
        let place = places::listing(&self.config, repo);
        let wanted = self.wanted(repo, None, place.clone());
        let fetched = self
            .may_connect(&wanted)
            .and_then(|()| self.fetch_listing(repo, &wanted, None, watch));
        match fetched {
            Err(error) if error.is_without_network() => std::fs::read(place)
                .ok()
                .and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or(error),
            other => other,
        }
    }

    /// The path of the file, if it is in a cache. Never uses the network.
    #[must_use]
    pub fn cached(&self, repo: &Repo, path: &str) -> Option<PathBuf> {
        let path = RepoPath::new(path).ok()?;
        self.find(repo, &path, &Places::new(&self.config, repo, &path))
    }

    /// The caches of the hub's own tools come first, to avoid duplicates.
    fn find(&self, repo: &Repo, path: &RepoPath, places: &Places) -> Option<PathBuf> {
        places::elsewhere(&self.config, repo, path)
            .or_else(|| places.file.is_file().then(|| places.file.clone()))
    }

    fn wanted(&self, repo: &Repo, path: Option<&str>, place: PathBuf) -> Wanted {
        Wanted {
            source: self.config.source,
            repo: repo.clone(),
            path: path.map(str::to_owned),
            place,
        }
    }

    fn may_connect(&self, wanted: &Wanted) -> Result<(), HubError> {
        if self.config.source == Source::ModelScope && wanted.repo.owner_and_name().0.is_none() {
            return Err(NameError::RepoId {
                id: wanted.repo.id().to_owned(),
                reason: "it has no owner",
            }
            .into());
        }
        match &self.config.network {
            Network::Allowed => Ok(()),
            Network::Forbidden { by } => Err(HubError::Offline {
                wanted: Box::new(wanted.clone()),
                by: by.clone(),
            }),
        }
    }

    fn client(&self) -> Result<&Client, HubError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(&self.config, self.token()?)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The token from the settings, or from the file where the hub's own tools keep it.
    fn token(&self) -> Result<Option<Secret>, HubError> {
        if self.config.token.is_some() {
            return Ok(self.config.token.clone());
        }
        let Some(path) = &self.config.token_file else {
            return Ok(None);
        };
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Secret::new(&text)
                .map(Some)
                .ok_or_else(|| HubError::Setting {
                    variable: "HF_TOKEN_PATH",
                    reason: format!("{} contains more than a token", path.display()),
                }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(HubError::Setting {
                variable: "HF_TOKEN_PATH",
                reason: format!("{} cannot be read: {error}", path.display()),
            }),
        }
    }

    /// The lock must be held.
    fn fetch(
        &self,
        repo: &Repo,
        path: &RepoPath,
        places: &Places,
        wanted: &Wanted,
        watch: &dyn Watch,
    ) -> Result<(), HubError> {
        let client = self.client()?;
        let url = address::file(self.config.source, &self.config.endpoint, repo, path);
        let watched = Watched::new(watch);
        let mut listed = self.listed(repo, path, wanted, watch)?;
        let mut partial = Partial::open(places)?;
        let mut was_wrong = false;
        loop {
            let fetch = Fetch {
                client,
                patience: &self.config.patience,
                wanted,
                name: path.as_str(),
                url: &url,
                listed,
                watched: &watched,
            };
            match fetch.complete(&mut partial) {
                Ok(()) => return partial.publish(),
                // start over once, with a new listing in case the file has changed
                Err(HubError::WrongSize { .. } | HubError::WrongHash { .. }) if !was_wrong => {
                    was_wrong = true;
                    self.forget_listing(repo);
                    listed = self.listed(repo, path, wanted, watch)?;
                }
                Err(error) => {
                    partial.close()?;
                    return Err(error);
                }
            }
        }
    }

    /// What the file listing states about a file. Only needed for `ModelScope`, which does not send
    /// size and hash with the file. An invalid listing is ignored.
    fn listed(
        &self,
        repo: &Repo,
        path: &RepoPath,
        wanted: &Wanted,
        watch: &dyn Watch,
    ) -> Result<Stated, HubError> {
        if self.config.source == Source::HuggingFace {
            return Ok(Stated::default());
        }
        let known = self.lock_listings().get(repo).cloned();
        let files = match known {
            Some(files) => files,
            None => match self.fetch_listing(repo, wanted, Some(path.as_str()), watch) {
                Ok(files) => files,
                Err(
                    HubError::Malformed { .. } | HubError::Status { .. } | HubError::Cut { .. },
                ) => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        let file = files.into_iter().find(|file| file.path == path.as_str());
        Ok(file.map_or_else(Stated::default, |file| Stated {
            etag: None,
            size_bytes: file.size_bytes,
            sha256: file.sha256,
        }))
    }

    /// The listing from the hub, up to the file `until` if given. A complete one is kept for later.
    fn fetch_listing(
        &self,
        repo: &Repo,
        wanted: &Wanted,
        until: Option<&str>,
        watch: &dyn Watch,
    ) -> Result<Vec<RemoteFile>, HubError> {
        let Listing { files, is_whole } =
            listing::fetch(self.client()?, &self.config, repo, wanted, until, watch)?;
        if is_whole {
            let json = serde_json::to_vec(&files).expect("strings and numbers are JSON");
            replace(&places::listing(&self.config, repo), &json)?;
            self.lock_listings().insert(repo.clone(), files.clone());
        }
        Ok(files)
    }

    fn forget_listing(&self, repo: &Repo) {
        self.lock_listings().remove(repo);
    }

    /// A panic elsewhere cannot leave the map inconsistent.
    fn lock_listings(&self) -> std::sync::MutexGuard<'_, HashMap<Repo, Vec<RemoteFile>>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
