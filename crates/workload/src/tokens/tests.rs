//! Small tokenizers of every family, trained here, and the properties common to all.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::models::unigram::{Unigram, UnigramTrainerBuilder};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainerBuilder};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, decoders};

use super::*;
use crate::dataset::{PromptSource, Sample};

/// A family of tokenizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// GPT-2, Llama 3, Qwen.
    ByteLevel,
    /// Llama 2, Mistral: merges over spaces written as `▁`.
    Metaspace,
    /// BERT.
    WordPiece,
    /// T5, XLM-R.
    Unigram,
    /// Has no words at all.
    Bytes,
}

pub(crate) const FAMILIES: [Family; 5] = [
    Family::ByteLevel,
    Family::Metaspace,
    Family::WordPiece,
    Family::Unigram,
    Family::Bytes,
];

pub(crate) const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const LLAMA2: &str =
    "{{ bos_token }}{% for m in messages %}[INST] {{ m.content | trim }} [/INST]{% endfor %}";

fn texts() -> Vec<String> {
    let mut sample = Sample::default();
    std::iter::from_fn(|| sample.next().unwrap())
        .take(100)
        .map(|item| item.prompt.text())
        .collect()
}

/// Train a tokenizer and write it the way models ship theirs.
pub(crate) fn train(family: Family, template: Option<&str>, folder: &Path) {
    let specials: Vec<AddedToken> = ["<s>", "</s>", "[UNK]", "<|im_start|>", "<|im_end|>"]
        .into_iter()
        .map(|token| AddedToken::from(token, true))
        .collect();
    let mut tokenizer;
    match family {
        Family::ByteLevel | Family::Bytes => {
            tokenizer = tokenizers::Tokenizer::new(BPE::default());
            let level = ByteLevel::new(false, true, true);
            tokenizer.with_pre_tokenizer(Some(level));
            tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(level)));
            let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
                .show_progress(false)
                .vocab_size(if family == Family::Bytes { 261 } else { 2000 })
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .special_tokens(specials)
                .build()
                .into();
            tokenizer.train(&mut trainer, texts().iter()).unwrap();
        }
        Family::Metaspace => {
            let model = BPE::builder()
                .unk_token("[UNK]".to_owned())
                .byte_fallback(false)
                .build()
                .unwrap();
            tokenizer = tokenizers::Tokenizer::new(model);
            let space = Metaspace::new('▁', PrependScheme::First, false);
            tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', PrependScheme::First, true)));
            let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
                .show_progress(false)
                .vocab_size(2000)
                .special_tokens(specials)
                .build()
                .into();
            tokenizer.train(&mut trainer, texts().iter()).unwrap();
            // in use, nothing splits the text: only merges decide
            tokenizer.with_pre_tokenizer(Some(space.clone()));
            tokenizer.with_decoder(Some(DecoderWrapper::Metaspace(space)));
        }
        Family::WordPiece => {
            let model = WordPiece::builder()
                .unk_token("[UNK]".to_owned())
                .build()
                .unwrap();
            tokenizer = tokenizers::Tokenizer::new(model);
            let _ = tokenizer.with_normalizer(Some(
                tokenizers::normalizers::bert::BertNormalizer::default(),
            ));
            tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
            tokenizer.with_decoder(Some(DecoderWrapper::WordPiece(
                decoders::wordpiece::WordPiece::default(),
            )));
            let mut trainer: TrainerWrapper = WordPieceTrainerBuilder::new()
                .show_progress(false)
                .vocab_size(2000)
                .special_tokens(specials)
                .build()
                .into();
            tokenizer.train(&mut trainer, texts().iter()).unwrap();
        }
        Family::Unigram => {
            tokenizer = tokenizers::Tokenizer::new(Unigram::default());
            let space = Metaspace::new('▁', PrependScheme::Always, true);
            tokenizer.with_pre_tokenizer(Some(space.clone()));
            tokenizer.with_decoder(Some(DecoderWrapper::Metaspace(space)));
            let mut trainer: TrainerWrapper = UnigramTrainerBuilder::default()
                .show_progress(false)
                .vocab_size(1500)
                .unk_token(Some("[UNK]".to_owned()))
                .special_tokens(specials)
                .build()
                .unwrap()
                .into();
            tokenizer.train(&mut trainer, texts().iter()).unwrap();
        }
    }
    let bos = tokenizer.token_to_id("<s>").unwrap();
    let around = TemplateProcessing::builder()
        .try_single("<s> $A")
        .unwrap()
        .special_tokens(vec![("<s>", bos)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(around));
    tokenizer.save(folder.join(TOKENIZER_FILE), false).unwrap();
    let mut config = json!({"bos_token": "<s>"});
    if let Some(template) = template {
        config["chat_template"] = template.into();
    }
    fs::write(folder.join(CONFIG_FILE), config.to_string()).unwrap();
}

