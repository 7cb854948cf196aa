//! Owns the process: arguments in, exit code out.

mod argparse;
mod args;
mod bodies;
mod caller;
mod choices;
mod command_line;
mod console;
mod declared;
mod disk;
mod doubts;
mod export;
mod failure;
mod fetch;
mod folder;
mod host;
mod log;
mod mistakes;
mod models;
mod observers;
mod perf;
mod plugins;
mod preflight;
mod report;
mod resolve;
mod scheme;
mod secrets;
mod served;
mod settings;
mod signals;
mod sim;
mod simulator;
mod sources;
mod stages;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(command) => failure::report(command.run()),
        Err(exit) => exit,
    }
}
