//! Owns the test request before the load: it finds a wrong URL, key or model, or a declaration that
//! finds no text, within seconds; it waits a little for a server that is still starting, and learns
//! whether the server accepts `stream_options`.
//!
//! It must not know what the load will be.

use std::time::Duration;

use evalscope_core::engine::{HttpTransport, Probe, RunControl, probe};
use evalscope_core::protocol::openai::clip;
use evalscope_core::protocol::{Api, Doubt};
use evalscope_core::transport::Reuse;
use evalscope_model::record::{Bodies, Exchange, FailureKind, RecordBodies, masked};
use evalscope_report::console::telling_excerpt;
use serde_json::{Map, Value};
use url::Url;

use crate::failure::hinted;
use crate::log::Log;
use crate::secrets::shown_url;
use crate::wait;

use super::bodies::BodySource;
use super::{likeness, scheme};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the server may be silent during the test request.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);

/// When to report that the command is waiting.
const WORD_AFTER: Duration = Duration::from_secs(3);

/// How often to report the time left.
const COUNTDOWN: Duration = Duration::from_secs(3);

/// What the test request goes through, and who responds.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    /// The proxy in between, and the variable that names it.
    pub(crate) proxy: Option<(String, &'static str)>,
    /// The API.
    pub(crate) api: String,
    /// The API is a built-in one, neither declared in a file nor read by a plugin.
    pub(crate) known_api: bool,
    /// How long the server may take to start (`--wait-for-server`).
    pub(crate) wait: Option<Duration>,
    /// Secrets that a server may repeat.
    pub(crate) secrets: &'a [String],
}

/// What the test request led to.
pub(crate) enum Checked {
    /// The server responds, and treats connections like this.
    Ready(Reuse),
    /// The server redirects to another URL of the same origin.
    Moved(Url),
    /// The command was stopped.
    Stopped,
}

/// Send a small request. `bodies` loses `stream_options` where the server does
/// not take them.
pub(crate) fn check(
    bodies: &mut BodySource,
    url: &Url,
    way: &Way<'_>,
    transport: &HttpTransport,
    control: &RunControl,
    log: &Log,
) -> anyhow::Result<Checked> {
    let clock = &transport.clock;
    let started = clock.now();
    let mut next_word = Duration::ZERO;
    let patience = patience(way.wait, transport.timeouts.total);
    let mut scheme_asked = false;
    loop {
        let tested = send(bodies, way, transport, control, log)?;
        let exchange = &tested.exchange;
        if control.stop.is_cancelled() {
            return Ok(Checked::Stopped);
        }
        let Some(failure) = &exchange.record.failure else {
            return tested.ready(log);
        };
        // a proxy answers for the server, and has been told the scheme
        let may_ask = way.proxy.is_none() && failure.kind != FailureKind::Connect;
        let meant = (may_ask && !scheme_asked)
            .then(|| scheme::meant(url, &exchange.record, &exchange.bodies.error_excerpt));
        scheme_asked |= may_ask;
        if let Some(meant) = meant.flatten() {
            return Err(wrong_scheme(&failure.message, &meant));
        }
        if matches!(failure.kind, FailureKind::Status(400 | 422))
            && let Some(without) = bodies.without_usage()
            && bodies.test_request()?.stream
        {
            let retried = send(&without, way, transport, control, log)?;
            if retried.exchange.record.succeeded() {
                log.warn(
                    "the server rejects `stream_options`: requests are sent without it, so output tokens may be \
                     counted from events",
                );
                *bodies = without;
                return retried.ready(log);
            }
        }
        if let Some(to) = redirected(failure.kind, url, exchange.bodies.location.as_deref()) {
            return if to.origin() == url.origin() {
                Ok(Checked::Moved(to))
            } else {
                Err(sent_elsewhere(failure.kind, url, &to, way.secrets))
            };
        }
        let waited = clock.now().since(started);
        if !is_transient(failure.kind) || waited >= patience {
            return Err(refusal(&tested, way, waited));
        }
        let left = patience.saturating_sub(waited);
        if waited >= next_word {
            next_word = waited + COUNTDOWN;
            log.info(&format!(
                "{}; the server may still be starting: retrying for {} s more",
                failure.message,
                left.as_secs().max(1)
            ));
        }
        if wait::stopped_within(&control.stop, PAUSE.min(left)) {
            return Ok(Checked::Stopped);
        }
    }
}

