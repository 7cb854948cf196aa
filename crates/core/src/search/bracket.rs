//! Owns the search for the largest value that meets limits, where each measurement says how sure it
//! is: doubling and halving to a bracket, the geometric middle of it, and confirmation.
//!
//! It must not know what was measured: a probe passed, failed, or does not tell.

use evalscope_model::search::{Purpose, SearchEnd};

use super::action::Action;
use super::values::Values;
use ledger::{Entry, Ledger};

mod ledger;

/// A confirmation that fails lowers the answer by this much.
const LOWER_BY: f64 = 0.95;

/// So often.
const LOWERED: usize = 5;

/// A value that does not tell the second time passes if it uses at most this much of its limits.
const LEANS: f64 = 0.8;

/// How much of its limits a value that does not tell may use, and still passes.
pub(super) const fn leans(purpose: Purpose) -> f64 {
    match purpose {
        Purpose::Confirmation => 1.0,
        Purpose::Search | Purpose::Again | Purpose::OtherSearch => LEANS,
    }
}

/// After so many probes in a row without a success the server is not there.
pub(super) const DEAD: usize = 3;

/// What has to be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// The value.
    pub value: f64,
    /// What for.
    pub purpose: Purpose,
}

/// What a measurement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The limits hold.
    Passed,
    /// They do not.
    Failed,
    /// The requests do not tell.
    Undecided,
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
    /// How much of what the limits allow was used; 1 is at the limit.
    pub used: f64,
    /// As many independent requests.
    pub weight: f64,
    /// A request succeeded.
    pub succeeded: bool,
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
    /// Lower values failed while higher ones passed, and did so again.
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

/// The values between which the answer lies: the highest that passes, the lowest that fails.
type Bracket = (f64, Option<f64>);

/// The measurements, in the order in which they are asked for again.
struct Replay<'a> {
    left: std::slice::Iter<'a, Probed>,
    time_is_up: bool,
    last: Option<Judged>,
    without_success: usize,
    ledger: Ledger,
    confirmed: Option<f64>,
    /// Values out of order were measured again.
    has_settled: bool,
    unstable: bool,
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
            last: None,
            without_success: 0,
            ledger: Ledger::default(),
            confirmed: None,
            has_settled: false,
            unstable: false,
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
        let Some(bracket) = self.climb(replay)? else {
            return Ok(match replay.last {
                Some(Judged::ClientLimited) => SearchEnd::ClientLimited,
                _ => SearchEnd::NoneMeets,
            });
        };
        let mut best = self.narrow(replay, bracket)?;
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
            best = match replay.settle()? {
                Some(bracket) => self.narrow(replay, bracket)?,
                None => self.lowered(best),
            };
        }
        replay.unstable = true;
        Ok(SearchEnd::NotConfirmed)
    }

    /// Double while values pass, halve while they fail. `None`: not even the lower bound passes.
    fn climb(&self, replay: &mut Replay<'_>) -> Result<Option<Bracket>, Stop> {
        let mut at = self.start;
        if replay.passes(at, Purpose::Search)? {
            while at < self.upper {
                let above = (2.0 * at).min(self.upper);
                if !replay.passes(above, Purpose::Search)? {
                    return Ok(Some((at, Some(above))));
                }
                at = above;
            }
            return Ok(Some((at, None)));
        }
        while at > self.lower {
            let below = self.half(at);
            if replay.passes(below, Purpose::Search)? {
                return Ok(Some((below, Some(at))));
            }
            at = below;
        }
        Ok(None)
    }

    /// Halve a bracket until it is as narrow as it has to be. Returns its lower end.
    fn narrow(&self, replay: &mut Replay<'_>, bracket: Bracket) -> Result<f64, Stop> {
        let (mut low, mut high) = bracket;
        while let Some(middle) = self.middle(low, high) {
            if replay.passes(middle, Purpose::Search)? {
                low = middle;
            } else {
                high = Some(middle);
            }
        }
        Ok(low)
    }

    fn half(&self, value: f64) -> f64 {
        self.values.half(value).max(self.lower)
    }

    fn lowered(&self, value: f64) -> f64 {
        let lowered = self.values.share(value, LOWER_BY, self.precision);
        lowered.max(self.lower)
    }

    /// The geometric middle; `None` where the two are as close as they have to be.
    fn middle(&self, low: f64, high: Option<f64>) -> Option<f64> {
        let high = high?;
        if high / low <= 1.0 + self.precision {
            return None;
        }
        let middle = (low * high).sqrt();
        self.values.between((low, high), middle, self.precision)
    }
}

