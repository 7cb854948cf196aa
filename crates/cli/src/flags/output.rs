//! Owns the flags about output: folders, names, what is kept, who is informed.
//!
//! It must not know how results look.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use evalscope_report::Lang;
use evalscope_report::files::Page;

use super::values::{fact, listen_address, seconds_or_zero, whole};

/// An experiment tracker.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum Visualizer {
    /// Weights & Biases.
    Wandb,
    /// `SwanLab`.
    Swanlab,
    /// `ClearML`.
    Clearml,
    /// No tracker.
    None,
}

/// The files that a tracker gets at the end.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrackerFiles {
    /// None: metrics only.
    None,
    /// The result files and the log.
    Reports,
    /// Also the databases, with every prompt and response, and the logs of --debug and of a server.
    Db,
}

/// Which bodies the database keeps.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// All requests and responses.
    All,
    /// Those of failed requests.
    Failed,
    /// None.
    None,
}

/// How progress is shown on stderr.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum ProgressForm {
    /// For people: a bar on a terminal, else a line every ten seconds.
    Auto,
    /// For programs: one JSON object a line, each second; messages too are lines of JSON.
    Json,
}

/// A language of the HTML report.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LangName {
    /// English.
    En,
    /// Chinese.
    Zh,
}

impl From<LangName> for Lang {
    fn from(name: LangName) -> Self {
        match name {
            LangName::En => Self::En,
            LangName::Zh => Self::Zh,
        }
    }
}

#[derive(Args, Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is typed or not"
)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Folder for all results [default: outputs]
    #[arg(
        long,
        value_name = "DIR",
        default_value = "outputs",
        hide_default_value = true
    )]
    pub(crate) outputs_dir: PathBuf,

    /// Report metrics to an experiment tracker; needs Python with the package `evalscope` and the
    /// tracker's library.
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) visualizer: Option<Visualizer>,

    /// Key for Weights & Biases; implies --visualizer wandb. Better in `WANDB_API_KEY`.
    #[arg(long, value_name = "KEY")]
    pub(crate) wandb_api_key: Option<String>,

    /// Key for `SwanLab`, or local for a board on this machine; implies --visualizer swanlab. Better
    /// in `SWANLAB_API_KEY`.
    #[arg(long, value_name = "KEY")]
    pub(crate) swanlab_api_key: Option<String>,

    /// Your own `SwanLab` server; also set by `SWANLAB_HOST`.
    #[arg(long, value_name = "URL")]
    pub(crate) swanlab_host: Option<String>,

    /// Files that --visualizer uploads.
    #[arg(long, value_enum, default_value = "reports")]
    pub(crate) tracker_files: TrackerFiles,

    /// Name of the results folder [default: the model]
    ///
    /// Also the name of the experiment in a tracker.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// A display name, shown next to the model in tables and files.
    #[arg(long, value_name = "TEXT")]
    pub(crate) alias: Option<String>,

    /// Facts to keep with the results, in `result.json`: --metadata gpu=H100 image=v0.9.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = fact)]
    pub(crate) metadata: Vec<(String, String)>,

    /// Write to `OUTPUTS_DIR/NAME`, without a timestamp folder. Runs that are there stay.
    #[arg(long)]
    pub(crate) no_timestamp: bool,

    /// Request and response bodies to keep in the database.
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) record_bodies: Bodies,

    /// Show 95 % intervals of percentiles, throughput and good requests within each run.
    #[arg(long)]
    pub(crate) confidence: bool,

    /// Report the hand-off from prefill to decode: the gap between the first two tokens of a response,
    /// how much longer it is than its other gaps, and those. For servers that disaggregate the two.
    #[arg(long)]
    pub(crate) enable_pd_metrics: bool,

    /// Do not write the HTML report, `perf_report.html`.
    #[arg(long)]
    pub(crate) no_html: bool,

    /// Language of the HTML report [default: that of the locale]
    ///
    /// Also set by `EVALSCOPE_LANG`.
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) lang: Option<LangName>,

    /// Log progress after every N requests; 0 for never.
    #[arg(long, value_name = "N", default_value = "100", value_parser = whole)]
    pub(crate) log_every_n_query: u64,

    /// How progress is shown on stderr.
    #[arg(long, value_enum, value_name = "FORM", default_value = "auto")]
    pub(crate) progress: ProgressForm,

    /// Serve metrics for Prometheus at this address while the command runs: 127.0.0.1:9464
    ///
    /// Without a host only this machine can connect; port 0 picks a free one. The paths are
    /// /metrics, /progress and /health.
    #[arg(long, value_name = "HOST:PORT", value_parser = listen_address)]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// Serve metrics for this much longer after the last run, for a last scrape.
    #[arg(long, value_name = "TIME", value_parser = seconds_or_zero)]
    pub(crate) metrics_linger: Option<f64>,

    /// Keep progress.json in the results folder up to date while the command runs.
    #[arg(long)]
    pub(crate) enable_progress_tracker: bool,

    /// Log every request and every event of its response.
    #[arg(long)]
    pub(crate) debug: bool,
}

impl OutputArgs {
    /// Whether the HTML report is written.
    pub(crate) fn page(&self) -> Page {
        if self.no_html {
            Page::LeftOut
        } else {
            Page::Written
        }
    }

    /// The language of the HTML report: that of the environment unless one is typed.
    pub(crate) fn lang(&self, environment: Lang) -> Lang {
        self.lang.map_or(environment, Lang::from)
    }
}
