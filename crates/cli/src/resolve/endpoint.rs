//! Owns where requests go: the URL, completed if needed, the kind of its request bodies, and the
//! protocol.
//!
//! It must not know which built-in API has which paths: the catalog does.

use std::sync::Arc;

use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::{self, BodyRules, Declared, Endpoint, Opaque};
use url::Url;

use crate::catalog::apis::{self, ApiRow, DEFAULT_HOST, OPENAI, Serves};
use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::flags::choices::ApiChoice;
use crate::flags::prompts::PromptArgs;
use crate::flags::server::ServerArgs;
use crate::{secrets, served};

/// The row that says where requests go. What a plugin or a declaration leaves open is as with
/// OpenAI's API.
fn row_of(api: &ApiChoice) -> &ApiRow {
    api.named().unwrap_or(&OPENAI)
}

/// Where requests go.
pub(super) struct Destination {
    pub(super) url: Url,
    /// The shape of bodies.
    pub(super) endpoint: Endpoint,
    /// The server puts prompts into a chat template.
    pub(super) templated: bool,
}

/// Where requests go, as the flags say.
pub(super) fn destination_of(
    server: &ServerArgs,
    prompts: &PromptArgs,
    declaration: Option<&Declaration>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Destination> {
    let (mut url, endpoint) = url_of(server, declaration, prompts.chat(), notes)?;
    for_images(server, prompts, &mut url, notes)?;
    // ids are templated as the endpoint would have done it
    let templated = endpoint == Endpoint::Chat || is_own_path(&server.api, url.path());
    let (url, endpoint) = for_plain_prompts(server, prompts, url, endpoint, notes)?;
    Ok(Destination {
        url,
        endpoint,
        templated,
    })
}

/// The endpoint's URL, completed where needed, and the shape of its bodies.
pub(super) fn url_of(
    server: &ServerArgs,
    declaration: Option<&Declaration>,
    chat: Option<bool>,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Url, Endpoint)> {
    let row = row_of(&server.api);
    let typed = server.typed_url();
    if row.serves != Serves::Elsewhere
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
    let default = match chat {
        Some(false) => row.default_url.plain,
        _ => row.default_url.chat,
    };
    let text = match (row.serves, typed) {
        (Serves::Transformers | Serves::Vllm, _) => &here,
        (Serves::Elsewhere, Some(typed)) => typed,
        (Serves::Elsewhere, None) if declaration.is_some() => DEFAULT_HOST,
        (Serves::Elsewhere, None) | (Serves::Simulator, _) => default,
    };
    let text = text.trim();
    let shown = secrets::shown_typed_url(text);
    let mut url = parsed(text, &shown)?;
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if let Some(shape) = own_url(server, declaration, &mut url, notes) {
        return Ok((url, chat.map_or(shape, endpoint)));
    }
    if let Some(own) = row.own_paths.filter(|own| (own.has)(&path)) {
        if path.ends_with(own.ending) {
            url.set_path(&path);
        } else {
            complete(&mut url, own.texts, notes);
        }
        return Ok((url, endpoint(chat.unwrap_or(true))));
    }
    if let Some((_, shape)) = row.endings.iter().find(|(end, _)| path.ends_with(end)) {
        url.set_path(&path);
        return Ok((url, chat.map_or(*shape, endpoint)));
    }
    let endings: Vec<&str> = row.endings.iter().map(|(ending, _)| *ending).collect();
    check_ending(&path, &shown, &server.api, &endings)?;
    let shape = endpoint(chat.unwrap_or(true));
    let ending = ending_of(row, shape).or(endings.first().copied());
    let base = if path.is_empty() { row.base } else { &path };
    complete(
        &mut url,
        &format!("{base}{}", ending.unwrap_or_default()),
        notes,
    );
    Ok((url, shape))
}

/// Refuse a URL that is that of another API.
fn check_ending(path: &str, shown: &str, api: &ApiChoice, endings: &[&str]) -> anyhow::Result<()> {
    if let Some((row, ending)) = apis::of_path(path) {
        return Err(hinted(
            format!(
                "`--url {shown}` ends in `{ending}`, which is not an endpoint of `--api {api}`"
            ),
            format!(
                "use `--api {}`, or give a URL that ends in {}",
                row.name,
                endings.join(" or ")
            ),
        ));
    }
    Ok(())
}

/// The API that the URL is of, where none was named.
pub(super) fn with_api_of_url(mut args: PerfArgs, notes: &mut Vec<String>) -> PerfArgs {
    let is_named = args.typed.iter().any(|flag| flag == "api");
    let url = args.server.typed_url().map(str::to_owned);
    let Some(url) = url.filter(|_| !is_named) else {
        return args;
    };
    let path = url.trim().split(['?', '#']).next().unwrap_or_default();
    if let Some((row, ending)) = apis::of_path(path) {
        notes.push(format!(
            "the URL ends in {ending}: `--api {}` is used",
            row.name
        ));
        args.server.api = ApiChoice::Named(row);
    }
    args
}

/// The part of a path that says which endpoint of an API it is: two URLs with the same one take the
/// same bodies.
pub(super) fn ending_of_path<'a>(api: &ApiChoice, path: &'a str) -> &'a str {
    let Some(row) = api.named() else { return path };
    let own = row.own_paths.filter(|own| (own.has)(path));
    let endings = row.endings.iter().map(|(ending, _)| *ending);
    let ending = match own {
        Some(own) => Some(own.ending).filter(|_| own.texts == own.images),
        None => endings.into_iter().find(|ending| path.ends_with(ending)),
    };
    ending.map_or(path, |ending| &path[path.len() - ending.len()..])
}

