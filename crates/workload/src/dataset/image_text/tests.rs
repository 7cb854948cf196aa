//! Tests of the datasets of image-text pairs.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::parquet_rows::tests::{IMAGES, write_columns};
use super::*;

const NO_TEXT: NoText = NoText::Ask("Describe the image");

fn jpeg(id: u8) -> Vec<u8> {
    [&b"\xff\xd8\xff\xe0 not decoded "[..], &[id; 700]].concat()
}

fn png(id: u8) -> Vec<u8> {
    [&b"\x89PNG\r\n\x1a\n"[..], &[id; 100]].concat()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Texts, MIME types and image bytes of all requests, read twice.
fn read(path: &Path, no_text: NoText) -> Result<Vec<(String, String, Vec<u8>)>, DatasetError> {
    let mut source = ImageText::open(path, no_text)?;
    let mut rounds = [Vec::new(), Vec::new()];
    for round in &mut rounds {
        while let Some(item) = source.next()? {
            let Prompt::Messages(messages) = item.prompt else {
                panic!("no messages")
            };
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0]["role"], "user");
            let parts = messages[0]["content"].as_array().unwrap();
            assert_eq!((&parts[0]["type"], parts.len()), (&"text".into(), 2));
            assert_eq!(parts[1]["type"], "image_url");
            let url = parts[1]["image_url"]["url"].as_str().unwrap();
            let (mime, encoded) = url
                .strip_prefix("data:")
                .and_then(|url| url.split_once(";base64,"))
                .unwrap();
            round.push((
                parts[0]["text"].as_str().unwrap().to_owned(),
                mime.to_owned(),
                STANDARD.decode(encoded).unwrap(),
            ));
        }
        source.rewind()?;
    }
    let [first, second] = rounds;
    assert_eq!(first, second);
    Ok(first)
}

fn expected() -> Vec<(String, String, Vec<u8>)> {
    vec![
        ("one\nand more\n".into(), "image/jpeg".into(), jpeg(1)),
        ("二".into(), "image/png".into(), png(2)),
        ("Describe the image".into(), "image/jpeg".into(), jpeg(3)),
    ]
}

#[test]
fn shards_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let test = folder.path().join("test");
    fs::create_dir(&test).unwrap();
    fs::write(test.join("nshards.txt"), "2").unwrap();
    let long = "a/".repeat(120);
    let first = tar(&[
        ("x/s0.1.jpg", &jpeg(1)),
        ("x/s0.1.json", &[0; 600]),
        ("x/._s0.1.jpg", b"attributes"),
        ("x/s0.1.cls", b"4"),
    ]);
    fs::write(test.join("0.tar"), first).unwrap();
    let second = tar(&[
        ("s1.txt", "二".as_bytes()),
        ("s1.PNG", &png(2)),
        (&format!("{long}s1.jpg"), &jpeg(3)),
        (&format!("{long}s1.txt"), b" \n"),
    ]);
    fs::write(test.join("1.tar"), second).unwrap();
    // a key ends at the first dot: s0.1.jpg ends with `1.jpg`, which is not an image
    assert_eq!(read(folder.path(), NO_TEXT).unwrap(), expected()[1..]);
    let first = tar(&[("s0.jpg", &jpeg(1)), ("s0.txt", b"one\nand more\n")]);
    fs::write(test.join("0.tar"), first).unwrap();
    assert_eq!(read(folder.path(), NO_TEXT).unwrap(), expected());
    assert_eq!(read(&test.join("1.tar"), NO_TEXT).unwrap(), expected()[1..]);
}

#[test]
fn parquet_files_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let columns = [
        vec![Some(jpeg(1)), Some(png(2)), Some(jpeg(3))],
        vec![None, Some(b"2.png".to_vec()), None],
        vec![Some(b"one\nand more\n".to_vec()), Some("二".into()), None],
    ];
    let path = folder.path().join("test-00000-of-00001.parquet");
    write_columns(&path, IMAGES, &columns);
    for path in [&path, folder.path()] {
        assert_eq!(read(path, NO_TEXT).unwrap(), expected());
    }
}

#[test]
fn a_directory_of_images_is_read_by_name_or_by_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    put("b.png", &png(2));
    put("b.txt", "二".as_bytes());
    put("c.JPG", &jpeg(3));
    put("a.jpg", &jpeg(1));
    put("a.txt", b"one\nand more\n");
    put("README.md", b"no image");
    assert_eq!(read(folder.path(), NO_TEXT).unwrap(), expected());
    // if there is a list, it determines the images and their order
    let list = concat!(
        r#"{"file_name":"./c.JPG","instruction":null}"#,
        "\n",
        r#"{"file_name":"a.jpg","text":"A","instruction":"first"}"#,
        "\n",
    );
    put("metadata.jsonl", list.as_bytes());
    let texts = read(folder.path(), NO_TEXT).unwrap();
    let texts: Vec<_> = texts.iter().map(|(text, ..)| text.as_str()).collect();
    assert_eq!(texts, ["Describe the image", "first"]);
}

fn error(folder: &tempfile::TempDir) -> String {
    let error = read(folder.path(), NoText::Refuse).unwrap_err();
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    text.replace(&folder.path().display().to_string(), "DIR")
}

fn error_of_tar(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("0.tar"), bytes).unwrap();
    error(&folder)
}

