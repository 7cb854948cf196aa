//! Owns the data inside the page: the series of its runs as JSON, for the script
//! (`docs/report-data.schema.json`).
//!
//! It must not know how the script uses them. Requests are struct of arrays; their moments are whole
//! microseconds, so that they stay in order. Series are packed: 600 numbers of each of two dozen as text would
//! be larger than all charts of the run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evalscope_model::metrics::{Metric, Verdict};
use serde::Serialize;

use super::named::values_over_time;
use super::packed::{Number, Packed};
use super::rows::Requests;
use super::{Curve, GapHistogram, Heatmap, OverTime, RunSeries, WITH_CURVES};
use crate::report::RunReport;

/// The version of this format.
const VERSION: u32 = 1;

/// The data inside a page.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct PageData<'a> {
    /// Version of this format: 1.
    v: u32,
    /// All runs of the command, with their figures as in `result.json`.
    points: Vec<PointData<'a>>,
    /// The runs that have details in the page.
    runs: Vec<RunData<'a>>,
}

/// A point of a sweep.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct PointData<'a> {
    /// The name of the run.
    run: &'a str,
    /// Concurrency; `null` in open loops.
    concurrency: Option<usize>,
    /// Requests a second that were asked for; `null` in closed loops.
    rate_per_s: Option<f64>,
    /// The client was the bottleneck.
    client_limited: bool,
    /// Successful requests per second.
    requests_per_s: Option<f64>,
    /// Output tokens per second.
    output_tok_per_s: Option<f64>,
    /// Prompt and output tokens per second.
    total_tok_per_s: Option<f64>,
    /// What one request sees: the median of output tokens per second after the first one.
    user_tok_per_s: Option<f64>,
    /// Mean, p50, p90, p95 and p99 of metrics, by their keys.
    metrics: BTreeMap<&'static str, [Option<f64>; 5]>,
}

/// A run.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct RunData<'a> {
    /// Its position in `points`.
    point: usize,
    /// Time 0, the first dispatch of the measured phase: Unix time, milliseconds.
    t0_unix_ms: u64,
    /// Width of a bin of time, seconds.
    bin_s: f64,
    /// Number of bins.
    bins: usize,
    /// The first bins, which are left of time 0.
    warmup_bins: usize,
    /// True length of the last bin, seconds.
    last_bin_s: Number,
    /// Boundaries between phases.
    bounds: BoundsData,
    /// A value for each bin, by name; the end of the name says which statistic of a metric it is.
    series: BTreeMap<String, Packed>,
    /// Percentiles of metrics over time.
    percentiles: BTreeMap<&'static str, PercentileData>,
    /// Percentiles of metrics over the whole run.
    curves: BTreeMap<&'static str, CurveData>,
    /// Metrics over time, by value: those that are not drawn.
    heatmaps: BTreeMap<&'static str, HeatData>,
    /// Gaps between token-bearing events by length; `null` without any.
    gap_bins: Option<GapData>,
    /// The requests that are kept.
    requests: Requests<'a>,
    /// Gaps between the token-bearing events of some requests, by index: LEB128 varints, microseconds, in
    /// base64.
    gaps: BTreeMap<u64, String>,
}

/// Percentiles of a metric over time, a value for each part.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct PercentileData {
    /// Bins in a part, counted from time 0 in both directions.
    bins_together: usize,
    /// Medians.
    p50: Packed,
    /// 90th percentiles.
    p90: Packed,
    /// 99th percentiles.
    p99: Packed,
}

/// Percentiles of a metric, at equal distances of −log₁₀(1 − p) from 0 on.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct CurveData {
    /// −log₁₀(1 − p) of the last one: 2 is the 99th percentile.
    last_nines: Number,
    /// The values.
    values: Packed,
}

/// How many samples had which value when.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct HeatData {
    /// Bins of time in a column.
    bins_per_column: usize,
    /// Number of columns.
    columns: usize,
    /// Number of rows, equally high by the logarithm of the value.
    rows: usize,
    /// Lower edge of the lowest row.
    low: Number,
    /// Upper edge of the top row.
    high: Number,
    /// The largest count of a cell.
    most: u64,
    /// The class of each cell, row by row from the lowest: base64 of a byte for each run of equal cells, class +
    /// 9 × (cells − 1). Class 0 is empty, 1 to 8 go by the logarithm of the count.
    classes: String,
}

/// Gaps between token-bearing events by length, in bins of equal log width.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct GapData {
    /// Edges of the bins, milliseconds, one more than bins.
    edges_ms: Vec<Number>,
    /// Gaps in each bin.
    counts: Vec<u64>,
}

/// Boundaries between the phases of a run, seconds from time 0.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[expect(clippy::struct_field_names, reason = "the unit")]
struct BoundsData {
    /// The first dispatch of the warm-up, below 0; `null` without one.
    warmup_start_s: Option<Number>,
    /// The last dispatch.
    drain_start_s: Number,
    /// The last end.
    end_s: Number,
    /// Start of the plateau; `null` without one.
    plateau_start_s: Option<Number>,
    /// Its end.
    plateau_end_s: Option<Number>,
}

