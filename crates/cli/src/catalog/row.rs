//! Owns what all catalogs have in common: names, help, finding a row, and what is said about a name
//! that no row has.
//!
//! It must not know what the rows are.

use std::fmt;

use clap::builder::PossibleValue;
use evalscope_plugin::Place;

/// Names with at least this similarity are suggested.
const NEAR: f64 = 0.75;

/// EvalScope 1.14.
pub(crate) const EVALSCOPE: &str = "the Python package EvalScope";

/// One thing that is chosen by its name.
pub(crate) trait Row: fmt::Debug {
    /// Its name on the command line and in results.
    fn name(&self) -> &'static str;

    /// Other names that mean the same.
    fn aliases(&self) -> &'static [&'static str];

    /// What it is, in a phrase without a full stop.
    fn help(&self) -> &'static str;
}

/// The rows that a flag can name.
#[derive(Debug)]
pub(crate) struct Catalog<R: 'static> {
    /// With its dashes.
    pub(crate) flag: &'static str,
    /// What a row is called in a sentence.
    pub(crate) kind: &'static str,
    /// In the order in which help lists them.
    pub(crate) rows: &'static [R],
    /// Names of other programs that this one does not have yet, what they mean, and who has them.
    pub(crate) later: &'static [(&'static str, &'static str, &'static str)],
    /// What to do about an unknown name.
    pub(crate) hint: &'static str,
}

impl<R: Row> Catalog<R> {
    /// The row of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static R> {
        let has = |row: &&R| row.name() == name || row.aliases().contains(&name);
        self.rows.iter().find(has)
    }

    /// The rows as help lists them.
    pub(crate) fn possible_values(&self) -> impl Iterator<Item = PossibleValue> + use<R> {
        let value = |row: &R| {
            let value = PossibleValue::new(row.name()).help(row.help());
            value.aliases(row.aliases())
        };
        self.rows.iter().map(value)
    }

    /// A plugin as it is shown. A class of the calling process may have a built-in name; results must
    /// not claim that the built-in one was used.
    pub(crate) fn shown_plugin(&self, place: &Place) -> String {
        let text = place.to_string();
        match self.find(&text) {
            Some(_) => format!("{text} (plugin)"),
            None => text,
        }
    }

    /// The message about a name that neither a row nor a plugin has.
    pub(crate) fn unknown(&self, text: &str) -> String {
        let Self { flag, kind, .. } = self;
        if let Some((name, about, who)) = self.later.iter().find(|(name, ..)| *name == text) {
            return format!("`{flag} {name}` is not built yet: {about}\n  hint: {who} has it\n");
        }
        let names: Vec<&str> = self.rows.iter().map(Row::name).collect();
        let nearest = nearest(text, names.iter().copied());
        let list = names.join(", ");
        format!(
            "unknown {kind} `{text}`: known are {list}{nearest}\n  hint: {}\n",
            self.hint
        )
    }
}

/// A question for the known name that a text resembles, to append to a sentence; empty if there is none.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = |name: &&str| strsim::jaro_winkler(name, text);
    names
        .max_by(|a, b| near(a).total_cmp(&near(b)))
        .filter(|name| near(name) > NEAR)
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
