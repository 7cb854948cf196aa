//! Owns how several runs of one load are drawn: the median, and whiskers from the least to the most.
//!
//! It must not know metrics.

use crate::html::svg::{Dash, Mark, Tone};

/// The median; 0 without a value.
pub(super) fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return 0.0;
    }
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

fn ends(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    (least, values.iter().copied().fold(f64::MIN, f64::max))
}

fn line(tone: Tone, points: Vec<(f64, Option<f64>)>) -> Mark {
    Mark::Line {
        name: String::new(),
        tone,
        dash: Dash::Solid,
        markers: false,
        points,
    }
}

/// Whiskers of runs along both axes; none for one run.
pub(super) fn crossed(x: &[f64], y: &[f64], tone: Tone) -> Vec<Mark> {
    if x.len() < 2 || y.len() < 2 {
        return Vec::new();
    }
    let ((left, right), at) = (ends(x), middle(y));
    let across = line(tone, vec![(left, Some(at)), (right, Some(at))]);
    [across]
        .into_iter()
        .chain(upright(middle(x), y, tone))
        .collect()
}

/// A whisker of runs along the y axis; none for one run.
pub(super) fn upright(x: f64, y: &[f64], tone: Tone) -> Option<Mark> {
    let (low, high) = ends(y);
    (y.len() > 1).then(|| line(tone, vec![(x, Some(low)), (x, Some(high))]))
}
