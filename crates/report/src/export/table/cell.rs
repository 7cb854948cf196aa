//! Owns what a table is made of, whatever file it goes to: columns with a type, and cells.
//!
//! It must not know any table or any file format.

use std::fmt::Write as _;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    /// 32 bits.
    Small,
    /// 64 bits.
    Whole,
    Number,
    /// 32 bits.
    Single,
    /// Unix time, nanoseconds.
    Moment,
    Text,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its cells are never missing.
    pub(super) is_required: bool,
}

pub(super) const fn required(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_required: true,
    }
}

pub(super) const fn optional(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_required: false,
    }
}

/// A value of a column: of its kind, or missing. `Whole` is also that of a small one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Missing,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Single(f32),
    Moment(i64),
    Text(&'a str),
}

impl Cell<'_> {
    pub(super) fn number(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }

    pub(super) fn text(text: Option<&str>) -> Cell<'_> {
        text.map_or(Cell::Missing, Cell::Text)
    }

    /// A count; missing where 32 bits do not hold it.
    pub(super) fn small(count: Option<i64>) -> Self {
        let count = count.filter(|count| i32::try_from(*count).is_ok());
        count.map_or(Self::Missing, Self::Whole)
    }

    /// Append the value as text; of a missing one, nothing. Numbers are as short as they can be without
    /// becoming another number, and moments are RFC 3339 in UTC.
    pub(super) fn push_to(&self, text: &mut String) {
        let _infallible = match self {
            Self::Missing => Ok(()),
            Self::Flag(flag) => write!(text, "{flag}"),
            Self::Whole(whole) => write!(text, "{whole}"),
            Self::Number(number) => write!(text, "{number}"),
            Self::Single(number) => write!(text, "{number}"),
            Self::Moment(unix_ns) => {
                let at = jiff::Timestamp::from_nanosecond(i128::from(*unix_ns));
                let at = at.expect("jiff holds all moments of 64 bits");
                write!(text, "{at:.9}")
            }
            Self::Text(own) => {
                text.push_str(own);
                Ok(())
            }
        };
    }
}
