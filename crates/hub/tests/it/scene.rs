//! Owns what a test needs besides servers: settings, repositories, bytes, watchers, and the text of
//! an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evalscope_hub::{HubConfig, HubError, Repo, RepoKind, Source, Watch};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::stub::REPO;

/// Settings as from an environment, with short timeouts.
pub(crate) fn config(
    source: Source,
    endpoint: &str,
    cache: &TempDir,
    more: &[(&str, &str)],
) -> HubConfig {
    let own = cache.path().join("own").display().to_string();
    let home = cache.path().join("home").display().to_string();
    let mut variables = BTreeMap::from([
        ("EVALSCOPE_CACHE", own.as_str()),
        ("HOME", home.as_str()),
        ("HF_ENDPOINT", endpoint),
        ("MODELSCOPE_ENDPOINT", endpoint),
    ]);
    variables.extend(more.iter().copied());
    let found = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let mut config = HubConfig::from_env(source, found).unwrap();
    config.patience.tries = 3;
    config.patience.first_pause = Duration::ZERO;
    config.patience.longest_pause = Duration::ZERO;
    config
}

pub(crate) fn dataset() -> Repo {
    Repo::new(RepoKind::Dataset, REPO).unwrap()
}

pub(crate) fn model() -> Repo {
    Repo::new(RepoKind::Model, REPO).unwrap()
}

/// Random bytes, so that a wrong offset shows.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

/// The full text of an error as the user sees it, with what differs between runs replaced.
pub(crate) fn told(error: &HubError, cache: &TempDir) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        write!(text, "\ncause: {error}").unwrap();
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        write!(text, "\nhint: {hint}").unwrap();
    }
    text.replace(&cache.path().display().to_string(), "[tmp]")
}

/// Snapshot settings that hide ports and the system's error numbers.
pub(crate) fn hiding_numbers(check: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
    settings.add_filter(r"os error \d+", "os error [n]");
    settings.bind(check);
}

/// Records its calls.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) begun: Mutex<Vec<(Option<u64>, u64)>>,
    pub(crate) advanced: AtomicU64,
    pub(crate) ended: AtomicU32,
    /// Stop when this many bytes have arrived.
    pub(crate) stop_at: Option<u64>,
}

impl Counter {
    pub(crate) fn begun(&self) -> Vec<(Option<u64>, u64)> {
        self.begun.lock().unwrap().clone()
    }
}

impl Watch for Counter {
    fn begin(&self, _file: &str, total_bytes: Option<u64>, already_bytes: u64) {
        self.begun
            .lock()
            .unwrap()
            .push((total_bytes, already_bytes));
    }
    fn advance(&self, bytes: u64) {
        self.advanced.fetch_add(bytes, Ordering::Relaxed);
    }
    fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
    fn cancelled(&self) -> bool {
        self.stop_at
            .is_some_and(|at| self.advanced.load(Ordering::Relaxed) >= at)
    }
}

/// Files below a directory, relative and sorted; without the locks.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != ".locks" {
                    walk(root, &path, found);
                }
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}
