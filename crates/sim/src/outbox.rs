//! Owns the writes of one response: what is collected for one, how it is split into pieces, and
//! the stamps around the writes that carry tokens.
//!
//! It must not know what a response says.

use std::io::{self, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::clock::monotonic_ns;
use crate::fault::Fault;
use crate::http::{Framing, seal_chunk, write_all, write_last_chunk};
use crate::tempo::Tempo;
use crate::truth::Recorder;

/// Pause between the parts of a deliberately split write.
const SPLIT_PAUSE: Duration = Duration::from_millis(1);

/// Pause between the bytes of a slow response head.
const SLOW_HEAD_PAUSE: Duration = Duration::from_millis(10);

/// How a write is split into pieces.
#[derive(Debug, Clone, Copy)]
enum Pieces {
    Whole,
    /// Inside multi-byte characters, and between CR and LF.
    AtSeams,
    /// One byte at a time for this many more writes with tokens.
    Bytes(usize),
}

/// Collects the bytes of one response and sends them, stamping the writes that carry tokens.
pub(crate) struct Outbox<'a, 'r> {
    stream: &'a TcpStream,
    tempo: &'a Tempo,
    pub(crate) recorder: &'r mut Option<Recorder>,
    pub(crate) buffer: Vec<u8>,
    /// Start of the payload of the current chunk.
    chunk_start: usize,
    /// Number of token-bearing events in the buffer.
    pub(crate) events: usize,
    framing: Framing,
    pieces: Pieces,
    slow_head: bool,
    early_hints: bool,
    /// Compresses the body.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<'a, 'r> Outbox<'a, 'r> {
    pub(crate) fn new(
        stream: &'a TcpStream,
        tempo: &'a Tempo,
        fault: Option<Fault>,
        framing: Framing,
        recorder: &'r mut Option<Recorder>,
    ) -> Self {
        Outbox {
            stream,
            tempo,
            recorder,
            buffer: Vec::with_capacity(1 << 10),
            chunk_start: 0,
            events: 0,
            framing,
            pieces: match fault {
                Some(Fault::SplitUtf8) => Pieces::AtSeams,
                Some(Fault::SplitBytes) => Pieces::Bytes(3),
                _ => Pieces::Whole,
            },
            slow_head: fault == Some(Fault::SlowHeaders),
            early_hints: fault == Some(Fault::EarlyHints),
            encoder: (fault == Some(Fault::Gzip))
                .then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Mark the content of the buffer as the head. It is sent later, with what follows.
    pub(crate) async fn start_body(&mut self) -> io::Result<()> {
        if self.early_hints {
            let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
            write_all(self.stream, hints).await?;
        }
        if self.slow_head {
            for byte in self.buffer.chunks(1) {
                write_all(self.stream, byte).await?;
                sleep(SLOW_HEAD_PAUSE).await;
            }
            self.buffer.clear();
        }
        self.chunk_start = self.buffer.len();
        Ok(())
    }

    pub(crate) async fn end_body(&mut self) -> io::Result<()> {
        self.seal()?;
        if let Some(encoder) = self.encoder.take() {
            self.buffer.extend(encoder.finish()?);
            self.seal()?;
        }
        if let Framing::Chunked { trailers, .. } = self.framing {
            write_last_chunk(&mut self.buffer, trailers);
            self.chunk_start = self.buffer.len();
        }
        self.flush().await
    }

    pub(crate) fn seal(&mut self) -> io::Result<()> {
        if let Some(encoder) = &mut self.encoder
            && self.buffer.len() > self.chunk_start
        {
            encoder.write_all(&self.buffer[self.chunk_start..])?;
            encoder.flush()?;
            self.buffer.truncate(self.chunk_start);
            self.buffer.append(encoder.get_mut());
        }
        if let Framing::Chunked { extensions, .. } = self.framing {
            seal_chunk(&mut self.buffer, self.chunk_start, extensions);
        }
        self.chunk_start = self.buffer.len();
        Ok(())
    }

    /// Send everything in the buffer.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.seal()?;
        self.tempo.resumed().await;
        if self.recorder.is_some() && self.events > 0 {
            let (before, after) = self.send_stamped().await?;
            if let Some(recorder) = self.recorder {
                recorder.tokens(self.events, before, after);
            }
        } else {
            self.send().await?;
        }
        self.buffer.clear();
        self.chunk_start = 0;
        self.events = 0;
        Ok(())
    }

    async fn send(&mut self) -> io::Result<()> {
        match self.pieces {
            Pieces::AtSeams => {
                let mut rest = self.buffer.as_slice();
                while let Some(at) = seam(rest) {
                    write_all(self.stream, &rest[..at]).await?;
                    sleep(SPLIT_PAUSE).await;
                    rest = &rest[at..];
                }
                write_all(self.stream, rest).await
            }
            Pieces::Bytes(writes) if writes > 0 && self.events > 0 => {
                self.pieces = Pieces::Bytes(writes - 1);
                for byte in self.buffer.chunks(1) {
                    write_all(self.stream, byte).await?;
                    // Only the first event is slow: readers must see single bytes, but tests should
                    // not have to wait for all of them.
                    if writes == 3 {
                        sleep(SPLIT_PAUSE).await;
                    } else {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            }
            Pieces::Whole | Pieces::Bytes(_) => write_all(self.stream, &self.buffer).await,
        }
    }

    /// Send the buffer; returns the times just before its first byte was written and just after its
    /// last one was.
    async fn send_stamped(&mut self) -> io::Result<(u64, u64)> {
        if !matches!(self.pieces, Pieces::Whole) {
            let before = monotonic_ns();
            self.send().await?;
            return Ok((before, monotonic_ns()));
        }
        loop {
            let before = monotonic_ns();
            match self.stream.try_write(&self.buffer) {
                Ok(written) => {
                    write_all(self.stream, &self.buffer[written..]).await?;
                    return Ok((before, monotonic_ns()));
                }
                // Nothing was written: the wait for room is not part of the write.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The first position inside a multi-byte character or between CR and LF.
fn seam(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(2)
        .position(|pair| pair == b"\r\n" || (pair[0] >= 0xc2 && pair[1] >= 0x80))
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seams_are_where_readers_break() {
        assert_eq!(seam("ab的c".as_bytes()), Some(3));
        assert_eq!(seam(b"ab\r\n"), Some(3));
        assert_eq!(seam(b"ab\n\r"), None);
        assert_eq!(
            seam(&"的".as_bytes()[1..]),
            None,
            "a split character is not split again"
        );
    }
}
