//! Owns downloading the files of datasets and tokenizers for a command: from which hub, under
//! which names, with a progress bar.
//!
//! It must not know what the files contain.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evalscope_core::engine::RunControl;
use evalscope_hub::{Hub, HubError, Repo, RepoKind, Source, Watch};
use evalscope_workload::tokens::{
    CONFIG_FILE, PROCESSOR_TEMPLATE_FILE, TEMPLATE_FILE, TOKENIZER_FILE, TokenizerFiles,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::catalog::datasets::{Files, RemoteDataset};
use crate::failure::hinted;
use crate::{console, env, wait};

/// How long a download may go on after a stop, to end by itself. A server that is silent would hold
/// it for a minute.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What can be done where a tokenizer has a form that cannot be read.
pub(crate) const NO_TOKENIZER: &str = "take a repository or a folder with a tokenizer.json, which \
    `AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers writes; or leave out \
    `--tokenizer-path`: the server's own counts are used where it tells them, and lengths are in \
    characters";

/// Fetches what a command needs.
#[derive(Debug)]
pub(crate) struct Fetcher<'a> {
    /// `--data-source`; `None`: nothing may be downloaded.
    pub(crate) source: Option<Source>,
    pub(crate) control: &'a RunControl,
}

impl Fetcher<'_> {
    /// The file or the folder of a dataset.
    pub(crate) fn dataset(
        &self,
        name: &str,
        remote: RemoteDataset,
        subset: Option<&str>,
    ) -> anyhow::Result<PathBuf> {
        let Some(source) = self.source else {
            return Err(hinted(
                format!(
                    "`--data-source local` downloads nothing, and no file is given for the dataset `{name}`"
                ),
                "give its file or folder with `--dataset-path`",
            ));
        };
        let hub = hub(source)?;
        let id = remote.ids[usize::from(source == Source::HuggingFace)];
        let repo = Repo::new(RepoKind::Dataset, id)?;
        match remote.files {
            Files::One(file) => self.one(&hub, &repo, file),
            Files::Matching(part, endings) => self.matching(&hub, &repo, part, endings),
            Files::Subsets(part, ending) => {
                let part = subset.map_or(part.to_owned(), |subset| format!("{subset}/{part}"));
                self.matching(&hub, &repo, &part, &[ending])
            }
        }
    }

    /// The files of a tokenizer on the hub.
    pub(crate) fn tokenizer(&self, id: &str) -> anyhow::Result<TokenizerFiles> {
        let Some(source) = self.source else {
            return Err(hinted(
                format!(
                    "`--data-source local` downloads nothing, and `--tokenizer-path {id}` does not exist"
                ),
                "give a folder that holds a tokenizer.json",
            ));
        };
        let repo = Repo::new(RepoKind::Model, id)?;
        let hub = hub(source)?;
        let found = self.interruptibly(move |bar| {
            let tokenizer = match hub.file(&repo, TOKENIZER_FILE, bar) {
                Ok(file) => file,
                Err(error @ HubError::NotFound { .. }) => {
                    // what is there instead may say more than what is not
                    let files = hub.files(&repo, bar).unwrap_or_default();
                    let others = TokenizerFiles::OTHERS.iter();
                    let mut others = others.filter(|name| files.iter().any(|f| f.path == **name));
                    return others.next().map_or(Err(error), |name| Ok(Err(*name)));
                }
                Err(error) => return Err(error),
            };
            let template = hub.optional_file(&repo, TEMPLATE_FILE, bar)?;
            let processor_template = match &template {
                Some(_) => None,
                None => match hub.optional_file(&repo, PROCESSOR_TEMPLATE_FILE, bar) {
                    // another program that downloaded the rest may not have needed it
                    Err(error) if error.is_without_network() => None,
                    found => found?,
                },
            };
            Ok(Ok(TokenizerFiles {
                tokenizer,
                config: hub.optional_file(&repo, CONFIG_FILE, bar)?,
                template,
                processor_template,
            }))
        })?;
        found.map_err(|other| {
            hinted(
                format!("{id} has `{other}` on the hub, but no `{TOKENIZER_FILE}`, the only supported format"),
                NO_TOKENIZER,
            )
        })
    }

    fn one(&self, hub: &Arc<Hub>, repo: &Repo, file: &str) -> anyhow::Result<PathBuf> {
        let (hub, repo, file) = (Arc::clone(hub), repo.clone(), file.to_owned());
        self.interruptibly(move |bar| hub.file(&repo, &file, bar))
    }

    /// Fetch on a thread of its own: one that a silent server holds is left to
    /// itself when the person wants to stop, and ends with the process. What it
    /// has stored is sound at any moment.
    fn interruptibly<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bar) -> Result<T, HubError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let bar = Bar::new(self.control.clone());
        let names = ("evalscope-fetch", "the download thread");
        match wait::apart(names, self.control, STOP_GRACE, move || work(&bar))? {
            Some(result) => result.map_err(hub_error),
            None => anyhow::bail!("stopped during the download"),
        }
    }

    /// All files that match; the folder they are in, or the file if it is one.
    fn matching(
        &self,
        hub: &Arc<Hub>,
        repo: &Repo,
        part: &str,
        endings: &[&str],
    ) -> anyhow::Result<PathBuf> {
        let (asked, of) = (Arc::clone(hub), repo.clone());
        let listed = self.interruptibly(move |bar| asked.files(&of, bar))?;
        let chosen: Vec<String> = endings
            .iter()
            .map(|ending| {
                let fits = |path: &String| path.contains(part) && path.ends_with(ending);
                listed
                    .iter()
                    .map(|file| file.path.clone())
                    .filter(fits)
                    .collect()
            })
            .find(|chosen: &Vec<String>| !chosen.is_empty())
            .unwrap_or_default();
        let mut places = Vec::with_capacity(chosen.len());
        for file in &chosen {
            places.push(self.one(hub, repo, file)?);
        }
        match places.as_slice() {
            [] => Err(hinted(
                format!(
                    "{} has no file{} that ends in {}",
                    repo.id(),
                    match part {
                        "" => String::new(),
                        part => format!(" with `{part}` in its path"),
                    },
                    endings.join(" or ")
                ),
                "give the files with `--dataset-path`",
            )),
            [file] => Ok(file.clone()),
            [first, rest @ ..] => {
                let holds = |folder: &&Path| rest.iter().all(|file| file.starts_with(folder));
                let mut folders = first.ancestors().skip(1);
                Ok(folders.find(holds).unwrap_or(Path::new(".")).to_owned())
            }
        }
    }
}

