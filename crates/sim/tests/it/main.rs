//! Talks to the simulated server over plain sockets and looks at the raw bytes.

mod agents;
mod answers;
mod cache;
mod client;
mod faults;
mod oddities;
mod received;
mod slots;
mod truth;
