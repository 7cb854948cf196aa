//! Owns the choice of a proxy for a server: the rules of the `*_PROXY` and `NO_PROXY` variables.
//! Pure: the variables are passed in.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

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
        let Some(host) = url.host() else {
            return Ok(None);
        };
        if is_loopback(&host) || self.is_excluded(url) {
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

    fn is_excluded(&self, url: &Url) -> bool {
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        let port = url.port_or_known_default();
        let list = self.none.as_deref().unwrap_or_default();
        list.split(',')
            .map(|entry| entry.trim().to_ascii_lowercase())
            .filter(|entry| !entry.is_empty())
            .any(|entry| {
                if entry == "*" {
                    return true;
                }
                if let (Ok(ip), Some((network, bits))) =
                    (host.parse::<IpAddr>(), entry.split_once('/'))
                {
                    return in_network(ip, network, bits);
                }
                let (name, entry_port) = match entry.rsplit_once(':') {
                    Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
                    _ => (entry.as_str(), None),
                };
                if entry_port.is_some() && entry_port != port {
                    return false;
                }
                let name = name.trim_start_matches('*').trim_start_matches('.');
                host == name
                    || host
                        .strip_suffix(name)
                        .is_some_and(|head| head.ends_with('.'))
            })
    }
}

fn parse(text: &str) -> Result<Proxy, ProxyError> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    // the text may contain a password: show only what is safe
    let shown = || text.rsplit('@').next().unwrap_or_default().to_owned();
    let url = Url::parse(&with_scheme).map_err(|_| ProxyError::Url(shown()))?;
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

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(ip) => ip.is_loopback() || ip.is_unspecified(),
        Host::Ipv6(ip) => ip.is_loopback() || ip.is_unspecified(),
    }
}

fn in_network(ip: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(ip) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(ip) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> ProxyEnv {
        ProxyEnv {
            http: Some("http://user:p%40ss@proxy.example:3128".into()),
            https: Some("secure.example".into()),
            all: Some("http://all.example:1".into()),
            none: Some("internal, .corp.example,10.0.0.0/8, fe80::/10,other.example:8443".into()),
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
            ("http://localhost:8000/v1", None),
            ("https://[::1]:8000/v1", None),
            ("http://internal/v1", None),
            ("http://a.internal/v1", None),
            ("http://notinternal/v1", Some("http://proxy.example:3128")),
            ("http://a.b.corp.example/v1", None),
            ("http://10.2.3.4/v1", None),
            ("http://11.2.3.4/v1", Some("http://proxy.example:3128")),
            ("http://[fe80::1]/v1", None),
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
