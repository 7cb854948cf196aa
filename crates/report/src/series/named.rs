//! Owns the names of series over time, in files and in the page: what there is a value of for each bin.
//!
//! It must not know how a series is written.

use evalscope_model::metrics::Metric;

use super::RunSeries;

/// The series of a run, and for each bin of its axis a value. The end of a name is its unit, or says
/// which statistic of a metric it is.
#[must_use]
pub fn values_over_time(series: &RunSeries) -> Vec<(String, Vec<Option<f64>>)> {
    let mut all = Vec::new();
    let mut put = |name: &str, values| all.push((name.to_owned(), values));
    let known = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    if let Ok(flow) = &series.flow {
        let sums = [
            ("output_tok_per_s", flow.output_tokens.as_ref()),
            ("input_tok_per_s", flow.input_tokens.as_ref()),
            ("succeeded_per_s", Some(&flow.succeeded)),
            ("failed_per_s", Some(&flow.failed)),
            ("lost_events_per_s", Some(&flow.lost_token_events)),
        ];
        for (name, sums) in sums {
            if let Some(sums) = sums.filter(|sums| sums.iter().any(|sum| *sum > 0.0)) {
                put(name, known(&series.axis.rates_per_s(sums)));
            }
        }
    }
    if let Ok(in_flight) = &series.in_flight {
        let max: Vec<f64> = in_flight.max.iter().map(|max| *max as f64).collect();
        put("in_flight_mean", known(&in_flight.mean));
        put("in_flight_max", known(&max));
        if let Some(due) = &in_flight.due_per_s {
            put("due_per_s", known(due));
        }
    }
    if let Ok(client) = &series.client {
        let lags = [
            (Metric::ClientLag, Some(&client.client_lag)),
            (Metric::DispatchLag, client.dispatch_lag.as_ref()),
        ];
        for (metric, lag) in lags {
            if let Some(lag) = lag {
                put(&format!("{}_p99", metric.key()), lag.p99_ms.clone());
                put(&format!("{}_max", metric.key()), lag.max_ms.clone());
            }
        }
    }
    all
}

/// The percentiles of metrics over time in the same form. Bins that have them in common have the same.
#[must_use]
pub fn percentiles_over_time(series: &RunSeries) -> Vec<(String, Vec<Option<f64>>)> {
    let known = series.over_time.iter();
    let known = known.filter_map(|(metric, one)| Some((metric.key(), one.as_ref().ok()?)));
    known
        .flat_map(|(key, one)| {
            [("p50", &one.p50), ("p90", &one.p90), ("p99", &one.p99)]
                .map(|(percentile, values)| (format!("{key}_{percentile}"), values.clone()))
        })
        .collect()
}