/// A trained tokenizer, loaded.
pub(crate) fn trained(family: Family, template: Option<&str>) -> Arc<Tokenizer> {
    let folder = TempDir::new().unwrap();
    train(family, template, folder.path());
    Arc::new(Tokenizer::load(folder.path()).unwrap())
}

#[test]
fn every_family_makes_exact_prompts_in_every_frame() {
    for family in FAMILIES {
        for (template, frame) in [
            (Some(CHATML), Frame::Chat),
            (Some(LLAMA2), Frame::Chat),
            (None, Frame::Plain),
        ] {
            let tokenizer = trained(family, template);
            let words = Words::find(Arc::clone(&tokenizer), frame).unwrap();
            let name = format!("{family:?} {frame:?} {template:?}");
            assert_eq!(words.is_exact(), family != Family::Bytes, "{name}");
            let mut rng = rng_of(7);
            let (mut exact, mut worst) = (0, 0);
            let n = 200;
            for i in 0..n {
                let prefix = words.prefix(&mut rng, i % 5);
                let tokens = 1 + i * 3 % 150;
                let text = words.text(&mut rng, &prefix, tokens);
                let want = words.overhead() + i % 5 + tokens;
                let off = frame.count(&tokenizer, &text).unwrap().abs_diff(want);
                exact += u64::from(off == 0);
                worst = worst.max(off);
            }
            assert!(
                exact * 100 >= n * 99 && worst <= 1,
                "{name}: {exact} of {n}, {worst} off"
            );
        }
    }
}

