//! Owns the values of `--api` and `--dataset`: a known name, a file or a plugin.
//!
//! It must not know what a file or a plugin holds.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use evalscope_plugin::Place;

/// The API spoken to the server.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Api {
    /// OpenAI chat completions or completions, depending on the URL.
    Openai,
    /// Alibaba Cloud's DashScope: its native or its OpenAI-compatible protocol, depending on the URL.
    Dashscope,
    /// Zhipu's chat API, v4. A key of the form id.secret signs a short-lived token.
    Zhipu,
    /// OpenAI's API, on a simulated server that this command starts.
    LocalSim,
    /// OpenAI's API, on `transformers serve`, which this command starts with --model.
    Local,
    /// OpenAI's API, on `vllm serve`, which this command starts with --model.
    LocalVllm,
}

/// Where prompts come from.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Dataset {
    /// Questions, mostly short: field `question` of JSON Lines or a JSON list (HC3-Chinese).
    Openqa,
    /// Long prompts: field `instruction` of a JSON list, JSON Lines or Parquet (LongAlpaca-12k).
    Longalpaca,
    /// Each line is a prompt, a JSON list of messages, or a JSON request body; needs --dataset-path.
    LineByLine,
    /// Each line of a text file is a prompt, or with --prompt-field a field of each record; needs
    /// --dataset-path.
    Custom,
    /// Random text of exact length; needs --tokenizer-path.
    Random,
    /// Random text with random images; needs --tokenizer-path.
    RandomVl,
    /// Photos with captions.
    Flickr8k,
    /// Images with instructions.
    KontextBench,
    /// Chinese conversations, each with its full history.
    ShareGptZh,
    /// English conversations, each with its full history.
    ShareGptEn,
    /// Prompts of 1, 6144, 14336 and 30720 characters, two of each.
    SpeedBenchmark,
    /// Prompts of 63488 and 129024 characters, two of each.
    SpeedBenchmarkLong,
    /// 1000 built-in prompts: first 100 from short to long, in English and Chinese, then short ones.
    Sample,
}

/// Names with at least this similarity are suggested.
const NEAR: f64 = 0.75;

/// Names of `--api` in EvalScope 1.14 that this program does not have yet, and what they mean.
const LATER_APIS: [(&str, &str); 9] = [
    ("openai_responses", "OpenAI's Responses API"),
    ("openai_response", "OpenAI's Responses API"),
    ("responses", "OpenAI's Responses API"),
    ("openai_embedding", "load tests of embeddings"),
    ("embedding", "load tests of embeddings"),
    ("openai_rerank", "load tests of reranking"),
    ("rerank", "load tests of reranking"),
    ("systemone", "decision APIs"),
    ("autotrust", "decision APIs"),
];

/// The same of `--dataset`.
const LATER_DATASETS: [(&str, &str); 18] = [
    ("random_multi_turn", "multi-turn conversations"),
    ("share_gpt_zh_multi_turn", "multi-turn conversations"),
    ("share_gpt_en_multi_turn", "multi-turn conversations"),
    ("custom_multi_turn", "multi-turn conversations"),
    ("swe_smith", "multi-turn conversations"),
    ("trie_agentic_coding", "multi-turn conversations"),
    ("trie_code_qa", "multi-turn conversations"),
    ("trie_office_work", "multi-turn conversations"),
    ("workload_trace", "replaying a trace"),
    ("embedding", "load tests of embeddings"),
    ("embed", "load tests of embeddings"),
    ("embedding_batch", "load tests of embeddings"),
    ("random_embedding", "load tests of embeddings"),
    ("random_embedding_batch", "load tests of embeddings"),
    ("rerank", "load tests of reranking"),
    ("random_rerank", "load tests of reranking"),
    ("mmmu_multi_image", "prompts with several images"),
    ("open_decisions", "decision APIs"),
];

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
    /// The API, if it is a built-in one.
    pub(crate) fn named(&self) -> Option<Api> {
        match self {
            Self::Named(api) => Some(*api),
            _ => None,
        }
    }
}

impl DatasetChoice {
    /// The dataset, if it is a built-in one.
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

/// A plugin as it is shown. A class of the calling process may have a built-in name; results must
/// not claim that the built-in one was used.
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
        let names = Names {
            flag: "--api",
            kind: "API",
            later: &LATER_APIS,
            hint: "for an API of your own give a file: FILE.toml declares one, FILE.py or exec:COMMAND is a \
                   plugin",
        };
        names.place::<Api>(command, &text).map(ApiChoice::Plugin)
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
        let names = Names {
            flag: "--dataset",
            kind: "dataset",
            later: &LATER_DATASETS,
            hint: "for prompts of your own give `--dataset-path FILE`; FILE.py or exec:COMMAND is a plugin",
        };
        names
            .place::<Dataset>(command, &text)
            .map(DatasetChoice::Plugin)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(possible::<Dataset>())
    }
}

fn possible<T: ValueEnum + 'static>() -> Box<dyn Iterator<Item = PossibleValue>> {
    let values = T::value_variants().iter();
    Box::new(values.filter_map(ValueEnum::to_possible_value))
}

/// What an error says about a flag that takes a name or a place.
struct Names {
    flag: &'static str,
    kind: &'static str,
    later: &'static [(&'static str, &'static str)],
    hint: &'static str,
}

impl Names {
    /// The place of a plugin, or an error that lists the known names.
    fn place<T: ValueEnum>(&self, command: &Command, text: &str) -> Result<Place, clap::Error> {
        let error =
            |text: String| clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command);
        match Place::parse(text) {
            Some(Ok(place)) => Ok(place),
            Some(Err(reason)) => Err(error(format!("{reason}\n"))),
            None => Err(error(self.unknown::<T>(text))),
        }
    }

    fn unknown<T: ValueEnum>(&self, text: &str) -> String {
        let Self { flag, kind, .. } = self;
        if let Some((name, about)) = self.later.iter().find(|(name, _)| *name == text) {
            return format!(
                "`{flag} {name}` is not built yet: {about}\n  hint: the Python package EvalScope has it\n"
            );
        }
        let names: Vec<String> = T::value_variants().iter().map(name_of).collect();
        let near = |name: &&String| strsim::jaro_winkler(name, text);
        let nearest = names
            .iter()
            .max_by(|a, b| near(a).total_cmp(&near(b)))
            .filter(|name| near(name) > NEAR)
            .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        let list = names.join(", ");
        format!(
            "unknown {kind} `{text}`: known are {list}{nearest}\n  hint: {}\n",
            self.hint
        )
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
