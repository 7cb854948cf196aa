//! The table "Where to add things" of docs/ARCHITECTURE.md is true: its files are there, they define
//! what the table says they do, and what exists of a kind appears in no files but those of its row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::doc_messages::{code_spans, product};

/// A trait, where its implementations are, and the row about adding one.
const KINDS: [(&str, &str, &str); 4] = [
    ("LoadModel", "core/src/load", "a load"),
    ("Stage", "cli/src/stages", "a stage"),
    ("Observer", "cli/src/observers", "an observer"),
    (
        "Experiment",
        "model/src/experiment.rs",
        "a way to choose points",
    ),
];

/// The code spans of a row's cells, by what it adds.
type Rows = BTreeMap<String, [Vec<String>; 2]>;

/// All rows: what they touch, and what counts them.
fn rows() -> Rows {
    let page = fs::read_to_string(crates().join("../docs/ARCHITECTURE.md")).unwrap();
    let table = page.split("## Where to add things").nth(1).unwrap();
    let mut rows = Rows::new();
    for line in table.lines().filter(|line| line.starts_with("| a")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", adds, touches, _, counted, ""] = cells[..] else {
            panic!("four cells: {line}");
        };
        let spans = [code_spans(touches), code_spans(counted)];
        rows.insert(adds.to_owned(), spans);
    }
    assert!(rows.len() > 10, "{rows:?}");
    rows
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files in a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(sources(&path));
            }
        } else if is_rust(&path) {
            found.push(path);
        }
    }
    found
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rs")
}

fn is_path(span: &str) -> bool {
    span.contains('/') && !span.contains(' ') || is_rust(Path::new(span))
}

/// The files that a row names. One without a folder is beside or in the one before.
fn files(spans: &[String]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for span in spans.iter().filter(|span| is_path(span)) {
        let before = found.last().cloned().unwrap_or_default();
        let places = [
            crates().join(span),
            crates().join("..").join(span),
            before.join(span),
            before.with_file_name(span),
        ];
        let place = places.into_iter().find(|place| place.exists());
        found.push(place.unwrap_or_else(|| panic!("there is no {span}")));
    }
    found
}

/// The words of a source, without its comments.
fn words(source: &str) -> impl Iterator<Item = &str> {
    source.lines().flat_map(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
    })
}

fn defines(source: &str, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "const", "mod"];
    let mut before = "";
    words(source).any(|word| {
        let is_defined = word == name && kinds.contains(&before);
        before = word;
        is_defined
    })
}

#[test]
fn files_and_names_are_there() {
    let all = sources(&crates()).into_iter();
    let all: Vec<String> = all.map(|path| fs::read_to_string(path).unwrap()).collect();
    for (adds, [touches, counted]) in rows() {
        if adds == "a module" {
            continue; // in any crate; `ci/arrows` looks at it
        }
        files(&touches);
        let names = touches.iter().chain(&counted).filter(|span| !is_path(span));
        for name in names.flat_map(|span| span.split("::")) {
            let is_there = all.iter().any(|source| defines(source, name));
            assert!(is_there, "{adds}: nothing is named {name}");
        }
        // "a line in `stages` of `cli/src/perf/point.rs`"
        for pair in touches.windows(2).filter(|pair| !is_path(&pair[0])) {
            let [name, file] = pair else { unreachable!() };
            let path = crates().join(file);
            if is_rust(&path) && path.exists() {
                let source = fs::read_to_string(path).unwrap();
                assert!(defines(&source, name), "{adds}: no {name} in {file}");
            }
        }
    }
}

#[test]
fn what_exists_is_named_where_the_table_says() {
    let rows = rows();
    let product_of = |path: &PathBuf| product(&fs::read_to_string(path).unwrap()).to_owned();
    let everything: Vec<(PathBuf, String)> = sources(&crates())
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| path.components().any(|part| part.as_os_str() == "src"))
        .map(|path| (path.canonicalize().unwrap(), product_of(&path)))
        .collect();
    for (kind, folder, row) in KINDS {
        let allowed: Vec<PathBuf> = files(&rows[row][0])
            .iter()
            .map(|path| path.canonicalize().unwrap())
            .collect();
        let folder = crates().join(folder).canonicalize().unwrap();
        let module = folder.file_stem().unwrap().display();
        let from_outside = format!("{module}::");
        let mark = format!("{kind} for ");
        let mut implementations = 0;
        for (own, source) in everything
            .iter()
            .filter(|(path, _)| path.starts_with(&folder))
        {
            let marks = source.split(mark.as_str()).skip(1);
            for name in marks.filter_map(|rest| words(rest).next()) {
                implementations += 1;
                let users = everything.iter().filter(|(path, text)| {
                    // others may have the same name
                    let is_meant = path.starts_with(&folder) || text.contains(&from_outside);
                    path != own && is_meant && words(text).any(|word| word == name)
                });
                for (user, _) in users {
                    assert!(
                        allowed.contains(user),
                        "{name}, {kind}, is named in {}, which is not in the row of {row}",
                        user.display()
                    );
                }
            }
        }
        assert!(implementations > 0, "no {kind} in {}", folder.display());
    }
}
