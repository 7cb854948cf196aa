//! Owns the search for the largest value that meets limits, where each measurement says how sure it
//! is: doubling and halving to a bracket, the geometric middle of it, and confirmation.
//!
//! It must not know what was measured: a probe passed, failed, or does not tell.

use evalscope_model::search::{Purpose, SearchEnd};

use super::action::Action;

/// A confirmation that fails lowers the answer by this much.
const LOWER_BY: f64 = 0.95;

/// So often.
const LOWERED: usize = 5;

/// A value that does not tell the second time passes if it uses at most this much of its limits.
pub(super) const LEANS: f64 = 0.8;

/// After so many probes in a row without a success the server is not there.
const DEAD: usize = 3;

/// What has to be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// The value.
    pub value: f64,
    /// What for.
    pub purpose: Purpose,
}

/// What a measurement says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judged {
    /// The limits hold.
    Passed,
    /// They do not.
    Failed,
    /// The requests do not tell; so much of what the limits allow was used.
    Undecided {
        /// 1 is at the limit.
        used: f64,
    },
    /// They did not hold, but this program was the limit.
    ClientLimited,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probed {
    /// What was measured.
    pub wanted: Wanted,
    /// What it says.
    pub judged: Judged,
    /// A request succeeded.
    pub succeeded: bool,
}

/// Which values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers.
    Whole,
    /// All.
    Real,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The largest value that will do.
    pub best: Option<f64>,
    /// It was confirmed.
    pub confirmed: bool,
    /// That it will do rests on where the figures lie, not on what their intervals prove.
    pub weak: bool,
    /// The lowest value that failed for certain.
    pub fails_at: Option<f64>,
    /// A value that had passed failed more than once when it was measured again.
    pub unstable: bool,
    /// How it ended.
    pub end: SearchEnd,
}

/// The search.
#[derive(Clone, Debug)]
pub struct BracketSearch {
    start: f64,
    lower: f64,
    upper: f64,
    values: Values,
    precision: f64,
}

/// Why a search that is run again stops.
enum Stop {
    /// This has to be measured first.
    Wanted(Wanted),
    /// There is nothing more to find out.
    End(SearchEnd),
}

/// The measurements, in the order in which they are asked for again.
struct Replay<'a> {
    left: std::slice::Iter<'a, Probed>,
    time_is_up: bool,
    without_success: usize,
    passed: Vec<(f64, bool)>,
    failed: Vec<f64>,
    lowest_sure: Option<f64>,
    confirmed: Option<f64>,
    not_confirmed: usize,
}

impl BracketSearch {
    /// A search from `start`, which is moved into `lower..=upper`, until a value that passes and one
    /// that fails differ by at most `precision`, a share.
    #[must_use]
    pub fn new(start: f64, (lower, upper): (f64, f64), values: Values, precision: f64) -> Self {
        Self {
            start: start.clamp(lower, upper),
            lower,
            upper,
            values,
            precision,
        }
    }

    /// What to do next, given all measurements in order. `time_is_up`: nothing more may be measured.
    #[must_use]
    pub fn next(&self, probed: &[Probed], time_is_up: bool) -> Action<Wanted, Answer> {
        let mut replay = Replay {
            left: probed.iter(),
            time_is_up,
            without_success: 0,
            passed: Vec::new(),
            failed: Vec::new(),
            lowest_sure: None,
            confirmed: None,
            not_confirmed: 0,
        };
        match self.run(&mut replay) {
            Err(Stop::Wanted(wanted)) => Action::Measure(wanted),
            Err(Stop::End(end)) | Ok(end) => Action::Done(replay.answer(end)),
        }
    }

    /// What is known so far, of a search that was stopped.
    #[must_use]
    pub fn so_far(&self, probed: &[Probed]) -> Answer {
        match self.next(probed, true) {
            Action::Done(answer) if answer.end != SearchEnd::OutOfTime => answer,
            Action::Done(answer) => Answer {
                end: SearchEnd::Interrupted,
                ..answer
            },
            Action::Measure(_) => unreachable!("nothing more may be measured"),
        }
    }

    fn run(&self, replay: &mut Replay<'_>) -> Result<SearchEnd, Stop> {
        let (mut passes, mut fails) = (None, None);
        let mut at = self.start;
        if replay.passes(at)? {
            passes = Some(at);
            while at < self.upper {
                at = (2.0 * at).min(self.upper);
                if !replay.passes(at)? {
                    fails = Some(at);
                    break;
                }
                passes = Some(at);
            }
        } else {
            fails = Some(at);
            while passes.is_none() {
                if at <= self.lower {
                    return Ok(SearchEnd::NoneMeets);
                }
                at = self.half(at);
                if replay.passes(at)? {
                    passes = Some(at);
                } else {
                    fails = Some(at);
                }
            }
        }
        while let Some(middle) = self.middle(passes, fails) {
            if replay.passes(middle)? {
                passes = Some(middle);
            } else {
                fails = Some(middle);
            }
        }
        let mut best = passes.unwrap_or(self.lower);
        for _ in 0..=LOWERED {
            if replay.confirms(best)? {
                return Ok(if best >= self.upper {
                    SearchEnd::AtBound
                } else {
                    SearchEnd::Found
                });
            }
            if best <= self.lower {
                return Ok(SearchEnd::NoneMeets);
            }
            best = self.lowered(best);
        }
        Ok(SearchEnd::Found)
    }

