use std::collections::BTreeMap;

use evalscope_model::metrics::Metric;
use evalscope_model::record::FailureKind;
use proptest::prelude::*;

use super::*;
use crate::samples;
use crate::series::{
    AskedOutput, Bounds, Cell, ClientHealth, Curve, CurvePoint, Density, Flow, GapBin,
    GapHistogram, Heatmap, InFlight, InputColumn, KeptRequest, KeptRequests, LagOverTime,
    LoadLevel, Missing, OVER_TIME, OutputLengths, OverTime, RequestRow, Slope, TimeAxis,
    WITH_CURVES,
};

struct Texts(BTreeMap<String, String>);

impl Words for Texts {
    fn text(&self, key: &str) -> &str {
        let text = self.0.get(key);
        text.unwrap_or_else(|| panic!("there is no text `{key}`"))
    }
}

fn texts(file: &str) -> Texts {
    fn flatten(above: &str, table: &toml::Table, texts: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let key = format!("{above}{key}");
            match value {
                toml::Value::Table(table) => flatten(&format!("{key}."), table, texts),
                value => {
                    texts.insert(key, value.as_str().unwrap().to_owned());
                }
            }
        }
    }
    let mut texts = BTreeMap::new();
    flatten("", &file.parse().unwrap(), &mut texts);
    Texts(texts)
}

fn english() -> Texts {
    texts(include_str!("../text/charts.en.toml"))
}

fn chinese() -> Texts {
    texts(include_str!("../text/charts.zh.toml"))
}

/// Two bins of warm-up and `bins` of one second, whose values come from a list.
#[expect(clippy::too_many_lines, reason = "one value for each chart")]
fn series(bins: usize, values: &[f64]) -> RunSeries {
    let all = bins + 2;
    let at = |nth: usize| values[nth % values.len()];
    let known = |factor: f64| -> Vec<Option<f64>> {
        (0..all)
            .map(|bin| Some(at(bin) * factor).filter(|_| bin % 5 != 4))
            .collect()
    };
    let sums = |factor: f64| -> Vec<f64> {
        (0..all)
            .map(|bin| if bin < 2 { 0.0 } else { at(bin) * factor })
            .collect()
    };
    let counts: Vec<u64> = (0..all * 4).map(|cell| cell as u64 % 5).collect();
    let over_time = OverTime {
        samples: vec![9; all],
        bins_together: 1,
        p50: known(1.0),
        p90: known(1.5),
        p99: known(2.0),
        heatmap: Heatmap {
            bins_per_column: 1,
            columns: all,
            row_edges: vec![1.0, 10.0, 100.0, 1000.0, 10_000.0],
            top_row_is_open: true,
            classes: (0..all * 4).map(|cell| [0, 2, 4, 6, 8][cell % 5]).collect(),
            counts,
        },
    };
    let shares = [0.0_f64, 0.5, 0.9, 0.99, 0.995];
    let points = shares.into_iter().enumerate().map(|(nth, p)| CurvePoint {
        nines: -(1.0 - p).log10(),
        p,
        value: at(nth),
    });
    let curve = Curve {
        samples: 2000,
        points: points.collect(),
    };
    RunSeries {
        axis: TimeAxis {
            t0_unix_ns: 1,
            width_ns: 1_000_000_000,
            warmup_bins: 2,
            measured_bins: bins,
            length_ns: bins as u64 * 1_000_000_000 - 400_000_000,
        },
        bounds: Bounds {
            warmup_start_s: Some(-1.7),
            drain_start_s: bins as f64 - 2.5,
            end_s: bins as f64 - 0.4,
            plateau_s: None,
        },
        curves: WITH_CURVES.map(|metric| (metric, Ok(curve.clone()))).into(),
        over_time: OVER_TIME
            .map(|metric| (metric, Ok(over_time.clone())))
            .into(),
        flow: Ok(Flow {
            output_tokens: Some(sums(10.0)),
            input_tokens: Some(sums(3.0)),
            succeeded: sums(0.1),
            failed: sums(0.01),
            lost_token_events: sums(0.0),
            failed_by_group: BTreeMap::new(),
        }),
        in_flight: Ok(InFlight {
            mean: (0..all).map(at).collect(),
            max: (0..all).map(|bin| bin as u64 % 5 + 20).collect(),
            asked: Some(8),
            due_per_s: Some(sums(0.2)),
            sent_per_s: Some(sums(0.19)),
        }),
        client: Ok(ClientHealth {
            client_lag: lag(&known(0.01), &known(0.02)),
            dispatch_lag: Some(lag(&known(0.1), &known(0.2))),
        }),
        kept: kept(),
        ttft_by_input: Ok(density(&at)),
        gaps: Ok(histogram()),
        output_lengths: Ok(OutputLengths {
            edges: vec![10, 20, 30, 40],
            by_reason: [
                (Some("length".to_owned()), vec![0, 2, 9]),
                (Some("stop".to_owned()), vec![4, 1, 0]),
                (None, vec![0, 1, 0]),
            ]
            .into(),
            asked: Some(AskedOutput {
                least: 16,
                most: 39,
            }),
        }),
        decode_by_load: Ok((1..6)
            .map(|level| LoadLevel {
                least_in_flight: 2 * level - 1,
                most_in_flight: 2 * level,
                requests: 7,
                tpot_p50_ms: 10.0 + level as f64,
                tpot_p90_ms: 12.0 + 2.0 * level as f64,
            })
            .collect()),
    }
}

