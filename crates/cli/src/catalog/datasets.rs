//! Owns the built-in datasets, a row each: how it is called, what it is made from, where a hub has
//! it, how it is opened. What [`TEXTS`] has need not be repeated.
//!
//! It must not know flags, nor how files are downloaded.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use evalscope_model::prompt::{Item, Prompt};
use evalscope_workload::dataset::{
    Ahead, ArgsError, ArgsReader, Canvas, Flickr8k, KontextBench, LineByLine, LongAlpaca, OpenQa,
    OwnField, PromptSource, Random, RandomPrompts, Replies, Sample, ShareGpt, ShareGptLanguage,
    SpeedBenchmark, TextLines, data_url, user_message,
};

use evalscope_workload::tokens::{Tokenizer, Words};
use evalscope_workload::trace::{TraceKind, TraceSettings, TraceSource};
use serde_json::{Map, Value};

use super::conversations as talks;
use super::row::{Catalog, EVALSCOPE, Row};

/// The dataset when none is named.
pub(crate) const DEFAULT: &str = "openqa";

/// A built-in dataset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatasetRow {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) help: &'static str,
    /// What prompts are made from.
    pub(crate) origin: Origin,
    /// Where the hubs have it, if they do.
    pub(crate) hub: Option<RemoteDataset>,
    /// What it gives to a run.
    pub(crate) sessions: Sessions,
    /// Checks `--dataset-args`: takes every key that the dataset knows. The dataset takes them again
    /// when it is opened.
    pub(crate) args: fn(&mut ArgsReader) -> Result<(), ArgsError>,
    /// Options give its prompts a length (`target_input_len`).
    pub(crate) fits: bool,
    /// `--prompt-field` reads a field of its records.
    pub(crate) reads_fields: bool,
    /// Requests of one pass, if the dataset is meant to be sent whole and as it is: as plain
    /// prompts, whatever the URL.
    pub(crate) whole: Option<fn() -> u64>,
    /// What a person should know before it is used.
    pub(crate) note: Option<&'static str>,
    /// Open it.
    pub(crate) open: fn(&Opening<'_>) -> anyhow::Result<Box<dyn PromptSource>>,
}

impl Row for DatasetRow {
    fn name(&self) -> &'static str {
        self.name
    }

    fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }

    fn help(&self) -> &'static str {
        self.help
    }
}

impl DatasetRow {
    /// Whether `--dataset-path` must be given.
    pub(crate) fn needs_file(&self) -> bool {
        self.origin.has_file() && self.hub.is_none()
    }
}

/// What a dataset gives to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Single requests: `--multi-turn` is an error.
    Requests,
    /// Conversations: they imply `--multi-turn`.
    Conversations,
    /// Both: `--multi-turn` decides.
    Either,
}

/// What prompts are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This program.
    BuiltIn,
    /// Files of texts, read line by line or item by item.
    Texts,
    /// Files of images with texts.
    Images,
    /// Random words.
    Random,
    /// Random words and random images.
    RandomImages,
    /// Files that say how long prompts were: a text is made for each.
    Lengths,
    /// Files that say when requests came, and how long they were or what they said; of this format, or
    /// of one that is found out.
    Trace(Option<TraceKind>),
}

impl Origin {
    /// Whether prompts are made rather than read: lengths are asked for, not filtered.
    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::Random | Self::RandomImages)
    }

    /// Whether texts are made of words: a tokenizer is needed.
    pub(crate) fn makes_texts(self) -> bool {
        self.is_random() || self == Self::Lengths
    }

    pub(crate) fn has_images(self) -> bool {
        matches!(self, Self::Images | Self::RandomImages)
    }

    pub(crate) fn has_file(self) -> bool {
        matches!(
            self,
            Self::Texts | Self::Images | Self::Lengths | Self::Trace(_)
        )
    }
}

