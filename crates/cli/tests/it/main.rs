//! Black-box tests of the binary: what a person types, what then goes over the wire, what is
//! shown, and what is written.
//!
//! A test has a folder of its own, servers of its own on free ports, and depends on no other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tables that a person may want to read")]

mod analysis;
mod apis;
mod capacity;
mod command_line;
mod compare;
mod context;
mod conversation_results;
mod conversations;
mod conversations_data;
mod counts;
mod crash;
mod datasets;
mod declared_examples;
mod doc_links;
mod doc_messages;
mod docs;
mod endings;
mod event_apis;
mod exit_codes;
mod export;
mod export_tables;
mod faults;
mod first_guess;
mod handoff;
mod html_report;
mod hub;
mod input_apis;
#[cfg(unix)]
mod interrupt;
mod load;
#[cfg(unix)]
mod local_server;
mod main_job;
mod metrics;
mod mixed;
mod open_loop;
#[cfg(unix)]
mod plugins;
#[cfg(unix)]
mod preflight;
mod progress_lines;
mod proxy;
mod random;
mod recipes;
mod repeats;
mod rules;
#[cfg(unix)]
mod secrets;
mod server;
#[cfg(unix)]
mod shards;
mod simulator;
#[cfg(unix)]
mod supervise;
mod tables;
mod tls;
mod tokenizer;
mod traces;
mod trackers;
mod verdicts;
mod wire;
mod wrong_inputs;
