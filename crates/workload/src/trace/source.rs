//! Owns a trace as a dataset: its requests in order, each with its prompt, its output length and where
//! it is in the trace.
//!
//! It must not know when they are sent.

use std::fmt;
use std::sync::Arc;

use evalscope_model::prompt::{Item, Overrides, Prompt, TraceEntry};

use super::blocks::Blocks;
use super::error::TraceError;
use super::formats::TraceReader;
use super::lines::Lines;
use super::possible::Seen;
use super::recorded::{is_constrained, own_headers, rewrite_model};
use super::replay::{Trace, opened};
use super::row::{Content, Depth, Row, Session};
use super::select::{Fate, Place, Selection, Window};
use crate::dataset::{DatasetError, PromptSource, passed};

/// What prompts are made with.
#[derive(Clone, Debug, Default)]
pub struct TracePrompts {
    /// Makes texts, where the trace needs them.
    pub blocks: Option<Arc<Blocks>>,
    /// Names of headers that the user has set; those of the trace do not replace them.
    pub typed_headers: Vec<String>,
}

/// The requests of a trace.
pub struct TraceSource {
    trace: Arc<Trace>,
    prompts: TracePrompts,
    lines: Lines,
    reader: Box<dyn TraceReader>,
    selection: Selection,
    window: Window,
    seen: Seen,
    row: Row,
    /// Lines of the index that are behind.
    behind: usize,
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceSource")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl TraceSource {
    /// The requests of a trace, from the first one.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(trace: Arc<Trace>, prompts: TracePrompts) -> Result<Self, TraceError> {
        let (lines, reader, _) = opened(&trace.path, Some(trace.kind), &trace.settings)?;
        Ok(Self {
            lines,
            reader,
            selection: Selection::new(&trace.settings, trace.seed, false),
            window: Window::new(&trace.settings, trace.first),
            seen: Seen::default(),
            row: Row::default(),
            behind: 0,
            trace,
            prompts,
        })
    }

    /// Read the next line that is replayed into the row; returns its number.
    fn read(&mut self) -> Result<Option<u64>, TraceError> {
        let trace = &self.trace;
        let bad = |lines: &Lines, number, reason| TraceError::Lines {
            path: lines.path().to_owned(),
            count: 1,
            first: vec![(number, reason)],
        };
        if let Some(index) = &trace.index {
            let Some((begins, number)) = index.get(self.behind) else {
                return Ok(None);
            };
            self.behind += 1;
            self.row.clear();
            let line = self.lines.at(*begins, u64::from(*number))?;
            let number = line.number;
            let read = self.reader.read(line.text, Depth::Full, &mut self.row);
            // it was read before: the file has changed
            read.map_err(|reason| bad(&self.lines, number, reason))?;
            return Ok(Some(number));
        }
        while let Some(line) = self.lines.next()? {
            let number = line.number;
            self.row.clear();
            let read = self.reader.read(line.text, Depth::Full, &mut self.row);
            match read.and_then(|()| trace.checked(&self.row)) {
                Err(_) if trace.skip_bad => continue,
                Err(reason) => return Err(bad(&self.lines, number, reason)),
                Ok(()) => {}
            }
            let Some(at) = self.selection.moment(&self.row) else {
                continue;
            };
            let is_taken = self.selection.fate(&self.row, number) == Fate::Taken;
            match self.window.place(at) {
                Place::After => return Ok(None),
                Place::Within(_) if is_taken => return Ok(Some(number)),
                Place::Within(_) | Place::Before => {}
            }
        }
        Ok(None)
    }

    /// The request that the row says.
    fn item(&mut self, line: u64, is_sent: bool) -> Item {
        let trace = &self.trace;
        let settings = &trace.settings;
        let row = &mut self.row;
        let mut with = Overrides {
            trace: Some(TraceEntry {
                line,
                possible_cached_tokens: None,
            }),
            ..Overrides::default()
        };
        if let Session::Named(name) = &row.session {
            with.session = Some(name.clone());
        }
        with.max_tokens = row.output_tokens.map(|tokens| tokens.max(1));
        with.exact_output = settings.force_output && with.max_tokens.is_some();
        let mut asked_tokens = None;
        let prompt = match std::mem::take(&mut row.content) {
            Content::Made | Content::Skipped => {
                let input = row.input_tokens.unwrap_or(1);
                let block_tokens = trace.block_tokens();
                let possible = block_tokens.map(|size| self.seen.meet(&row.ids, size, input));
                if let Some(entry) = &mut with.trace {
                    entry.possible_cached_tokens = possible;
                }
                if !is_sent {
                    // what later prompts share with it is noted
                    return passed(0);
                }
                let blocks = self.prompts.blocks.as_ref();
                let blocks = blocks.expect("a trace that needs words is opened with them");
                let (prompt, tokens) =
                    blocks.prompt(&row.ids, block_tokens.unwrap_or(1), line, input);
                asked_tokens = Some(tokens);
                prompt
            }
            Content::Text(text) => Prompt::Text(text),
            Content::Messages(messages) => Prompt::Messages(messages),
            Content::Body { mut body, headers } => {
                with.verbatim = true;
                with.headers = own_headers(headers, &self.prompts.typed_headers);
                with.exact_output = false;
                with.max_tokens = with.max_tokens.filter(|_| settings.match_output_length);
                rewrite_model(&mut body, settings);
                if with.max_tokens.is_some() && !is_constrained(&body) {
                    body.insert("ignore_eos".to_owned(), true.into());
                }
                Prompt::Body(body)
            }
        };
        Item {
            prompt,
            asked_tokens,
            with,
            later: Vec::new(),
        }
    }
}

impl PromptSource for TraceSource {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let line = self.read();
        let line = line.map_err(|error| DatasetError::Source(Box::new(error)))?;
        Ok(line.map(|line| self.item(line, true)))
    }

    fn pass(&mut self) -> Result<Option<Item>, DatasetError> {
        let line = self.read();
        let line = line.map_err(|error| DatasetError::Source(Box::new(error)))?;
        Ok(line.map(|line| self.item(line, false)))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        let again = Self::open(Arc::clone(&self.trace), self.prompts.clone());
        *self = again.map_err(|error| DatasetError::Source(Box::new(error)))?;
        Ok(())
    }
}
