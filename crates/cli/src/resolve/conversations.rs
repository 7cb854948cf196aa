//! Owns what the flags of conversations mean.
//!
//! It must not know datasets, nor how a turn is sent.

use evalscope_core::protocol::{BodyRules, ConversationRules, Endpoint, SessionHeader};
use evalscope_model::conversation::{Conversations, History};
use evalscope_model::plan::RunPlan;

use super::dataset_args::server_keeps_history;
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
    bodies: &BodyRules,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<(Conversations, ConversationRules)>> {
    let is_multi_turn = is_multi_turn(prompts, args.multi_turn, notes)?;
    let history = history_of(args, prompts, api, bodies, is_multi_turn)?;
    if !is_multi_turn {
        return Ok(None);
    }
    let (endpoint, seed) = (bodies.endpoint, bodies.seed);
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

/// What the history is made of: `--history`, or what the server keeps.
fn history_of(
    args: &ConversationArgs,
    prompts: &PromptArgs,
    api: &ApiChoice,
    bodies: &BodyRules,
    is_multi_turn: bool,
) -> anyhow::Result<History> {
    const OPTION: &str = "`previous_response_id` in `--dataset-args`";
    let asked = History::from(args.history);
    if !server_keeps_history(prompts)? {
        return Ok(asked);
    }
    if !bodies.api.keeps_responses() {
        return Err(hinted(
            format!("{OPTION} needs the Responses API, but the API is `{api}`"),
            "give a URL that ends in /responses, or leave it out: the history is then sent with each turn",
        ));
    }
    if !is_multi_turn {
        return Err(hinted(
            format!("{OPTION} needs conversations"),
            "add `--multi-turn` and a dataset of conversations, or leave it out",
        ));
    }
    if asked != History::default() {
        return Err(hinted(
            format!(
                "{OPTION} and `--history {}` cannot be combined: the server keeps what it has sent",
                asked.as_str()
            ),
            "leave one of them out",
        ));
    }
    if let Some(store) = bodies.extra.get("store").filter(|store| **store != true) {
        return Err(hinted(
            format!(
                "{OPTION} needs responses that are stored, but `--extra-args` has `store`: {store}"
            ),
            "leave `store` out: it is set to true",
        ));
    }
    Ok(History::KeptByServer)
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
