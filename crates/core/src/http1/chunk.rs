//! Owns reading a chunked body: bytes in, body bytes out.
//!
//! It must not know response heads.

use std::fmt;

use super::progress::{MAX_HEAD_BYTES, Progress};

/// What is wrong with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// The size line holds something other than a hexadecimal number.
    Size(u8),
    /// The size does not fit 64 bits.
    SizeOverflow,
    /// A line feed is missing.
    LineFeed(u8),
    /// The size line, its extensions or the trailers are too long.
    TooLong,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(byte) => write!(f, "byte 0x{byte:02x} in a chunk size"),
            Self::SizeOverflow => f.write_str("a chunk size over 64 bits"),
            Self::LineFeed(byte) => write!(f, "byte 0x{byte:02x} instead of a line end"),
            Self::TooLong => f.write_str("the size line or the trailers are too long"),
        }
    }
}

/// Reads a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub struct ChunkReader {
    state: ChunkState,
    /// Size so far, or bytes left in the chunk.
    size: u64,
    /// Bytes read of the size line or the trailers.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size.
    #[default]
    SizeStart,
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataEnd,
    DataLineFeed,
    TrailerStart,
    Trailer,
    LastLineFeed,
    Complete,
}

impl ChunkReader {
    /// Take the bytes of one read and pass the body bytes among them to `sink`. Returns how many
    /// bytes belonged to the body.
    ///
    /// # Errors
    /// If the framing is broken.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(usize, Progress), ChunkError> {
        let mut at = 0;
        while at < bytes.len() && self.state != ChunkState::Complete {
            if self.state == ChunkState::Data {
                let rest = &bytes[at..];
                let n = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                sink(&rest[..n]);
                at += n;
                self.size -= n as u64;
                if self.size == 0 {
                    self.state = ChunkState::DataEnd;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            evalscope_model::steps::add(1);
            self.state = self.step(byte)?;
        }
        let progress = if self.state == ChunkState::Complete {
            Progress::Complete
        } else {
            Progress::Incomplete
        };
        Ok((at, progress))
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, ChunkError> {
        use ChunkState as S;
        Ok(match self.state {
            S::SizeStart => {
                self.extra = 0;
                self.size = u64::from(digit(byte)?);
                S::Size
            }
            S::Size => match byte {
                b'\r' => S::SizeLineFeed,
                b'\n' => self.after_size(),
                b';' | b' ' | b'\t' => S::Extension,
                _ => {
                    // endless zeros never overflow
                    self.count_extra()?;
                    let digit = u64::from(digit(byte)?);
                    self.size = self
                        .size
                        .checked_mul(16)
                        .ok_or(ChunkError::SizeOverflow)?
                        .checked_add(digit)
                        .ok_or(ChunkError::SizeOverflow)?;
                    S::Size
                }
            },
            S::Extension => match byte {
                b'\r' => S::SizeLineFeed,
                b'\n' => self.after_size(),
                _ => {
                    self.count_extra()?;
                    S::Extension
                }
            },
            S::SizeLineFeed => {
                line_feed(byte)?;
                self.after_size()
            }
            S::DataEnd if byte == b'\r' => S::DataLineFeed,
            S::DataEnd | S::DataLineFeed => {
                line_feed(byte)?;
                S::SizeStart
            }
            S::TrailerStart => match byte {
                b'\r' => S::LastLineFeed,
                b'\n' => S::Complete,
                _ => S::Trailer,
            },
            S::Trailer => {
                self.count_extra()?;
                if byte == b'\n' {
                    S::TrailerStart
                } else {
                    S::Trailer
                }
            }
            S::LastLineFeed => {
                line_feed(byte)?;
                S::Complete
            }
            S::Data | S::Complete => self.state,
        })
    }

    fn after_size(&self) -> ChunkState {
        if self.size == 0 {
            ChunkState::TrailerStart
        } else {
            ChunkState::Data
        }
    }

    fn count_extra(&mut self) -> Result<(), ChunkError> {
        self.extra += 1;
        if self.extra > MAX_HEAD_BYTES {
            return Err(ChunkError::TooLong);
        }
        Ok(())
    }
}

fn digit(byte: u8) -> Result<u8, ChunkError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ChunkError::Size(byte)),
    }
}

fn line_feed(byte: u8) -> Result<(), ChunkError> {
    if byte == b'\n' {
        Ok(())
    } else {
        Err(ChunkError::LineFeed(byte))
    }
}