/// The test request and what came of it.
struct Tested {
    exchange: Exchange,
    reuse: Reuse,
    /// The first line of the response, if a stream was requested and JSON lines came.
    json_lines: Option<String>,
    /// What is doubtful about how the response was read.
    doubt: Option<Doubt>,
    /// The response, if nothing was generated and nothing indicates that anything should have been.
    empty: Option<String>,
}

impl Tested {
    /// The server has responded; check that the response can be used.
    fn ready(&self, log: &Log) -> anyhow::Result<Checked> {
        if let Some(error) = self.no_text().or_else(|| self.no_output()) {
            return Err(error);
        }
        if self.reuse == Reuse::Never {
            log.info(
                "the server closes each connection after one response: every request opens a new one",
            );
        }
        if self.json_lines.is_some() {
            log.warn(&format!("{JSON_LINES}: there is no TTFT, TPOT or ITL"));
        }
        Ok(Checked::Ready(self.reuse))
    }

    /// The server has responded, but generated nothing: gateways do that when they reject a key.
    fn no_output(&self) -> Option<anyhow::Error> {
        let said = self.empty.as_ref()?;
        let said = if said.is_empty() {
            String::new()
        } else {
            format!("\n  the server said: {said}")
        };
        Some(hinted(
            format!(
                "the test request failed: the response has no text, no token counts and no \
                 finish_reason{said}"
            ),
            "check the message of the server, and that this is an endpoint of the API in `--api`; \
             `--no-test-connection` skips this test",
        ))
    }

    /// Text was generated, but the declared place has none. An empty text there is enough: the
    /// response is short, and its tokens may have no text.
    fn no_text(&self) -> Option<anyhow::Error> {
        let usage = &self.exchange.record.usage;
        let hidden = usage.reasoning_tokens.is_some_and(|tokens| tokens > 0);
        let Some(Doubt::TextNowhere {
            section, instead, ..
        }) = &self.doubt
        else {
            return None;
        };
        if hidden || usage.completion_tokens == Some(0) {
            return None;
        }
        Some(hinted(
            format!(
                "the test request failed: {}\n  the server sent: {}",
                self.doubt.as_ref()?,
                instead.join("\n                   ")
            ),
            format!(
                "set `text` and `reasoning` in `[{section}]` to where it is (docs/custom-api.md); \
                 `--no-test-connection` skips this test"
            ),
        ))
    }
}

const JSON_LINES: &str = "the response is a stream of JSON lines (NDJSON), not of server-sent events \
     (text/event-stream)";

/// The response of a built-in API, if nothing was generated, counted or finished in it.
fn empty_answer(exchange: &Exchange, api: &dyn Api) -> Option<String> {
    let Exchange { record, bodies } = exchange;
    let usage = &record.usage;
    let counts = [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
    ];
    let counted = counts.iter().flatten().any(|count| *count > 0)
        || record
            .finish_reason
            .as_ref()
            .is_some_and(|reason| !reason.is_empty());
    let has_output = record.inputs.is_none();
    if !has_output || !record.succeeded() || counted || record.events.tokens().next().is_some() {
        return None;
    }
    if record.streamed {
        return Some(clip(&bodies.final_event));
    }
    let mut body = Vec::new();
    bodies
        .responses
        .for_each(|text| body.extend_from_slice(text));
    (!api.reader().whole(&body).has_token()).then(|| clip(&body))
}

