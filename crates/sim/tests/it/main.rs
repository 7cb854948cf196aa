//! Talks to the simulated server over plain sockets and looks at the raw bytes.

mod answers;
mod client;
mod faults;
mod oddities;
mod received;
mod slots;
mod truth;
