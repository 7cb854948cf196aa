//! Owns the test request before the load: it finds a wrong URL, key or model in
//! seconds, waits a little for a server that is still starting, and learns
//! whether the server takes `stream_options`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evalscope_core::engine::{HttpTransport, Probe, RunControl, probe};
use evalscope_core::record::{Exchange, FailureKind};
use evalscope_core::transport::Reuse;
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
        let Probe { exchange, reuse } = send(maker, transport, control, log)?;
        if control.stop.is_cancelled() {
            return Ok(Checked::Stopped);
        }
        let Some(failure) = &exchange.record.failure else {
            if reuse == Reuse::Never {
                log.info(
                    "the server closes each connection after its answer: every request opens its own",
                );
            }
            return Ok(Checked::Ready(reuse));
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
                return Ok(Checked::Ready(retried.reuse));
            }
        }
        if let Some(moved) = moved(failure.kind, url, exchange.bodies.location.as_deref()) {
            return Ok(Checked::Moved(moved));
        }
        let waited = clock.now().since(started);
        if !is_passing(failure.kind) || waited >= patience {
            return Err(refusal(&exchange, waited));
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

fn send(
    maker: &Maker,
    transport: &HttpTransport,
    control: &RunControl,
    log: &Log,
) -> anyhow::Result<Probe> {
    let request = maker.test_request()?;
    // a server that is silent must not hold the command for hours
    let mut transport = transport.clone();
    let read = transport.timeouts.read.unwrap_or(ANSWER_LIMIT);
    transport.timeouts.read = Some(read.min(ANSWER_LIMIT));
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
        Ok(probed?)
    })
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

fn refusal(exchange: &Exchange, waited: Duration) -> anyhow::Error {
    let failure = exchange
        .record
        .failure
        .as_ref()
        .expect("only a failed test is refused");
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
