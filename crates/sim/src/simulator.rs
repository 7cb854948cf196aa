//! Owns a simulated server that runs inside the process of its caller.
//!
//! It must not know how a server works.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::PoisonError;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use crate::config::SimConfig;
use crate::error::SimError;
use crate::prepared::Prepared;
use crate::server::{Observed, bind, runtime, serve_observed};
use crate::truth::{Totals, Truth};

/// A server on its own threads, on a free port of the loopback interface, for tests and for
/// programs that check a client against the truth in their own process.
///
/// [`Simulator::start`] returns when it accepts connections at [`Simulator::addr`]. Its truth goes
/// to a file with [`SimConfig::truth_log`], and stays in memory with [`SimConfig::keeps_truth`]:
/// [`Simulator::truth`] has the requests that have ended, and [`Simulator::stop`] all of them. It
/// stops when it is dropped, too.
///
/// ```
/// use evalscope_sim::{SimConfig, Simulator};
///
/// # fn main() -> Result<(), evalscope_sim::SimError> {
/// let simulator = Simulator::start(SimConfig {
///     keeps_truth: true,
///     ..SimConfig::default()
/// })?;
/// println!("send requests to {}", simulator.url());
/// let truth = simulator.stop()?;
/// assert_eq!(truth.requests.len(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    observed: Observed,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<Result<Totals, SimError>>>,
}

impl Simulator {
    /// Start a server; it accepts connections when this returns.
    ///
    /// # Errors
    /// If the settings are invalid, or a port, a thread or the truth log is not available.
    pub fn start(config: SimConfig) -> Result<Self, SimError> {
        let prepared = Prepared::new(config)?;
        if let Some(path) = &prepared.config.truth_log {
            // Fails here rather than in the thread, where the error would be lost.
            std::fs::File::create(path).map_err(|source| SimError::TruthLog {
                path: path.clone(),
                source,
            })?;
        }
        let runtime = runtime()?;
        let listener = {
            let _context = runtime.enter();
            bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?
        };
        let address = listener
            .local_addr()
            .map_err(|source| SimError::Thread { source })?;
        let observed = Observed::default();
        let shutdown = CancellationToken::new();
        let served = serve_observed(listener, prepared, shutdown.clone(), observed.clone());
        let thread = std::thread::Builder::new()
            .name("sim".to_owned())
            .spawn(move || runtime.block_on(served))
            .map_err(|source| SimError::Thread { source })?;
        Ok(Simulator {
            address,
            observed,
            shutdown,
            thread: Some(thread),
        })
    }

    /// The address of the server.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a path: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Number of requests to the generating endpoints accepted so far; also the sequence number of
    /// the latest.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.observed.served.totals().requests
    }

    /// The requests that have ended, with [`SimConfig::keeps_truth`]; otherwise none.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let kept = &self.observed.truth;
        Truth::new(kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Stop the server and complete the truth log. Returns the truth of all requests, with
    /// [`SimConfig::keeps_truth`]; otherwise of none.
    ///
    /// # Errors
    /// If the truth log could not be written.
    pub fn stop(mut self) -> Result<Truth, SimError> {
        self.join()?;
        let kept = &self.observed.truth;
        let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Truth::new(kept))
    }

    fn join(&mut self) -> Result<(), SimError> {
        self.shutdown.cancel();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome.map(drop),
            Some(Err(_)) => Err(SimError::Thread {
                source: io::Error::other("the server panicked"),
            }),
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // Callers interested in errors call `stop`.
        let _ = self.join();
    }
}
