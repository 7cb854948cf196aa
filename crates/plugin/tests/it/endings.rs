//! How plugins start and end.

use std::time::Duration;

use evalscope_model::time::RunClock;
use evalscope_plugin::Patience;

use crate::scene::{patience, plugin, started, told};

fn refusal(how: &str) -> String {
    told(&started(how, patience()).0.unwrap_err())
}

#[test]
fn a_plugin_that_does_not_start_says_why() {
    insta::assert_snapshot!(refusal("dead_at_once"), @r"
    the plugin `exec:python3 -u standin.py dead_at_once` failed in `hello`: it ended before it responded (exit status: 3)
      the last lines of its stderr:
      | ModuleNotFoundError: No module named 'numpy'
    ");
    insta::assert_snapshot!(refusal("wrong_version"), @"the plugin `exec:python3 -u standin.py wrong_version` failed in `hello`: it speaks version 2 of the protocol, but this program speaks version 1");
    insta::assert_snapshot!(refusal("refuses"), @"the plugin `exec:python3 -u standin.py refuses` failed in `hello`: there is no dataset `x`; did you mean `y`?");
    let patience = Patience {
        hello: Duration::from_millis(300),
        ..patience()
    };
    let error = told(&started("hangs_in_hello", patience).0.unwrap_err());
    assert!(
        error.ends_with("failed in `hello`: no response within 0.3 s"),
        "{error}"
    );
}

#[test]
fn what_it_prints_is_passed_on_and_its_end_is_kept() {
    let (plugin, lines) = started("chatty", patience());
    let plugin = plugin.unwrap();
    assert_eq!(plugin.name(), "stand-in");
    plugin.end();
    drop(plugin);
    let lines = lines.lock().unwrap();
    assert_eq!(lines[19_999], "line 19999");
    assert!(lines.iter().all(|line| line.len() <= 4096));
    assert_eq!(lines.last().unwrap(), "the end of it");
}

#[test]
fn a_plugin_that_ends_by_itself_is_not_waited_for() {
    let plugin = plugin("fine");
    let clock = RunClock::start();
    drop(plugin);
    assert!(clock.now().as_nanos() < 1_900_000_000);
}

#[cfg(unix)]
#[test]
fn a_plugin_that_will_not_end_is_killed() {
    let plugin = plugin("ignores_sigterm");
    let clock = RunClock::start();
    plugin.end();
    let took = clock.now().as_nanos();
    assert!((2_900_000_000..9_000_000_000).contains(&took), "{took}");
}

#[cfg(unix)]
#[test]
fn what_a_plugin_started_is_ended_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let plugin = plugin(&format!("has_a_child 1 '{}'", file.display()));
    let child: i32 = std::fs::read_to_string(file).unwrap().parse().unwrap();
    drop(plugin);
    let pid = nix::unistd::Pid::from_raw(child);
    // without an init, the parent may not have waited for it yet
    let gone = || {
        nix::sys::signal::kill(pid, None).is_err()
            || std::fs::read_to_string(format!("/proc/{child}/stat"))
                .is_ok_and(|stat| stat.contains(") Z "))
    };
    let clock = RunClock::start();
    while !gone() {
        assert!(
            clock.now().as_nanos() < 5_000_000_000,
            "it is still running"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
