//! Prompts counted by a tokenizer, token ids, images, and the tokenizer's own paths.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evalscope_sim::{SimConfig, SimError, Simulator};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper};
use tokenizers::{PreTokenizerWrapper, Tokenizer, TokenizerBuilder};

use crate::raw::post;

/// A byte-level tokenizer that knows a few words and adds `<s>` before every text.
fn train() -> Tokenizer {
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(320)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            ["<s>", "<|im_start|>", "<|im_end|>"]
                .map(|token| AddedToken::from(token, true))
                .to_vec(),
        )
        .build();
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(ByteLevel::new(false, true, true).into()))
    .with_decoder(Some(ByteLevel::default().into()))
    .build()
    .unwrap();
    let words = "the user asks the assistant about the system and the assistant answers the user";
    tokenizer
        .train(&mut trainer, std::iter::repeat_n(words.to_owned(), 20))
        .unwrap();
    let processor = TemplateProcessing::builder()
        .try_single("<s> $A")
        .unwrap()
        .special_tokens(vec![("<s>", tokenizer.token_to_id("<s>").unwrap())])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(PostProcessorWrapper::from(processor)));
    serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap()
}

/// A directory with the tokenizer and further files.
fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    train()
        .save(directory.join("tokenizer.json"), false)
        .unwrap();
    for (file, text) in files {
        std::fs::write(directory.join(file), text).unwrap();
    }
    directory
}

fn with_tokenizer(path: &Path) -> Simulator {
    Simulator::start(SimConfig {
        tokenizer: Some(path.to_owned()),
        image_tokens: 100,
        ..SimConfig::default()
    })
    .unwrap()
}

fn prompt_tokens(simulator: &Simulator, path: &str, body: &Value) -> u64 {
    let answer = post(simulator, path, "", body).unwrap();
    let usage = answer.json()["usage"].clone();
    usage["prompt_tokens"]
        .as_u64()
        .or_else(|| usage["input_tokens"].as_u64())
        .unwrap_or_else(|| panic!("{}", answer.body))
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn chats_are_counted_by_the_template_of_the_directory() {
    let template = "{{ bos_token }}{% for m in messages %}\n[{{ m.role }}] {{ m.content }}\n\
                    {% endfor %}{% if add_generation_prompt %}>{% endif %}";
    let config = json!({"bos_token": {"content": "<s>"}, "chat_template": template}).to_string();
    let path = directory("template_in_config", &[("tokenizer_config.json", &config)]);
    let simulator = with_tokenizer(&path);
    let messages = json!([
        {"role": "system", "content": "the system"},
        {"role": "user", "content": [{"type": "text", "text": "asks"}]},
    ]);
    // The tag lines disappear with their line ends, as in transformers.
    let rendered = "<s>[system] the system\n[user] asks\n>";
    let expected = train().encode(rendered, false).unwrap().len() as u64;
    let body = json!({"messages": messages, "max_tokens": 1});
    assert_eq!(prompt_tokens(&simulator, CHAT, &body), expected);
    let zhipu = "/api/paas/v4/chat/completions";
    assert_eq!(prompt_tokens(&simulator, zhipu, &body), expected);
    let body = json!({"model": "m", "input": {"messages": [
        {"role": "system", "content": "the system"},
        {"role": "user", "content": "asks"},
    ]}});
    let dashscope = "/api/v1/services/aigc/text-generation/generation";
    assert_eq!(prompt_tokens(&simulator, dashscope, &body), expected);

    // A separate file overrides the configuration.
    let files = [
        ("tokenizer_config.json", config.as_str()),
        ("chat_template.jinja", "{{ messages[-1].content }}"),
    ];
    let simulator = with_tokenizer(&directory("template_in_file", &files));
    let body = json!({"messages": messages, "max_tokens": 1});
    let expected = train().encode("asks", false).unwrap().len() as u64;
    assert_eq!(prompt_tokens(&simulator, CHAT, &body), expected);
}

#[test]
fn chats_are_chat_ml_without_a_template() {
    let path = directory("no_template", &[]);
    let body = json!({"messages": [{"role": "user", "content": "the user"}], "max_tokens": 1});
    let rendered = "<|im_start|>user\nthe user<|im_end|>\n<|im_start|>assistant\n";
    let expected = train().encode(rendered, false).unwrap().len() as u64;
    for path in [path.join("tokenizer.json"), path] {
        assert_eq!(prompt_tokens(&with_tokenizer(&path), CHAT, &body), expected);
    }
}

#[test]
fn prompts_are_counted_with_special_tokens() {
    let simulator = with_tokenizer(&directory("completions", &[]));
    let count = |prompt: Value| {
        let body = json!({"prompt": prompt, "max_tokens": 1});
        prompt_tokens(&simulator, "/v1/completions", &body)
    };
    let text = "the assistant 答 asks";
    let tokens = train().encode(text, false).unwrap().len() as u64 + 1;
    assert_eq!(count(json!(text)), tokens);
    assert_eq!(count(json!([text, text])), 2 * tokens);
    assert_eq!(count(json!([0, 5, 7])), 3);
    assert_eq!(count(json!([[0, 5, 7], [1]])), 4);
    // Long enough to be counted on another thread.
    assert_eq!(count(json!("é".repeat(5000))), 10_001);

    let body = json!({"prompt": [0, 320_000]});
    let answer = post(&simulator, "/v1/completions", "", &body).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("token id 320000"), "{}", answer.body);
}

