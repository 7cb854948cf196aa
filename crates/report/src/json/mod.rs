//! Owns the JSON files: `result.json` in our own form, with a schema, and the files of a run in
//! that of EvalScope.
//!
//! It must not know where files are put.

mod conversations;
mod figures;
mod mix;
mod reference;
mod result;
mod sla;
mod throughput;

use serde::Serialize;
#[cfg(test)]
use serde_json::Value;

pub use conversations::trace_summary;
pub use figures::{Load, MetricResult, Metrics, PlateauResult, Segment, SomeMetrics};
pub use mix::MixResult;
pub use reference::{args, percentiles, summary};
pub use result::{
    AddressTotals, Compared, Connections, Counts, ErrorResult, ResultFile, RunResult, Sources,
    Tokens,
};
pub use sla::sla_summary;
pub use throughput::Throughput;

/// The JSON schema of `result.json`, as in `docs/result.schema.json`.
#[cfg(test)]
fn schema() -> Value {
    schemars::schema_for!(ResultFile<'_>).to_value()
}

/// A file's text: four spaces, as the reference tool writes it, one line break
/// at the end.
///
/// # Errors
/// When a value has no JSON form.
pub fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, indent,
    ))?;
    bytes.push(b'\n');
    Ok(String::from_utf8(bytes).expect("JSON is written as UTF-8"))
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::Metric;
    use evalscope_model::plan::Pacing;
    use evalscope_model::profile::{Gaps, Schedule};

    use super::*;
    use crate::samples;

    #[test]
    fn the_schema_in_the_documentation_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/result.schema.json");
        samples::assert_documented(path, &text(&schema()).unwrap());
    }

    #[test]
    fn reports_match_the_schema() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let mut profile = samples::open_loop_meta();
        profile.load.pacing = Pacing::Arrivals(Schedule {
            profile: "20@10,+1,10..20@10,20@10".parse().unwrap(),
            gaps: Gaps::Constant,
        });
        for report in vec![
            samples::report(&samples::meta("m"), samples::mixed(30)),
            samples::report(&samples::meta("m"), samples::all_failed(7)),
            samples::report(&samples::meta("m"), Vec::new()),
            samples::report(&samples::open_loop_meta(), samples::mixed(600)),
            samples::report(&samples::open_loop_meta(), Vec::new()),
            samples::report(&profile, samples::successes(600)),
            samples::conversations_report(40),
            samples::mixed_traffic_report(30),
            samples::trace_report(200, std::time::Duration::ZERO),
        ] {
            let runs = [report];
            let together = crate::together::Together::default();
            let value = serde_json::to_value(ResultFile::new(&runs, &together).unwrap()).unwrap();
            let wrong: Vec<String> = validator
                .iter_errors(&value)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert_eq!(wrong, Vec::<String>::new());
        }
        let wrong = serde_json::json!({"format_version": 1});
        assert!(!validator.is_valid(&wrong));
    }

    #[test]
    fn conversations_stand_in_files_of_the_form_of_evalscope() {
        let report = samples::conversations_report(40);
        let figures = report.conversations.as_ref().unwrap();
        insta::assert_snapshot!(text(&trace_summary(&figures.per_conversation)).unwrap());
        let summary = summary(&report);
        let keys: Vec<&String> = summary.as_object().unwrap().keys().collect();
        let at = keys
            .iter()
            .position(|key| *key == "Avg Turns/Request")
            .unwrap();
        assert_eq!(
            keys[at..at + 4],
            [
                "Avg Turns/Request",
                "KV Cache Hit Rate (%)",
                "Avg First-Turn TTFT (ms)",
                "Avg Subsequent-Turn TTFT (ms)",
            ]
        );
    }

    #[test]
    fn every_metric_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        for metric in Metric::ALL {
            assert!(
                text.contains(&format!("`{}`", metric.key())),
                "{}",
                metric.key()
            );
        }
    }
}
