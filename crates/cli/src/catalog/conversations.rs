//! Owns the rows of the datasets that hold conversations.
//!
//! It must not know flags, nor how files are downloaded.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use evalscope_workload::dataset::{
    ArgsError, ArgsReader, CustomMultiTurn, DatasetError, DelayUnit, PromptSource, RandomTurns,
    Replies, ShareGptLanguage, ShareGptMultiTurn, SweArgs, SwePrebuilt, SweTrajectories, Trie,
    TrieWorkload, TurnNumbers,
};

use super::dataset_row::{DatasetRow, Files, Opening, Origin, RemoteDataset, Sessions, TEXTS};
use crate::failure::hinted;

/// What most of them are like: a file of conversations.
const CONVERSATIONS: DatasetRow = DatasetRow {
    sessions: Sessions::Conversations,
    ..TEXTS
};

pub(super) const RANDOM_MULTI_TURN: DatasetRow = DatasetRow {
    name: "random_multi_turn",
    help: "Conversations of random text whose turns have exact lengths; needs --tokenizer-path and --max-turns",
    origin: Origin::Random,
    args: |args| prefix_every_turn(args).map(drop),
    open: open_random,
    ..CONVERSATIONS
};

pub(super) const SHARE_GPT_ZH_MULTI_TURN: DatasetRow = DatasetRow {
    name: "share_gpt_zh_multi_turn",
    help: "Chinese conversations, turn by turn",
    hub: Some(RemoteDataset {
        ids: ["swift/sharegpt"; 2],
        files: Files::One("common_zh_70k.jsonl"),
    }),
    open: |with| open_share_gpt(with, ShareGptLanguage::Chinese),
    ..CONVERSATIONS
};

pub(super) const SHARE_GPT_EN_MULTI_TURN: DatasetRow = DatasetRow {
    name: "share_gpt_en_multi_turn",
    help: "English conversations, turn by turn",
    hub: Some(RemoteDataset {
        ids: ["swift/sharegpt"; 2],
        files: Files::One("common_en_70k.jsonl"),
    }),
    open: |with| open_share_gpt(with, ShareGptLanguage::English),
    ..CONVERSATIONS
};

pub(super) const CUSTOM_MULTI_TURN: DatasetRow = DatasetRow {
    name: "custom_multi_turn",
    help: "Each line is a conversation: a JSON list of messages, or an object with turns; needs --dataset-path",
    open: |with| {
        let opened = CustomMultiTurn::open(with.place, DelayUnit::Seconds, with.replies)?;
        Ok(Box::new(opened))
    },
    ..CONVERSATIONS
};

pub(super) const DAG_JSONL: DatasetRow = DatasetRow {
    name: "dag_jsonl",
    help: "Conversations in AIPerf's format, without forks and spawns; needs --dataset-path",
    open: |with| {
        let opened = CustomMultiTurn::open(with.place, DelayUnit::Milliseconds, with.replies)?;
        Ok(Box::new(opened))
    },
    ..CONVERSATIONS
};

pub(super) const SWE_SMITH: DatasetRow = DatasetRow {
    name: "swe_smith",
    help: "Coding agents with long prompts: a prebuilt file, or made from SWE-smith's trajectories, \
           which needs --tokenizer-path",
    hub: Some(RemoteDataset {
        ids: ["SWE-bench/SWE-smith-trajectories"; 2],
        files: Files::Matching("tool", &[".parquet"]),
    }),
    args: |args| SweArgs::read(args).map(drop),
    open: open_swe_smith,
    ..CONVERSATIONS
};

pub(super) const TRIE_AGENTIC_CODING: DatasetRow = DatasetRow {
    name: "trie_agentic_coding",
    help: "Recorded coding agents: lengths and latencies of tools, with random text; needs --tokenizer-path",
    hub: Some(trie_file(TrieWorkload::AgenticCoding)),
    open: |with| open_trie(with, TrieWorkload::AgenticCoding),
    ..TRIE
};

