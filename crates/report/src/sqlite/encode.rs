//! Owns the text forms of the wide columns: base64 of pickles. Its buffers are reused from row
//! to row.
//!
//! It must not know SQLite.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use evalscope_model::record::Texts;

use crate::pickle;

/// Turns bodies into what the columns hold.
pub(super) struct Encoder {
    base64: Simd,
    pickle: Vec<u8>,
    text: Vec<u8>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// Bytes as text: as they are where they are UTF-8, else with marks for what is not.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    // the check of valid text is several times faster than the repair
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            base64: Simd::standard(PAD),
            pickle: Vec::new(),
            text: Vec::new(),
        }
    }

    /// base64 of the pickle of the JSON value in `body`; of a string where it
    /// is no JSON.
    pub(super) fn request(&mut self, body: &[u8]) -> &[u8] {
        self.pickle.clear();
        match serde_json::from_slice(body) {
            Ok(value) => pickle::write_value(&mut self.pickle, &value),
            Err(_) => pickle::write_text(&mut self.pickle, &text(body)),
        }
        self.base64()
    }

    /// base64 of the pickle of a list of strings.
    pub(super) fn responses(&mut self, texts: &Texts) -> &[u8] {
        self.pickle.clear();
        pickle::write_texts(&mut self.pickle, |put| {
            texts.for_each(|bytes| put(&text(bytes)));
        });
        self.base64()
    }

    fn base64(&mut self) -> &[u8] {
        let length = self.pickle.len().div_ceil(3) * 4;
        // only ever grown: clearing it would write zeros over every row's room
        if self.text.len() < length {
            self.text.resize(length, 0);
        }
        let written = self
            .base64
            .encode_slice(&self.pickle, &mut self.text)
            .expect("the buffer has four bytes for every three");
        &self.text[..written]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn pickles_come_back() {
        let mut encoder = Encoder::new();
        let mut texts = Texts::default();
        for i in 0..2500 {
            texts.push(format!("{{\"n\":{i}}}").as_bytes());
        }
        texts.push(b"not \xff utf-8");
        let column = encoder.responses(&texts).to_vec();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(column)
            .unwrap();
        let list: Vec<String> =
            serde_pickle::from_slice(&bytes, serde_pickle::DeOptions::new()).unwrap();
        assert_eq!(list.len(), 2501);
        assert_eq!(list[2499], "{\"n\":2499}");
        assert_eq!(list[2500], "not \u{fffd} utf-8");
        // a shorter value after a longer one leaves nothing of it behind
        let column = encoder
            .request(b"{\"model\":\"m\",\"n\":[1,2.5,null]}")
            .to_vec();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(column)
            .unwrap();
        let value: serde_json::Value =
            serde_pickle::from_slice(&bytes, serde_pickle::DeOptions::new()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"model": "m", "n": [1, 2.5, null]})
        );
    }
}