impl<'a> PageData<'a> {
    /// Of all runs of a command, and the series of those that have details, by their positions.
    #[must_use]
    pub fn new(runs: &'a [RunReport], details: &'a [(usize, RunSeries)]) -> Self {
        Self {
            v: VERSION,
            points: runs.iter().map(PointData::of).collect(),
            runs: details
                .iter()
                .map(|(point, series)| RunData::new(*point, series))
                .collect(),
        }
    }
}

impl<'a> PointData<'a> {
    fn of(run: &'a RunReport) -> Self {
        let metrics = WITH_CURVES.into_iter().filter_map(|metric| {
            let one = run.metric(metric);
            let values = [one.mean, one.p50, one.p90, one.p95, one.p99];
            (one.count > 0).then_some((metric.key(), values))
        });
        Self {
            run: &run.meta.name,
            concurrency: run.meta.load.concurrency.map(NonZeroUsize::get),
            rate_per_s: run.rate_per_s(),
            client_limited: run.client.verdict == Verdict::ClientLimited,
            requests_per_s: run.requests_per_s(),
            output_tok_per_s: run.output_tokens_per_s(),
            total_tok_per_s: run.total_tokens_per_s(),
            user_tok_per_s: run.metric(Metric::DecodeTokPerS).p50,
            metrics: metrics.collect(),
        }
    }
}

