//! Owns the built-in datasets, a row each: how it is called, what it is made from, where a hub has
//! it, how it is opened. What [`TEXTS`] has need not be repeated.
//!
//! It must not know flags, nor how files are downloaded.

use std::sync::Arc;

use anyhow::Context;
use evalscope_model::prompt::{Item, Prompt};
use evalscope_workload::dataset::{
    Ahead, ArgsReader, Flickr8k, KontextBench, LineByLine, LongAlpaca, Mmmu, MmmuArgs, OpenQa,
    OwnField, Random, RandomPrompts, Sample, ShareGpt, ShareGptLanguage, SpeedBenchmark, TextLines,
    data_url, user_message,
};

use evalscope_workload::trace::TraceKind;

use super::conversations as talks;
use super::inputs;
use super::row::{Catalog, EVALSCOPE};

use super::dataset_row::TRACES;
pub(crate) use super::dataset_row::{
    DatasetRow, DrawnImages, Feeds, Files, Opening, Origin, RemoteDataset, Sessions, TEXTS,
};

/// The dataset when none is named.
pub(crate) const DEFAULT: &str = "openqa";

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
            name: "mmmu_multi_image",
            help: "Questions about several images each, from the 30 subjects of MMMU in turn",
            origin: Origin::Images,
            hub: Some(RemoteDataset {
                ids: ["AI-ModelScope/MMMU", "MMMU/MMMU"],
                files: Files::Subsets("validation", ".parquet"),
            }),
            args: |args| MmmuArgs::take(args).map(drop),
            open: |with| {
                let args = MmmuArgs::take(&mut ArgsReader::new(with.args.clone()))?;
                Ok(Box::new(Mmmu::open(with.place, &args)?))
            },
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
        inputs::EMBEDDING,
        inputs::EMBEDDING_BATCH,
        inputs::RANDOM_EMBEDDING,
        inputs::RANDOM_EMBEDDING_BATCH,
        inputs::RERANK,
        inputs::RANDOM_RERANK,
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
