//! Owns the loop over the points of a command: measure, report, go on or stop, and the exit code.
//!
//! It must not know how a point is measured.

use std::process::ExitCode;
use std::time::Duration;

use evalscope_core::engine::RunControl;
use evalscope_model::experiment::{Experiment, Point, PointResult};
use evalscope_model::metrics::Verdict;
use evalscope_model::search::{ProbeJudgement, SearchEnd, SearchRecord, Selection};
use evalscope_model::time::{RunClock, wall_ns};
use evalscope_report::console as tables;
use evalscope_report::html::Ended;
use evalscope_report::rules::{Rule, broken_by, further_percentiles};
use evalscope_report::sqlite::Reader;
use evalscope_report::{RunReport, RunState, capacity, files, sqlite};
use evalscope_workload::dataset::DatasetError;

use super::command::Command;
use super::load::counted;
use super::point::Measuring;
use crate::console;
use crate::failure::{self, Unfinished};
use crate::log::Log;
use crate::results::folder as results;
use crate::sources::BAD_LINE;
use crate::wait;

/// What was measured so far.
#[derive(Default)]
struct Measured {
    reports: Vec<RunReport>,
    done: Vec<PointResult>,
    /// What the files of the command need again after each run.
    read: Ended,
    /// What went wrong, and how.
    broken: Option<Broken>,
}

