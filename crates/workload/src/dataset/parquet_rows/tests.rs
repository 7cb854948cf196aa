//! Tests of reading Parquet, and files used by other tests.

use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::data_type::Int64Type;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;

pub(in crate::dataset) const LONGALPACA: &str = "message m { optional binary instruction (UTF8); }";

/// Images as Hugging Face writes them.
pub(in crate::dataset) const IMAGES: &str = "message m {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional binary instruction (UTF8);
}";

/// One list per leaf column; one row group per entry of `groups`.
fn write(
    path: &Path,
    schema: &str,
    properties: WriterProperties,
    groups: &[Vec<Vec<Option<Vec<u8>>>>],
) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        let mut columns = columns.iter();
        while let Some(mut column) = group.next_column().unwrap() {
            let values = columns.next().unwrap();
            let typed = column.typed::<ByteArrayType>();
            let full = typed.get_descriptor().max_def_level();
            let levels: Vec<i16> = values
                .iter()
                .map(|v| if v.is_some() { full } else { full - 1 })
                .collect();
            let values: Vec<ByteArray> = values.iter().flatten().cloned().map(Into::into).collect();
            typed.write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// A file whose columns each have the values of one row group.
pub(in crate::dataset) fn write_columns(
    path: &Path,
    schema: &str,
    columns: &[Vec<Option<Vec<u8>>>],
) {
    write(
        path,
        schema,
        WriterProperties::builder().build(),
        &[columns.to_vec()],
    );
}

/// A file with one column; its row groups.
pub(in crate::dataset) fn write_parquet(path: &Path, schema: &str, groups: &[&[Option<&[u8]>]]) {
    let groups: Vec<_> = groups
        .iter()
        .map(|values| vec![values.iter().map(|v| v.map(<[u8]>::to_vec)).collect()])
        .collect();
    write(path, schema, WriterProperties::builder().build(), &groups);
}

const ALL: [Column; 3] = [
    Column {
        names: Names::Known(&["image.bytes", "image"]),
        required: true,
    },
    Column {
        names: Names::Known(&["instruction"]),
        required: false,
    },
    Column {
        names: Names::Known(&["nothing"]),
        required: false,
    },
];

fn read(
    paths: Vec<PathBuf>,
    columns: &'static [Column],
) -> Result<Vec<Vec<Option<Vec<u8>>>>, DatasetError> {
    let mut rows = ParquetRows::open(paths, columns)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let plain = |value: Option<ByteArray>| value.map(|v| v.data().to_vec());
        all.push(row.into_iter().map(plain).collect());
    }
    Ok(all)
}

#[expect(clippy::unnecessary_wraps, reason = "values of columns may be missing")]
fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn columns_of_several_groups_files_codecs_and_encodings_come_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let groups = [
        vec![
            vec![some("i1"), None, some("i3")],
            vec![some("p"), None, None],
            vec![some("t1"), some("t2"), None],
        ],
        vec![vec![some("i4")], vec![None], vec![None]],
    ];
    let properties = [
        WriterProperties::builder().build(),
        WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(1)
            .set_write_batch_size(1)
            .build(),
        WriterProperties::builder()
            .set_compression(Compression::GZIP(parquet::basic::GzipLevel::default()))
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BYTE_ARRAY)
            .set_writer_version(parquet::file::properties::WriterVersion::PARQUET_2_0)
            .build(),
    ];
    let mut paths = Vec::new();
    for (i, properties) in properties.into_iter().enumerate() {
        let path = folder.path().join(i.to_string());
        write(&path, IMAGES, properties, &groups);
        paths.push(path);
    }
    let once = [
        vec![some("i1"), some("t1"), None],
        vec![None, some("t2"), None],
        vec![some("i3"), None, None],
        vec![some("i4"), None, None],
    ];
    assert_eq!(
        read(paths, &ALL).unwrap(),
        [once.clone(), once.clone(), once].concat()
    );
}

/// Written by pyarrow 26 as Hugging Face's `datasets` does: snappy, dictionary
/// pages, row groups of two, a struct `image` and other columns around it.
#[test]
fn a_file_that_another_program_wrote_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, include_bytes!("../fixtures/images.parquet")).unwrap();
    let rows = read(vec![path], &ALL).unwrap();
    let texts: Vec<_> = rows.iter().map(|row| row[1].clone()).collect();
    assert_eq!(texts, [some("Make it blue"), None, some("变成黑白")]);
    for row in rows {
        let image = row[0].clone().unwrap();
        assert_eq!(crate::dataset::image_mime(&image), Some("image/png"));
    }
}

#[test]
fn errors_name_the_file_and_the_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let error = |columns| {
        let text = read(vec![path.clone()], columns).unwrap_err().to_string();
        text.replace(&folder.path().display().to_string(), "DIR")
    };
    std::fs::write(&path, "PAR1 no parquet PAR1").unwrap();
    insta::assert_snapshot!(error(&ALL), @"DIR/f, footer: it is damaged or truncated: EOF: Parquet file too small. Size is 20 but need 544499069");
    write_parquet(&path, LONGALPACA, &[&[some("x").as_deref()]]);
    insta::assert_snapshot!(error(&ALL), @"DIR/f, footer: no column `image.bytes`; there are `instruction`");
    write_parquet(
        &path,
        "message m { optional group image (LIST) { repeated group list { optional binary element; } } }",
        &[],
    );
    insta::assert_snapshot!(error(&[Column { names: Names::Known(&["image.list.element"]), required: true }]), @"DIR/f, footer: the column `image.list.element` must hold a single string or bytes, but holds lists of BYTE_ARRAY");
    let schema = Arc::new(parse_message_type("message m { required int64 image; }").unwrap());
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int64Type>();
    typed.write_batch(&[1], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    insta::assert_snapshot!(error(&ALL), @"DIR/f, footer: the column `image` must hold a single string or bytes, but holds INT64");
    std::fs::write(&path, include_bytes!("../fixtures/zstd.parquet")).unwrap();
    insta::assert_snapshot!(error(&[Column { names: Names::Known(&["instruction"]), required: true }]), @"DIR/f, footer: the column `instruction` is compressed with ZSTD; supported are SNAPPY, GZIP and no compression");
    std::fs::remove_file(&path).unwrap();
    insta::assert_snapshot!(error(&ALL), @"cannot read the dataset DIR/f");
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let whole = include_bytes!("../fixtures/images.parquet");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read(vec![path.clone()], &ALL).unwrap_err().to_string();
        assert!(
            error.contains("footer: it is damaged or truncated"),
            "{error}"
        );
    }
}

#[test]
fn damage_inside_of_a_column_names_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let mut bytes = include_bytes!("../fixtures/images.parquet").to_vec();
    // the first page of the first column, after its header
    bytes[4..200].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let error = read(vec![path.clone()], &ALL).unwrap_err().to_string();
    let error = error.replace(&folder.path().display().to_string(), "DIR");
    assert!(
        error.starts_with("DIR/f, row 1, column `image.bytes`: it is damaged"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whether or not the damage is detected, the process does not crash.
    #[test]
    fn no_damage_panics(at: prop::sample::Index, to: u8, more: Option<(prop::sample::Index, u8)>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut bytes = include_bytes!("../fixtures/images.parquet").to_vec();
        for (at, to) in std::iter::once((at, to)).chain(more) {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        std::fs::write(&path, bytes).unwrap();
        let _ = read(vec![path], &ALL);
    }
}