/// The ending of URLs that take bodies of this shape.
fn ending_of(row: &ApiRow, shape: Endpoint) -> Option<&'static str> {
    let fitting = row.endings.iter().find(|(_, of)| *of == shape);
    fitting.map(|(ending, _)| *ending)
}

/// Give a URL the path that it lacks.
fn complete(url: &mut Url, path: &str, notes: &mut Vec<String>) {
    url.set_path(path);
    notes.push(format!(
        "the URL was completed to {}",
        secrets::shown_url(url)
    ));
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
    server: &ServerArgs,
    declaration: Option<&Declaration>,
    url: &mut Url,
    notes: &mut Vec<String>,
) -> Option<Endpoint> {
    let has_path = !matches!(url.path(), "" | "/");
    if let Some(declaration) = declaration {
        if !has_path && let Some(path) = &declaration.path {
            complete(url, path, notes);
        }
        return Some(endpoint(declaration.is_chat()));
    }
    let path = url.path();
    let plain = path.ends_with("/completions") && !path.ends_with("/chat/completions");
    (server.api.named().is_none() && has_path).then(|| endpoint(!plain))
}

/// Images may go to another path of an API's own protocol than texts: that one
/// is taken where the person has left it open.
fn for_images(
    server: &ServerArgs,
    prompts: &PromptArgs,
    url: &mut Url,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let images = prompts
        .built_in()
        .is_some_and(|set| set.origin.has_images());
    let own = row_of(&server.api).own_paths;
    let Some(own) = own.filter(|own| images && url.path() == own.texts) else {
        return Ok(());
    };
    let typed = server.typed_url();
    if typed.is_some_and(|typed| typed.contains(own.texts)) {
        return Err(hinted(
            format!("{} does not accept images", secrets::shown_url(url)),
            format!("give a URL with the path {}", own.images),
        ));
    }
    url.set_path(own.images);
    notes.push(format!("images go to {}", secrets::shown_url(url)));
    Ok(())
}

/// Whether a path belongs to a protocol of the API's own, which makes messages of plain prompts.
fn is_own_path(api: &ApiChoice, path: &str) -> bool {
    row_of(api).own_paths.is_some_and(|own| (own.has)(path))
}

/// The protocol that is spoken with a URL.
pub(super) fn api_of(
    api: &ApiChoice,
    declaration: Option<&Declaration>,
    url: &Url,
    bodies: &BodyRules,
) -> Arc<dyn protocol::Api> {
    match (declaration, api.named()) {
        (Some(declaration), _) => Arc::new(Declared::new(declaration.clone())),
        (None, Some(row)) => (row.make)(url.path(), bodies),
        // until its plugin has said more
        (None, None) => Arc::new(Opaque::untold(api.to_string())),
    }
}

/// The URL and the shape of bodies where prompts must be plain: ids, and datasets
/// that are sent as they are, go to `/completions`.
fn for_plain_prompts(
    server: &ServerArgs,
    prompts: &PromptArgs,
    mut url: Url,
    shape: Endpoint,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Url, Endpoint)> {
    let plain = prompts.built_in().filter(|set| set.whole.is_some());
    let why = match plain {
        Some(set) => format!("`--dataset {}` sends plain prompts", set.name),
        None if prompts.tokenize_prompt => "`--tokenize-prompt` sends token ids".to_owned(),
        None => return Ok((url, shape)),
    };
    let row = row_of(&server.api);
    if !row.tasks.contains(&Endpoint::Completions) {
        return Err(hinted(
            format!("{why}, which `--api {}` does not accept", server.api),
            "use `--api openai` with a URL that ends in /v1/completions",
        ));
    }
    let [chat, plain] = [Endpoint::Chat, Endpoint::Completions].map(|of| ending_of(row, of));
    if server.api.named().is_some()
        && let (Some(chat), Some(plain)) = (chat, plain)
        && let Some(base) = url.path().strip_suffix(chat)
    {
        let path = format!("{base}{plain}");
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