fn rng_of(seed: u64) -> rand_chacha::ChaCha8Rng {
    use rand::SeedableRng;
    rand_chacha::ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn words_are_many_and_drawn_at_random() {
    let tokenizer = trained(Family::ByteLevel, None);
    let words = Words::find(Arc::clone(&tokenizer), Frame::Plain).unwrap();
    assert!(words.variety() > 200, "{}", words.variety());
    let text = words.text(&mut rng_of(1), &Prefix::default(), 2000);
    let ids = tokenizer.encode(&text);
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert!(distinct.len() * 3 > words.variety(), "{}", distinct.len());
    // neighbours in the text are not neighbours in the vocabulary
    let consecutive = ids.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    assert!(consecutive < 50, "{consecutive}");
}

#[test]
fn special_and_byte_tokens_are_not_ordinary() {
    let tokenizer = trained(Family::ByteLevel, None);
    let ids = tokenizer.ordinary_ids();
    for special in ["<s>", "<|im_end|>"] {
        let id = tokenizer.inner.token_to_id(special).unwrap();
        assert!(!ids.contains(&id));
    }
    assert!(is_byte("<0x0A>") && !is_byte("<0x0A"));
}

#[test]
fn a_conversation_is_counted_as_the_server_does() {
    let tokenizer = trained(Family::ByteLevel, Some(LLAMA2));
    let messages = [json!({"role": "user", "content": " hello "})];
    let ids = tokenizer.encode_chat(&messages).unwrap();
    // one start token, not two
    assert_eq!(ids.iter().filter(|id| **id == ids[0]).count(), 1);
    assert_eq!(ids, tokenizer.encode("<s>[INST] hello [/INST]"));
    assert_eq!(tokenizer.encode_prompt("hello")[0], ids[0]);
}

#[test]
fn broken_tokenizers_say_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let error = |path: &Path| {
        let error = Tokenizer::load(path).unwrap_err();
        let chain = std::error::Error::source(&error).map(|e| format!(": {e}"));
        format!("{error}{}", chain.unwrap_or_default())
            .replace(&folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(error(&path.join("nowhere")), @"no tokenizer at DIR/nowhere: there is no such file or directory");
    insta::assert_snapshot!(error(path), @"no tokenizer at DIR: it contains no `tokenizer.json`");
    for (name, content) in [
        ("vocab.json", "{}"),
        ("tekken.json", "{\"config\": {}, \"vocab\": []}"),
        ("tiktoken.model", "IQ== 0\nIg== 1\n"),
        ("tokenizer.model", "IQ== 0\nIg== 1\n"),
    ] {
        fs::write(path.join(name), content).unwrap();
    }
    let rest = |name: &str| {
        let told = error(path);
        fs::remove_file(path.join(name)).unwrap();
        told
    };
    // Llama 3 and GLM-4 name their ranks like a SentencePiece model
    insta::assert_snapshot!(error(&path.join("tokenizer.model")), @"no tokenizer at DIR/tokenizer.model: it is a tiktoken rank file, which is not supported; use a `tokenizer.json`");
    insta::assert_snapshot!(rest("tokenizer.model"), @"no tokenizer at DIR: it contains `tokenizer.model`, a tiktoken rank file, but no `tokenizer.json`");
    insta::assert_snapshot!(rest("tiktoken.model"), @"no tokenizer at DIR: it contains `tiktoken.model`, a tiktoken rank file, but no `tokenizer.json`");
    insta::assert_snapshot!(error(&path.join("tekken.json")), @"no tokenizer at DIR/tekken.json: it is Mistral's tekken, which is not supported; use a `tokenizer.json`");
    insta::assert_snapshot!(rest("tekken.json"), @"no tokenizer at DIR: it contains `tekken.json`, Mistral's tekken, but no `tokenizer.json`");
    insta::assert_snapshot!(rest("vocab.json"), @"no tokenizer at DIR: it contains a `vocab.json`, but no `tokenizer.json`");
    fs::write(path.join("tokenizer.model"), "\n\x0e\n\x05<unk>").unwrap();
    insta::assert_snapshot!(error(path), @"no tokenizer at DIR: it contains `tokenizer.model`, a SentencePiece model, but no `tokenizer.json`");
    fs::write(path.join(TOKENIZER_FILE), "{}").unwrap();
    insta::assert_snapshot!(error(path), @"DIR/tokenizer.json is not a tokenizer: Model missing. at line 1 column 2");
    train(Family::WordPiece, Some("{% if %}"), path);
    insta::assert_snapshot!(error(path), @"the chat template of DIR/tokenizer_config.json: cannot be parsed: unexpected end of block (line 1)");
    train(Family::WordPiece, None, path);
    let tokenizer = Tokenizer::load(path).unwrap();
    let none = tokenizer.encode_chat(&[]).unwrap_err();
    assert!(matches!(
        none,
        TokenizerError::Template {
            source: TemplateError::None,
            ..
        }
    ));
    fs::write(path.join(TEMPLATE_FILE), "{{ raise_exception('no') }}").unwrap();
    let tokenizer = Tokenizer::load(path).unwrap();
    assert!(
        tokenizer.encode_chat(&[]).is_err(),
        "a separate file takes precedence"
    );
}

#[test]
fn the_template_of_a_processor_is_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    train(Family::ByteLevel, Some("config"), path);
    let rendered = || {
        let tokenizer = Tokenizer::load(path).unwrap();
        tokenizer.render_chat(&[], &Asked::default()).unwrap()
    };
    assert_eq!(rendered(), "config");
    fs::write(
        path.join(PROCESSOR_TEMPLATE_FILE),
        "{\"chat_template\": \"processor\"}",
    )
    .unwrap();
    assert_eq!(rendered(), "processor");
    fs::write(path.join(PROCESSOR_TEMPLATE_FILE), "{}").unwrap();
    assert_eq!(rendered(), "config");
    fs::write(path.join(TEMPLATE_FILE), "file").unwrap();
    assert_eq!(rendered(), "file");
    fs::remove_file(path.join(TEMPLATE_FILE)).unwrap();
    fs::write(path.join(PROCESSOR_TEMPLATE_FILE), "[1").unwrap();
    let error = Tokenizer::load(path).unwrap_err().to_string();
    assert!(
        error.contains("chat_template.json is not a tokenizer configuration"),
        "{error}"
    );
}

#[test]
fn random_prompts_have_their_length_with_what_requests_ask_of_the_template() {
    // as in Qwen3's: with thinking disabled, an empty thought precedes the reply
    let template = format!(
        "{{% if tools %}}# Tools {{{{ tools | tojson }}}}{{% endif %}}{CHATML}{{% if enable_thinking is defined and enable_thinking is false %}}<think>\n\n</think>\n\n{{% endif %}}"
    );
    let folder = TempDir::new().unwrap();
    train(Family::ByteLevel, Some(&template), folder.path());
    let load = || Tokenizer::load(folder.path()).unwrap();
    let overhead = |body: Value| {
        let tokenizer = Arc::new(load().asking(Asked::of(body.as_object().unwrap())));
        let words = Words::find(Arc::clone(&tokenizer), Frame::Chat).unwrap();
        let text = words.text(&mut rng_of(1), &Prefix::default(), 50);
        // the body repeats the option
        let messages = [json!({"role": "user", "content": text})];
        let ids = load()
            .encode_chat_of(body.as_object().unwrap(), &messages)
            .unwrap();
        assert_eq!(ids.len() as u64, words.overhead() + 50);
        words.overhead()
    };
    let plain = overhead(json!({}));
    let thoughtless = overhead(json!({"chat_template_kwargs": {"enable_thinking": false}}));
    assert!(thoughtless > plain, "{thoughtless} {plain}");
    assert!(overhead(json!({"tools": [{"type": "function"}]})) > plain);
}

/// The error of `Tokenizer::load` for a folder modified by `change`.
fn refused(change: impl FnOnce(&Path)) -> String {
    let folder = TempDir::new().unwrap();
    train(Family::WordPiece, None, folder.path());
    change(folder.path());
    let error = Tokenizer::load(folder.path()).unwrap_err();
    let cause = std::error::Error::source(&error).map(|e| format!(": {e}"));
    format!("{error}{}", cause.unwrap_or_default())
        .replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn files_that_cannot_be_read_are_not_called_missing() {
    use std::os::unix::fs::symlink;

    let with = |name: &'static str, put: fn(&Path)| {
        refused(|folder| {
            let _ = fs::remove_file(folder.join(name));
            put(&folder.join(name));
        })
    };
    let to_itself = |path: &Path| symlink(path, path).unwrap();
    let to_nothing = |path: &Path| symlink("blobs/gone", path).unwrap();
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    insta::assert_snapshot!(with(TOKENIZER_FILE, to_itself), @"cannot read DIR/tokenizer.json: Too many levels of symbolic links (os error 40)");
    insta::assert_snapshot!(with(TOKENIZER_FILE, to_nothing), @"cannot read DIR/tokenizer.json: it is a link to blobs/gone, which does not exist");
    insta::assert_snapshot!(with(TOKENIZER_FILE, folder), @"cannot read DIR/tokenizer.json: it is a directory, but must be a file");
    insta::assert_snapshot!(with(CONFIG_FILE, to_itself), @"cannot read DIR/tokenizer_config.json: Too many levels of symbolic links (os error 40)");
    insta::assert_snapshot!(with(CONFIG_FILE, folder), @"cannot read DIR/tokenizer_config.json: it is a directory, but must be a file");
    insta::assert_snapshot!(with(TEMPLATE_FILE, to_nothing), @"cannot read DIR/chat_template.jinja: it is a link to blobs/gone, which does not exist");
    insta::assert_snapshot!(with(TEMPLATE_FILE, folder), @"cannot read DIR/chat_template.jinja: it is a directory, but must be a file");
    insta::assert_snapshot!(with(TEMPLATE_FILE, |path| fs::write(path, b"a\xff").unwrap()), @"the chat template of DIR/chat_template.jinja: cannot be parsed: it is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1");
    let device = |path: &Path| symlink("/dev/null", path).unwrap();
    insta::assert_snapshot!(with(TOKENIZER_FILE, device), @"cannot read DIR/tokenizer.json: it is a pipe or a device, but must be a file");
}

#[test]
fn a_configuration_of_another_form_is_refused_where_it_is_needed() {
    let config = |text: &'static str| {
        move |folder: &Path| fs::write(folder.join(CONFIG_FILE), text).unwrap()
    };
    insta::assert_snapshot!(refused(config("[1]")), @r#"DIR/tokenizer_config.json is not a tokenizer configuration: it is a list, but must be an object, such as {"chat_template": "…"}"#);
    insta::assert_snapshot!(refused(config(r#"{"chat_template": 5}"#)), @"DIR/tokenizer_config.json is not a tokenizer configuration: `chat_template` is a number, but must be a string, a list of objects with the strings `name` and `template`, or an object whose values are strings");
    insta::assert_snapshot!(refused(config(r#"{"chat_template": "{% if %}"}"#)), @"the chat template of DIR/tokenizer_config.json: cannot be parsed: unexpected end of block (line 1)");
    // a template in a separate file takes precedence
    let folder = TempDir::new().unwrap();
    train(Family::WordPiece, None, folder.path());
    config(r#"{"chat_template": 5}"#)(folder.path());
    fs::write(folder.path().join(TEMPLATE_FILE), CHATML).unwrap();
    assert!(Tokenizer::load(folder.path()).unwrap().template().is_some());
}

#[test]
fn a_template_that_does_not_hold_the_prompt_once_makes_no_lengths() {
    let told = |template: &str| {
        let tokenizer = trained(Family::ByteLevel, Some(template));
        let path = tokenizer.path().parent().unwrap().display().to_string();
        let error = Words::find(Arc::clone(&tokenizer), Frame::Chat).unwrap_err();
        // other frames do not use it
        Words::find(tokenizer, Frame::Plain).unwrap();
        error.to_string().replace(&path, "DIR")
    };
    insta::assert_snapshot!(told("[INST] hello [/INST]"), @"the chat template of DIR/tokenizer_config.json does not contain the prompt exactly once (0 times), so only plain prompts and ids can be given an exact length");
    insta::assert_snapshot!(told("{{ messages[0].content }} again: {{ messages[0].content }}"), @"the chat template of DIR/tokenizer_config.json does not contain the prompt exactly once (2 times), so only plain prompts and ids can be given an exact length");
    insta::assert_snapshot!(told("{{ messages[0].content | upper }}"), @"the chat template of DIR/tokenizer_config.json does not contain the prompt exactly once (0 times), so only plain prompts and ids can be given an exact length");
    insta::assert_snapshot!(told("{{ messages[0].content[:5] }}"), @"the chat template of DIR/tokenizer_config.json does not contain the prompt exactly once (0 times), so only plain prompts and ids can be given an exact length");
    insta::assert_snapshot!(told("{{ messages[0].content[:4000] }}"), @"the chat template of DIR/tokenizer_config.json changes or cuts a prompt of 1100987 characters, so only plain prompts and ids can be given an exact length");
    for whole in [CHATML, LLAMA2, "{{ messages | tojson }}"] {
        let tokenizer = trained(Family::ByteLevel, Some(whole));
        Frame::Chat.check(&tokenizer).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_same_draws_make_the_same_text(seed: u64, n in 1u64..200) {
        static WORDS: std::sync::LazyLock<Words> = std::sync::LazyLock::new(|| {
            Words::find(trained(Family::ByteLevel, None), Frame::Plain).unwrap()
        });
        let make = |seed| WORDS.text(&mut rng_of(seed), &Prefix::default(), n);
        prop_assert_eq!(make(seed), make(seed));
        if n > 20 {
            prop_assert_ne!(make(seed), make(seed ^ 1));
        }
    }
}
