//! What a trace costs: making a prompt of 12,000 tokens from blocks, reading lines and making short
//! prompts as a run's feed does, and the first pass over a file.
//!
//! `cargo bench -p evalscope-workload --bench traces [-- TRACE]` makes up its files, or reads a trace
//! in Mooncake's form. Prints a line for each, with its limit.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic, and prints"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use evalscope_core::transport::{process_usage, thread_cpu_ns};
use evalscope_workload::dataset::{ArgsReader, PromptSource};
use evalscope_workload::tokens::{Frame, TOKENIZER_FILE, Tokenizer, Words};
use evalscope_workload::trace::{
    Blocks, Trace, TraceKind, TracePrompts, TraceSettings, TraceSource,
};
use serde_json::json;

/// The mean input of Mooncake's traces is about as long.
const LONG: u64 = 12_000;
const PROMPTS: u64 = 2_000;
const LINES: u64 = 200_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let named = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let words = Arc::new(Words::find(tokenizer(folder.path()), Frame::Plain).unwrap());
    println!("{} words", words.variety());
    let blocks = Arc::new(Blocks::new(words, Frame::Plain, 1));
    for (block, limit_ms) in [(512, 0.2), (16, f64::INFINITY)] {
        let many = LONG.div_ceil(block);
        let begun = thread_cpu_ns();
        let mut bytes = 0;
        for n in 0..PROMPTS {
            let ids: Vec<u64> = (n * many..(n + 1) * many).collect();
            bytes += blocks.prompt(&ids, block, n, LONG).0.text().len();
        }
        let each_ms = (thread_cpu_ns() - begun) as f64 / 1e6 / PROMPTS as f64;
        println!(
            "a prompt of {LONG} tokens in blocks of {block}: {each_ms:.4} ms of processor time (limit {limit_ms} ms), {} bytes",
            bytes as u64 / PROMPTS
        );
    }
    let path = named.map_or_else(|| made_up(folder.path()), std::path::PathBuf::from);
    // without its ids, so that what they take is seen apart
    let mut args = serde_json::Map::new();
    args.insert("no_scan".to_owned(), true.into());
    let lengths = TraceSettings::take(&mut ArgsReader::new(args)).unwrap();
    Trace::scan(&path, None, lengths, false, 1, || true).unwrap();
    println!(
        "a pass over moments and lengths alone: {:.0} MB at most so far",
        process_usage().unwrap_or_default().1 as f64 / 1e6
    );
    let begun = thread_cpu_ns();
    let trace = Trace::scan(&path, None, TraceSettings::default(), false, 1, || true).unwrap();
    let scanned_s = (thread_cpu_ns() - begun) as f64 / 1e9;
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "the first pass: {} requests, {} bytes in {scanned_s:.2} s of processor time, {:.0} MB/s, {:.0} MB at most so far",
        trace.report().requests,
        bytes,
        bytes as f64 / 1e6 / scanned_s,
        process_usage().unwrap_or_default().1 as f64 / 1e6
    );
    assert_eq!(trace.kind(), TraceKind::Mooncake);
    let requests = trace.report().requests.min(LINES);
    let prompts = TracePrompts {
        blocks: Some(blocks),
        typed_headers: Vec::new(),
    };
    let mut source = TraceSource::open(Arc::new(trace), prompts).unwrap();
    let begun = thread_cpu_ns();
    for _ in 0..requests {
        source.next().unwrap().unwrap();
    }
    let rate = requests as f64 / ((thread_cpu_ns() - begun) as f64 / 1e9);
    println!(
        "requests made one after the other: {rate:.0} a second of processor time (limit 50000 where prompts are short)"
    );
}

/// Short requests of two blocks.
fn made_up(folder: &Path) -> std::path::PathBuf {
    let mut text = String::new();
    for n in 0..LINES {
        writeln!(
            text,
            "{{\"timestamp\": {n}, \"input_length\": 40, \"output_length\": 5, \"hash_ids\": [{n}]}}"
        )
        .unwrap();
    }
    let path = folder.join("trace.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

/// A byte-level vocabulary of words of four letters. Each place has letters of its own, so no merge
/// gets in the way of another one.
fn tokenizer(folder: &Path) -> Arc<Tokenizer> {
    let places = ["bcdfghjwxyz", "aeiou", "klmnp", "qrstv"];
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut tokens: Vec<String> = alphabet.into_iter().map(String::from).collect();
    let mut merges = Vec::new();
    let mut all: Vec<String> = places[0].chars().map(String::from).collect();
    for place in &places[1..] {
        let longer = all.iter().flat_map(|begin| {
            let ends = place.chars();
            ends.map(move |end| (begin.clone(), end))
        });
        let pairs: Vec<(String, char)> = longer.collect();
        merges.extend(pairs.iter().map(|(begin, end)| format!("{begin} {end}")));
        all = pairs
            .iter()
            .map(|(begin, end)| format!("{begin}{end}"))
            .collect();
        tokens.extend(all.iter().cloned());
    }
    merges.extend(all.iter().map(|word| format!("\u{120} {word}")));
    tokens.extend(all.iter().map(|word| format!("\u{120}{word}")));
    let vocabulary: serde_json::Map<_, _> = tokens
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let file = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    });
    let path = folder.join(TOKENIZER_FILE);
    std::fs::write(&path, file.to_string()).unwrap();
    Arc::new(Tokenizer::load(&path).unwrap())
}
