//! A supervised program and everything it started end when its supervisor is told to, or is left.

use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::context::{Context, wait_for};

/// A supervisor of a shell that runs a script, in a folder of its own.
struct Supervisor {
    context: Context,
    child: Child,
}

impl Supervisor {
    fn start(script: &str) -> Self {
        Self::of(&["/bin/sh", "-c", script])
    }

    fn of(command: &[&str]) -> Self {
        let context = Context::new();
        let args = [&["__supervise", "--"], command].concat();
        let child = context.command(&args).stdin(Stdio::piped()).spawn();
        Self {
            child: child.unwrap(),
            context,
        }
    }

    /// The number of a process that the script has written to a file.
    fn wait_for_pid(&self, file: &str) -> Pid {
        wait_for_pid(&self.context.path().join(file))
    }

    /// Leave it, and hear what it says about the end.
    fn leave(mut self) -> String {
        drop(self.child.stdin.take());
        self.end()
    }

    /// What it says about the end.
    fn end(self) -> String {
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        match said.split_once('\n') {
            Some((started, end)) if started.starts_with("started ") => end.trim().to_owned(),
            _ => said.trim().to_owned(),
        }
    }
}

pub(crate) fn wait_for_pid(file: &Path) -> Pid {
    wait_for("the number of a process", || {
        let text = std::fs::read_to_string(file).ok()?;
        // only a whole line is a whole number
        let number = text.strip_suffix('\n')?;
        Some(Pid::from_raw(number.parse().unwrap()))
    })
}

pub(crate) fn is_alive(process: Pid) -> bool {
    kill(process, None).is_ok()
}

#[test]
fn the_end_of_a_program_is_told() {
    for (script, want) in [
        ("exit 0", "ended exit status: 0"),
        ("exit 3", "ended exit status: 3"),
        ("kill -9 $$", "ended signal: 9 (SIGKILL)"),
    ] {
        // stdin stays open: the program ends by itself
        let mut supervisor = Supervisor::start(script);
        let open = supervisor.child.stdin.take();
        assert_eq!(supervisor.end(), want, "{script}");
        drop(open);
    }
}

#[test]
fn a_program_that_is_not_there() {
    let said = Supervisor::of(&["/nowhere/transformers"]).end();
    assert!(said.starts_with("failed No such file"), "{said}");
}

#[test]
fn output_goes_to_stderr() {
    let mut supervisor = Supervisor::start("echo out; echo err >&2");
    let open = supervisor.child.stdin.take();
    let output = supervisor.child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "out\nerr\n");
    drop(open);
}

#[test]
fn a_program_may_tidy_up() {
    let supervisor =
        Supervisor::start("trap 'exit 7' TERM; echo $$ > pid; while :; do sleep 0.02; done");
    let process = supervisor.wait_for_pid("pid");
    assert_eq!(supervisor.leave(), "ended exit status: 7");
    assert!(!is_alive(process));
}

#[test]
fn what_a_program_has_started_ends_too() {
    let supervisor = Supervisor::start("sleep 1000 & echo $! > pid; wait");
    let grandchild = supervisor.wait_for_pid("pid");
    assert!(is_alive(grandchild));
    assert_eq!(supervisor.leave(), "ended signal: 15 (SIGTERM)");
    assert!(!is_alive(grandchild));
}

#[test]
fn a_program_that_leaves_something_behind() {
    let mut supervisor = Supervisor::start("sleep 1000 & echo $! > pid; exit 1");
    let open = supervisor.child.stdin.take();
    let grandchild = supervisor.wait_for_pid("pid");
    assert_eq!(supervisor.end(), "ended exit status: 1");
    assert!(!is_alive(grandchild));
    drop(open);
}

#[test]
fn a_program_that_ignores_sigterm() {
    let supervisor = Supervisor::start(
        "trap '' TERM; sleep 1000 & echo $! > grandchild; echo $$ > pid; while :; do wait; done",
    );
    let grandchild = supervisor.wait_for_pid("grandchild");
    let process = supervisor.wait_for_pid("pid");
    assert_eq!(supervisor.leave(), "ended signal: 9 (SIGKILL)");
    assert!(!is_alive(process) && !is_alive(grandchild));
}

#[test]
fn a_signal_to_the_supervisor_ends_the_program() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut supervisor = Supervisor::start("echo $$ > pid; exec sleep 1000");
        let open = supervisor.child.stdin.take();
        let process = supervisor.wait_for_pid("pid");
        let id = Pid::from_raw(supervisor.child.id().cast_signed());
        kill(id, signal).unwrap();
        assert_eq!(supervisor.end(), "ended signal: 15 (SIGTERM)");
        assert!(!is_alive(process));
        drop(open);
    }
}

