//! Owns the process: arguments in, exit code out.

mod env;

mod console;
mod secrets;

mod caller;
mod failure;

mod catalog;
mod log;
mod signals;
mod wait;

mod flags;
mod plugins;

mod observers;
mod served;
mod sources;

mod resolve;

mod requests;
mod results;
mod stages;

mod perf;
mod selftest;

mod commands;

fn main() -> std::process::ExitCode {
    match commands::parse(std::env::args_os()) {
        Ok(command) => failure::report(command.run()),
        Err(exit) => exit,
    }
}
