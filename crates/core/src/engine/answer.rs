//! Owns the events of one stream: when each came, and what is kept of it.
//!
//! It must not know how the answer ends, nor what becomes of its record.

use std::sync::Arc;

use crate::protocol::{AnswerReader, Api, Choices, EventMeaning, Reply};
use crate::sse::Event;
use evalscope_model::record::{EventLog, EventStamp, Texts};
use evalscope_model::time::Timestamp;

/// What the events of a stream said, each with the arrival that completed it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reader: Box<dyn AnswerReader>,
    pub(super) events: EventLog,
    pub(super) last_data: Option<Timestamp>,
    /// The last event that told anything after generation had ended, or came before that.
    pub(super) last_news: Option<Timestamp>,
    /// Choices that have been spoken of.
    pub(super) seen: Choices,
    /// Those whose generation has ended.
    pub(super) finished: Choices,
    /// The read that brought the last token-bearing event of each choice; reads
    /// count from 1.
    pub(super) token_reads: Vec<u64>,
    pub(super) keeps_texts: bool,
    /// Texts of events without a token too.
    pub(super) keeps_all: bool,
    pub(super) responses: Texts,
    pub(super) final_event: Vec<u8>,
    /// What it has said so far, if the next turn repeats it. Boxed: single requests have none.
    pub(super) kept: Option<Box<(Arc<dyn Api>, Reply)>>,
}

impl Answer {
    /// Note an event: a stamp for each choice that it speaks of.
    fn stamp(&mut self, meaning: &EventMeaning, at: Timestamp, read: u64) {
        let choices = meaning.choices();
        if choices.is_empty() {
            self.events.push(EventStamp::empty(at));
            return;
        }
        let mut continued = false;
        for choice in choices.iter() {
            let own = Choices::one(usize::from(choice));
            let token = meaning.tokens.contains(own);
            let last = self.token_reads.get(usize::from(choice)).copied();
            self.events.push(EventStamp {
                at,
                token,
                answer: meaning.answers.contains(own),
                finish: meaning.finished.contains(own),
                coalesced: last == Some(read),
                choice,
                continued,
            });
            continued = true;
            if token {
                let reads = usize::from(choice) + 1;
                if self.token_reads.len() < reads {
                    self.token_reads.resize(reads, 0);
                }
                self.token_reads[usize::from(choice)] = read;
            }
        }
    }

    /// Generation has ended for every choice that was seen.
    pub(super) fn is_finished(&self) -> bool {
        !self.finished.is_empty() && self.finished.contains(self.seen)
    }

    pub(super) fn take(&mut self, event: Event<'_>, at: Timestamp, read: u64) {
        let finished_with = self.is_finished().then(|| self.reader.state().usage);
        let Some(meaning) = self.reader.event(event.name, event.data) else {
            return;
        };
        self.stamp(&meaning, at, read);
        let choices = meaning.choices();
        self.seen |= choices;
        self.finished |= meaning.finished;
        self.last_data = Some(at);
        // heartbeats come as data events too
        if finished_with
            .is_none_or(|usage| !choices.is_empty() || usage != self.reader.state().usage)
        {
            self.last_news = Some(at);
        }
        if let Some(kept) = &mut self.kept {
            let (api, reply) = &mut **kept;
            api.read_reply(event.data, reply);
        }
        if !self.keeps_texts {
            return;
        }
        self.final_event.clear();
        if meaning.has_token() || self.keeps_all {
            self.responses.push(event.data);
        } else {
            self.final_event.extend_from_slice(event.data);
        }
    }
}
