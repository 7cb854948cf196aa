//! Owns the framing of server-sent events: bytes in, events out, however the reads split them.
//!
//! Pure. It must not know JSON, any API, or the time. The rules are those of the WHATWG HTML
//! standard, section 9.2.6 ("Interpreting an event stream"), except that an unfinished event at the
//! end of a stream is emitted: servers omit the last blank line.

use memchr::memchr2;

/// Maximum size of an event: a server that never ends one must not exhaust memory.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// One event, borrowed from the bytes that completed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field; empty for a plain message.
    pub name: &'a [u8],
    /// The `data:` fields, joined by line feeds; never empty.
    pub data: &'a [u8],
}

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a single event is larger than {} MiB", MAX_EVENT_BYTES >> 20)]
pub struct EventTooLarge;

/// An incremental splitter.
///
/// ```
/// use evalscope_core::sse::Splitter;
/// let mut splitter = Splitter::default();
/// let mut seen = Vec::new();
/// for part in ["data: {\"a\"", ":1}\r", "\n\r\n: ping\n\ndata:x"] {
///     splitter.push(part.as_bytes(), |e| seen.push(e.data.to_vec())).unwrap();
/// }
/// splitter.finish(|e| seen.push(e.data.to_vec()));
/// assert_eq!(seen, [b"{\"a\":1}".to_vec(), b"x".to_vec()]);
/// ```
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes of an incomplete event; empty between events.
    pending: Vec<u8>,
    /// Progress of the scan of `pending`.
    scan: Scan,
    /// The last byte was a carriage return that ended a line: a line feed right after it belongs to
    /// the same line end.
    skip_line_feed: bool,
    /// Bytes of a byte order mark seen at the start of the stream.
    marked: usize,
    /// The start of the stream has been checked for a byte order mark.
    begun: bool,
    /// Buffer for joining several `data:` lines.
    joined: Vec<u8>,
    /// The most recent lines that are not fields.
    stray: Vec<u8>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How many bytes of such lines are kept.
const STRAY_BYTES: usize = 4096;

/// Position in the search for the end of an event.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    /// Up to here, the current line is known to have no line end.
    at: usize,
    /// Start of the current line.
    line: usize,
    /// Complete lines of the event so far.
    lines: usize,
}

