//! Owns the texts of the page in its languages.
//!
//! It must not know where a text stands.

use std::collections::BTreeMap;

use super::charts::Words;
use crate::model::Lang;

const FILES: [(Lang, &[&str]); 2] = [
    (
        Lang::En,
        &[
            include_str!("text/en.toml"),
            include_str!("text/charts.en.toml"),
        ],
    ),
    (
        Lang::Zh,
        &[
            include_str!("text/zh.toml"),
            include_str!("text/charts.zh.toml"),
        ],
    ),
];

/// Beginnings of the keys of texts that the script writes.
const BY_SCRIPT: [&str; 9] = [
    "axis_",
    "button.copy",
    "choose.",
    "copied",
    "over_time",
    "request",
    "series.",
    "stat.",
    "zoomed",
];

/// The texts of a language, by their keys.
#[derive(Clone, Debug)]
pub(super) struct Texts(BTreeMap<String, String>);

impl Texts {
    /// Those of a language.
    pub(super) fn of(lang: Lang) -> Self {
        let mut texts = BTreeMap::new();
        let files = FILES.iter().filter(|(of, _)| *of == lang);
        for file in files.flat_map(|(_, files)| *files) {
            let table = file.parse().expect("a test reads the texts");
            flatten("", &table, &mut texts);
        }
        Self(texts)
    }

    /// A text; `None` without one.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A text with what stands for `{0}`, `{1}` and so on.
    pub(super) fn filled(&self, key: &str, with: &[String]) -> Option<String> {
        let mut text = self.get(key)?.to_owned();
        for (nth, with) in with.iter().enumerate() {
            text = text.replace(&format!("{{{nth}}}"), with);
        }
        Some(text)
    }

    /// The texts of the page that its script needs in the other language, or in the `own` one of the page. There
    /// it reads those that stand on the page from it.
    pub(super) fn for_script(&self, own: bool) -> BTreeMap<&str, &str> {
        let texts = self.0.iter().filter(|(key, text)| {
            let is_made = BY_SCRIPT.iter().any(|part| key.starts_with(part));
            // most English labels are their own keys
            let is_own_key = key.strip_prefix("label.") == Some(text.as_str());
            let is_read = own && !is_made && !text.contains('{');
            let is_unseen = key.starts_with("chart.") || key.as_str() == "requests.no_script";
            !is_unseen && !is_own_key && !is_read
        });
        texts
            .map(|(key, text)| (key.as_str(), text.as_str()))
            .collect()
    }
}

impl Words for Texts {
    fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }
}

/// The texts of pages that there are in English only.
pub(crate) fn english() -> impl Words {
    Texts::of(Lang::En)
}

/// The key of the text of a label of tables.
pub(super) fn label_key(label: &str) -> String {
    let words: Vec<&str> = label.split_whitespace().collect();
    format!("label.{}", words.join(" "))
}

fn flatten(above: &str, table: &toml::Table, texts: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if above.is_empty() {
            key.clone()
        } else {
            format!("{above}.{key}")
        };
        match value {
            toml::Value::Table(table) => flatten(&key, table, texts),
            toml::Value::String(text) => {
                texts.insert(key, text.clone());
            }
            other => unreachable!("the text `{key}` is {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console;
    use crate::names::{self, Figure};
    use crate::samples;

    #[test]
    fn languages_have_the_same_keys_and_places() {
        let [en, zh] = [Lang::En, Lang::Zh].map(|lang| Texts::of(lang).0);
        let keys = |texts: &BTreeMap<String, String>| texts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&en), keys(&zh));
        for (key, text) in &en {
            let places = |text: &str| {
                let mut places: Vec<String> = text
                    .split('{')
                    .skip(1)
                    .filter_map(|rest| Some(rest.split_once('}')?.0.to_owned()))
                    .collect();
                places.sort();
                places.dedup();
                places
            };
            assert_eq!(places(text), places(&zh[key]), "{key}");
            assert!(!text.is_empty() && !zh[key].is_empty(), "{key}");
        }
    }

    /// A label that has no text would stay English on a Chinese page.
    #[test]
    fn every_label_of_a_table_has_a_text() {
        let texts = Texts::of(Lang::Zh);
        let mut profile = samples::open_loop_meta();
        profile.metadata.clear();
        let mut handoff = samples::meta("m");
        handoff.settings["enable_pd_metrics"] = true.into();
        let runs = vec![
            samples::report(&profile, samples::mixed(60)),
            samples::report(&samples::meta("m"), samples::mixed(30)),
            samples::report(&handoff, samples::mixed(30)),
            samples::conversations_report(10),
        ];
        let mut labels: Vec<String> = Figure::all().map(|one| one.label().to_owned()).collect();
        labels.extend(console::sweep_grid(&runs).header);
        for run in &runs {
            labels.extend(console::percentile_grid(run).header);
            labels.extend(console::segment_grid(run).header);
            if let Some(grid) = console::workload_grid(run) {
                labels.extend(grid.rows.into_iter().map(|row| row[0].clone()));
                labels.extend(grid.header);
            }
            labels.extend(console::speed_grid(run).header);
            labels.extend(console::summary_grid(run).header);
        }
        labels.extend(
            [names::VERDICT, names::DATABASE, names::CACHED_PER_REQUEST].map(str::to_owned),
        );
        labels.extend(names::GOOD.map(str::to_owned));
        labels.extend(names::WITH_FAILURES.map(|(_, label)| label.to_owned()));
        let without: Vec<&String> = labels
            .iter()
            .filter(|label| texts.get(&label_key(label)).is_none())
            .collect();
        assert!(without.is_empty(), "{without:#?}");
    }
}
