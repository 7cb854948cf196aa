//! Owns the first pass over a trace: which lines are replayed and when, what is wrong with the file,
//! and what is doubtful about it.
//!
//! It must not know what prompts are made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evalscope_model::plan::Recording;
use evalscope_model::trace::TraceReport;

use super::error::{BadLines, TraceError};
use super::formats::{TraceKind, TraceReader};
use super::lines::Lines;
use super::possible::Seen;
use super::recorded::is_constrained;
use super::row::{Content, Depth, Row};
use super::select::{Fate, Place, Selection, Window};
use super::settings::TraceSettings;

/// How many lines are read before somebody is asked whether to go on.
const LOOK_EVERY: u64 = 4096;

/// A trace of this span is more likely one whose unit is another one: 60 days.
const LONG_NANOS: u64 = 60 * 86_400 * SECOND;
/// So is one with more requests in a second.
const MANY_PER_SECOND: usize = 10_000;
const SECOND: u64 = 1_000_000_000;

/// Below this number of requests nothing is said about their moments.
const FEW: usize = 20;

/// A trace that was read once, and can be replayed.
#[derive(Debug)]
pub struct Trace {
    pub(super) path: PathBuf,
    pub(super) kind: TraceKind,
    pub(super) settings: TraceSettings,
    pub(super) skip_bad: bool,
    /// The seed of the sample.
    pub(super) seed: u64,
    /// Where the lines that are replayed begin, and their numbers, where they are not in the order of
    /// their moments.
    pub(super) index: Option<Vec<(u64, u32)>>,
    /// When the first request came, whether it is replayed or not.
    pub(super) first: i64,
    /// A text must be made for some requests.
    needs_words: bool,
    recording: Recording,
    report: TraceReport,
}

/// What a pass has found.
#[derive(Debug, Default)]
struct Pass {
    bad: BadLines,
    report: TraceReport,
    first: Option<i64>,
    /// Moments in the window of the lines that are replayed, nanoseconds.
    moments_ns: Vec<u64>,
    /// The same with where each line is, before they are sorted.
    unsorted: Vec<(i64, u64, u32)>,
    needs_words: bool,
    seen: Seen,
    input_tokens: u64,
    possible_tokens: u64,
}

/// Why a pass has to begin again.
enum Halt {
    /// Lines are not in the order of their moments.
    Unsorted,
    Error(TraceError),
}

impl From<TraceError> for Halt {
    fn from(error: TraceError) -> Self {
        Self::Error(error)
    }
}

/// Open a trace: its lines after the header, and what reads them. `kind` is found out if it is not
/// given.
pub(super) fn opened(
    path: &Path,
    kind: Option<TraceKind>,
    settings: &TraceSettings,
) -> Result<(Lines, Box<dyn TraceReader>, TraceKind), TraceError> {
    let mut lines = Lines::open(path)?;
    let first = lines.next()?.map(|line| line.text.to_vec());
    let Some(first) = first else {
        return Err(TraceError::File {
            path: path.to_owned(),
            reason: "the trace is empty".to_owned(),
            hint: "a trace has a line for each request".to_owned(),
        });
    };
    let kind = match kind {
        Some(kind) => kind,
        None => TraceKind::of_first_line(&first).map_err(|reason| TraceError::File {
            path: path.to_owned(),
            reason: format!("unknown format: {reason}"),
            hint: "name the format with `--dataset`; docs/traces.md lists them".to_owned(),
        })?,
    };
    let reader = kind
        .reader(settings, &first)
        .map_err(|reason| TraceError::File {
            path: path.to_owned(),
            reason: format!("line 1: {reason}"),
            hint: "`columns` gives the file's names: `{\"FORMAT'S NAME\": \"FILE'S NAME\"}`"
                .to_owned(),
        })?;
    if !kind.has_header() {
        lines.rewind()?;
    }
    Ok((lines, reader, kind))
}

