//! Owns the addresses of one name: looking them up, caching them, and rotating through them.
//!
//! It must not know what is sent there. All receive threads share one instance: however many
//! connections are made at once, only one thread at a time queries the system, and a connection
//! costs one lock.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::error::plain;
use evalscope_model::time::monotonic_ns;

const SECOND_NS: u64 = 1_000_000_000;

/// How long addresses are used before they are looked up again; the old ones are used until the new
/// ones arrive. Short enough to follow a service that moves, long enough to spare the name server.
const KEEP_NS: u64 = 60 * SECOND_NS;

/// How long a failed lookup is remembered, and the minimum time between two lookups.
const RETRY_NS: u64 = SECOND_NS;

/// How long an address that failed to connect is tried last.
const REST_NS: u64 = 10 * SECOND_NS;

/// Looks up the addresses of a name; blocks.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The result of a lookup, once it has ended.
type Outcome = Option<Result<(), Arc<str>>>;

/// A name and its addresses.
pub(super) struct Name {
    host: String,
    port: u16,
    /// The name is itself an address.
    literal: Option<IpAddr>,
    lookup: Box<Lookup>,
    state: Mutex<State>,
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.shown()).finish()
    }
}

#[derive(Default)]
struct State {
    /// In the resolver's order; empty until a lookup has succeeded.
    addresses: Vec<IpAddr>,
    fresh_until_ns: u64,
    looked_up_at_ns: u64,
    /// Why there is no address, and until when this is cached.
    failure: Option<(Arc<str>, u64)>,
    /// The lookup in progress.
    under_way: Option<watch::Receiver<Outcome>>,
    /// Number of connections so far.
    turn: usize,
    /// Addresses that failed to connect, and until when they are tried last.
    resting: HashMap<IpAddr, u64>,
}

/// The state of the cache at a moment.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Fresh,
    /// To be used while a new lookup is running.
    Old,
    Failed(Arc<str>),
    Nothing,
}