pub(super) const TRIE_CODE_QA: DatasetRow = DatasetRow {
    name: "trie_code_qa",
    help: "The same for questions about code",
    hub: Some(trie_file(TrieWorkload::CodeQa)),
    open: |with| open_trie(with, TrieWorkload::CodeQa),
    ..TRIE
};

pub(super) const TRIE_OFFICE_WORK: DatasetRow = DatasetRow {
    name: "trie_office_work",
    help: "The same for office work",
    hub: Some(trie_file(TrieWorkload::OfficeWork)),
    open: |with| open_trie(with, TrieWorkload::OfficeWork),
    ..TRIE
};

const TRIE: DatasetRow = DatasetRow {
    origin: Origin::Lengths,
    note: Some(
        "each response has exactly the recorded length: requests ask for it with `ignore_eos` and \
         `min_tokens`, which `--extra-args '{\"ignore_eos\": null, \"min_tokens\": null}'` leaves out",
    ),
    ..CONVERSATIONS
};

type Opened = anyhow::Result<Box<dyn PromptSource>>;

const fn trie_file(workload: TrieWorkload) -> RemoteDataset {
    RemoteDataset {
        ids: ["evalscope/trie-workloads"; 2],
        files: Files::One(workload.file_name()),
    }
}

/// The option of `random_multi_turn`.
fn prefix_every_turn(args: &mut ArgsReader) -> Result<bool, ArgsError> {
    let value = args.take("prefix_every_turn", "true or false", |_| true)?;
    Ok(value.unwrap_or(false))
}

fn open_random(with: &Opening<'_>) -> Opened {
    let (min, Some(max)) = with.turns else {
        return Err(hinted(
            "the dataset `random_multi_turn` needs `--max-turns`",
            "each conversation has between `--min-turns` and `--max-turns` turns",
        ));
    };
    let turns = TurnNumbers {
        min,
        max,
        prefix_every_turn: prefix_every_turn(&mut ArgsReader::new(with.args.clone()))?,
        reply: with.output_tokens,
    };
    let first = (with.random)()?;
    let opened = RandomTurns::new(first, turns, with.replies, with.seed, with.offset)?;
    Ok(Box::new(opened))
}

fn open_share_gpt(with: &Opening<'_>, language: ShareGptLanguage) -> Opened {
    let opened = ShareGptMultiTurn::open(with.place, language, with.replies)?;
    Ok(Box::new(opened))
}

fn open_trie(with: &Opening<'_>, workload: TrieWorkload) -> Opened {
    let words = with.words.context("the vocabulary has not been searched")?;
    let words = Arc::clone(words);
    let opened = Trie::open(with.place, workload, words, with.replies, with.seed)?;
    Ok(Box::new(opened))
}

fn open_swe_smith(with: &Opening<'_>) -> Opened {
    if with.replies == Replies::Needed {
        return Err(DatasetError::NoReplies {
            name: SWE_SMITH.name.to_owned(),
        }
        .into());
    }
    if is_object_with_list(with.place) {
        return Ok(Box::new(SwePrebuilt::open(with.place)?));
    }
    let Some(tokenizer) = with.tokenizer else {
        return Err(hinted(
            "the dataset `swe_smith` needs `--tokenizer-path` to make conversations of trajectories",
            "give the model's tokenizer, or a prebuilt file with `--dataset-path`",
        ));
    };
    let (min, max) = with.turns;
    let opened = SweTrajectories::open(
        with.place,
        Arc::clone(tokenizer),
        SweArgs::read(&mut ArgsReader::new(with.args.clone()))?,
        (min, max.unwrap_or(min)),
        with.seed,
    )?;
    Ok(Box::new(opened))
}

/// Whether a file is prebuilt rather than lines of trajectories: one object that has a list
/// `conversations`.
fn is_object_with_list(place: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(place).map(|file| file.take(64).read_to_end(&mut start));
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    let is_object = matches!(read, Ok(Ok(_))) && start.trim_ascii_start().starts_with(b"{");
    is_object && SwePrebuilt::open(place).is_ok()
}
