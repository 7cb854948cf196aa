//! Owns the framing of streams of JSON lines (NDJSON): bytes in, lines out, however the reads split them.
//!
//! Pure. It must not know JSON, any API, or the time. Blank lines are skipped, and an unfinished line at
//! the end of a stream is emitted.

use memchr::memchr;

use crate::sse::{Event, EventTooLarge, MAX_EVENT_BYTES};

/// An incremental splitter. Each line is an event without a name.
///
/// ```
/// use evalscope_core::ndjson::LineSplitter;
/// let mut lines = LineSplitter::default();
/// let mut seen = Vec::new();
/// for part in ["{\"a\"", ":1}\r", "\n\n{}\n{\"b\"", ":2}"] {
///     lines.push(part.as_bytes(), |e| seen.push(e.data.to_vec())).unwrap();
/// }
/// lines.finish(|e| seen.push(e.data.to_vec()));
/// assert_eq!(seen, [b"{\"a\":1}".to_vec(), b"{}".to_vec(), b"{\"b\":2}".to_vec()]);
/// ```
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// Bytes of an incomplete line, which has no line end.
    pending: Vec<u8>,
}

impl LineSplitter {
    /// Take the bytes of one read and pass every line they complete to `sink`.
    ///
    /// # Errors
    /// If a line exceeds [`MAX_EVENT_BYTES`]; nothing more can be read.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Event<'_>),
    ) -> Result<(), EventTooLarge> {
        evalscope_model::steps::add(bytes.len());
        while let Some(end) = memchr(b'\n', bytes) {
            if self.pending.is_empty() {
                emit(&bytes[..end], &mut sink);
            } else {
                self.pending.extend_from_slice(&bytes[..end]);
                emit(&self.pending, &mut sink);
                self.pending.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() > MAX_EVENT_BYTES {
            return Err(EventTooLarge);
        }
        Ok(())
    }

    /// The stream has ended: emit a line without a line end.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) {
        emit(&std::mem::take(&mut self.pending), &mut sink);
    }
}

fn emit(line: &[u8], sink: &mut impl FnMut(Event<'_>)) {
    let data = line.trim_ascii();
    if !data.is_empty() {
        sink(Event { name: b"", data });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::default();
        let mut seen = Vec::new();
        for part in parts {
            let take = |event: Event<'_>| seen.push(event.data.to_vec());
            splitter.push(part, take).unwrap();
        }
        splitter.finish(|event| seen.push(event.data.to_vec()));
        seen
    }

    proptest! {
        /// Reads of any size give the same lines.
        #[test]
        fn the_size_of_reads_changes_nothing(text in "[ab \r\n]{0,40}", size in 1usize..8) {
            let parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let whole = lines(&[text.as_bytes()]);
            prop_assert_eq!(lines(&parts), whole.clone());
            let expected = text.split('\n').map(|line| line.trim_ascii().as_bytes().to_vec());
            prop_assert_eq!(whole, expected.filter(|line| !line.is_empty()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_line_without_end_is_too_large() {
        let mut splitter = LineSplitter::default();
        let part = vec![b'x'; MAX_EVENT_BYTES / 2 + 1];
        splitter.push(&part, |_| {}).unwrap();
        assert_eq!(splitter.push(&part, |_| {}), Err(EventTooLarge));
    }
}
