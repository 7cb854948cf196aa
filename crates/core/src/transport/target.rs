//! Owns where requests go, and everything about them that never changes: the route, and the head.
//!
//! It must not know how a connection is made.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::proxy::{Proxy, ProxyEnv, ProxyError};
use super::resolve::{Name, authority};
use super::tls::{TlsSetup, TlsSetupError, TlsTrust};
use crate::credential::Credential;
use evalscope_model::prompt::OwnTarget;
use evalscope_model::time::wall_ns;

/// The route to a server.
#[derive(Clone, Debug)]
pub enum Route {
    /// Direct.
    Direct,
    /// Through a proxy that forwards plain HTTP.
    Forward(Proxy),
    /// Through a proxy's tunnel.
    Tunnel(Proxy),
}

/// Where requests go, and everything about them that never changes.
#[derive(Clone)]
pub struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as the requests give them: no port where it is the scheme's.
    host_field: String,
    pub(super) route: Route,
    /// The host to connect to: the server, or the proxy.
    pub(super) name: Arc<Name>,
    pub(super) tls: Option<TlsSetup>,
    /// Request line and headers, except `Content-Length`.
    head: Vec<u8>,
    /// The same for a streaming request.
    stream_head: Vec<u8>,
    /// A header that is renewed from time to time.
    renewed: Option<Arc<Renewed>>,
}

/// A header whose value expires, with its current value.
struct Renewed {
    credential: Box<dyn Credential>,
    /// Expiry in Unix milliseconds, and the header line.
    line: Mutex<(u64, Vec<u8>)>,
}

impl Renewed {
    fn append_to(&self, head: &mut Vec<u8>) {
        let now = wall_ns() / 1_000_000;
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.0 <= now {
            let (value, until) = self.credential.value(now);
            let text = format!("{}: {value}\r\n", self.credential.header());
            *line = (until, text.into_bytes());
        }
        head.extend_from_slice(&line.1);
    }
}

/// Headers of every request.
#[derive(Debug, Default)]
pub struct RequestHeaders<'a> {
    /// Headers given by the user, and the key.
    pub fields: &'a [(String, String)],
    /// Headers that the API needs for a streaming request; `fields` take precedence.
    pub stream: &'static [(&'static str, &'static str)],
    /// Headers it needs for any other request.
    pub whole: &'static [(&'static str, &'static str)],
    /// A header that is renewed from time to time; takes precedence over `fields`.
    pub renewed: Option<Box<dyn Credential>>,
}

impl fmt::Debug for Target {
    // the head may contain a key
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// What is sent of one request.
#[derive(Clone, Copy, Debug)]
pub struct WireRequest<'a> {
    /// The body, in two pieces.
    pub body: [&'a [u8]; 2],
    /// It asks for a stream.
    pub stream: bool,
    /// Path and query of its own, on the same server.
    pub target: Option<&'a OwnTarget>,
    /// A header of the response whose value is wanted.
    pub kept_header: Option<&'a str>,
    /// Well-formed headers of its own. One with the name of a shared header replaces it.
    pub headers: &'a [(String, String)],
}

/// A head with another target and other headers: the fields that none of them replaces, and them.
fn with_own(head: &[u8], target: Option<&str>, headers: &[(String, String)]) -> Vec<u8> {
    let mut own = Vec::with_capacity(head.len() + 64 * (headers.len() + 1));
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    match target {
        None => own.extend_from_slice(first),
        Some(target) => {
            let method = first.split(|byte| *byte == b' ').next().unwrap_or_default();
            for part in [method, b" ", target.as_bytes(), b" HTTP/1.1\r\n"] {
                own.extend_from_slice(part);
            }
        }
    }
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_replaced = headers
            .iter()
            .any(|(other, _)| other.as_bytes().eq_ignore_ascii_case(name));
        if !is_replaced {
            own.extend_from_slice(line);
        }
    }
    for (name, value) in headers {
        for part in [name.as_str(), ": ", value.as_str(), "\r\n"] {
            own.extend_from_slice(part.as_bytes());
        }
    }
    own
}

/// Why a URL cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It does not parse.
    #[error("`{url}` is not a URL: {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// The parser's error.
        reason: String,
    },
    /// Neither http nor https.
    #[error("`{0}` is not an http:// or https:// URL")]
    Scheme(String),
    /// The proxy from the environment.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// A header that is not valid in HTTP.
    #[error("the header `{0}` contains characters that HTTP does not allow")]
    Header(String),
}

