//! Owns `longalpaca`: items whose `instruction` is the prompt (LongAlpaca-12k), as a JSON list,
//! JSON Lines or Parquet.

use std::path::Path;

use super::file_list::{files_of_split, holds, holds_no};
use super::item::text_field;
use super::parquet_rows::{Column, Names, ParquetRows, is_parquet, text_of_row};
use super::records::Records;
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::Item;

const FIELD: &str = "instruction";

const COLUMNS: [Column; 1] = [Column {
    names: Names::Known(&[FIELD]),
    required: true,
}];

/// The file name on the hub.
const FILE_NAME: &str = "LongAlpaca-12k.json";

/// Number of list items checked when a list is opened, so that a list of something else is rejected
/// before anything is sent.
const CHECKED_AT_ONCE: usize = 8;

/// See the module documentation.
#[derive(Debug)]
pub struct LongAlpaca {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Records(Records),
    Parquet(ParquetRows),
}

impl LongAlpaca {
    /// Open a file, whose first characters determine its format, or a directory: its Parquet files,
    /// or else the hub's `LongAlpaca-12k.json`.
    ///
    /// # Errors
    /// If it cannot be read, a Parquet file has no column `instruction`, or one of the first items
    /// of a list lacks that field.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        if path.is_dir() {
            let files = files_of_split(path, ".parquet", "train")?;
            if files.is_empty() {
                if !holds(path, FILE_NAME) {
                    let files = format!("`{FILE_NAME}` or Parquet file");
                    return Err(holds_no(path, &files));
                }
                return Self::open(&path.join(FILE_NAME));
            }
            let form = Form::Parquet(ParquetRows::open(files, &COLUMNS)?);
            return Ok(Self { form });
        }
        let form = if is_parquet(path)? {
            Form::Parquet(ParquetRows::open(vec![path.to_owned()], &COLUMNS)?)
        } else {
            Form::Records(Records::open(path)?)
        };
        let mut source = Self { form };
        if matches!(source.form, Form::Records(Records::List(_))) {
            for _ in 0..CHECKED_AT_ONCE {
                source.next()?;
            }
            source.rewind()?;
        }
        Ok(source)
    }
}

impl PromptSource for LongAlpaca {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let read = match &mut self.form {
            Form::Records(records) => records.next()?.map(|item| text_field(item, FIELD)),
            Form::Parquet(rows) => rows.next()?.map(|row| text_of_row(row, FIELD)),
        };
        let read = read.transpose().map_err(|wrong| match &self.form {
            Form::Records(records) => records.error(wrong),
            Form::Parquet(rows) => rows.error(wrong),
        })?;
        Ok(read.map(Item::from))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        match &mut self.form {
            Form::Records(records) => records.rewind(),
            Form::Parquet(rows) => rows.rewind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parquet_rows::tests::{LONGALPACA, write_parquet};
    use super::*;

    fn texts(mut source: LongAlpaca) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..2 {
            while let Some(item) = source.next().unwrap() {
                texts.push(item.prompt.text());
            }
            source.rewind().unwrap();
        }
        texts
    }

    #[test]
    fn every_form_gives_the_same_prompts_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("LongAlpaca-12k.json");
        std::fs::write(
            &list,
            "[{\"instruction\": \" x \", \"output\": \"]\"},\n {\"instruction\": \"y\"}]",
        )
        .unwrap();
        let lines = folder.path().join("a.jsonl");
        std::fs::write(
            &lines,
            "{\"instruction\": \"x\\n\"}\n{\"instruction\": \"y\"}",
        )
        .unwrap();
        let expected = ["x", "y", "x", "y"];
        for path in [&list, &lines, folder.path()] {
            assert_eq!(texts(LongAlpaca::open(path).unwrap()), expected);
        }
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let parquet = data.join("train-00000-of-00001.parquet");
        write_parquet(&parquet, LONGALPACA, &[&[Some(b" x ")], &[Some(b"y")]]);
        for path in [&parquet, folder.path()] {
            assert_eq!(texts(LongAlpaca::open(path).unwrap()), expected);
        }
    }

    #[test]
    fn errors_name_file_item_and_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let error = || {
            let error = LongAlpaca::open(&path).and_then(|mut source| {
                while source.next()?.is_some() {}
                Ok(())
            });
            let text = error.unwrap_err().to_string();
            text.replace(&folder.path().display().to_string(), "DIR")
        };
        let many = "{\"instruction\": \"x\"},".repeat(20);
        std::fs::write(&path, format!("[{many}{{}}]")).unwrap();
        insta::assert_snapshot!(error(), @"DIR/f, item 21, line 1: no string field `instruction`");
        std::fs::write(&path, format!("[{many}{{\"instruction\": \"x")).unwrap();
        insta::assert_snapshot!(error(), @"DIR/f, item 21, line 1: the list is not closed: the file is truncated");
        std::fs::write(&path, "{\"instruction\": 1}").unwrap();
        insta::assert_snapshot!(error(), @"DIR/f, line 1: no string field `instruction`");
        write_parquet(&path, LONGALPACA, &[&[Some(b"x"), None]]);
        insta::assert_snapshot!(error(), @"DIR/f, row 2: no string field `instruction`");
        write_parquet(&path, LONGALPACA, &[&[Some(b"\xff")]]);
        insta::assert_snapshot!(error(), @"DIR/f, row 1: `instruction` is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0");
        write_parquet(
            &path,
            "message m { optional binary prompt (UTF8); }",
            &[&[Some(b"x")]],
        );
        insta::assert_snapshot!(error(), @"DIR/f, footer: no column `instruction`; there are `prompt`");
    }

    #[test]
    fn a_folder_without_the_file_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("items.json"), "[]").unwrap();
        let error = LongAlpaca::open(folder.path()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        let text = format!("{error}: {source}");
        let text = text.replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text, @"cannot read the dataset DIR: the folder contains no `LongAlpaca-12k.json` or Parquet file; for a file with another name, give the file instead of the folder");
    }
}
