//! Owns the end of a log that somebody else writes: its last lines as they may be shown.
//!
//! It must not know who writes it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Lines that are shown: the end of a Python traceback, mostly.
const LINES: usize = 15;

/// Bytes that are read for them.
const BYTES: u64 = 16 * 1024;

/// Characters of a line.
const WIDTH: usize = 300;

/// The last lines, below a line that says where they are from.
pub(super) fn shown(path: &Path) -> String {
    let lines = lines(path);
    if lines.is_empty() {
        return format!("\n  {} is empty", path.display());
    }
    let from = lines.len().saturating_sub(LINES);
    format!(
        "\n  the last lines of {}:\n    {}",
        path.display(),
        lines[from..].join("\n    ")
    )
}

/// The last line.
pub(super) fn last_line(path: &Path) -> Option<String> {
    lines(path).pop()
}

/// What helps against what is said there.
pub(super) fn advice(path: &Path) -> String {
    let said = lines(path).join("\n");
    if said.contains("trust_remote_code") || said.contains("trust-remote-code") {
        "`--trust-remote-code` runs code that comes with the model".to_owned()
    } else if said.contains("No module named 'modelscope'") {
        "pip install modelscope, or `--data-source huggingface`".to_owned()
    } else {
        format!("all that it said is in {}", path.display())
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = end_of(path).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(plain)
        .filter(|line| !line.is_empty())
        .collect()
}

fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// A line without what moves the cursor or colours a terminal, as it would stand there at last.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            // a sequence ends with its first letter
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text.chars().take(WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_show() {
        assert_eq!(plain("\x1b[31mERROR\x1b[0m it broke  "), "ERROR it broke");
        assert_eq!(plain("  0%|  |\r 50%|# |\r100%|##|"), "100%|##|");
        assert_eq!(plain(&"x".repeat(1000)).len(), WIDTH);
    }

    #[test]
    fn a_log_that_is_not_there() {
        let nowhere = Path::new("/nowhere/server.log");
        assert_eq!(shown(nowhere), "\n  /nowhere/server.log is empty");
        assert_eq!(last_line(nowhere), None);
    }
}
