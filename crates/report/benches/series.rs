//! What the data of charts cost for a million requests of 64 events, which are made up while they are
//! read: `cargo bench -p evalscope-report --bench series [-- REQUESTS]`. Prints CPU time, memory and sizes.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::num::NonZeroUsize;

use evalscope_model::metrics::ClientSnapshot;
use evalscope_model::plan::{OpenLoop, Pacing, RunSpec, StoppedBy};
use evalscope_model::point::PointId;
use evalscope_model::record::{
    ArrivalClock, ConnectCost, CountedTokens, Ending, EventLog, EventStamp, Failure, FailureKind,
    Phase, PluginTokens, RequestRecord, RequestTimes, Usage,
};
use evalscope_model::time::{RunClock, Timestamp, monotonic_ns};
use evalscope_report::model::FORMAT_VERSION;
use evalscope_report::series::{MOST_BINS, PageData, RunSeries, page_text};
use evalscope_report::source::{RecordSink, RecordSource};
use evalscope_report::{Finding, RecordBodies, RunMeta, RunReport, RunState, StoreError, Tool};

const EVENTS: u64 = 64;
const IN_FLIGHT: u64 = 256;
const MS: u64 = 1_000_000;

struct MadeUp {
    meta: RunMeta,
    requests: u64,
}

/// A number that looks random (the finaliser of splitmix64).
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn record(index: u64) -> RequestRecord {
    let draw = mixed(index);
    let at = Timestamp::from_nanos;
    // a place takes a request about every second
    let sent = index * 1_000 * MS / IN_FLIGHT + draw % (20 * MS);
    let input = 64 + (draw >> 8) % 8192;
    let first = sent + 20 * MS + input * 15_000 + (draw >> 20) % (50 * MS);
    let mut events = EventLog::with_capacity(64);
    let mut last = first;
    let tokens = EVENTS / 2 + (draw >> 30) % EVENTS;
    for nth in 0..tokens {
        let stamp = EventStamp {
            token: true,
            answer: true,
            ..EventStamp::empty(at(last))
        };
        events.push(stamp);
        last += 10 * MS + mixed(draw + nth) % (4 * MS);
    }
    let fails = draw.is_multiple_of(1000);
    RequestRecord {
        index,
        phase: Phase::Measured,
        failure: fails.then(|| Failure::new(FailureKind::Reset, "connection reset by peer")),
        streamed: true,
        times: RequestTimes {
            scheduled: at(sent),
            slot_free: at(sent),
            dispatched: at(sent + 10_000),
            connected: Some(at(sent + 20_000)),
            write_begun: Some(at(sent + 30_000)),
            write_done: Some(at(sent + 40_000)),
            first_byte: Some(at(first)),
            headers: Some(at(first)),
            last_data: Some(at(last)),
            ended: at(last + 50_000),
        },
        connect: ConnectCost::default(),
        clock: ArrivalClock::Kernel,
        events,
        http_status: Some(200),
        usage: Usage {
            prompt_tokens: Some(input),
            completion_tokens: Some(tokens),
            cached_tokens: Some(input / 2),
            ..Usage::default()
        },
        plugin: PluginTokens::default(),
        asked_prompt_tokens: None,
        asked_output_tokens: None,
        inputs: None,
        turn: None,
        trace: None,
        counted: CountedTokens::default(),
        finish_reason: Some("stop".to_owned()),
        response_id: Some(format!("chatcmpl-{draw:016x}{index:016x}")),
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        asked_model: None,
        url: None,
        peer: None,
    }
}

impl RecordSource for MadeUp {
    fn meta(&self) -> &RunMeta {
        &self.meta
    }

    fn state(&self) -> RunState {
        RunState::Finished
    }

    fn ended_at(&self) -> Option<&str> {
        None
    }

    fn stopped_by(&self) -> Option<StoppedBy> {
        None
    }

    fn count(&self, phase: Phase) -> Result<u64, StoreError> {
        Ok(match phase {
            Phase::Measured => self.requests,
            Phase::Warmup => 0,
        })
    }

    fn for_each(&self, phase: Phase, sink: &mut RecordSink<'_>) -> Result<(), StoreError> {
        for index in 0..self.count(phase)? {
            sink(0, record(index))?;
        }
        Ok(())
    }

