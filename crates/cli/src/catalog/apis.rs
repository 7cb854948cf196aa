//! Owns the built-in APIs, a row each: how it is called, where its servers are, which paths they
//! have, how it is spoken. What [`OPENAI`] has need not be repeated.
//!
//! It must not know flags.

use std::fmt;
use std::sync::Arc;

use evalscope_core::credential::Credential;
use evalscope_core::protocol::dashscope::{self, Dashscope};
use evalscope_core::protocol::zhipu::{self, Zhipu, ZhipuKey};
use evalscope_core::protocol::{
    Anthropic, Api, BodyRules, Embedding, Endpoint, OpenAi, Rerank, Responses,
};
use serde_json::Value;

use super::row::{Catalog, EVALSCOPE, Row};

/// The API when none is named.
pub(crate) const DEFAULT: &str = "openai";

/// The server when no URL is given: the reference tool's.
pub(crate) const DEFAULT_HOST: &str = "http://127.0.0.1:8877";

/// A built-in API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiRow {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) help: &'static str,
    /// Where its server comes from.
    pub(crate) serves: Serves,
    /// The URL when none is given.
    pub(crate) default_url: DefaultUrl,
    /// The path before an ending, for a URL without a path.
    pub(crate) base: &'static str,
    /// The endings of its URLs, and the bodies that go there.
    pub(crate) endings: &'static [(&'static str, Endpoint)],
    /// Paths of a protocol of its own, beside those in OpenAI's form.
    pub(crate) own_paths: Option<OwnPaths>,
    /// The bodies that it accepts.
    pub(crate) tasks: &'static [Endpoint],
    /// Responses are streamed unless a flag says otherwise.
    pub(crate) streams: bool,
    /// The server can be asked for the name of its model.
    pub(crate) lists_models: bool,
    /// How a key signs, if it is not sent itself.
    pub(crate) signing: Option<Signing>,
    /// The header that a key is sent in, if it is not `Authorization`.
    pub(crate) key_header: Option<&'static str>,
    /// The protocol for a URL with this path.
    pub(crate) make: fn(path: &str, bodies: &BodyRules) -> Arc<dyn Api>,
}

impl Row for ApiRow {
    fn name(&self) -> &'static str {
        self.name
    }

    fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }

    fn help(&self) -> &'static str {
        self.help
    }
}

/// Where a server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// It runs already.
    Elsewhere,
    /// A simulated one is started.
    Simulator,
    /// `transformers serve` is started.
    Transformers,
    /// `vllm serve` is started.
    Vllm,
}

impl Serves {
    /// Whether a model is served by a program on this machine.
    pub(crate) fn is_program(self) -> bool {
        matches!(self, Self::Transformers | Self::Vllm)
    }
}

/// The URL when none is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultUrl {
    /// For chat messages.
    pub(crate) chat: &'static str,
    /// For plain prompts.
    pub(crate) plain: &'static str,
}

/// Paths of a protocol of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnPaths {
    /// Whether a path is one of them, or is left open.
    pub(crate) has: fn(path: &str) -> bool,
    /// The ending of a whole path.
    pub(crate) ending: &'static str,
    /// The path for texts, which completes a URL.
    pub(crate) texts: &'static str,
    /// The path for images.
    pub(crate) images: &'static str,
}

/// How keys sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signing {
    /// What signs with a key; `None` if the key is sent as it is.
    pub(crate) credential: fn(key: &str) -> Option<Box<dyn Credential>>,
    /// The start of each signed token, which must not be shown.
    pub(crate) token_start: fn() -> String,
}

/// A key that signs.
#[derive(Clone)]
pub(crate) struct SigningKey {
    key: String,
    signing: Signing,
}

