//! Owns the content codings of responses: which can be decoded, and decoding them as the bytes
//! arrive.
//!
//! It must not know sockets, heads or what the bytes mean. Output is passed on in pieces of a fixed
//! size, so that a small input that decodes to a huge output never fills memory.

use std::fmt;
use std::io::{self, ErrorKind};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Maximum size of one decoded piece.
const PIECE_BYTES: usize = 8 << 10;

/// Decodes one response.
pub(super) struct Decoder {
    inflate: Decompress,
    frame: Frame,
    name: &'static str,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoder").field(&self.name).finish()
    }
}

/// The format around the deflated bytes, and the position in it.
#[derive(Debug)]
enum Frame {
    /// RFC 1952: members, each with a header and a trailer.
    Gzip(Member),
    /// `deflate` before its first byte. According to RFC 9110 it is the zlib format; some servers
    /// send raw deflate.
    Unknown,
    /// zlib format or raw deflate, up to its end.
    Deflated { ended: bool },
}

/// The position in a gzip member.
#[derive(Debug)]
enum Member {
    Header(Header),
    Deflated(Crc),
    Trailer {
        crc: Crc,
        bytes: [u8; 8],
        n: usize,
    },
    /// A member has ended and no other has started. Anything that is not a member is padding.
    Between {
        n: usize,
    },
    Padding,
}

/// A member's header, byte by byte.
#[derive(Debug, Default)]
struct Header {
    /// Number of bytes of the fixed part so far.
    n: usize,
    flags: u8,
    part: Part,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Fixed,
    ExtraLength {
        first: Option<u8>,
    },
    Extra(u16),
    Name,
    Comment,
    Checksum(u8),
}

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HAS_CHECKSUM: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

impl Decoder {
    /// The decoder for a `Content-Encoding`, in lower case; `None` if it is not supported.
    pub(super) fn of(coding: &str) -> Option<Box<Self>> {
        let (name, frame) = match coding {
            "gzip" | "x-gzip" => ("gzip", Frame::Gzip(Member::Header(Header::default()))),
            "deflate" => ("deflate", Frame::Unknown),
            _ => return None,
        };
        Some(Box::new(Self {
            inflate: Decompress::new(false),
            frame,
            name,
        }))
    }

