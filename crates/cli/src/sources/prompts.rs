//! Owns prompts that can be opened once for each run, and what is said about their files.
//!
//! It must not know the server.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use evalscope_model::conversation::History;
use evalscope_plugin::{Plugin, PluginDataset};
use evalscope_workload::dataset::{
    Chars, DatasetError, Fitted, LengthFilter, Lengths, Plain, PromptSource, PromptStream,
    RandomPrompts, Replies, Shorter, Single, Tally, Tokenized,
};
use evalscope_workload::tokens::{Frame, Tokenizer, Words};

use crate::catalog::datasets::Opening;
use crate::failure::hinted;

use super::plan::{DatasetKind, PromptPlan};

/// What to do about a line that cannot be used.
pub(crate) const BAD_LINE: &str = "correct the file, or skip such lines with `--skip-bad-lines`";

/// Files of this size and more are not read through ahead of the load: that would
/// take longer than a person likes to wait.
const SURVEYED_BYTES: u64 = 1 << 30;

/// Folders in folders that are looked into for their size, as datasets are.
const DEPTH: usize = 3;

/// A dataset that can be opened, once for each run.
#[derive(Debug)]
pub(crate) struct Prompts {
    /// For messages and for the record.
    pub(crate) name: String,
    /// The tokenizer, where one was given.
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    /// How prompts reach the model.
    pub(crate) frame: Frame,
    pub(super) plan: PromptPlan,
    /// File or folder, where the set has one.
    pub(super) place: PathBuf,
    /// Words of random sets.
    pub(super) words: Option<Arc<Words>>,
    pub(super) filter: LengthFilter,
    /// The dataset, where it is a plugin.
    pub(super) plugin: Option<Arc<Plugin>>,
    /// Prompts were taken from it before.
    pub(super) used: AtomicBool,
    /// What the files hold, where they were read through.
    pub(super) surveyed: Option<Tally>,
}

impl Prompts {
    /// Read the text files once, so that a line that cannot be used is found before anything is sent.
    /// Says what they contain. `go_on` is asked now and then.
    pub(crate) fn survey(
        &mut self,
        go_on: impl FnMut() -> bool,
        say: &mut dyn FnMut(String),
    ) -> anyhow::Result<()> {
        if self.plan.trace.is_some() {
            // it was read once, and to make all of its prompts would take minutes
            return Ok(());
        }
        let small = bytes_of(&self.place, DEPTH).is_some_and(|bytes| bytes < SURVEYED_BYTES);
        if !self.plan.set.is_text_file() || !small {
            return Ok(());
        }
        let source = self.source(0, NonZeroUsize::MIN)?;
        // to count the tokens of all prompts would take minutes
        let filter = match &self.tokenizer {
            Some(_) => LengthFilter {
                min: 0,
                max: usize::MAX,
                measure: Arc::new(Chars),
            },
            None => self.filter.clone(),
        };
        let stream = self.stream(source, filter);
        if stream.is_costly() {
            return Ok(());
        }
        let tally = stream
            .survey(go_on)
            .map_err(|error| self.explained(error))?;
        say(self.described(&tally));
        self.surveyed = Some(tally);
        Ok(())
    }

    /// What the files contain.
    fn described(&self, tally: &Tally) -> String {
        let (min, max) = self.plan.lengths;
        let unit = self.filter.measure.unit();
        let left_out: Vec<String> = [
            (tally.blank, "blank".to_owned()),
            (tally.short, format!("shorter than {min} {unit}")),
            (tally.long, format!("longer than {max} {unit}")),
            (tally.bad, "unreadable".to_owned()),
        ]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
        let what = match self.plan.history {
            Some(_) => "conversation",
            None => "prompt",
        };
        format!(
            "the dataset `{}` has {} {what}{}{}{}",
            self.name,
            tally.taken,
            if tally.taken == 1 { "" } else { "s" },
            if left_out.is_empty() {
                ""
            } else {
                "; left out: "
            },
            left_out.join(", ")
        )
    }

    /// A warning about memory, where so many conversations at once may take more than half of the
    /// machine's: each is kept until it has ended.
    pub(crate) fn memory_note(&self, concurrency: usize, machine_bytes: u64) -> Option<String> {
        let longest = self.surveyed.as_ref()?.longest_conversation_chars;
        let bytes = concurrency as f64 * longest as f64;
        (bytes > machine_bytes as f64 / 2.0).then(|| {
            format!(
                "{concurrency} conversations at once may take {:.1} GB of this machine's {:.1} GB of memory: \
                 each is kept until it has ended, and the longest has {longest} characters",
                bytes / 1e9,
                machine_bytes as f64 / 1e9
            )
        })
    }

    /// A warning about skipped lines, for a run whose prompts came to `tally`.
    pub(crate) fn passed_over(&self, tally: &Tally) -> Option<String> {
        let tally = self.surveyed.as_ref().unwrap_or(tally);
        let first = tally.first_bad.as_ref()?;
        Some(format!(
            "`--skip-bad-lines` skipped {} of the dataset `{}`; the first: {first}",
            if tally.bad == 1 {
                "1 item".to_owned()
            } else {
                format!("{} items", tally.bad)
            },
            self.name
        ))
    }

