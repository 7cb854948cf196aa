//! Owns a small tokenizer, trained once for all tests of a process, and putting its files where a
//! test wants them. It counts with the library itself, not with anything of the program.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use evalscope_workload::dataset::{PromptSource, Sample};
use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, Tokenizer};

use crate::context::Context;

/// The template that most open models use in some form.
pub(crate) const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// As many as make a few hundred whole words.
const VOCABULARY: usize = 1500;

static TRAINED: LazyLock<Tokenizer> = LazyLock::new(train);

/// A byte-level one, as GPT-2, Llama 3 and Qwen have, that puts `<s>` before a plain text.
fn train() -> Tokenizer {
    let specials: Vec<AddedToken> = ["<s>", "<|im_start|>", "<|im_end|>"]
        .map(|token| AddedToken::from(token, true))
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    let level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(level));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(level)));
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(VOCABULARY)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(specials)
        .build()
        .into();
    let mut sample = Sample::default();
    let texts: Vec<String> = std::iter::from_fn(|| sample.next().unwrap())
        .take(100)
        .map(|item| item.prompt.text())
        .collect();
    tokenizer.train(&mut trainer, texts.iter()).unwrap();
    let first = tokenizer.token_to_id("<s>").unwrap();
    let around = TemplateProcessing::builder()
        .try_single("<s> $A")
        .unwrap()
        .special_tokens(vec![("<s>", first)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(around));
    tokenizer
}

/// Write the tokenizer with a chat template into a folder of the test; gives the folder.
pub(crate) fn in_folder(context: &Context) -> String {
    write(&context.path().join("tokenizer"), Some(CHATML))
        .to_str()
        .unwrap()
        .to_owned()
}

/// Write the files that models come with; the template goes into the configuration.
pub(crate) fn write(folder: &Path, template: Option<&str>) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), json_text()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), config(template)).unwrap();
    folder.to_owned()
}

/// The text of `tokenizer.json`.
pub(crate) fn json_text() -> String {
    TRAINED.to_string(false).unwrap()
}

/// The text of `tokenizer_config.json`.
pub(crate) fn config(template: Option<&str>) -> String {
    let mut config = json!({"bos_token": "<s>"});
    if let Some(template) = template {
        config["chat_template"] = template.into();
    }
    config.to_string()
}

/// The ids of a text alone.
pub(crate) fn ids(text: &str) -> Vec<u32> {
    TRAINED.encode(text, false).unwrap().get_ids().to_vec()
}

/// The ids of a plain prompt, as a server reads it.
pub(crate) fn plain_ids(text: &str) -> Vec<u32> {
    TRAINED.encode(text, true).unwrap().get_ids().to_vec()
}

/// The ids of one message, as a server reads it.
pub(crate) fn chat_ids(text: &str) -> Vec<u32> {
    ids(&format!(
        "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    ))
}

/// The text of ids, special tokens included.
pub(crate) fn text(ids: &[u32]) -> String {
    TRAINED.decode(ids, false).unwrap()
}
