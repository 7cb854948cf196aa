//! Owns the test request before the load: it finds a wrong URL, key or model in
//! seconds, or a declaration that finds no text, waits a little for a server that is
//! still starting, and learns whether the server takes `stream_options`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evalscope_core::engine::{HttpTransport, Probe, RunControl, probe};
use evalscope_core::protocol::Doubt;
use evalscope_core::protocol::openai::clip;
use evalscope_core::record::{Bodies, Exchange, FailureKind, RecordBodies, masked};
use evalscope_core::transport::Reuse;
use serde_json::{Map, Value};
use url::Url;

use crate::bodies::Maker;
use crate::failure::hinted;
use crate::log::Log;

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the server may be silent over the test request.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);

/// When the person hears that it is waited for.
const WORD_AFTER: Duration = Duration::from_secs(3);

/// How often the person hears how long it will be tried.
const COUNTDOWN: Duration = Duration::from_secs(3);

/// What the test request led to.
pub(crate) enum Checked {
    /// The server answers, and treats connections like this.
    Ready(Reuse),
    /// The server sends us to another URL of the same host.
    Moved(Url),
    /// The person stopped it.
    Stopped,
}

/// Send a small request. `maker` loses `stream_options` where the server does
/// not take them.
pub(crate) fn check(
    maker: &mut Maker,
    url: &Url,
    transport: &HttpTransport,
    control: &RunControl,
    log: &Log,
) -> anyhow::Result<Checked> {
    let clock = &transport.clock;
    let started = clock.now();
    let mut next_word = Duration::ZERO;
    let patience = transport.timeouts.total.unwrap_or(PATIENCE).min(PATIENCE);
    loop {
        let tested = send(maker, transport, control, log)?;
        let exchange = &tested.exchange;
        if control.stop.is_cancelled() {
            return Ok(Checked::Stopped);
        }
        let Some(failure) = &exchange.record.failure else {
            return tested.ready(log);
        };
        if matches!(failure.kind, FailureKind::Status(400 | 422))
            && let Some(without) = maker.without_usage()
            && maker.test_request()?.stream
        {
            let retried = send(&without, transport, control, log)?;
            if retried.exchange.record.succeeded() {
                log.warn(
                    "the server refuses `stream_options`: it is left out, so output tokens may be \
                     counted from events",
                );
                *maker = without;
                return retried.ready(log);
            }
        }
        if let Some(moved) = moved(failure.kind, url, exchange.bodies.location.as_deref()) {
            return Ok(Checked::Moved(moved));
        }
        let waited = clock.now().since(started);
        if !is_passing(failure.kind) || waited >= patience {
            return Err(refusal(&tested, waited));
        }
        let left = patience.saturating_sub(waited);
        if waited >= next_word {
            next_word = waited + COUNTDOWN;
            log.info(&format!(
                "{}; the server may still be starting: trying for {} s more",
                failure.message,
                left.as_secs().max(1)
            ));
        }
        let until = clock.now().after(PAUSE.min(left));
        while clock.now() < until {
            if control.stop.is_cancelled() {
                return Ok(Checked::Stopped);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// The test request and what came of it.
struct Tested {
    exchange: Exchange,
    reuse: Reuse,
    /// The first line of the answer, where a stream was asked for and came as JSON
    /// lines.
    json_lines: Option<String>,
    /// What is doubtful about how it was read.
    doubt: Option<Doubt>,
}

impl Tested {
    /// The server answers; whether anything can be made of it.
    fn ready(&self, log: &Log) -> anyhow::Result<Checked> {
        if let Some(error) = self.no_text() {
            return Err(error);
        }
        if self.reuse == Reuse::Never {
            log.info(
                "the server closes each connection after its answer: every request opens its own",
            );
        }
        if self.json_lines.is_some() {
            log.warn(&format!("{JSON_LINES}: answers have no TTFT, TPOT and ITL"));
        }
        Ok(Checked::Ready(self.reuse))
    }

    /// Text was generated, and nothing stands where it is said to. An empty text there
    /// is enough: the answer is short, and its tokens may have none.
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
                "`text` and `reasoning` in `[{section}]` say where it stands (docs/custom-api.md); \
                 `--no-test-connection` starts without this test"
            ),
        ))
    }
}

