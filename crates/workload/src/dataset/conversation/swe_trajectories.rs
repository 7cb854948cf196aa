//! Owns `swe_smith` made from trajectories (SWE-bench/SWE-smith-trajectories): what users and tools said is
//! divided into turns of a requested length, in the order of the file. What the agent said is left out: the
//! server responds itself.

use std::path::Path;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::exchange::{Exchange, Replies, message, session};
use crate::dataset::file_list::{files_of_split, holds_no};
use crate::dataset::item::{Wrong, field, value_without_nul};
use crate::dataset::parquet_rows::{Column, Names, ParquetRows, is_parquet};
use crate::dataset::records::Records;
use crate::dataset::{ArgsError, ArgsReader, DatasetError, PromptSource};
use crate::tokens::Tokenizer;
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::Item;

const FIELD: &str = "messages";

const COLUMNS: [Column; 1] = [Column {
    names: Names::Known(&[FIELD]),
    required: true,
}];

/// The split of the dataset that is used.
const SPLIT: &str = "tool";

/// Options of `swe_smith`, which matter for trajectories only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweArgs {
    /// Tokens of the first turn: the fewest and the most.
    pub first: (u64, u64),
    /// Tokens of each later turn.
    pub later: (u64, u64),
    /// Characters of a token, to leave out trajectories that are too short without counting their
    /// tokens.
    pub chars_per_token: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenLength {
    One(u64),
    Range([u64; 2]),
}

impl SweArgs {
    /// Read `--dataset-args`.
    ///
    /// # Errors
    /// If a value is not what its key stands for.
    pub fn read(args: &mut ArgsReader) -> Result<Self, ArgsError> {
        let mut length = |key: &'static str, default: u64| {
            let wanted = "a number of tokens, or a list of the smallest and the greatest";
            let value = args.take(key, wanted, |length| match length {
                WrittenLength::One(n) => *n > 0,
                WrittenLength::Range([low, high]) => *low > 0 && low <= high,
            })?;
            Ok::<_, ArgsError>(match value {
                None => (default, default),
                Some(WrittenLength::One(n)) => (n, n),
                Some(WrittenLength::Range([low, high])) => (low, high),
            })
        };
        Ok(Self {
            first: length("first_turn_length", 65_000)?,
            later: length("subsequent_turn_length", 500)?,
            chars_per_token: args
                .take("chars_per_token", "a number above 0", |n: &f64| *n > 0.0)?
                .unwrap_or(3.0),
        })
    }

    /// Characters that a trajectory needs to have at least.
    fn fewest_chars(&self, turns: u32) -> f64 {
        let tokens = self.first.1 as f64 + self.later.1 as f64 * f64::from(turns.saturating_sub(1));
        tokens * self.chars_per_token
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct SweTrajectories {
    rows: Rows,
    tokenizer: Arc<Tokenizer>,
    args: SweArgs,
    /// Turns of a conversation: the fewest and the most.
    turns: (u32, u32),
    seed: u64,
    /// Trajectories read in this round, and conversations made of them.
    read: u64,
    made: u64,
    name: String,
}

#[derive(Debug)]
enum Rows {
    Parquet(ParquetRows),
    Records(Records),
}

impl SweTrajectories {
    /// Open a Parquet file, a folder of them, or a JSON Lines file.
    ///
    /// # Errors
    /// If it cannot be opened, or has no `messages`.
    pub fn open(
        path: &Path,
        tokenizer: Arc<Tokenizer>,
        args: SweArgs,
        turns: (u32, u32),
        seed: u64,
    ) -> Result<Self, DatasetError> {
        let rows = if path.is_dir() {
            let files = files_of_split(path, ".parquet", SPLIT)?;
            if files.is_empty() {
                return Err(holds_no(path, "Parquet file"));
            }
            Rows::Parquet(ParquetRows::open(files, &COLUMNS)?)
        } else if is_parquet(path)? {
            Rows::Parquet(ParquetRows::open(vec![path.to_owned()], &COLUMNS)?)
        } else {
            Rows::Records(Records::open(path)?)
        };
        Ok(Self {
            rows,
            tokenizer,
            args,
            turns,
            seed: sub_seed(seed, "swe_smith"),
            read: 0,
            made: 0,
            name: path.display().to_string(),
        })
    }

    /// The next trajectory that is long enough, as far as its characters tell: the texts of its users
    /// and tools.
    fn next_texts(&mut self) -> Result<Option<Vec<String>>, DatasetError> {
        let fewest = self.args.fewest_chars(self.turns.1);
        loop {
            let read = match &mut self.rows {
                Rows::Parquet(rows) => rows.next()?.map(|mut row| {
                    let bytes = row.pop().flatten();
                    bytes.map_or(Ok(None), |bytes| texts_of_json(bytes.data(), fewest))
                }),
                Rows::Records(records) => records.next()?.map(|item| texts_of_item(item, fewest)),
            };
            let Some(read) = read else {
                return Ok(None);
            };
            self.read += 1;
            let texts = read.map_err(|wrong| match &self.rows {
                Rows::Parquet(rows) => rows.error(wrong),
                Rows::Records(records) => records.error(wrong),
            })?;
            let is_enough = |texts: &Vec<String>| {
                let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
                chars as f64 >= fewest
            };
            if let Some(texts) = texts.filter(is_enough) {
                return Ok(Some(texts));
            }
        }
    }

    /// Divide texts into turns; `None` if there are too few.
    fn turns(&self, texts: &[String]) -> Option<Vec<Exchange>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.read);
        let mut draw = |(low, high): (u64, u64)| rng.random_range(low..=high);
        let first = draw(self.args.first);
        let later = draw(self.args.later);
        let turns = draw((self.turns.0.into(), self.turns.1.into()));
        let mut rest = texts;
        (0..turns)
            .map(|turn| {
                let tokens = if turn == 0 { first } else { later };
                let messages = self.collect(&mut rest, tokens);
                (!messages.is_empty()).then(|| Exchange {
                    messages,
                    ..Exchange::default()
                })
            })
            .collect()
    }

    /// Take texts of together `tokens` tokens; the last one is cut to fit.
    fn collect(&self, rest: &mut &[String], tokens: u64) -> Vec<Value> {
        let mut left = usize::try_from(tokens).unwrap_or(usize::MAX);
        let mut messages = Vec::new();
        while let Some((text, others)) = rest.split_first() {
            let ids = self.tokenizer.encode(text);
            if ids.len() > left {
                if left > 0 {
                    *rest = others;
                    let cut = self.tokenizer.decode(&ids[..left]);
                    messages.push(message("user", &cut));
                }
                break;
            }
            *rest = others;
            left -= ids.len();
            messages.push(message("user", text));
        }
        messages
    }
}

