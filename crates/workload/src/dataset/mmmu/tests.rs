use std::fs;

use serde_json::Map;

use super::super::parquet_rows::tests::write_columns;
use super::*;
use crate::dataset::{Canvas, PixelMode};

const SCHEMA: &str = "message m {
    optional binary question (UTF8);
    optional binary options (UTF8);
    optional group image_1 { optional binary bytes; optional binary path (UTF8); }
    optional group image_2 { optional binary bytes; optional binary path (UTF8); }
    optional group image_3 { optional binary bytes; optional binary path (UTF8); }
}";

fn png(id: u64) -> Vec<u8> {
    let canvas = Canvas::new(8, 8, PixelMode::Rgba).unwrap();
    canvas.image(id, 0)
}

/// The URL that an image is sent as.
fn url(id: u64) -> String {
    let png = png(id);
    let (mime, jpeg) = as_jpeg(&png).unwrap();
    data_url(mime, &jpeg)
}

/// A question, its options, and its images.
type Asked<'a> = (&'a str, &'a str, [Option<u64>; 3]);

fn put(path: &Path, rows: &[Asked<'_>]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let mut columns = vec![
        rows.iter().map(|row| bytes(row.0)).collect(),
        rows.iter().map(|row| bytes(row.1)).collect(),
    ];
    for at in 0..3 {
        columns.push(rows.iter().map(|row| row.2[at].map(png)).collect());
        columns.push(
            rows.iter()
                .map(|row| row.2[at].and(bytes("a.png")))
                .collect(),
        );
    }
    write_columns(path, SCHEMA, &columns);
}

fn args(args: Value) -> MmmuArgs {
    let Value::Object(args) = args else {
        panic!("not an object")
    };
    MmmuArgs::take(&mut ArgsReader::new(args)).unwrap()
}

/// The contents of all messages, read twice, with short names for images.
fn read(path: &Path, args: &MmmuArgs) -> Vec<Vec<String>> {
    let mut source = Mmmu::open(path, args).unwrap();
    let mut rounds = [Vec::new(), Vec::new()];
    for round in &mut rounds {
        while let Some(item) = source.next().unwrap() {
            let Prompt::Messages(messages) = item.prompt else {
                panic!("no messages")
            };
            assert_eq!((messages.len(), &messages[0]["role"]), (1, &"user".into()));
            let parts = messages[0]["content"].as_array().unwrap().iter();
            let shown = parts.map(|part| {
                if let Some(text) = part["text"].as_str() {
                    return text.to_owned();
                }
                let sent = part["image_url"]["url"].as_str().unwrap();
                assert!(sent.starts_with("data:image/jpeg;base64,"));
                let id = (0..9).find(|id| url(*id) == sent).unwrap();
                format!("image {id}")
            });
            round.push(shown.collect::<Vec<String>>());
        }
        source.rewind().unwrap();
    }
    let [first, second] = rounds;
    assert_eq!(first, second);
    first
}

#[test]
fn images_are_where_the_question_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("music.parquet");
    put(
        &file,
        &[
            (
                "Compare <image 2> with <image_1>.",
                "['same', \"isn't\"]",
                [Some(1), Some(2), None],
            ),
            ("only one: <image 1>", "[]", [Some(1), None, None]),
            (
                "Which?",
                "['<image 1>', '<image 3>']",
                [Some(4), Some(5), Some(6)],
            ),
            ("<image 9> <image x> <image", "[]", [Some(7), Some(8), None]),
        ],
    );
    let all = read(&file, &args(json!({})));
    assert_eq!(
        all,
        [
            vec![
                "Compare ",
                "image 2",
                " with ",
                "image 1",
                ".\nOptions:\nA. same\nB. isn't"
            ],
            vec![
                "Which?\nOptions:\nA. ",
                "image 4",
                "\nB. ",
                "image 6",
                "image 5"
            ],
            vec!["<image 9> <image x> <image", "image 7", "image 8"],
        ]
    );
    assert_eq!(read(&file, &args(json!({"min_images": 1}))).len(), 4);
    assert_eq!(read(&file, &args(json!({"min_images": 3}))).len(), 1);
}

#[test]
fn subjects_are_taken_in_turn_or_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let two = [Some(0), Some(1), None];
    let place = |subject: &str, split: &str| {
        folder
            .path()
            .join(format!("{subject}/{split}-00000-of-00001.parquet"))
    };
    put(
        &place("Art", "validation"),
        &[("a1", "[]", two), ("a2", "[]", two)],
    );
    put(
        &place("Music", "validation"),
        &[("few", "[]", [None; 3]), ("m1", "[]", two)],
    );
    put(&place("Music", "dev"), &[("another split", "[]", two)]);
    let first = |args: Value| -> Vec<String> {
        let all = read(folder.path(), &self::args(args));
        all.into_iter().map(|parts| parts[0].clone()).collect()
    };
    assert_eq!(first(json!({})), ["a1", "a2", "m1"]);
    assert_eq!(first(json!({"subset": "Art"})), ["a1", "a2"]);
    let error = Mmmu::open(folder.path(), &args(json!({"subset": "Arts"}))).unwrap_err();
    let error = std::error::Error::source(&error).unwrap().to_string();
    insta::assert_snapshot!(error, @"it has no folder of the subject `Arts`; there are Art, Music");
}

#[test]
fn a_damaged_image_is_an_error_of_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.parquet");
    let bytes = |text: &[u8]| vec![Some(text.to_vec())];
    let columns = [
        bytes(b"q"),
        bytes(b"[]"),
        bytes(&png(1)),
        bytes(b""),
        bytes(b"<svg"),
        bytes(b""),
        vec![None],
        vec![None],
    ];
    write_columns(&file, SCHEMA, &columns);
    let mut source = Mmmu::open(&file, &args(json!({}))).unwrap();
    let error = source.next().unwrap_err().to_string();
    assert!(error.contains("row 1"), "{error}");
    assert!(
        error.contains("`image_2`: it is not a JPEG, PNG"),
        "{error}"
    );
    // and the rows after it can be read
    assert!(source.next().unwrap().is_none());
}

#[test]
fn options_are_checked() {
    let error = |args: Value| {
        let args: Map<String, Value> = args.as_object().cloned().unwrap();
        MmmuArgs::take(&mut ArgsReader::new(args)).unwrap_err()
    };
    insta::assert_snapshot!(error(json!({"min_images": 8})), @"`min_images` must be a whole number from 1 to 7, but is 8");
    insta::assert_snapshot!(error(json!({"subset": ""})), @r#"`subset` must be the name of a subject, such as "Music", but is """#);
}
