//! Fetches from servers that speak as the hubs do, on loopback, with all that can go wrong.
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
