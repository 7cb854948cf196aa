//! Owns flags that take a name of a list, or a place: `--api` and `--dataset`.
//!
//! It must not know what is at a place.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use evalscope_plugin::Place;

use crate::args::{Api, Dataset};

/// Names that are nearer than this are worth a suggestion.
const NEAR: f64 = 0.75;

/// `--api` as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiChoice {
    Named(Api),
    Plugin(Place),
    /// A file that declares an API.
    Declared(PathBuf),
}

/// `--dataset` as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatasetChoice {
    Named(Dataset),
    Plugin(Place),
}

impl ApiChoice {
    /// The API, where it is one of the list.
    pub(crate) fn named(&self) -> Option<Api> {
        match self {
            Self::Named(api) => Some(*api),
            _ => None,
        }
    }
}

impl DatasetChoice {
    /// The data set, where it is one of the list.
    pub(crate) fn named(&self) -> Option<Dataset> {
        match self {
            Self::Named(dataset) => Some(*dataset),
            Self::Plugin(_) => None,
        }
    }
}

impl fmt::Display for ApiChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(api) => f.write_str(&name_of(api)),
            Self::Plugin(place) => f.write_str(&shown_plugin::<Api>(place)),
            Self::Declared(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for DatasetChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(dataset) => f.write_str(&name_of(dataset)),
            Self::Plugin(place) => f.write_str(&shown_plugin::<Dataset>(place)),
        }
    }
}

/// A plugin as it is shown. A class of the calling process may have the name of what is
/// built in; results must not say that this was measured.
pub(crate) fn shown_plugin<T: ValueEnum>(place: &Place) -> String {
    let text = place.to_string();
    if T::from_str(&text, false).is_ok() {
        format!("{text} (plugin)")
    } else {
        text
    }
}

/// The name of a value as it is typed.
pub(crate) fn name_of(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Reads `--api`.
#[derive(Clone, Debug)]
pub(crate) struct ApiParser;

impl TypedValueParser for ApiParser {
    type Value = ApiChoice;

    fn parse_ref(
        &self,
        command: &Command,
        _arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<ApiChoice, clap::Error> {
        let text = value.to_string_lossy();
        if let Ok(api) = Api::from_str(&text, false) {
            return Ok(ApiChoice::Named(api));
        }
        if Path::new(&*text)
            .extension()
            .is_some_and(|end| end == "toml")
        {
            return Ok(ApiChoice::Declared(PathBuf::from(&*text)));
        }
        let also = "a path that ends in .toml declares an API; a plugin is a path that ends in .py, \
                    or exec:COMMAND";
        place::<Api>(command, "API", also, &text).map(ApiChoice::Plugin)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(possible::<Api>())
    }
}

/// Reads `--dataset`.
#[derive(Clone, Debug)]
pub(crate) struct DatasetParser;

impl TypedValueParser for DatasetParser {
    type Value = DatasetChoice;

    fn parse_ref(
        &self,
        command: &Command,
        _arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<DatasetChoice, clap::Error> {
        let text = value.to_string_lossy();
        if let Ok(dataset) = Dataset::from_str(&text, false) {
            return Ok(DatasetChoice::Named(dataset));
        }
        let also = "a plugin is a path that ends in .py, or exec:COMMAND; a file with prompts is given by \
                    --dataset-path";
        place::<Dataset>(command, "data set", also, &text).map(DatasetChoice::Plugin)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(possible::<Dataset>())
    }
}

fn possible<T: ValueEnum + 'static>() -> Box<dyn Iterator<Item = PossibleValue>> {
    let values = T::value_variants().iter();
    Box::new(values.filter_map(ValueEnum::to_possible_value))
}

/// The place of a plugin, or an error that says what there is.
fn place<T: ValueEnum>(
    command: &Command,
    what: &str,
    also: &str,
    text: &str,
) -> Result<Place, clap::Error> {
    let error =
        |message: String| clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command);
    match Place::parse(text) {
        Some(Ok(place)) => Ok(place),
        Some(Err(reason)) => Err(error(format!("{reason}\n"))),
        None => {
            let names: Vec<String> = T::value_variants().iter().map(name_of).collect();
            let near = |name: &&String| strsim::jaro_winkler(name, text);
            let nearest = names
                .iter()
                .max_by(|a, b| near(a).total_cmp(&near(b)))
                .filter(|name| near(name) > NEAR)
                .map_or_else(String::new, |name| format!("; the nearest is `{name}`"));
            let list = names.join(", ");
            Err(error(format!(
                "unknown {what} `{text}`: there are {list}{nearest}\n  hint: {also}\n"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_with_a_built_in_name_is_told_from_it() {
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
