//! Owns the environment: no other module reads a variable.
//!
//! It must not know what a command makes of a value.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;
use evalscope_core::transport::ProxyEnv;
use evalscope_hub::{HubConfig, HubError, Source};
use evalscope_plugin::SECRET_VARIABLES;
use evalscope_report::Lang;
use url::Url;

const API_KEY: &str = "EVALSCOPE_API_KEY";
const HEADERS: &str = "EVALSCOPE_HEADERS";

/// Variables with the keys of experiment trackers.
const TRACKER_KEYS: [&str; 5] = [
    "WANDB_API_KEY",
    "SWANLAB_API_KEY",
    "CLEARML_API_ACCESS_KEY",
    "CLEARML_API_SECRET_KEY",
    "CLEARML_AUTH_TOKEN",
];

/// What the environment says about a load test. An empty value counts as unset.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    /// `EVALSCOPE_API_KEY`, see [`Self::api_key`].
    api_key: Option<OsString>,
    /// `EVALSCOPE_HEADERS`: `KEY=VALUE` in each line.
    pub(crate) header_lines: Vec<String>,
    /// `EVALSCOPE_PYTHON`: the interpreter of plugins, trackers and servers.
    pub(crate) python: Option<String>,
    /// `EVALSCOPE_RESULT_PATH_FILE`: a file that wants to hold the path of the results.
    pub(crate) result_path_file: Option<PathBuf>,
    /// `HF_ENDPOINT` is set.
    pub(crate) has_hugging_face: bool,
    /// `http_proxy` and the like.
    pub(crate) proxies: ProxyEnv,
    /// Keys of experiment trackers, by their variables.
    pub(crate) tracker_keys: Vec<(&'static str, String)>,
    /// Every secret that is there.
    pub(crate) secrets: Vec<String>,
    /// `PATH`.
    pub(crate) path: Option<String>,
    /// `CUDA_VISIBLE_DEVICES`; empty hides all.
    pub(crate) visible_gpus: Option<String>,
    /// `EVALSCOPE_LANG`, else the locale: the language of the HTML report.
    pub(crate) lang: Lang,
    /// What launchers say of the number of this process and of all, in the order they are asked in.
    pub(crate) ranks: Vec<Rank>,
}

/// The number of a process and of all, as a launcher says them.
#[derive(Clone, Debug)]
pub(crate) struct Rank {
    /// The variables: of the number, and of how many there are.
    pub(crate) names: (&'static str, &'static str),
    /// Their values.
    pub(crate) values: (Option<String>, Option<String>),
}

/// Slurm; Open MPI; MPICH and its relatives; Kubernetes, whose indexed jobs do not know how many they are;
/// torchrun.
const RANKS: [(&str, &str); 5] = [
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("JOB_COMPLETION_INDEX", "EVALSCOPE_SHARDS"),
    ("RANK", "WORLD_SIZE"),
];

/// What the launchers say.
fn ranks() -> Vec<Rank> {
    RANKS
        .map(|names| Rank {
            names,
            values: (set(names.0), set(names.1)),
        })
        .into()
}

impl Environment {
    /// Read it.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let lines = needed(HEADERS);
        let lines = lines
            .as_deref()
            .map_or(Ok(""), |lines| text(HEADERS, lines))?;
        let lines = lines.lines().filter(|line| !line.trim().is_empty());
        let tracker_keys = TRACKER_KEYS
            .into_iter()
            .filter_map(|name| Some((name, variable(name)?)));
        Ok(Self {
            api_key: needed(API_KEY),
            header_lines: lines.map(str::to_owned).collect(),
            python: set("EVALSCOPE_PYTHON"),
            result_path_file: set("EVALSCOPE_RESULT_PATH_FILE").map(PathBuf::from),
            has_hugging_face: set("HF_ENDPOINT").is_some(),
            proxies: proxies(),
            tracker_keys: tracker_keys.collect(),
            secrets: SECRET_VARIABLES.into_iter().filter_map(variable).collect(),
            path: variable("PATH"),
            visible_gpus: variable("CUDA_VISIBLE_DEVICES"),
            lang: lang(),
            ranks: ranks(),
        })
    }

    /// The key for the API, for a command that has none of its own.
    pub(crate) fn api_key(&self) -> anyhow::Result<Option<&str>> {
        let key = self.api_key.as_deref();
        key.map(|key| text(API_KEY, key)).transpose()
    }
}

/// The language of the HTML report, in the order that the C library reads a locale in.
fn lang() -> Lang {
    let mut names = ["EVALSCOPE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"].into_iter();
    let locale = names.find_map(set);
    locale.as_deref().map_or(Lang::En, Lang::of_locale)
}

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable that is not empty.
fn set(name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

/// A variable without which requests would be others than were asked for: it must not be passed over
/// because it cannot be read.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
fn needed(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text<'a>(name: &str, value: &'a OsStr) -> anyhow::Result<&'a str> {
    let text = value.to_str();
    text.with_context(|| format!("the environment variable {name} is not UTF-8"))
}

fn proxies() -> ProxyEnv {
    // lower case first: curl's order
    let var = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
    ProxyEnv {
        http: var("http_proxy"),
        https: var("https_proxy"),
        all: var("all_proxy"),
        none: var("no_proxy"),
    }
}

/// The variable that names the proxy for a URL, where there is one.
pub(crate) fn proxy_variable(url: &Url) -> &'static str {
    let own = if url.scheme() == "https" {
        ["https_proxy", "HTTPS_PROXY"]
    } else {
        ["http_proxy", "HTTP_PROXY"]
    };
    let named = |names: [&'static str; 2]| {
        let found = names
            .into_iter()
            .find_map(|name| Some((name, variable(name)?)));
        found.filter(|(_, value)| !value.is_empty())
    };
    let named = named(own).or_else(|| named(["all_proxy", "ALL_PROXY"]));
    named.map_or("http_proxy", |(name, _)| name)
}

/// What the environment says about a hub.
pub(crate) fn hub(source: Source) -> Result<HubConfig, HubError> {
    HubConfig::from_env(source, variable)
}

/// `EVALSCOPE_ERROR_FILE`: a file for the text of the error that ends the command, which is then not
/// shown on stderr.
pub(crate) fn error_file() -> Option<PathBuf> {
    set("EVALSCOPE_ERROR_FILE").map(PathBuf::from)
}

/// `EVALSCOPE_EXIT_WITH_PARENT=1`: stdin is a pipe from the caller, and is closed when the caller
/// ends.
pub(crate) fn exits_with_parent() -> bool {
    variable("EVALSCOPE_EXIT_WITH_PARENT").as_deref() == Some("1")
}

/// `GITHUB_ACTIONS=true`: this runs in a job of GitHub.
pub(crate) fn in_github_job() -> bool {
    variable("GITHUB_ACTIONS").as_deref() == Some("true")
}

/// `GITHUB_STEP_SUMMARY`: a file to which a job of GitHub appends Markdown.
pub(crate) fn github_step_summary() -> Option<PathBuf> {
    set("GITHUB_STEP_SUMMARY").map(PathBuf::from)
}

/// `NO_COLOR` (no-color.org): nothing is coloured.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// `COLUMNS`: the width that tables are made for.
pub(crate) fn columns() -> Option<u16> {
    variable("COLUMNS")?.parse().ok()
}
