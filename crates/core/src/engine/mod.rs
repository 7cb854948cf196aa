//! Owns the run loop: it composes a schedule, a stop condition and a transport,
//! and tells a sink what happened. There is one loop, for every kind of load.
//!
//! ```text
//! dataset ─► bodies (a thread, ahead of the clock) ─► gate: load model, number, time limit
//!            ─► lanes: receiving threads, a task for each session ─► transport ─► records ─► sink
//! ```
//!
//! It must not know which sinks or screens exist, nor the command line.

mod answer;
mod budget;
mod clock;
mod collect;
mod dispatch;
mod end;
mod feed;
mod framer;
mod gate;
mod health;
mod http;
mod lane;
mod no_response;
mod pipeline;
mod probe;
mod progress;
mod run;
mod session;
mod shared;
mod urls;

use std::time::Duration;

pub use clock::{Clock, SystemClock};
pub use collect::Collector;
pub use dispatch::Dispatch;
pub use end::{Fault, RunEnd};
pub use feed::{Feed, FeedError};
pub use health::GaveUp;
pub use http::{HttpRequester, HttpTransport, Requester, Server, Transport};
pub use pipeline::{Pipeline, PipelineFault};
pub use probe::{Probe, probe};
pub use run::{Barrier, RunControl, RunOutcome, RunSetup, run};

/// How long requests in flight may go on after a stop.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);
