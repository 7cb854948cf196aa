//! Owns user files in which one field is the prompt: a JSON list, JSON Lines, CSV with a header, or
//! Parquet. The field holds a text or, in JSON, a list of messages.

use std::path::Path;

use serde_json::Value;

use super::csv_rows::CsvRows;
use super::file_list::{files_of_split, holds_no};
use super::item::{Wrong, field, is_message, text_prompt, value_without_nul};
use super::parquet_rows::{Column, Names, ParquetRows, is_parquet, text_of_row};
use super::records::{Records, beginning};
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// See the module documentation.
#[derive(Debug)]
pub struct OwnField {
    name: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Records(Records),
    Csv(CsvRows),
    Parquet(ParquetRows),
}

impl OwnField {
    /// Open a file, whose first bytes determine its format, or a folder of Parquet files.
    ///
    /// # Errors
    /// If it cannot be read, or its header does not have the field.
    pub fn open(path: &Path, name: &str) -> Result<Self, DatasetError> {
        let parquet = |files| {
            let column = Column {
                names: Names::Own(name.to_owned()),
                required: true,
            };
            Ok::<_, DatasetError>(Form::Parquet(ParquetRows::open(files, vec![column])?))
        };
        let form = if path.is_dir() {
            let files = files_of_split(path, ".parquet", "train")?;
            if files.is_empty() {
                return Err(holds_no(path, "Parquet file"));
            }
            parquet(files)?
        } else if is_parquet(path)? {
            parquet(vec![path.to_owned()])?
        } else {
            match beginning(path)?.first() {
                None | Some(b'[' | b'{') => Form::Records(Records::open(path)?),
                Some(_) => Form::Csv(CsvRows::open(path, name)?),
            }
        };
        Ok(Self {
            name: name.to_owned(),
            form,
        })
    }
}

impl PromptSource for OwnField {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let name = self.name.as_str();
        let read = match &mut self.form {
            Form::Records(records) => records.next()?.map(|item| of_item(item, name)),
            Form::Csv(rows) => rows.next()?.map(|text| Ok(text_prompt(text)?)),
            Form::Parquet(rows) => rows.next()?.map(|row| text_of_row(row, name)),
        };
        let read = read.transpose().map_err(|wrong| match &self.form {
            Form::Records(records) => records.error(wrong),
            Form::Csv(rows) => rows.error(wrong),
            Form::Parquet(rows) => rows.error(wrong),
        })?;
        Ok(read.map(Item::from))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        match &mut self.form {
            Form::Records(records) => records.rewind(),
            Form::Csv(rows) => rows.rewind(),
            Form::Parquet(rows) => rows.rewind(),
        }
    }
}

