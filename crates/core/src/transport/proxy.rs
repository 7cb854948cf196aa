//! Owns the choice of a proxy for a server: the rules of the `*_PROXY` and `NO_PROXY` variables.
//! Pure: the variables are passed in.

use std::borrow::Cow;

use base64::Engine as _;
use evalscope_net::{NoProxy, with_scheme};
use percent_encoding::percent_decode_str;
use url::Url;

/// The proxy variables as set in the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnv {
    /// `http_proxy` or `HTTP_PROXY`.
    pub http: Option<String>,
    /// `https_proxy` or `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `all_proxy` or `ALL_PROXY`.
    pub all: Option<String>,
    /// `no_proxy` or `NO_PROXY`.
    pub none: Option<String>,
}

/// A proxy that speaks HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its host: a name, or an address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `Proxy-Authorization`, if its URL has a user.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// A proxy that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL.
    #[error("the proxy `{0}` from the environment is not a URL such as http://host:3128")]
    Url(String),
    /// Not HTTP.
    #[error("the proxy from the environment uses `{0}`: only http:// proxies are supported")]
    Scheme(String),
}

impl ProxyEnv {
    /// The proxy for a URL. Loopback never has one.
    ///
    /// # Errors
    /// If the environment names a proxy that cannot be used.
    pub fn proxy_for(&self, url: &Url) -> Result<Option<Proxy>, ProxyError> {
        if NoProxy::new(self.none.as_deref().unwrap_or_default()).covers(url) {
            return Ok(None);
        }
        let special = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        let text = special.as_deref().filter(|s| !s.is_empty());
        let text = text.or(self.all.as_deref().filter(|s| !s.is_empty()));
        text.map(parse).transpose()
    }
}

fn parse(text: &str) -> Result<Proxy, ProxyError> {
    // the text may contain a password: show only what is safe
    let shown = || text.rsplit('@').next().unwrap_or_default().to_owned();
    let url = Url::parse(&with_scheme(text)).map_err(|_| ProxyError::Url(shown()))?;
    if url.scheme() != "http" {
        return Err(ProxyError::Scheme(url.scheme().to_owned()));
    }
    let host = url.host_str().ok_or_else(|| ProxyError::Url(shown()))?;
    let authorization = (!url.username().is_empty()).then(|| {
        let user = format!(
            "{}:{}",
            decode(url.username()),
            decode(url.password().unwrap_or_default())
        );
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(user)
        )
    });
    Ok(Proxy {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(80),
        authorization,
    })
}

/// Decode percent-encoding; anything else stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> ProxyEnv {
        ProxyEnv {
            http: Some("http://user:p%40ss@proxy.example:3128".into()),
            https: Some("secure.example".into()),
            all: Some("http://all.example:1".into()),
            none: Some("other.example:8443".into()),
        }
    }

    fn proxy(url: &str) -> Option<String> {
        env()
            .proxy_for(&Url::parse(url).unwrap())
            .unwrap()
            .map(|p| format!("{p:?}"))
    }

    #[test]
    fn the_rules_of_the_environment() {
        for (url, want) in [
            ("http://api.example/v1", Some("http://proxy.example:3128")),
            ("https://api.example/v1", Some("http://secure.example:80")),
            ("http://127.0.0.1:8000/v1", None),
            ("https://other.example:8443/", None),
            ("https://other.example/", Some("http://secure.example:80")),
        ] {
            assert_eq!(proxy(url).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn a_password_is_sent_but_not_shown() {
        let url = Url::parse("http://api.example").unwrap();
        let proxy = env().proxy_for(&url).unwrap().unwrap();
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpwQHNz"));
        assert!(!format!("{proxy:?}").contains("p@ss"));
        let bad = ProxyEnv {
            http: Some("socks5://u:secret@h:1".into()),
            ..ProxyEnv::default()
        };
        let error = bad.proxy_for(&url).unwrap_err().to_string();
        assert!(
            !error.contains("secret") && error.contains("socks5"),
            "{error}"
        );
    }
}
