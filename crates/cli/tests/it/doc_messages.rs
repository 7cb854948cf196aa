//! Messages that the documentation quotes are those of the program.
//!
//! A quoted message is a code span in the first column of a table headed `message` or `warning`, or
//! one that ends in `: …`. What stands for a value is left out: `…`, a number, a word in capitals, and a
//! name in backticks that is not a flag. Every other part must be in a string of the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Quoted messages of libraries that this program passes on.
const OF_LIBRARIES: [&str; 1] = ["invalid peer certificate"];

#[test]
fn quoted_messages_are_in_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut texts = Vec::new();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let krate = entry.unwrap().path();
        // the simulator's are those of a server
        if !krate.ends_with("sim") {
            each_file(&krate.join("src"), "rs", &mut |source| {
                let source = fs::read_to_string(source).unwrap();
                texts.extend(strings(product(&source)));
            });
        }
    }
    let mut quoted = 0;
    let mut missing = Vec::new();
    each_file(&root.join("docs"), "md", &mut |page| {
        for message in messages(&fs::read_to_string(page).unwrap()) {
            quoted += 1;
            let is_there = |part: &String| texts.iter().any(|text| text.contains(part.as_str()));
            let is_known = OF_LIBRARIES.contains(&message.as_str());
            let parts = fixed_parts(&message);
            missing.extend(
                parts
                    .into_iter()
                    .filter(|part| !is_known && !is_there(part))
                    .map(|part| {
                        format!("{}: `{message}`: no message has `{part}`", page.display())
                    }),
            );
        }
    });
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(
        quoted >= 40,
        "only {quoted} messages were found: has a table another heading?"
    );
}

fn each_file(folder: &Path, ending: &str, on: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, ending, on);
        } else if path.extension().is_some_and(|own| own == ending) && !path.ends_with("tests.rs") {
            on(&path);
        }
    }
}

/// A source without its tests, which quote messages too.
pub(crate) fn product(source: &str) -> &str {
    source.split("\n#[cfg(test)]\nmod ").next().unwrap()
}

/// The strings of a Rust source. What a message puts between its words is replaced by a NUL.
fn strings(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(at);
        rest = &from[1..];
        if from.starts_with("//") {
            rest = from.split_once('\n').map_or("", |(_, after)| after);
        } else if from.starts_with("'\"'") || from.starts_with("'\\\"'") {
            rest = from.split_once("\"'").unwrap().1;
        } else if from.starts_with('"') {
            let hashes: String = before.chars().rev().take_while(|c| *c == '#').collect();
            let is_raw = before.trim_end_matches('#').ends_with('r');
            let end = if is_raw {
                rest.find(&format!("\"{hashes}"))
            } else {
                end_of_string(rest)
            };
            let end = end.unwrap_or(rest.len());
            found.push(without_values(&rest[..end], is_raw));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    found
}

fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })
}

fn without_values(text: &str, is_raw: bool) -> String {
    let mut out = String::new();
    let mut rest = text.replace("{{", "").replace("}}", "");
    if !is_raw {
        // a line that goes on
        let lines: Vec<&str> = rest.split("\\\n").collect();
        let first = lines[0].to_owned();
        rest = lines[1..]
            .iter()
            .fold(first, |all, line| all + line.trim_start());
        rest = rest.replace("\\\"", "\"");
    }
    let mut rest = rest.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('\0');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    out + rest
}

/// The messages that a page quotes.
fn messages(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_table = false;
    for line in page.lines() {
        let first = line.strip_prefix('|').and_then(|row| row.split('|').next());
        match first.map(str::trim) {
            Some("message" | "warning") => in_table = true,
            Some(cell) if in_table => found.extend(code_spans(cell)),
            Some(_) => {}
            None => in_table = false,
        }
        let spans = code_spans(line).into_iter();
        found.extend(spans.filter(|span| first.is_none() && span.ends_with(": …")));
    }
    found
}

/// The texts between equal runs of backticks.
pub(crate) fn code_spans(text: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let ticks = rest[at..].chars().take_while(|c| *c == '`').count();
        let (mark, inside) = rest[at..].split_at(ticks);
        let Some(end) = inside.find(mark) else { break };
        spans.push(inside[..end].trim().to_owned());
        rest = &inside[end + ticks..];
    }
    spans
}

/// What a quoted message says besides values.
fn fixed_parts(message: &str) -> Vec<String> {
    let is_value = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let is_name = word.starts_with('`') && !word.starts_with("`-");
        let is_number = bare.chars().all(|c| c.is_ascii_digit());
        let is_capital = bare.chars().all(|c| c.is_ascii_uppercase() || c == ':');
        is_name || is_number || is_capital
    };
    let mut parts = vec![String::new()];
    for word in message.split(' ') {
        if is_value(word) {
            parts.push(String::new());
        } else {
            let part = parts.last_mut().unwrap();
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(word.trim_end_matches([':', '…']));
        }
    }
    parts.retain(|part| part.chars().any(char::is_alphabetic));
    parts
}

#[test]
fn values_are_no_part_of_a_message() {
    assert_eq!(
        fixed_parts("no `x` of HOST:PORT is 9 % of `--rate` in …"),
        ["no", "of", "is", "of `--rate` in"]
    );
    let source = "f(\"a {b:>3} \\\"c\\\" \\\n    d\"); '\"'; // \"no\"\n r#\"e \"f\"#";
    assert_eq!(strings(source), ["a \0 \"c\" d", "e \"f"]);
    let page =
        "`x: …` `y`\n| message | b |\n|---|---|\n| `` `a` b``, `c` | `d` |\n\n| e |\n| `f` |";
    assert_eq!(messages(page), ["x: …", "`a` b", "c"]);
}
