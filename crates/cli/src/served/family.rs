//! Owns the process tree of the started server, as the kernel reports parents. Only Linux reports
//! enough; elsewhere the process group is used.
//!
//! It must not know what the processes are for.

/// Whether a process has come of a supervisor; `group` is that of the supervised program.
#[cfg(target_os = "linux")]
pub(super) fn belongs(process: u32, supervisor: u32, _group: u32) -> bool {
    // who is older than its child cannot have taken over a dead parent's number
    let mut at = linux::Process::read(process);
    while let Some(child) = at {
        if child.parent == supervisor {
            return true;
        }
        at = linux::Process::read(child.parent).filter(|parent| parent.started <= child.started);
    }
    false
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn belongs(process: u32, _supervisor: u32, group: u32) -> bool {
    use nix::unistd::{Pid, getpgid};
    let process = Pid::from_raw(process.cast_signed());
    getpgid(Some(process)).is_ok_and(|of| of.as_raw() == group.cast_signed())
}

#[cfg(not(unix))]
pub(super) fn belongs(process: u32, _supervisor: u32, group: u32) -> bool {
    process == group
}

#[cfg(target_os = "linux")]
pub(super) use linux::descendants;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// A process as it was when it was looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Process {
        id: u32,
        pub(super) parent: u32,
        pub(crate) group: u32,
        /// In ticks since the machine was started. Together with the number it is one process's for ever.
        pub(super) started: u64,
    }

    impl Process {
        pub(super) fn read(id: u32) -> Option<Self> {
            let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
            Self::parse(id, &String::from_utf8_lossy(&stat))
        }

        pub(super) fn parse(id: u32, stat: &str) -> Option<Self> {
            // the name before it may hold anything, parentheses and line ends included
            let (_, rest) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
            Some(Self {
                id,
                parent: fields.get(1)?.parse().ok()?,
                group: fields.get(2)?.parse().ok()?,
                started: fields.get(19)?.parse().ok()?,
            })
        }

        /// Send it a signal, if it is still the process that was looked at. Its number can become
        /// another's only when it has ended, its parent has waited for it, and all other numbers have
        /// been given away since; between this look and the signal there is no time for that.
        pub(crate) fn signal(self, signal: Signal) {
            if Self::read(self.id).is_some_and(|now| now.started == self.started) {
                // an error means that it is gone, or another user's
                let _ = kill(Pid::from_raw(self.id.cast_signed()), signal);
            }
        }
    }

    /// All live or unreaped descendants of a process. One whose parent ends during the search may be
    /// missing.
    pub(crate) fn descendants(root: u32) -> std::io::Result<Vec<Process>> {
        let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            if let Some(process) = id.and_then(Process::read) {
                children.entry(process.parent).or_default().push(process);
            }
        }
        Ok(below(root, children))
    }

    /// Everybody below `root`, parents first.
    pub(super) fn below(root: u32, mut children: HashMap<u32, Vec<Process>>) -> Vec<Process> {
        let mut found = children.remove(&root).unwrap_or_default();
        let mut at = 0;
        while let Some(&parent) = found.get(at) {
            // taken out, so that not even a circle of numbers that were given anew has no end
            let of_it = children.remove(&parent.id).unwrap_or_default();
            // a parent that is younger has the number of a dead one
            found.extend(of_it.iter().filter(|child| parent.started <= child.started));
            at += 1;
        }
        found
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::linux::{Process, below, descendants};
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) R 1 (\n) S 3 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0\n";
        let process = Process::parse(7, stat).unwrap();
        assert_eq!((process.parent, process.group), (3, 5));
        assert_eq!(process.started, 4711);
        assert_eq!(Process::parse(7, "7 (sh) S 3"), None);
        assert_eq!(Process::parse(7, ""), None);
    }

    fn process(id: u32, parent: u32, started: u64) -> Process {
        let fields = "0 ".repeat(16);
        let stat = format!("{id} (x) S {parent} 1 {fields}{started} 0");
        Process::parse(id, &stat).unwrap()
    }

    #[test]
    fn the_young_have_no_older_children() {
        let all = [
            process(10, 1, 100),
            process(20, 10, 200),
            process(30, 20, 200),
            // its parent is dead, and the number is that of 20 now
            process(40, 20, 150),
            process(50, 40, 300),
            process(60, 2, 300),
            // a circle
            process(70, 80, 300),
            process(80, 70, 300),
        ];
        let mut children = std::collections::HashMap::<u32, Vec<Process>>::new();
        for one in all {
            children.entry(one.parent).or_default().push(one);
        }
        assert_eq!(below(1, children.clone()), [all[0], all[1], all[2]]);
        assert_eq!(below(70, children), [all[7], all[6]]);
    }

    #[test]
    fn children_and_theirs_belong_and_others_do_not() {
        let mut child = Command::new("sh")
            .args([
                "-c",
                // the stdin of what runs in the background is none
                "exec 3<&0; setsid sh -c 'echo $$; read end <&3' & echo $!; read end",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut number = || lines.next().unwrap().unwrap().parse::<u32>().unwrap();
        let grandchild = number();
        assert_eq!(number(), grandchild, "setsid had no need to fork");
        let own = std::process::id();
        let found = descendants(own).unwrap();
        for id in [child.id(), grandchild] {
            assert!(belongs(id, own, 0), "{id}");
            let seen = Process::read(id).unwrap();
            assert!(found.contains(&seen), "{seen:?} {found:?}");
        }
        assert!(belongs(grandchild, child.id(), 0));
        assert!(!belongs(child.id(), grandchild, 0));
        for stranger in [own, std::os::unix::process::parent_id(), 1] {
            assert!(!belongs(stranger, own, 0), "{stranger}");
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