    fn half(&self, value: f64) -> f64 {
        let half = match self.values {
            Values::Whole => (value / 2.0).floor(),
            Values::Real => value / 2.0,
        };
        half.max(self.lower)
    }

    fn lowered(&self, value: f64) -> f64 {
        let lowered = match self.values {
            Values::Whole => (value * LOWER_BY).floor().min(value - 1.0),
            Values::Real => rounded(value * LOWER_BY, self.digits()),
        };
        lowered.max(self.lower)
    }

    /// The geometric middle; `None` where the two are as close as they have to be.
    fn middle(&self, passes: Option<f64>, fails: Option<f64>) -> Option<f64> {
        let (low, high) = (passes?, fails?);
        let are_neighbours = self.values == Values::Whole && high - low <= 1.0;
        if are_neighbours || high / low <= 1.0 + self.precision {
            return None;
        }
        let middle = (low * high).sqrt();
        let middle = match self.values {
            Values::Whole => middle.round().clamp(low + 1.0, high - 1.0),
            Values::Real => rounded(middle, self.digits()),
        };
        (low < middle && middle < high).then_some(middle)
    }

    /// Significant digits that lose nothing of the precision.
    fn digits(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "limited to 3..=9"
        )]
        let digits = (1.5 - self.precision.log10()).ceil().clamp(3.0, 9.0) as u32;
        digits
    }
}

/// A positive number with so many significant digits, so that it can be said.
fn rounded(value: f64, digits: u32) -> f64 {
    let precision = usize::try_from(digits).unwrap_or(1).max(1) - 1;
    format!("{value:.precision$e}").parse().unwrap_or(value)
}

impl Replay<'_> {
    /// A measurement, if it is there.
    fn measured(&mut self, value: f64, purpose: Purpose) -> Result<Judged, Stop> {
        let wanted = Wanted { value, purpose };
        let Some(probed) = self.left.next() else {
            return Err(if self.time_is_up {
                Stop::End(SearchEnd::OutOfTime)
            } else {
                Stop::Wanted(wanted)
            });
        };
        debug_assert_eq!(probed.wanted, wanted, "a search asks the same again");
        self.without_success = if probed.succeeded {
            0
        } else {
            self.without_success + 1
        };
        if self.without_success >= DEAD {
            return Err(Stop::End(SearchEnd::NoSuccess));
        }
        match probed.judged {
            // a value that is too much in any case: smaller ones are the question
            Judged::ClientLimited if self.passed.is_empty() => Ok(Judged::Failed),
            Judged::ClientLimited => Err(Stop::End(SearchEnd::ClientLimited)),
            judged => Ok(judged),
        }
    }

    /// Whether a value passes; one that does not tell is measured again, for longer.
    fn passes(&mut self, value: f64) -> Result<bool, Stop> {
        let mut judged = self.measured(value, Purpose::Search)?;
        if matches!(judged, Judged::Undecided { .. }) {
            judged = self.measured(value, Purpose::Again)?;
        }
        let (passes, weak) = match judged {
            Judged::Undecided { used } => (used <= LEANS, true),
            judged => (judged == Judged::Passed, false),
        };
        self.note(value, passes, weak);
        Ok(passes)
    }

    fn confirms(&mut self, value: f64) -> Result<bool, Stop> {
        let judged = self.measured(value, Purpose::Confirmation)?;
        let (passes, weak) = match judged {
            Judged::Undecided { used } => (used <= 1.0, true),
            judged => (judged == Judged::Passed, false),
        };
        if passes {
            self.confirmed = Some(value);
        } else if self.passed.iter().any(|(passed, _)| *passed >= value) {
            self.not_confirmed += 1;
        }
        self.note(value, passes, weak);
        Ok(passes)
    }

    fn note(&mut self, value: f64, passes: bool, weak: bool) {
        if passes {
            self.passed.push((value, weak));
        } else {
            self.failed.push(value);
            if !weak {
                self.lowest_sure = Some(self.lowest_sure.map_or(value, |low| low.min(value)));
            }
        }
    }

    fn answer(&self, end: SearchEnd) -> Answer {
        let lowest_fail = self.failed.iter().copied().reduce(f64::min);
        let below = |value: f64| lowest_fail.is_none_or(|fail| value < fail);
        let passed = self.passed.iter().filter(|(value, _)| below(*value));
        let best = passed.max_by(|a, b| a.0.total_cmp(&b.0));
        Answer {
            best: best.map(|(value, _)| *value),
            confirmed: self.confirmed.is_some() && self.confirmed == best.map(|(value, _)| *value),
            weak: best.is_some_and(|(_, weak)| *weak),
            fails_at: self.lowest_sure,
            unstable: self.not_confirmed > 1,
            end: match end {
                SearchEnd::Found if best.is_none() => SearchEnd::NoneMeets,
                end => end,
            },
        }
    }
}

#[cfg(test)]
mod tests;