/// What leaves the group of the program: Linux tells whose children they are all the same.
#[cfg(target_os = "linux")]
mod leavers {
    use super::*;

    /// In a session of its own, its parent alive.
    const IN_A_SESSION: &str = "setsid sh -c 'echo $$ > pid; exec sleep 1000' &";
    /// The same, twice forked: its parent is gone.
    const DAEMON: &str = "(setsid sh -c 'echo $$ > pid; exec sleep 1000' &)";

    #[test]
    fn they_end_with_the_program() {
        for leaver in [IN_A_SESSION, DAEMON] {
            let supervisor = Supervisor::start(&format!(
                "{leaver}\necho $$ > leader; wait; exec sleep 1000"
            ));
            let process = supervisor.wait_for_pid("pid");
            let leader = supervisor.wait_for_pid("leader");
            assert!(is_alive(process), "{leaver}");
            assert_eq!(supervisor.leave(), "ended signal: 15 (SIGTERM)");
            assert!(!is_alive(process) && !is_alive(leader), "{leaver}");
        }
    }

    #[test]
    fn they_end_when_the_program_has_ended_by_itself() {
        for leaver in [IN_A_SESSION, DAEMON] {
            let script = format!("{leaver}\nwhile [ ! -s pid ]; do sleep 0.01; done; exit 4");
            let mut supervisor = Supervisor::start(&script);
            let open = supervisor.child.stdin.take();
            let process = supervisor.wait_for_pid("pid");
            assert_eq!(supervisor.end(), "ended exit status: 4", "{leaver}");
            assert!(!is_alive(process), "{leaver}");
            drop(open);
        }
    }

    /// The second is a child of the first in yet another session, so that it becomes an orphan only
    /// when the first is killed.
    #[test]
    fn they_end_though_they_ignore_sigterm() {
        let supervisor = Supervisor::start(
            "trap '' TERM\n(setsid sh -c 'setsid sh -c \"echo \\$\\$ > second; exec sleep 1000\" & \
             echo $$ > first; while :; do wait; done' &)\nwait; exec sleep 1000",
        );
        let [first, second] = ["first", "second"].map(|file| supervisor.wait_for_pid(file));
        assert!(is_alive(first) && is_alive(second));
        assert_eq!(supervisor.leave(), "ended signal: 9 (SIGKILL)");
        assert!(!is_alive(first) && !is_alive(second));
    }

    /// It starts another in yet another session when it is told to end.
    #[test]
    fn they_end_though_others_take_their_place() {
        let supervisor = Supervisor::start(
            "setsid sh -c 'next() { setsid sh -c \"echo \\$\\$ > second; exec sleep 1000\" & exit 0; }\n\
             trap next TERM; echo $$ > first; while :; do sleep 0.02; done' & exec sleep 1000",
        );
        let first = supervisor.wait_for_pid("first");
        let folder = supervisor.context.path().to_owned();
        let told = std::thread::spawn(move || wait_for_pid(&folder.join("second")));
        let Supervisor { context, mut child } = supervisor;
        drop(child.stdin.take());
        let second = told.join().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(first) && !is_alive(second));
        drop(context);
    }

    #[test]
    fn each_is_told_once_and_may_tidy_up() {
        let supervisor = Supervisor::start(
            "setsid sh -c 'trap \"echo told >> told; sleep 0.3; echo tidy >> told; exit 0\" TERM\n\
             echo $$ > pid; while :; do sleep 0.02; done' & exec sleep 1000",
        );
        let process = supervisor.wait_for_pid("pid");
        let Supervisor { context, mut child } = supervisor;
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_alive(process));
        let told = std::fs::read_to_string(context.path().join("told")).unwrap();
        assert_eq!(told, "told\ntidy\n");
    }

    #[test]
    fn who_is_no_descendant_is_spared() {
        let mut stranger = std::process::Command::new("setsid")
            .args(["sleep", "1000"])
            .spawn()
            .unwrap();
        let supervisor = Supervisor::start(&format!("{DAEMON}\nexec sleep 1000"));
        supervisor.wait_for_pid("pid");
        supervisor.leave();
        assert_eq!(stranger.try_wait().unwrap(), None);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    /// Who asks whether its daemon still lives must not see a process that only nobody has waited for.
    #[test]
    fn orphans_that_end_are_waited_for_meanwhile() {
        let supervisor = Supervisor::start(
            "(sh -c 'echo $$ > pid; while [ ! -e end ]; do sleep 0.01; done' &)\nexec sleep 1000",
        );
        let orphan = supervisor.wait_for_pid("pid");
        supervisor.context.write("end", "");
        wait_for("the end of the orphan", || {
            (!is_alive(orphan)).then_some(())
        });
        assert_eq!(supervisor.leave(), "ended signal: 15 (SIGTERM)");
    }
}
