//! Owns making JPEG files of images that are not, as clients send photographs and scans.
//!
//! It must not know where an image comes from, nor what it is for.

use std::borrow::Cow;
use std::io::Cursor;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use png::{Decoder, Limits, Transformations};

use super::image_parts::image_mime;

/// As Python's imaging library saves them, unless it is told otherwise.
const QUALITY: u8 = 75;

/// Largest decoded image: 16384 pixels square with four bytes each.
const MOST_BYTES: usize = 1 << 30;

/// An image file and its MIME type. PNG files become JPEG files, with white behind what is
/// transparent; all others stay as they are.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn as_jpeg(file: &[u8]) -> Result<(&'static str, Cow<'_, [u8]>), String> {
    match image_mime(file) {
        Some("image/png") => Ok(("image/jpeg", encoded(file)?.into())),
        Some(mime) => Ok((mime, file.into())),
        None => Err("it is not a JPEG, PNG, GIF, WebP or BMP image".to_owned()),
    }
}

fn encoded(png: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = |error: png::DecodingError| format!("it is not a valid PNG image: {error}");
    let limits = Limits { bytes: MOST_BYTES };
    let mut decoder = Decoder::new_with_limits(Cursor::new(png), limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(wrong)?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(format!(
            "it has {width}x{height} pixels; a JPEG image has at most 65535 in a row"
        ));
    };
    let size = reader
        .output_buffer_size()
        .filter(|size| *size <= MOST_BYTES);
    let size = size.ok_or_else(|| format!("its {width}x{height} pixels are too many"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(wrong)?;
    pixels.truncate(frame.buffer_size());
    let (pixels, color) = match frame.color_type {
        png::ColorType::Grayscale => (pixels, ColorType::Luma),
        png::ColorType::GrayscaleAlpha => (on_white::<1>(&pixels), ColorType::Luma),
        png::ColorType::Rgba => (on_white::<3>(&pixels), ColorType::Rgb),
        png::ColorType::Rgb | png::ColorType::Indexed => (pixels, ColorType::Rgb),
    };
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let done = encoder.encode(&pixels, columns, rows, color);
    done.map_err(|error| format!("it cannot be made a JPEG image: {error}"))?;
    Ok(jpeg)
}

/// Pixels of `N` colours and an opacity each, before a white background.
fn on_white<const N: usize>(pixels: &[u8]) -> Vec<u8> {
    let mut opaque = Vec::with_capacity(pixels.len() / (N + 1) * N);
    for pixel in pixels.chunks_exact(N + 1) {
        let opacity = u32::from(pixel[N]);
        opaque.extend(pixel[..N].iter().map(|color| {
            let mixed = u32::from(*color) * opacity + 255 * (255 - opacity);
            u8::try_from((mixed + 127) / 255).expect("between two colours")
        }));
    }
    opaque
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::{Canvas, PixelMode};

    #[test]
    fn every_kind_of_png_becomes_a_jpeg_of_the_same_size() {
        for mode in ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"] {
            let canvas = Canvas::new(37, 19, PixelMode::parse(mode).unwrap()).unwrap();
            let image = canvas.image(3, 1);
            let (mime, jpeg) = as_jpeg(&image).unwrap();
            assert_eq!(mime, "image/jpeg", "{mode}");
            let size = imagesize::blob_size(&jpeg).unwrap();
            assert_eq!((size.width, size.height), (37, 19), "{mode}");
            assert!(jpeg.ends_with(b"\xff\xd9"), "{mode}");
        }
    }

    #[test]
    fn other_images_stay_as_they_are() {
        let gif = b"GIF89a....";
        assert_eq!(as_jpeg(gif), Ok(("image/gif", Cow::Borrowed(&gif[..]))));
        assert!(as_jpeg(b"<svg").unwrap_err().contains("not a JPEG, PNG"));
        let cut = &Canvas::new(9, 9, PixelMode::Rgb).unwrap().image(0, 0)[..40];
        assert!(as_jpeg(cut).unwrap_err().contains("not a valid PNG"));
    }

    #[test]
    fn what_is_transparent_is_white() {
        assert_eq!(on_white::<1>(&[0, 0, 0, 255, 200, 255]), [255, 0, 200]);
        assert_eq!(on_white::<3>(&[0, 255, 100, 51]), [204, 255, 224]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let png = [&b"\x89PNG\r\n\x1a\n"[..], &bytes].concat();
            prop_assert!(as_jpeg(&png).is_err());
        }
    }
}
