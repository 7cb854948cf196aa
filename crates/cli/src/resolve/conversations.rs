//! Owns what the flags of conversations mean.
//!
//! It must not know datasets, nor how a turn is sent.

use evalscope_core::protocol::{ConversationRules, Endpoint, SessionHeader};
use evalscope_model::conversation::{Conversations, History};
use evalscope_model::plan::RunPlan;

use super::prompts::is_multi_turn;
use crate::failure::hinted;
use crate::flags::choices::ApiChoice;
use crate::flags::conversations::ConversationArgs;
use crate::flags::prompts::PromptArgs;

/// What holds for conversations, and what makes their turns. `None`: requests are single.
pub(super) fn conversations_of(
    args: &ConversationArgs,
    prompts: &PromptArgs,
    api: &ApiChoice,
    endpoint: Endpoint,
    seed: u64,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<(Conversations, ConversationRules)>> {
    if !is_multi_turn(prompts, args.multi_turn, notes)? {
        return Ok(None);
    }
    if endpoint == Endpoint::Completions {
        return Err(hinted(
            "conversations need the chat API: completions have no messages",
            "give a URL that ends with /chat/completions",
        ));
    }
    if let ApiChoice::Plugin(_) = api {
        return Err(hinted(
            format!(
                "conversations cannot be sent with the API plugin `{api}`: it makes single requests"
            ),
            "declare the API in a file (docs/custom-api.md), or send single requests",
        ));
    }
    let history = History::from(args.history);
    Ok(Some((
        Conversations {
            history,
            finish: args.finish_conversations,
            max_context_tokens: args.max_context,
        },
        ConversationRules {
            history,
            max_turns: prompts.max_turns,
            max_turn_tokens: args.max_turn_tokens.clone().unwrap_or_default(),
            delay: args.turn_delay,
            session_header: args.session_header.clone().map(|name| SessionHeader {
                name,
                prefix: format!("{seed:x}"),
            }),
            token_header: args.session_token_header.clone(),
            salt: args.salt.then(|| format!("{seed:x}")),
        },
    )))
}

/// What `--rate` means for conversations; EvalScope has another meaning.
pub(super) fn rate_note(plan: &RunPlan) -> Option<String> {
    let run = plan
        .runs()
        .iter()
        .find(|run| run.pacing.schedule().is_some())?;
    run.conversations?;
    Some(
        "`--rate` starts conversations; for a random wait before each turn, as EvalScope has it, use \
         `--turn-delay exp:SECONDS`"
            .to_owned(),
    )
}
