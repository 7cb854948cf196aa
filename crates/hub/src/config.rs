//! Owns the settings of a hub, and how they are set by the environment: the same variables as for
//! the hubs' own tools, with the same meaning.
//!
//! It must not read the environment (it is passed in), files, or the network.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::error::HubError;
use crate::proxies::Proxies;
use crate::repo::Source;
use crate::secret::{Secret, shown};

/// The settings of one hub.
#[derive(Clone)]
pub struct HubConfig {
    /// Which hub, which determines the protocol.
    pub source: Source,
    /// Its address. May have a path, as mirrors do; user, password and query are ignored.
    pub endpoint: Url,
    /// The cache: fetched files are kept below `<cache_dir>/<source>/`.
    pub cache_dir: PathBuf,
    /// Caches of the hub's own tools. Files in them are used in place; nothing is written.
    pub other_caches: Vec<PathBuf>,
    /// The token; sent only to the hub.
    pub token: Option<Secret>,
    /// Where the hub's own tools keep the token. Read if `token` is `None`; a missing file is not
    /// an error.
    pub token_file: Option<PathBuf>,
    /// Whether the network may be used.
    pub network: Network,
    /// Proxies.
    pub proxies: Proxies,
    /// Certificates (PEM) to trust besides the platform's.
    pub ca_file: Option<PathBuf>,
    /// Timeouts and retries.
    pub patience: Patience,
}

/// Whether the network may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Yes.
    Allowed,
    /// No: only caches are used.
    Forbidden {
        /// The reason, for error messages: a variable or flag in backticks.
        by: String,
    },
}

/// Timeouts and retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Maximum number of attempts in a row without progress (one MiB is progress). A first
    /// connection that cannot be made is not retried.
    pub tries: u32,
    /// The delay before the second attempt. It doubles each time.
    pub first_pause: Duration,
    /// Maximum delay between attempts, even if a server asks for a longer one.
    pub longest_pause: Duration,
    /// Timeout of name resolution and of connecting, TLS included.
    pub connect: Duration,
    /// How long the server may be silent.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            tries: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(20),
            connect: Duration::from_secs(10),
            idle: Duration::from_mins(1),
        }
    }
}

/// Shows neither the token nor a password in the endpoint.
impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("source", &self.source)
            .field("endpoint", &shown(&self.endpoint))
            .field("cache_dir", &self.cache_dir)
            .field("other_caches", &self.other_caches)
            .field("token", &self.token)
            .field("token_file", &self.token_file)
            .field("network", &self.network)
            .field("proxies", &self.proxies)
            .field("ca_file", &self.ca_file)
            .field("patience", &self.patience)
            .finish()
    }
}

impl HubConfig {
    /// The settings given by the environment; `var` returns the value of a variable. Nothing else
    /// is read, so this never touches a file or the network.
    ///
    /// | variable | is |
    /// |---|---|
    /// | `EVALSCOPE_CACHE` | the cache; else `evalscope` in `XDG_CACHE_HOME` or in the platform's place for caches |
    /// | `HF_ENDPOINT`, `MODELSCOPE_ENDPOINT` (or `MODELSCOPE_DOMAIN`) | where the hub is; `https` if no scheme is given |
    /// | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `MODELSCOPE_API_TOKEN` | the token |
    /// | `HF_TOKEN_PATH`, `HF_HOME` | where Hugging Face's tools keep a token; not used with `HF_HUB_DISABLE_IMPLICIT_TOKEN` |
    /// | `HF_HUB_CACHE` (or `HUGGINGFACE_HUB_CACHE`), `HF_HOME`, `MODELSCOPE_CACHE` | caches of the hubs' own tools |
    /// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | for Hugging Face: do not use the network |
    /// | `HTTPS_PROXY` and the like | proxies, see [`Proxies::from_env`] |
    /// | `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` | certificates to trust besides the platform's |
    ///
    /// An empty value counts as unset.
    ///
    /// # Errors
    /// [`HubError::Setting`] if a variable is invalid, [`HubError::NoCacheDir`] if there is no
    /// place for the cache.
    pub fn from_env(
        source: Source,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<HubConfig, HubError> {
        let env = Env(&|name: &str| var(name).filter(|value| !value.trim().is_empty()));
        let implicit =
            source == Source::ModelScope || !env.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
        let token = if implicit { token(source, &env)? } else { None };
        Ok(HubConfig {
            source,
            endpoint: endpoint(source, &env)?,
            cache_dir: cache_dir(&env)?,
            other_caches: other_caches(source, &env),
            token,
            token_file: token_file(source, &env).filter(|_| implicit),
            network: network(source, &env),
            proxies: Proxies::from_env(env.0)?,
            ca_file: env
                .path("REQUESTS_CA_BUNDLE")
                .or_else(|| env.path("CURL_CA_BUNDLE")),
            patience: Patience::default(),
        })
    }
}

/// The variables that are set and not empty.
struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

/// The variable of the home directory.
const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

impl Env<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    /// A path, `~` expanded as the hubs' tools do.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let text = self.get(name)?;
        match (text.strip_prefix("~/"), self.home()) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(PathBuf::from(text)),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.get(HOME).map(PathBuf::from)
    }

    /// The values that Hugging Face's tools treat as true.
    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
        })
    }

    /// `XDG_CACHE_HOME`; the specification says to ignore relative paths.
    fn xdg_cache(&self) -> Option<PathBuf> {
        self.path("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
    }

    /// Where the hubs' own tools keep their files, on any platform.
    fn dot_cache(&self) -> Option<PathBuf> {
        self.home().map(|home| home.join(".cache"))
    }

    /// The directory of Hugging Face's tools.
    fn hf_home(&self) -> Option<PathBuf> {
        self.path("HF_HOME").or_else(|| {
            let caches = self.xdg_cache().or_else(|| self.dot_cache())?;
            Some(caches.join("huggingface"))
        })
    }
}

