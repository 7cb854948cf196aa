//! Owns the end of a log that another process writes: its last lines, safe to show, without control
//! sequences and secrets.
//!
//! It must not know which process writes it, nor where secrets come from.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use evalscope_model::record::masked;

/// Lines that are shown: the end of a Python traceback, mostly.
const LINES: usize = 15;

/// Bytes that are read for them.
const BYTES: u64 = 16 * 1024;

/// Characters of a line.
const WIDTH: usize = 300;

/// A log, and the secrets to mask in it.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    secrets: Vec<String>,
}

impl Tail {
    pub(super) fn new(path: PathBuf, secrets: Vec<String>) -> Self {
        Self { path, secrets }
    }

    /// The last lines, below a line that says where they are from.
    pub(super) fn shown(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return format!("\n  {} is empty", self.path.display());
        }
        let from = lines.len().saturating_sub(LINES);
        format!(
            "\n  the last lines of {}:\n    {}",
            self.path.display(),
            lines[from..].join("\n    ")
        )
    }

    /// The last line.
    pub(super) fn last_line(&self) -> Option<String> {
        self.lines().pop()
    }

    /// What helps against what is said there.
    pub(super) fn advice(&self) -> String {
        let said = self.lines().join("\n");
        if said.contains("trust_remote_code") || said.contains("trust-remote-code") {
            "`--trust-remote-code` runs code shipped with the model".to_owned()
        } else if said.contains("No module named 'modelscope'") {
            "pip install modelscope, or `--data-source huggingface`".to_owned()
        } else {
            format!("its output is in {}", self.path.display())
        }
    }

    fn lines(&self) -> Vec<String> {
        let (text, cut) = end_of(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<String> = text
            .lines()
            // colours in the midst of a secret must not hide it
            .map(|line| masked(&plain(line), &self.secrets))
            .collect();
        if let Some(first) = lines.first_mut().filter(|_| cut) {
            // the end of a secret may stand where the text begins
            let longest = self.secrets.iter().map(String::len).max();
            *first = first.chars().skip(longest.unwrap_or(0)).collect();
        }
        lines
            .into_iter()
            .filter(|line| !line.is_empty())
            .map(|line| line.chars().take(WIDTH).collect())
            .collect()
    }
}

/// The end of a file, and whether more stands before it.
fn end_of(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    Ok((text, start > 0))
}

/// A line without what moves the cursor or colours a terminal, as it would stand there at last.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            skip_sequence(&mut rest);
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text
}

/// What follows an escape (ECMA-48): parameters up to a final letter, or a text up to its end, such as
/// a window's title.
fn skip_sequence(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => {
            rest.find(|c| ('@'..='~').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            // a bell, or an escape and a backslash
            while let Some(c) = rest.next() {
                if c == '\x07' || c == '\u{9c}' || c == '\x1b' && rest.next() == Some('\\') {
                    break;
                }
            }
        }
        // intermediate bytes, and then the final one
        Some(' '..='/') => {
            rest.find(|c| !(' '..='/').contains(c));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_show() {
        assert_eq!(plain("\x1b[31mERROR\x1b[0m it broke  "), "ERROR it broke");
        assert_eq!(plain("  0%|  |\r 50%|# |\r100%|##|"), "100%|##|");
        assert_eq!(plain("\x1b]0;a title\x07a\x1b]8;;x://y\x1b\\b"), "ab");
        assert_eq!(
            plain("\x1b(Ba\x1b[2Jb\x1b[?25l\x1b7c\u{9b}\x07\0\x1b"),
            "abc"
        );
    }

    #[test]
    fn a_log_that_is_not_there() {
        let nowhere = Tail::new("/nowhere/server.log".into(), Vec::new());
        assert_eq!(nowhere.shown(), "\n  /nowhere/server.log is empty");
        assert_eq!(nowhere.last_line(), None);
    }

    #[test]
    fn secrets_are_hidden_wherever_the_log_is_cut() {
        let path = std::env::temp_dir().join(format!("evalscope-tail-{}", std::process::id()));
        let secret = "hf_AbCdEfGhIjKlMnOp";
        let tail = Tail::new(path.clone(), vec![secret.to_owned()]);
        let said = |text: String| {
            std::fs::write(&path, text).unwrap();
            tail.last_line().unwrap()
        };
        assert_eq!(
            said(format!("no access with {secret}: 401\n")),
            "no access with ***: 401"
        );
        assert_eq!(
            said(format!("{}\x1b[1m{}", &secret[..9], &secret[9..])),
            "***"
        );
        assert_eq!(said("x".repeat(2 * WIDTH)).len(), WIDTH);
        let length = usize::try_from(BYTES).unwrap();
        for before in 0..secret.len() {
            // what is read begins within the secret, or the line that is shown ends there
            let start = said(format!("{secret}{}", "x".repeat(length - before)));
            assert_eq!(start, "x".repeat(WIDTH), "{before}");
            let end = said(format!("{}{secret} is bad", "x".repeat(WIDTH - before)));
            assert!(!end.contains("hf_"), "{end}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
