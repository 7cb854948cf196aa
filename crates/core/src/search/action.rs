//! Owns what a search says after each measurement.
//!
//! It must not know what is searched for.

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<Wanted, Answer> {
    /// Measure this.
    Measure(Wanted),
    /// All is known.
    Done(Answer),
}

impl<Wanted, Answer> From<Result<Answer, Wanted>> for Action<Wanted, Answer> {
    /// A search that was run again: it came to its end, or stopped at what has to be measured first.
    fn from(run: Result<Answer, Wanted>) -> Self {
        match run {
            Ok(answer) => Self::Done(answer),
            Err(wanted) => Self::Measure(wanted),
        }
    }
}
