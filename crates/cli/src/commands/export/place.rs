//! Owns where an export goes: to stdout, or to a file that is put in place whole.
//!
//! It must not know what is written.

use std::fmt;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Stdout, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use evalscope_report::export::ExportError;
use evalscope_report::files::write_with;

use super::runs::unfinished;
use crate::failure::hinted;

/// Where an export goes.
#[derive(Debug)]
pub(super) enum Place {
    Stdout,
    File(PathBuf),
}

/// How far the writing came.
pub(super) enum Wrote<T> {
    All(T),
    /// Until the reader of stdout had enough, which is its business.
    ReaderLeft,
}

impl Place {
    pub(super) fn file(path: PathBuf) -> Self {
        Self::File(path)
    }

    /// Stdout, for text or for bytes that a terminal cannot show.
    pub(super) fn stdout(is_binary: bool) -> anyhow::Result<Self> {
        if is_binary && io::stdout().is_terminal() {
            return Err(hinted(
                "a Parquet file cannot be shown on a terminal",
                "add `--format csv` or `--format jsonl`, or write it to a file",
            ));
        }
        Ok(Self::Stdout)
    }

    /// Write what `fill` makes.
    pub(super) fn write<T>(
        &self,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ExportError>,
    ) -> anyhow::Result<Wrote<T>> {
        match self {
            Self::Stdout => {
                let mut out = Pipe {
                    stdout: BufWriter::new(io::stdout()),
                    is_closed: false,
                };
                let filled = fill(&mut out).and_then(|filled| {
                    let flushed = out.flush();
                    let unwritten = |error: io::Error| ExportError::Write {
                        source: error.into(),
                    };
                    flushed.map(|()| filled).map_err(unwritten)
                });
                match filled {
                    Err(_) if out.is_closed => Ok(Wrote::ReaderLeft),
                    filled => filled.map(Wrote::All).map_err(|error| {
                        unfinished(error, "stdout has only a part of it".to_owned())
                    }),
                }
            }
            Self::File(path) => {
                if let Some(folder) = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty())
                {
                    fs::create_dir_all(folder).with_context(|| {
                        format!("cannot make the folder `{}`", folder.display())
                    })?;
                }
                if path.is_dir() {
                    return Err(hinted(
                        format!("`{}` is a folder", path.display()),
                        "give the name of a file in it",
                    ));
                }
                let filled = write_with(path, |file| fill(file));
                filled.map(Wrote::All).map_err(|error| {
                    let left = if path.is_file() {
                        format!("`{}` still holds what it held before", path.display())
                    } else {
                        format!("nothing is left of it at `{}`", path.display())
                    };
                    unfinished(error, left)
                })
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Stdout, which knows whether its reader has left.
struct Pipe {
    stdout: BufWriter<Stdout>,
    is_closed: bool,
}

impl Pipe {
    fn noted<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        let is_closed = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
        self.is_closed |= written.as_ref().is_err_and(is_closed);
        written
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stdout.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.stdout.flush();
        self.noted(flushed)
    }
}
