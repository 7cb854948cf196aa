//! Owns what the response to a request will be, before anything is sent: whether it is refused, its
//! length, its fault, and whether it calls a tool.
//!
//! It must not know sockets, the prefix cache or when tokens are due.

use std::sync::Arc;

use rand::RngExt;

use crate::clock::wall_seconds;
use crate::config::{SimConfig, ToolCalls};
use crate::fault::pick;
use crate::lexicon::Place;
use crate::prepared::Prepared;
use crate::seed::seeded;
use crate::wire::{Answer, Asked, CONTEXT_TOKENS, EndOfText, Output, Protocol, Refusal, TOOL};

/// Keeps the draws of tool calls apart from those of latencies and faults.
const TOOL_SEED: u64 = 0x7001_ca11;

/// The context window that the server lists, in tokens.
pub(crate) fn context_tokens(config: &SimConfig) -> u64 {
    config.max_model_len.unwrap_or(CONTEXT_TOKENS)
}

/// Refuse what a server with these settings does not serve.
pub(crate) fn check(config: &SimConfig, asked: &Asked) -> Result<(), Refusal> {
    if config.reject_stream_options && asked.stream_options.is_some() {
        return Err(Refusal::of(
            "stream_options",
            "Unrecognized request argument supplied: stream_options",
        ));
    }
    let Some(limit) = config.max_model_len else {
        return Ok(());
    };
    // The words are vLLM's.
    let prompt = longest(asked);
    let message = match asked.max_tokens.map(u64::from) {
        Some(output) if prompt + output > limit => format!(
            "This model's maximum context length is {limit} tokens. However, you requested {} tokens \
             ({prompt} in the messages, {output} in the completion). Please reduce the length of the \
             messages or completion.",
            prompt + output
        ),
        None if prompt >= limit => format!(
            "This model's maximum context length is {limit} tokens. However, you requested {prompt} \
             tokens in the messages, Please reduce the length of the messages."
        ),
        _ => return Ok(()),
    };
    Err(Refusal::new(400, message))
}

/// The tokens of the longest prompt.
fn longest(asked: &Asked) -> u64 {
    let tokens = asked.prompts.iter().map(|prompt| prompt.tokens);
    tokens.max().unwrap_or(0)
}

/// How many tokens each choice has, and whether a length ends it.
fn output_length(config: &SimConfig, asked: &Asked) -> (u32, bool) {
    let (mut tokens, mut at_length) = config.profile.output_length(asked.max_tokens);
    if config.profile.output_tokens.is_none() {
        tokens = tokens.max(asked.min_tokens);
    }
    if let Some(limit) = config.max_model_len
        && let room = limit.saturating_sub(longest(asked))
        && u64::from(tokens) >= room
    {
        tokens = u32::try_from(room).unwrap_or(tokens);
        at_length = true;
    }
    (tokens, at_length || asked.end_of_text == EndOfText::Ignored)
}

/// The function that the response calls, if it is a tool call.
fn tool(config: &SimConfig, asked: &Asked, sequence: u64) -> Option<String> {
    let mut generator = seeded(config.profile.seed ^ TOOL_SEED, sequence);
    let calls = match config.tool_calls {
        ToolCalls::Share(share) => !asked.tools.is_empty() && generator.random_bool(share),
        ToolCalls::Always => asked.messages,
    };
    let count = asked.tools.len();
    calls.then(|| match count {
        0 => TOOL.to_owned(),
        _ => asked.tools[generator.random_range(0..count)].clone(),
    })
}

/// The response to a request, without anything from the prefix cache.
pub(crate) fn answer(
    settings: &Prepared,
    protocol: &'static dyn Protocol,
    asked: &Asked,
    sequence: u64,
) -> Answer {
    let config = &settings.config;
    let (tokens, at_length) = match asked.output {
        Output::Text => output_length(config, asked),
        Output::Vectors(_) | Output::Scores(_) => (0, false),
    };
    let seed = config.profile.seed;
    let model = asked.model.as_ref().unwrap_or(&config.model);
    Answer {
        protocol,
        id: format!("{}-sim-{sequence}", protocol.id_prefix()),
        model: model.clone(),
        created: wall_seconds(),
        messages: asked.messages,
        repeats: asked.repeats,
        prompt_tokens: asked.prompt_tokens(),
        cached_tokens: 0,
        choices: asked.choices,
        tokens,
        at_length,
        stream_options: asked.stream_options.unwrap_or_default(),
        fault: pick(&config.faults, config.fault_after, seed, sequence),
        salt: seed.wrapping_mul(31).wrapping_add(sequence),
        lexicon: Arc::clone(&settings.lexicon),
        opens: match asked.message_count {
            Some(_) => Place::Opens,
            None => Place::Follows,
        },
        reasoning: config.reasoning_tokens,
        tool: tool(config, asked, sequence),
        output: asked.output.clone(),
    }
}