/// A dataset on the hubs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteDataset {
    /// Its id at `ModelScope` and at Hugging Face.
    pub(crate) ids: [&'static str; 2],
    pub(crate) files: Files,
}

/// Which files of a repository make a dataset.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Files {
    /// This one.
    One(&'static str),
    /// Those whose path has this in it and ends like this; all of the first
    /// ending that any has.
    Matching(&'static str, &'static [&'static str]),
}

/// What a dataset is opened with.
pub(crate) struct Opening<'a> {
    /// File or folder; empty where there is none.
    pub(crate) place: &'a Path,
    /// `--prompt-field`.
    pub(crate) field: Option<&'a str>,
    /// A body on a line may be any object.
    pub(crate) any_body: bool,
    /// Prompts are given a length.
    pub(crate) fits: bool,
    /// `--dataset-args`.
    pub(crate) args: &'a Map<String, Value>,
    /// `--min-turns` and `--max-turns`.
    pub(crate) turns: (u32, Option<u32>),
    /// Whether recorded responses are needed.
    pub(crate) replies: Replies,
    /// Tokens of a response: the fewest and the most.
    pub(crate) output_tokens: (u64, u64),
    /// The tokenizer, where one was given.
    pub(crate) tokenizer: Option<&'a Arc<Tokenizer>>,
    /// Its words, for datasets that make texts.
    pub(crate) words: Option<&'a Arc<Words>>,
    /// Opens the trace of the command.
    pub(crate) trace: &'a dyn Fn() -> anyhow::Result<TraceSource>,
    /// Makes random prompts.
    pub(crate) random: &'a dyn Fn() -> anyhow::Result<RandomPrompts>,
    /// The images of a random prompt.
    pub(crate) images: Option<DrawnImages>,
    /// Root of the random draws.
    pub(crate) seed: u64,
    /// Prompts that earlier runs have used; only random prompts begin there by themselves.
    pub(crate) offset: u64,
    /// Threads that may make images ahead of need.
    pub(crate) spare: NonZeroUsize,
}

/// The images of a random prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrawnImages {
    pub(crate) canvas: Canvas,
    pub(crate) each: u32,
}

/// What most datasets are like: a file of texts.
pub(crate) const TEXTS: DatasetRow = DatasetRow {
    name: "",
    aliases: &[],
    help: "",
    origin: Origin::Texts,
    hub: None,
    sessions: Sessions::Requests,
    args: |_| Ok(()),
    fits: false,
    reads_fields: false,
    whole: None,
    note: None,
    open: |with| Ok(Box::new(TextLines::open(with.place)?)),
};

/// What traces are like.
const TRACES: DatasetRow = DatasetRow {
    origin: Origin::Trace(None),
    args: |args| TraceSettings::take(args).map(drop),
    open: |with| Ok(Box::new((with.trace)()?)),
    ..TEXTS
};

