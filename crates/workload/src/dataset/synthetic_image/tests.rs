//! Tests of images.

use std::collections::BTreeSet;
use std::io::Cursor;

use super::*;

const MODES: [&str; 7] = ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"];

#[test]
fn a_image_is_read_again_as_it_was_drawn() {
    for name in MODES {
        let mode = PixelMode::parse(name).unwrap();
        for (width, height) in [(1, 1), (1, 9), (13, 7), (64, 40)] {
            for index in 0..8 {
                let canvas = Canvas::new(width, height, mode).unwrap();
                let png = canvas.image(3, index);
                assert_eq!(png, canvas.image(3, index));
                let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
                let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
                let read = reader.next_frame(&mut pixels).unwrap();
                assert_eq!((read.width, read.height), (width, height));
                assert_eq!((read.color_type, read.bit_depth), mode.stored());
                let mut drawn = Vec::new();
                let mut rng = ChaCha8Rng::seed_from_u64(sub_seed(3, "pictures"));
                rng.set_stream(index);
                let drawing = canvas.draw(&mut rng);
                let keep = |row: &[u8]| {
                    drawn.extend_from_slice(row);
                    Ok::<(), ()>(())
                };
                canvas.rows(&drawing, keep).unwrap();
                assert_eq!(
                    pixels[..read.buffer_size()],
                    drawn,
                    "{name} {width}x{height}"
                );
                if mode == PixelMode::Palette {
                    let palette = reader.info().palette.as_deref().unwrap().to_vec();
                    assert_eq!(palette, drawing.palette.concat());
                }
            }
        }
    }
}

#[test]
fn no_two_images_are_the_same() {
    for name in MODES {
        let canvas = Canvas::new(64, 64, PixelMode::parse(name).unwrap()).unwrap();
        let mut seen = BTreeSet::new();
        for seed in [0, 1] {
            for index in 0..300 {
                assert!(
                    seen.insert(canvas.image(seed, index)),
                    "{name} {seed} {index}"
                );
            }
        }
    }
}

#[test]
fn forms_fill_their_boxes() {
    let drawn = |form, right: u32, bottom: u32| {
        let shape = Shape {
            form,
            left: 1,
            right,
            top: 1,
            bottom,
            pixel: [1; 4],
        };
        let row = |y| match shape.span(y) {
            Some((from, to)) => (0..=right + 1)
                .map(|x| if (from..=to).contains(&x) { '#' } else { '.' })
                .collect(),
            None => ".".repeat(right as usize + 2),
        };
        (0..=bottom + 1).map(row).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(drawn(Form::Rectangle, 3, 2), @r"
    .....
    .###.
    .###.
    .....
    ");
    insta::assert_snapshot!(drawn(Form::Ellipse, 12, 8), @r"
    ..............
    ....######....
    ..##########..
    .############.
    .############.
    .############.
    .############.
    ..##########..
    ....######....
    ..............
    ");
    insta::assert_snapshot!(drawn(Form::Ellipse, 2, 5), @r"
    ....
    .##.
    .##.
    .##.
    .##.
    .##.
    ....
    ");
    insta::assert_snapshot!(drawn(Form::Line { wide: 1 }, 9, 4), @r"
    ...........
    .##........
    ...###.....
    .....###...
    ........##.
    ...........
    ");
    insta::assert_snapshot!(drawn(Form::Line { wide: 3 }, 5, 9), @r"
    .......
    .##....
    .###...
    .###...
    .####..
    ..###..
    ..####.
    ...###.
    ...###.
    ....##.
    .......
    ");
    insta::assert_snapshot!(drawn(Form::Line { wide: 2 }, 4, 1), @r"
    ......
    .####.
    ......
    ");
}

#[test]
fn what_png_cannot_hold_is_refused() {
    let mode = PixelMode::parse("CMYK").unwrap_err();
    insta::assert_snapshot!(mode, @r#"PNG does not support the mode "CMYK": use RGB, RGBA, L, LA, P, 1, I or I;16"#);
    for name in ["YCbCr", "HSV", "F", "LAB", "rgb", ""] {
        assert!(PixelMode::parse(name).is_err());
    }
    let size = Canvas::new(0, 16_385, PixelMode::Rgb).unwrap_err();
    insta::assert_snapshot!(size, @"an image cannot have 0x16385 pixels: sides are 1 to 16384");
    assert!(Canvas::new(1, 16_384, PixelMode::Rgb).is_ok());
    assert!(Canvas::new(16_385, 1, PixelMode::Rgb).is_err());
}