/// The JSON text for a `<script type="application/json">`: nothing in it ends the element, begins a comment, or
/// turns the direction of text.
#[must_use]
pub fn page_text(data: &PageData<'_>) -> String {
    let text = serde_json::to_string(data).expect("only numbers and texts");
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        // in JSON, these are only inside texts
        if c == '<'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

impl<'a> RunData<'a> {
    fn new(point: usize, series: &'a RunSeries) -> Self {
        let axis = &series.axis;
        let bounds = &series.bounds;
        let gaps = series.kept.requests.iter().filter_map(|request| {
            let gaps = request.gaps.as_ref()?;
            Some((request.row.index, STANDARD.encode(gaps)))
        });
        let curves = series.curves.iter();
        let drawn = series.heatmap_metric();
        let heatmaps = series
            .over_time
            .iter()
            .filter(|(metric, _)| **metric != drawn);
        Self {
            point,
            t0_unix_ms: axis.t0_unix_ns / 1_000_000,
            bin_s: axis.width_s(),
            bins: axis.len(),
            warmup_bins: axis.warmup_bins,
            last_bin_s: Number(axis.length_s(axis.len().saturating_sub(1))),
            bounds: BoundsData {
                warmup_start_s: bounds.warmup_start_s.map(Number),
                drain_start_s: Number(bounds.drain_start_s),
                end_s: Number(bounds.end_s),
                plateau_start_s: bounds.plateau_s.map(|(start_s, _)| Number(start_s)),
                plateau_end_s: bounds.plateau_s.map(|(_, end_s)| Number(end_s)),
            },
            series: values_over_time(series)
                .into_iter()
                .filter_map(|(name, values)| Some((name, Packed::of(&values)?)))
                .collect(),
            percentiles: (series.over_time.iter())
                .filter_map(|(metric, one)| {
                    let one = PercentileData::of(one.as_ref().ok()?, axis.warmup_bins)?;
                    Some((metric.key(), one))
                })
                .collect(),
            curves: curves
                .filter_map(|(metric, curve)| {
                    Some((metric.key(), CurveData::of(curve.as_ref().ok()?)?))
                })
                .collect(),
            heatmaps: heatmaps
                .filter_map(|(metric, one)| {
                    Some((metric.key(), HeatData::of(&one.as_ref().ok()?.heatmap)))
                })
                .collect(),
            gap_bins: series.gaps.as_ref().ok().map(GapData::of),
            requests: Requests::new(&series.kept),
            gaps: gaps.collect(),
        }
    }
}

impl PercentileData {
    fn of(over_time: &OverTime, warmup_bins: usize) -> Option<Self> {
        let together = over_time.bins_together;
        let packed = |values: &[Option<f64>]| {
            // of each part, any bin
            let (warmup, measured) = values.split_at(warmup_bins);
            let mut parts: Vec<_> = warmup.rchunks(together).map(|part| part[0]).collect();
            parts.reverse();
            parts.extend(measured.chunks(together).map(|part| part[0]));
            Packed::of(&parts)
        };
        Some(Self {
            bins_together: together,
            p50: packed(&over_time.p50)?,
            p90: packed(&over_time.p90)?,
            p99: packed(&over_time.p99)?,
        })
    }
}

impl CurveData {
    fn of(curve: &Curve) -> Option<Self> {
        // every second one: they are as close as the pixels of a chart
        let points = || curve.points.iter().rev().step_by(2);
        let mut values: Vec<_> = points().map(|point| Some(point.value)).collect();
        values.reverse();
        Some(Self {
            last_nines: Number(points().next()?.nines),
            values: Packed::of(&values)?,
        })
    }
}

impl HeatData {
    fn of(map: &Heatmap) -> Self {
        const CLASSES: u8 = 9;
        const LONGEST: usize = 28;
        let mut bytes = Vec::new();
        for row in 0..map.rows() {
            let cells: Vec<u8> = (0..map.columns)
                .map(|column| map.class(column, row))
                .collect();
            let runs = cells.chunk_by(|a, b| a == b);
            for run in runs.flat_map(|run| run.chunks(LONGEST)) {
                let more = u8::try_from(run.len() - 1).expect("27 at most");
                bytes.push(run[0] + CLASSES * more);
            }
        }
        Self {
            bins_per_column: map.bins_per_column,
            columns: map.columns,
            rows: map.rows(),
            low: Number(map.row_edges[0]),
            high: Number(map.row_edges[map.rows()]),
            most: map.counts.iter().copied().max().unwrap_or(0),
            classes: STANDARD.encode(bytes),
        }
    }
}

impl GapData {
    fn of(gaps: &GapHistogram) -> Self {
        let edges = gaps.bins.iter().map(|bin| bin.from_ms);
        let edges = edges.chain(gaps.bins.last().map(|bin| bin.to_ms));
        Self {
            edges_ms: edges.map(Number).collect(),
            counts: gaps.bins.iter().map(|bin| bin.count).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use evalscope_model::record::FailureKind;
    use serde_json::Value;

    use super::*;
    use crate::samples;

    /// The text of the data of a command of one run.
    fn text(exchanges: Vec<evalscope_model::record::Exchange>, name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::finished(folder.path(), &samples::meta("m"), exchanges);
        let mut run = RunReport::load(&path).unwrap();
        run.meta.name = name.to_owned();
        let series = RunSeries::load(&run, super::super::MOST_BINS).unwrap();
        page_text(&PageData::new(&[run], &[(0, series)]))
    }

    #[test]
    fn the_schema_in_the_documentation_is_this_one() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/report-data.schema.json"
        );
        let schema = schemars::schema_for!(PageData<'_>).to_value();
        samples::assert_documented(path, &crate::json::text(&schema).unwrap());
        let validator = jsonschema::validator_for(&schema).unwrap();
        let runs = [
            samples::mixed(60),
            samples::whole_answers(20),
            samples::all_failed(3),
            Vec::new(),
        ];
        for text in runs.map(|run| text(run, "run")) {
            let value: Value = serde_json::from_str(&text).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
            assert!(!text.contains("NaN"));
        }
    }

    #[test]
    fn nothing_in_the_text_ends_its_element() {
        const BAD: &str = "</script><!-- <img src=x onerror=…> \u{2028}\u{2029} {{7*7}}";
        let mut exchange = samples::failure(3, FailureKind::ServerError, BAD, "");
        exchange.record.finish_reason = Some(BAD.to_owned());
        exchange.record.response_id = Some(BAD.to_owned());
        let text = text(vec![exchange], BAD);
        assert!(!text.contains(['<', '\u{2028}', '\u{2029}']), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["points"][0]["run"], BAD);
        let run = &value["runs"][0];
        assert_eq!(run["requests"]["id_prefix"], BAD);
        assert_eq!(run["requests"]["failures"][0]["message"], BAD);
        assert_eq!(run["requests"]["reasons"][0], BAD);
    }

    #[test]
    fn lists_of_requests_are_equally_long() {
        let text = text(samples::mixed(60), "run");
        let value: Value = serde_json::from_str(&text).unwrap();
        let requests = value["runs"][0]["requests"].as_object().unwrap();
        let distinct = ["failures", "reasons"];
        for (name, list) in requests
            .iter()
            .filter(|(name, _)| !distinct.contains(&name.as_str()))
        {
            if let Some(list) = list.as_array() {
                assert!([0, 60].contains(&list.len()), "{name}");
            }
            let is_list = |list: &&str| !list.is_empty() && name != "id_prefix";
            if let Some(list) = list.as_str().filter(is_list) {
                let bytes = STANDARD.decode(list).unwrap();
                let count = bytes.iter().filter(|byte| **byte < 0x80).count();
                assert_eq!(count, 60, "{name}");
            }
        }
        assert_eq!(requests["failures"].as_array().unwrap().len(), 2);
        let bins = value["runs"][0]["bins"].as_u64().unwrap();
        for (name, values) in value["runs"][0]["series"].as_object().unwrap() {
            let values = STANDARD.decode(values["values"].as_str().unwrap());
            assert_eq!(values.unwrap().len() as u64, 2 * bins, "{name}");
        }
    }
}
