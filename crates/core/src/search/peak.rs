//! Owns the search for the value with the greatest figure: doubling and halving until the figure falls, then
//! golden sections of the values beside the best one, on a logarithmic scale, and a confirmation.
//!
//! Two figures tie where the greatest cannot be told from them; the lowest value of a tie is the best.
//! It must not know what the figure is.

use evalscope_model::search::{Purpose, SearchEnd};

use super::action::Action;
use super::bracket::{DEAD, Wanted};
use super::values::Values;

/// A figure that is at most this share of the greatest has fallen.
const FALLEN: f64 = 0.9;

/// So many doublings in a row after which it has fallen end the way up.
const FALLS: usize = 2;

/// A figure has risen if it is this much above the last that had. So many doublings in a row that did not
/// rise end the way up, too: throughput need not fall beyond its peak.
const RISEN: f64 = 1.05;
const LEVEL: usize = 3;

/// How far into the gap beside the best value the next one is, on a logarithmic scale.
const GOLDEN: f64 = 0.381_966_011_250_105;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What was measured.
    pub wanted: Wanted,
    /// The figure; 0 where nothing succeeded.
    pub figure: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// A request succeeded.
    pub succeeded: bool,
    /// This program was the limit: the figure says nothing about the server.
    pub client_limited: bool,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The lowest value whose figure ties with the greatest.
    pub best: Option<f64>,
    /// It was measured again, and the figure was not lower.
    pub confirmed: bool,
    /// How it ended.
    pub end: SearchEnd,
}

/// The search.
#[derive(Clone, Debug)]
pub struct PeakSearch {
    start: f64,
    lower: f64,
    upper: f64,
    values: Values,
    precision: f64,
}

/// Why a search that is run again stops.
enum Stop {
    Wanted(Wanted),
    End(SearchEnd),
}

/// The measurements, in the order in which they are asked for again.
struct Replay<'a> {
    left: std::slice::Iter<'a, Observation>,
    time_is_up: bool,
    without_success: usize,
    /// Those of the search itself, by value.
    known: Vec<Observation>,
    confirmed: bool,
}

impl PeakSearch {
    /// A search from `start`, which is moved into `lower..=upper`, until the values beside the best one
    /// differ from it by at most `precision`, a share.
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
    pub fn next(&self, observed: &[Observation], time_is_up: bool) -> Action<Wanted, Peak> {
        let mut replay = Replay {
            left: observed.iter(),
            time_is_up,
            without_success: 0,
            known: Vec::new(),
            confirmed: false,
        };
        match self.run(&mut replay) {
            Err(Stop::Wanted(wanted)) => Action::Measure(wanted),
            Err(Stop::End(end)) | Ok(end) => Action::Done(Peak {
                best: replay.best().map(|best| best.wanted.value),
                confirmed: replay.confirmed,
                end,
            }),
        }
    }

    /// What is known so far, of a search that was stopped.
    #[must_use]
    pub fn so_far(&self, observed: &[Observation]) -> Peak {
        match self.next(observed, true) {
            Action::Done(peak) if peak.end != SearchEnd::OutOfTime => peak,
            Action::Done(peak) => Peak {
                end: SearchEnd::Interrupted,
                ..peak
            },
            Action::Measure(_) => unreachable!("nothing more may be measured"),
        }
    }

    fn run(&self, replay: &mut Replay<'_>) -> Result<SearchEnd, Stop> {
        if !replay.probed(self.start)?.client_limited {
            self.climb(replay)?;
        }
        self.descend(replay)?;
        while let Some(value) = self.section(replay) {
            replay.probed(value)?;
        }
        let Some(best) = replay.best() else {
            let is_limited = replay.known.iter().any(|one| one.client_limited);
            return Ok(if is_limited {
                SearchEnd::ClientLimited
            } else {
                SearchEnd::NoneMeets
            });
        };
        let value = best.wanted.value;
        let again = replay.measured(value, Purpose::Confirmation)?;
        replay.confirmed = again.high >= best.low;
        let is_limited = |one: &Observation| one.wanted.value > value && one.client_limited;
        Ok(if !replay.confirmed {
            SearchEnd::NotConfirmed
        } else if value >= self.upper {
            SearchEnd::AtBound
        } else if replay.known.iter().any(is_limited) {
            SearchEnd::ClientLimited
        } else {
            SearchEnd::Found
        })
    }