/// What went wrong in this program, and how.
type Broken = (&'static str, anyhow::Error);

impl Measuring<'_> {
    /// Measure all points of an experiment, one after another.
    pub(super) fn points(&self, experiment: &mut dyn Experiment) -> anyhow::Result<ExitCode> {
        let Command {
            job,
            control,
            top,
            log,
            ..
        } = self.command;
        let mut measured = Measured::default();
        while let Some(point) = experiment.next(&measured.done) {
            if !measured.done.is_empty() && !pause(job.plan.sleep_interval(), control, log) {
                break;
            }
            let has_begun = self.measure(point, experiment, &mut measured)?;
            if !has_begun && measured.reports.is_empty() {
                results::forget(top);
                log.info("stopped before any load was sent");
                return Ok(ExitCode::from(failure::INTERRUPTED));
            }
            let was_aborted = measured.reports.last().is_some_and(was_aborted);
            if !has_begun || measured.broken.is_some() || was_aborted || control.stop.is_cancelled()
            {
                break;
            }
        }
        self.finish(measured, experiment)
    }

    /// Say what came of all points, and what went wrong.
    fn finish(&self, measured: Measured, experiment: &dyn Experiment) -> anyhow::Result<ExitCode> {
        let Command {
            job,
            control,
            top,
            log,
            ..
        } = self.command;
        let screen = console::screen(job.results.confidence);
        let Measured {
            reports,
            broken,
            mut read,
            done,
        } = measured;
        let search = experiment.search(&done);
        if let Some(search) = &search {
            console::out(&tables::search(search, screen));
        } else if reports.len() > 1 {
            console::out(&tables::sweep(&reports, screen));
        }
        // what could not be read is an error of the files already
        let repeated = files::repeats_of(&reports, &mut read).unwrap_or_default();
        if !repeated.is_empty() {
            console::out(&tables::repeats(&repeated, screen));
        }
        if let Some(following) = self.following {
            following.files(top);
        }
        log.info(&format!("results are in {}", top.display()));
        if broken.is_none()
            && let Some(source) = self.command.served.and_then(|served| served.error(false))
        {
            let what = "the server ended during the command";
            let hint = format!("the measurements are in {}", top.display());
            return Err(Unfinished { what, source, hint }.into());
        }
        if let Some((what, source)) = broken {
            let bad_line = matches!(source.downcast_ref(), Some(DatasetError::Item { .. }));
            let hint = if bad_line {
                format!("{BAD_LINE}; the measurements are in {}", top.display())
            } else {
                format!(
                    "the measurements are in the databases: fix the cause, then run `evalscope report {}`",
                    top.display()
                )
            };
            return Err(Unfinished { what, source, hint }.into());
        }
        match search {
            Some(search) if !control.stop.is_cancelled() => self.exit_code_of(&search, &reports),
            _ => self.exit_code(&reports),
        }
    }

    /// Measure a point, show it, and write the files of the command again, so that a later mishap
    /// loses nothing. Says whether it has begun.
    fn measure(
        &self,
        point: Point,
        experiment: &dyn Experiment,
        measured: &mut Measured,
    ) -> anyhow::Result<bool> {
        let Command { job, top, log, .. } = self.command;
        let screen = console::screen(job.results.confidence);
        let folder = top.join(point.spec.point.folder());
        let clock = RunClock::start();
        let ended = match self.point(&point, &folder) {
            Ok(Some(ended)) => ended,
            Ok(None) => return Ok(false),
            // the results of earlier runs are kept and shown
            Err(error) if !measured.reports.is_empty() => {
                measured.broken = Some(("a run could not start", error));
                return Ok(true);
            }
            Err(error) => {
                // only if it holds nothing but the log
                results::forget(top);
                return Err(error);
            }
        };
        let report = match RunReport::load(&folder.join(sqlite::FILE_NAME)) {
            Ok(report) => report,
            Err(error) => {
                let unread = ("the database cannot be read", error.into());
                measured.broken = ended.error.or(Some(unread));
                return Ok(true);
            }
        };
        log.keep(
            "INFO",
            wall_ns(),
            &format!("results of {}", point.spec.point.label),
        );
        // a search has too many to read
        if job.search.is_none() {
            console::out(&tables::run(&report, screen));
        }
        let own = files::write_run(&folder, &report);
        if let Some(following) = self.following {
            following.summary(&report);
        }
        let took_s = clock.now().as_nanos() as f64 / 1e9;
        let judgements = ended.judgements;
        measured
            .done
            .push(result_of(point, &report, judgements, took_s));
        measured.reports.push(report);
        for remark in experiment.remarks(&measured.done) {
            log.info(&remark);
        }
        let search = experiment.search(&measured.done);
        let written = own.and_then(|()| {
            files::write_invocation(
                top,
                &measured.reports,
                search.as_ref(),
                job.results.page,
                &mut measured.read,
            )
        });
        measured.broken = ended.error;
        match written {
            Ok(Some(error)) => log.warn(&format!(
                "the HTML report was not written: {:#}",
                anyhow::Error::new(error)
            )),
            Ok(None) => {}
            Err(error) => {
                let unwritten = ("not all files were written", error.into());
                measured.broken.get_or_insert(unwritten);
            }
        }
        Ok(true)
    }

    fn exit_code(&self, reports: &[RunReport]) -> anyhow::Result<ExitCode> {
        let Command { control, log, .. } = self.command;
        if control.stop.is_cancelled() {
            return Ok(ExitCode::from(failure::INTERRUPTED));
        }
        if reports.iter().any(was_aborted) {
            return Ok(ExitCode::from(failure::RULE_FAILED));
        }
        // a point without a success has no figures, whatever the others have
        let empty: Vec<&str> = reports
            .iter()
            .filter(|report| report.totals.succeeded == 0)
            .map(|report| report.meta.name.as_str())
            .collect();
        if !empty.is_empty() {
            let sent = reports.iter().map(|r| r.totals.total + r.totals.unfinished);
            log.warn(&match (sent.sum::<u64>(), reports.len() == empty.len()) {
                (0, _) => {
                    "no measured request was sent: none was due before the run ended".to_owned()
                }
                (_, true) => "no request succeeded".to_owned(),
                (_, false) => format!("no request succeeded in {}", empty.join(", ")),
            });
            return Ok(ExitCode::from(failure::FAILED));
        }
        self.held(reports)
    }

    /// Whether a search has answers, and what was asked of runs holds for those that gave them.
    fn exit_code_of(
        &self,
        search: &SearchRecord,
        reports: &[RunReport],
    ) -> anyhow::Result<ExitCode> {
        if reports.iter().any(was_aborted) {
            return Ok(ExitCode::from(failure::RULE_FAILED));
        }
        if !has_answers(search) {
            return Ok(ExitCode::from(failure::FAILED));
        }
        let names = answering_runs(search);
        let answers = reports
            .iter()
            .filter(|report| names.contains(&report.meta.name));
        self.held(&answers.cloned().collect::<Vec<_>>())
    }

    /// Whether runs keep to `--max-error-rate`, `--min-goodput` and `--fail-if`.
    fn held(&self, reports: &[RunReport]) -> anyhow::Result<ExitCode> {
        let Command { job, log, .. } = self.command;
        let too_many = above_error_rate(reports, job.max_error_rate, log);
        let too_few = below_goodput(reports, job.objectives.min_goodput, log);
        let breaks = breaks_rules(reports, &job.objectives.fail_if, log)?;
        Ok(if too_many || too_few {
            ExitCode::from(failure::FAILED)
        } else if breaks {
            ExitCode::from(failure::RULE_FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Whether `--abort-if` has stopped a run.
fn was_aborted(report: &RunReport) -> bool {
    report.state == RunState::Aborted
}

/// Whether a run breaks a rule of `--fail-if`.
fn breaks_rules(reports: &[RunReport], rules: &[Rule], log: &Log) -> anyhow::Result<bool> {
    let figures = || {
        rules
            .iter()
            .flat_map(Rule::conditions)
            .map(|one| one.figure)
    };
    let mut breaks = false;
    for report in reports.iter().filter(|_| !rules.is_empty()) {
        let further = further_percentiles(&Reader::open(&report.database)?, figures())?;
        for rule in rules {
            if let Some(broken) = broken_by(rule, report, &further)? {
                breaks = true;
                log.warn(&format!(
                    "{} breaks `--fail-if \"{rule}\"`: {}",
                    report.meta.name,
                    broken.values.join(", ")
                ));
            }
        }
    }
    Ok(breaks)
}

/// What a point came to.
fn result_of(
    point: Point,
    report: &RunReport,
    judgements: Vec<ProbeJudgement>,
    took_s: f64,
) -> PointResult {
    let totals = &report.totals;
    PointResult {
        spec: point.spec,
        // those that were never sent come last, and their prompts are as good as new
        measured_requests: totals.total + totals.unfinished + totals.shed,
        sent: totals.total + totals.unfinished,
        succeeded: totals.succeeded,
        failures: capacity::failures(report),
        figures: capacity::figures(report),
        cached_share: report.cached_share(),
        judgements,
        client_limited: report.client.verdict == Verdict::ClientLimited,
        took_s,
    }
}

/// Whether each search has an answer that the server has given.
fn has_answers(search: &SearchRecord) -> bool {
    let has_answer =
        |one: &Selection| one.selected_value.is_some() && one.end != SearchEnd::NoSuccess;
    search.selections.iter().all(has_answer)
}

/// The runs that the answers rest on: of each value that was selected, what was measured last.
fn answering_runs(search: &SearchRecord) -> Vec<String> {
    let selections = (1..).zip(&search.selections);
    let probes = selections.filter_map(|(group, selection)| {
        let selected = selection.selected_value?;
        search.probes.iter().rfind(|probe| {
            probe.group.is_none_or(|own| own == group) && probe.value.total_cmp(&selected).is_eq()
        })
    });
    probes.flat_map(|probe| probe.runs.clone()).collect()
}

/// Whether more requests failed, were shed or were left unfinished, in all runs together, than
/// `--max-error-rate` allows.
fn above_error_rate(reports: &[RunReport], limit: Option<f64>, log: &Log) -> bool {
    let lost: u64 = reports.iter().map(RunReport::lost).sum();
    let succeeded: u64 = reports.iter().map(|r| r.totals.succeeded).sum();
    let due = succeeded + lost;
    let failed: u64 = reports.iter().map(|r| r.totals.failed()).sum();
    let what = if failed == lost {
        "failed"
    } else {
        "failed, were shed or did not finish"
    };
    let Some(limit) = limit else {
        if lost > 0 {
            log.info(&format!(
                "{lost} of {} {what}; that does not change the exit code unless `--max-error-rate 1%` sets a limit",
                counted(due, "request")
            ));
        }
        return false;
    };
    let rate = lost as f64 / due as f64;
    let above = rate > limit;
    if above {
        log.warn(&format!(
            "{lost} of {due} requests {what}: {:.2} % is above `--max-error-rate` {:.2} %",
            rate * 100.0,
            limit * 100.0
        ));
    }
    above
}

/// Whether fewer requests were good, in any run, than `--min-goodput` asks for.
fn below_goodput(reports: &[RunReport], least: Option<f64>, log: &Log) -> bool {
    let Some(least) = least else {
        return false;
    };
    let mut below = false;
    for report in reports {
        let Some(goodput) = &report.goodput else {
            continue;
        };
        let share = goodput.share.unwrap_or(0.0);
        if share < least {
            below = true;
            log.warn(&format!(
                "{} of {} met `--slo` in {}: {:.2} % is below `--min-goodput` {:.2} %",
                goodput.good,
                counted(goodput.due, "request"),
                report.meta.name,
                share * 100.0,
                least * 100.0
            ));
        }
    }
    below
}

/// Sleep between two runs. Says whether to go on.
fn pause(interval: Duration, control: &RunControl, log: &Log) -> bool {
    if !interval.is_zero() {
        log.info(&format!("pause of {} s", interval.as_secs_f64()));
    }
    !wait::stopped_within(&control.stop, interval)
}