fn lag(p99_ms: &[Option<f64>], max_ms: &[Option<f64>]) -> LagOverTime {
    LagOverTime {
        p99_ms: p99_ms.to_vec(),
        max_ms: max_ms.to_vec(),
    }
}

fn density(at: &dyn Fn(usize) -> f64) -> Density {
    let cell = |column, row, count, class| Cell {
        column,
        row,
        count,
        class,
        cached_share: None,
    };
    let column = |column, input_tokens| InputColumn {
        column,
        count: 6,
        input_tokens,
        ttft_p50_ms: at(column),
    };
    Density {
        input_edges: vec![100.0, 200.0, 400.0, 800.0],
        ttft_edges_ms: vec![10.0, 20.0, 40.0],
        cells: vec![cell(0, 0, 6, 8), cell(1, 1, 1, 1), cell(2, 1, 5, 7)],
        columns: vec![column(0, 150.0), column(1, 300.0), column(2, 600.0)],
        slope: Some(Slope {
            ms_per_1000_tokens: 25.0,
            intercept_ms: 8.0,
        }),
    }
}

fn histogram() -> GapHistogram {
    let bin = |from_ms, to_ms, count| GapBin {
        from_ms,
        to_ms,
        count,
    };
    GapHistogram {
        count: 1000,
        bins: vec![bin(0.0, 1.0, 3), bin(1.0, 10.0, 900), bin(10.0, 100.0, 97)],
        p50_ms: 5.0,
        p99_ms: 60.0,
        p999_ms: None,
        stall_ms: 15.0,
        stall_share: 0.06,
        stall_s: 1.25,
        stall_time_share: 0.3,
    }
}

fn kept() -> KeptRequests {
    let request = |index: u32, lane: usize, failure: Option<FailureKind>| {
        let start = i64::from(index) * 300_000 - 900_000;
        KeptRequest {
            row: RequestRow {
                index: index.into(),
                warmup: start < 0,
                dispatched_us: start,
                sent_us: Some(start + 20_000),
                first_token_us: failure.is_none().then_some(start + 150_000),
                last_data_us: failure.is_none().then_some(start + 800_000),
                ended_us: start + 800_000,
                ttft_us: failure.is_none().then_some(130_000),
                latency_us: failure.is_none().then_some(780_000),
                output_tokens: Some(7),
                failure,
                ..RequestRow::default()
            },
            lane: Some(lane),
            // 100 ms and 300 ms
            gaps: Some(vec![0xa0, 0x8d, 0x06, 0xe0, 0xa7, 0x12]),
        }
    };
    KeptRequests {
        total: 40,
        kept: 8,
        lanes: 3,
        stall_ms: Some(200.0),
        densest_us: (0, 0),
        requests: (0..8)
            .map(|index| {
                let failure = (index == 6).then_some(FailureKind::Reset);
                request(index, [0, 1, 2][index as usize % 3], failure)
            })
            .collect(),
    }
}

