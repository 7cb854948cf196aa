//! What is left when the process is killed, and that `report` makes every file again.

use std::net::TcpStream;

use evalscope_sim::{Profile, SimConfig, Simulator};
use rusqlite::Connection;

use crate::context::{Context, NAME, json, open, wait_for};

/// Rows of a database that somebody may be writing; none where there is no table yet.
fn rows(database: &Connection) -> i64 {
    let query = "SELECT count(*) FROM result";
    database.query_row(query, [], |row| row.get(0)).unwrap_or(0)
}

#[test]
fn a_killed_run_can_be_reported() {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let url = simulator.url();
    let running = context.start(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "1000000",
        "--parallel",
        "4",
        "--max-tokens",
        "8",
    ]);
    let path = context
        .top()
        .join("parallel_4_number_1000000/benchmark_data.db");
    wait_for("the first rows", || {
        (path.is_file() && rows(&open(&path)) > 20).then_some(())
    });
    // `drop` kills it, and no handler can see that
    drop(running);

    let kept = rows(&open(&path));
    assert!(kept > 20);
    let outcome = context.run(&["report", &format!("outputs/{NAME}")]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("no end of the run is recorded"),
        "{}",
        outcome.stdout
    );
    let run = context.result()["runs"][0].clone();
    assert_eq!(run["state"], "running");
    assert_eq!(run["counts"]["total"], kept);
    assert_eq!(run["counts"]["succeeded"], kept);
    assert_eq!(run["metrics"]["ttft_ms"]["count"], kept);
    assert_eq!(run["metrics"]["output_tokens"]["mean"], 8.0);
    for file in [
        "benchmark_summary.json",
        "benchmark_percentile.json",
        "benchmark_args.json",
    ] {
        json(&context.run_folder().join(file));
    }
    assert!(context.top().join("performance_summary.txt").is_file());
}

/// Nobody can tell it to stop; it sees the end of a pipe.
#[test]
fn the_simulated_server_dies_with_a_killed_command() {
    let context = Context::new();
    let mut running = context.start(&[
        "--api",
        "local_sim",
        "--prompt",
        "p",
        "--number",
        "1000000",
        "--max-tokens",
        "4",
    ]);
    running.wait_for_stderr("1000000 requests, 1 in flight");
    let said = running.stderr();
    let address = said.split("http://").nth(1).unwrap();
    let address = address.split('/').next().unwrap().to_owned();
    TcpStream::connect(&address).unwrap();
    drop(running);
    wait_for("the end of the simulated server", || {
        TcpStream::connect(&address).err()
    });
}

#[test]
fn report_makes_the_same_files_again() {
    let context = Context::new();
    let measured = context.measure(&[
        "--api",
        "local_sim",
        "--dataset",
        "sample",
        "--max-tokens",
        "8",
        "--parallel",
        "1",
        "2",
        "--number",
        "2",
        "4",
        "--sleep-interval",
        "0",
        "--warmup-num",
        "1",
    ]);
    let before = context.files();
    let names: Vec<_> = before.iter().map(|(name, _)| name).collect();
    assert_eq!(before.len(), 17, "{names:?}");
    // what is not made from the databases
    let lasting = ["/benchmark_data.db", "/benchmark.log", "/metrics.prom"];
    let top = format!("outputs/{NAME}");
    for from in [
        top.clone(),
        format!("{top}/parallel_2_number_4"),
        "outputs".to_owned(),
    ] {
        for (name, _) in &before {
            if !lasting.iter().any(|end| name.ends_with(end)) {
                std::fs::remove_file(context.path().join(name)).unwrap();
            }
        }
        let outcome = context.run(&["report", &from]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        for ((name, old), (again, new)) in before.iter().zip(&context.files()) {
            assert_eq!(name, again);
            assert!(old == new, "{name} has changed by `report {from}`");
        }
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        if from == top {
            let tables =
                |text: &str| crate::tables::settled(text).replace(&*absolute(&context), "");
            assert_eq!(tables(&outcome.stdout), tables(&measured.stdout));
        }
    }
}

/// The folder's own path, as far as it may stand before the paths in tables.
fn absolute(context: &Context) -> String {
    let path = context.path().canonicalize().unwrap();
    format!("{}/", path.display())
}

#[test]
fn a_folder_may_be_moved() {
    let context = Context::new();
    context.measure(&[
        "--api",
        "local_sim",
        "--prompt",
        "p",
        "--number",
        "2",
        "--max-tokens",
        "4",
    ]);
    let before = context.files();
    let moved = context.path().join("elsewhere");
    std::fs::rename(context.path().join("outputs"), &moved).unwrap();
    let outcome = context.run(&["report", &format!("elsewhere/{NAME}")]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let after = context.files();
    assert_eq!(before.len(), after.len());
    for ((name, old), (_, new)) in before.iter().zip(&after) {
        assert!(old == new, "{name} has changed");
    }
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let context = Context::new();
    std::fs::create_dir(context.path().join("parallel_1_number_1")).unwrap();
    let path = context.write("parallel_1_number_1/benchmark_data.db", "no database");
    let outcome = context.run(&["report", "."]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("is not a database of this tool"),
        "{}",
        outcome.stderr
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), "no database");
}
