//! Responses that come back as history, with tokenizers of different kinds.

use std::path::PathBuf;

use evalscope_sim::{CacheBlocks, SimConfig, Simulator};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::{WordLevel, WordLevelTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, TokenizerBuilder, TokenizerImpl, Trainer,
};

use crate::raw::post;

type Built<M> =
    TokenizerImpl<M, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

const TEXT: &str = "1 the user asks the assistant about the system and the assistant answers the user \
                    , a model of the server . the time of a token is the latency of the queue";

fn special() -> Vec<AddedToken> {
    ["<unk>", "<|im_start|>", "<|im_end|>"]
        .map(|token| AddedToken::from(token, true))
        .to_vec()
}

/// Train and save a tokenizer; returns its directory.
fn save<M, T>(
    name: &str,
    model: M,
    trainer: &mut T,
    pre_tokenizer: PreTokenizerWrapper,
    decoder: Option<DecoderWrapper>,
    template: &str,
) -> PathBuf
where
    M: tokenizers::Model + Into<ModelWrapper> + serde::Serialize + Send + Sync,
    T: Trainer<Model = M> + Sync,
{
    let mut tokenizer: Built<M> = TokenizerBuilder::new()
        .with_model(model)
        .with_pre_tokenizer(Some(pre_tokenizer))
        .with_decoder(decoder)
        .build()
        .unwrap();
    tokenizer
        .train(trainer, std::iter::repeat_n(TEXT.to_owned(), 20))
        .unwrap();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    tokenizer
        .save(directory.join("tokenizer.json"), false)
        .unwrap();
    std::fs::write(directory.join("chat_template.jinja"), template).unwrap();
    directory
}

const CHAT_ML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + \
                       '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ \
                       '<|im_start|>assistant\\n' }}{% endif %}";

/// As Llama's: without the space at the start.
const TRIMS: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n\\n' + m.content | trim + \
                     '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ \
                     '<|im_start|>assistant\\n\\n' }}{% endif %}";

fn tokenizers() -> Vec<PathBuf> {
    let byte_level = || {
        BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(360)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(special())
            .build()
    };
    let pre_tokenizer = || ByteLevel::new(false, true, true).into();
    let decoder = || Some(ByteLevel::default().into());
    let metaspace = Metaspace::new('▁', PrependScheme::First, true);
    vec![
        save(
            "byte_level",
            BPE::default(),
            &mut byte_level(),
            pre_tokenizer(),
            decoder(),
            CHAT_ML,
        ),
        save(
            "byte_level_trimmed",
            BPE::default(),
            &mut byte_level(),
            pre_tokenizer(),
            decoder(),
            TRIMS,
        ),
        save(
            "metaspace",
            BPE::default(),
            &mut BpeTrainer::builder()
                .show_progress(false)
                .vocab_size(150)
                .special_tokens(special())
                .build(),
            metaspace.clone().into(),
            Some(metaspace.into()),
            CHAT_ML,
        ),
        save(
            "word_level",
            WordLevel::builder()
                .unk_token("<unk>".to_owned())
                .build()
                .unwrap(),
            &mut WordLevelTrainer::builder()
                .show_progress(false)
                .special_tokens(special())
                .build()
                .unwrap(),
            Whitespace {}.into(),
            None,
            TRIMS,
        ),
    ]
}

struct Turn {
    prompt: u64,
    completion: u64,
    cached: u64,
    content: String,
}

fn ask(simulator: &Simulator, messages: &[Value], max_tokens: u64) -> Turn {
    let body = json!({"messages": messages, "max_tokens": max_tokens});
    let document = post(simulator, "/v1/chat/completions", "", &body)
        .unwrap()
        .json();
    let usage = &document["usage"];
    let content = &document["choices"][0]["message"]["content"];
    Turn {
        prompt: usage["prompt_tokens"].as_u64().unwrap(),
        completion: usage["completion_tokens"].as_u64().unwrap(),
        cached: usage["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap(),
        content: content.as_str().unwrap().to_owned(),
    }
}

#[test]
fn a_response_is_as_many_tokens_of_the_next_prompt() {
    for path in tokenizers() {
        let simulator = Simulator::start(SimConfig {
            tokenizer: Some(path.clone()),
            cache_blocks: CacheBlocks::Unlimited,
            ..SimConfig::default()
        })
        .unwrap();
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let question = message("user", "the user asks");
        // What the template adds to each turn, and the next question.
        let mut frames = Vec::new();
        // Each response begins with another word.
        for tokens in 1..=90 {
            let mut messages = vec![question.clone()];
            let first = ask(&simulator, &messages, tokens);
            assert_eq!(first.completion, tokens);
            messages.extend([message("assistant", &first.content), question.clone()]);
            let second = ask(&simulator, &messages, 1);
            frames.push(second.prompt - first.prompt - tokens);
            let sequence = first.prompt + tokens;
            assert_eq!(
                second.cached,
                (sequence - 1) / 16 * 16,
                "{path:?} {:?}",
                first.content
            );
        }
        frames.dedup();
        assert_eq!(frames.len(), 1, "{path:?}: {frames:?}");
    }
}

#[test]
fn a_completion_goes_on_where_its_prompt_ends() {
    for path in tokenizers() {
        let simulator = Simulator::start(SimConfig {
            tokenizer: Some(path.clone()),
            cache_blocks: CacheBlocks::Unlimited,
            ..SimConfig::default()
        })
        .unwrap();
        for tokens in 1..40 {
            let complete = |prompt: &str| {
                let body = json!({"prompt": prompt, "max_tokens": tokens});
                post(&simulator, "/v1/completions", "", &body)
                    .unwrap()
                    .json()
            };
            let prompt = "the user asks the assistant";
            let first = complete(prompt);
            let text = first["choices"][0]["text"].as_str().unwrap();
            let second = complete(&format!("{prompt}{text}"));
            let count = |document: &Value| document["usage"]["prompt_tokens"].as_u64().unwrap();
            assert_eq!(count(&second), count(&first) + tokens, "{path:?} {text:?}");
        }
    }
}
