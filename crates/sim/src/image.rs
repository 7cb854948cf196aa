//! Owns the check of images in requests: whether the data in a data URL starts like an image.
//!
//! It must not know where images are in a request. Nothing is fetched and no pixel is decoded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why an image is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(
        "an image must be a data URL (data:image/png;base64,...) or an http(s) URL, got {got:?}"
    )]
    Scheme { got: String },
    #[error("the data URL of an image must be of the form data:image/<type>;base64,<data>")]
    Form,
    #[error("the data of an image is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("the data of an image must start like PNG, JPEG, GIF or WebP")]
    Format,
}

/// How much of an invalid URL is repeated in a message, in characters.
const SHOWN_CHARS: usize = 32;

/// Check a URL; anything but a data URL is accepted.
pub(crate) fn check_url(url: &str) -> Result<(), ImageError> {
    let Some(rest) = url.strip_prefix("data:") else {
        if url.starts_with("http://") || url.starts_with("https://") {
            return Ok(());
        }
        let got = url.chars().take(SHOWN_CHARS).collect();
        return Err(ImageError::Scheme { got });
    };
    let (media_type, data) = rest.split_once(',').ok_or(ImageError::Form)?;
    if !media_type.starts_with("image/") || !media_type.ends_with(";base64") {
        return Err(ImageError::Form);
    }
    check_base64(data)
}

/// Check the data of an image without a URL around it.
pub(crate) fn check_base64(data: &str) -> Result<(), ImageError> {
    let bytes = STANDARD.decode(data)?;
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let begins = [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        b"\xff\xd8\xff",
        b"GIF87a",
        b"GIF89a",
    ];
    if webp || begins.iter().any(|begin| bytes.starts_with(begin)) {
        Ok(())
    } else {
        Err(ImageError::Format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_first_bytes() {
        for bytes in [
            b"\x89PNG\r\n\x1a\n....".as_slice(),
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"RIFF\x10\0\0\0WEBPVP8 ",
        ] {
            let url = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
            assert_eq!(check_url(&url), Ok(()));
        }
        assert_eq!(check_url("https://example.invalid/a.png"), Ok(()));
        let text = format!("data:image/png;base64,{}", STANDARD.encode("text"));
        assert_eq!(check_url(&text), Err(ImageError::Format));
        assert_eq!(check_url("data:image/png,raw"), Err(ImageError::Form));
        assert_eq!(
            check_url("data:text/plain;base64,AA=="),
            Err(ImageError::Form)
        );
        assert!(matches!(
            check_url("data:image/png;base64,%%"),
            Err(ImageError::Base64(_))
        ));
        assert!(matches!(
            check_url("/etc/passwd"),
            Err(ImageError::Scheme { .. })
        ));
    }
}
