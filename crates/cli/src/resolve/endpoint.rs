//! Owns where requests go: the URL, completed if needed, the kind of its request bodies, and the
//! protocol.

use std::sync::Arc;

use evalscope_core::protocol::dashscope::{self, Dashscope};
use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::zhipu::{self, Zhipu};
use evalscope_core::protocol::{self, BodyRules, Declared, Endpoint, Opaque, OpenAi};
use serde_json::Value;
use url::Url;

use crate::failure::hinted;
use crate::flags::choices::{Api, ApiChoice, Dataset};
use crate::flags::prompts::PromptArgs;
use crate::flags::server::ServerArgs;
use crate::{secrets, served};

use super::DEFAULT_URL;

/// The URL when none is given, without its path.
const DEFAULT_HOST: &str = "http://127.0.0.1:8877";
/// The same for plain prompts.
const DEFAULT_PLAIN_URL: &str = "http://127.0.0.1:8877/v1/completions";

/// The endpoint's URL, completed where needed, and the shape of its bodies.
pub(super) fn url_of(
    server: &ServerArgs,
    declaration: Option<&Declaration>,
    chat: Option<bool>,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Url, Endpoint)> {
    let api = server.api.named();
    let typed = server.url.as_ref().or(server.positional_url.as_ref());
    if matches!(api, Some(Api::LocalSim | Api::Local | Api::LocalVllm))
        && let Some(typed) = typed
    {
        notes.push(format!(
            "`--api {}` starts its own server: the URL {} is ignored",
            server.api,
            secrets::shown_typed_url(typed)
        ));
    }
    let here = format!(
        "http://{}:{}/v1/{}completions",
        served::HOST,
        server.port,
        if chat == Some(false) { "" } else { "chat/" }
    );
    let text = match (api, typed) {
        (Some(Api::Local | Api::LocalVllm), _) => &here,
        (None, None) if declaration.is_some() => DEFAULT_HOST,
        (Some(Api::LocalSim), _) | (Some(Api::Openai) | None, None) if chat == Some(false) => {
            DEFAULT_PLAIN_URL
        }
        (Some(Api::LocalSim), _) | (Some(Api::Openai) | None, None) => DEFAULT_URL,
        (Some(Api::Dashscope), None) => dashscope::DEFAULT_URL,
        (Some(Api::Zhipu), None) => zhipu::DEFAULT_URL,
        (_, Some(typed)) => typed,
    };
    let text = text.trim();
    let shown = secrets::shown_typed_url(text);
    let mut url = parsed(text, &shown)?;
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if let Some(shape) = own_url(declaration, api, &mut url, notes) {
        return Ok((url, chat.map_or(shape, endpoint)));
    }
    if api == Some(Api::Dashscope) && is_native(&path) {
        if path.ends_with("/generation") {
            url.set_path(&path);
        } else {
            url.set_path(dashscope::TEXT_PATH);
            notes.push(format!(
                "the URL was completed to {}",
                secrets::shown_url(&url)
            ));
        }
        return Ok((url, endpoint(chat.unwrap_or(true))));
    }
    let chat_by_path = path.ends_with("/chat/completions");
    if chat_by_path || path.ends_with("/completions") {
        url.set_path(&path);
        let chat = chat.unwrap_or(chat_by_path);
        return Ok((url, endpoint(chat)));
    }
    for other in [
        "/responses",
        "/embeddings",
        "/rerank",
        "/reranks",
        "/messages",
    ] {
        if path.ends_with(other) {
            return Err(hinted(
                format!(
                    "`--url {shown}` ends in `{other}`, which is {} `--api {}`",
                    match other {
                        "/messages" => "not an endpoint of",
                        _ => "not built yet for",
                    },
                    server.api
                ),
                "give a URL that ends in /chat/completions or /completions",
            ));
        }
    }
    let chat = chat.unwrap_or(true);
    let suffix = if chat {
        "chat/completions"
    } else {
        "completions"
    };
    let completed = if path.is_empty() && api == Some(Api::Zhipu) {
        format!("/api/paas/v4/{suffix}")
    } else if path.is_empty() {
        format!("/v1/{suffix}")
    } else {
        format!("{path}/{suffix}")
    };
    url.set_path(&completed);
    notes.push(format!(
        "the URL was completed to {}",
        secrets::shown_url(&url)
    ));
    Ok((url, endpoint(chat)))
}

/// A URL as it was typed; `shown` is what can be shown of it.
fn parsed(text: &str, shown: &str) -> anyhow::Result<Url> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&with_scheme).map_err(|error| {
        let said = format!("`--url {shown}` is not a URL: {error}");
        let place = with_scheme.split("://").nth(1).unwrap_or_default();
        let host = place.split(['/', '?', '#']).next().unwrap_or_default();
        if host.matches(':').count() > 1 && !host.contains(['[', '@']) {
            hinted(said, "write an IPv6 address in brackets: http://[::1]:8000")
        } else if text.contains('@') {
            let hint = "in a user name or password write `/` as %2F, `?` as %3F and `#` as %23";
            hinted(said, hint)
        } else {
            anyhow::Error::msg(said)
        }
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        anyhow::bail!("`--url {shown}` is not an http:// or https:// URL");
    }
    Ok(url)
}

