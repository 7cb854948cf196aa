//! Fetches from loopback servers that speak like the hubs, with everything that can go wrong.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end with a panic"
)]

mod caches;
mod download;
mod errors;
mod listing;
mod scene;
mod secrets;
mod stub;
mod tls;