#[test]
fn images_are_checked_and_cost_what_is_set() {
    let plain = Simulator::start(SimConfig::default()).unwrap();
    let costly = Simulator::start(SimConfig {
        image_tokens: 100,
        ..SimConfig::default()
    })
    .unwrap();
    let png = format!(
        "data:image/png;base64,{}",
        STANDARD.encode(b"\x89PNG\r\n\x1a\n0123")
    );
    let dashscope = "/api/v1/services/aigc/multimodal-generation/generation";
    let zhipu = "/api/paas/v4/chat/completions";
    let openai = |url: &str| {
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        let parts = json!([{"type": "text", "text": "12345"}, image, image]);
        json!({"messages": [{"role": "user", "content": parts}], "max_tokens": 1})
    };
    let own = |url: &str| {
        let parts = json!([{"image": url}, {"text": "12345"}, {"image": url}]);
        json!({"model": "vl", "input": {"messages": [{"role": "user", "content": parts}]}})
    };
    for (path, body) in [
        (CHAT, openai(&png)),
        (zhipu, openai(&png)),
        (zhipu, openai(png.split_once(',').unwrap().1)),
        (dashscope, own(&png)),
    ] {
        assert_eq!(prompt_tokens(&plain, path, &body), 2, "{path}");
        assert_eq!(prompt_tokens(&costly, path, &body), 202, "{path}");
    }
    let text = format!("data:image/png;base64,{}", STANDARD.encode("plain text"));
    for (url, says) in [
        (text.as_str(), "must start like PNG, JPEG, GIF or WebP"),
        ("data:image/png;base64,###", "not base64"),
        ("file:///etc/passwd", "must be a data URL"),
    ] {
        for (path, body) in [(CHAT, openai(url)), (dashscope, own(url))] {
            let answer = post(&plain, path, "", &body).unwrap();
            assert_eq!(answer.status, 400, "{path} {url}");
            assert!(answer.body.contains(says), "{}", answer.body);
        }
    }
}

#[test]
fn tokenize_and_back() {
    let simulator = with_tokenizer(&directory("tokenize", &[]));
    let ask = |path, body: &Value| post(&simulator, path, "", body).unwrap().json();
    let text = "the user asks 答";
    let ids = train().encode(text, true).unwrap().get_ids().to_vec();
    let answer = ask("/tokenize", &json!({"model": "m", "prompt": text}));
    assert_eq!(
        answer,
        json!({
            "count": ids.len(), "max_model_len": 1 << 20, "tokens": ids, "token_strs": null,
        })
    );
    let bare = ask(
        "/tokenize",
        &json!({"prompt": "the", "add_special_tokens": false, "return_token_strs": true}),
    );
    assert_eq!(bare["token_strs"], json!(["the"]));
    let back = ask("/detokenize", &json!({"model": "m", "tokens": ids}));
    assert_eq!(back["prompt"], format!("<s>{text}"));

    let messages = json!([{"role": "user", "content": "the user"}]);
    let count = |body: &Value| ask("/tokenize", body)["count"].as_u64().unwrap();
    let chat = count(&json!({"messages": messages}));
    let body = json!({"messages": messages, "max_tokens": 1});
    assert_eq!(prompt_tokens(&simulator, CHAT, &body), chat);
    let open = count(&json!({"messages": messages, "add_generation_prompt": false}));
    assert!(open < chat);
    let special = count(&json!({"messages": messages, "add_special_tokens": true}));
    assert_eq!(special, chat + 1);

    for (path, body) in [
        ("/tokenize", json!({})),
        ("/tokenize", json!({"prompt": 1})),
        ("/detokenize", json!({"tokens": [-1]})),
        ("/detokenize", json!({"tokens": [1_000_000]})),
    ] {
        assert_eq!(
            post(&simulator, path, "", &body).unwrap().status,
            400,
            "{body}"
        );
    }
    let none = Simulator::start(SimConfig::default()).unwrap();
    for path in ["/tokenize", "/detokenize"] {
        let answer = post(&none, path, "", &json!({"prompt": "x"})).unwrap();
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("--tokenizer-path"), "{}", answer.body);
    }
}

#[test]
fn an_unusable_tokenizer_is_refused_at_the_start() {
    let broken = directory("broken", &[("chat_template.jinja", "{% for %}")]);
    let no_json = directory("no_json", &[("tokenizer.json", "{}")]);
    for (path, says) in [
        (Path::new("/does/not/exist"), "does not exist"),
        (&broken, "chat template"),
        (&no_json, "tokenizer.json"),
    ] {
        let error = Simulator::start(SimConfig {
            tokenizer: Some(path.to_owned()),
            ..SimConfig::default()
        })
        .unwrap_err();
        assert!(matches!(error, SimError::Tokenizer { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
