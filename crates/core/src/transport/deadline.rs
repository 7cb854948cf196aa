//! Owns the time limits of one request: when it must have reached which stage, and how long the
//! peer may be silent meanwhile.
//!
//! It must not know what is being waited for, only which stage a request is in. All limits are
//! moments, fixed when the request is dispatched: no stage can restart a limit.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use super::error::TransportError;
use super::socket::ReadContext;
use evalscope_model::record::FailureKind;
use evalscope_model::time::Timestamp;

/// Timeouts of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// To make a connection: name, TCP, proxy and TLS together. Two minutes by default.
    pub connect: Option<Duration>,
    /// Silence: between two reads of a response, of a TLS handshake or of a proxy's response, and
    /// while sending, between two moments at which the peer accepts more of the request.
    pub read: Option<Duration>,
    /// For the whole request, from its dispatch to its end.
    pub total: Option<Duration>,
}

/// How long making a connection may take without `--connect-timeout`. The kernel gives up on a TCP
/// connection after about 130 s; a proxy or a TLS server that sends nothing, or a byte a minute,
/// would be waited for forever.
const CONNECT_LIMIT: Duration = Duration::from_mins(2);

/// The runtime's timers have a resolution of one millisecond.
const RESOLUTION: Duration = Duration::from_millis(1);

/// No wait is longer than this without a look at the clock.
const FAR: Duration = Duration::from_hours(24);

/// The stage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Name lookup and TCP connection: there is no peer yet that could be silent.
    Connect,
    /// Waiting for the proxy's response to `CONNECT`.
    Tunnel,
    /// The TLS handshake.
    Handshake,
    /// The request is being sent.
    Upload,
    /// The response is awaited or being received.
    Answer,
}

/// The limits of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    timeouts: Timeouts,
    connect: Timestamp,
    total: Option<Timestamp>,
}

impl Deadline {
    /// The limits of a request dispatched at this moment.
    pub(super) fn new(timeouts: Timeouts, dispatched: Timestamp) -> Self {
        Self {
            timeouts,
            connect: dispatched.after(timeouts.connect.unwrap_or(CONNECT_LIMIT)),
            total: timeouts.total.map(|total| dispatched.after(total)),
        }
    }

    /// The first limit to expire if nothing moves after `moved`.
    fn first(&self, stage: Stage, moved: Timestamp) -> Option<(Timestamp, FailureKind)> {
        let total = self.total.map(|at| (at, FailureKind::TotalTimeout));
        let connecting = matches!(stage, Stage::Connect | Stage::Tunnel | Stage::Handshake);
        let connect = connecting.then_some((self.connect, FailureKind::ConnectTimeout));
        let silence = self
            .timeouts
            .read
            .filter(|_| stage != Stage::Connect)
            .map(|read| (moved.after(read), FailureKind::ReadTimeout));
        // on a tie, the first: the limit of the whole takes precedence over those of its parts
        [total, connect, silence]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// When to check the limits again if nothing moves after `moved`.
    pub(super) fn look_at(&self, stage: Stage, moved: Timestamp) -> Timestamp {
        self.first(stage, moved)
            .map_or_else(|| moved.after(FAR), |(at, _)| at)
    }

    /// The failure of a request that exceeded a limit.
    pub(super) fn failure(
        &self,
        stage: Stage,
        now: Timestamp,
        moved: Timestamp,
    ) -> Option<TransportError> {
        let (_, kind) = self.first(stage, moved).filter(|(at, _)| *at <= now)?;
        let seconds = |limit: Option<Duration>| limit.unwrap_or(CONNECT_LIMIT).as_secs_f64();
        let message = match kind {
            FailureKind::TotalTimeout => {
                format!("not finished within {} s", seconds(self.timeouts.total))
            }
            FailureKind::ConnectTimeout => {
                format!("no connection within {} s", seconds(self.timeouts.connect))
            }
            _ => {
                let read = seconds(self.timeouts.read);
                match stage {
                    Stage::Upload => {
                        format!("the server accepted no more of the request for {read} s")
                    }
                    Stage::Tunnel => format!("nothing arrived from the proxy for {read} s"),
                    Stage::Handshake => {
                        format!("nothing arrived for {read} s during the TLS handshake")
                    }
                    Stage::Connect | Stage::Answer => format!("nothing arrived for {read} s"),
                }
            }
        };
        Some(TransportError::new(kind, message))
    }

    /// Run a future within the limits of a stage. `moved` returns when the peer last moved; it is
    /// only asked when a limit seems to have expired.
    pub(super) async fn hold<T>(
        &self,
        context: &ReadContext,
        stage: Stage,
        moved: &Cell<Timestamp>,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        tokio::pin!(work);
        let timer = tokio::time::sleep(wait(context.now(), self.look_at(stage, moved.get())));
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = &mut timer => {}
            }
            let now = context.now();
            if let Some(failure) = self.failure(stage, now, moved.get()) {
                return Err(failure);
            }
            let again = wait(now, self.look_at(stage, moved.get()));
            timer.as_mut().reset(tokio::time::Instant::now() + again);
        }
    }
}

/// How long to sleep to wake just after a moment.
pub(super) fn wait(now: Timestamp, at: Timestamp) -> Duration {
    at.since(now) + RESOLUTION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn limits(connect: u64, read: u64, total: u64) -> Deadline {
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let timeouts = Timeouts {
            connect: limit(connect),
            read: limit(read),
            total: limit(total),
        };
        Deadline::new(timeouts, at(1000))
    }

    fn kind(deadline: &Deadline, stage: Stage, now: u64, moved: u64) -> Option<FailureKind> {
        let failure = deadline.failure(stage, at(now), at(moved))?;
        Some(failure.kind)
    }

    #[test]
    fn each_stage_has_its_limits() {
        let all = limits(500, 200, 900);
        assert_eq!(kind(&all, Stage::Connect, 1499, 1000), None);
        let connect = Some(FailureKind::ConnectTimeout);
        let read = Some(FailureKind::ReadTimeout);
        let total = Some(FailureKind::TotalTimeout);
        assert_eq!(kind(&all, Stage::Connect, 1500, 1000), connect);
        assert_eq!(kind(&all, Stage::Handshake, 1500, 1400), connect);
        for stage in [Stage::Tunnel, Stage::Handshake] {
            assert_eq!(kind(&all, stage, 1200, 1000), read, "{stage:?}");
        }
        for stage in [Stage::Upload, Stage::Answer] {
            assert_eq!(kind(&all, stage, 1799, 1600), None);
            assert_eq!(kind(&all, stage, 1800, 1600), read);
            assert_eq!(kind(&all, stage, 1900, 1800), total);
        }
    }

    #[test]
    fn what_is_left_of_the_total_bounds_the_connection() {
        let short = limits(8000, 0, 2000);
        assert_eq!(
            kind(&short, Stage::Connect, 3000, 1000),
            Some(FailureKind::TotalTimeout)
        );
    }

    #[test]
    fn a_connection_has_a_limit_even_if_none_is_given() {
        let none = limits(0, 0, 0);
        for stage in [Stage::Connect, Stage::Tunnel, Stage::Handshake] {
            let failure = none.failure(stage, at(121_000), at(120_900)).unwrap();
            assert_eq!(failure.message, "no connection within 120 s");
        }
        assert_eq!(kind(&none, Stage::Answer, u64::MAX / 2_000_000, 0), None);
    }
}