    /// What is wrong with the dataset, and what can be done.
    pub(crate) fn explained(&self, error: DatasetError) -> anyhow::Error {
        let hint = match &error {
            DatasetError::Item { .. } | DatasetError::Items { .. }
                if self.plan.set.is_text_file() =>
            {
                BAD_LINE
            }
            DatasetError::NothingFits { .. } => {
                "see `--min-prompt-length` and `--max-prompt-length`"
            }
            DatasetError::NoneLongEnough { .. } => {
                "lower `first_turn_length` or `subsequent_turn_length` in `--dataset-args`, or the turns"
            }
            DatasetError::NoneFits { .. } => "see `target_input_len` in `--dataset-args`",
            DatasetError::NoReplies { .. } => "use `--history real`, or another dataset",
            DatasetError::Conversations { .. } => "add `--multi-turn`",
            _ => return error.into(),
        };
        hinted(error.to_string(), hint)
    }

    /// Open the dataset and pass over what earlier runs have used. `spare` is
    /// how many threads may make images ahead of need.
    pub(crate) fn open(&self, offset: u64, spare: NonZeroUsize) -> anyhow::Result<PromptStream> {
        let source = self.fitted(self.source(offset, spare)?)?;
        let source = match (
            &self.tokenizer,
            self.plan.as_ids && !self.plan.makes_texts(),
        ) {
            (Some(tokenizer), true) => {
                let frame = self.text_frame();
                Box::new(Tokenized::new(source, Arc::clone(tokenizer), frame))
            }
            _ => source,
        };
        let mut stream = self.stream(source, self.filter.clone());
        // one prompt has no next one, and random ones begin at their index
        let starts_over = matches!(self.plan.set, DatasetKind::Single(_)) || self.plan.is_placed();
        if !starts_over {
            stream.skip(offset).map_err(|error| self.explained(error))?;
        }
        Ok(stream)
    }

    /// Give prompts their length, if one is asked for.
    fn fitted(&self, source: Box<dyn PromptSource>) -> anyhow::Result<Box<dyn PromptSource>> {
        let (Some(args), Some(tokenizer)) = (&self.plan.fit, &self.tokenizer) else {
            return Ok(source);
        };
        let filler = match &args.shorter {
            Shorter::Filled(file, _) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the `prefix_file` {}", file.display()))?,
            Shorter::Kept | Shorter::LeftOut => String::new(),
        };
        let frame = self.text_frame();
        let tokenizer = Arc::clone(tokenizer);
        Ok(Box::new(Fitted::new(
            source, tokenizer, frame, args, &filler,
        )))
    }

    /// How texts of the dataset reach the model, whether they are sent as ids or not.
    fn text_frame(&self) -> Frame {
        if self.plan.chat {
            Frame::Chat
        } else {
            Frame::Plain
        }
    }

    fn stream(&self, source: Box<dyn PromptSource>, filter: LengthFilter) -> PromptStream {
        PromptStream::new(self.name.clone(), source, filter)
            .skipping_bad(self.plan.skip_bad)
            .conversations(self.plan.history.is_some())
    }

    /// The prompts as they stand in the dataset.
    fn source(&self, offset: u64, spare: NonZeroUsize) -> anyhow::Result<Box<dyn PromptSource>> {
        let row = match &self.plan.set {
            DatasetKind::Single(text) => return Ok(Box::new(Single::new(text.clone()))),
            DatasetKind::Plugin(_) => {
                let plugin = self.plugin.as_ref().expect("it was started for this set");
                let used = self.used.swap(true, Ordering::Relaxed);
                let dataset = PluginDataset::new(Arc::clone(plugin), used);
                return Ok(Box::new(dataset.replies(self.replies())));
            }
            DatasetKind::BuiltIn(row) => row,
        };
        let opened = (row.open)(&Opening {
            place: &self.place,
            field: self.plan.field.as_deref(),
            any_body: self.plan.any_body,
            fits: self.plan.fit.is_some(),
            args: &self.plan.args,
            turns: (self.plan.min_turns, self.plan.max_turns),
            replies: self.replies(),
            output_tokens: self.plan.output_tokens,
            tokenizer: self.tokenizer.as_ref(),
            words: self.words.as_ref(),
            trace: &|| self.trace(offset),
            random: &|| self.random(offset),
            images: self.plan.images,
            seed: self.plan.seed,
            offset,
            spare,
        });
        let opened = opened.map_err(|error| match error.downcast::<DatasetError>() {
            Ok(error) => self.explained(error),
            Err(other) => other,
        })?;
        Ok(if self.plan.plain {
            Box::new(Plain::new(opened))
        } else {
            opened
        })
    }

    fn replies(&self) -> Replies {
        match self.plan.history {
            Some(History::Recorded) => Replies::Needed,
            _ => Replies::Unused,
        }
    }

    fn random(&self, start: u64) -> anyhow::Result<RandomPrompts> {
        let words = self.words.as_ref().expect("random sets have words");
        let (min, max) = self.plan.lengths;
        let lengths = Lengths {
            min: min as u64,
            max: max as u64,
            prefix: self.plan.prefix,
            prefixes: self.plan.prefixes,
        };
        let seed = self.plan.seed;
        RandomPrompts::new(Arc::clone(words), self.frame, lengths, seed, start)
            .map_err(|error| hinted(error.to_string(), "raise `--max-prompt-length`"))
    }
}

/// Bytes of a file, or of all files in a folder; `None` where that is not known.
fn bytes_of(place: &Path, depth: usize) -> Option<u64> {
    let found = std::fs::metadata(place).ok()?;
    if found.is_file() {
        return Some(found.len());
    }
    if !found.is_dir() || depth == 0 {
        return None;
    }
    let entries = std::fs::read_dir(place).ok()?;
    entries
        .map(|entry| bytes_of(&entry.ok()?.path(), depth - 1))
        .sum()
}