#[test]
fn errors_of_shards_name_file_and_member() {
    let of = |members: &[(&str, &[u8])]| error_of_tar(&tar(members));
    let image = &jpeg(1)[..];
    insta::assert_snapshot!(of(&[("a.jpg", image), ("b.jpg", image)]), @"DIR/0.tar, member a.jpg: it has no text");
    insta::assert_snapshot!(of(&[("a.txt", b"a"), ("b.jpg", image)]), @"DIR/0.tar, member a: the sample has a text but no image");
    insta::assert_snapshot!(of(&[("a.jpg", image), ("a.txt", b"\xff")]), @"DIR/0.tar, member a.txt: not UTF-8: invalid utf-8 sequence of 1 bytes from index 0");
    insta::assert_snapshot!(of(&[("a.jpg", image), ("a.png", image)]), @"DIR/0.tar, member a.png: the sample has two files of this kind");
    insta::assert_snapshot!(of(&[("a.jpg", b"<svg/>"), ("a.txt", b"a")]), @"DIR/0.tar, member a.jpg: it is not a JPEG, PNG, GIF, WebP or BMP image");
    let whole = tar(&[("a.jpg", image), ("a.txt", b"a")]);
    insta::assert_snapshot!(error_of_tar(&whole[..800]), @"DIR/0.tar, member a.jpg: the archive is truncated: it has 288 of the member's 717 bytes");
    insta::assert_snapshot!(error_of_tar(&whole[..1536]), @"DIR/0.tar, after member a.jpg: the archive is truncated: its end mark is missing");
    insta::assert_snapshot!(error_of_tar(&whole[..1700]), @"DIR/0.tar, after member a.jpg: the archive is damaged or truncated: failed to read entire block");
    insta::assert_snapshot!(error_of_tar(b""), @"DIR/0.tar, first member: the archive is truncated: its end mark is missing");
    insta::assert_snapshot!(error_of_tar(&[b'x'; 2000]), @"DIR/0.tar, first member: the archive is damaged or truncated: numeric field was not a number: xxxxxxxx");
}

#[test]
fn errors_of_other_forms_name_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(error(&folder), @"cannot read the dataset DIR: it contains no tar shards, Parquet files, `metadata.jsonl` or images");
    fs::write(folder.path().join("a.jpg"), jpeg(1)).unwrap();
    insta::assert_snapshot!(error(&folder), @"DIR/a.jpg, the image: it has no text");
    fs::write(folder.path().join("a.txt"), b"\xff").unwrap();
    insta::assert_snapshot!(error(&folder), @"cannot read the dataset DIR/a.txt: stream did not contain valid UTF-8");
    fs::write(folder.path().join("a.jpg"), "text").unwrap();
    fs::write(folder.path().join("a.txt"), "text").unwrap();
    insta::assert_snapshot!(error(&folder), @"DIR/a.jpg, the image: it is not a JPEG, PNG, GIF, WebP or BMP image");
    let list = |line: &str| {
        fs::write(folder.path().join("metadata.jsonl"), line).unwrap();
        error(&folder)
    };
    insta::assert_snapshot!(list(r#"{"image":"a.jpg"}"#), @"DIR/metadata.jsonl, line 1: no string field `file_name`");
    insta::assert_snapshot!(list(r#"{"file_name":"b.jpg"}"#), @"DIR/metadata.jsonl, line 1: cannot read b.jpg: No such file or directory (os error 2)");
    insta::assert_snapshot!(list(r#"{"file_name":"../b.jpg"}"#), @"DIR/metadata.jsonl, line 1: `file_name` is outside the directory: ../b.jpg");
    insta::assert_snapshot!(list(r#"{"file_name":"/b.jpg"}"#), @"DIR/metadata.jsonl, line 1: `file_name` is outside the directory: /b.jpg");
    insta::assert_snapshot!(list("{"), @"DIR/metadata.jsonl, line 1: not JSON: EOF while parsing an object at column 1");
    let columns = [vec![None, Some(jpeg(1))], vec![None; 2], vec![None; 2]];
    let path = folder.path().join("0.parquet");
    write_columns(&path, IMAGES, &columns);
    insta::assert_snapshot!(error(&folder), @"DIR/0.parquet, row 1: no bytes in the field `image`");
    let columns = [vec![Some(jpeg(1))], vec![None], vec![None]];
    write_columns(&path, IMAGES, &columns);
    insta::assert_snapshot!(error(&folder), @"DIR/0.parquet, row 1: it has no text");
    let columns = [vec![Some(b"a".to_vec())], vec![None], vec![None]];
    write_columns(&path, IMAGES, &columns);
    insta::assert_snapshot!(error(&folder), @"DIR/0.parquet, row 1: it is not a JPEG, PNG, GIF, WebP or BMP image");
}

#[test]
fn a_shard_that_is_cut_off_anywhere_is_an_error() {
    let long = "n".repeat(200);
    let (image, text) = (format!("{long}.jpg"), format!("{long}.txt"));
    let whole = tar(&[
        ("a.jpg", &jpeg(1)),
        ("a.txt", b"a"),
        (&image, &png(2)),
        (&text, b"b"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.tar");
    // of the end mark, the second block may be missing
    for length in 0..whole.len() - 512 {
        fs::write(&path, &whole[..length]).unwrap();
        let error = read(&path, NO_TEXT).unwrap_err().to_string();
        assert!(
            error.contains("0.tar, ") && error.contains("truncated"),
            "{length}: {error}"
        );
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(read(&path, NO_TEXT).unwrap().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn no_damage_to_a_shard_panics(at: prop::sample::Index, to: u8) {
        let mut bytes = tar(&[("a.jpg", &jpeg(1)), ("a.txt", b"a"), (&"n".repeat(150), b"b")]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("0.tar"), bytes).unwrap();
        let _ = read(folder.path(), NO_TEXT);
    }
}