impl PromptSource for SweTrajectories {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        while let Some(texts) = self.next_texts()? {
            if let Some(turns) = self.turns(&texts) {
                self.made += 1;
                let item = session(turns, Replies::Unused);
                return Ok(Some(item.expect("no responses are needed")));
            }
        }
        if self.made == 0 && self.read > 0 {
            return Err(DatasetError::NoneLongEnough {
                name: self.name.clone(),
                read: self.read,
                turns: self.turns.1,
                first: self.args.first.1,
                later: self.args.later.1,
            });
        }
        Ok(None)
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        (self.read, self.made) = (0, 0);
        match &mut self.rows {
            Rows::Parquet(rows) => rows.rewind(),
            Rows::Records(records) => records.rewind(),
        }
    }

    fn is_costly(&self) -> bool {
        true
    }
}

/// The texts in a row of JSON Lines, whose `messages` is a list or a list as JSON text.
fn texts_of_item(item: &[u8], fewest: f64) -> Result<Option<Vec<String>>, Wrong> {
    match field(item, FIELD)? {
        Some(Value::String(json)) => texts_of_json(json.as_bytes(), fewest),
        Some(Value::Array(messages)) => Ok(Some(texts_of(&messages))),
        _ => Err(format!("no list `{FIELD}`").into()),
    }
}

/// The same for JSON text; `None`: it is too short.
fn texts_of_json(json: &[u8], fewest: f64) -> Result<Option<Vec<String>>, Wrong> {
    // a character has at most four bytes
    if (json.len() as f64) < fewest {
        return Ok(None);
    }
    match serde_json::from_slice(json)? {
        Value::Array(messages) => {
            let messages = Value::Array(messages);
            value_without_nul(json, &messages)?;
            Ok(messages.as_array().map(|messages| texts_of(messages)))
        }
        _ => Err(format!("`{FIELD}` is not a list").into()),
    }
}

/// What users and tools said, as texts that are not empty.
fn texts_of(messages: &[Value]) -> Vec<String> {
    let asking = messages.iter().filter_map(Value::as_object).filter(|m| {
        let role = m.get("role").and_then(Value::as_str);
        matches!(role, Some("user" | "tool"))
    });
    asking
        .map(text_of)
        .filter(|text| !text.is_empty())
        .collect()
}

/// The text of a message; that of several parts, each on lines of its own.
fn text_of(message: &Map<String, Value>) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| match part {
                Value::String(text) => Some(text.as_str()),
                Value::Object(part) if part.get("type").is_some_and(|kind| kind == "text") => {
                    Some(part.get("text").and_then(Value::as_str).unwrap_or_default())
                }
                _ => None,
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