    /// Double until the figure has fallen twice, or has not risen three times.
    fn climb(&self, replay: &mut Replay<'_>) -> Result<(), Stop> {
        let mut at = self.start;
        let (mut falls, mut level) = (0, 0);
        let mut risen = replay.greatest();
        while at < self.upper && falls < FALLS && level < LEVEL {
            at = (2.0 * at).min(self.upper);
            let greatest = replay.greatest();
            let seen = replay.probed(at)?;
            if seen.client_limited {
                break;
            }
            falls = if seen.figure <= FALLEN * greatest {
                falls + 1
            } else {
                0
            };
            if seen.figure > RISEN * risen {
                (risen, level) = (seen.figure, 0);
            } else {
                level += 1;
            }
        }
        Ok(())
    }

    /// Halve until the figure has fallen: the peak is above the lowest value.
    fn descend(&self, replay: &mut Replay<'_>) -> Result<(), Stop> {
        while let Some(lowest) = replay.known.first().copied()
            && lowest.wanted.value > self.lower
            && lowest.figure >= FALLEN * replay.greatest()
        {
            let half = self.values.half(lowest.wanted.value).max(self.lower);
            replay.probed(half)?;
        }
        Ok(())
    }

    /// A value in the wider gap beside the best one; `None` where both are as narrow as they have to be.
    fn section(&self, replay: &Replay<'_>) -> Option<f64> {
        let best = replay.best()?.wanted.value;
        let values = || replay.known.iter().map(|one| one.wanted.value);
        let below = values().rfind(|value| *value < best);
        let above = values().find(|value| *value > best);
        let mut gaps: Vec<(f64, f64)> = [above, below]
            .into_iter()
            .flatten()
            .map(|end| ((end / best).ln().abs(), end))
            .collect();
        gaps.retain(|(gap, _)| *gap > (1.0 + self.precision).ln());
        gaps.sort_by(|a, b| b.0.total_cmp(&a.0));
        gaps.into_iter().find_map(|(_, end)| {
            let at = best * (end / best).powf(GOLDEN);
            let between = (best.min(end), best.max(end));
            self.values.between(between, at, self.precision)
        })
    }
}

impl Replay<'_> {
    /// A measurement, if it is there.
    fn measured(&mut self, value: f64, purpose: Purpose) -> Result<Observation, Stop> {
        let wanted = Wanted { value, purpose };
        let Some(seen) = self.left.next() else {
            return Err(if self.time_is_up {
                Stop::End(SearchEnd::OutOfTime)
            } else {
                Stop::Wanted(wanted)
            });
        };
        debug_assert_eq!(seen.wanted, wanted, "a search asks the same again");
        self.without_success = if seen.succeeded {
            0
        } else {
            self.without_success + 1
        };
        let mut seen = *seen;
        if seen.client_limited {
            (seen.figure, seen.low, seen.high) = (0.0, 0.0, 0.0);
        }
        let at = self.known.partition_point(|one| one.wanted.value < value);
        match purpose {
            Purpose::Search | Purpose::OtherSearch => self.known.insert(at, seen),
            Purpose::Again => self.known[at] = seen,
            Purpose::Confirmation => {}
        }
        if self.without_success >= DEAD {
            return Err(Stop::End(SearchEnd::NoSuccess));
        }
        Ok(seen)
    }

    /// A measurement of the search itself; where this program was the limit, another one.
    fn probed(&mut self, value: f64) -> Result<Observation, Stop> {
        let seen = self.measured(value, Purpose::Search)?;
        if seen.client_limited {
            self.measured(value, Purpose::Again)
        } else {
            Ok(seen)
        }
    }

    /// The greatest figure.
    fn greatest(&self) -> f64 {
        self.known.iter().map(|one| one.figure).fold(0.0, f64::max)
    }

    /// The lowest value whose figure ties with the greatest; `None` if all are 0.
    fn best(&self) -> Option<Observation> {
        let figures = self.known.iter().filter(|one| one.figure > 0.0);
        let greatest = figures.max_by(|a, b| a.figure.total_cmp(&b.figure))?;
        let ties = |one: &&Observation| one.figure >= greatest.low.max(f64::MIN_POSITIVE);
        self.known.iter().find(ties).copied()
    }
}

#[cfg(test)]
mod tests;