    fn error_excerpt(&self, _: i64) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn client(&self) -> Result<Option<ClientSnapshot>, StoreError> {
        Ok(None)
    }

    fn warnings(&self) -> Result<Vec<Finding>, StoreError> {
        Ok(Vec::new())
    }

    fn gpu_memory_gb(&self) -> Result<Option<f64>, StoreError> {
        Ok(None)
    }
}

fn meta() -> RunMeta {
    RunMeta {
        format_version: FORMAT_VERSION,
        tool: Tool {
            name: "evalscope".to_owned(),
            version: "0".to_owned(),
        },
        name: "parallel_256".to_owned(),
        model: "m".to_owned(),
        api: "openai".to_owned(),
        url: "http://127.0.0.1:1/v1/chat/completions".to_owned(),
        urls: Vec::new(),
        dataset: "openqa".to_owned(),
        load: RunSpec {
            point: PointId::first("parallel_256"),
            concurrency: NonZeroUsize::new(256),
            open_loop: OpenLoop::default(),
            requests: None,
            conversations: None,
            connections: evalscope_model::conversation::KeepConnection::Keep,
            pacing: Pacing::Unpaced,
            warmup_requests: 0,
            duration_s: None,
            drain_timeout_s: None,
            seed: 1,
            dataset_offset: 0,
            shard: evalscope_model::shard::Shard::WHOLE,
        },
        trace: None,
        first_arrival_ns: None,
        objective: None,
        settings: serde_json::json!({"max_tokens": [96]}),
        host: None,
        command_line: None,
        metadata: std::collections::BTreeMap::new(),
        run_id: None,
        shards: Vec::new(),
        shard_clients: Vec::new(),
        missing_shards: Vec::new(),
        folder: None,
        started_at: String::new(),
        clock: RunClock {
            wall_start_ns: 1_700_000_000_000_000_000,
            monotonic_start_ns: 0,
        },
        record_bodies: RecordBodies::All,
        stream: true,
        lang: evalscope_report::Lang::En,
    }
}

/// CPU time of this process so far, nanoseconds: other processes do not count. The time itself where Linux
/// is not.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ran = stat
        .split_whitespace()
        .next()
        .and_then(|ran| ran.parse().ok());
    ran.unwrap_or_else(monotonic_ns)
}

/// A line of `/proc/self/status`, megabytes; 0 where there is none.
fn memory_mb(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|found| found.strip_prefix(line));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

fn main() {
    let asked = std::env::args().find_map(|arg| arg.parse().ok());
    let requests = asked.unwrap_or(1_000_000);
    let source = MadeUp {
        meta: meta(),
        requests,
    };
    let report = RunReport::sum_up(&[&source]).expect("nothing is read");
    // the highest memory so far is forgotten
    let _not_linux = std::fs::write("/proc/self/clear_refs", "5");
    let before_mb = memory_mb("VmRSS");
    let began = cpu_ns();
    let mut seen = 0;
    source
        .for_each(Phase::Measured, &mut |_, record| {
            seen += u64::from(record.succeeded());
            Ok(())
        })
        .expect("nothing is read");
    let made = cpu_ns();
    let series = RunSeries::of(&[&source], &report, MOST_BINS).expect("nothing is read");
    let summed = cpu_ns();
    let text = page_text(&PageData::new(
        std::slice::from_ref(&report),
        &[(0, series.clone())],
    ));
    let written = cpu_ns();
    let rows = serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    let run = &rows["runs"][0];
    let bytes = |name: &str| run[name].to_string().len() / 1024;
    let ms = |from: u64, to: u64| (to - from) / MS;
    println!(
        "{requests} requests, {seen} successes, {} bins",
        series.axis.len()
    );
    println!(
        "CPU time: making them up {} ms, with summing up {} ms, writing {} ms",
        ms(began, made),
        ms(made, summed),
        ms(summed, written)
    );
    println!(
        "memory before {before_mb} MB, highest {} MB",
        memory_mb("VmHWM")
    );
    println!(
        "{} requests kept, {} of them with gaps; page data {} KB: series {} KB, requests {} KB, gaps {} KB",
        series.kept.kept,
        series
            .kept
            .requests
            .iter()
            .filter(|one| one.gaps.is_some())
            .count(),
        text.len() / 1024,
        bytes("series"),
        bytes("requests"),
        bytes("gaps"),
    );
}
