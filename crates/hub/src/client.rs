//! Owns HTTP requests: proxies, TLS, which hosts receive the token, redirects, and what a failed
//! request means.
//!
//! It must not know files, caches, or the meaning of a body. The only module that opens a
//! connection.

use std::fmt;
use std::io::{self, Read as _};
use std::time::Duration;

use rustls_native_certs::load_native_certs;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};
use url::Url;

use crate::config::HubConfig;
use crate::error::{HubError, TokenUse};
use crate::proxies::Proxies;
use crate::repo::Source;
use crate::secret::Secret;

/// About as many as browsers follow; the hubs need two.
const MAX_REDIRECTS: usize = 10;

/// How much of a body is read to find the hub's error message.
const SAID_BYTES: u64 = 4096;

/// How much of a server's message is shown.
const SAID_CHARS: usize = 200;

/// Makes requests to one hub and to the targets of its redirects.
pub(crate) struct Client {
    agent: Agent,
    proxies: Proxies,
    source: Source,
    endpoint: Url,
    token: Option<Secret>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A response whose body has not been read yet. Redirects have been followed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What was stated about the file before the redirect to it.
    pub(crate) linked: Linked,
    pub(crate) body: Body,
    /// The host that finally responded, with port.
    pub(crate) host: String,
    /// Whether that is the hub itself.
    pub(crate) is_hub: bool,
}

/// Hugging Face's headers about the file behind a redirect.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    pub(crate) etag: Option<String>,
    pub(crate) size_bytes: Option<u64>,
}

/// Why there is no response, or only a part of one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection could be made.
    Unreachable { host: String, source: io::Error },
    /// The connection broke or timed out.
    Broken { host: String, source: io::Error },
    /// The certificate is not trusted.
    Certificate { host: String, reason: String },
    /// Invalid HTTP.
    Malformed { host: String, reason: String },
}

impl Client {
    pub(crate) fn new(config: &HubConfig, token: Option<Secret>) -> Result<Client, HubError> {
        let patience = &config.patience;
        let agent = Agent::config_builder()
            .user_agent(concat!("evalscope/", env!("CARGO_PKG_VERSION")))
            // the sizes and hashes stated by the hubs are those of the file, not of a compressed
            // version
            .accept_encoding("identity")
            // a status means something different from the hub than from a redirect target
            .http_status_as_error(false)
            // followed by hand: the token must not be forwarded, and the hub's own headers are
            // needed
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots(config)?).build())
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.idle))
            .timeout_per_read(Some(patience.idle))
            .timeout_per_write(Some(patience.idle))
            .build()
            .new_agent();
        Ok(Client {
            agent,
            proxies: config.proxies.clone(),
            source: config.source,
            endpoint: config.endpoint.clone(),
            token,
        })
    }

    pub(crate) fn token_use(&self) -> TokenUse {
        match self.token {
            Some(_) => TokenUse::Sent,
            None => TokenUse::NoneSet,
        }
    }

    /// Request a URL of the hub, from byte `from` on if given.
    pub(crate) fn get(&self, url: &Url, from: Option<u64>) -> Result<Answer, Failure> {
        let mut url = url.clone();
        let mut linked = Linked::default();
        for _ in 0..=MAX_REDIRECTS {
            let host = host_of(&url);
            let is_hub = url.origin() == self.endpoint.origin();
            let response = self
                .request(&url, is_hub, from)
                .map_err(|error| failure(error, &host))?;
            let headers = response.headers();
            // the first one counts: it is from the hub, unless a mirror redirects to the hub
            if linked.etag.is_none()
                && let Some(etag) = text(headers, "x-linked-etag")
            {
                linked = Linked {
                    etag: Some(bare_etag(etag)),
                    size_bytes: number(headers, "x-linked-size"),
                };
            }
            let location = text(headers, "location")
                .filter(|_| matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308));
            let Some(location) = location else {
                let (parts, body) = response.into_parts();
                return Ok(Answer {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    linked,
                    body,
                    host,
                    is_hub,
                });
            };
            url = url
                .join(location)
                .ok()
                .filter(|to| matches!(to.scheme(), "http" | "https"))
                .ok_or_else(|| Failure::Malformed {
                    host,
                    reason: "it redirects to something other than an http or https URL".to_owned(),
                })?;
        }
        Err(Failure::Malformed {
            host: host_of(&url),
            reason: format!("it redirects more than {MAX_REDIRECTS} times"),
        })
    }

    fn request(
        &self,
        url: &Url,
        is_hub: bool,
        from: Option<u64>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url.as_str());
        if let Some(proxy) = self.proxies.for_url(url) {
            request = request.config().proxy(Some(proxy.clone())).build();
        }
        if let Some(from) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
            if self.source == Source::ModelScope {
                // some of its services accept the token only as a session
                request = request.header("cookie", format!("m_session_id={}", token.reveal()));
            }
        }
        request.call()
    }

    /// A server's error message, short and without the token.
    pub(crate) fn said(&self, answer: &mut Answer) -> Option<String> {
        let text = match text(&answer.headers, "x-error-message") {
            Some(text) => text.to_owned(),
            None if answer.is_hub => said_in_body(&mut answer.body)?,
            None => return None,
        };
        let line: String = self
            .masked(&text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|char| !char.is_control())
            .take(SAID_CHARS)
            .collect();
        Some(line).filter(|line| !line.is_empty())
    }

    /// Text from a server, with the token masked if it occurs.
    pub(crate) fn masked(&self, text: &str) -> String {
        match &self.token {
            Some(token) => token.mask(text),
            None => text.to_owned(),
        }
    }
}