fn endpoint(source: Source, env: &Env<'_>) -> Result<Url, HubError> {
    let variables: &[&'static str] = match source {
        Source::ModelScope => &["MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN"],
        Source::HuggingFace => &["HF_ENDPOINT"],
    };
    let given = variables
        .iter()
        .find_map(|name| Some((*name, env.get(name)?)));
    let (variable, text) = given.unwrap_or_else(|| {
        let built_in = match source {
            Source::ModelScope => "https://www.modelscope.cn",
            Source::HuggingFace => "https://huggingface.co",
        };
        (variables[0], built_in.to_owned())
    });
    let text = text.trim();
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let refused = |reason: String| HubError::Setting { variable, reason };
    let url = Url::parse(&with_scheme).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("it is not an http or https URL".to_owned()));
    }
    Ok(url)
}

fn token(source: Source, env: &Env<'_>) -> Result<Option<Secret>, HubError> {
    let given = source
        .token_variables()
        .iter()
        .find_map(|variable| Some((*variable, env.get(variable)?)));
    given
        .map(|(variable, text)| {
            Secret::new(&text).ok_or_else(|| HubError::Setting {
                variable,
                reason: "a token must be ASCII without spaces".to_owned(),
            })
        })
        .transpose()
}

fn token_file(source: Source, env: &Env<'_>) -> Option<PathBuf> {
    match source {
        // its tools keep the token in a pickled cookie jar, which only Python can read
        Source::ModelScope => None,
        Source::HuggingFace => env
            .path("HF_TOKEN_PATH")
            .or_else(|| Some(env.hf_home()?.join("token"))),
    }
}

fn network(source: Source, env: &Env<'_>) -> Network {
    let variables: &[&str] = match source {
        Source::ModelScope => &[],
        Source::HuggingFace => &["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"],
    };
    let forbidding = variables.iter().find(|name| env.is_true(name));
    forbidding.map_or(Network::Allowed, |name| Network::Forbidden {
        by: format!("`{name}`"),
    })
}

