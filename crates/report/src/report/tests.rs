//! Reports of made-up runs.

use super::*;
use crate::samples;

#[test]
fn a_warm_up_request_that_was_never_sent_is_no_failed_one() {
    use crate::findings::FindingId;
    use evalscope_model::record::{Failure, FailureKind};
    let warmup = |kind| {
        let mut exchange = samples::successes(1).remove(0);
        exchange.record.phase = Phase::Warmup;
        exchange.record.failure = Some(Failure::new(kind, "no"));
        let mut exchanges = samples::successes(3);
        exchanges.push(exchange);
        let warnings = samples::report(&samples::meta("m"), exchanges).warnings;
        warnings
            .iter()
            .any(|warning| warning.id == FindingId::WarmupFailed)
    };
    assert!(warmup(FailureKind::Reset));
    assert!(!warmup(FailureKind::NotSent));
}

#[test]
fn many_passes_make_the_same_report() {
    for (meta, n) in [(samples::meta("m"), 240), (samples::open_loop_meta(), 600)] {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::finished(folder.path(), &meta, samples::mixed(n));
        let whole = RunReport::load(&path).unwrap();
        let parts = RunReport::load_with(&path, 1).unwrap();
        assert_eq!(whole, parts);
        assert_eq!(whole.metrics.len(), Metric::ALL.len());
        assert!(whole.plateau.is_ok());
    }
}

#[test]
fn each_constant_rate_of_a_profile_is_judged() {
    use evalscope_model::profile::{Gaps, Schedule};
    let mut meta = samples::open_loop_meta();
    meta.load.pacing = Pacing::Arrivals(Schedule {
        profile: "20@15,20@15".parse().unwrap(),
        gaps: Gaps::Constant,
    });
    let report = samples::report(&meta, samples::successes(600));
    assert_eq!(report.plateau, Err(WithoutPlateau::RateChanges));
    assert_eq!(report.segments.len(), 2);
    for segment in &report.segments {
        assert_eq!(segment.due, 300);
        let verdict = segment.saturation.unwrap().verdict;
        assert_eq!(verdict, LoadVerdict::KeptUp);
        // but the first tenth
        let plateau = segment.plateau.unwrap();
        assert!((268..=271).contains(&plateau.requests), "{plateau:?}");
        assert!(segment.start_s + 1.49 <= plateau.start_s, "{plateau:?}");
        assert!(plateau.end_s <= segment.end_s, "{plateau:?}");
    }
    let judged = report.load.unwrap().judged.unwrap();
    assert_eq!(judged.segment, Some(0));
}

/// Processes that began later, with clocks of their own, measured the rest: the figures are
/// those of one process that measured all of it.
#[test]
fn parts_make_the_report_of_the_whole() {
    let all = samples::mixed(400);
    let folder = tempfile::tempdir().unwrap();
    let whole_path = samples::finished(folder.path(), &samples::open_loop_meta(), all.clone());
    let whole = RunReport::load(&whole_path).unwrap();
    for later_ns in [0, 1_500_000] {
        let parts: Vec<_> = [0, 1]
            .into_iter()
            .map(|part| {
                let mut meta = samples::open_loop_meta();
                let ahead = if part == 0 { 0 } else { later_ns };
                meta.clock.wall_start_ns += ahead;
                let own = all.iter().filter(|e| e.record.index % 2 == part);
                let own = own.cloned().map(|mut exchange| {
                    exchange.record = behind(exchange.record, ahead);
                    exchange
                });
                let folder = tempfile::tempdir().unwrap();
                let path = samples::finished(folder.path(), &meta, own.collect());
                (Reader::open(&path).unwrap(), folder)
            })
            .collect();
        // the later one first
        let merged = RunReport::sum_up(&[&parts[1].0, &parts[0].0]).unwrap();
        assert_eq!(merged.totals, whole.totals);
        assert_eq!(merged.metrics, whole.metrics);
        assert_eq!(merged.errors, whole.errors);
        assert_eq!(merged.meta, whole.meta);
        assert_eq!(merged.load, whole.load);
        assert_eq!(merged.goodput, whole.goodput);
        assert_eq!(merged.intervals, whole.intervals);
        assert_eq!(merged.with_failures, whole.with_failures);
        assert_eq!(merged.plateau, whole.plateau);
        assert!(merged.plateau.is_ok());
        assert_eq!(
            (merged.state, &merged.ended_at),
            (whole.state, &whole.ended_at)
        );
    }
}

/// A record as a process that began `ahead` nanoseconds later would have it.
fn behind(mut record: RequestRecord, ahead: u64) -> RequestRecord {
    use evalscope_model::record::EventLog;
    use evalscope_model::time::Timestamp;
    let moved = |at: Timestamp| Timestamp::from_nanos(at.as_nanos() - ahead);
    let times = &mut record.times;
    for at in [
        &mut times.scheduled,
        &mut times.slot_free,
        &mut times.dispatched,
        &mut times.ended,
    ] {
        *at = moved(*at);
    }
    for at in [
        &mut times.connected,
        &mut times.write_begun,
        &mut times.write_done,
        &mut times.first_byte,
        &mut times.headers,
        &mut times.last_data,
    ] {
        *at = at.map(moved);
    }
    let mut events = EventLog::default();
    for mut stamp in record.events.stamps() {
        stamp.at = moved(stamp.at);
        events.push(stamp);
    }
    record.events = events;
    record
}
