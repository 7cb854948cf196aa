//! Shards put together are the run that one process would have made.

use std::fs;
use std::time::Duration;

use evalscope_model::metrics::Verdict;
use evalscope_model::record::{Exchange, Phase, RequestRecord};
use proptest::prelude::*;

use super::*;
use crate::report::RunReport;
use crate::samples;
use crate::sqlite::Reader;

/// The meta of a shard whose clock started so long after the first one's, on a machine whose clock is ahead.
fn meta(index: u32, of: u32, later_ns: u64, ahead_ns: i64) -> RunMeta {
    let mut meta = samples::meta("m");
    meta.load.shard = Shard::new(index, of).unwrap();
    meta.settings["shard"] = format!("{index}/{of}").into();
    meta.clock.wall_start_ns += later_ns;
    meta.clock.wall_start_ns = meta
        .clock
        .wall_start_ns
        .checked_add_signed(ahead_ns)
        .unwrap();
    meta
}

fn records(database: &Path) -> Vec<RequestRecord> {
    let reader = Reader::open(database).unwrap();
    let mut all = Vec::new();
    for phase in [Phase::Warmup, Phase::Measured] {
        let push = |_, record| {
            all.push(record);
            Ok(())
        };
        reader.for_each(phase, push).unwrap();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever the clocks of the machines and whenever the processes began: once the offsets are known, the
    /// records, and what is summed up of them, are those of one process.
    #[test]
    fn merged_shards_are_the_run_of_one_process(
        of in 1u32..5,
        requests in 10u64..40,
        clocks in prop::collection::vec((0u64..10_000_000_000, -50_000_000i64..50_000_000), 5),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let earliest = clocks[..of as usize].iter().map(|(later, _)| *later).min().unwrap();
        let mut whole: Vec<Exchange> = Vec::new();
        let mut offsets = Vec::new();
        for index in 0..of {
            let (later_ns, ahead_ns) = clocks[index as usize];
            let own = Shard::new(index, of).unwrap();
            let own: Vec<Exchange> = samples::mixed(requests)
                .into_iter()
                .filter(|exchange| own.owns(exchange.record.index))
                .collect();
            for mut exchange in own.clone() {
                exchange.record.rebase(Duration::from_nanos(later_ns - earliest));
                whole.push(exchange);
            }
            let path = folder.path().join(format!("s{index}"));
            fs::create_dir_all(&path).unwrap();
            samples::finished(&path, &meta(index, of, later_ns, ahead_ns), own);
            offsets.push(format!(r#"{{"index":{index},"offset_ns":{ahead_ns},"error_ns":9}}"#));
        }
        let file = folder.path().join("offsets.json");
        fs::write(&file, format!(r#"{{"shards":[{}]}}"#, offsets.join(","))).unwrap();
        let offsets = Offsets::read(&file).unwrap();
        // those of the shards in another order
        let folders: Vec<PathBuf> = (0..of).rev().map(|i| folder.path().join(format!("s{i}"))).collect();
        let out = folder.path().join("out");
        let merge = Merge::prepare(&folders, &out, &offsets, Missing::Refused).unwrap();
        let merged = merge.write().unwrap();
        prop_assert_eq!((merged.measured, merged.state), (requests, RunState::Finished));

        let one = folder.path().join("one");
        fs::create_dir_all(&one).unwrap();
        let one = samples::finished(&one, &meta(0, 1, earliest, 0), whole);
        let merged = merged.folder.join(FILE_NAME);
        prop_assert_eq!(records(&merged), records(&one));
        let (merged, one) = (RunReport::load(&merged).unwrap(), RunReport::load(&one).unwrap());
        prop_assert_eq!(merged.totals, one.totals);
        prop_assert_eq!(merged.metrics, one.metrics);
        prop_assert_eq!(merged.with_failures, one.with_failures);
        prop_assert_eq!(merged.meta.clock.wall_start_ns, one.meta.clock.wall_start_ns);
        prop_assert_eq!(merged.meta.shards.len(), of as usize);
        prop_assert_eq!(merged.client.shards.len(), of as usize);
    }
}

/// Two shards of one run, with the second changed.
fn pair(
    change: impl FnOnce(&mut RunMeta, &mut Vec<Exchange>),
) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    let mut change = Some(change);
    for index in 0..2 {
        let path = folder.path().join(format!("s{index}"));
        fs::create_dir_all(&path).unwrap();
        let own = Shard::new(index, 2).unwrap();
        let mut exchanges = samples::successes(8);
        exchanges.retain(|exchange| own.owns(exchange.record.index));
        let mut meta = meta(index, 2, 0, 0);
        if let Some(change) = change.take_if(|_| index == 1) {
            change(&mut meta, &mut exchanges);
        }
        samples::finished(&path, &meta, exchanges);
        folders.push(path);
    }
    (folder, folders)
}

#[test]
fn a_request_that_is_there_twice_leaves_nothing() {
    let (folder, folders) = pair(|_, exchanges| exchanges[0].record.index = 2);
    let out = folder.path().join("out");
    let merge = Merge::prepare(&folders, &out, &Offsets::default(), Missing::Refused).unwrap();
    let error = merge.write().unwrap_err().to_string();
    assert!(error.starts_with("request 2 is there twice"), "{error}");
    assert!(!out.exists());
}

#[test]
fn settings_of_a_process_may_differ_and_those_of_the_run_may_not() {
    let prepared = |key: &'static str| {
        let (folder, folders) = pair(|meta, _| meta.settings[key] = "other".into());
        let out = folder.path().join("out");
        Merge::prepare(&folders, &out, &Offsets::default(), Missing::Refused).map(|_| ())
    };
    for key in parts::OWN_SETTINGS {
        // a shard says that it is one
        prepared(key).unwrap();
    }
    let error = prepared("max_tokens").unwrap_err().to_string();
    assert!(error.contains("`--max-tokens` is null in"), "{error}");
}

/// The verdict is the worst of all shards, and each is known by its number.
#[test]
fn the_worst_client_is_the_verdict() {
    let (folder, folders) = pair(|_, exchanges| {
        for exchange in exchanges {
            let times = &mut exchange.record.times;
            times.dispatched = times
                .scheduled
                .max(times.slot_free)
                .after(Duration::from_millis(15));
        }
    });
    let out = folder.path().join("out");
    let merge = Merge::prepare(&folders, &out, &Offsets::default(), Missing::Refused).unwrap();
    let report = RunReport::load(&merge.write().unwrap().folder.join(FILE_NAME)).unwrap();
    let verdicts: Vec<_> = report
        .client
        .shards
        .iter()
        .map(|shard| shard.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Ok, Verdict::ClientLimited]);
    assert_eq!(report.client.verdict, Verdict::ClientLimited);
    assert!(report.client.reasons[0].starts_with("shard 1 on client: 1 % of the requests"));
}