fn run() -> RunReport {
    let mut meta = samples::open_loop_meta();
    meta.objective = Some(crate::model::Objective {
        slo: "ttft<=50ms".parse().unwrap(),
        from: evalscope_model::slo::SloFrom::of_load(true),
    });
    samples::report(&meta, samples::mixed(30))
}

/// What a reader sees, then what is drawn, element by element.
fn shown(chart: &Chart) -> String {
    let mut text = format!("{}\n{}\n\n", chart.title, chart.description);
    for row in std::iter::once(&chart.table.header).chain(&chart.table.rows) {
        text += &row.join(" | ");
        text.push('\n');
    }
    text + "\n" + &chart.svg.replace("><", ">\n<") + "\n"
}

#[test]
fn charts_of_a_run() {
    let values = [20.0, 25.0, 30.0, 22.0];
    let words = english();
    let drawn = of_run(&run(), &series(6, &values), &words, "run1-");
    assert_eq!(drawn.len(), 11);
    for chart in drawn {
        let chart = chart.unwrap();
        insta::assert_snapshot!(chart.id, shown(&chart));
    }
}

#[test]
fn charts_of_a_sweep() {
    let words = english();
    for chart in of_sweep(&samples::sweep(), &words) {
        match chart {
            Ok(chart) => insta::assert_snapshot!(chart.id, shown(&chart)),
            Err(none) => {
                assert_eq!(none.id, "s3");
                insta::assert_snapshot!(none.why, @"no objective was set: `--slo` or `--goodput`");
            }
        }
    }
}

#[test]
fn one_load_is_not_a_sweep() {
    let words = english();
    let one = samples::report(&samples::sweep_meta(4, 20), samples::successes(20));
    assert!(of_sweep(std::slice::from_ref(&one), &words).is_empty());
    let reasons = of_sweep(&[one.clone(), one], &words);
    assert_eq!(reasons.len(), 3);
    for reason in reasons {
        let why = reason.unwrap_err().why;
        assert_eq!(why, "at least two runs of different loads are needed");
    }
}

#[test]
fn a_chart_without_values_says_what_is_missing() {
    let mut series = series(6, &[20.0]);
    for curve in series.curves.values_mut() {
        *curve = Err(Missing::NoSuccess);
    }
    for over_time in series.over_time.values_mut() {
        *over_time = Err(Missing::NoSuccess);
    }
    series.kept = KeptRequests::default();
    series.gaps = Err(Missing::NotStreamed);
    series.decode_by_load = Err(Missing::NotStreamed);
    series.ttft_by_input = Err(Missing::NoTokenCounts);
    let words = english();
    let drawn = of_run(&run(), &series, &words, "");
    let why: Vec<_> = drawn
        .iter()
        .filter_map(|chart| chart.as_ref().err())
        .map(|none| format!("{}: {}", none.id, none.why))
        .collect();
    insta::assert_snapshot!(why.join("\n"), @r"
    r1: no request succeeded
    r2: no request succeeded
    r3: no request succeeded
    r11: the responses were not streamed: `--stream`
    r7: no measured request was sent
    r8: the numbers of tokens are unknown
    r9: the responses were not streamed: `--stream`
    ");
}

/// Throughput that levels off at the third of five loads, where latency begins to rise.
fn with_knee(loads: &[(usize, u64, f64)]) -> Vec<RunReport> {
    let run = |(parallel, tokens, ttft): &(usize, u64, f64)| {
        let mut run = samples::report(&samples::sweep_meta(*parallel, 20), samples::successes(20));
        run.totals.output_tokens = *tokens;
        run.metrics.get_mut(&Metric::Ttft).unwrap().p99 = Some(*ttft);
        run
    };
    loads.iter().map(run).collect()
}

#[test]
fn the_knee_is_where_throughput_is_far_above_latency() {
    let levels_off = [
        (1, 100, 50.0),
        (2, 200, 55.0),
        (4, 390, 60.0),
        (8, 400, 400.0),
        (16, 400, 900.0),
    ];
    assert_eq!(knee(&with_knee(&levels_off)), Ok(2));
    assert_eq!(knee(&with_knee(&levels_off[..3])), Err(NoKnee::FewLoads));
    let rises = [
        (1, 100, 50.0),
        (2, 200, 51.0),
        (4, 400, 52.0),
        (8, 800, 53.0),
    ];
    assert_eq!(knee(&with_knee(&rises)), Err(NoKnee::NotReached));
    // the order of the runs does not matter
    let mut backwards = levels_off;
    backwards.reverse();
    assert_eq!(knee(&with_knee(&backwards)), Ok(2));
}

#[test]
fn languages_have_all_texts() {
    let (english, chinese) = (english(), chinese());
    let keys = |texts: &Texts| texts.0.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&english), keys(&chinese));
    let series = series(6, &[20.0, 90.0]);
    for chart in of_run(&run(), &series, &chinese, "") {
        let chart = chart.unwrap();
        assert!(!chart.svg.contains('{') && !chart.description.contains('{'));
    }
}

