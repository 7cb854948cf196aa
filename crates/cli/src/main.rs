//! Owns the process: arguments in, exit code out.

mod args;
mod console;
mod failure;
mod fetch;
mod habits;
mod log;
mod perf;
mod preflight;
mod progress;
mod report;
mod resolve;
mod secrets;
mod settings;
mod sim;
mod simulator;
mod sources;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(command) => failure::report(command.run()),
        Err(exit) => exit,
    }
}