fn send(
    bodies: &BodySource,
    way: &Way<'_>,
    transport: &HttpTransport,
    control: &RunControl,
    log: &Log,
) -> anyhow::Result<Tested> {
    let request = bodies.test_request()?;
    let stream = request.stream;
    // a server that is silent must not hold the command for hours
    let mut transport = transport.clone();
    let limit = ANSWER_LIMIT.max(way.wait.unwrap_or_default());
    let read = transport.timeouts.read.unwrap_or(limit);
    transport.timeouts.read = Some(read.min(limit));
    // it is looked at here, whatever is kept of the others
    transport.record_bodies = RecordBodies::All;
    let say = || {
        log.info("waiting for the response to the test request (`--no-test-connection` skips it)");
    };
    let Probe { exchange, reuse } = wait::saying_after(WORD_AFTER, say, || {
        probe(request, &transport, way.secrets, &control.stop)
    })?;
    let json_lines = (stream && !exchange.record.streamed)
        .then(|| first_of_json_lines(&exchange.bodies))
        .flatten();
    let mut doubt = transport.api.doubt();
    if let Some(Doubt::TextNowhere { instead, .. }) = &mut doubt {
        for said in instead {
            *said = masked(said, way.secrets);
        }
    }
    let empty = way
        .known_api
        .then(|| empty_answer(&exchange, &*transport.api))
        .flatten();
    Ok(Tested {
        empty: empty.map(|said| masked(&said, way.secrets)),
        exchange,
        reuse,
        json_lines,
        doubt,
    })
}

/// The first line of a response, if it and the next are separate JSON objects.
/// Servers name such streams in several ways, and some not at all.
fn first_of_json_lines(bodies: &Bodies) -> Option<String> {
    let mut body = Vec::new();
    bodies
        .responses
        .for_each(|text| body.extend_from_slice(text));
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = lines.filter(|line| !line.is_empty());
    let (first, second) = (lines.next()?, lines.next()?);
    let is_object = |line| serde_json::from_slice::<Map<String, Value>>(line).is_ok();
    (is_object(first) && is_object(second)).then(|| clip(first))
}

/// Where a redirect leads that keeps the method.
fn redirected(kind: FailureKind, url: &Url, location: Option<&str>) -> Option<Url> {
    let FailureKind::Status(301 | 302 | 307 | 308) = kind else {
        return None;
    };
    let mut to = url.join(location?).ok()?;
    // the credentials are given here, not by the server
    let _ = to.set_username("");
    let _ = to.set_password(None);
    to.set_fragment(None);
    matches!(to.scheme(), "http" | "https").then_some(to)
}

/// Another scheme, host or port may belong to someone else, who must get neither the key nor the load.
fn sent_elsewhere(kind: FailureKind, from: &Url, to: &Url, secrets: &[String]) -> anyhow::Error {
    let status = match kind {
        FailureKind::Status(status) => status.to_string(),
        other => other.to_string(),
    };
    let shown = masked(&shown_url(to), secrets);
    hinted(
        format!(
            "the test request failed: status {status}: {} redirects to another origin, {shown}; \
             nothing was sent there, since it would get the key and the load",
            from.origin().ascii_serialization(),
        ),
        format!("if it is the right server, give `--url {shown}`"),
    )
}

fn wrong_scheme(message: &str, meant: &Url) -> anyhow::Error {
    let (is, shown) = (meant.scheme(), shown_url(meant));
    let does = if is == "https" {
        "speaks TLS"
    } else {
        "does not speak TLS"
    };
    hinted(
        format!("the test request failed: {message}"),
        format!("this port {does}: try `--url {shown}`"),
    )
}

/// How long to wait for a server: as asked, or long enough for one that is just starting.
pub(crate) fn patience(asked: Option<Duration>, total_timeout: Option<Duration>) -> Duration {
    asked.unwrap_or_else(|| total_timeout.unwrap_or(PATIENCE).min(PATIENCE))
}

/// Whether a retry a little later makes sense.
pub(crate) fn is_transient(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Connect
            | FailureKind::ConnectTimeout
            | FailureKind::Reset
            | FailureKind::Status(502..=504)
    )
}

/// Whether a proxy may have caused a failure.
fn is_of_proxy(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Connect
            | FailureKind::ConnectTimeout
            | FailureKind::Dns
            | FailureKind::Malformed
            | FailureKind::Proxy
            | FailureKind::ReadTimeout
            | FailureKind::Reset
            | FailureKind::Tls
            | FailureKind::Truncated
            | FailureKind::Status(403 | 407 | 502..=504)
    )
}

