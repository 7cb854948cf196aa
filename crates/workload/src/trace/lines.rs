//! Owns the lines of a trace file, plain or compressed with gzip, and where each begins.
//!
//! It must not know what a line says.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::error::TraceError;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The longest line: anything larger is a file without line ends. A request with images has about
/// 10 MB.
const MOST_LINE_BYTES: usize = 256 << 20;

/// How files begin that are not what they should be. RFC 1952; RFC 8878; parquet-format;
/// git-lfs/docs/spec.md.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const PARQUET: &[u8] = b"PAR1";
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: u64,
    /// Where it begins in the file, bytes.
    pub(super) begins: u64,
    pub(super) text: &'a [u8],
}

enum Input {
    Plain(BufReader<File>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

/// The lines of a file that are not blank.
pub(super) struct Lines {
    path: PathBuf,
    input: Input,
    number: u64,
    /// Where the next line begins.
    offset: u64,
    buffer: Vec<u8>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("path", &self.path)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, TraceError> {
        let unreadable = |source| TraceError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(std::io::Error::other("it is a directory")));
        }
        let mut plain = BufReader::with_capacity(1 << 16, file);
        let head = plain.fill_buf().map_err(unreadable)?;
        let refused = |reason: &str, hint: String| TraceError::File {
            path: path.to_owned(),
            reason: reason.to_owned(),
            hint,
        };
        let shown = path.display();
        if head.starts_with(ZSTD) {
            let hint = format!("unpack it first: `zstd -d {shown}`");
            return Err(refused(
                "it is compressed with zstd, which is not read",
                hint,
            ));
        }
        if head.starts_with(PARQUET) {
            let hint = "write its rows as JSON Lines or CSV";
            return Err(refused("it is a Parquet file", hint.to_owned()));
        }
        if head.starts_with(LFS_POINTER) {
            let hint =
                "fetch the file itself: `git lfs pull`, or download it from the repository's page";
            return Err(refused("this is a Git LFS pointer", hint.to_owned()));
        }
        let input = if head.starts_with(GZIP) {
            let unpacked = MultiGzDecoder::new(plain);
            Input::Gzip(Box::new(BufReader::with_capacity(1 << 16, unpacked)))
        } else {
            Input::Plain(plain)
        };
        Ok(Self {
            path: path.to_owned(),
            input,
            number: 0,
            offset: 0,
            buffer: Vec::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether lines can be read in another order.
    pub(super) fn can_seek(&self) -> bool {
        matches!(self.input, Input::Plain(_))
    }

    /// The next line that is not blank, without its end and without the byte order mark that some
    /// editors put at the start of a file.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, TraceError> {
        loop {
            let begins = self.offset;
            let read = self.fill()?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            let marked = self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK);
            let from = if marked { BYTE_ORDER_MARK.len() } else { 0 };
            if !self.buffer[from..].trim_ascii().is_empty() {
                return Ok(Some(Line {
                    number: self.number,
                    begins,
                    text: self.buffer[from..].trim_ascii(),
                }));
            }
        }
    }

    /// The line that begins there and has this number.
    pub(super) fn at(&mut self, begins: u64, number: u64) -> Result<Line<'_>, TraceError> {
        if let Input::Plain(file) = &mut self.input {
            // stays within the buffer where lines are nearly in order
            let by = i64::try_from(begins)
                .unwrap_or(i64::MAX)
                .wrapping_sub_unsigned(self.offset);
            let sought = file.seek_relative(by);
            sought.map_err(|source| TraceError::Read {
                path: self.path.clone(),
                source,
            })?;
            self.offset = begins;
        }
        self.fill()?;
        self.number = number;
        let mark = if begins == 0 { BYTE_ORDER_MARK } else { b"" };
        let text = self.buffer.strip_prefix(mark).unwrap_or(&self.buffer);
        Ok(Line {
            number,
            begins,
            text: text.trim_ascii(),
        })
    }

    /// Read a line with its end; 0 at the end of the file.
    fn fill(&mut self) -> Result<usize, TraceError> {
        self.buffer.clear();
        let most = MOST_LINE_BYTES as u64 + 1;
        let read = match &mut self.input {
            Input::Plain(file) => file.take(most).read_until(b'\n', &mut self.buffer),
            Input::Gzip(file) => file.take(most).read_until(b'\n', &mut self.buffer),
        };
        let read = read.map_err(|source| TraceError::Read {
            path: self.path.clone(),
            source,
        })?;
        if read > MOST_LINE_BYTES {
            return Err(TraceError::File {
                path: self.path.clone(),
                reason: format!("line {} is larger than 256 MiB", self.number + 1),
                hint: "a trace has a line for each request".to_owned(),
            });
        }
        self.offset += read as u64;
        Ok(read)
    }

    /// Back to the first line.
    pub(super) fn rewind(&mut self) -> Result<(), TraceError> {
        if let Input::Plain(file) = &mut self.input {
            file.seek(SeekFrom::Start(0))
                .map_err(|source| TraceError::Read {
                    path: self.path.clone(),
                    source,
                })?;
            self.number = 0;
            self.offset = 0;
        } else {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }
}
