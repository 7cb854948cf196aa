//! Owns the `compare` subcommand: which runs are compared, by which rules, and where the result goes.
//!
//! It must not know how figures are compared: the report crate does.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{ArgAction, Args};
use evalscope_report::compare::{
    self as comparing, Baseline, Comparison, ComparisonFile, Ending, Limits, Options, Order, Run,
};
use evalscope_report::console::{Confidence, Ink, Screen};
use evalscope_report::names::{Better, FigureKey, METRICS, Rate, Stat, metric_name};
use evalscope_report::rules::{Gate, Rule, Selector, read_file};

use crate::failure::{self, Unfinished, hinted};
use crate::flags::values::share;
use crate::{console, env};

/// Columns of tables in files.
const FILE_WIDTH: u16 = 120;

#[derive(Args, Debug)]
#[command(
    override_usage = "evalscope compare [OPTIONS] <BASE> <NEW>...\n       evalscope compare [OPTIONS] --baseline <FILE> <NEW>..."
)]
pub(crate) struct CompareArgs {
    /// The base, then the runs that are compared with it.
    ///
    /// Folders of a command or a run, databases, result.json, baselines, or results of vLLM's bench
    /// (--save-result). Several of one side with commas between them are repeats: a1,a2,a3 b1,b2,b3.
    #[arg(value_name = "BASE NEW", required_unless_present = "baseline")]
    runs: Vec<String>,

    /// A baseline or any other runs as the base; all others are new.
    #[arg(long, value_name = "FILE")]
    baseline: Option<String>,

    /// All new runs are repeats of one server, as with commas.
    #[arg(long)]
    repeats_as_one: bool,

    /// What must not hold: `ttft_p99>+5%` or `error_rate>1%` (exit code 3)
    ///
    /// Conditions with <, <=, > or >=, joined by " and ". A bound with a sign is a change against the
    /// base, in percent or in the unit of the figure, and has to be more than chance. A rule may be
    /// about some points only: `ttft_p99@parallel=8>+5%`.
    #[arg(long, value_name = "RULE", num_args = 1.., action = ArgAction::Append)]
    fail_if: Vec<Rule>,

    /// A TOML file with rules: tables `rule` with `fail_if`, `at`, `severity` and `why`.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// Only these points: parallel=8, rate=20, number=100, duration=30s or name=GLOB
    #[arg(long, value_name = "SELECTOR", action = ArgAction::Append)]
    at: Vec<Selector>,

    /// The metrics and rates that are shown [default: req/s, tok/s, error rate, ttft, tpot, latency]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    metric: Vec<Shown>,

    /// The statistics of metrics that are shown.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "mean,p50,p99"
    )]
    stat: Vec<Stat>,

    /// Put the worst change first.
    #[arg(long, value_name = "ORDER", value_enum)]
    sort: Option<Sort>,

    /// Write the result: table, markdown, json, html, junit, github, openmetrics, github-benchmark or
    /// github-benchmark-bigger, each with =PATH; `-` is stdout.
    #[arg(long, value_name = "FORMAT=PATH", num_args = 1.., action = ArgAction::Append)]
    out: Vec<Target>,

    /// Write the new runs as a small baseline file, to be compared with later.
    #[arg(long, value_name = "FILE")]
    save_baseline: Option<PathBuf>,

    /// Settings that may differ, such as model; workload allows other lengths, client a client that was
    /// limited.
    #[arg(long, value_name = "KEYS", value_delimiter = ',', action = ArgAction::Append)]
    allow_different: Vec<String>,

    /// Changes below this are noise: 3%, or for one figure `ttft_p99=15%`
    /// [default: 5%, 10% for p98 and above, 0.5 points for shares]
    #[arg(long, value_name = "SHARE", action = ArgAction::Append)]
    noise: Vec<Noise>,

    /// How much runs of one server are assumed to differ where there are fewer than three.
    #[arg(long, value_name = "SHARE", default_value = "3%", value_parser = share)]
    run_scatter: f64,

    /// Exit with 4 if it is unclear whether a rule failed.
    #[arg(long)]
    strict: bool,

    /// In a job of GitHub, write neither annotations nor the summary of the step.
    #[arg(long)]
    no_ci: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// As figures are listed
    Figures,
    /// The worst change first
    Change,
}

/// What `--metric` names.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Rate(Rate),
    Metric(evalscope_model::metrics::Metric),
}