impl Name {
    /// A name to be resolved by the system.
    pub(super) fn new(host: &str, port: u16) -> Arc<Self> {
        Self::with_lookup(host, port, |host| {
            // getaddrinfo: the port does not matter
            let found = (host, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    fn with_lookup(
        host: &str,
        port: u16,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            host: host.to_owned(),
            port,
            literal: host.parse().ok(),
            lookup: Box::new(lookup),
            state: Mutex::default(),
        })
    }

    /// Host and port, for display.
    pub(super) fn shown(&self) -> String {
        authority(&self.host, self.port)
    }

    /// The addresses to connect to, in this order.
    ///
    /// # Errors
    /// The reason why there is no address.
    ///
    /// # Cancel safety
    /// A lookup in progress continues and serves later callers.
    pub(super) async fn addresses(self: &Arc<Self>) -> Result<Vec<SocketAddr>, String> {
        if let Some(ip) = self.literal {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let mut ended = {
            let mut state = self.state();
            let now = monotonic_ns();
            match state.known(now) {
                Known::Fresh => return Ok(self.with_port(state.order(now))),
                Known::Old => {
                    // a refresh that cannot start now is retried at the next connection
                    let _ = self.look_up(&mut state);
                    return Ok(self.with_port(state.order(now)));
                }
                Known::Failed(reason) => return Err(reason.to_string()),
                Known::Nothing => self.look_up(&mut state)?,
            }
        };
        let outcome = ended.wait_for(Option::is_some).await;
        match outcome.as_deref() {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(reason))) => return Err(reason.to_string()),
            Ok(None) | Err(_) => return Err("the lookup was aborted".to_owned()),
        }
        Ok(self.with_port(self.state().order(monotonic_ns())))
    }

    /// Record a connection attempt: the addresses that failed or were too slow, and the one that
    /// connected, if any.
    pub(super) fn tried(&self, failed: &[SocketAddr], connected: Option<SocketAddr>) {
        if self.literal.is_some() {
            return;
        }
        let failed = failed.iter().map(SocketAddr::ip);
        let connected = connected.map(|address| address.ip());
        self.state().tried(monotonic_ns(), failed, connected);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // every change to the state is complete
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_port(&self, addresses: Vec<IpAddr>) -> Vec<SocketAddr> {
        let port = self.port;
        addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect()
    }

    /// Start a lookup, or join the one in progress.
    fn look_up(self: &Arc<Self>, state: &mut State) -> Result<watch::Receiver<Outcome>, String> {
        // a lookup whose thread ended without a result is no longer in progress
        if let Some(under_way) = &state.under_way
            && under_way.has_changed().is_ok()
        {
            return Ok(under_way.clone());
        }
        let (ended, under_way) = watch::channel(None);
        let name = Arc::clone(self);
        // not on the runtime's blocking threads: shutting it down would wait for a name server that
        // does not respond
        std::thread::Builder::new()
            .name("evalscope-names".to_owned())
            .spawn(move || {
                let found = (name.lookup)(&name.host);
                let outcome = name.state().learn(monotonic_ns(), found);
                ended.send_replace(Some(outcome));
            })
            .map_err(|error| format!("no thread for the lookup: {}", plain(&error)))?;
        state.under_way = Some(under_way.clone());
        Ok(under_way)
    }
}

impl State {
    fn known(&self, now: u64) -> Known {
        if !self.addresses.is_empty() {
            return if now < self.fresh_until_ns {
                Known::Fresh
            } else {
                Known::Old
            };
        }
        match &self.failure {
            Some((reason, until)) if now < *until => Known::Failed(Arc::clone(reason)),
            _ => Known::Nothing,
        }
    }

    /// Store the result of a lookup.
    fn learn(&mut self, now: u64, found: io::Result<Vec<IpAddr>>) -> Result<(), Arc<str>> {
        self.under_way = None;
        self.looked_up_at_ns = now;
        let found = found.map_err(|error| plain(&error)).and_then(|found| {
            if found.is_empty() {
                return Err("it has no address".to_owned());
            }
            Ok(found)
        });
        match found {
            Ok(found) => {
                self.addresses.clear();
                for ip in found {
                    if !self.addresses.contains(&ip) {
                        self.addresses.push(ip);
                    }
                }
                self.resting.retain(|ip, _| self.addresses.contains(ip));
                self.fresh_until_ns = now + KEEP_NS;
                self.failure = None;
                Ok(())
            }
            // keep using the known addresses
            Err(_) if !self.addresses.is_empty() => {
                self.fresh_until_ns = now + RETRY_NS;
                Ok(())
            }
            Err(reason) => {
                let reason: Arc<str> = reason.into();
                self.failure = Some((Arc::clone(&reason), now + RETRY_NS));
                Err(reason)
            }
        }
    }

    /// All addresses, in the order in which this connection tries them: each family in rotation, the
    /// two interleaved (RFC 8305, section 4) starting with the one the system prefers (RFC 6724), and
    /// last those that failed recently.
    fn order(&mut self, now: u64) -> Vec<IpAddr> {
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        self.resting.retain(|_, until| now < *until);
        let (rested, resting): (Vec<IpAddr>, Vec<IpAddr>) = self
            .addresses
            .iter()
            .partition(|ip| !self.resting.contains_key(ip));
        let mut order = interleaved(&rested, turn);
        order.extend(interleaved(&resting, turn));
        order
    }

    fn tried(&mut self, now: u64, failed: impl Iterator<Item = IpAddr>, connected: Option<IpAddr>) {
        for ip in failed {
            self.resting.insert(ip, now + REST_NS);
        }
        if let Some(ip) = connected {
            self.resting.remove(&ip);
            return;
        }
        // all of them failed: the name may have moved
        let soonest = now.max(self.looked_up_at_ns + RETRY_NS);
        self.fresh_until_ns = self.fresh_until_ns.min(soonest);
    }
}

/// The families in turn, each rotated.
fn interleaved(addresses: &[IpAddr], turn: usize) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut a, mut b): (Vec<IpAddr>, Vec<IpAddr>) = addresses
        .iter()
        .copied()
        .partition(|ip| ip.is_ipv6() == first_is_v6);
    for family in [&mut a, &mut b] {
        if !family.is_empty() {
            let first = turn % family.len();
            family.rotate_left(first);
        }
    }
    let mut order = Vec::with_capacity(addresses.len());
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    loop {
        let pair = [a.next(), b.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

/// Host and port as written in a URL.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| ip(text)).collect()
    }

    fn known(texts: &[&str]) -> State {
        let mut state = State::default();
        state.learn(0, Ok(ips(texts))).unwrap();
        state
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn families_take_turns() {
        let mut state = known(&["::1", "::2", "1.1.1.1", "1.1.1.2", "::1"]);
        assert_eq!(state.order(1), ips(&["::1", "1.1.1.1", "::2", "1.1.1.2"]));
        assert_eq!(state.order(1), ips(&["::2", "1.1.1.2", "::1", "1.1.1.1"]));
    }

    #[test]
    fn addresses_take_turns_and_each_has_its_share() {
        let mut state = known(&["1.1.1.1", "1.1.1.2", "1.1.1.3"]);
        let mut first: HashMap<IpAddr, usize> = HashMap::new();
        for _ in 0..300 {
            let order = state.order(1);
            assert_eq!(order.len(), 3);
            *first.entry(order[0]).or_default() += 1;
        }
        assert_eq!(first.into_values().collect::<Vec<_>>(), [100, 100, 100]);
    }

    #[test]
    fn an_address_that_failed_goes_last_for_a_while() {
        let mut state = known(&["1.1.1.1", "1.1.1.2", "1.1.1.3"]);
        let now = SECOND_NS;
        state.tried(now, [ip("1.1.1.2")].into_iter(), Some(ip("1.1.1.3")));
        for _ in 0..9 {
            assert_eq!(state.order(now + REST_NS - 1)[2], ip("1.1.1.2"));
        }
        let orders: Vec<_> = (0..3).map(|_| state.order(now + REST_NS)[0]).collect();
        assert!(orders.contains(&ip("1.1.1.2")));
        // one that connects again is no longer tried last
        state.tried(now, [ip("1.1.1.1")].into_iter(), Some(ip("1.1.1.2")));
        state.tried(now, [].into_iter(), Some(ip("1.1.1.1")));
        assert!(state.resting.is_empty());
    }

    #[test]
    fn addresses_are_kept_and_used_when_the_refresh_fails() {
        let mut state = known(&["1.1.1.1"]);
        assert_eq!(state.known(KEEP_NS - 1), Known::Fresh);
        assert_eq!(state.known(KEEP_NS), Known::Old);
        let failed = || Err(io::Error::other("server failure"));
        state.learn(KEEP_NS, failed()).unwrap();
        assert_eq!(state.known(KEEP_NS), Known::Fresh);
        assert_eq!(state.known(KEEP_NS + RETRY_NS), Known::Old);
        assert_eq!(state.order(KEEP_NS + RETRY_NS), ips(&["1.1.1.1"]));
        state.learn(2 * KEEP_NS, Ok(ips(&["1.1.1.9"]))).unwrap();
        assert_eq!(state.order(2 * KEEP_NS), ips(&["1.1.1.9"]));
    }

    #[test]
    fn a_name_whose_addresses_all_fail_is_looked_up_again() {
        let mut state = known(&["1.1.1.1"]);
        state.tried(1, [ip("1.1.1.1")].into_iter(), None);
        assert_eq!(state.known(RETRY_NS - 1), Known::Fresh, "not at once");
        assert_eq!(state.known(RETRY_NS), Known::Old);
    }

    #[test]
    fn a_failure_is_believed_for_a_second_at_most() {
        let mut state = State::default();
        let found = state.learn(5, Err(io::Error::other("no such host")));
        assert_eq!(&*found.unwrap_err(), "no such host");
        assert!(matches!(state.known(4 + RETRY_NS), Known::Failed(_)));
        assert_eq!(state.known(5 + RETRY_NS), Known::Nothing);
        let none = state.learn(5, Ok(Vec::new()));
        assert_eq!(&*none.unwrap_err(), "it has no address");
    }

    #[test]
    fn all_threads_wait_for_one_lookup() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, answers) = channel::<()>();
        let answers = Mutex::new(answers);
        let counted = Arc::clone(&asked);
        let name = Name::with_lookup("model.invalid", 80, move |host| {
            assert_eq!(host, "model.invalid");
            counted.fetch_add(1, Ordering::Relaxed);
            answers.lock().unwrap().recv().unwrap();
            Ok(ips(&["10.0.0.1", "10.0.0.2"]))
        });
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let name = Arc::clone(&name);
                std::thread::spawn(move || {
                    runtime().block_on(async {
                        let mut asking = tokio::task::JoinSet::new();
                        for _ in 0..50 {
                            let name = Arc::clone(&name);
                            asking.spawn(async move { name.addresses().await.unwrap()[0] });
                        }
                        asking.join_all().await
                    })
                })
            })
            .collect();
        answer.send(()).unwrap();
        let firsts: Vec<SocketAddr> = waiting
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let ones = firsts.iter().filter(|a| a.ip() == ip("10.0.0.1")).count();
        assert_eq!((firsts.len(), ones), (200, 100));
        assert!(firsts.iter().all(|address| address.port() == 80));
    }

    #[test]
    fn a_lookup_that_nobody_waits_for_any_more_serves_the_next() {
        let (answer, answers) = channel::<()>();
        let answers = Mutex::new(answers);
        let name = Name::with_lookup("model.invalid", 80, move |_| {
            answers.lock().unwrap().recv().unwrap();
            Ok(ips(&["10.0.0.1"]))
        });
        runtime().block_on(async {
            let limit = std::time::Duration::from_millis(5);
            let given_up = tokio::time::timeout(limit, name.addresses()).await;
            assert!(given_up.is_err());
            answer.send(()).unwrap();
            assert_eq!(name.addresses().await.unwrap()[0].ip(), ip("10.0.0.1"));
        });
    }

    #[test]
    fn a_lookup_that_falls_over_fails_and_the_next_one_begins() {
        let fallen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fallen);
        let name = Name::with_lookup("model.invalid", 80, move |_| {
            assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
            Ok(ips(&["10.0.0.1"]))
        });
        runtime().block_on(async {
            let error = name.addresses().await.unwrap_err();
            assert_eq!(error, "the lookup was aborted");
            assert_eq!(name.addresses().await.unwrap().len(), 1);
        });
    }

    #[test]
    fn an_address_needs_no_lookup() {
        for host in ["127.0.0.1", "::1"] {
            let name = Name::with_lookup(host, 1, |_| panic!("not asked"));
            let addresses = runtime().block_on(name.addresses()).unwrap();
            assert_eq!(addresses, [SocketAddr::new(ip(host), 1)]);
        }
        assert_eq!(Name::new("::1", 8901).shown(), "[::1]:8901");
    }
}
