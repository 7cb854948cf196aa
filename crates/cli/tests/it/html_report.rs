//! The HTML report of a command: when it is written, and in which language.

use crate::context::Context;

const PAGE: &str = "outputs/run/perf_report.html";

const ARGS: [&str; 8] = [
    "--api",
    "local_sim",
    "--dataset",
    "sample",
    "-n",
    "2",
    "--max-tokens",
    "3",
];

fn page(context: &Context) -> String {
    std::fs::read_to_string(context.path().join(PAGE)).unwrap()
}

#[test]
fn no_html_leaves_the_page_out() {
    let context = Context::new();
    context.measure(&[&ARGS[..], &["--no-html"]].concat());
    assert!(!context.path().join(PAGE).exists());
    assert!(context.path().join("outputs/run/result.json").is_file());
    let outcome = context.run(&["report", "outputs/run", "--no-html"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(!context.path().join(PAGE).exists());
}

#[test]
fn the_language_of_the_run_is_that_of_its_pages() {
    let context = Context::new().with_env("EVALSCOPE_LANG", "zh_CN.UTF-8");
    context.measure(&ARGS);
    assert!(page(&context).contains("<html lang=\"zh\">"));
    let other = context.with_env("EVALSCOPE_LANG", "en");
    other.run(&["report", "outputs/run"]);
    assert!(page(&other).contains("<html lang=\"zh\">"));
    other.run(&["report", "outputs/run", "--lang", "en"]);
    assert!(page(&other).contains("<html lang=\"en\">"));
}

#[test]
fn a_run_has_a_page_of_its_own_where_asked_for() {
    let context = Context::new();
    context.measure(&ARGS);
    let own = context
        .path()
        .join("outputs/run/parallel_1_number_2/perf_report.html");
    assert!(!own.exists());
    let outcome = context.run(&["report", "outputs/run", "--run", "parallel_1_number_2"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(own.is_file());
    let outcome = context.run(&["report", "outputs/run", "--run", "no"]);
    assert!(
        outcome.stderr.contains("no run is called `no`"),
        "{outcome:#?}"
    );
}