/// Whether an error of status 400 or 422 is about the model, by its text: certainly, or perhaps.
fn is_about_model(said: &str) -> Option<bool> {
    let said = said.to_ascii_lowercase();
    // Chinese providers say it in Chinese
    if !said.contains("model") && !said.contains("模型") {
        return None;
    }
    let surely = [
        "model_not_found",
        "model not found",
        "model not exist",
        "invalid model",
        "unknown model",
        "no such model",
        "unsupported model",
        "invalidmodel",
        "modelnotfound",
        "\"param\":\"model\"",
        "\"param\": \"model\"",
    ];
    let gone = [
        "does not exist",
        "doesn't exist",
        "not available",
        "not exist",
        "not found",
        "不存在",
    ];
    Some(surely.iter().chain(&gone).any(|words| said.contains(words)))
}

pub(crate) fn hint_of(kind: FailureKind, said: &str, way: &Way<'_>) -> String {
    const CERTIFICATE: &str = "`--ca-cert FILE` trusts your own certificate, `--insecure` any";
    const FIELD: &str =
        "the server rejects a field: `--extra-args '{\"field\": null}'` leaves one out";
    if let Some((proxy, variable)) = way.proxy.as_ref().filter(|_| is_of_proxy(kind)) {
        let through = format!(
            "requests go through the proxy {proxy}, set by the environment variable `{variable}`: check it; \
             `no_proxy=HOST` bypasses it"
        );
        return match kind {
            FailureKind::Status(403) => format!("check `--api-key` or `--headers`; {through}"),
            FailureKind::Tls => format!("{CERTIFICATE}; {through}"),
            FailureKind::Status(407) => format!(
                "the proxy {proxy} of `{variable}` requires a user and a password: \
                 {variable}=http://user:password@host:port"
            ),
            _ => through,
        };
    }
    let hint = match kind {
        FailureKind::Status(401 | 403) => "check `--api-key` or `--headers`",
        FailureKind::Status(404) => "check the path of `--url` and the name in `--model`",
        FailureKind::Status(400 | 422) => match is_about_model(said) {
            Some(true) => "check the name in `--model`: /v1/models lists the models of the server",
            Some(false) => return format!("check the name in `--model`; if {FIELD}"),
            None => FIELD,
        },
        FailureKind::Status(429) => "the server limits the request rate: wait, or use another key",
        FailureKind::Status(300..=399) => "give the URL that the server redirects to",
        FailureKind::Connect | FailureKind::ConnectTimeout | FailureKind::Dns => {
            "check the host and port in `--url`, and that the server is running; `--wait-for-server 5m` waits \
             for a server that is still starting"
        }
        FailureKind::Tls => CERTIFICATE,
        FailureKind::Malformed => "is this an endpoint of the API in `--api`?",
        _ => "`--no-test-connection` skips this test",
    };
    hint.to_owned()
}

fn refusal(tested: &Tested, way: &Way<'_>, waited: Duration) -> anyhow::Error {
    let exchange = &tested.exchange;
    let failure = exchange
        .record
        .failure
        .as_ref()
        .expect("only a failed test is refused");
    if failure.kind == FailureKind::Malformed
        && let Some(first) = &tested.json_lines
    {
        return hinted(
            format!("the test request failed: {JSON_LINES}\n  its first line: {first}"),
            "use an endpoint that sends server-sent events, such as /v1/chat/completions of Ollama; or declare \
             the API in a file with framing = \"ndjson\" (docs/examples/ollama.toml); or use `--no-stream`",
        );
    }
    let mut message = format!("the test request failed: {}", failure.message);
    if waited >= PAUSE {
        message = format!("{message} (retried for {} s)", waited.as_secs());
    }
    let said = String::from_utf8_lossy(&exchange.bodies.error_excerpt);
    let other = likeness::hint(failure.kind, &said, &way.api).filter(|_| way.known_api);
    let hint = other.unwrap_or_else(|| hint_of(failure.kind, &said, way));
    let telling = telling_excerpt(failure.kind, &said);
    if let Some(said) = telling.filter(|said| !message.contains(said)) {
        message = format!("{message}\n  the server said: {said}");
    }
    hinted(message, hint)
}
