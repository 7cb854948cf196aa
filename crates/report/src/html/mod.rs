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

use std::path::Path;

use crate::model::Lang;
use crate::report::RunReport;
use crate::series::{KEPT_IN_PAGE, LEAST_KEPT, RunSeries};
use crate::sqlite::Reader;

pub use render::PageError;

use charts::Drawn;
use page::{Charts, Page};
use text::Texts;

/// The page of a command, for a folder that holds the runs.
///
/// # Errors
/// When a database cannot be read, or the template and what it is given do not fit together.
pub fn page(folder: &Path, runs: &[RunReport], lang: Lang) -> Result<String, PageError> {
    let languages = match lang {
        Lang::En => [Lang::En, Lang::Zh],
        Lang::Zh => [Lang::Zh, Lang::En],
    };
    let texts = languages.map(Texts::of);
    let in_both = |[own, other]: [Vec<Drawn>; 2]| own.into_iter().zip(other).collect();
    let details = page::details(runs);
    let most_kept = (KEPT_IN_PAGE / details.len().max(1)).max(LEAST_KEPT);
    let mut charts = Charts {
        sweep: in_both([0, 1].map(|nth| charts::of_sweep(runs, &texts[nth]))),
        runs: Vec::new(),
    };
    for nth in details {
        let run = &runs[nth];
        let reader = Reader::open(&folder.join(&run.database))?;
        let series = RunSeries::of(&[&reader], run, most_kept)?;
        let prefix = format!("run{}-", nth + 1);
        let drawn = [0, 1].map(|lang| charts::of_run(run, &series, &texts[lang], &prefix));
        charts.runs.push(in_both(drawn));
    }
    render::render(&Page::of(runs, lang, charts), lang)
}
