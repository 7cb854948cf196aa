//! Owns lines of JSON with lengths and ids of blocks, in one pass: what Mooncake, Qwen-Bailian and
//! vLLM have in common. Names of columns may be the file's own.
//!
//! It must not know units, nor which columns a format needs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::Value;

use super::super::settings::TimeUnit;
use super::json_line::{said, tokens};
use super::times::{nanos_of, shown};

/// The columns, as the formats name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Timestamp,
    InputLength,
    OutputLength,
    HashIds,
    SessionId,
    Delay,
    Messages,
    TextInput,
    ChatId,
    ParentChatId,
    /// Known, but not built.
    Later,
    Other,
}

const COLUMNS: [(&str, Column); 13] = [
    ("timestamp", Column::Timestamp),
    ("input_length", Column::InputLength),
    ("output_length", Column::OutputLength),
    ("hash_ids", Column::HashIds),
    ("session_id", Column::SessionId),
    ("delay", Column::Delay),
    ("messages", Column::Messages),
    ("text_input", Column::TextInput),
    ("chat_id", Column::ChatId),
    ("parent_chat_id", Column::ParentChatId),
    ("payload", Column::Later),
    ("tools", Column::Later),
    ("extra", Column::Later),
];

/// The file's names of columns.
#[derive(Clone, Debug)]
pub(super) struct ColumnNames(Vec<(String, Column)>);

/// What a line says.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockLine {
    pub(super) timestamp: Value,
    pub(super) input_length: Option<u64>,
    pub(super) output_length: Option<u64>,
    pub(super) has_ids: bool,
    pub(super) session_id: Value,
    pub(super) delay: Value,
    pub(super) messages: Value,
    pub(super) has_messages: bool,
    pub(super) text_input: Value,
    pub(super) chat_id: Value,
    pub(super) parent_chat_id: Value,
}

impl ColumnNames {
    pub(super) fn new(named: &BTreeMap<String, String>) -> Self {
        let own = |(name, column): &(&str, Column)| {
            let name = named.get(*name).map_or(*name, String::as_str);
            (name.to_owned(), *column)
        };
        Self(COLUMNS.iter().map(own).collect())
    }

    /// The file's name of a column.
    pub(super) fn shown(&self, name: &str) -> &str {
        let found = COLUMNS.iter().position(|(own, _)| *own == name);
        found.map_or("", |at| &self.0[at].0)
    }

    /// A column that must be there.
    pub(super) fn needed<T>(&self, name: &str, found: Option<T>) -> Result<T, String> {
        found.ok_or_else(|| format!("no `{}`", self.shown(name)))
    }

    /// The length of a prompt, which must be there and not 0.
    pub(super) fn needed_input(&self, found: Option<u64>) -> Result<u64, String> {
        let name = "input_length";
        match self.needed(name, found)? {
            0 => Err(format!(
                "`{}` is 0: a prompt has at least one token",
                self.shown(name)
            )),
            tokens => Ok(tokens),
        }
    }

    /// A moment, or a time between two, in nanoseconds.
    pub(super) fn time(&self, name: &str, value: &Value, unit: TimeUnit) -> Result<i64, String> {
        let found = match value {
            Value::Null => return self.needed(name, None),
            Value::Number(number) => nanos_of(number, unit),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "`{}` is {}: expected a number, 0 or greater",
                self.shown(name),
                shown(value)
            )
        })
    }

    /// Read a line. Ids go into `ids`; contents and ids are passed over where they are not `wanted`.
    pub(super) fn read(
        &self,
        line: &[u8],
        wanted: bool,
        ids: &mut Vec<u64>,
    ) -> Result<BlockLine, String> {
        let mut reader = serde_json::Deserializer::from_slice(line);
        let into = Into {
            names: self,
            wanted,
            ids,
        };
        let read = into.deserialize(&mut reader);
        let read = read.and_then(|line| reader.end().map(|()| line));
        read.map_err(|error| said(&error))
    }
}

struct Into<'a> {
    names: &'a ColumnNames,
    wanted: bool,
    ids: &'a mut Vec<u64>,
}

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = BlockLine;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<BlockLine, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = BlockLine;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BlockLine, A::Error> {
        let mut line = BlockLine::default();
        while let Some(column) = map.next_key_seed(Name(self.names))? {
            let length = |name: &str, value: &Value| {
                let name = self.names.shown(name);
                tokens(name, value).map_err(A::Error::custom)
            };
            match column {
                Column::Timestamp => line.timestamp = map.next_value()?,
                Column::InputLength => {
                    line.input_length = Some(length("input_length", &map.next_value()?)?);
                }
                Column::OutputLength => {
                    line.output_length = Some(length("output_length", &map.next_value()?)?);
                }
                Column::HashIds => {
                    line.has_ids = true;
                    if self.wanted {
                        let read = map.next_value_seed(Ids(&mut *self.ids));
                        read.map_err(|error| {
                            A::Error::custom(format!("`{}`: {error}", self.names.shown("hash_ids")))
                        })?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Column::SessionId => line.session_id = map.next_value()?,
                Column::Delay => line.delay = map.next_value()?,
                Column::Messages | Column::TextInput if !self.wanted => {
                    line.has_messages = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Column::Messages => line.messages = map.next_value()?,
                Column::TextInput => line.text_input = map.next_value()?,
                Column::ChatId => line.chat_id = map.next_value()?,
                Column::ParentChatId => line.parent_chat_id = map.next_value()?,
                Column::Later => {
                    if !map.next_value::<Value>()?.is_null() {
                        let text = "`payload`, `tools` and `extra` of AIPerf are not built yet";
                        return Err(A::Error::custom(text));
                    }
                }
                Column::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(line)
    }
}

/// Which column a key is.
struct Name<'a>(&'a ColumnNames);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Column;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Column, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Column;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Column, E> {
        let found = self.0.0.iter().find(|(name, _)| name == key);
        Ok(found.map_or(Column::Other, |(_, column)| *column))
    }
}

/// Ids of blocks.
struct Ids<'a>(&'a mut Vec<u64>);

impl<'de> DeserializeSeed<'de> for Ids<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of whole numbers, 0 or greater")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(Id(id)) = items.next_element()? {
            self.0.push(id);
        }
        Ok(())
    }
}

/// The id of a block.
struct Id(u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_u64(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, 0 or greater")
    }

    fn visit_u64<E>(self, id: u64) -> Result<Id, E> {
        Ok(Id(id))
    }
}