/// The built-in datasets.
pub(crate) static DATASETS: Catalog<DatasetRow> = Catalog {
    flag: "--dataset",
    kind: "dataset",
    rows: &[
        DatasetRow {
            name: DEFAULT,
            fits: true,
            help: "Questions, mostly short: field `question` of JSON Lines or a JSON list (HC3-Chinese)",
            hub: Some(RemoteDataset {
                ids: ["AI-ModelScope/HC3-Chinese", "Hello-SimpleAI/HC3-Chinese"],
                files: Files::One("open_qa.jsonl"),
            }),
            open: |with| Ok(Box::new(OpenQa::open(with.place)?)),
            ..TEXTS
        },
        DatasetRow {
            name: "longalpaca",
            fits: true,
            help: "Long prompts: field `instruction` of a JSON list, JSON Lines or Parquet (LongAlpaca-12k)",
            hub: Some(RemoteDataset {
                ids: ["AI-ModelScope/LongAlpaca-12k", "Yukang/LongAlpaca-12k"],
                files: Files::Matching("", &[".parquet", ".jsonl", "12k.json", ".json"]),
            }),
            open: |with| Ok(Box::new(LongAlpaca::open(with.place)?)),
            ..TEXTS
        },
        DatasetRow {
            name: "line_by_line",
            fits: true,
            help: "Each line is a prompt, a JSON list of messages, or a JSON request body; needs --dataset-path",
            open: |with| {
                let lines = LineByLine::open(with.place, with.any_body)?;
                Ok(Box::new(lines.without_bodies(with.fits)))
            },
            ..TEXTS
        },
        DatasetRow {
            name: "custom",
            fits: true,
            help: "Each line of a text file is a prompt, or with --prompt-field a field of each record; \
                   needs --dataset-path",
            reads_fields: true,
            open: |with| {
                Ok(match with.field {
                    None => Box::new(TextLines::open(with.place)?),
                    Some(field) => Box::new(OwnField::open(with.place, field)?),
                })
            },
            ..TEXTS
        },
        DatasetRow {
            name: "random",
            help: "Random text of exact length; needs --tokenizer-path",
            origin: Origin::Random,
            open: |with| Ok(Box::new(Random::new((with.random)()?, with.offset))),
            ..TEXTS
        },
        DatasetRow {
            name: "random_vl",
            help: "Random text with random images; needs --tokenizer-path",
            origin: Origin::RandomImages,
            open: |with| {
                let images = with.images.context("random images have no size")?;
                let generator = with_images((with.random)()?, images, with.seed);
                let spare = with.spare.get();
                Ok(Box::new(Ahead::new(
                    Arc::new(generator),
                    with.offset,
                    spare,
                )))
            },
            ..TEXTS
        },
        DatasetRow {
            name: "flickr8k",
            help: "Photos with captions",
            origin: Origin::Images,
            hub: Some(RemoteDataset {
                ids: ["clip-benchmark/wds_flickr8k"; 2],
                files: Files::Matching("test", &[".tar", ".parquet"]),
            }),
            open: |with| Ok(Box::new(Flickr8k::open(with.place)?)),
            ..TEXTS
        },
        DatasetRow {
            name: "kontext_bench",
            help: "Images with instructions",
            origin: Origin::Images,
            hub: Some(RemoteDataset {
                ids: ["black-forest-labs/kontext-bench"; 2],
                files: Files::Matching("test", &[".parquet", ".jsonl"]),
            }),
            open: |with| Ok(Box::new(KontextBench::open(with.place)?)),
            ..TEXTS
        },
        DatasetRow {
            name: "share_gpt_zh",
            fits: true,
            help: "Chinese conversations, each with its full history",
            hub: Some(RemoteDataset {
                ids: ["swift/sharegpt"; 2],
                files: Files::One("common_zh_70k.jsonl"),
            }),
            open: |with| {
                Ok(Box::new(ShareGpt::open(
                    with.place,
                    ShareGptLanguage::Chinese,
                )?))
            },
            ..TEXTS
        },
        DatasetRow {
            name: "share_gpt_en",
            fits: true,
            help: "English conversations, each with its full history",
            hub: Some(RemoteDataset {
                ids: ["swift/sharegpt"; 2],
                files: Files::One("common_en_70k.jsonl"),
            }),
            open: |with| {
                Ok(Box::new(ShareGpt::open(
                    with.place,
                    ShareGptLanguage::English,
                )?))
            },
            ..TEXTS
        },
        DatasetRow {
            name: "speed_benchmark",
            help: "Prompts of 1, 6144, 14336 and 30720 characters, two of each",
            origin: Origin::BuiltIn,
            whole: Some(|| SpeedBenchmark::short().requests()),
            open: |_| Ok(Box::new(SpeedBenchmark::short())),
            ..TEXTS
        },
        DatasetRow {
            name: "speed_benchmark_long",
            help: "Prompts of 63488 and 129024 characters, two of each",
            origin: Origin::BuiltIn,
            whole: Some(|| SpeedBenchmark::long().requests()),
            open: |_| Ok(Box::new(SpeedBenchmark::long())),
            ..TEXTS
        },
        DatasetRow {
            name: "sample",
            help: "1000 built-in prompts: first 100 from short to long, in English and Chinese, then short ones",
            origin: Origin::BuiltIn,
            open: |_| Ok(Box::new(Sample::default())),
            ..TEXTS
        },
        talks::RANDOM_MULTI_TURN,
        talks::SHARE_GPT_ZH_MULTI_TURN,
        talks::SHARE_GPT_EN_MULTI_TURN,
        talks::CUSTOM_MULTI_TURN,
        talks::SWE_SMITH,
        talks::TRIE_AGENTIC_CODING,
        talks::TRIE_CODE_QA,
        talks::TRIE_OFFICE_WORK,
        talks::DAG_JSONL,
        DatasetRow {
            name: "workload_trace",
            help: "Recorded request bodies, sent again at their own moments (EvalScope's format)",
            origin: Origin::Trace(Some(TraceKind::Workload)),
            ..TRACES
        },
        DatasetRow {
            name: "mooncake_trace",
            help: "Moments, lengths and shared blocks of prompts, with texts made for them (Mooncake)",
            origin: Origin::Trace(Some(TraceKind::Mooncake)),
            ..TRACES
        },
        DatasetRow {
            name: "timed_trace",
            help: "The same in vLLM's format",
            origin: Origin::Trace(Some(TraceKind::Timed)),
            ..TRACES
        },
        DatasetRow {
            name: "bailian_trace",
            help: "The same in Qwen-Bailian's format",
            origin: Origin::Trace(Some(TraceKind::Bailian)),
            ..TRACES
        },
        DatasetRow {
            name: "azure_trace",
            help: "Moments and lengths (Azure's CSV files)",
            origin: Origin::Trace(Some(TraceKind::Azure)),
            ..TRACES
        },
        DatasetRow {
            name: "burstgpt_trace",
            help: "Moments and lengths (BurstGPT's CSV files)",
            origin: Origin::Trace(Some(TraceKind::BurstGpt)),
            ..TRACES
        },
        DatasetRow {
            name: "trace",
            help: "A trace in one of these formats, which is found out; not vLLM's",
            ..TRACES
        },
    ],
    later: &[
        ("embedding", "load tests of embeddings", EVALSCOPE),
        ("embed", "load tests of embeddings", EVALSCOPE),
        ("embedding_batch", "load tests of embeddings", EVALSCOPE),
        ("random_embedding", "load tests of embeddings", EVALSCOPE),
        (
            "random_embedding_batch",
            "load tests of embeddings",
            EVALSCOPE,
        ),
        ("rerank", "load tests of reranking", EVALSCOPE),
        ("random_rerank", "load tests of reranking", EVALSCOPE),
        ("mmmu_multi_image", "prompts with several images", EVALSCOPE),
        ("open_decisions", "decision APIs", EVALSCOPE),
        ("weka_trace", "traces of sessions with agents", "AIPerf"),
    ],
    hint: "for prompts of your own give `--dataset-path FILE`; FILE.py or exec:COMMAND is a plugin",
};

/// Prompts with their images, by index.
fn with_images(
    prompts: RandomPrompts,
    images: DrawnImages,
    seed: u64,
) -> impl Fn(u64) -> Item + Send + Sync {
    move |index| {
        let (text, tokens) = prompts.text(index);
        let urls = (0..u64::from(images.each)).map(|n| {
            let at = index * u64::from(images.each) + n;
            data_url("image/png", &images.canvas.image(seed, at))
        });
        let message = user_message(&text, urls);
        Item {
            prompt: Prompt::Messages(vec![message]),
            // what the server makes of images is not known: only the text is asked for
            asked_tokens: (images.each == 0).then_some(tokens),
            with: evalscope_model::prompt::Overrides::default(),
            later: Vec::new(),
        }
    }
}