impl Trace {
    /// Read a trace once. `go_on` is asked now and then.
    ///
    /// # Errors
    /// If the file cannot be read, has bad lines that are not skipped, or nothing to replay.
    pub fn scan(
        path: &Path,
        kind: Option<TraceKind>,
        settings: TraceSettings,
        skip_bad: bool,
        seed: u64,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<Self, TraceError> {
        let kind = opened(path, kind, &settings)?.2;
        let mut trace = Self {
            path: path.to_owned(),
            kind,
            settings,
            skip_bad,
            seed,
            index: None,
            first: 0,
            needs_words: false,
            recording: Recording::default(),
            report: TraceReport::default(),
        };
        let pass = match trace.pass(false, &mut go_on) {
            Err(Halt::Unsorted) => trace.pass(true, &mut go_on),
            other => other,
        };
        let mut pass = pass.map_err(|halt| match halt {
            Halt::Error(error) => error,
            Halt::Unsorted => unreachable!("only a pass in order can find that lines are not"),
        })?;
        if pass.bad.count > 0 && !skip_bad {
            return Err(TraceError::Lines {
                path: trace.path,
                count: pass.bad.count,
                first: pass.bad.first,
            });
        }
        pass.report.left_out.bad = pass.bad.count;
        trace.first = pass.first.unwrap_or(0);
        if !pass.unsorted.is_empty() {
            trace.index = Some(trace.put_in_order(&mut pass));
        }
        if pass.moments_ns.is_empty() {
            return Err(trace.nothing(&pass));
        }
        trace.needs_words = pass.needs_words;
        trace.summed(pass);
        Ok(trace)
    }

    /// The moments of its requests, as they are sent.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What is known of it.
    #[must_use]
    pub fn report(&self) -> &TraceReport {
        &self.report
    }

    /// Its format.
    #[must_use]
    pub fn kind(&self) -> TraceKind {
        self.kind
    }

    /// Texts must be made, which needs a tokenizer.
    #[must_use]
    pub fn needs_words(&self) -> bool {
        self.needs_words
    }

    /// Tokens of its blocks; `None`: it does not tell what prompts share.
    pub(super) fn block_tokens(&self) -> Option<u64> {
        let own = self.kind.block_tokens()?;
        Some(self.settings.block_size.unwrap_or(own))
    }

    /// Read all lines. `sorted`: in the order of the file, to be put in order afterwards.
    fn pass(&self, sorted: bool, go_on: &mut dyn FnMut() -> bool) -> Result<Pass, Halt> {
        let (mut lines, reader, _) = opened(&self.path, Some(self.kind), &self.settings)?;
        if sorted && !lines.can_seek() {
            return Err(Halt::Error(TraceError::File {
                path: self.path.clone(),
                reason: "its lines are not in the order of their moments, and a compressed file can only \
                         be read in order"
                    .to_owned(),
                hint: format!("unpack it first: `gunzip {}`", self.path.display()),
            }));
        }
        let depth = if self.settings.no_scan {
            Depth::Lengths
        } else {
            Depth::Full
        };
        let mut pass = Pass::default();
        let mut selection = Selection::new(&self.settings, self.seed, sorted);
        let mut row = Row::default();
        let mut last = i64::MIN;
        while let Some(line) = lines.next()? {
            let (number, begins) = (line.number, line.begins);
            if number.is_multiple_of(LOOK_EVERY) && !go_on() {
                return Err(Halt::Error(TraceError::Stopped));
            }
            row.clear();
            let read = reader.read(line.text, depth, &mut row);
            let read = read.and_then(|()| self.checked(&row));
            if let Err(reason) = read {
                pass.bad.push(number, reason);
                continue;
            }
            let Some(at) = selection.moment(&row) else {
                if sorted {
                    let reason =
                        "it has no `timestamp`, and no line of its session comes before it";
                    pass.bad.push(number, reason.to_owned());
                    continue;
                }
                return Err(self.halted(number, "has a `delay` instead of a timestamp"));
            };
            if at < last && !sorted {
                let by = last.saturating_sub(at) as f64 / 1e9;
                return Err(self.halted(number, &format!("goes back in time by {by} s")));
            }
            last = last.max(at);
            let first = pass.first.get_or_insert(at);
            *first = (*first).min(at);
            let place = Window::new(&self.settings, *first).place(at);
            if place == Place::After && !sorted {
                // all that follow are after it too
                pass.report.left_out.outside_window += 1;
                break;
            }
            let fate = selection.fate(&row, number);
            if sorted {
                if pass.counted(fate) {
                    pass.taken(&self.settings, &row, None);
                    let number = u32::try_from(number).unwrap_or(u32::MAX);
                    pass.unsorted.push((at, begins, number));
                }
                continue;
            }
            let Place::Within(after) = place else {
                pass.report.left_out.outside_window += 1;
                continue;
            };
            if pass.counted(fate) {
                pass.taken(&self.settings, &row, self.block_tokens());
                pass.moments_ns.push(after);
            }
        }
        Ok(pass)
    }

    /// Lines are not in order: either they will be put in order, or the file is refused.
    fn halted(&self, number: u64, what: &str) -> Halt {
        let may = (self.settings.sort || self.kind.is_sorted()) && !self.settings.no_scan;
        if may {
            return Halt::Unsorted;
        }
        Halt::Error(TraceError::File {
            path: self.path.clone(),
            reason: format!("line {number} {what}"),
            hint: "sort it, or give `\"sort\": true` in `--dataset-args`".to_owned(),
        })
    }

    /// What a reader cannot see: the ids and the length of a prompt must agree.
    pub(super) fn checked(&self, row: &Row) -> Result<(), String> {
        let (Some(block_tokens), Some(input)) = (self.block_tokens(), row.input_tokens) else {
            return Ok(());
        };
        let most = input.div_ceil(block_tokens);
        if row.ids.len() as u64 > most {
            return Err(format!(
                "{} ids, but {input} tokens are at most {most} {} of {block_tokens}",
                row.ids.len(),
                if most == 1 { "block" } else { "blocks" },
            ));
        }
        Ok(())
    }

    /// Put the lines that were found in order; what is outside of the window is left out.
    fn put_in_order(&self, pass: &mut Pass) -> Vec<(u64, u32)> {
        let mut found = std::mem::take(&mut pass.unsorted);
        // by line where moments are equal
        found.sort_unstable_by_key(|(at, begins, _)| (*at, *begins));
        let window = Window::new(&self.settings, self.first);
        let mut index = Vec::with_capacity(found.len());
        for (at, begins, number) in found {
            match window.place(at) {
                Place::Within(after) => {
                    pass.moments_ns.push(after);
                    index.push((begins, number));
                }
                Place::Before | Place::After => pass.report.left_out.outside_window += 1,
            }
        }
        index
    }

    fn nothing(&self, pass: &Pass) -> TraceError {
        let left_out = pass.report.left_out;
        let parts: Vec<String> = [
            (left_out.outside_window, "outside of the window"),
            (left_out.not_sampled, "not in the sample"),
            (left_out.too_long, "too long"),
            (left_out.without_response, "without a response"),
            (left_out.bad, "unreadable"),
        ]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, why)| format!("{n} {why}"))
        .collect();
        let reason = if parts.is_empty() {
            "the trace is empty".to_owned()
        } else {
            format!("nothing is left to replay: {}", parts.join(", "))
        };
        TraceError::Nothing {
            path: self.path.clone(),
            reason,
        }
    }

    /// Turn moments into offsets, and sum up what was found.
    fn summed(&mut self, pass: Pass) {
        let Pass {
            mut report,
            mut moments_ns,
            input_tokens,
            possible_tokens,
            seen,
            ..
        } = pass;
        // it is the largest part of a large trace, and moments are copied below
        drop(seen);
        let settings = &self.settings;
        self.kind.as_str().clone_into(&mut report.format);
        report.requests = moments_ns.len() as u64;
        report.moments = 1 + moments_ns.windows(2).filter(|two| two[0] != two[1]).count() as u64;
        let (first, last) = (moments_ns[0], moments_ns[moments_ns.len() - 1]);
        report.span_s = (last - first) as f64 / 1e9;
        report.speed = settings.speed;
        report.start_s = settings.start_s;
        report.length_s = settings.length_s;
        report.sample = settings.sample;
        report.spread = settings.spread;
        report.block_tokens = self.block_tokens();
        let is_known = self.block_tokens().is_some() && self.index.is_none() && !settings.no_scan;
        report.possible_cached_share =
            (is_known && input_tokens > 0).then(|| possible_tokens as f64 / input_tokens as f64);
        report.warnings = warnings(&moments_ns, &report);
        if settings.spread {
            spread(&mut moments_ns);
        }
        faster(&mut moments_ns, settings.speed);
        self.recording = Recording {
            speed: settings.speed,
            span_s: (moments_ns[moments_ns.len() - 1] - moments_ns[0]) as f64 / 1e9,
            offsets_ns: Arc::from(moments_ns),
        };
        self.report = report;
    }
}

