//! Owns the environment: no other module reads a variable.
//!
//! It must not know what a variable decides.

use evalscope_core::transport::ProxyEnv;
use url::Url;

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable without which requests would be others than were asked for.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
pub(crate) fn needed_variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            anyhow::bail!("the environment variable {name} is not UTF-8")
        }
    }
}

/// The proxies of the environment, as the transport takes them.
pub(crate) fn proxies() -> ProxyEnv {
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
        let set = names
            .into_iter()
            .find_map(|name| Some((name, variable(name)?)));
        set.filter(|(_, value)| !value.is_empty())
    };
    let named = named(own).or_else(|| named(["all_proxy", "ALL_PROXY"]));
    named.map_or("http_proxy", |(name, _)| name)
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
