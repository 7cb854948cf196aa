//! Owns `trie_agentic_coding`, `trie_code_qa` and `trie_office_work`: recorded agents, of which a file has
//! the lengths and the latencies of the tools, not the texts (applied-compute/trie). Texts are random words
//! of these lengths, as the server counts them.

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::exchange::{Exchange, Replies, delay_of, message, session};
use crate::dataset::file_list::file_or_named;
use crate::dataset::item::{Wrong, typed};
use crate::dataset::records::Records;
use crate::dataset::{DatasetError, PromptSource};
use crate::tokens::{Prefix, TurnFrame, Words};
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::Item;

/// Which file on the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrieWorkload {
    /// `trie_agentic_coding`.
    AgenticCoding,
    /// `trie_code_qa`.
    CodeQa,
    /// `trie_office_work`.
    OfficeWork,
}

impl TrieWorkload {
    /// The file name on the hub.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::AgenticCoding => "agentic_coding_8k.jsonl",
            Self::CodeQa => "code_qa_8k.jsonl",
            Self::OfficeWork => "office_work_8k.jsonl",
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Trie {
    records: Records,
    texts: Texts,
    replies: Replies,
    seed: u64,
    /// Conversations read in this round: each has a text of its own.
    read: u64,
}

#[derive(Debug)]
struct Texts {
    words: Arc<Words>,
    frame: TurnFrame,
}

impl Trie {
    /// Open a file, or in a directory the hub's file of the workload.
    ///
    /// # Errors
    /// If it cannot be opened, or the chat template cannot be used.
    pub fn open(
        path: &Path,
        workload: TrieWorkload,
        words: Arc<Words>,
        replies: Replies,
        seed: u64,
    ) -> Result<Self, DatasetError> {
        let path = file_or_named(path, workload.file_name())?;
        let frame = TurnFrame::measure(&words)?;
        Ok(Self {
            records: Records::open(&path)?,
            texts: Texts { words, frame },
            replies,
            seed: sub_seed(seed, "trie"),
            read: 0,
        })
    }
}

impl PromptSource for Trie {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(item) = self.records.next()? else {
            return Ok(None);
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.read);
        self.read += 1;
        let read = agent(item).and_then(|agent| {
            let mut item = session(
                agent.turns(&self.texts, self.replies, &mut rng)?,
                self.replies,
            )?;
            item.with.exact_output = true;
            Ok(item)
        });
        read.map(Some).map_err(|wrong| self.records.error(wrong))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.read = 0;
        self.records.rewind()
    }
}

/// A line of the file. Lengths are in tokens, latencies in seconds.
#[derive(Deserialize)]
struct Agent {
    input_prompt_length: u64,
    num_turns: usize,
    assistant_response_length: Vec<u64>,
    tool_call_output_length: Vec<u64>,
    tool_call_latency: Vec<f64>,
    final_assistant_response_length: u64,
}

/// Longest text of a turn: 16 Mi tokens.
const LONGEST: u64 = 1 << 24;

fn agent(source: &[u8]) -> Result<Agent, Wrong> {
    let agent: Agent = typed(source)?;
    let lists = [
        (
            "assistant_response_length",
            agent.assistant_response_length.len(),
        ),
        (
            "tool_call_output_length",
            agent.tool_call_output_length.len(),
        ),
        ("tool_call_latency", agent.tool_call_latency.len()),
    ];
    if let Some((name, len)) = lists.iter().find(|(_, len)| *len != agent.num_turns) {
        return Err(format!(
            "`{name}` has {len} values, but `num_turns` is {}",
            agent.num_turns
        )
        .into());
    }
    let longest = agent.longest();
    if longest > LONGEST {
        return Err(
            format!("a length of {longest} tokens: no model has such a long context").into(),
        );
    }
    Ok(agent)
}

impl Agent {
    fn longest(&self) -> u64 {
        let texts = self.tool_call_output_length.iter();
        let texts = texts.chain(&self.assistant_response_length);
        let ends = self
            .input_prompt_length
            .max(self.final_assistant_response_length);
        texts.copied().max().unwrap_or(0).max(ends)
    }

    fn turns(
        &self,
        texts: &Texts,
        replies: Replies,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Exchange>, String> {
        let inputs = [self.input_prompt_length].into_iter();
        let inputs = inputs.chain(self.tool_call_output_length.iter().copied());
        let outputs = self.assistant_response_length.iter().copied();
        let outputs = outputs.chain([self.final_assistant_response_length]);
        let delays = self.tool_call_latency.iter();
        let delays = [None].into_iter().chain(delays.map(Some));
        let turns = inputs.zip(outputs).zip(delays).enumerate();
        turns
            .map(|(turn, ((input, output), delay))| {
                let around = match turn {
                    0 => texts.words.overhead(),
                    _ => texts.frame.tokens,
                };
                // a message has at least one word, and a request asks for at least one token
                let inside = input.saturating_sub(around).max(1);
                let output = output.max(1);
                let mut text = |tokens| texts.words.text(rng, &Prefix::default(), tokens);
                Ok(Exchange {
                    messages: vec![message("user", &text(inside))],
                    reply: (replies == Replies::Needed)
                        .then(|| message("assistant", &text(output))),
                    asked_tokens: Some(around + inside),
                    max_tokens: Some(output),
                    delay: delay.map(|s| delay_of(*s)).transpose()?,
                })
            })
            .collect()
    }
}
