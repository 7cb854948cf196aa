//! Owns the text of a response in OpenAI's format, for a tokenizer to count.

use super::super::json;
use super::super::places::Words;
use super::super::text::AnswerText;
use super::chunk::{Choice, ChoiceSink, Chunk};

impl<'a> ChoiceSink<'a> for AnswerText {
    type Sink = Words;

    fn choice(&mut self, index: usize, choice: Choice<'a, Words>) {
        let index = self.place(index);
        let ranked = [choice.delta, choice.text, choice.message];
        let mut ranked = ranked.into_iter().enumerate();
        // as in the event reader: a `message` beside deltas repeats them
        let Some((rank, words)) = ranked.find(|(_, words)| words.any()) else {
            return;
        };
        let borne = &mut self.reading[index].rank;
        if borne.is_some_and(|lowest| lowest < rank) {
            return;
        }
        *borne = Some(rank);
        let (reasoning, content) = words.said();
        self.add(index, &reasoning, &content);
    }
}

/// Add the text of the `choices` of an event or of a non-streaming response.
pub(in super::super) fn read_choices(answer: &[u8], text: &mut AnswerText) {
    let answer = json::unmarked(answer);
    if Chunk::parse(answer, &mut *text).is_ok() {
        return;
    }
    if let Some(mended) = json::mended(answer) {
        let _ = Chunk::parse(mended.as_bytes(), text);
    }
}
