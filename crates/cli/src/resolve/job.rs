//! Owns the job: everything that a command will do, as the flags and the environment say.
//!
//! It must not know flags, nor how a run is carried out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evalscope_core::protocol::{Api, BodyRules};
use evalscope_core::transport::{ProxyEnv, Timeouts, TlsTrust};
use evalscope_hub::Source;
use evalscope_model::mix::UrlStrategy;
use evalscope_model::plan::RunPlan;
use evalscope_model::record::RecordBodies;
use evalscope_report::Lang;
use evalscope_report::console::Confidence;
use evalscope_report::files::Page;
use serde_json::Value;
use url::Url;

use super::objective::Objectives;
use super::search::Search;
use crate::catalog::apis::SigningKey;
use crate::flags::choices::ApiChoice;
use crate::flags::shard::StartAt;
use crate::observers::{ProgressLines, TrackerPlan};
use crate::secrets;
use crate::served::ServePlan;
use crate::sources::PromptPlan;

/// Everything that a command will do. It does not change: what is learned later makes a new one.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent setting"
)]
pub(crate) struct Job {
    pub(crate) plan: RunPlan,
    pub(crate) api: ApiChoice,
    /// The models, at least one.
    pub(crate) models: Vec<String>,
    /// All of them as one text.
    pub(crate) model: String,
    /// Where requests go, at least one.
    pub(crate) urls: Vec<Url>,
    pub(crate) url_strategy: UrlStrategy,
    pub(crate) connection: Connection,
    /// Values that must not be shown, wherever they turn up.
    pub(crate) secrets: Vec<String>,
    pub(crate) test_connection: bool,
    /// How long the server may take to come up, where somebody has said so.
    pub(crate) wait_for_server: Option<Duration>,
    pub(crate) bodies: BodyRules,
    /// Streams are asked for.
    pub(crate) stream: bool,
    /// Output tokens that a request asks for at most, on average.
    pub(crate) most_tokens: f64,
    pub(crate) prompts: PromptPlan,
    /// What is served here for the length of the command.
    pub(crate) served: Option<ServePlan>,
    /// The hub that files are fetched from; `None`: nothing is fetched.
    pub(crate) hub: Option<Source>,
    /// Side of the square of an image that is estimated as one token, pixels.
    pub(crate) image_patch: u32,
    pub(crate) threads: NonZeroUsize,
    pub(crate) record_bodies: RecordBodies,
    pub(crate) max_error_rate: Option<f64>,
    pub(crate) objectives: Objectives,
    /// The search for the largest load, where one is asked for.
    pub(crate) search: Option<Search>,
    /// How long a run goes on without a server.
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) log_every: u64,
    pub(crate) debug: bool,
    pub(crate) results: ResultsPlace,
    /// When the load begins.
    pub(crate) start_at: StartAt,
    /// What the parts of a run share.
    pub(crate) run_id: Option<String>,
    /// What follows the run elsewhere.
    pub(crate) tracker: Option<TrackerPlan>,
    /// A file is to tell how far the command is.
    pub(crate) progress_file: bool,
    /// Events for other programs.
    pub(crate) progress_lines: ProgressLines,
    /// Where metrics are served, and for how long after the last run.
    pub(crate) metrics: Option<MetricsPlace>,
    /// Every run begins at the first prompt.
    pub(crate) repeat_prompts: bool,
    /// The interpreter of plugins in Python, where somebody has chosen one.
    pub(crate) python: Option<String>,
    /// What was changed or filled in, for the person to know.
    pub(crate) notes: Vec<String>,
    /// The command as it was typed; secrets are masked.
    pub(crate) command_line: String,
    /// What the user wants to remember of the command.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Every setting, for the record; secrets are masked.
    pub(crate) settings: Value,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsPlace {
    pub(crate) address: SocketAddr,
    /// How long they are served after the last run.
    pub(crate) linger: Duration,
}

/// What every connection and request has, whatever the URL.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) headers: Vec<(String, String)>,
    /// The key that signs, where the API wants that.
    pub(crate) signing_key: Option<SigningKey>,
    pub(crate) proxies: ProxyEnv,
    pub(crate) trust: TlsTrust,
    pub(crate) timeouts: Timeouts,
}

/// Where results go, and how they are shown.
#[derive(Debug)]
pub(crate) struct ResultsPlace {
    pub(crate) outputs_dir: PathBuf,
    /// The folder's name.
    pub(crate) name: String,
    /// A folder named by date and time is between the two.
    pub(crate) timestamp: bool,
    /// A file that wants to hold the path of the results.
    pub(crate) path_file: Option<PathBuf>,
    /// Tables say how far their figures can be trusted.
    pub(crate) confidence: Confidence,
    /// The HTML report is written.
    pub(crate) page: Page,
    /// The language of the HTML report.
    pub(crate) lang: Lang,
}

impl Job {
    /// The job with its server at this URL.
    pub(crate) fn with_url(self, url: Url) -> Self {
        let urls = vec![url];
        let settings = self.settings_at(&urls);
        Self {
            urls,
            settings,
            ..self
        }
    }

    /// The job with this protocol.
    pub(crate) fn with_api(self, api: Arc<dyn Api>) -> Self {
        let bodies = BodyRules { api, ..self.bodies };
        Self { bodies, ..self }
    }

    /// The job with more notes for the person.
    pub(crate) fn with_notes(self, more: impl IntoIterator<Item = String>) -> Self {
        let notes = self.notes.into_iter().chain(more).collect();
        Self { notes, ..self }
    }

    /// The first URL.
    pub(crate) fn url(&self) -> &Url {
        &self.urls[0]
    }

    /// The settings if requests go to these URLs: to a server that was started for the command, or
    /// where the test request was redirected.
    pub(crate) fn settings_at(&self, urls: &[Url]) -> Value {
        let mut settings = self.settings.clone();
        settings["url"] = secrets::shown_urls(urls).into();
        settings
    }
}