impl SigningKey {
    pub(crate) fn new(signing: Signing, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            signing,
        }
    }

    /// What signs with it; `None` if the key is sent as it is.
    pub(crate) fn credential(&self) -> Option<Box<dyn Credential>> {
        (self.signing.credential)(&self.key)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// What most APIs are like.
pub(crate) const OPENAI: ApiRow = ApiRow {
    name: DEFAULT,
    aliases: &[],
    help: "OpenAI chat completions or completions, depending on the URL",
    serves: Serves::Elsewhere,
    default_url: DefaultUrl {
        chat: "http://127.0.0.1:8877/v1/chat/completions",
        plain: "http://127.0.0.1:8877/v1/completions",
    },
    base: "/v1",
    endings: &[
        ("/chat/completions", Endpoint::Chat),
        ("/completions", Endpoint::Completions),
    ],
    own_paths: None,
    tasks: &[Endpoint::Chat, Endpoint::Completions],
    streams: true,
    lists_models: false,
    signing: None,
    key_header: None,
    make: |_, _| Arc::new(OpenAi),
};

/// The built-in APIs.
pub(crate) static APIS: Catalog<ApiRow> = Catalog {
    flag: "--api",
    kind: "API",
    rows: &[
        ApiRow {
            lists_models: true,
            ..OPENAI
        },
        ApiRow {
            name: "openai_responses",
            aliases: &["openai_response", "responses"],
            help: "OpenAI's Responses API (also for a URL that ends in /responses)",
            default_url: DefaultUrl {
                chat: "http://127.0.0.1:8877/v1/responses",
                plain: "http://127.0.0.1:8877/v1/responses",
            },
            endings: &[("/responses", Endpoint::Chat)],
            tasks: &[Endpoint::Chat],
            lists_models: true,
            make: |_, _| Arc::new(Responses),
            ..OPENAI
        },
        ApiRow {
            name: "anthropic",
            help: "Anthropic's Messages API (also for a URL that ends in /messages)",
            default_url: DefaultUrl {
                chat: "http://127.0.0.1:8877/v1/messages",
                plain: "http://127.0.0.1:8877/v1/messages",
            },
            endings: &[("/messages", Endpoint::Chat)],
            tasks: &[Endpoint::Chat],
            lists_models: true,
            key_header: Some("x-api-key"),
            make: |_, _| Arc::new(Anthropic),
            ..OPENAI
        },
        ApiRow {
            name: "embedding",
            aliases: &["openai_embedding"],
            help: "Embeddings: OpenAI's API, also at vLLM's /pooling, or with a URL that ends in /embed that of Text \
                   Embeddings Inference",
            default_url: DefaultUrl {
                chat: "http://127.0.0.1:8877/v1/embeddings",
                plain: "http://127.0.0.1:8877/v1/embeddings",
            },
            endings: &[
                ("/embeddings", Endpoint::Completions),
                ("/embed", Endpoint::Completions),
                ("/pooling", Endpoint::Completions),
            ],
            tasks: &[Endpoint::Completions],
            streams: false,
            lists_models: true,
            make: |path, _| Arc::new(Embedding::of_path(path)),
            ..OPENAI
        },
        ApiRow {
            name: "rerank",
            aliases: &["openai_rerank"],
            help: "Reranking: the API of vLLM, Jina and Cohere, of Text Embeddings Inference (/rerank), or of \
                   NVIDIA NIM (/v1/ranking)",
            default_url: DefaultUrl {
                chat: "http://127.0.0.1:8877/v1/rerank",
                plain: "http://127.0.0.1:8877/v1/rerank",
            },
            endings: &[
                ("/rerank", Endpoint::Completions),
                ("/reranks", Endpoint::Completions),
                ("/ranking", Endpoint::Completions),
            ],
            tasks: &[Endpoint::Completions],
            streams: false,
            lists_models: true,
            make: |path, _| Arc::new(Rerank::of_path(path)),
            ..OPENAI
        },
        ApiRow {
            name: "dashscope",
            help: "Alibaba Cloud's DashScope: its native or its OpenAI-compatible protocol, depending on the URL",
            default_url: DefaultUrl {
                chat: dashscope::DEFAULT_URL,
                plain: dashscope::DEFAULT_URL,
            },
            own_paths: Some(OwnPaths {
                has: is_native,
                ending: "/generation",
                texts: dashscope::TEXT_PATH,
                images: dashscope::MULTIMODAL_PATH,
            }),
            tasks: &[Endpoint::Chat],
            make: dashscope,
            ..OPENAI
        },
        ApiRow {
            name: "zhipu",
            help: "Zhipu's chat API, v4. A key of the form id.secret signs a short-lived token",
            default_url: DefaultUrl {
                chat: zhipu::DEFAULT_URL,
                plain: zhipu::DEFAULT_URL,
            },
            base: "/api/paas/v4",
            tasks: &[Endpoint::Chat],
            signing: Some(Signing {
                credential: |key| Some(Box::new(ZhipuKey::parse(key)?)),
                token_start: ZhipuKey::token_start,
            }),
            make: |_, _| Arc::new(Zhipu),
            ..OPENAI
        },
        ApiRow {
            name: "local_sim",
            help: "OpenAI's API, on a simulated server that this command starts",
            serves: Serves::Simulator,
            ..OPENAI
        },
        ApiRow {
            name: "local",
            help: "OpenAI's API, on `transformers serve`, which this command starts with --model",
            serves: Serves::Transformers,
            ..OPENAI
        },
        ApiRow {
            name: "local_vllm",
            help: "OpenAI's API, on `vllm serve`, which this command starts with --model",
            serves: Serves::Vllm,
            ..OPENAI
        },
    ],
    later: &[
        ("systemone", "decision APIs", EVALSCOPE),
        ("autotrust", "decision APIs", EVALSCOPE),
    ],
    hint: "for an API of your own give a file: FILE.toml declares one, FILE.py or exec:COMMAND is a \
           plugin",
};

/// The API whose URLs end like this path, if that is not the default's.
pub(crate) fn of_path(path: &str) -> Option<(&'static ApiRow, &'static str)> {
    let path = path.trim_end_matches('/');
    let rows = APIS.rows.iter().filter(|row| row.endings != OPENAI.endings);
    let mut endings =
        rows.flat_map(|row| row.endings.iter().map(move |(ending, _)| (row, *ending)));
    endings.find(|(_, ending)| path.ends_with(ending))
}

/// A path of DashScope's own protocol, or none at all; the others are those of
/// its OpenAI-compatible one.
fn is_native(path: &str) -> bool {
    path.ends_with("/generation") || matches!(path, "" | "/api" | "/api/v1")
}

fn dashscope(path: &str, bodies: &BodyRules) -> Arc<dyn Api> {
    if !is_native(path) {
        return Arc::new(OpenAi);
    }
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