impl FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let metric = METRICS.into_iter().find(|own| metric_name(*own) == text);
        let rate = Rate::ALL
            .into_iter()
            .find(|own| FigureKey::Rate(*own).to_string() == text);
        metric
            .map(Self::Metric)
            .or(rate.map(Self::Rate))
            .ok_or_else(|| {
                let rates = Rate::ALL.map(|rate| FigureKey::Rate(rate).to_string());
                let metrics = METRICS.map(metric_name);
                format!("expected {}, {}", rates.join(", "), metrics.join(", "))
            })
    }
}

/// What counts as noise, for all figures or for one.
#[derive(Clone, Copy, Debug)]
struct Noise {
    figure: Option<FigureKey>,
    share: f64,
}

impl FromStr for Noise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (figure, noise) = match text.split_once('=') {
            Some((figure, noise)) => (
                Some(figure.parse().map_err(|error| format!("{error}"))?),
                noise,
            ),
            None => (None, text),
        };
        let share = share(noise)?;
        Ok(Self { figure, share })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Table,
    Markdown,
    Json,
    Html,
    Junit,
    Github,
    OpenMetrics,
    GithubBenchmark(Better),
}

const FORMS: [(&str, Form); 9] = [
    ("table", Form::Table),
    ("markdown", Form::Markdown),
    ("json", Form::Json),
    ("html", Form::Html),
    ("junit", Form::Junit),
    ("github", Form::Github),
    ("openmetrics", Form::OpenMetrics),
    ("github-benchmark", Form::GithubBenchmark(Better::Lower)),
    (
        "github-benchmark-bigger",
        Form::GithubBenchmark(Better::Higher),
    ),
];

/// Where a format goes.
#[derive(Clone, Debug)]
struct Target {
    form: Form,
    path: PathBuf,
}

impl Target {
    fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = FORMS.map(|(name, _)| name).join(", ");
        let (form, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or("expected FORMAT=PATH, such as markdown=compare.md")?;
        let form = FORMS.into_iter().find(|(name, _)| *name == form);
        Ok(Self {
            form: form
                .ok_or_else(|| format!("the format is not one of {names}"))?
                .1,
            path: path.into(),
        })
    }
}

pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let options = args.options()?;
    let mut figures = options.all_figures();
    if args.save_baseline.is_some() {
        figures.extend(Baseline::further());
    }
    let sides = args.sides(&figures)?;
    if let Some(path) = &args.save_baseline {
        let runs: Vec<Run> = sides.new.iter().flatten().cloned().collect();
        write(path, &Baseline::of(&runs).text()?)?;
        console::err(&format!("the baseline is in {}", path.display()));
    }
    let Some(base) = sides.base else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut comparisons = Vec::with_capacity(sides.new.len());
    for new in &sides.new {
        comparisons.push(comparing::compare(&base, new, &options)?);
    }
    args.show(&Compared {
        comparisons: &comparisons,
        base: &base,
        new: &sides.new,
    })?;
    Ok(args.exit_code(comparing::ending(&comparisons)))
}

/// The runs of both sides; without a base, the new ones are only saved.
struct Sides {
    base: Option<Vec<Run>>,
    new: Vec<Vec<Run>>,
}

/// What formats are made of.
struct Compared<'a> {
    comparisons: &'a [Comparison],
    base: &'a [Run],
    new: &'a [Vec<Run>],
}

impl CompareArgs {
    fn options(&self) -> anyhow::Result<Options> {
        let mut gates: Vec<Gate> = self.fail_if.iter().cloned().map(Gate::from).collect();
        if let Some(path) = &self.rules {
            let shown = path.display();
            let text = fs::read_to_string(path)
                .with_context(|| format!("`--rules {shown}` cannot be read"))?;
            gates.extend(read_file(&text).with_context(|| format!("`--rules {shown}`"))?);
        }
        if self.strict && gates.is_empty() {
            return Err(hinted(
                "`--strict` is about rules, and there is none",
                "give `--fail-if` or `--rules`",
            ));
        }
        for key in &self.allow_different {
            if !comparing::settings_that_must_be_equal().any(|name| name == key) {
                let names: Vec<&str> = comparing::settings_that_must_be_equal().collect();
                return Err(hinted(
                    format!("`--allow-different {key}`: no such setting has to be equal"),
                    format!("those that have to be are {}", names.join(", ")),
                ));
            }
        }
        Ok(Options {
            at: self.at.clone(),
            figures: self.figures(),
            limits: self.limits(),
            allow_different: self.allow_different.clone(),
            gates,
        })
    }

    fn limits(&self) -> Limits {
        let all = self.noise.iter().rev().find(|noise| noise.figure.is_none());
        let of = self
            .noise
            .iter()
            .filter_map(|noise| Some((noise.figure?, noise.share)));
        Limits {
            run_scatter: self.run_scatter,
            noise: all.map(|noise| noise.share),
            noise_of: of.collect(),
        }
    }