/// What is said of such an answer.
const JSON_LINES: &str = "the answer is a stream of JSON lines (NDJSON), which is not read as a stream: only \
     server-sent events (text/event-stream) are";

fn send(
    maker: &Maker,
    transport: &HttpTransport,
    control: &RunControl,
    log: &Log,
) -> anyhow::Result<Tested> {
    let request = maker.test_request()?;
    let stream = request.stream;
    // a server that is silent must not hold the command for hours
    let mut transport = transport.clone();
    let read = transport.timeouts.read.unwrap_or(ANSWER_LIMIT);
    transport.timeouts.read = Some(read.min(ANSWER_LIMIT));
    // it is looked at here, whatever is kept of the others
    transport.record_bodies = RecordBodies::All;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let word = scope.spawn(|| {
            std::thread::park_timeout(WORD_AFTER);
            if !done.load(Ordering::Acquire) {
                log.info(
                    "waiting for the answer to the test request (`--no-test-connection` leaves it out)",
                );
            }
        });
        let probed = probe(request, &transport, &control.stop);
        done.store(true, Ordering::Release);
        word.thread().unpark();
        let Probe { exchange, reuse } = probed?;
        let json_lines = (stream && !exchange.record.streamed)
            .then(|| first_of_json_lines(&exchange.bodies))
            .flatten();
        let mut doubt = transport.api.doubt();
        if let Some(Doubt::TextNowhere { instead, .. }) = &mut doubt {
            for said in instead {
                *said = masked(said, &transport.secrets);
            }
        }
        Ok(Tested {
            exchange,
            reuse,
            json_lines,
            doubt,
        })
    })
}

/// The first line of a whole answer, if it and the next are objects of their own.
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

/// Where a redirect leads, if that is the same host: another one may not be
/// given the key and the load.
fn moved(kind: FailureKind, url: &Url, location: Option<&str>) -> Option<Url> {
    let FailureKind::Status(301 | 302 | 307 | 308) = kind else {
        return None;
    };
    let to = url.join(location?).ok()?;
    // never from https to http: the key would travel in clear
    let safe = to.scheme() == url.scheme() || to.scheme() == "https";
    let same_host = to.host() == url.host() && safe;
    (same_host && to != *url).then_some(to)
}

/// Whether trying again a little later makes sense.
fn is_passing(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Connect
            | FailureKind::ConnectTimeout
            | FailureKind::Reset
            | FailureKind::Status(502..=504)
    )
}

fn refusal(tested: &Tested, waited: Duration) -> anyhow::Error {
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
            "give the address of an endpoint that sends those, such as /v1/chat/completions of Ollama; \
             `--no-stream` asks for whole answers",
        );
    }
    let hint = match failure.kind {
        FailureKind::Status(401 | 403) => "check `--api-key` or `--headers`",
        FailureKind::Status(404) => "check the path of `--url` and the name in `--model`",
        FailureKind::Status(400 | 422) => {
            "the server refuses a field: `--extra-args '{\"field\": null}'` leaves one out"
        }
        FailureKind::Status(429) => "the server limits the rate: wait, or use another key",
        FailureKind::Status(300..=399) => "give the URL that the server redirects to",
        FailureKind::Connect | FailureKind::ConnectTimeout | FailureKind::Dns => {
            "check host and port of `--url`, and that the server runs"
        }
        FailureKind::Tls => "`--ca-cert FILE` trusts a certificate of your own, `--insecure` any",
        FailureKind::Malformed => "is this an endpoint of the API in `--api`?",
        _ => "`--no-test-connection` starts without this test",
    };
    let mut message = format!("the test request failed: {}", failure.message);
    if waited >= PAUSE {
        message = format!("{message} (tried for {} s)", waited.as_secs());
    }
    let body = String::from_utf8_lossy(&exchange.bodies.error_excerpt);
    let body = body.trim();
    if !body.is_empty() && !message.contains(body) {
        message = format!("{message}\n  the server said: {body}");
    }
    hinted(message, hint)
}