/// The message in a JSON error: `{"error": ...}` or `{"Message": ...}`.
fn said_in_body(body: &mut Body) -> Option<String> {
    let mut bytes = Vec::new();
    let mut reader = body.as_reader().take(SAID_BYTES);
    reader.read_to_end(&mut bytes).ok()?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    ["error", "Message", "message"]
        .iter()
        .find_map(|key| json.get(key)?.as_str())
        .map(str::to_owned)
}

/// The platform's certificates plus those of the file; Mozilla's if the platform has none.
fn roots(config: &HubConfig) -> Result<RootCerts, HubError> {
    let mut certificates: Vec<Certificate<'static>> = load_native_certs()
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    if let Some(path) = &config.ca_file {
        let refused = |source| HubError::Certificates {
            path: path.clone(),
            source,
        };
        let pem = std::fs::read(path).map_err(refused)?;
        for item in parse_pem(&pem) {
            let item =
                item.map_err(|error| refused(io::Error::new(io::ErrorKind::InvalidData, error)))?;
            if let PemItem::Certificate(certificate) = item {
                certificates.push(certificate);
            }
        }
    }
    Ok(if certificates.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::from(certificates)
    })
}

/// The meaning of a request error. An error while reading the body is always a broken connection,
/// see [`broken`].
fn failure(error: ureq::Error, host: &str) -> Failure {
    let host = host.to_owned();
    if let Some(reason) = certificate_trouble(&error) {
        return Failure::Certificate { host, reason };
    }
    let is_broken = match &error {
        ureq::Error::Timeout(phase) => !matches!(phase, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Protocol(_) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        ),
        _ => false,
    };
    let source = cause(error);
    if is_broken {
        Failure::Broken { host, source }
    } else {
        Failure::Unreachable { host, source }
    }
}

/// The meaning of an error while reading a body.
pub(crate) fn broken(error: io::Error, host: &str) -> Failure {
    Failure::Broken {
        host: host.to_owned(),
        source: cause(ureq::Error::from(error)),
    }
}

fn certificate_trouble(error: &ureq::Error) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        _ => return None,
    };
    match error {
        rustls::Error::InvalidCertificate(reason) => Some(reason.to_string()),
        _ => None,
    }
}

/// The cause of a failure. Messages with a URL are replaced, because it may be signed.
fn cause(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Io(error) => error,
        ureq::Error::Timeout(phase) => io::Error::new(
            io::ErrorKind::TimedOut,
            match phase {
                Timeout::Resolve => "its name was not resolved in time",
                Timeout::Connect => "no connection in time",
                _ => "the server was silent for too long",
            },
        ),
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
            io::Error::new(io::ErrorKind::InvalidInput, "the URL cannot be used")
        }
        other => io::Error::other(other.to_string()),
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The value of a header, if it is valid text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The value of a header, if it is a number.
pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// How long a server asks to wait, if given in seconds. A date is not supported.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    number(headers, "retry-after").map(Duration::from_secs)
}

/// An entity tag without quotes and the weakness marker.
pub(crate) fn bare_etag(etag: &str) -> String {
    let etag = etag.trim();
    etag.strip_prefix("W/")
        .unwrap_or(etag)
        .trim_matches('"')
        .to_owned()
}