impl Pass {
    /// Count a line that is left out; returns whether it is not.
    fn counted(&mut self, fate: Fate) -> bool {
        let left_out = &mut self.report.left_out;
        let counter = match fate {
            Fate::Taken => return true,
            Fate::NotSampled => &mut left_out.not_sampled,
            Fate::TooLong => &mut left_out.too_long,
            Fate::WithoutResponse => &mut left_out.without_response,
        };
        *counter += 1;
        false
    }

    /// Count a line that is replayed.
    fn taken(&mut self, settings: &TraceSettings, row: &Row, block_tokens: Option<u64>) {
        self.needs_words |= row.content == Content::Made;
        if let Content::Body { body, .. } = &row.content
            && settings.match_output_length
            && row.output_tokens.is_some()
        {
            self.report.constrained += u64::from(is_constrained(body));
        }
        let Some(input) = row.input_tokens else {
            return;
        };
        self.report.outputs_raised += u64::from(row.output_tokens == Some(0));
        self.input_tokens += input;
        if let Some(block_tokens) = block_tokens {
            self.possible_tokens += self.seen.meet(&row.ids, block_tokens, input);
        }
    }
}

/// What is doubtful about the moments of a trace.
fn warnings(moments_ns: &[u64], report: &TraceReport) -> Vec<String> {
    let mut warnings = Vec::new();
    let unit = "if that is not so, see `timestamp_unit` in `--dataset-args`";
    let span_ns = moments_ns[moments_ns.len() - 1] - moments_ns[0];
    if span_ns > LONG_NANOS {
        let days = span_ns / (86_400 * SECOND);
        warnings.push(format!("the trace spans {days} days; {unit}"));
    }
    let crowd = most_in_a_second(moments_ns);
    if crowd > MANY_PER_SECOND {
        warnings.push(format!(
            "the trace has {crowd} requests in one second; {unit}"
        ));
    }
    let few_moments = report.moments * 2 <= report.requests && moments_ns.len() >= FEW;
    if few_moments && !report.spread {
        warnings.push(format!(
            "{} stamps for {} requests: they come in bursts; `spread` in `--dataset-args` undoes it",
            report.moments, report.requests
        ));
    }
    warnings
}