    fn figures(&self) -> Vec<FigureKey> {
        use evalscope_model::metrics::Metric;
        let usual = [
            Shown::Rate(Rate::Requests),
            Shown::Rate(Rate::OutputTokens),
            Shown::Rate(Rate::Errors),
            Shown::Metric(Metric::Ttft),
            Shown::Metric(Metric::Tpot),
            Shown::Metric(Metric::Latency),
        ];
        let shown = if self.metric.is_empty() {
            &usual[..]
        } else {
            &self.metric
        };
        let of = |shown: &Shown| match *shown {
            Shown::Rate(rate) => vec![FigureKey::Rate(rate)],
            Shown::Metric(metric) => {
                let stats = self
                    .stat
                    .iter()
                    .map(|stat| FigureKey::Metric(metric, *stat));
                stats.collect()
            }
        };
        shown.iter().flat_map(of).collect()
    }

    fn sides(&self, figures: &[FigureKey]) -> anyhow::Result<Sides> {
        let (base, new) = match (&self.baseline, self.runs.split_first()) {
            (Some(base), _) => (Some(base), &self.runs[..]),
            (None, Some((_, []))) if self.save_baseline.is_some() => (None, &self.runs[..]),
            (None, Some((base, new))) => (Some(base), new),
            (None, None) => (None, &[][..]),
        };
        if new.is_empty() {
            return Err(hinted(
                "there is nothing to compare the base with",
                "give two sides: `evalscope compare BASE NEW`",
            ));
        }
        let base = base
            .map(|base| comparing::read_side(base, figures))
            .transpose()?;
        let mut sides: Vec<Vec<Run>> = Vec::new();
        for argument in new {
            sides.push(comparing::read_side(argument, figures)?);
        }
        if self.repeats_as_one {
            sides = vec![sides.concat()];
        }
        Ok(Sides { base, new: sides })
    }

    fn order(&self) -> Order {
        match self.sort {
            Some(Sort::Change) => Order::Change,
            Some(Sort::Figures) | None => Order::Figures,
        }
    }

    fn text(&self, form: Form, compared: &Compared<'_>, screen: Screen) -> anyhow::Result<String> {
        let comparisons = compared.comparisons;
        Ok(match form {
            Form::Table => comparing::table(comparisons, self.order(), screen),
            Form::Markdown => comparing::markdown(comparisons),
            Form::Json => ComparisonFile::of(comparisons).text()?,
            Form::Html => {
                comparing::html(comparisons, &self.limits(), compared.base, compared.new)?
            }
            Form::Junit => comparing::junit(comparisons),
            Form::Github => comparing::annotations(comparisons),
            Form::OpenMetrics => comparing::openmetrics(comparisons),
            Form::GithubBenchmark(better) => comparing::github_benchmark(comparisons, better)?,
        })
    }

    fn show(&self, compared: &Compared<'_>) -> anyhow::Result<()> {
        let comparisons = compared.comparisons;
        let screen = console::screen(Confidence::Hidden);
        let in_file = Screen {
            width: FILE_WIDTH,
            ink: Ink::Plain,
            ..screen
        };
        if !self.out.iter().any(Target::is_stdout) {
            console::out(&self.text(Form::Table, compared, screen)?);
        }
        for target in &self.out {
            if target.is_stdout() {
                console::out(&self.text(target.form, compared, screen)?);
            } else {
                write(&target.path, &self.text(target.form, compared, in_file)?)?;
            }
        }
        if !self.no_ci && env::in_github_job() {
            let annotations = comparing::annotations(comparisons);
            if !annotations.is_empty() {
                console::err(annotations.trim_end());
            }
            if let Some(path) = env::github_step_summary() {
                append(&path, &comparing::markdown(comparisons))?;
            }
        }
        Ok(())
    }

    fn exit_code(&self, ending: Ending) -> ExitCode {
        match ending {
            Ending::RuleFailed => ExitCode::from(failure::RULE_FAILED),
            Ending::NotComparable => ExitCode::from(failure::USAGE),
            Ending::Unclear if self.strict => ExitCode::from(failure::UNCLEAR),
            Ending::Unclear | Ending::Passed => ExitCode::SUCCESS,
        }
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).map_err(|error| unwritten(path, error))
}

fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| unwritten(path, error))
}

fn unwritten(path: &Path, error: std::io::Error) -> anyhow::Error {
    Unfinished {
        what: "not all results could be written",
        source: anyhow::Error::new(error)
            .context(format!("`{}` cannot be written", path.display())),
        hint: "the comparison itself was made".to_owned(),
    }
    .into()
}