/// Every corner of the paths between axes, and the size of the space between them.
fn corners(svg: &str) -> Vec<(f64, f64, f64, f64)> {
    let attribute = |element: &str, name: &str| {
        let (_, rest) = element.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let mut corners = Vec::new();
    let mut size = None;
    for element in svg.split('<') {
        if element.starts_with("svg class=\"plot\"") {
            let numbers = attribute(element, "viewBox").unwrap();
            let numbers: Vec<f64> = numbers.split(' ').map(|one| one.parse().unwrap()).collect();
            size = Some((numbers[2], numbers[3]));
        } else if element.starts_with("/svg") {
            size = None;
        }
        if let Some((width, height)) = size
            && element.starts_with("path ")
        {
            let d = attribute(element, "d").unwrap();
            corners.extend(walk(&d).into_iter().map(|(x, y)| (x, y, width, height)));
        }
    }
    corners
}

/// The points that a path goes through.
fn walk(d: &str) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (0.0, 0.0);
    let mut points = Vec::new();
    let mut rest = d;
    while let Some(command) = rest.chars().next() {
        let after = &rest[1..];
        let end = after
            .find(|letter: char| letter.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let numbers: Vec<f64> = after[..end]
            .replace('-', " -")
            .split_whitespace()
            .map(|one| one.parse().unwrap_or_else(|_| panic!("{one:?} in {d:?}")))
            .collect();
        rest = &after[end..];
        match command {
            'M' | 'L' => (x, y) = (numbers[0], numbers[1]),
            'l' | 'm' => (x, y) = (x + numbers[0], y + numbers[1]),
            'H' => x = numbers[0],
            'V' => y = numbers[0],
            'h' => x += numbers[0],
            'v' => y += numbers[0],
            'z' => continue,
            other => panic!("{other} in {d}"),
        }
        points.push((x, y));
    }
    points
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn everything_stays_between_the_axes(
        bins in 3..40_usize,
        values in prop::collection::vec(prop_oneof![Just(0.0), 1e-6..1e9_f64, 1.0..50.0_f64], 1..9),
    ) {
        let words = english();
        for chart in of_run(&run(), &series(bins, &values), &words, "") {
            let chart = chart.unwrap();
            prop_assert!(!chart.svg.contains("NaN") && !chart.svg.contains("inf "), "{}", chart.svg);
            prop_assert!(chart.table.rows.len() <= 50);
            prop_assert!(chart.table.rows.iter().all(|row| row.len() == chart.table.header.len()));
            let corners = corners(&chart.svg);
            prop_assert!(!corners.is_empty());
            for (x, y, width, height) in corners {
                prop_assert!(x.is_finite() && y.is_finite());
                prop_assert!((-0.2..=width + 0.2).contains(&x), "{x} of {width} in {}", chart.id);
                prop_assert!((-0.2..=height + 0.2).contains(&y), "{y} of {height} in {}", chart.id);
            }
        }
    }
}

/// Sides with so many runs at each of these loads.
fn sides(names: &[&str], loads: &[f64], runs: usize) -> Loads {
    let figures = ["output_tokens_per_s", "ttft_p50", "ttft_p99", "error_rate"];
    let at_load = |side: usize, load: f64| AtLoad {
        load,
        values: figures
            .iter()
            .map(|name| {
                let of = |run: usize| 100.0 * load + 10.0 * side as f64 + run as f64;
                (name.parse().unwrap(), (0..runs).map(of).collect())
            })
            .collect(),
    };
    let side = |(nth, name): (usize, &&str)| Side {
        name: (*name).to_owned(),
        loads: loads.iter().map(|load| at_load(nth, *load)).collect(),
    };
    Loads {
        axis: Axis::Concurrency,
        sides: names.iter().enumerate().map(side).collect(),
    }
}

#[test]
fn sides_are_overlaid_with_whiskers_of_their_runs() {
    let words = english();
    let drawn = of_sides(&sides(&["base", "new"], &[1.0, 4.0], 3), &words);
    let [curve, against] = both(drawn);
    assert!(
        curve.description.starts_with(
            "base: output throughput from 101 to 401 tok/s, TTFT p99 from 101 ms to 401 ms. new:"
        ),
        "{}",
        curve.description
    );
    assert!(
        curve
            .description
            .ends_with("from the lowest run to the highest.")
    );
    assert_eq!((curve.table.rows.len(), against.table.rows.len()), (4, 4));
    // the base is grey
    for chart in [&curve, &against] {
        assert!(chart.svg.contains(">base") && chart.svg.contains("class=\"s5\""));
    }
    let one_run = of_sides(&sides(&["base", "new"], &[1.0, 4.0], 1), &words);
    assert!(
        !one_run[0]
            .as_ref()
            .unwrap()
            .description
            .contains("whiskers")
    );
    let one_load = of_sides(&sides(&["base", "new", "new 2"], &[8.0], 2), &words);
    let curve = one_load[0].as_ref().unwrap();
    assert!(
        curve
            .description
            .starts_with("base: output throughput 800.5 tok/s, TTFT p99 800.5 ms. new:"),
        "{}",
        curve.description
    );
    let why = &one_load[1].as_ref().unwrap_err().why;
    assert_eq!(why, "at least two runs of different loads are needed");
}

#[test]
fn times_of_sides_are_overlaid_as_far_as_they_are_known() {
    let words = english();
    let lines = |p99: Option<f64>| Lines {
        percentiles: vec![(0.0, 20.0), (0.5, 30.0), (0.9, 50.0)],
        ends: Some((30.0, 60.0)),
        tenths: vec![(Some(30.0), p99), (None, None), (Some(33.0), p99)],
    };
    let point = |p99: Option<f64>| PointOfSides {
        sides: ["base", "new"]
            .map(|name| SideOfPoint {
                name: name.to_owned(),
                lines: BTreeMap::from([(Metric::Ttft, lines(p99))]),
            })
            .into(),
    };
    let [percentiles, over] = both(of_point(&point(Some(60.0)), &words, "point1-"));
    assert_eq!(percentiles.drawing, "point1-o3");
    assert!(
        percentiles
            .description
            .contains("TTFT of new: p50 30 ms, p99 60 ms.")
    );
    assert!(
        over.description
            .contains("TTFT p50 of base: 30 ms in the first tenth, 33 ms in the last.")
    );
    assert!(over.svg.contains("new p99") && over.svg.contains("new p50"));
    let [_, few] = both(of_point(&point(None), &words, ""));
    assert!(!few.svg.contains("p99"), "no line without values");
    let none = PointOfSides { sides: Vec::new() };
    assert!(of_point(&none, &words, "").iter().all(Result::is_err));
}

/// Both charts, which are there.
fn both(drawn: Vec<Drawn>) -> [Chart; 2] {
    let charts: Vec<Chart> = drawn.into_iter().map(Result::unwrap).collect();
    charts.try_into().unwrap()
}