fn most_in_a_second(moments_ns: &[u64]) -> usize {
    let mut from = 0;
    let mut most = 0;
    for (at, moment) in moments_ns.iter().enumerate() {
        while moment - moments_ns[from] >= SECOND {
            from += 1;
        }
        most = most.max(at + 1 - from);
    }
    most
}

/// Spread requests of one moment evenly up to the next one; those of the last moment over as long as
/// those before it had.
pub(super) fn spread(moments_ns: &mut [u64]) {
    let mut gap = 0;
    let mut from = 0;
    while from < moments_ns.len() {
        let moment = moments_ns[from];
        let many = moments_ns[from..]
            .iter()
            .take_while(|own| **own == moment)
            .count();
        if let Some(next) = moments_ns.get(from + many) {
            gap = next - moment;
        }
        for (nth, own) in moments_ns[from..from + many].iter_mut().enumerate() {
            let share = u128::from(gap) * nth as u128 / many as u128;
            *own = moment + u64::try_from(share).unwrap_or(0);
        }
        from += many;
    }
}

/// The same moments at another speed.
fn faster(moments_ns: &mut [u64], speed: f64) {
    if (speed - 1.0).abs() < f64::EPSILON {
        return;
    }
    for moment in moments_ns {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float cast saturates, and moments are not negative"
        )]
        let at = (*moment as f64 / speed).round() as u64;
        *moment = at;
    }
}