fn of_item(item: &[u8], name: &str) -> Result<Prompt, Wrong> {
    match field(item, name)? {
        Some(Value::String(text)) => Ok(text_prompt(&text)?),
        Some(Value::Array(messages)) if messages.iter().all(is_message) => {
            let messages = Value::Array(messages);
            value_without_nul(item, &messages)?;
            match messages {
                Value::Array(messages) => Ok(Prompt::Messages(messages)),
                _ => unreachable!("it was inserted above"),
            }
        }
        Some(_) => {
            Err(format!("the field `{name}` is neither a string nor a list of messages").into())
        }
        None => Err(format!("no field `{name}`").into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::parquet_rows::tests::write_parquet;
    use super::*;

    const SCHEMA: &str = "message m { optional binary other (UTF8); }";

    fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn texts(path: &Path, name: &str) -> Vec<String> {
        let mut source = OwnField::open(path, name).unwrap();
        let mut rounds = [Vec::new(), Vec::new()];
        for round in &mut rounds {
            while let Some(item) = source.next().unwrap() {
                round.push(item.prompt.text());
            }
            source.rewind().unwrap();
        }
        assert_eq!(rounds[0], rounds[1]);
        rounds[0].clone()
    }

    #[test]
    fn every_form_gives_the_same_prompts_and_again() {
        for file in [
            "[{\"id\": 1, \"q\": \" a \"},\n {\"q\": \"b,\\n\\\"c\\\"\"}]",
            "{\"id\": 1, \"q\": \"a\"}\n\n{\"q\": \"b,\\n\\\"c\\\"\"}\n",
            "\u{feff}id,q\r\n1,a\r\n2,\"b,\n\"\"c\"\"\"\r\n",
            "q\na\n\"b,\n\"\"c\"\"\"",
            "id;q\n1;a\n2;\"b,\n\"\"c\"\"\"\n",
            "q\tid\na\t1\n\"b,\n\"\"c\"\"\"\t2\n",
        ] {
            let (_folder, path) = written(file.as_bytes());
            assert_eq!(texts(&path, "q"), ["a", "b,\n\"c\""], "{file}");
        }
        let (folder, _) = written(b"");
        let path = folder.path().join("a.parquet");
        write_parquet(&path, SCHEMA, &[&[Some(b"a")], &[Some(b"b,\n\"c\"")]]);
        for path in [path.as_path(), folder.path()] {
            assert_eq!(texts(path, "other"), ["a", "b,\n\"c\""]);
        }
    }

    #[test]
    fn a_field_may_hold_messages() {
        let (_folder, path) = written(br#"{"m": [{"role": "user", "content": "a"}]}"#);
        let item = OwnField::open(&path, "m").unwrap().next().unwrap().unwrap();
        assert!(matches!(item.prompt, Prompt::Messages(all) if all[0]["content"] == "a"));
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let error = |file: &[u8]| {
            let (folder, path) = written(file);
            let error = OwnField::open(&path, "q").and_then(|mut source| {
                while source.next()?.is_some() {}
                Ok(())
            });
            let text = error.unwrap_err().to_string();
            text.replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(error(b"{\"q\": \"a\"}\n{\"r\": 1}"), @"DIR/f, line 2: no field `q`");
        insta::assert_snapshot!(error(b"[{\"q\": \"a\"},\n{\"q\": 1}]"), @"DIR/f, item 2, line 2: the field `q` is neither a string nor a list of messages");
        insta::assert_snapshot!(error(b"a,b\n1,2\n"), @"DIR/f, line 1: no column `q` in the header; there are `a`, `b`");
        insta::assert_snapshot!(error(b"a,q\n1,2\n\n\"x\ny\",2,3\n"), @"DIR/f, line 4: 3 values in a row, but 2 in the header");
        insta::assert_snapshot!(error(b"a,q\n1,2\n2,\xff\n"), @"DIR/f, line 3: `q` is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0");
        insta::assert_snapshot!(error(b"a,q\n1,a\0b\n"), @"DIR/f, line 2: NUL in a prompt: the file is damaged or not in UTF-8");
        let (folder, path) = written(b"");
        write_parquet(&path, SCHEMA, &[&[Some(b"a"), None]]);
        let text = OwnField::open(&path, "q").unwrap_err().to_string();
        let text = text.replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text, @"DIR/f, footer: no column `q`; there are `other`");
    }

    #[test]
    fn bad_rows_do_not_stop_those_behind_them() {
        let (_folder, path) = written(b"a,q\n1\n2,ok\n3,\xff\n4,too\n");
        let mut source = OwnField::open(&path, "q").unwrap();
        let mut seen = Vec::new();
        loop {
            match source.next() {
                Ok(Some(item)) => seen.push(item.prompt.text()),
                Ok(None) => break,
                Err(DatasetError::Item { place, .. }) => seen.push(place),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(seen, ["line 2", "ok", "line 4", "too"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
        /// Reading ends, whatever is in the file: no panic, no endless loop.
        #[test]
        fn no_file_panics_or_never_ends(
            file in prop::collection::vec(
                prop_oneof![
                    Just(b"{\"q\": \"a\"}".to_vec()), Just(b"q".to_vec()), Just(b"\"".to_vec()),
                    Just(b"[".to_vec()), Just(b"]".to_vec()), Just(b"{".to_vec()), Just(b"}".to_vec()),
                    Just(b",".to_vec()), Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"\\".to_vec()),
                    Just(b"\0".to_vec()), Just(b"\xff".to_vec()), Just(b"\xef\xbb\xbf".to_vec()),
                    Just(b"PAR1".to_vec()), Just(b";".to_vec()), Just(b"\"role\":\"user\"".to_vec()),
                    Just("你".as_bytes().to_vec()), Just(b"\\u0000".to_vec()),
                ],
                0..24,
            ),
        ) {
            let file = file.concat();
            let (_folder, path) = written(&file);
            let language = super::super::ShareGptLanguage::English;
            let sources: [Result<Box<dyn PromptSource>, DatasetError>; 6] = [
                OwnField::open(&path, "q").map(|source| Box::new(source) as _),
                super::super::OpenQa::open(&path).map(|source| Box::new(source) as _),
                super::super::LongAlpaca::open(&path).map(|source| Box::new(source) as _),
                super::super::LineByLine::open(&path, false).map(|source| Box::new(source) as _),
                super::super::ShareGpt::open(&path, language).map(|source| Box::new(source) as _),
                super::super::TextLines::open(&path).map(|source| Box::new(source) as _),
            ];
            for mut source in sources.into_iter().flatten() {
                // every item has at least one byte
                for n in 0.. {
                    prop_assert!(n <= file.len() + 1, "it never ends");
                    match source.next() {
                        Ok(Some(_)) | Err(DatasetError::Item { .. }) => {}
                        Ok(None) | Err(_) => break,
                    }
                }
                let _ = source.rewind();
            }
        }
    }
}
