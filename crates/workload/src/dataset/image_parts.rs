//! Owns images inside prompts: the type of an image file, its data URL, the content parts of a
//! message with images, and an estimate of how many tokens images cost.
//!
//! It must not know where images come from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use evalscope_model::prompt::Prompt;

/// Number of base64 characters first searched for an image header, and four times as many each time
/// it is incomplete: the size is in the first bytes, except in a JPEG, where a preview may precede
/// it.
const FIRST_LOOK_CHARS: usize = 4096;

/// The MIME type of an image, from its first bytes; `None` unless it is JPEG, PNG, GIF, WebP or
/// BMP.
#[must_use]
pub fn image_mime(bytes: &[u8]) -> Option<&'static str> {
    let riff = |bytes: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    // "BM" alone could be text: the reserved fields after the size are 0
    let bitmap = |bytes: &[u8]| bytes.starts_with(b"BM") && bytes.get(6..10) == Some(&[0; 4]);
    if bytes.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if riff(bytes) {
        Some("image/webp")
    } else if bitmap(bytes) {
        Some("image/bmp")
    } else {
        None
    }
}

/// Encode the bytes as a `data:` URL.
#[must_use]
pub fn data_url(mime: &str, bytes: &[u8]) -> String {
    let mut url = format!("data:{mime};base64,");
    url.reserve_exact(bytes.len().div_ceil(3) * 4);
    STANDARD.encode_string(bytes, &mut url);
    url
}

/// A user message with a text and images, in OpenAI's format; see [`content_parts`].
#[must_use]
pub fn user_message(text: &str, image_urls: impl IntoIterator<Item = String>) -> Value {
    json!({"role": "user", "content": content_parts(text, image_urls)})
}

/// The content of a message with images, in OpenAI's format: the text first, unless it is empty,
/// then the images.
#[must_use]
pub fn content_parts(text: &str, image_urls: impl IntoIterator<Item = String>) -> Value {
    let text = (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
    let images = image_urls
        .into_iter()
        .map(|url| json!({"type": "image_url", "image_url": {"url": url}}));
    Value::Array(text.into_iter().chain(images).collect())
}

/// Tokens of all images of a prompt, at one token per square of `patch` pixels, rounded up. An
/// image that is not a base64 `data:` URL, or whose size cannot be read, counts as 0.
#[must_use]
pub fn image_tokens(prompt: &Prompt, patch: u32) -> u64 {
    let messages = match prompt {
        Prompt::Messages(messages) => messages.as_slice(),
        Prompt::Body(body) => match body.get("messages") {
            Some(Value::Array(messages)) => messages,
            _ => return 0,
        },
        Prompt::Text(_) | Prompt::TokenIds(_) => return 0,
    };
    let patch = u64::from(patch.max(1));
    messages
        .iter()
        .filter_map(|message| message.get("content")?.as_array())
        .flatten()
        .filter_map(image_url)
        .filter_map(size_of_data_url)
        .map(|(width, height)| width.div_ceil(patch).saturating_mul(height.div_ceil(patch)))
        .fold(0, u64::saturating_add)
}

fn image_url(part: &Value) -> Option<&str> {
    let image = part.get("image_url")?;
    image.get("url").unwrap_or(image).as_str()
}

fn size_of_data_url(url: &str) -> Option<(u64, u64)> {
    let (head, encoded) = url.strip_prefix("data:")?.split_once(',')?;
    head.ends_with(";base64").then_some(())?;
    let encoded = encoded.as_bytes();
    let mut look = FIRST_LOOK_CHARS;
    loop {
        // whole groups of four characters, so that a part can be decoded
        let part = encoded.get(..look).unwrap_or(encoded);
        let bytes = STANDARD.decode(part).ok()?;
        if let Ok(size) = imagesize::blob_size(&bytes) {
            return Some((size.width as u64, size.height as u64));
        }
        if part.len() == encoded.len() {
            return None;
        }
        look = look.saturating_mul(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(urls: &[String]) -> Prompt {
        Prompt::Messages(vec![user_message("what is this?", urls.to_vec())])
    }

    /// A header as written by a camera: a preview, then the size.
    fn jpeg(width: u16, height: u16, preview: u16) -> Vec<u8> {
        let mut bytes = b"\xff\xd8\xff\xe1".to_vec();
        bytes.extend((preview + 2).to_be_bytes());
        bytes.extend(std::iter::repeat_n(7, usize::from(preview)));
        bytes.extend(b"\xff\xc0\x00\x11\x08");
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([0; 12]);
        bytes
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0]);
        bytes
    }

    #[test]
    fn the_first_bytes_say_what_an_image_is() {
        let mut bmp = b"BM\x46\0\0\0\0\0\0\0".to_vec();
        bmp.extend([0; 20]);
        let cases: [(&[u8], Option<&str>); 9] = [
            (&jpeg(1, 1, 0), Some("image/jpeg")),
            (&png(1, 1), Some("image/png")),
            (b"GIF89a....", Some("image/gif")),
            (b"RIFF....WEBPVP8 ", Some("image/webp")),
            (b"RIFF....WAVEfmt ", None),
            (&bmp, Some("image/bmp")),
            (b"BMW is a brand of cars", None),
            (b"<svg", None),
            (b"", None),
        ];
        for (bytes, mime) in cases {
            assert_eq!(image_mime(bytes), mime, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_has_its_text_and_then_its_images() {
        let urls = [data_url("image/png", b"a"), data_url("image/gif", b"bcd")];
        insta::assert_snapshot!(user_message("hi", urls), @r#"{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,YQ=="}},{"type":"image_url","image_url":{"url":"data:image/gif;base64,YmNk"}}]}"#);
        insta::assert_snapshot!(content_parts("", [data_url("image/png", b"")]), @r#"[{"type":"image_url","image_url":{"url":"data:image/png;base64,"}}]"#);
    }

    #[test]
    fn tokens_are_begun_squares_of_all_images() {
        let urls = [
            data_url("image/png", &png(512, 512)),
            data_url("image/jpeg", &jpeg(29, 28, 0)),
        ];
        assert_eq!(image_tokens(&prompt(&urls), 28), 19 * 19 + 2);
        // 60 kB before the size: more than the first search covers
        let urls = [data_url("image/jpeg", &jpeg(100, 50, 60_000))];
        assert_eq!(image_tokens(&prompt(&urls), 10), 50);
        let body = serde_json::json!({"messages": [user_message("", urls)]});
        let Value::Object(body) = body else {
            panic!("an object")
        };
        assert_eq!(image_tokens(&Prompt::Body(body), 10), 50);
    }

    #[test]
    fn what_cannot_be_read_counts_nothing() {
        let urls = [
            "http://example.com/a.png".to_owned(),
            "data:image/png,abc".to_owned(),
            "data:image/png;base64,***".to_owned(),
            data_url("image/png", b"no image at all"),
            data_url("image/jpeg", &jpeg(10, 10, 9000)[..8000]),
        ];
        assert_eq!(image_tokens(&prompt(&urls), 16), 0);
        assert_eq!(image_tokens(&Prompt::Text("a".into()), 16), 0);
        // a patch size of 0 counts as one pixel
        let urls = [data_url("image/png", &png(3, 4))];
        assert_eq!(image_tokens(&prompt(&urls), 0), 12);
    }
}
