//! Owns the HTML report of a command: `perf_report.html`, one file without anything outside of it.
//!
//! It must not know how figures are computed.

pub mod scale;

pub mod svg;

pub mod charts;

mod text;

mod foreign;

mod strip;

mod both;

mod page;

mod render;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::{Lang, RunState};
use crate::repeats::Pooled;
use crate::report::RunReport;
use crate::series::{
    KEPT_IN_PAGE, LEAST_KEPT, MOST_BINS, MOST_BINS_BESIDE_OTHERS, PageData, RunSeries, page_text,
};
use crate::sqlite::{Reader, StoreError};
use crate::together::Together;

pub(crate) use foreign::name as foreign_name;
pub use render::PageError;
pub(crate) use render::style as page_style;
pub(crate) use text::english;

use charts::Drawn;
use page::{Charts, Page};
use text::Texts;

/// What was read of runs that have ended, so that files which are made again after each run of a command do
/// not read all of it each time.
#[derive(Debug, Default)]
pub struct Ended {
    /// Series by their databases and the bins of time that they may have: the page of a sweep reads the
    /// database of the first run twice, others once.
    series: BTreeMap<(PathBuf, u64), RunSeries>,
    /// Of repeated runs together.
    pub(crate) pooled: Pooled,
}

impl Ended {
    fn series(
        &mut self,
        database: PathBuf,
        run: &RunReport,
        most_bins: u64,
    ) -> Result<RunSeries, StoreError> {
        let key = (database, most_bins);
        if let Some(series) = self.series.get(&key) {
            return Ok(series.clone());
        }
        let reader = Reader::open(&key.0)?;
        let series = RunSeries::of(&[&reader], run, most_bins)?;
        if run.state != RunState::Running {
            self.series.insert(key, series.clone());
        }
        Ok(series)
    }
}

/// The page of a command, for a folder that holds the runs.
///
/// # Errors
/// When a database cannot be read, or the template and what it is given do not fit together.
pub fn page(
    folder: &Path,
    runs: &[RunReport],
    together: &Together,
    lang: Lang,
    ended: &mut Ended,
) -> Result<String, PageError> {
    let languages = match lang {
        Lang::En => [Lang::En, Lang::Zh],
        Lang::Zh => [Lang::Zh, Lang::En],
    };
    let texts = languages.map(Texts::of);
    let in_both = |[own, other]: [Vec<Drawn>; 2]| own.into_iter().zip(other).collect();
    let positions = page::details(runs);
    let most_kept = (KEPT_IN_PAGE / positions.len().max(1)).max(LEAST_KEPT);
    let most_bins = match positions.len() {
        0 | 1 => MOST_BINS,
        _ => MOST_BINS_BESIDE_OTHERS,
    };
    let mut charts = Charts {
        sweep: in_both([0, 1].map(|nth| {
            let search = together.search.iter();
            let search = search.flat_map(|search| charts::of_search(search, &texts[nth]));
            search.chain(charts::of_sweep(runs, &texts[nth])).collect()
        })),
        runs: Vec::new(),
    };
    let mut details = Vec::new();
    for nth in positions {
        let run = &runs[nth];
        let series = ended.series(folder.join(&run.database), run, most_bins)?;
        let series = series.with_at_most(most_kept);
        let prefix = format!("run{}-", nth + 1);
        let drawn = [0, 1].map(|lang| charts::of_run(run, &series, &texts[lang], &prefix));
        charts.runs.push(in_both(drawn));
        details.push((nth, series));
    }
    let data = page_text(&PageData::new(runs, &details));
    render::render(
        &Page::of(runs, together, &details, lang, charts),
        &data,
        lang,
    )
}
