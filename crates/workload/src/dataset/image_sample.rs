//! Owns one image with its text, as datasets of such pairs hold it on disk.
//!
//! It must not know which dataset it is from, nor which request is made from it.

use std::path::PathBuf;

/// One image and its text.
#[derive(Debug)]
pub(super) struct ImageSample {
    /// The file it is from.
    pub path: PathBuf,
    /// Its position in the file.
    pub place: String,
    pub image: Vec<u8>,
    pub text: Option<String>,
}

/// Whether a file extension is that of an image.
pub(super) fn is_image_ending(ending: &str) -> bool {
    ["jpg", "jpeg", "png", "gif", "webp", "bmp"]
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}
