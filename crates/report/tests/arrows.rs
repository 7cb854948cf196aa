//! Modules use only those above them in `lib.rs`, and each says what it owns.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn module_arrows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(src.join("lib.rs")).unwrap();
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert!(order.len() > 5, "{order:?}");
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap().as_os_str();
        let module = Path::new(first).file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        if path.file_name().unwrap() != "tests.rs" {
            assert!(
                text.starts_with("//!"),
                "{} does not say what it owns",
                inside.display()
            );
        }
        let Some(own) = order.iter().position(|name| *name == module) else {
            continue;
        };
        for (at, name) in order.iter().enumerate() {
            assert!(
                at <= own || !text.contains(&format!("crate::{name}")),
                "{} uses `{name}`, which stands below it",
                inside.display()
            );
        }
    }
}
