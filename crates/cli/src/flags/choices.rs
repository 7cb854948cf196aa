//! Owns the values of `--api` and `--dataset`: a row of a catalog, a file or a plugin.
//!
//! It must not know what a file or a plugin holds.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use evalscope_plugin::Place;

use crate::catalog::apis::{APIS, ApiRow, Serves};
use crate::catalog::datasets::{DATASETS, DatasetRow};
use crate::catalog::row::{Catalog, Row};

/// `--api` as it was typed.
#[derive(Clone, Debug)]
pub(crate) enum ApiChoice {
    Named(&'static ApiRow),
    Plugin(Place),
    /// A file that declares an API.
    Declared(PathBuf),
}

/// `--dataset` as it was typed.
#[derive(Clone, Debug)]
pub(crate) enum DatasetChoice {
    Named(&'static DatasetRow),
    Plugin(Place),
}

impl ApiChoice {
    /// The API, if it is a built-in one.
    pub(crate) fn named(&self) -> Option<&'static ApiRow> {
        match self {
            Self::Named(api) => Some(api),
            _ => None,
        }
    }

    /// Where its server comes from.
    pub(crate) fn serves(&self) -> Serves {
        self.named().map_or(Serves::Elsewhere, |api| api.serves)
    }
}

impl DatasetChoice {
    /// The dataset, if it is a built-in one.
    pub(crate) fn named(&self) -> Option<&'static DatasetRow> {
        match self {
            Self::Named(dataset) => Some(dataset),
            Self::Plugin(_) => None,
        }
    }
}

impl fmt::Display for ApiChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(api) => f.write_str(api.name),
            Self::Plugin(place) => f.write_str(&APIS.shown_plugin(place)),
            Self::Declared(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for DatasetChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(dataset) => f.write_str(dataset.name),
            Self::Plugin(place) => f.write_str(&DATASETS.shown_plugin(place)),
        }
    }
}

/// The name of a value as it is typed.
pub(crate) fn name_of(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Reads `--api`.
#[derive(Clone, Debug)]
pub(crate) struct ApiParser(pub(crate) &'static Catalog<ApiRow>);

impl TypedValueParser for ApiParser {
    type Value = ApiChoice;

    fn parse_ref(
        &self,
        command: &Command,
        _arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<ApiChoice, clap::Error> {
        let text = value.to_string_lossy();
        if let Some(api) = self.0.find(&text) {
            return Ok(ApiChoice::Named(api));
        }
        if Path::new(&*text)
            .extension()
            .is_some_and(|end| end == "toml")
        {
            return Ok(ApiChoice::Declared(PathBuf::from(&*text)));
        }
        plugin_place(self.0, command, &text).map(ApiChoice::Plugin)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.possible_values()))
    }
}

/// Reads `--dataset`.
#[derive(Clone, Debug)]
pub(crate) struct DatasetParser(pub(crate) &'static Catalog<DatasetRow>);

impl TypedValueParser for DatasetParser {
    type Value = DatasetChoice;

    fn parse_ref(
        &self,
        command: &Command,
        _arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<DatasetChoice, clap::Error> {
        let text = value.to_string_lossy();
        match self.0.find(&text) {
            Some(dataset) => Ok(DatasetChoice::Named(dataset)),
            None => plugin_place(self.0, command, &text).map(DatasetChoice::Plugin),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.possible_values()))
    }
}

/// The place of a plugin, or an error that lists the known names.
fn plugin_place<R: Row>(
    catalog: &Catalog<R>,
    command: &Command,
    text: &str,
) -> Result<Place, clap::Error> {
    let error = |text: String| clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command);
    match Place::parse(text) {
        Some(Ok(place)) => Ok(place),
        Some(Err(reason)) => Err(error(format!("{reason}\n"))),
        None => Err(error(catalog.unknown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_with_a_built_in_name_is_shown_as_a_plugin() {
        for (text, shown) in [
            ("unix:/tmp/x/dataset.sock:openqa", "openqa (plugin)"),
            ("unix:/tmp/x/dataset.sock:mine", "mine"),
            ("my.py:openqa", "my.py:openqa"),
        ] {
            let place = Place::parse(text).unwrap().unwrap();
            assert_eq!(DatasetChoice::Plugin(place).to_string(), shown);
        }
        let place = Place::parse("unix:/tmp/x/api.sock:openai")
            .unwrap()
            .unwrap();
        assert_eq!(ApiChoice::Plugin(place).to_string(), "openai (plugin)");
    }
}
