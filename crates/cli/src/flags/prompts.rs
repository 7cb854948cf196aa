//! Owns the flags about prompts: the dataset, the tokenizer, lengths, images.
//!
//! It must not know how a dataset is read.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::catalog::datasets::{self, DATASETS, DatasetRow};

use super::choices::{DatasetChoice, DatasetParser};
use super::values::{count, images, pixels, small, turns, whole};

/// A hub for datasets and models.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum DataSource {
    /// modelscope.cn.
    Modelscope,
    /// huggingface.co.
    Huggingface,
    /// Nothing is downloaded.
    Local,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Prompts")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is typed or not"
)]
pub(crate) struct PromptArgs {
    /// Where prompts come from [default: openqa]
    ///
    /// One of these, or a plugin (FILE.py, FILE.py:NAME, exec:COMMAND, unix:SOCKET).
    #[arg(long, value_parser = DatasetParser(&DATASETS), default_value = datasets::DEFAULT, hide_default_value = true)]
    pub(crate) dataset: DatasetChoice,

    /// File or folder of the dataset
    #[arg(long, value_name = "PATH")]
    pub(crate) dataset_path: Option<PathBuf>,

    /// Field that holds the prompt, in your own JSON list, JSON Lines, CSV or Parquet file; needs
    /// --dataset-path and implies --dataset custom.
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt_field: Option<String>,

    /// Skip lines, items and rows of a file that cannot be used, instead of rejecting the file. A
    /// warning in the results counts them.
    #[arg(long)]
    pub(crate) skip_bad_lines: bool,

    /// Options of the dataset, as JSON, @FILE or @-; docs/datasets.md lists those of each.
    #[arg(long, value_name = "JSON")]
    pub(crate) dataset_args: Option<String>,

    /// Old name of --dataset-args.
    #[arg(long, value_name = "JSON", hide = true)]
    pub(crate) multi_turn_args: Option<String>,

    /// Fewest turns of a conversation, for datasets that make conversations: each draws a number
    /// between this and --max-turns.
    #[arg(long, value_name = "N", default_value = "1", value_parser = turns)]
    pub(crate) min_turns: u32,

    /// Most turns of a conversation. A longer one ends there.
    #[arg(long, value_name = "N", value_parser = turns)]
    pub(crate) max_turns: Option<u32>,

    /// Where datasets and tokenizers are downloaded from. [default: modelscope; huggingface if
    /// `HF_ENDPOINT` is set]
    #[arg(long, value_enum)]
    pub(crate) data_source: Option<DataSource>,

    /// Tokenizer: a folder, a tokenizer.json or a hub id
    ///
    /// The folder must contain a tokenizer.json; a hub id looks like Qwen/Qwen2.5-0.5B-Instruct.
    /// Needed for random prompts, for lengths in tokens, and to count tokens that the server does
    /// not report.
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer_path: Option<String>,

    /// Send prompts as token ids, to /v1/completions; needs --tokenizer-path.
    #[arg(long)]
    pub(crate) tokenize_prompt: bool,

    /// Length of a shared random prefix of all prompts, on top of their own length; for random
    /// datasets.
    #[arg(long, value_name = "TOKENS", default_value = "0", value_parser = whole)]
    pub(crate) prefix_length: u64,

    /// Number of different prefixes of --prefix-length; request i begins with prefix i modulo this
    /// number.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub(crate) prefix_count: u64,

    /// Number of prompts to skip at the start of the dataset.
    #[arg(long, value_name = "N", default_value = "0", value_parser = whole)]
    pub(crate) dataset_offset: u64,

    /// Use the same prompts in every run of a sweep: the server's prefix cache will be warm.
    #[arg(long)]
    pub(crate) repeat_prompts: bool,

    /// Images per prompt of `random_vl`.
    #[arg(long, value_name = "N", default_value = "1", value_parser = images)]
    pub(crate) image_num: u32,

    /// Width of the images of `random_vl`, in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "224", value_parser = small::<u32>)]
    pub(crate) image_width: u32,

    /// Height of the images of `random_vl`, in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "224", value_parser = small::<u32>)]
    pub(crate) image_height: u32,

    /// Pixel format of the images of `random_vl`: RGB, RGBA, L, LA, P, 1 or I;16. The file is a PNG.
    #[arg(long, value_name = "MODE", default_value = "RGB")]
    pub(crate) image_format: String,

    /// Side of the square of an image that is counted as one token, in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "28", value_parser = pixels)]
    pub(crate) image_patch_size: NonZeroU32,

    /// One prompt for all requests: TEXT, @FILE, or @-
    ///
    /// @- reads stdin; @@ begins a text that starts with @. Overrides --dataset.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,

    /// Request body as JSON, or @FILE, or @- for stdin. %m and %p in its strings become the model and
    /// the prompt; without %p, `messages` is replaced. Flags on the command line override its
    /// fields.
    #[arg(long, value_name = "JSON")]
    pub(crate) query_template: Option<String>,

    /// Leave out shorter prompts: in tokens with --tokenizer-path, else in characters. For random
    /// datasets, the shortest prompt in tokens. --prompt is always sent. [default: 0]
    #[arg(long, value_name = "LENGTH", value_parser = small::<usize>)]
    pub(crate) min_prompt_length: Option<usize>,

    /// Leave out longer prompts. [default: 131072; random prompts have 1024 tokens if neither length
    /// is given]
    #[arg(long, value_name = "LENGTH", value_parser = small::<usize>)]
    pub(crate) max_prompt_length: Option<usize>,

    /// Send chat messages rather than a plain prompt. [default: if the URL ends in chat/completions]
    #[arg(long, overrides_with = "no_apply_chat_template")]
    pub(crate) apply_chat_template: bool,

    /// Send a plain prompt.
    #[arg(long, hide = true, overrides_with = "apply_chat_template")]
    pub(crate) no_apply_chat_template: bool,
}

impl PromptArgs {
    /// The built-in dataset that prompts come from.
    pub(crate) fn built_in(&self) -> Option<&'static DatasetRow> {
        match self.prompt {
            Some(_) => None,
            None => self.dataset.named(),
        }
    }

    /// What was typed of `--[no-]apply-chat-template`.
    pub(crate) fn chat(&self) -> Option<bool> {
        match (self.apply_chat_template, self.no_apply_chat_template) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}