impl Target {
    /// Prepare requests to a URL.
    ///
    /// # Errors
    /// If the URL, a header, the proxy or the certificates cannot be used.
    pub fn new(
        url: &Url,
        headers: RequestHeaders<'_>,
        proxies: &ProxyEnv,
        trust: &TlsTrust,
    ) -> Result<Self, TargetError> {
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some(TlsSetup::new(trust)?),
            _ => return Err(TargetError::Scheme(url.to_string())),
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let route = match (proxies.proxy_for(url)?, &tls) {
            (None, _) => Route::Direct,
            (Some(proxy), None) => Route::Forward(proxy),
            (Some(proxy), Some(_)) => Route::Tunnel(proxy),
        };
        let name = match &route {
            Route::Direct => Name::new(&host, port),
            Route::Forward(proxy) | Route::Tunnel(proxy) => Name::new(&proxy.host, proxy.port),
        };
        let default_port = if tls.is_some() { 443 } else { 80 };
        let host_field = if port == default_port {
            url.host_str().unwrap_or_default().to_owned()
        } else {
            authority(&host, port)
        };
        let mut target = Self {
            host,
            port,
            host_field,
            route,
            name,
            tls,
            head: Vec::new(),
            stream_head: Vec::new(),
            renewed: None,
        };
        let renewed = headers.renewed.as_ref().map(|own| own.header());
        let mut fields = headers.fields.to_vec();
        fields.retain(|(name, _)| renewed.is_none_or(|own| !own.eq_ignore_ascii_case(name)));
        target.head = target.request_head(url, headers.whole, &fields)?;
        target.stream_head = target.request_head(url, headers.stream, &fields)?;
        target.renewed = headers.renewed.map(|credential| {
            Arc::new(Renewed {
                credential,
                line: Mutex::default(),
            })
        });
        Ok(target)
    }

    /// The same target, with GET.
    #[must_use]
    pub fn with_get(mut self) -> Self {
        for head in [&mut self.head, &mut self.stream_head] {
            let post = head.iter().take_while(|byte| **byte != b' ').count();
            head.splice(..post, *b"GET");
        }
        self
    }

    /// The proxy in use, for display; never with a password.
    #[must_use]
    pub fn proxy(&self) -> Option<String> {
        match &self.route {
            Route::Direct => None,
            Route::Forward(proxy) | Route::Tunnel(proxy) => Some(format!("{proxy:?}")),
        }
    }

    /// Source of the trusted certificates; `None` without TLS.
    #[must_use]
    pub fn tls_roots(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.roots.as_str())
    }

    /// The head of a request, with the empty line behind it.
    pub(super) fn head(&self, request: WireRequest<'_>) -> Vec<u8> {
        let WireRequest {
            body,
            stream,
            target,
            headers,
            kept_header: _,
        } = request;
        let length = body
            .iter()
            .map(|piece| piece.len())
            .sum::<usize>()
            .to_string();
        let head = if stream {
            &self.stream_head
        } else {
            &self.head
        };
        let head = if target.is_none() && headers.is_empty() {
            Cow::Borrowed(head)
        } else {
            let target = target.map(|target| self.in_request_line(target.as_str()));
            Cow::Owned(with_own(head, target.as_deref(), headers))
        };
        let mut request = Vec::with_capacity(head.len() + length.len() + 64);
        request.extend_from_slice(&head);
        if let Some(renewed) = &self.renewed {
            renewed.append_to(&mut request);
        }
        request.extend_from_slice(b"Content-Length: ");
        request.extend_from_slice(length.as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        request
    }

    pub(super) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// What the first line of a request says of a path and query: a proxy that forwards needs the
    /// server too.
    fn in_request_line<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match &self.route {
            Route::Forward(_) => Cow::Owned(format!("http://{}{path}", self.host_field)),
            Route::Direct | Route::Tunnel(_) => Cow::Borrowed(path),
        }
    }

    fn request_head(
        &self,
        url: &Url,
        of_api: &[(&str, &str)],
        headers: &[(String, String)],
    ) -> Result<Vec<u8>, TargetError> {
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let host = self.host_field.as_str();
        let mut head = format!("POST {} HTTP/1.1\r\n", self.in_request_line(path)).into_bytes();
        let mut fields: Vec<(&str, &str)> = vec![
            ("Host", host),
            (
                "User-Agent",
                concat!("evalscope/", env!("CARGO_PKG_VERSION")),
            ),
            ("Accept", "text/event-stream, application/json"),
            // without it a gateway may choose any coding (RFC 9110, section 12.5.3), and one that
            // compresses delays events
            ("Accept-Encoding", "identity"),
            ("Content-Type", "application/json"),
        ];
        if let Route::Forward(Proxy {
            authorization: Some(authorization),
            ..
        }) = &self.route
        {
            fields.push(("Proxy-Authorization", authorization));
        }
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in of_api.iter().copied().chain(headers) {
            let bad_name = name.is_empty() || !name.bytes().all(is_token_byte);
            let bad_value = value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f);
            if bad_name || bad_value {
                return Err(TargetError::Header(name.to_owned()));
            }
            fields.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            fields.push((name, value));
        }
        for (name, value) in fields {
            // we set the length ourselves
            if name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
            {
                continue;
            }
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        Ok(head)
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
