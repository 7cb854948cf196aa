//! Owns the text of a response in OpenAI's format, for a tokenizer to count, and for the next turn
//! of a conversation to repeat.

use super::super::json;
use super::super::places::Words;
use super::super::text::AnswerText;
use super::chunk::{Choice, ChoiceSink, Chunk};

impl<'a> ChoiceSink<'a> for AnswerText {
    type Sink = Words;

    fn choice(&mut self, index: usize, choice: Choice<'a, Words>) {
        add(self, index, choice, Words::said);
    }
}

/// The text of the first choice without its tool calls.
struct Spoken<'t>(&'t mut AnswerText);

impl<'a> ChoiceSink<'a> for Spoken<'_> {
    type Sink = Words;

    fn choice(&mut self, index: usize, choice: Choice<'a, Words>) {
        if index == 0 {
            add(self.0, index, choice, Words::spoken);
        }
    }
}

fn add(
    text: &mut AnswerText,
    index: usize,
    choice: Choice<'_, Words>,
    channels: fn(Words) -> (String, String),
) {
    let index = text.place(index);
    let ranked = [choice.delta, choice.text, choice.message];
    let mut ranked = ranked.into_iter().enumerate();
    // as in the event reader: a `message` beside deltas repeats them
    let Some((rank, words)) = ranked.find(|(_, words)| words.any()) else {
        return;
    };
    let borne = &mut text.reading[index].rank;
    if borne.is_some_and(|lowest| lowest < rank) {
        return;
    }
    *borne = Some(rank);
    let (reasoning, content) = channels(words);
    text.add(index, &reasoning, &content);
}

/// Add the text of the `choices` of an event or of a non-streaming response.
pub(in super::super) fn read_choices(answer: &[u8], text: &mut AnswerText) {
    read(answer, text);
}

/// The same for the first choice, without tool calls.
pub(super) fn read_spoken(answer: &[u8], text: &mut AnswerText) {
    read(answer, &mut Spoken(text));
}

fn read<L: for<'a> ChoiceSink<'a>>(answer: &[u8], sink: &mut L) {
    let answer = json::unmarked(answer);
    if Chunk::parse(answer, sink).is_ok() {
        return;
    }
    if let Some(mended) = json::mended(answer) {
        let _ = Chunk::parse(mended.as_bytes(), sink);
    }
}
