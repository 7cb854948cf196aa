//! Tables of made-up runs, as snapshots; and what holds for all of them.

use std::time::Duration;

use evalscope_model::plan::Pacing;
use evalscope_model::record::EventLog;
use evalscope_model::time::Timestamp;

use unicode_width::UnicodeWidthStr;

use super::layout::percent;
use super::*;
use crate::figures::WithoutPlateau;
use crate::samples;
use crate::together::Together;
use evalscope_model::profile::{Gaps, Profile, Schedule};

const NARROW: Screen = Screen {
    width: 80,
    ink: Ink::Plain,
    confidence: Confidence::Hidden,
};

fn fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(line.width() <= width, "{} columns: {line}", line.width());
    }
}

#[test]
fn numbers_keep_three_or_four_digits() {
    let shown = [
        0.0,
        15.0,
        1.987_654,
        26.123_4,
        334.006,
        1234.5,
        1_234_567.0,
        0.002_99,
        0.157_7,
        -1.5,
        // rounded up to the next power of ten
        9.999_7,
        99.996,
        999.97,
        0.999_97,
    ]
    .map(number);
    assert_eq!(
        shown,
        [
            "0",
            "15",
            "1.988",
            "26.12",
            "334.0",
            "1,234",
            "1,234,567",
            "0.002990",
            "0.1577",
            "-1.500",
            "10.00",
            "100.0",
            "1,000",
            "1.000"
        ]
    );
    assert_eq!(
        [
            percent(1.0),
            percent(0.9999),
            percent(0.5),
            percent(-0.0004),
            percent(-0.012)
        ],
        ["100%", "99.9%", "50%", "0.0%", "-1.2%"]
    );
}

