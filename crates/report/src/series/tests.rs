use evalscope_model::metrics::{ClientSnapshot, Metric};
use evalscope_model::plan::StoppedBy;
use evalscope_model::record::{Exchange, FailureKind, Phase};
use proptest::prelude::*;

use super::*;
use crate::findings::Finding;
use crate::model::{RunMeta, RunState};
use crate::report::RunReport;
use crate::samples;
use crate::source::{RecordSink, RecordSource};
use crate::sqlite::{Reader, StoreError};

fn series(meta: &RunMeta, exchanges: Vec<Exchange>, most_kept: usize) -> (RunReport, RunSeries) {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), meta, exchanges);
    let report = RunReport::load(&path).unwrap();
    let series = RunSeries::load(&report, MOST_BINS)
        .unwrap()
        .with_at_most(most_kept);
    (report, series)
}

/// As the request would have been in the warm-up, before all of the others.
fn warmup(mut exchange: Exchange) -> Exchange {
    exchange.record.phase = Phase::Warmup;
    exchange
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

/// A database whose whole records are read for charts.
struct Whole(Reader);

impl RecordSource for Whole {
    fn meta(&self) -> &RunMeta {
        self.0.meta()
    }

    fn state(&self) -> RunState {
        self.0.state()
    }

    fn ended_at(&self) -> Option<&str> {
        self.0.ended_at()
    }

    fn stopped_by(&self) -> Option<StoppedBy> {
        self.0.stopped_by()
    }

    fn count(&self, phase: Phase) -> Result<u64, StoreError> {
        self.0.count(phase)
    }

    fn for_each(&self, phase: Phase, sink: &mut RecordSink<'_>) -> Result<(), StoreError> {
        self.0.for_each(phase, sink)
    }

    fn error_excerpt(&self, number: i64) -> Result<Option<String>, StoreError> {
        self.0.error_excerpt(number)
    }

    fn client(&self) -> Result<Option<ClientSnapshot>, StoreError> {
        self.0.client()
    }

    fn warnings(&self) -> Result<Vec<Finding>, StoreError> {
        self.0.warnings()
    }

    fn gpu_memory_gb(&self) -> Result<Option<f64>, StoreError> {
        self.0.gpu_memory_gb()
    }
}

/// A run of any kinds of responses, with a warm-up that may be empty.
fn exchanges() -> impl Strategy<Value = Vec<Exchange>> {
    let one = (0u8..8, 0u64..4_000_000, 1u64..3_000_000);
    (0usize..4, prop::collection::vec(one, 0..60)).prop_map(|(warmups, kinds)| {
        let of = |(index, (kind, later_us, longer_us)): (u64, (u8, u64, u64))| {
            let mut exchange = match kind {
                0 => samples::failure(index, FailureKind::Status(500), "no", ""),
                1 => samples::failing(samples::success(index), FailureKind::Truncated),
                2 => samples::failing(samples::success(index), FailureKind::Shed),
                3 => samples::failing(samples::success(index), FailureKind::Unfinished),
                4 => samples::whole_answers(index + 1).remove(usize::try_from(index).unwrap()),
                _ => samples::success(index),
            };
            let later = std::time::Duration::from_micros(later_us);
            exchange.record.rebase(later);
            let times = &mut exchange.record.times;
            times.ended = times
                .ended
                .after(std::time::Duration::from_micros(longer_us));
            exchange.record.usage.prompt_tokens = Some(1 + later_us / 1000);
            exchange
        };
        let mut exchanges: Vec<Exchange> = (0..).zip(kinds).map(of).collect();
        for exchange in samples::successes(warmups as u64) {
            exchanges.push(warmup(exchange));
        }
        exchanges
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bins_are_the_run(exchanges in exchanges()) {
        let (report, series) = series(&samples::meta("m"), exchanges.clone(), 20);
        let totals = &report.totals;
        let Ok(flow) = &series.flow else {
            prop_assert_eq!(totals.first_dispatch, None);
            prop_assert!(series.axis.is_empty());
            return Ok(());
        };
        let sent: Vec<_> = exchanges.iter().map(|one| &one.record).filter(|one| one.dispatched()).collect();
        let output = flow.output_tokens.as_deref().map_or(0.0, sum);
        prop_assert!(is_close(output, totals.output_tokens as f64), "{} {}", output, totals.output_tokens);
        let input = flow.input_tokens.as_deref().map_or(0.0, sum);
        prop_assert!(is_close(input, totals.input_tokens as f64), "{} {}", input, totals.input_tokens);
        prop_assert!(is_close(sum(&flow.succeeded), totals.succeeded as f64));
        prop_assert!(is_close(sum(&flow.failed), totals.failed() as f64));
        let by_group: u32 = flow.failed_by_group.values().flat_map(|one| &one.counts).sum();
        prop_assert!(is_close(f64::from(by_group), totals.failed() as f64));
        // rates divide by the true length of each bin
        let axis = &series.axis;
        let rates = axis.rates_per_s(&flow.succeeded);
        let back: f64 = rates.iter().enumerate().map(|(bin, rate)| rate * axis.length_s(bin)).sum();
        prop_assert!(is_close(back, totals.succeeded as f64));
        // the time in flight is that of the requests
        let in_flight = series.in_flight.as_ref().unwrap();
        if axis.warmup_bins == 0 && sent.iter().all(|one| one.phase == Phase::Measured) {
            let in_bins: f64 = in_flight.mean.iter().enumerate().map(|(bin, mean)| mean * axis.length_s(bin)).sum();
            let in_requests: f64 = sent.iter().map(|one| one.times.ended.nanos_since(one.times.dispatched) as f64 / 1e9).sum();
            prop_assert!(is_close(in_bins, in_requests), "{} {}", in_bins, in_requests);
        }
        for (metric, over_time) in &series.over_time {
            let Ok(over_time) = over_time else {
                prop_assert_eq!(report.metric(*metric).count, 0);
                continue;
            };
            let measured: u64 = over_time.samples[axis.warmup_bins..].iter().sum();
            prop_assert_eq!(measured, report.metric(*metric).count);
            let heatmap = &over_time.heatmap;
            prop_assert_eq!(heatmap.counts.iter().sum::<u64>(), over_time.samples.iter().sum::<u64>());
            prop_assert!(heatmap.columns <= 240 && heatmap.rows() <= 64);
            prop_assert!(heatmap.classes.iter().all(|class| *class <= 8));
        }
        if let Ok(density) = &series.ttft_by_input {
            prop_assert!(density.input_edges.len() <= 61 && density.ttft_edges_ms.len() <= 41);
            let cells: u64 = density.cells.iter().map(|cell| cell.count).sum();
            prop_assert_eq!(cells, report.metric(Metric::Ttft).count);
        }
        if let Ok(gaps) = &series.gaps {
            prop_assert_eq!(gaps.bins.iter().map(|bin| bin.count).sum::<u64>(), gaps.count);
            prop_assert_eq!(gaps.count, report.metric(Metric::Itl).count);
        }
        if let Ok(lengths) = &series.output_lengths {
            let all: u64 = lengths.by_reason.values().flatten().sum();
            prop_assert_eq!(all, report.metric(Metric::OutputTokens).count);
        }
    }

    #[test]
    fn numbers_are_finite_and_the_same_again_in_any_order(
        exchanges in exchanges(),
        most_kept in 1usize..80,
    ) {
        let (_, once) = series(&samples::meta("m"), exchanges.clone(), most_kept);
        let text = format!("{once:?}");
        prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{}", text);
        prop_assert!(once.kept.kept <= most_kept as u64);
        let mut turned = exchanges;
        turned.reverse();
        let (_, again) = series(&samples::meta("m"), turned, most_kept);
        prop_assert_eq!(once.kept, again.kept);
        prop_assert_eq!(once.over_time, again.over_time);
        prop_assert_eq!(once.in_flight, again.in_flight);
    }

    #[test]
    fn charts_need_no_more_than_is_read_for_them(
        mut exchanges in exchanges(),
        counts in prop::collection::vec(prop::array::uniform3(prop::option::of(0u64..50)), 64),
    ) {
        for (exchange, [server, plugin, counted]) in exchanges.iter_mut().zip(counts) {
            let record = &mut exchange.record;
            record.usage.completion_tokens = server;
            record.plugin.completion_tokens = plugin;
            // only successes are counted
            record.counted.completion_tokens = counted.filter(|_| record.succeeded());
            record.plugin.prompt_tokens = counted;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = samples::finished(folder.path(), &samples::meta("m"), exchanges);
        let report = RunReport::load(&path).unwrap();
        let whole = Whole(Reader::open(&path).unwrap());
        let whole = RunSeries::of(&[&whole], &report, MOST_BINS).unwrap();
        prop_assert_eq!(RunSeries::load(&report, MOST_BINS).unwrap(), whole);
    }

    #[test]
    fn requests_of_a_lane_do_not_overlap(exchanges in exchanges()) {
        let (_, series) = series(&samples::meta("m"), exchanges, 1000);
        let kept = &series.kept;
        for lane in 0..kept.lanes {
            let mut rows: Vec<_> = kept.requests.iter().filter(|one| one.lane == Some(lane)).map(|one| &one.row).collect();
            prop_assert!(!rows.is_empty());
            rows.sort_by_key(|row| row.dispatched_us);
            prop_assert!(rows.windows(2).all(|pair| pair[0].ended_us <= pair[1].dispatched_us));
        }
    }
}

#[test]
fn the_warm_up_is_left_of_time_0_and_in_no_sum() {
    let mut exchanges: Vec<Exchange> = samples::successes(20);
    for exchange in &mut exchanges {
        exchange
            .record
            .rebase(std::time::Duration::from_millis(730));
    }
    let (_, alone) = series(&samples::meta("m"), exchanges.clone(), 100);
    exchanges.extend(samples::successes(6).into_iter().map(warmup));
    let (_, with) = series(&samples::meta("m"), exchanges, 100);
    assert_eq!(
        with.bounds.warmup_start_s.map(|at| (at * 1e3).round()),
        Some(-730.0)
    );
    assert_eq!(with.axis.warmup_bins, 8);
    let left = &with.over_time[&Metric::Ttft].as_ref().unwrap().samples[..8];
    assert_eq!(left.iter().sum::<u64>(), 6);
    assert_eq!(with.curves, alone.curves);
    assert_eq!(with.gaps, alone.gaps);
    let (with_flow, flow) = (with.flow.unwrap(), alone.flow.unwrap());
    assert_eq!(with_flow.succeeded[8..], flow.succeeded);
    assert!(sum(&with_flow.succeeded[..8]) < 0.5);
    // some requests of the warm-up are kept beside the measured ones
    assert_eq!(with.kept.kept, 20);
    assert_eq!(with.kept.requests.len(), 24);
    assert!(
        with.kept.requests[..4]
            .iter()
            .all(|one| one.row.warmup && one.row.dispatched_us < 0)
    );
}

#[test]
fn what_a_run_does_not_have_is_missing_with_the_reason() {
    let (_, whole) = series(&samples::meta("m"), samples::whole_answers(30), 100);
    for metric in [Metric::Ttft, Metric::Tpot, Metric::Itl] {
        assert_eq!(
            whole.curves[&metric],
            Err(Missing::NotStreamed),
            "{metric:?}"
        );
        assert_eq!(
            whole.over_time[&metric],
            Err(Missing::NotStreamed),
            "{metric:?}"
        );
    }
    assert!(whole.curves[&Metric::Latency].is_ok());
    assert_eq!(
        whole.curves[&Metric::LatencyFromSchedule],
        Err(Missing::NoSchedule)
    );
    assert_eq!(whole.ttft_by_input, Err(Missing::NotStreamed));
    assert_eq!(whole.gaps, Err(Missing::NotStreamed));
    assert_eq!(whole.output_lengths, Err(Missing::NoTokenCounts));
    assert_eq!(whole.decode_by_load, Err(Missing::NotStreamed));
    assert_eq!(whole.flow.unwrap().output_tokens, None);

    let (_, failed) = series(&samples::meta("m"), samples::all_failed(30), 100);
    assert_eq!(failed.curves[&Metric::Ttft], Err(Missing::NoSuccess));
    assert_eq!(failed.gaps, Err(Missing::NoSuccess));
    assert!(failed.flow.is_ok() && failed.in_flight.is_ok() && failed.client.is_ok());

    let (_, one) = series(&samples::meta("m"), samples::successes(1), 100);
    assert_eq!(one.curves[&Metric::Ttft], Err(Missing::TooFewSamples));
    assert_eq!(one.axis.measured_bins, 1);

    let (_, empty) = series(&samples::meta("m"), Vec::new(), 100);
    assert_eq!(empty.flow, Err(Missing::NoRequests));
}

#[test]
fn an_open_loop_has_arrivals_that_were_due() {
    let (report, series) = series(&samples::open_loop_meta(), samples::mixed(600), 100);
    let in_flight = series.in_flight.unwrap();
    let due = in_flight.due_per_s.unwrap();
    let lengths = (0..series.axis.len()).map(|bin| series.axis.length_s(bin));
    let all: f64 = due
        .iter()
        .zip(lengths)
        .map(|(rate, length)| rate * length)
        .sum();
    assert!(is_close(all, 600.0), "{all}");
    assert_eq!(in_flight.asked, None);
    assert!(series.client.unwrap().dispatch_lag.is_some());
    assert!(series.curves[&Metric::LatencyFromSchedule].is_ok());
    let plateau = &report.plateau.unwrap().totals;
    let (start_s, end_s) = series.bounds.plateau_s.unwrap();
    assert!(is_close(end_s - start_s, plateau.end_s - plateau.start_s));
    assert!(start_s >= 0.0 && end_s <= series.bounds.end_s + 1e-9);
}

#[test]
fn each_kind_of_request_is_kept() {
    let by = std::time::Duration::from_millis(1);
    let mut exchanges = samples::slower_and_slower(1000, by);
    for (index, kind) in [
        (400, FailureKind::Reset),
        (500, FailureKind::Reset),
        (600, FailureKind::Tls),
    ] {
        exchanges[index] = samples::failing(samples::success(index as u64), kind);
    }
    let (report, series) = series(&samples::meta("m"), exchanges, 100);
    let kept = &series.kept;
    assert_eq!((kept.total, kept.kept), (1000, 100));
    let has = |index: u64| kept.requests.iter().any(|one| one.row.index == index);
    // the slowest, all failures, the first and the last
    assert!((980..1000).all(has) && [400, 500, 600].into_iter().all(has) && (0..5).all(has));
    let itl = report.metric(Metric::Itl).p50.unwrap();
    assert_eq!(kept.stall_ms, Some(3.0 * itl));
    // nine gaps of 3 ms, two bytes each
    let gaps = kept.requests.iter().filter_map(|one| one.gaps.as_ref());
    assert!(gaps.clone().all(|gaps| *gaps == [0xb8, 0x17].repeat(9)));
    // as many as 10 bytes for each request allow
    assert_eq!(gaps.count(), 55);
}

#[test]
fn curves_end_where_ten_samples_lie_beyond() {
    let (_, series) = series(&samples::meta("m"), samples::successes(1000), 10);
    let curve = series.curves[&Metric::Ttft].as_ref().unwrap();
    assert_eq!(curve.points.len(), 200);
    let last = curve.points.last().unwrap();
    assert!((last.nines - 2.0).abs() < 1e-9, "{last:?}");
    // TTFT is 20 ms and 0.1 ms more for each
    assert!((last.value - 118.9).abs() < 0.6, "{last:?}");
    assert!(
        curve
            .points
            .windows(2)
            .all(|pair| pair[0].value <= pair[1].value)
    );
}

#[test]
fn ttft_grows_with_the_input_as_it_was_made() {
    let mut exchanges = samples::successes(400);
    for (nth, exchange) in exchanges.iter_mut().enumerate() {
        // 0.1 ms a request, and 20 tokens: 5 ms per 1000 tokens from 20 ms on
        exchange.record.usage.prompt_tokens = Some(20 * nth as u64 + 1);
    }
    let (_, series) = series(&samples::meta("m"), exchanges, 10);
    let density = series.ttft_by_input.unwrap();
    let slope = density.slope.unwrap();
    assert!((slope.ms_per_1000_tokens - 5.0).abs() < 0.1, "{slope:?}");
    assert!((slope.intercept_ms - 20.0).abs() < 0.5, "{slope:?}");
    assert!(density.cells.iter().all(|cell| cell.cached_share.is_some()));
}
