//! Owns vLLM's tokenizer paths: `/tokenize` and `/detokenize`.
//!
//! It must not know how tokens are made.

use serde_json::{Value, json};

use super::ask::{self, Content, Fields};
use super::refusal::Refusal;
use crate::tokens::{Counter, Encoder};

fn encoder(counter: &Counter) -> Result<&Encoder, Refusal> {
    counter.encoder().ok_or_else(|| {
        Refusal::new(
            404,
            "this server has no tokenizer; start it with `--tokenizer-path PATH`",
        )
    })
}

/// The response to `/tokenize`: the ids of a prompt or of a conversation.
pub(crate) fn tokenize(
    body: &[u8],
    counter: &Counter,
    context_tokens: u64,
) -> Result<Vec<u8>, Refusal> {
    let encoder = encoder(counter)?;
    let body = ask::parse(body)?;
    let fields = Fields::new(&body);
    let special_tokens = fields.flag("add_special_tokens")?;
    let ids = if fields.get("messages").is_some() {
        let conversation = fields.conversation(Content::Typed { bare_base64: false })?;
        let generation_prompt = fields.flag("add_generation_prompt")?.unwrap_or(true);
        encoder.chat(
            &conversation,
            generation_prompt,
            special_tokens.unwrap_or(false),
        )?
    } else {
        let Some(prompt) = fields.text("prompt")? else {
            return Err(Refusal::of("prompt", "prompt or messages must be given"));
        };
        encoder.text(prompt, special_tokens.unwrap_or(true))?
    };
    let spellings = fields
        .flag("return_token_strs")?
        .unwrap_or(false)
        .then(|| encoder.spellings(&ids));
    let answer = json!({
        "count": ids.len(),
        "max_model_len": context_tokens,
        "tokens": ids,
        "token_strs": spellings,
    });
    Ok(answer.to_string().into_bytes())
}

/// The response to `/detokenize`: the text of ids.
pub(crate) fn detokenize(body: &[u8], counter: &Counter) -> Result<Vec<u8>, Refusal> {
    let encoder = encoder(counter)?;
    let body = ask::parse(body)?;
    let refused = || Refusal::of("tokens", "tokens must be a list of token ids");
    let Some(Value::Array(tokens)) = Fields::new(&body).get("tokens") else {
        return Err(refused());
    };
    let ids = tokens
        .iter()
        .map(|id| Ok(encoder.known(id.as_u64().ok_or_else(refused)?)?))
        .collect::<Result<Vec<u32>, Refusal>>()?;
    let answer = json!({"prompt": encoder.decode(&ids)?});
    Ok(answer.to_string().into_bytes())
}