#[test]
fn a_run() {
    let text = run(
        &samples::report(&samples::meta("qwen2.5"), samples::mixed(30)),
        NARROW,
    );
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_with_a_hand_off() {
    let mut meta = samples::meta("qwen2.5");
    meta.settings["enable_pd_metrics"] = true.into();
    let runs = [samples::report(&meta, samples::mixed(30))];
    let text = run(&runs[0], NARROW) + &sweep(&runs, NARROW);
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_with_a_chinese_model_and_a_rate() {
    let mut meta = samples::meta("通义千问-2.5-七十二亿参数-指令微调版");
    meta.load.pacing = Pacing::Arrivals(Schedule::poisson(2.5));
    let text = run(&samples::report(&meta, samples::successes(120)), NARROW);
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

/// A server that keeps up, at a client that sheds some and gives up on some.
#[test]
fn an_open_loop() {
    let mut exchanges = samples::successes(600);
    for (nth, kind) in [
        (100, FailureKind::Shed),
        (300, FailureKind::Reset),
        (598, FailureKind::Unfinished),
        (599, FailureKind::Cancelled),
    ] {
        exchanges[nth] = samples::failing(exchanges[nth].clone(), kind);
    }
    let report = samples::report(&samples::open_loop_meta(), exchanges);
    let text = run(
        &report,
        Screen {
            confidence: Confidence::Shown,
            ..NARROW
        },
    );
    fits(&text, 80);
    insta::assert_snapshot!(text);
    let wide = Screen {
        width: 200,
        ..NARROW
    };
    insta::assert_snapshot!("an_open_loop_wide", sweep(&[report.clone(), report], wide));
}

#[test]
fn an_open_loop_that_is_too_much() {
    let exchanges = samples::slower_and_slower(600, Duration::from_millis(10));
    let report = samples::report(&samples::open_loop_meta(), exchanges);
    // one in six is not served
    let judged = report.load.as_ref().unwrap().judged.unwrap();
    let excess = judged.saturation.excess.unwrap();
    assert!((excess - 1.0 / 6.0).abs() < 0.02, "{excess}");
    assert!(report.intervals.is_empty());
    let text = summary(&report, NARROW) + &warnings(&report, NARROW);
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

/// What a saturated server's throughput and latency suggest is no advice.
#[test]
fn a_sweep_of_rates_ends_where_the_server_does() {
    let at = |rate_per_s, more_each: Duration| {
        let mut meta = samples::open_loop_meta();
        meta.load.pacing = Pacing::Arrivals(Schedule {
            profile: Profile::Constant { rate_per_s },
            gaps: Gaps::Constant,
        });
        samples::report(&meta, samples::slower_and_slower(600, more_each))
    };
    let (low, high) = (
        at(10.0, Duration::ZERO),
        at(20.0, Duration::from_millis(10)),
    );
    assert_eq!(
        advice(&[low, high.clone()]),
        [
            "the server kept up at rate 10 req/s and did not at rate 20 req/s: its limit is in between."
        ]
    );
    assert_eq!(
        advice(&[high, at(30.0, Duration::from_millis(10))]),
        ["the server did not keep up at rate 20 req/s: lower the load to find its limit."]
    );
}

/// All at one moment: no rate can be named.
#[test]
fn a_burst_has_no_rate() {
    let mut meta = samples::open_loop_meta();
    meta.load.pacing = Pacing::Arrivals(Schedule {
        profile: "+20".parse().unwrap(),
        gaps: Gaps::Poisson,
    });
    let mut exchanges = samples::successes(20);
    for exchange in &mut exchanges {
        exchange.record.times.scheduled = Timestamp::ZERO;
    }
    let report = samples::report(&meta, exchanges);
    let load = report.load.as_ref().unwrap();
    assert_eq!((load.asked_rate_per_s, load.drawn_rate_per_s), (None, None));
    assert_eq!((load.judged, report.segments.len()), (None, 0));
    assert_eq!(
        report.plateau.as_ref().err(),
        Some(&WithoutPlateau::RateChanges)
    );
    let tables = run(&report, NARROW) + &sweep(&[report.clone(), report.clone()], NARROW);
    let files = crate::json::text(&crate::json::summary(&report)).unwrap()
        + &crate::json::text(&crate::json::args(&report)).unwrap();
    for text in [tables, files] {
        assert!(!text.contains("inf"), "{text}");
    }
}

/// The first requests of all places take a second, all others 50 ms.
#[test]
fn a_plateau_beside_the_whole_run() {
    let mut exchanges = samples::successes(200);
    for exchange in &mut exchanges[..5] {
        let late = Duration::from_secs(1);
        let record = &mut exchange.record;
        record.times.last_data = record.times.last_data.map(|at| at.after(late));
        record.times.ended = record.times.ended.after(late);
        let mut events = EventLog::default();
        for mut stamp in record.events.stamps() {
            stamp.at = stamp.at.after(late);
            events.push(stamp);
        }
        record.events = events;
    }
    let report = samples::report(&samples::sweep_meta(5, 200), exchanges);
    assert!(report.differences().unwrap().any());
    let text = summary(&report, NARROW) + &warnings(&report, NARROW);
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_of_failures() {
    let text = run(
        &samples::report(&samples::meta("m"), samples::all_failed(12)),
        NARROW,
    );
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_without_streams_or_usage() {
    let text = run(
        &samples::report(&samples::meta("m"), samples::whole_answers(5)),
        NARROW,
    );
    fits(&text, 80);
    insta::assert_snapshot!(text);
}

#[test]
fn a_client_at_its_limit() {
    let report = samples::limited(samples::successes(120));
    let text = verdict(&report, NARROW);
    fits(&text, 80);
    insta::assert_snapshot!(text);
    assert_eq!(
        verdict(
            &samples::report(&samples::meta("m"), samples::mixed(30)),
            NARROW
        ),
        ""
    );
}

#[test]
fn a_sweep() {
    let runs = samples::sweep();
    let text = sweep(&runs, NARROW);
    fits(&text, 80);
    insta::assert_snapshot!(text);
    insta::assert_snapshot!(
        "performance_summary",
        performance_summary(&runs, &Together::default())
    );
}

#[test]
fn equal_loads_are_not_compared() {
    let again = |requests| {
        let mut meta = samples::sweep_meta(2, requests);
        meta.started_at = format!("2026-01-31T12:{requests}:00.000+08:00");
        samples::report(&meta, samples::successes(requests))
    };
    let mut runs = vec![again(20), again(24)];
    assert_eq!(advice(&runs), Vec::<String>::new());
    runs.insert(
        0,
        samples::report(&samples::sweep_meta(1, 20), samples::successes(20)),
    );
    let sentences = advice(&runs);
    assert!(
        sentences
            .iter()
            .all(|text| !text.contains("2 to concurrency 2")),
        "{sentences:?}"
    );
    assert_eq!(advice(&runs[..1]), Vec::<String>::new());
}

#[test]
fn colour_changes_nothing_but_colour() {
    let runs = samples::sweep();
    let color = Screen {
        ink: Ink::Color,
        ..NARROW
    };
    let text = sweep(&runs, color) + &run(&runs[0], color);
    assert!(text.contains("\x1b[32m"));
    let mut bare = text;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, sweep(&runs, NARROW) + &run(&runs[0], NARROW));
}

#[test]
fn a_servers_words_do_nothing_to_a_terminal() {
    assert_eq!(tame("a\x1b[2Jb\r\n\tc"), "a [2Jb c");
}

const WIDE: Screen = Screen {
    width: 200,
    ..NARROW
};

#[test]
fn conversations_have_tables_of_their_own() {
    let report = samples::conversations_report(40);
    for screen in [NARROW, WIDE] {
        let text = conversations(&report, screen);
        fits(&text, usize::from(screen.width));
        insta::assert_snapshot!(format!("conversations_{}", screen.width), text);
    }
    assert_eq!(
        conversations(
            &samples::report(&samples::meta("m"), samples::mixed(3)),
            NARROW
        ),
        ""
    );
}

#[test]
fn conversations_are_columns_of_a_sweep() {
    let runs = [10, 40].map(samples::conversations_report);
    let text = sweep(&runs, WIDE);
    fits(&text, 200);
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_of_conversations_without_any_says_so() {
    let text = conversations(&samples::conversations_report(0), NARROW);
    insta::assert_snapshot!(text, @r"
    Conversations:
    0 of 0 conversations had all of their turns.
    ");
}

#[test]
fn a_trace_says_whether_it_was_faithful() {
    let faithful = trace(&samples::trace_report(200, Duration::ZERO), NARROW);
    let late = trace(
        &samples::trace_report(200, Duration::from_millis(40)),
        NARROW,
    );
    for text in [&faithful, &late] {
        fits(text, 80);
    }
    insta::assert_snapshot!(format!("{faithful}{late}"), @r"
    Trace:
    faithful: 200 requests, 99% of them sent at most 0.7500 ms late; 0% in another
    second than in the trace; 1.000 times as long as the trace.
    cache: 37.2% of 46.5% possible.
    input tokens: 0% against the trace; 0% of 200 requests are more than 1% off.
    output tokens: 0% against the trace; 0% of 200 requests are more than 1% off.
    Trace:
    not faithful: 1 % of the requests were sent 40.8 ms late or more (limit: 10 ms).
    cache: 37.2% of 46.5% possible.
    input tokens: 0% against the trace; 0% of 200 requests are more than 1% off.
    output tokens: 0% against the trace; 0% of 200 requests are more than 1% off.
    ");
}