    /// Decode some bytes. Each piece goes to `sink`, which says whether it wants more.
    ///
    /// # Errors
    /// If the bytes are not a valid encoding.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        while let Some(&first) = bytes.first() {
            match &mut self.frame {
                Frame::Unknown => {
                    // RFC 1950: the low four bits are 8. Raw deflate starts with these only for a
                    // stored block whose padding is not zero.
                    let zlib = first & 0x0f == 8;
                    self.inflate = Decompress::new(zlib);
                    self.frame = Frame::Deflated { ended: false };
                }
                Frame::Deflated { ended: true } | Frame::Gzip(Member::Padding) => return Ok(()),
                Frame::Deflated { ended } => {
                    let inflated = inflate(&mut self.inflate, bytes, &mut sink)?;
                    let Some((used, end)) = inflated else {
                        return Ok(());
                    };
                    *ended = end;
                    bytes = &bytes[used..];
                }
                Frame::Gzip(member @ Member::Deflated(_)) => {
                    let Member::Deflated(crc) = member else {
                        unreachable!("guaranteed by the match arm")
                    };
                    let inflated = inflate(&mut self.inflate, bytes, |piece| {
                        crc.update(piece);
                        sink(piece)
                    })?;
                    let Some((used, end)) = inflated else {
                        return Ok(());
                    };
                    bytes = &bytes[used..];
                    if end {
                        *member = Member::Trailer {
                            crc: std::mem::take(crc),
                            bytes: [0; 8],
                            n: 0,
                        };
                    }
                }
                Frame::Gzip(member) => {
                    bytes = &bytes[1..];
                    if member.step(first)? {
                        self.inflate.reset(false);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the body may end here.
    pub(super) fn is_whole(&self) -> bool {
        match &self.frame {
            Frame::Unknown | Frame::Deflated { ended: true } => true,
            Frame::Deflated { ended: false } => false,
            Frame::Gzip(Member::Header(header)) => header.n == 0,
            Frame::Gzip(member) => matches!(member, Member::Between { .. } | Member::Padding),
        }
    }
}

/// Inflate until the bytes or the deflated data end. Returns the number of bytes used and whether
/// the data ended; `None` if the sink wants no more.
fn inflate(
    inflate: &mut Decompress,
    bytes: &[u8],
    mut sink: impl FnMut(&[u8]) -> bool,
) -> io::Result<Option<(usize, bool)>> {
    let mut piece = [0; PIECE_BYTES];
    let mut used = 0;
    loop {
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(&bytes[used..], &mut piece, FlushDecompress::Sync)?;
        let length = |total: u64, before: u64| {
            usize::try_from(total - before).expect("at most the length of the slices passed in")
        };
        let taken = length(inflate.total_in(), before_in);
        let made = length(inflate.total_out(), before_out);
        used += taken;
        if made > 0 && !sink(&piece[..made]) {
            return Ok(None);
        }
        if status == Status::StreamEnd {
            return Ok(Some((used, true)));
        }
        if made < piece.len() && used == bytes.len() {
            return Ok(Some((used, false)));
        }
        if made == 0 && taken == 0 {
            return Err(invalid("it makes no progress"));
        }
    }
}

impl Member {
    /// Read one byte of the format around the deflated data. Returns whether deflated data starts
    /// after it.
    fn step(&mut self, byte: u8) -> io::Result<bool> {
        match self {
            Member::Header(header) => {
                if header.step(byte)? {
                    *self = Member::Deflated(Crc::new());
                    return Ok(true);
                }
            }
            Member::Trailer { crc, bytes, n } => {
                bytes[*n] = byte;
                *n += 1;
                if *n == bytes.len() {
                    let word = |at: usize| {
                        let word = bytes[at..at + 4].try_into();
                        u32::from_le_bytes(word.expect("four of eight bytes"))
                    };
                    if (word(0), word(4)) != (crc.sum(), crc.amount()) {
                        return Err(invalid("its checksum does not match"));
                    }
                    *self = Member::Between { n: 0 };
                }
            }
            Member::Between { n } => {
                if byte != GZIP_MAGIC[*n] {
                    *self = Member::Padding;
                } else if *n + 1 < GZIP_MAGIC.len() {
                    *n += 1;
                } else {
                    *self = Member::Header(Header {
                        n: GZIP_MAGIC.len(),
                        ..Header::default()
                    });
                }
            }
            Member::Deflated(_) | Member::Padding => {}
        }
        Ok(false)
    }
}

impl Header {
    /// Returns whether the header ends with this byte.
    fn step(&mut self, byte: u8) -> io::Result<bool> {
        match &mut self.part {
            Part::Fixed => {
                if self.n < GZIP_MAGIC.len() && byte != GZIP_MAGIC[self.n] {
                    return Err(invalid("it has no gzip header"));
                }
                if self.n == GZIP_MAGIC.len() {
                    self.flags = byte;
                }
                self.n += 1;
                return Ok(self.n == 10 && self.next(HAS_EXTRA));
            }
            Part::ExtraLength { first: None } => {
                self.part = Part::ExtraLength { first: Some(byte) };
            }
            Part::ExtraLength { first: Some(first) } => {
                let length = u16::from_le_bytes([*first, byte]);
                self.part = Part::Extra(length);
                return Ok(length == 0 && self.next(HAS_NAME));
            }
            Part::Extra(left) => {
                *left -= 1;
                return Ok(*left == 0 && self.next(HAS_NAME));
            }
            Part::Name => return Ok(byte == 0 && self.next(HAS_COMMENT)),
            Part::Comment => return Ok(byte == 0 && self.next(HAS_CHECKSUM)),
            Part::Checksum(left) => {
                *left -= 1;
                return Ok(*left == 0);
            }
        }
        Ok(false)
    }

    /// Move to the next optional part that is present, starting from `from`. Returns whether there
    /// is none.
    fn next(&mut self, from: u8) -> bool {
        let parts = [HAS_EXTRA, HAS_NAME, HAS_COMMENT, HAS_CHECKSUM];
        let from = parts.iter().position(|part| *part == from).unwrap_or(0);
        let there = parts[from..].iter().find(|part| self.flags & **part != 0);
        self.part = match there {
            Some(&HAS_EXTRA) => Part::ExtraLength { first: None },
            Some(&HAS_NAME) => Part::Name,
            Some(&HAS_COMMENT) => Part::Comment,
            Some(_) => Part::Checksum(2),
            None => return true,
        };
        false
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn decoded<'a>(
        coding: &str,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<(Vec<u8>, bool)> {
        let mut decoder = Decoder::of(coding).unwrap();
        let mut out = Vec::new();
        for part in parts {
            decoder.push(part, |piece| {
                assert!(piece.len() <= PIECE_BYTES);
                out.extend_from_slice(piece);
                true
            })?;
        }
        Ok((out, decoder.is_whole()))
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn codings_that_are_known() {
        for known in ["gzip", "x-gzip", "deflate"] {
            assert!(Decoder::of(known).is_some(), "{known}");
        }
        for other in ["br", "zstd", "compress", "gzip, gzip", ""] {
            assert!(Decoder::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_flushed_event_comes_out_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = Decoder::of("gzip").unwrap();
        let mut sent = 0;
        for n in 0..50 {
            let event = format!("data: {{\"n\":{n}}}\n\n");
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let coded = &encoder.get_ref()[sent..];
            let mut out = Vec::new();
            decoder
                .push(coded, |piece| {
                    out.extend_from_slice(piece);
                    true
                })
                .unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), event);
            sent = encoder.get_ref().len();
        }
        assert!(!decoder.is_whole());
    }

    #[test]
    fn a_header_with_all_parts_and_several_members() {
        let member = |text: &[u8]| {
            let mut encoder = GzBuilder::new()
                .extra([7; 300])
                .filename("f")
                .comment("c")
                .write(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let mut coded = member(b"one ");
        coded.extend(member(b""));
        coded.extend(gzip(b"two"));
        let want = (b"one two".to_vec(), true);
        assert_eq!(decoded("gzip", [coded.as_slice()]).unwrap(), want);
        assert_eq!(decoded("gzip", coded.chunks(1)).unwrap(), want);
        coded.extend([0; 100]);
        assert_eq!(decoded("gzip", coded.chunks(7)).unwrap(), want);
    }

    #[test]
    fn a_checksum_of_the_header_is_passed_over() {
        let coded = gzip(b"text");
        let mut with_checksum = coded[..10].to_vec();
        with_checksum[3] |= HAS_CHECKSUM;
        with_checksum.extend([0xab, 0xcd]);
        with_checksum.extend_from_slice(&coded[10..]);
        assert_eq!(
            decoded("gzip", [with_checksum.as_slice()]).unwrap(),
            (b"text".to_vec(), true)
        );
    }

    #[test]
    fn deflate_with_and_without_the_format_of_zlib() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(b"hello hello hello").unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(b"hello hello hello").unwrap();
        for coded in [zlib.finish().unwrap(), bare.finish().unwrap()] {
            let (text, whole) = decoded("deflate", coded.chunks(1)).unwrap();
            assert_eq!(
                (text.as_slice(), whole),
                (b"hello hello hello".as_slice(), true)
            );
        }
    }

    #[test]
    fn what_is_broken_or_cut_is_told() {
        assert!(decoded("gzip", [b"{\"plain\":1}".as_slice()]).is_err());
        let mut coded = gzip(b"some text");
        for cut in 1..coded.len() {
            assert!(!decoded("gzip", [&coded[..cut]]).unwrap().1, "{cut}");
        }
        assert!(decoded("gzip", []).unwrap().1, "no body at all");
        let last = coded.len() - 1;
        coded[last] ^= 1;
        assert!(decoded("gzip", [coded.as_slice()]).is_err());
    }

    #[test]
    fn a_bomb_is_left_when_nobody_wants_more() {
        let coded = gzip(&vec![0; 8 << 20]);
        let mut decoder = Decoder::of("gzip").unwrap();
        let mut got = 0;
        let all = decoder.push(&coded, |piece| {
            got += piece.len();
            got < 1 << 20
        });
        all.unwrap();
        assert!(got < (1 << 20) + PIECE_BYTES, "{got}");
    }

    proptest! {
        #[test]
        fn cutting_anywhere_decodes_the_same(
            words in prop::collection::vec("[a-d]{1,9}", 0..400),
            cuts in prop::collection::vec(1usize..200, 1..20),
        ) {
            let text = words.join(" ").into_bytes();
            let coded = gzip(&text);
            let mut rest = coded.as_slice();
            let mut parts = Vec::new();
            for cut in cuts {
                let (part, tail) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = tail;
            }
            parts.push(rest);
            prop_assert_eq!(decoded("gzip", parts).unwrap(), (text, true));
        }

        #[test]
        fn no_input_panics(coding in 0usize..2, parts in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let _ = decoded(["gzip", "deflate"][coding], parts.iter().map(Vec::as_slice));
            let start = gzip(b"");
            let parts = std::iter::once(&start[..10]).chain(parts.iter().map(Vec::as_slice));
            let _ = decoded("gzip", parts);
        }
    }
}