/// The shape of bodies where the URL is not completed as OpenAI's: a declared
/// API has a path of its own, and what a plugin speaks goes where it is told.
fn own_url(
    declaration: Option<&Declaration>,
    api: Option<Api>,
    url: &mut Url,
    notes: &mut Vec<String>,
) -> Option<Endpoint> {
    let has_path = !matches!(url.path(), "" | "/");
    if let Some(declaration) = declaration {
        if !has_path && let Some(path) = &declaration.path {
            url.set_path(path);
            notes.push(format!(
                "the URL was completed to {}",
                secrets::shown_url(url)
            ));
        }
        return Some(endpoint(declaration.is_chat()));
    }
    let path = url.path();
    let plain = path.ends_with("/completions") && !path.ends_with("/chat/completions");
    (api.is_none() && has_path).then(|| endpoint(!plain))
}

/// Images go to another path of DashScope's own protocol than texts: that one
/// is taken where the person has left it open.
pub(super) fn for_images(
    server: &ServerArgs,
    prompts: &PromptArgs,
    url: &mut Url,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let images = prompts.prompt.is_none()
        && [Dataset::RandomVl, Dataset::Flickr8k, Dataset::KontextBench]
            .iter()
            .any(|set| prompts.dataset.named() == Some(*set));
    let is_text = url.path() == dashscope::TEXT_PATH;
    if server.api.named() != Some(Api::Dashscope) || !images || !is_text {
        return Ok(());
    }
    let typed = server.url.as_ref().or(server.positional_url.as_ref());
    if typed.is_some_and(|typed| typed.contains(dashscope::TEXT_PATH)) {
        return Err(hinted(
            format!("{} does not accept images", secrets::shown_url(url)),
            format!("give a URL with the path {}", dashscope::MULTIMODAL_PATH),
        ));
    }
    url.set_path(dashscope::MULTIMODAL_PATH);
    notes.push(format!("images go to {}", secrets::shown_url(url)));
    Ok(())
}

/// A path of DashScope's own protocol, or none at all; the others are those of
/// its OpenAI-compatible one.
pub(super) fn is_native(path: &str) -> bool {
    path.ends_with("/generation") || matches!(path, "" | "/api" | "/api/v1")
}

/// The protocol that is spoken with a URL.
pub(super) fn api_of(
    api: &ApiChoice,
    declaration: Option<&Declaration>,
    url: &Url,
    bodies: &BodyRules,
) -> Arc<dyn protocol::Api> {
    if let Some(declaration) = declaration {
        return Arc::new(Declared::new(declaration.clone()));
    }
    let path = url.path();
    let Some(named) = api.named() else {
        // until its plugin has said more
        return Arc::new(Opaque::untold(api.to_string()));
    };
    match named {
        Api::Dashscope if is_native(path) => {
            // models that can only repeat the text so far are asked to
            let said = [Some(&bodies.extra), bodies.template.as_ref()]
                .into_iter()
                .flatten()
                .find_map(|fields| {
                    let nested = fields.get("parameters");
                    let name = "incremental_output";
                    fields.get(name).or_else(|| nested?.get(name))
                });
            Arc::new(Dashscope {
                incremental: said.and_then(Value::as_bool).unwrap_or(true),
                form: dashscope::Form::of_path(path),
            })
        }
        Api::Zhipu => Arc::new(Zhipu),
        Api::Openai | Api::Dashscope | Api::LocalSim | Api::Local | Api::LocalVllm => {
            Arc::new(OpenAi)
        }
    }
}

/// The URL and the shape of bodies where prompts must be plain: ids, and sets
/// that measure the speed at a length, go to `/completions`.
pub(super) fn for_plain_prompts(
    server: &ServerArgs,
    prompts: &PromptArgs,
    mut url: Url,
    shape: Endpoint,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Url, Endpoint)> {
    let speed = prompts.prompt.is_none()
        && matches!(
            prompts.dataset.named(),
            Some(Dataset::SpeedBenchmark | Dataset::SpeedBenchmarkLong)
        );
    if !prompts.tokenize_prompt && !speed {
        return Ok((url, shape));
    }
    let why = if speed {
        "`--dataset speed_benchmark` sends plain prompts"
    } else {
        "`--tokenize-prompt` sends token ids"
    };
    if matches!(server.api.named(), Some(Api::Dashscope | Api::Zhipu)) {
        return Err(hinted(
            format!("{why}, which `--api {}` does not accept", server.api),
            "use `--api openai` with a URL that ends in /v1/completions",
        ));
    }
    let base = url.path().strip_suffix("/chat/completions");
    if let Some(base) = base.filter(|_| server.api.named().is_some()) {
        let path = format!("{base}/completions");
        url.set_path(&path);
        notes.push(format!(
            "{why}: requests go to {}",
            secrets::shown_url(&url)
        ));
    }
    Ok((url, Endpoint::Completions))
}

fn endpoint(chat: bool) -> Endpoint {
    if chat {
        Endpoint::Chat
    } else {
        Endpoint::Completions
    }
}
