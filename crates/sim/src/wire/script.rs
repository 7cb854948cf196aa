//! Owns the order of a stream's events and what they have in common: line ends, the lines before a
//! payload, and the words.
//!
//! It must not know how any protocol writes a payload.

use super::protocol::{Answer, Chunk, Delta, Page, Parts, Start};
use crate::fault::Fault;

/// What an event, just written by a [`Script`], means for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Comes before the first token is due.
    Early,
    /// Comes right before the first token.
    Opening,
    /// Carries tokens.
    Tokens {
        /// How many tokens of its choice it carries.
        count: u32,
        /// Whether it is the first event of a decoding step; the others (of the other choices)
        /// are due at the same time.
        new_step: bool,
    },
    /// Comes right after the last token.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prelude,
    Role(u32),
    Tokens { at: u32, choice: u32 },
    Finish(u32),
    Usage,
    Error,
    Done,
    End,
}

/// The event stream of an [`Answer`], one event at a time.
#[derive(Debug, Clone)]
pub(crate) struct Script<'a> {
    page: Page<'a>,
    parts: Parts,
    tokens_per_event: u32,
    /// Position of the broken event, until it has been written.
    broken_at: Option<u32>,
    phase: Phase,
}

impl<'a> Script<'a> {
    pub(crate) fn new(answer: &'a Answer) -> Self {
        let (end_of_line, blank_line) = match answer.fault {
            // Split writes should split this pair as well.
            Some(Fault::Crlf | Fault::SplitUtf8) => ("\r\n", "\r\n\r\n"),
            Some(Fault::Cr) => ("\r", "\r\r"),
            _ => ("\n", "\n\n"),
        };
        Script {
            page: Page {
                answer,
                opening: answer.protocol.opening(answer),
                end_of_line,
                blank_line,
                events: 0,
                completion_tokens: 0,
                emitted_tokens: answer.emitted_tokens(),
            },
            parts: answer.protocol.parts(),
            tokens_per_event: if answer.has(Fault::MultiToken) { 3 } else { 1 },
            broken_at: answer.has(Fault::BrokenJson).then_some(answer.tokens / 2),
            phase: Phase::Prelude,
        }
    }

    /// Length of the whole stream in bytes.
    pub(crate) fn length(&self) -> usize {
        let mut rest = self.clone();
        let mut buffer = Vec::new();
        let mut length = 0;
        while rest.write_next(&mut buffer).is_some() {
            length += buffer.len();
            buffer.clear();
        }
        length
    }

    /// Append the next event to `out`; `None` at the end of the stream.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Beat> {
        let answer = self.page.answer;
        loop {
            match self.phase {
                Phase::Prelude => {
                    self.phase = if answer.messages && self.parts.start != Start::Never {
                        Phase::Role(0)
                    } else {
                        self.tokens_from(0)
                    };
                    if answer.has(Fault::RetryLine) {
                        out.extend_from_slice(b"retry: 3000");
                        self.blank_line(out);
                        return Some(Beat::Opening);
                    }
                }
                Phase::Role(choice) => {
                    self.phase = if choice + 1 < answer.choices {
                        Phase::Role(choice + 1)
                    } else {
                        self.tokens_from(0)
                    };
                    self.chunk(out, choice, Delta::Role, false);
                    return Some(match self.parts.start {
                        Start::AtOnce => Beat::Early,
                        Start::Never | Start::WithFirstToken => Beat::Opening,
                    });
                }
                Phase::Tokens { at, choice } => return Some(self.token_event(out, at, choice)),
                Phase::Finish(choice) => {
                    self.phase = if choice + 1 < answer.choices {
                        Phase::Finish(choice + 1)
                    } else {
                        Phase::Usage
                    };
                    self.chunk(out, choice, Delta::Nothing, true);
                    return Some(Beat::Closing);
                }
                Phase::Usage => {
                    self.phase = Phase::Done;
                    let unwanted =
                        answer.has(Fault::NoUsage) || answer.has(Fault::UsageWithChoices);
                    if self.parts.usage && answer.stream_options.include_usage && !unwanted {
                        answer.protocol.usage_event(&mut self.page, out);
                        self.blank_line(out);
                        return Some(Beat::Closing);
                    }
                }
                Phase::Error => {
                    let goes_on = answer.protocol.error_event(&mut self.page, out);
                    self.phase = if goes_on { Phase::Done } else { Phase::End };
                    self.blank_line(out);
                    return Some(Beat::Closing);
                }
                Phase::Done => {
                    self.phase = Phase::End;
                    if self.parts.done && !answer.has(Fault::NoDone) {
                        self.page.before_payload(out);
                        out.extend_from_slice(b"[DONE]");
                        self.last_line(out);
                        return Some(Beat::Closing);
                    }
                }
                Phase::End => return None,
            }
        }
    }

    /// The phase in which token number `at` and all later ones remain.
    fn tokens_from(&self, at: u32) -> Phase {
        if at < self.page.emitted_tokens {
            return Phase::Tokens { at, choice: 0 };
        }
        match self.page.answer.fault {
            Some(
                Fault::Cut
                | Fault::CutChunked
                | Fault::Reset
                | Fault::GarbageChunk
                | Fault::Stall
                | Fault::OversizedEvent,
            ) => Phase::End,
            Some(Fault::ErrorEvent | Fault::ErrorEventNamed | Fault::ErrorString) => Phase::Error,
            // It was in the event with the content.
            Some(Fault::FinishWithContent) if at > 0 => Phase::Usage,
            _ => Phase::Finish(0),
        }
    }

    fn token_event(&mut self, out: &mut Vec<u8>, at: u32, choice: u32) -> Beat {
        let answer = self.page.answer;
        if self.broken_at == Some(at) {
            self.broken_at = None;
            answer.protocol.broken_event(&mut self.page, out);
            self.blank_line(out);
            return if at == 0 {
                Beat::Opening
            } else {
                Beat::Closing
            };
        }
        let reasoning = answer.reasoning_tokens();
        let end = if at < reasoning && answer.reasoning > 0 {
            reasoning.min(self.page.emitted_tokens)
        } else {
            self.page.emitted_tokens
        };
        let count = self.tokens_per_event.min(end - at);
        self.phase = if choice + 1 < answer.choices {
            Phase::Tokens {
                at,
                choice: choice + 1,
            }
        } else {
            self.tokens_from(at + count)
        };
        self.page.completion_tokens += u64::from(count);
        let finish = answer.has(Fault::FinishWithContent) && at + count == self.page.emitted_tokens;
        self.chunk(out, choice, Delta::Tokens { at, count }, finish);
        Beat::Tokens {
            count,
            new_step: choice == 0,
        }
    }

    fn chunk(&mut self, out: &mut Vec<u8>, choice: u32, delta: Delta, finish: bool) {
        let answer = self.page.answer;
        let last = finish && choice + 1 == answer.choices;
        let chunk = Chunk {
            choice,
            delta,
            finish,
            last,
        };
        answer.protocol.chunk(&mut self.page, out, &chunk);
        if last && !self.parts.done {
            self.last_line(out);
        } else {
            self.blank_line(out);
        }
    }

    fn blank_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.page.blank_line.as_bytes());
    }

    /// The line ends of the stream's last event.
    fn last_line(&self, out: &mut Vec<u8>) {
        if self.page.answer.has(Fault::NoBlankEnd) {
            out.extend_from_slice(self.page.end_of_line.as_bytes());
        } else {
            self.blank_line(out);
        }
    }
}
