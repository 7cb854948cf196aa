//! Owns images generated from a seed: a background of one colour and a few shapes, as PNG. A pure
//! function of seed and index, the same on every machine.
//!
//! It must not know what images are used for.

use std::io::Write as _;

use png::{BitDepth, ColorType, Compression, Encoder, Filter};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use evalscope_model::plan::sub_seed;

/// Servers reject larger images long before.
const LONGEST_SIDE: u32 = 16_384;

/// Maximum number of shapes in an image; at least one.
const MOST_SHAPES: u32 = 5;

/// Maximum width of a line in pixels; at least one.
const WIDEST_LINE: u32 = 5;

/// Number of compressed bytes collected per chunk of the file.
const CHUNK_BYTES: usize = 1 << 16;

/// Pixel formats that PNG supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelMode {
    /// `1`: black or white.
    Bilevel,
    /// `L`: grey.
    Grey,
    /// `LA`: grey and opacity.
    GreyAlpha,
    /// `I;16` or `I`: 16-bit grey.
    Grey16,
    /// `P`: palette indices.
    Palette,
    /// `RGB`.
    Rgb,
    /// `RGBA`.
    Rgba,
}

impl PixelMode {
    /// The mode with this name, as Python's imaging library calls it.
    ///
    /// # Errors
    /// If there is none, or PNG does not support it.
    pub fn parse(name: &str) -> Result<Self, ImageError> {
        match name {
            "1" => Ok(Self::Bilevel),
            "L" => Ok(Self::Grey),
            "LA" => Ok(Self::GreyAlpha),
            "I;16" | "I" => Ok(Self::Grey16),
            "P" => Ok(Self::Palette),
            "RGB" => Ok(Self::Rgb),
            "RGBA" => Ok(Self::Rgba),
            _ => Err(ImageError::Mode(name.to_owned())),
        }
    }

    fn stored(self) -> (ColorType, BitDepth) {
        match self {
            Self::Bilevel => (ColorType::Grayscale, BitDepth::One),
            Self::Grey => (ColorType::Grayscale, BitDepth::Eight),
            Self::GreyAlpha => (ColorType::GrayscaleAlpha, BitDepth::Eight),
            Self::Grey16 => (ColorType::Grayscale, BitDepth::Sixteen),
            Self::Palette => (ColorType::Indexed, BitDepth::Eight),
            Self::Rgb => (ColorType::Rgb, BitDepth::Eight),
            Self::Rgba => (ColorType::Rgba, BitDepth::Eight),
        }
    }

    /// The bytes of a pixel with this colour, the `n`th of the image.
    fn pixel(self, [red, green, blue]: [u8; 3], n: u32) -> [u8; 4] {
        match self {
            Self::Bilevel => [red & 1, 0, 0, 0],
            Self::Grey => [red, 0, 0, 0],
            Self::GreyAlpha => [red, 0xff, 0, 0],
            Self::Grey16 => [red, green, 0, 0],
            Self::Palette => [u8::try_from(n).expect("at most six colours"), 0, 0, 0],
            Self::Rgb | Self::Rgba => [red, green, blue, 0xff],
        }
    }

    /// Bytes per pixel while drawing; bits are packed afterwards.
    fn bytes(self) -> usize {
        match self {
            Self::Bilevel | Self::Grey | Self::Palette => 1,
            Self::GreyAlpha | Self::Grey16 => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// Why such an image is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The mode is unknown, or PNG does not support it.
    #[error("PNG does not support the mode {0:?}: use RGB, RGBA, L, LA, P, 1, I or I;16")]
    Mode(String),
    /// A side is too short or too long.
    #[error("an image cannot have {width}x{height} pixels: sides are 1 to {LONGEST_SIDE}")]
    Size {
        /// As requested.
        width: u32,
        /// As requested.
        height: u32,
    },
}

/// Size and mode of images, known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    width: u32,
    height: u32,
    mode: PixelMode,
}

impl Canvas {
    /// A canvas of this size and mode.
    ///
    /// # Errors
    /// If a side is not 1 to 16384 pixels.
    pub fn new(width: u32, height: u32, mode: PixelMode) -> Result<Self, ImageError> {
        let possible = 1..=LONGEST_SIDE;
        if possible.contains(&width) && possible.contains(&height) {
            Ok(Self {
                width,
                height,
                mode,
            })
        } else {
            Err(ImageError::Size { width, height })
        }
    }

    /// The image with this index, as PNG. A different index gives a different image, unless size
    /// and mode allow too few: if an item has several images, number them consecutively, as in
    /// `item * images_per_item + n`.
    #[must_use]
    pub fn image(self, seed: u64, index: u64) -> Vec<u8> {
        let mut rng = ChaCha8Rng::seed_from_u64(sub_seed(seed, "pictures"));
        rng.set_stream(index);
        let mut png = Vec::new();
        self.encode(&mut png, &self.draw(&mut rng))
            .expect("size and mode are valid, and writing to a Vec cannot fail");
        png
    }

