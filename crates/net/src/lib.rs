//! Owns the rules of the `*_PROXY` and `NO_PROXY` variables that the engine and the hubs share:
//! which hosts are reached directly, and what a proxy without a scheme is.
//!
//! It must not know where the variables come from, which proxies can be used, nor any socket. The
//! matcher of `hyper-util` would not do: it knows no ports in `NO_PROXY`, sends loopback to the
//! proxy, and silently leaves out a proxy that it cannot use.

use std::borrow::Cow;
use std::net::IpAddr;

use url::{Host, Url};

/// The hosts that are reached directly: loopback, and those of `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<String>);

impl NoProxy {
    /// The hosts of a list with commas. An entry is a domain, which its subdomains belong to, with a
    /// port or without; an address; a network such as `10.0.0.0/8`; or `*` for every host.
    #[must_use]
    pub fn new(list: &str) -> Self {
        let entries = list
            .split(',')
            .map(|entry| entry.trim().to_ascii_lowercase())
            .filter(|entry| !entry.is_empty());
        Self(entries.collect())
    }

    /// Whether the host of a URL is reached directly. A URL without a host is.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host() else {
            return true;
        };
        if is_loopback(&host) {
            return true;
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = url.port_or_known_default();
        self.0.iter().any(|entry| is_entry_for(entry, &host, port))
    }
}

/// The URL of a proxy as a variable has it: without a scheme it is `http`.
#[must_use]
pub fn with_scheme(proxy: &str) -> Cow<'_, str> {
    if proxy.contains("://") {
        Cow::Borrowed(proxy)
    } else {
        Cow::Owned(format!("http://{proxy}"))
    }
}

fn is_entry_for(entry: &str, host: &str, port: Option<u16>) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Ok(address), Some((network, bits))) = (host.parse(), entry.split_once('/')) {
        return is_in_network(address, network, bits);
    }
    let (name, only_port) = match entry.rsplit_once(':') {
        // more than one colon is an IPv6 address
        Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
        _ => (entry, None),
    };
    if only_port.is_some() && only_port != port {
        return false;
    }
    let name = name.trim_start_matches('*').trim_start_matches('.');
    host == name
        || host
            .strip_suffix(name)
            .is_some_and(|head| head.ends_with('.'))
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

fn is_in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else {
        return false;
    };
    match (address, network.parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) if bits <= 32 => {
            let ignored = 32 - bits;
            (address.to_bits() ^ network.to_bits())
                .checked_shr(ignored)
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) if bits <= 128 => {
            let ignored = 128 - bits;
            (address.to_bits() ^ network.to_bits())
                .checked_shr(ignored)
                .unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_listed_hosts_are_reached_directly() {
        let list = "internal, .corp.example,10.0.0.0/8, fe80::/10,Other.example:8443,fd00::1";
        let list = NoProxy::new(list);
        for (url, direct) in [
            ("http://api.example/v1", false),
            ("http://127.0.0.1:8000/v1", true),
            ("http://0.0.0.0:8000/v1", true),
            ("http://localhost:8000/v1", true),
            ("http://a.localhost./v1", true),
            ("https://[::1]:8000/v1", true),
            ("http://internal/v1", true),
            ("http://a.internal/v1", true),
            ("http://notinternal/v1", false),
            ("http://a.b.corp.example/v1", true),
            ("http://10.2.3.4/v1", true),
            ("http://11.2.3.4/v1", false),
            ("http://[fe80::1]/v1", true),
            ("http://[fd00::1]/v1", true),
            ("http://[fd00::2]/v1", false),
            ("https://other.example:8443/", true),
            ("https://other.example/", false),
        ] {
            assert_eq!(list.covers(&Url::parse(url).unwrap()), direct, "{url}");
        }
        let url = Url::parse("https://h/").unwrap();
        assert!(NoProxy::new("*").covers(&url));
        assert!(NoProxy::new("h").covers(&url));
        assert!(!NoProxy::new("").covers(&url));
        assert!(!NoProxy::new(" , ").covers(&url));
    }

    #[test]
    fn the_bits_of_a_network_count() {
        for (address, network, is_in) in [
            ("1.2.3.4", "9.9.9.9/0", true),
            ("1.2.3.4", "1.2.3.4/32", true),
            ("1.2.3.5", "1.2.3.4/32", false),
            ("1.2.3.5", "1.2.3.4/31", true),
            ("1.2.3.4", "1.2.3.4/33", false),
            ("1.2.3.4", "::/0", false),
            ("::5", "1::/0", true),
            ("::5", "::4/127", true),
            ("::5", "::4/128", false),
        ] {
            let url = match address.parse().unwrap() {
                IpAddr::V4(address) => format!("http://{address}"),
                IpAddr::V6(address) => format!("http://[{address}]"),
            };
            let covers = NoProxy::new(network).covers(&Url::parse(&url).unwrap());
            assert_eq!(covers, is_in, "{address} {network}");
        }
    }

    /// By the tables of `idna_adapter`; its version 1.0 has none and refuses such names.
    #[test]
    fn names_of_hosts_may_be_in_any_script() {
        let url = Url::parse("http://例え.jp/").unwrap();
        assert_eq!(url.host_str(), Some("xn--r8jz45g.jp"));
        assert!(NoProxy::new("xn--r8jz45g.jp").covers(&url));
    }

    #[test]
    fn a_proxy_without_a_scheme_speaks_http() {
        assert_eq!(with_scheme("p:3128"), "http://p:3128");
        assert_eq!(with_scheme("socks5h://p"), "socks5h://p");
    }
}
