//! Owns several models and several URLs: what goes together, and what does not.
//!
//! It must not know how one of them is chosen for a request.

use evalscope_core::protocol::declared::Declaration;
use evalscope_model::mix::{MOST_URLS, ModelMix};
use url::Url;

use super::endpoint::{Destination, destination_of, ending_of_path};
use super::names::base_name;
use crate::catalog::apis::Serves;
use crate::failure::hinted;
use crate::flags::choices::ApiChoice;
use crate::flags::prompts::PromptArgs;
use crate::flags::server::ServerArgs;
use crate::flags::values::looks_like_url;
use crate::secrets;

/// The names in the folder of the results, at most, in bytes.
const MOST_NAME_BYTES: usize = 80;

/// The models as one text, for what has room for one.
pub(super) fn joined(models: &[String]) -> String {
    models.join(",")
}

/// A name of several models that files can have.
pub(super) fn short_name(models: &[String]) -> String {
    let names: Vec<String> = models.iter().map(|model| base_name(model)).collect();
    let all = names.join("+");
    match names.as_slice() {
        [first, rest @ ..] if all.len() > MOST_NAME_BYTES => {
            format!("{first}+{}_more", rest.len())
        }
        _ => all,
    }
}

/// The mix of several models; `None` for one.
pub(super) fn mix_of(
    server: &ServerArgs,
    models: &[String],
    tokenizer: Option<&str>,
    seed: u64,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<ModelMix>> {
    let weights = server.model_weights.as_deref();
    if models.len() < 2 {
        return match weights {
            None => Ok(None),
            Some(_) => Err(hinted(
                "`--model-weights` needs several models",
                "name them, for example `--model base adapter-1 adapter-2`",
            )),
        };
    }
    match server.api.serves() {
        Serves::Transformers | Serves::Vllm => {
            return Err(hinted(
                format!(
                    "`--api {}` serves one model, and `--model` names {}",
                    server.api,
                    models.len()
                ),
                "start the server yourself, and give its URL",
            ));
        }
        _ if matches!(server.api, ApiChoice::Plugin(_)) => {
            return Err(hinted(
                "an API plugin makes its requests itself, so it chooses the model: `--model` can name only one",
                "give one model, and let the plugin choose others",
            ));
        }
        _ => {}
    }
    if let Some(place) = tokenizer {
        notes.push(format!(
            "`--tokenizer-path {place}` counts the tokens of all {} models",
            models.len()
        ));
    }
    let mix = ModelMix::new(models.to_vec(), weights, seed).map_err(|error| {
        hinted(
            error.to_string(),
            "give each model once, and one weight for each, for example `--model a b c --model-weights 3 1 1`",
        )
    })?;
    Ok(Some(mix))
}

/// Where requests go, as the flags say: the first URL with what holds for all, and the URLs of all.
pub(super) fn destinations_of(
    server: &ServerArgs,
    prompts: &PromptArgs,
    declaration: Option<&Declaration>,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Destination, Vec<Url>)> {
    let typed = server.typed_urls();
    if typed.len() < 2 {
        let one = destination_of(server, prompts, declaration, notes)?;
        let url = one.url.clone();
        return Ok((one, vec![url]));
    }
    check_several(server, typed.len())?;
    let mut all: Vec<Destination> = Vec::new();
    for url in typed {
        if !looks_like_url(url) {
            return Err(hinted(
                format!("`--url {url}` is not a URL"),
                "a URL begins with http:// or https://, or has a port: localhost:8000",
            ));
        }
        let own = ServerArgs {
            url: vec![url.to_owned()],
            positional_url: None,
            ..server.clone()
        };
        all.push(destination_of(&own, prompts, declaration, notes)?);
    }
    let ending = |one: &Destination| ending_of_path(&server.api, one.url.path()).to_owned();
    let mut all = all.into_iter();
    let first = all.next().expect("there are several");
    let mut urls = vec![first.url.clone()];
    for other in all {
        let same = ending(&other) == ending(&first)
            && (other.endpoint, other.templated) == (first.endpoint, first.templated);
        if !same {
            return Err(hinted(
                format!(
                    "{} and {} are not the same endpoint: requests are made before their URL is chosen",
                    secrets::shown_url(&first.url),
                    secrets::shown_url(&other.url)
                ),
                "give URLs whose paths end alike",
            ));
        }
        urls.push(without_user(&first.url, other.url)?);
    }
    for (at, url) in urls.iter().enumerate() {
        if urls[..at].contains(url) {
            notes.push(format!(
                "`--url` has {} more than once: it gets a share for each time",
                secrets::shown_url(url)
            ));
        }
    }
    Ok((first, urls))
}

fn check_several(server: &ServerArgs, urls: usize) -> anyhow::Result<()> {
    if urls > MOST_URLS {
        anyhow::bail!("`--url` has {urls} values, and {MOST_URLS} are the most");
    }
    if server.api.serves() == Serves::Elsewhere {
        return Ok(());
    }
    Err(hinted(
        format!(
            "`--api {}` starts its own server, so `--url` cannot name several",
            server.api
        ),
        "start the servers yourself, and use `--api openai`",
    ))
}

/// Another URL without its user, who must be that of the first: all requests have the same headers.
fn without_user(first: &Url, mut url: Url) -> anyhow::Result<Url> {
    if (url.username(), url.password()) != (first.username(), first.password()) {
        return Err(hinted(
            format!(
                "{} and {} have different users: all requests have the same headers",
                secrets::shown_url(first),
                secrets::shown_url(&url)
            ),
            "give all URLs the same user and password",
        ));
    }
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_models_make_one_name() {
        let names = |n: usize| -> Vec<String> { (0..n).map(|at| format!("org/m{at}")).collect() };
        assert_eq!(short_name(&names(1)), "m0");
        assert_eq!(short_name(&names(3)), "m0+m1+m2");
        assert_eq!(short_name(&names(200)), "m0+199_more");
    }
}