impl Replay<'_> {
    /// A measurement, if it is there.
    fn measured(&mut self, value: f64, purpose: Purpose) -> Result<Probed, Stop> {
        let wanted = Wanted { value, purpose };
        let Some(probed) = self.left.next() else {
            return Err(if self.time_is_up {
                Stop::End(SearchEnd::OutOfTime)
            } else {
                Stop::Wanted(wanted)
            });
        };
        debug_assert_eq!(probed.wanted, wanted, "a search asks the same again");
        self.last = Some(probed.judged);
        self.without_success = if probed.succeeded {
            0
        } else {
            self.without_success + 1
        };
        if self.without_success >= DEAD {
            return Err(Stop::End(SearchEnd::NoSuccess));
        }
        Ok(*probed)
    }

    /// Where this program is the limit, larger values are no question; smaller ones are, while none passed.
    fn goes_on(&self, probed: &Probed) -> Result<(), Stop> {
        if probed.judged == Judged::ClientLimited && self.ledger.has_passed() {
            Err(Stop::End(SearchEnd::ClientLimited))
        } else {
            Ok(())
        }
    }

    /// Whether a value passes; one that does not tell, or that this program limited, is measured again, for
    /// longer.
    fn passes(&mut self, value: f64, purpose: Purpose) -> Result<bool, Stop> {
        let mut probed = self.measured(value, purpose)?;
        let tells = matches!(probed.judged, Judged::Passed | Judged::Failed);
        if !tells && purpose == Purpose::Search {
            probed = self.measured(value, Purpose::Again)?;
        }
        self.goes_on(&probed)?;
        Ok(self.note(&probed))
    }

    fn confirms(&mut self, value: f64) -> Result<bool, Stop> {
        let probed = self.measured(value, Purpose::Confirmation)?;
        self.goes_on(&probed)?;
        let passes = self.note(&probed);
        if passes {
            self.confirmed = Some(value);
        }
        Ok(passes)
    }

    /// Where a value failed below one that passed, measure both again, once. Returns where the fit of all
    /// measurements crosses the limit.
    fn settle(&mut self) -> Result<Option<Bracket>, Stop> {
        let Some((fails, passes)) = self.ledger.out_of_order() else {
            return Ok(None);
        };
        if self.has_settled {
            self.unstable = true;
            return Ok(None);
        }
        self.has_settled = true;
        self.passes(fails, Purpose::Again)?;
        self.passes(passes, Purpose::Again)?;
        self.unstable = self.ledger.out_of_order().is_some();
        let (low, high) = self.ledger.bracket();
        Ok(low.map(|low| (low, high)))
    }

    /// Note a measurement. Says whether it passes, or leans to.
    fn note(&mut self, probed: &Probed) -> bool {
        let (passes, weak) = match probed.judged {
            Judged::Passed => (true, false),
            Judged::Failed => (false, false),
            Judged::Undecided => (probed.used <= leans(probed.wanted.purpose), true),
            // that says nothing about the server
            Judged::ClientLimited => (false, true),
        };
        self.ledger.note(Entry {
            value: probed.wanted.value,
            passes,
            weak,
            used: probed.used,
            weight: probed.weight,
        });
        passes
    }

    fn answer(&self, end: SearchEnd) -> Answer {
        let best = self.ledger.best();
        let value = self.confirmed.or(best.map(|best| best.value));
        Answer {
            best: value,
            confirmed: self.confirmed.is_some(),
            weak: best.is_some_and(|best| Some(best.value) == value && best.weak),
            fails_at: self.ledger.fails_above(value),
            unstable: self.unstable,
            end,
        }
    }
}

#[cfg(test)]
mod tests;
