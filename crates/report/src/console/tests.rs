//! Tables of made-up runs, as snapshots; and what holds for all of them.

use evalscope_model::plan::Pacing;

use unicode_width::UnicodeWidthStr;

use super::layout::percent;
use super::*;
use crate::samples;
use evalscope_model::profile::Schedule;

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
        [percent(1.0), percent(0.9999), percent(0.5)],
        ["100%", "99.9%", "50%"]
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
fn a_run_with_a_chinese_model_and_a_rate() {
    let mut meta = samples::meta("通义千问-2.5-七十二亿参数-指令微调版");
    meta.load.pacing = Pacing::Arrivals(Schedule::poisson(2.5));
    let text = run(&samples::report(&meta, samples::successes(120)), NARROW);
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
    insta::assert_snapshot!("performance_summary", performance_summary(&runs));
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
