//! Enforces the dependencies of `docs/ARCHITECTURE.md`: which module may use which, and what the
//! pure cores must not use.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules in reading order; each may use those above it.
const ORDER: [&str; 8] = [
    "credential",
    "sse",
    "http1",
    "protocol",
    "schedule",
    "load",
    "transport",
    "engine",
];

/// Modules without clock, I/O and async runtime.
const PURE: [&str; 7] = [
    "plan", "sse", "http1", "protocol", "schedule", "load", "metrics",
];

const IMPURE: [&str; 9] = [
    "tokio",
    "std::net",
    "std::fs",
    "std::io::",
    "std::thread",
    "std::env",
    "RunClock",
    "monotonic_ns",
    "wall_ns",
];

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// (module, file, code without comments and tests)
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    files
        .into_iter()
        .filter(|path| !path.ends_with("lib.rs") && !path.ends_with("tests.rs"))
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next().unwrap().as_os_str();
            let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            (module, path, code)
        })
        .collect()
}

fn uses(code: &str) -> Vec<String> {
    code.split("crate::")
        .skip(1)
        .filter_map(|rest| {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let rank = |module: &str| ORDER.iter().position(|m| *m == module);
    let mut seen = 0;
    for (module, path, code) in modules() {
        let own = rank(&module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        for used in uses(&code) {
            let used_rank =
                rank(&used).unwrap_or_else(|| panic!("{}: crate::{used}", path.display()));
            assert!(used_rank <= own, "{} uses crate::{used}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "the search for uses finds nothing");
}

#[test]
fn pure_cores_touch_nothing_of_the_world() {
    for (module, path, code) in modules() {
        if PURE.contains(&module.as_str()) {
            for word in IMPURE {
                assert!(!code.contains(word), "{} mentions {word}", path.display());
            }
        }
    }
}

#[test]
fn only_the_transport_opens_sockets_and_knows_no_meaning() {
    for (module, path, code) in modules() {
        if module != "transport" {
            assert!(!code.contains("TcpStream"), "{}", path.display());
            continue;
        }
        for word in ["serde_json", "TokenSource", "crate::protocol"] {
            assert!(!code.contains(word), "{} mentions {word}", path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no module docs",
            path.display()
        );
    }
}