    fn draw(self, rng: &mut ChaCha8Rng) -> Drawing {
        let background = colour(rng);
        let mut palette = vec![background];
        let background = self.mode.pixel(background, 0);
        let shapes = (1..=1 + below(rng, MOST_SHAPES))
            .map(|n| {
                let kind = below(rng, 3);
                let (left, right) = two_below(rng, self.width);
                let (top, bottom) = two_below(rng, self.height);
                let form = match kind {
                    0 => Form::Rectangle,
                    1 => Form::Ellipse,
                    _ => Form::Line {
                        wide: 1 + below(rng, WIDEST_LINE),
                    },
                };
                // never the background colour: the image would be blank
                let pixel = loop {
                    let colour = colour(rng);
                    let pixel = self.mode.pixel(colour, n);
                    if pixel != background {
                        palette.push(colour);
                        break pixel;
                    }
                };
                Shape {
                    form,
                    left,
                    right,
                    top,
                    bottom,
                    pixel,
                }
            })
            .collect();
        Drawing {
            background,
            shapes,
            palette,
        }
    }

    fn encode(self, png: &mut Vec<u8>, drawing: &Drawing) -> Result<(), png::EncodingError> {
        let mut encoder = Encoder::new(png, self.width, self.height);
        let (colour_type, depth) = self.mode.stored();
        encoder.set_color(colour_type);
        encoder.set_depth(depth);
        encoder.set_compression(Compression::Fast);
        encoder.set_filter(Filter::Up);
        if self.mode == PixelMode::Palette {
            encoder.set_palette(drawing.palette.concat());
        }
        let mut writer = encoder.write_header()?;
        // rows go straight into the compressor: all of them may take 1 GiB
        let mut rows = writer.stream_writer_with_size(CHUNK_BYTES)?;
        self.rows(drawing, |row| rows.write_all(row))?;
        rows.finish()?;
        writer.finish()
    }

    /// The rows as PNG stores them, from the top.
    fn rows<E>(
        self,
        drawing: &Drawing,
        mut give: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = self.mode.bytes();
        let full_row = |pixel: &[u8; 4]| pixel[..bytes].repeat(self.width as usize);
        let blank = full_row(&drawing.background);
        let shapes: Vec<_> = drawing
            .shapes
            .iter()
            .map(|shape| (shape, full_row(&shape.pixel)))
            .collect();
        let mut row = blank.clone();
        let mut packed = Vec::new();
        for y in 0..self.height {
            row.copy_from_slice(&blank);
            for (shape, full) in &shapes {
                if let Some((from, to)) = shape.span(y) {
                    let span = from as usize * bytes..(to as usize + 1) * bytes;
                    row[span.clone()].copy_from_slice(&full[span]);
                }
            }
            if self.mode == PixelMode::Bilevel {
                packed.clear();
                packed.extend(row.chunks(8).map(pack));
                give(&packed)?;
            } else {
                give(&row)?;
            }
        }
        Ok(())
    }
}

struct Drawing {
    background: [u8; 4],
    shapes: Vec<Shape>,
    palette: Vec<[u8; 3]>,
}

/// A form inside a box, including its edges.
struct Shape {
    form: Form,
    left: u32,
    right: u32,
    top: u32,
    bottom: u32,
    pixel: [u8; 4],
}

enum Form {
    Rectangle,
    Ellipse,
    /// From the top left to the bottom right.
    Line {
        wide: u32,
    },
}

impl Shape {
    /// Its first and last pixel in a row.
    fn span(&self, y: u32) -> Option<(u32, u32)> {
        if y < self.top || y > self.bottom {
            return None;
        }
        let across = f64::from(self.right - self.left);
        let down = f64::from(self.bottom - self.top);
        let below_top = f64::from(y - self.top);
        // centre and half length, from the left edge; computed only with operations that are exact
        // on every machine: no functions but the square root
        let (centre, half) = match self.form {
            Form::Rectangle => return Some((self.left, self.right)),
            Form::Ellipse => {
                // a pixel belongs to it if its centre does
                let off = (2.0 * below_top - down) / (down + 1.0);
                (
                    across / 2.0,
                    0.5 * (across + 1.0) * (1.0 - off * off).sqrt(),
                )
            }
            Form::Line { wide } => {
                // shift to the right per row; the width appears slanted
                let slope = across / down.max(1.0);
                let wide = f64::from(wide) * (1.0 + slope * slope).sqrt();
                (below_top * slope, slope.max(wide) / 2.0)
            }
        };
        let from = (centre - half).ceil().max(0.0);
        let to = (centre + half).floor().min(across);
        (from <= to).then(|| (self.left + whole(from), self.left + whole(to)))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side length, not negative"
)]
fn whole(x: f64) -> u32 {
    x as u32
}

fn colour(rng: &mut ChaCha8Rng) -> [u8; 3] {
    let [red, green, blue, ..] = rng.next_u64().to_le_bytes();
    [red, green, blue]
}

/// Written out, so that seeds mean the same with any version of `rand`.
fn below(rng: &mut ChaCha8Rng, end: u32) -> u32 {
    let scaled = (rng.next_u64() >> 32) * u64::from(end);
    u32::try_from(scaled >> 32).expect("less than `end`")
}

/// Two numbers in ascending order, distinct if there is room.
fn two_below(rng: &mut ChaCha8Rng, end: u32) -> (u32, u32) {
    let (a, b) = (below(rng, end), below(rng, end));
    let (low, high) = (a.min(b), a.max(b));
    (low, high.max((low + 1).min(end - 1)))
}

/// Eight pixels per byte, the first in the highest bit.
fn pack(pixels: &[u8]) -> u8 {
    let bits = pixels.iter().zip((0..8).rev());
    bits.fold(0, |byte, (pixel, place)| byte | (pixel & 1) << place)
}

#[cfg(test)]
mod tests;