impl Splitter {
    /// Take the bytes of one read and pass every event they complete to `sink`.
    ///
    /// # Errors
    /// If an event exceeds [`MAX_EVENT_BYTES`]; nothing more can be read.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Event<'_>),
    ) -> Result<(), EventTooLarge> {
        if !self.begun && !bytes.is_empty() {
            bytes = self.without_mark(bytes);
            if !self.begun {
                return Ok(());
            }
        }
        if self.skip_line_feed && !bytes.is_empty() {
            self.skip_line_feed = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        if self.pending.is_empty() {
            let rest = self.split(bytes, &mut sink);
            self.pending.extend_from_slice(&bytes[rest..]);
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(bytes);
            let rest = self.split(&pending, &mut sink);
            pending.drain(..rest);
            self.pending = pending;
        }
        if self.pending.len() > MAX_EVENT_BYTES {
            return Err(EventTooLarge);
        }
        Ok(())
    }

    /// The stream's first bytes, once there are enough to tell whether they are a byte order mark;
    /// empty before that.
    fn without_mark<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let rest = &BYTE_ORDER_MARK[self.marked..];
        let n = rest.len().min(bytes.len());
        if bytes[..n] != rest[..n] {
            // no mark: the bytes held back belong to the first line
            self.begun = true;
            self.pending
                .extend_from_slice(&BYTE_ORDER_MARK[..self.marked]);
            return bytes;
        }
        self.marked += n;
        self.begun = self.marked == BYTE_ORDER_MARK.len();
        &bytes[n..]
    }

    /// The most recent lines that are not fields, as far as they are kept: some servers break the
    /// framing to report an error.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        &self.stray
    }

    /// The stream has ended: emit an event that lacks its blank line.
    pub fn finish(&mut self, sink: impl FnOnce(Event<'_>)) {
        let pending = std::mem::take(&mut self.pending);
        let lines = self.scan.lines + 1;
        self.scan = Scan::default();
        self.emit(&pending, lines, sink);
    }

    /// Emit the complete events of `buffer`; returns where the incomplete one starts and leaves
    /// `scan` relative to it.
    fn split(&mut self, buffer: &[u8], sink: &mut impl FnMut(Event<'_>)) -> usize {
        evalscope_model::steps::add(buffer.len() - self.scan.at);
        let mut block = 0;
        let mut scan = self.scan;
        while let Some(found) = memchr2(b'\n', b'\r', &buffer[scan.at..]) {
            let end = scan.at + found;
            let mut next = end + 1;
            if buffer[end] == b'\r' {
                match buffer.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => self.skip_line_feed = true,
                }
            }
            if end == scan.line {
                if scan.lines > 0 {
                    self.emit(&buffer[block..end], scan.lines, &mut *sink);
                }
                block = next;
                scan.lines = 0;
            } else {
                scan.lines += 1;
            }
            scan.line = next;
            scan.at = next;
        }
        self.scan = Scan {
            at: buffer.len() - block,
            line: scan.line - block,
            lines: scan.lines,
        };
        block
    }

    fn emit(&mut self, block: &[u8], lines: usize, sink: impl FnOnce(Event<'_>)) {
        evalscope_model::steps::add(block.len());
        // a single `data:` line, with or without its line end, as from all servers
        if lines == 1
            && let Some(data) = block.strip_prefix(b"data:")
        {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            let end = data
                .iter()
                .rposition(|b| !matches!(b, b'\r' | b'\n'))
                .map_or(0, |last| last + 1);
            if end > 0 {
                sink(Event {
                    name: b"",
                    data: &data[..end],
                });
            }
            return;
        }
        self.joined.clear();
        let mut name: &[u8] = b"";
        let mut single: Option<&[u8]> = None;
        let mut n_data = 0;
        let mut has_stray = false;
        let mut rest = block;
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = match &rest[end..] {
                [b'\r', b'\n', tail @ ..] | [_, tail @ ..] => tail,
                [] => &[],
            };
            let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"data" => {
                    n_data += 1;
                    if n_data == 1 {
                        single = Some(value);
                    } else {
                        if let Some(first) = single.take() {
                            self.joined.extend_from_slice(first);
                        }
                        self.joined.push(b'\n');
                        self.joined.extend_from_slice(value);
                    }
                }
                b"event" => name = value,
                // comments (an empty field name)
                b"id" | b"retry" | b"" => {}
                _ => {
                    if !has_stray {
                        has_stray = true;
                        self.stray.clear();
                    }
                    let room = STRAY_BYTES - self.stray.len();
                    self.stray.extend_from_slice(&line[..line.len().min(room)]);
                }
            }
        }
        let data = single.unwrap_or(&self.joined);
        if !data.is_empty() {
            sink(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, Vec<u8>);

    fn events<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut splitter = Splitter::default();
        let mut seen = Vec::new();
        for part in parts {
            splitter
                .push(part, |e| seen.push((e.name.to_vec(), e.data.to_vec())))
                .unwrap();
        }
        splitter.finish(|e| seen.push((e.name.to_vec(), e.data.to_vec())));
        seen
    }

    fn whole(text: &str) -> Vec<(String, String)> {
        events([text.as_bytes()])
            .into_iter()
            .map(|(n, d)| (String::from_utf8(n).unwrap(), String::from_utf8(d).unwrap()))
            .collect()
    }

    fn plain(data: &[&str]) -> Vec<(String, String)> {
        data.iter()
            .map(|d| (String::new(), (*d).to_owned()))
            .collect()
    }

    #[test]
    fn the_variants_servers_send() {
        for (text, want) in [
            ("data: a\n\ndata: b\n\n", &["a", "b"][..]),
            ("data:a\n\ndata:b\n\n", &["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            (": ping\n\ndata: a\n\n: ping\n\n", &["a"]),
            (": ping\ndata: a\n\n", &["a"]),
            ("id: 3\nretry: 10\ndata: a\n\n", &["a"]),
            ("data: a\ndata: b\n\n", &["a\nb"]),
            ("data: a", &["a"]),
            ("data: a\n", &["a"]),
            ("data: a\r\n", &["a"]),
            ("data: a\n\ndata: [DONE]", &["a", "[DONE]"]),
            ("\n\n\ndata: a\n\n\n\n", &["a"]),
            ("data:  a\n\n", &[" a"]),
            ("data\n\ndata:\n\ndata: \n\n", &[]),
            ("\u{feff}data: a\n\n", &["a"]),
            ("", &[]),
        ] {
            assert_eq!(whole(text), plain(want), "{text:?}");
        }
    }

    #[test]
    fn lines_that_are_no_fields_are_kept_apart() {
        let mut splitter = Splitter::default();
        let mut n = 0;
        let text = "data: a\n\n{\"error\":\n {\"message\": \"b\"}}\ndata: c\n\n: d\nid: 3\n\ne";
        splitter.push(text.as_bytes(), |_| n += 1).unwrap();
        assert_eq!(n, 2);
        assert_eq!(splitter.stray(), b"{\"error\": {\"message\": \"b\"}}");
        splitter.push(&[b'x'; 10_000], |_| {}).unwrap();
        splitter.finish(|_| {});
        assert_eq!(splitter.stray().len(), STRAY_BYTES);
    }

    #[test]
    fn a_name_goes_with_its_event_only() {
        assert_eq!(
            whole("event: error\ndata: x\n\ndata: y\n\n"),
            [
                ("error".into(), "x".into()),
                (String::new(), "y".to_owned())
            ]
        );
    }

    #[test]
    fn an_endless_event_is_an_error() {
        let mut splitter = Splitter::default();
        let piece = vec![b'x'; 1 << 20];
        let mut result = Ok(());
        for _ in 0..17 {
            result = splitter.push(&piece, |_| {});
        }
        assert_eq!(result, Err(EventTooLarge));
    }

    /// Streams of significant pieces, so that splits hit every boundary.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "\u{feff}",
            "data: ",
            "data:",
            "event: error",
            ": c",
            "id: 1",
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            "\r\n\r\n",
            "\r\r",
            "{\"a\":\"日本\"}",
            "x",
            "你好",
            "[DONE]",
            " ",
            "data",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|p| p.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn splitting_anywhere_gives_the_same_events(
            bytes in stream(),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let want = events([bytes.as_slice()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(&events(parts), &want);
            prop_assert_eq!(&events(bytes.chunks(1)), &want);
        }

        #[test]
        fn no_input_panics(parts in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            events(parts.iter().map(Vec::as_slice));
        }
    }
}