/// A hub, as the environment has it.
fn hub(source: Source) -> anyhow::Result<Arc<Hub>> {
    let config = env::hub(source).map_err(hub_error)?;
    Ok(Arc::new(Hub::new(config)))
}

/// An error of the hub with its hint.
fn hub_error(error: HubError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => {
            let mut message = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            hinted(message, hint)
        }
        None => error.into(),
    }
}

/// A progress bar on a terminal, a line for each file elsewhere.
struct Bar {
    control: RunControl,
    bar: RefCell<Option<ProgressBar>>,
}

impl Bar {
    fn new(control: RunControl) -> Self {
        Self {
            control,
            bar: RefCell::new(None),
        }
    }
}

impl Watch for Bar {
    fn begin(&self, file: &str, total_bytes: Option<u64>, already_bytes: u64) {
        let mut shown = self.bar.borrow_mut();
        let bar = shown.get_or_insert_with(|| {
            if !std::io::stderr().is_terminal() {
                let size = total_bytes.map_or_else(String::new, |n| format!(" ({n} bytes)"));
                console::err(&format!("downloading {file}{size}"));
                return ProgressBar::hidden();
            }
            let style = ProgressStyle::with_template(
                "downloading {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            );
            let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr());
            bar.set_style(style.expect("the template is ours"));
            bar.set_message(file.to_owned());
            bar
        });
        bar.set_position(already_bytes);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = self.bar.borrow().as_ref() {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }

    fn cancelled(&self) -> bool {
        self.control.stop.is_cancelled()
    }
}
