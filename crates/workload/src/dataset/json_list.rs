//! Owns splitting a file that is one JSON list into its items, so that only one of them is in
//! memory at a time.
//!
//! It finds the end of each item; what an item means, and whether it is valid JSON, is left to its
//! parser.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::file_list::read_error;
use super::item::{MOST_ITEM_BYTES, Wrong, not_json};

const BUFFER_BYTES: usize = 1 << 16;

/// The items of a list, numbered from 1.
#[derive(Debug)]
pub(super) struct JsonList {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    item: Vec<u8>,
    /// The line of the file, from 1, in which the current item starts, and the line reached so far.
    begun: u64,
    line: u64,
    ended: bool,
    /// The field of an object whose value it is.
    field: Option<&'static str>,
}

/// Position inside an item.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Outside,
    InText,
    /// After a backslash in a string.
    Escaped,
}

/// What ended an item.
#[derive(PartialEq)]
enum End {
    Comma,
    List,
}

impl JsonList {
    /// Open a file that starts with `[`.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let mut list = Self::begin(path, None)?;
        // the caller has seen the bracket, perhaps after a byte order mark or blanks
        loop {
            match list.byte()? {
                Some(b'[') => return Ok(list),
                Some(_) => {}
                None => return Err(list.broken("it is not a list")),
            }
        }
    }

    /// Open a file that is an object with this field, a list.
    pub(super) fn open_field(path: &Path, field: &'static str) -> Result<Self, DatasetError> {
        let mut list = Self::begin(path, Some(field))?;
        let (mut depth, mut at) = (0_u64, At::Outside);
        // the last text in the object itself, and whether a colon came behind it
        let (mut text, mut is_key) = (Vec::new(), false);
        while let Some(byte) = list.byte()? {
            match (at, byte) {
                (At::Escaped, _) => at = At::InText,
                (At::InText, b'\\') => at = At::Escaped,
                (At::InText, b'"') => at = At::Outside,
                (At::InText, byte) if depth == 1 && text.len() <= field.len() => text.push(byte),
                (At::Outside, b'"') => {
                    at = At::InText;
                    if depth == 1 {
                        text.clear();
                    }
                }
                (At::Outside, b':') if depth == 1 => is_key = true,
                (At::Outside, b',') if depth == 1 => is_key = false,
                (At::Outside, b'[') if depth == 1 && is_key && text == field.as_bytes() => {
                    return Ok(list);
                }
                (At::Outside, b'[' | b'{') => depth += 1,
                (At::Outside, b']' | b'}') => depth = depth.saturating_sub(1),
                (At::InText | At::Outside, _) => {}
            }
        }
        Err(read_error(path)(std::io::Error::other(format!(
            "it is not an object with a list `{field}`"
        ))))
    }

    fn begin(path: &Path, field: Option<&'static str>) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(read_error(path))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(BUFFER_BYTES, file),
            number: 0,
            item: Vec::new(),
            begun: 1,
            line: 1,
            ended: false,
            field,
        })
    }

    /// The bytes of the next item, not checked to be JSON.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, DatasetError> {
        if self.ended {
            return Ok(None);
        }
        self.item.clear();
        self.number += 1;
        self.begun = self.line;
        // after damage there are no more items
        self.ended = true;
        let end = self.read_item()?;
        self.ended = end == End::List;
        let blank = self.item.iter().all(u8::is_ascii_whitespace);
        if end == End::List {
            if self.field.is_none() {
                self.nothing_follows()?;
            }
            if blank && self.number == 1 {
                return Ok(None);
            }
        }
        Ok(Some(&self.item))
    }

    /// An error in the current item.
    pub(super) fn error(&self, wrong: Wrong) -> DatasetError {
        let blanks = self.item.len() - self.item.trim_ascii_start().len();
        let (line, reason) = match wrong {
            Wrong::Json(error) => (error.line() as u64 - 1, not_json(&error)),
            Wrong::Said(reason) => (lines_in(&self.item[..blanks]), reason),
        };
        DatasetError::Item {
            path: self.path.clone(),
            place: format!("item {}, line {}", self.number, self.begun + line),
            reason,
        }
    }

    /// An error that affects the rest of the file.
    fn broken(&self, reason: &str) -> DatasetError {
        DatasetError::Broken {
            path: self.path.clone(),
            place: format!("item {}, line {}", self.number, self.line),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        *self = match self.field {
            Some(field) => Self::open_field(&self.path, field)?,
            None => Self::open(&self.path)?,
        };
        Ok(())
    }

    fn read_item(&mut self) -> Result<End, DatasetError> {
        let mut at = At::Outside;
        let mut depth = 0_u64;
        loop {
            let buffer = self.reader.fill_buf().map_err(read_error(&self.path))?;
            if buffer.is_empty() {
                return Err(self.broken("the list is not closed: the file is truncated"));
            }
            let mut end = None;
            let mut used = 0;
            while used < buffer.len() && end.is_none() {
                if at == At::InText {
                    // most of the file is strings: skip to their possible ends quickly
                    let rest = &buffer[used..];
                    let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    used += plain;
                    if used == buffer.len() {
                        break;
                    }
                }
                let byte = buffer[used];
                used += 1;
                at = match (at, byte) {
                    (At::Outside, b'"') | (At::Escaped, _) => At::InText,
                    (At::InText, b'"') => At::Outside,
                    (At::InText, b'\\') => At::Escaped,
                    (at, _) => at,
                };
                if at == At::Outside {
                    match byte {
                        b'[' | b'{' => depth += 1,
                        b',' if depth == 0 => end = Some(End::Comma),
                        b']' if depth == 0 => end = Some(End::List),
                        b']' | b'}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                }
            }
            let content = used - usize::from(end.is_some());
            self.item.extend_from_slice(&buffer[..content]);
            self.line += lines_in(&buffer[..used]);
            self.reader.consume(used);
            if self.item.len() > MOST_ITEM_BYTES {
                return Err(self.broken("the item is larger than 256 MiB"));
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    fn nothing_follows(&mut self) -> Result<(), DatasetError> {
        while let Some(byte) = self.byte()? {
            if !byte.is_ascii_whitespace() {
                return Err(self.broken("there is more after the list"));
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<Option<u8>, DatasetError> {
        let buffer = self.reader.fill_buf().map_err(read_error(&self.path))?;
        let byte = buffer.first().copied();
        self.line += u64::from(byte == Some(b'\n'));
        self.reader.consume(usize::from(byte.is_some()));
        Ok(byte)
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn items(text: &[u8]) -> Result<Vec<Value>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let hide = |e: String| e.replace(&file.path().display().to_string(), "FILE");
        let mut list = JsonList::open(file.path()).map_err(|e| hide(e.to_string()))?;
        let mut items = Vec::new();
        loop {
            match list.next().map_err(|e| hide(e.to_string()))? {
                Some(item) => match serde_json::from_slice(item) {
                    Ok(item) => items.push(item),
                    Err(error) => return Err(hide(list.error(error.into()).to_string())),
                },
                None => return Ok(items),
            }
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[\\PC\"\\\\\\[\\]{},\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c\"\\\\]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn items_are_those_that_a_whole_parse_gives(
            all in prop::collection::vec(json(), 0..6),
            pretty: bool,
        ) {
            let text = if pretty {
                serde_json::to_vec_pretty(&all).unwrap()
            } else {
                serde_json::to_vec(&all).unwrap()
            };
            prop_assert_eq!(items(&text).unwrap(), all);
        }

        #[test]
        fn a_list_that_is_cut_off_is_an_error(all in prop::collection::vec(json(), 1..4), cut: prop::sample::Index) {
            let text = serde_json::to_vec(&all).unwrap();
            prop_assert!(items(&text[..cut.index(text.len())]).is_err());
        }

        #[test]
        fn what_a_whole_parse_refuses_is_refused(text in "[\\[\\]{}\",:a1 ]{0,12}") {
            let text = format!("[{text}");
            let whole: Result<Vec<Value>, _> = serde_json::from_str(&text);
            prop_assert_eq!(items(text.as_bytes()).ok(), whole.ok());
        }
    }

    #[test]
    fn marks_and_blanks_are_passed_over() {
        assert_eq!(items(b"\xef\xbb\xbf \n[ 1 ,\r\n2 ]\n").unwrap(), [1, 2]);
        assert!(items(b"[ ]").unwrap().is_empty());
    }

    #[test]
    fn errors_say_which_item() {
        let error = |text: &str| items(text.as_bytes()).unwrap_err();
        insta::assert_snapshot!(error("[1,\n2,"), @"FILE, item 3, line 2: the list is not closed: the file is truncated");
        insta::assert_snapshot!(error("[1,\n]"), @"FILE, item 2, line 2: not JSON: EOF while parsing a value");
        insta::assert_snapshot!(error("[1] x"), @"FILE, item 1, line 1: there is more after the list");
        insta::assert_snapshot!(error("[1 2]"), @"FILE, item 1, line 1: not JSON: trailing characters at column 3");
        insta::assert_snapshot!(error("[1,\n\n  2,\n\n {\n\"a\": b}\n]"), @"FILE, item 3, line 6: not JSON: expected value at column 6");
        insta::assert_snapshot!(error("  "), @"FILE, item 0, line 1: it is not a list");
    }
}
