//! Owns the choice of a proxy for a host: the rules of the `*_PROXY` and `NO_PROXY` variables.
//!
//! It must not know where the variables come from, or what is fetched.

use std::fmt;

use evalscope_net::{NoProxy, with_scheme};
use url::Url;

use crate::error::HubError;

/// The proxies from the environment. `Debug` shows no passwords.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<ureq::Proxy>,
    https: Option<ureq::Proxy>,
    /// Hosts to connect to directly.
    direct: NoProxy,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |proxy: &Option<ureq::Proxy>| {
            proxy
                .as_ref()
                .map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
        };
        f.debug_struct("Proxies")
            .field("http", &place(&self.http))
            .field("https", &place(&self.https))
            .field("direct", &self.direct)
            .finish()
    }
}

impl Proxies {
    /// Connect to every host directly.
    #[must_use]
    pub fn none() -> Proxies {
        Proxies::default()
    }

    /// Read `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, each also in upper case; lower
    /// case takes precedence. Proxies speak `http`, `https`, `socks4`, `socks4a`, `socks5` or
    /// `socks5h`; without a scheme, `http`.
    ///
    /// # Errors
    /// [`HubError::Setting`] if one is not a URL or has another scheme.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Proxies, HubError> {
        let one = |small: &'static str, capital: &'static str| {
            [small, capital]
                .into_iter()
                .find_map(|name| Some((name, var(name).filter(|text| !text.trim().is_empty())?)))
                .map(|(name, text)| parse(name, text.trim()))
                .transpose()
        };
        let all = one("all_proxy", "ALL_PROXY")?;
        Ok(Proxies {
            http: one("http_proxy", "HTTP_PROXY")?.or_else(|| all.clone()),
            https: one("https_proxy", "HTTPS_PROXY")?.or(all),
            direct: NoProxy::new(
                &var("no_proxy")
                    .or_else(|| var("NO_PROXY"))
                    .unwrap_or_default(),
            ),
        })
    }

    /// The proxy for a URL. Loopback never has one.
    pub(crate) fn for_url(&self, url: &Url) -> Option<&ureq::Proxy> {
        if self.direct.covers(url) {
            return None;
        }
        match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }
    }
}

fn parse(variable: &'static str, text: &str) -> Result<ureq::Proxy, HubError> {
    ureq::Proxy::new(&with_scheme(text)).map_err(|_| HubError::Setting {
        variable,
        reason: "it is not a proxy such as http://host:3128 or socks5h://host:1080".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = Proxies::from_env(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
        .unwrap();
        let proxy = proxies.for_url(&Url::parse(url).unwrap())?;
        Some(format!("{} {}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_scheme_chooses_and_all_stands_in() {
        let variables = [
            ("HTTPS_PROXY", "http://a:1"),
            ("all_proxy", "socks5h://b:2"),
        ];
        assert_eq!(chosen(&variables, "https://h/").as_deref(), Some("a 1"));
        assert_eq!(chosen(&variables, "http://h/").as_deref(), Some("b 2"));
        assert_eq!(chosen(&[], "https://h/"), None);
        assert_eq!(
            chosen(&[("https_proxy", "a:3128")], "https://h/").as_deref(),
            Some("a 3128")
        );
    }

    #[test]
    fn loopback_and_listed_hosts_are_reached_directly() {
        let listed = "hub.example, .corp, 10.0.0.0/8, other:8443";
        let variables = [("https_proxy", "http://p:1"), ("no_proxy", listed)];
        let direct = [
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://localhost/",
            "https://hub.example/",
            "https://a.corp/",
            "https://10.1.2.3/",
            "https://other:8443/",
        ];
        for url in direct {
            assert_eq!(chosen(&variables, url), None, "{url}");
        }
        for url in [
            "https://myhub.example/",
            "https://11.0.0.1/",
            "https://other/",
        ] {
            assert!(chosen(&variables, url).is_some(), "{url}");
        }
        assert_eq!(
            chosen(
                &[("https_proxy", "http://p:1"), ("NO_PROXY", "*")],
                "https://h/"
            ),
            None
        );
    }

    #[test]
    fn a_password_is_never_shown() {
        let env = |text: &'static str| {
            Proxies::from_env(move |name| (name == "https_proxy").then(|| text.to_owned()))
        };
        let proxies = env("http://user:hunter2@p:1").unwrap();
        assert!(!format!("{proxies:?}").contains("hunter2"), "{proxies:?}");
        let error = env("ftp://user:hunter2@p:1").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