fn cache_dir(env: &Env<'_>) -> Result<PathBuf, HubError> {
    if let Some(path) = env.path("EVALSCOPE_CACHE") {
        return Ok(path);
    }
    let caches = env.xdg_cache().or_else(|| {
        if cfg!(windows) {
            env.path("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            env.home().map(|home| home.join("Library").join("Caches"))
        } else {
            env.dot_cache()
        }
    });
    caches
        .map(|caches| caches.join("evalscope"))
        .ok_or(HubError::NoCacheDir {
            home: if cfg!(windows) { "LOCALAPPDATA" } else { HOME },
        })
}

fn other_caches(source: Source, env: &Env<'_>) -> Vec<PathBuf> {
    let found = match source {
        Source::ModelScope => env
            .path("MODELSCOPE_CACHE")
            .or_else(|| Some(env.dot_cache()?.join("modelscope"))),
        Source::HuggingFace => env
            .path("HF_HUB_CACHE")
            .or_else(|| env.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(env.hf_home()?.join("hub"))),
    };
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: Source, variables: &[(&str, &str)]) -> Result<HubConfig, HubError> {
        HubConfig::from_env(source, |name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_ordinary_environment_gives_the_hubs_own_places() {
        let hugging_face = config(Source::HuggingFace, &[("HOME", "/h")]).unwrap();
        insta::assert_debug_snapshot!(hugging_face, @r#"
        HubConfig {
            source: HuggingFace,
            endpoint: "https://huggingface.co/",
            cache_dir: "/h/.cache/evalscope",
            other_caches: [
                "/h/.cache/huggingface/hub",
            ],
            token: None,
            token_file: Some(
                "/h/.cache/huggingface/token",
            ),
            network: Allowed,
            proxies: Proxies {
                http: None,
                https: None,
                direct: NoProxy(
                    [],
                ),
            },
            ca_file: None,
            patience: Patience {
                tries: 5,
                first_pause: 500ms,
                longest_pause: 20s,
                connect: 10s,
                idle: 60s,
            },
        }
        "#);
        let model_scope = config(Source::ModelScope, &[("HOME", "/h")]).unwrap();
        assert_eq!(model_scope.endpoint.as_str(), "https://www.modelscope.cn/");
        assert_eq!(
            model_scope.other_caches,
            [PathBuf::from("/h/.cache/modelscope")]
        );
        assert_eq!(model_scope.token_file, None);
    }

    #[cfg(unix)]
    #[test]
    fn the_most_particular_variable_counts() {
        let home = ("HOME", "/h");
        let cache = |variables: &[(&str, &str)]| config(Source::HuggingFace, variables).unwrap();
        let xdg = cache(&[home, ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(xdg.cache_dir, PathBuf::from("/x/evalscope"));
        assert_eq!(xdg.other_caches, [PathBuf::from("/x/huggingface/hub")]);
        let hf_home = cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/f")]);
        assert_eq!(hf_home.other_caches, [PathBuf::from("/h/f/hub")]);
        assert_eq!(hf_home.token_file, Some(PathBuf::from("/h/f/token")));
        let named = cache(&[("HF_HUB_CACHE", "/c"), ("EVALSCOPE_CACHE", "/e")]);
        assert_eq!(named.other_caches, [PathBuf::from("/c")]);
        assert_eq!(named.cache_dir, PathBuf::from("/e"));
    }

    #[test]
    fn endpoints_are_taken_with_and_without_scheme() {
        let endpoint = |source, name, value| {
            config(source, &[("EVALSCOPE_CACHE", "/e"), (name, value)]).map(|c| c.endpoint.into())
        };
        let taken: String =
            endpoint(Source::ModelScope, "MODELSCOPE_DOMAIN", "www.modelscope.ai").unwrap();
        assert_eq!(taken, "https://www.modelscope.ai/");
        let taken: String = endpoint(Source::HuggingFace, "HF_ENDPOINT", "http://m:8/hf").unwrap();
        assert_eq!(taken, "http://m:8/hf");
        let error = endpoint(Source::HuggingFace, "HF_ENDPOINT", "ftp://u:pw@x").unwrap_err();
        insta::assert_snapshot!(error, @"`HF_ENDPOINT` cannot be used: it is not an http or https URL");
    }

    #[test]
    fn tokens_come_from_the_variables_of_their_hub() {
        let base = ("EVALSCOPE_CACHE", "/e");
        let token = |source, variables: &[(&str, &str)]| {
            config(source, variables)
                .unwrap()
                .token
                .map(|token| token.reveal().to_owned())
        };
        let old = ("HUGGING_FACE_HUB_TOKEN", "old");
        let new = ("HF_TOKEN", "new\n");
        assert_eq!(
            token(Source::HuggingFace, &[base, old, new]).as_deref(),
            Some("new")
        );
        assert_eq!(
            token(Source::HuggingFace, &[base, old]).as_deref(),
            Some("old")
        );
        assert_eq!(token(Source::ModelScope, &[base, new]), None);
        let never = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        assert_eq!(token(Source::HuggingFace, &[base, new, never]), None);
        let error = config(Source::HuggingFace, &[base, ("HF_TOKEN", "hf secret")]).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
    }

    #[test]
    fn offline_is_what_hugging_face_takes_for_true() {
        for (value, forbidden) in [("1", true), ("True", true), ("0", false), ("", false)] {
            let variables = [("EVALSCOPE_CACHE", "/e"), ("HF_HUB_OFFLINE", value)];
            let network = config(Source::HuggingFace, &variables).unwrap().network;
            assert_eq!(network != Network::Allowed, forbidden, "{value:?}");
        }
    }

    #[test]
    fn without_a_home_there_is_no_cache() {
        let error = config(Source::ModelScope, &[]).unwrap_err();
        assert!(matches!(error, HubError::NoCacheDir { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
}
