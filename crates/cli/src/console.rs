//! Owns writing to the terminal: data to stdout, everything else to stderr.
//! No other module of the workspace prints.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use evalscope_model::time::wall_ns;
use evalscope_report::console::{Confidence, Ink, Screen};
use serde::Serialize;

use crate::env;

/// Characters of one piece of input that an error repeats.
const MOST_REPEATED: usize = 200;

/// Columns if the width is unknown.
const DEFAULT_WIDTH: u16 = 80;

/// Data could not be written, for a reason other than a closed pipe.
static OUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Write data. A closed pipe is the reader's business; see [`out_failed`] for
/// the rest.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        OUT_FAILED.store(true, Ordering::Relaxed);
    }
}

/// Whether some data did not reach stdout.
pub(crate) fn out_failed() -> bool {
    OUT_FAILED.load(Ordering::Relaxed)
}

/// Messages on stderr are JSON lines, for `--progress json`.
static JSON_LINES: AtomicBool = AtomicBool::new(false);

/// From now on, write each message on stderr as a line of JSON.
pub(crate) fn write_json_lines() {
    JSON_LINES.store(true, Ordering::Relaxed);
}

/// What a message is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Message,
    Warning,
    Error,
}

/// A message as a line of JSON.
#[derive(Debug, Serialize)]
struct MessageLine<'a> {
    event: Kind,
    unix_s: f64,
    text: &'a str,
}

/// Write a message. It may quote a server or a plugin: see [`tame`].
pub(crate) fn err(text: &str) {
    say(Kind::Message, "", text);
}

/// Write a warning; see [`err`].
pub(crate) fn warn(text: &str) {
    say(Kind::Warning, "warning: ", text);
}

/// Write the error that ends the command, with `error: ` before it.
pub(crate) fn error(text: &str) {
    let bare = text.strip_prefix("error: ");
    say(
        Kind::Error,
        if bare.is_some() { "error: " } else { "" },
        bare.unwrap_or(text),
    );
}

fn say(event: Kind, prefix: &str, text: &str) {
    let text = &tame(text);
    if JSON_LINES.load(Ordering::Relaxed) {
        json_line(&MessageLine {
            event,
            unix_s: unix_s(wall_ns()),
            text,
        });
    } else {
        let _ = writeln!(std::io::stderr().lock(), "{prefix}{text}");
    }
}

/// Write a line of JSON to stderr.
pub(crate) fn json_line(event: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(event) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

/// A moment in Unix time, to the millisecond.
pub(crate) fn unix_s(unix_ns: u64) -> f64 {
    (unix_ns / 1_000_000) as f64 / 1e3
}

/// A text without control sequences for the terminal: other control characters
/// (ECMA-48, C0 and C1) are shown as `\u{1b}`.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    let wild = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(wild) {
        return text.into();
    }
    let mut tamed = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if wild(c) {
            let _ = write!(tamed, "{}", c.escape_unicode());
        } else {
            tamed.push(c);
        }
    }
    tamed.into()
}

/// An error that repeats long input, without most of it: what is between backticks, and words of the
/// first line, are cut after [`MOST_REPEATED`] characters. Further lines may quote a server, which has a
/// limit of its own.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    if text.lines().all(|line| line.len() <= MOST_REPEATED) {
        return text.into();
    }
    let lines = text.split('\n').enumerate().map(|(nth_line, line)| {
        let parts: Vec<&str> = line.split('`').collect();
        // an odd number of backticks: some of them are input
        let is_paired = parts.len() % 2 == 1;
        let parts = parts.iter().enumerate().map(|(nth, part)| {
            if is_paired && nth % 2 == 1 {
                return cut(part);
            }
            if nth_line > 0 {
                return Cow::from(*part);
            }
            let words: Vec<Cow<'_, str>> = part.split(' ').map(cut).collect();
            words.join(" ").into()
        });
        parts.collect::<Vec<_>>().join("`")
    });
    lines.collect::<Vec<_>>().join("\n").into()
}

fn cut(text: &str) -> Cow<'_, str> {
    let Some((end, _)) = text.char_indices().nth(MOST_REPEATED) else {
        return text.into();
    };
    let more = text[end..].chars().count();
    format!("{}… ({more} more characters)", &text[..end]).into()
}

/// The screen that the tables on stdout are made for. Without colour if `NO_COLOR` (no-color.org)
/// is set or stdout is not a terminal.
pub(crate) fn screen(confidence: Confidence) -> Screen {
    let terminal = std::io::stdout().is_terminal();
    Screen {
        width: env::columns()
            .or_else(terminal_width)
            .unwrap_or(DEFAULT_WIDTH)
            .clamp(40, 200),
        ink: if terminal && !env::no_color() {
            Ink::Color
        } else {
            Ink::Plain
        },
        confidence,
    }
}

/// What `--confidence` asks for.
pub(crate) fn confidence(asked: bool) -> Confidence {
    if asked {
        Confidence::Shown
    } else {
        Confidence::Hidden
    }
}

/// The width of the terminal on stdout.
fn terminal_width() -> Option<u16> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(width.0).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_input_is_cut_and_nothing_else() {
        let x = "x".repeat(300);
        let cut = format!("{}… (100 more characters)", "x".repeat(200));
        let plain = "`--rate` is needed. ".repeat(20);
        assert_eq!(shortened(&plain), plain);
        assert_eq!(
            shortened(&format!(
                "error: {x}: `--rate {x}`\n  hint: `{x}`\n  it sent: {x}"
            )),
            format!(
                "error: {}… (101 more characters) `--rate {}… (107 more characters)`\n  hint: `{cut}`\n  \
                 it sent: {x}",
                "x".repeat(200),
                "x".repeat(193)
            )
        );
        let spaced = "a ü ".repeat(60);
        assert_eq!(
            shortened(&format!("`{spaced}` is too long")),
            format!("`{}… (40 more characters)` is too long", "a ü ".repeat(50))
        );
        // a backtick in the input
        assert_eq!(shortened(&format!("`a`{x}` no")), format!("`a`{cut}` no"));
    }

    #[test]
    fn lines_stay_and_escapes_are_shown() {
        assert_eq!(tame("two\nlines\tand ü"), "two\nlines\tand ü");
        assert_eq!(
            tame("\u{1b}[2Jgone\r\u{9b}31m\u{7}\0"),
            "\\u{1b}[2Jgone\\u{d}\\u{9b}31m\\u{7}\\u{0}"
        );
    }
}
