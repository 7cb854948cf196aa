//! How fast random prompts are generated, in how much memory, and how many of them have exactly the
//! requested length.
//!
//! `cargo bench -p evalscope-core --bench prompts [-- TOKENIZER]` generates 100,000 prompts of 8192
//! tokens on one thread, one by one as a run does. Without a tokenizer (a folder or a
//! tokenizer.json) a small one is trained first. Every 100th prompt is encoded again and counted;
//! that is not timed. Then it reads and makes turns of conversations, which must be at least 50,000 a
//! second.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic, and prints"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evalscope_core::transport::process_usage;
use evalscope_model::time::RunClock;
use evalscope_workload::dataset::{
    CustomMultiTurn, DelayUnit, Lengths, PromptSource, Random, RandomPrompts, RandomTurns, Replies,
    Sample, TurnNumbers,
};
use evalscope_workload::tokens::{Frame, TOKENIZER_FILE, Tokenizer, Words};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const PROMPTS: u64 = 100_000;
const TOKENS: u64 = 8192;
const CHECKED_EVERY: u64 = 100;

fn main() {
    // cargo bench adds flags
    let named = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let folder = tempfile::tempdir().unwrap();
    let path = named.map_or_else(|| trained(folder.path()), PathBuf::from);
    let clock = RunClock::start();
    let tokenizer = Arc::new(Tokenizer::load(&path).unwrap());
    let frame = if tokenizer.template().is_some() {
        Frame::Chat
    } else {
        Frame::Plain
    };
    let begun = clock.now();
    let words = Arc::new(Words::find(Arc::clone(&tokenizer), frame).unwrap());
    println!(
        "{}: {} words found in {:.0} ms",
        path.display(),
        words.variety(),
        clock.now().since(begun).as_secs_f64() * 1e3
    );
    let lengths = Lengths {
        min: TOKENS,
        max: TOKENS,
        prefix: 0,
        prefixes: 1,
    };
    if frame == Frame::Chat {
        conversations(&clock, "random_multi_turn", &mut random_turns(&words));
    }
    let mut custom = CustomMultiTurn::open(
        &written_turns(folder.path()),
        DelayUnit::Seconds,
        Replies::Unused,
    )
    .unwrap();
    conversations(&clock, "custom_multi_turn", &mut custom);
    let mut source = Random::new(RandomPrompts::new(words, frame, lengths, 0, 0).unwrap(), 0);
    let (mut timed, mut exact, mut checked, mut worst) = (Duration::ZERO, 0, 0, 0);
    for index in 0..PROMPTS {
        let begun = clock.now();
        let item = source.next().unwrap().unwrap();
        timed += clock.now().since(begun);
        if index % CHECKED_EVERY == 0 {
            let seen = frame.count(&tokenizer, &item.prompt.text()).unwrap();
            exact += u64::from(seen == TOKENS);
            checked += 1;
            worst = worst.max(seen.abs_diff(TOKENS));
        }
        if [PROMPTS / 100, PROMPTS / 10, PROMPTS].contains(&(index + 1)) {
            let rate = (index + 1) as f64 * TOKENS as f64 / timed.as_secs_f64() / 1e6;
            let memory = process_usage().unwrap_or_default().1 as f64 / 1e6;
            println!(
                "{:>7} prompts of {TOKENS} tokens: {rate:.0} million tokens/s on one thread, \
                 {memory:.0} MB at most; {exact} of {checked} exact, {worst} at most apart",
                index + 1
            );
        }
    }
}

/// Turns of a conversation, and conversations that are made.
const TURNS: u32 = 10;
const CONVERSATIONS: u64 = 20_000;

/// Turns of 100 tokens and more.
fn random_turns(words: &Arc<Words>) -> RandomTurns {
    let lengths = Lengths {
        min: 100,
        max: 200,
        prefix: 0,
        prefixes: 1,
    };
    let turns = TurnNumbers {
        min: TURNS,
        max: TURNS,
        prefix_every_turn: false,
        reply: (1, 1),
    };
    let first = RandomPrompts::new(Arc::clone(words), Frame::Chat, lengths, 0, 0).unwrap();
    RandomTurns::new(first, turns, Replies::Unused, 0, 0).unwrap()
}

/// A file of conversations whose messages have about 100 tokens each.
fn written_turns(folder: &Path) -> PathBuf {
    let text = "what the client says in a turn ".repeat(14);
    let said = |role: &str| format!(r#"{{"role":"{role}","content":"{text}"}}"#);
    let pair = format!("{},{}", said("user"), said("assistant"));
    let line = vec![pair; TURNS as usize].join(",");
    let path = folder.join("conversations.jsonl");
    std::fs::write(&path, format!("[{line}]\n").repeat(1000)).unwrap();
    path
}

/// Time the turns of conversations, as a run takes them.
fn conversations(clock: &RunClock, name: &str, source: &mut dyn PromptSource) {
    let begun = clock.now();
    let mut turns = 0;
    for _ in 0..CONVERSATIONS {
        let item = source.next().unwrap();
        let Some(item) = item else {
            source.rewind().unwrap();
            continue;
        };
        turns += item.later.len() + 1;
    }
    let rate = turns as f64 / clock.now().since(begun).as_secs_f64();
    println!("{name}: {rate:.0} turns/s on one thread");
}

/// A byte-level vocabulary trained on the built-in prompts.
fn trained(folder: &Path) -> PathBuf {
    let mut sample = Sample::default();
    let texts: Vec<String> = std::iter::from_fn(|| sample.next().unwrap())
        .map(|item| item.prompt.text())
        .collect();
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    let level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(level));
    tokenizer.with_decoder(Some(level));
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(4000)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    tokenizer.train(&mut trainer, texts.iter()).unwrap();
    let path = folder.join(TOKENIZER_FILE);
    tokenizer.save(&path, false).unwrap();
    path
}
