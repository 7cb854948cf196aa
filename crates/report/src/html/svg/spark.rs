//! Owns small pictures of counts over time, without axes.
//!
//! It must not know what is counted.

use std::fmt::Write as _;

use super::pen::{Pen, short};
use super::style::Tone;

const WIDTH: usize = 120;
const HEIGHT: f64 = 18.0;

/// Counts of bins of equal width. The table that it is in says the same, so it is hidden from readers that
/// do not see it.
#[must_use]
pub fn spark(counts: &[u32]) -> String {
    let together = counts.len().div_ceil(WIDTH / 2).max(1);
    let sums: Vec<u32> = counts
        .chunks(together)
        .map(|part| part.iter().sum())
        .collect();
    let most = f64::from(sums.iter().copied().max().unwrap_or(0).max(1));
    let wide = WIDTH as f64 / sums.len().max(1) as f64;
    let mut d = String::new();
    for (nth, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
        // a single one is still seen
        let high = (HEIGHT * f64::from(*sum) / most).max(2.0);
        let x = wide * (nth as f64 + 0.5);
        let _ = write!(d, "M{} {HEIGHT}v-{}", short(x), short(high));
    }
    let mut pen = Pen::default();
    let (width, height) = (WIDTH.to_string(), HEIGHT.to_string());
    let attributes = [
        ("class", "chart spark"),
        ("aria-hidden", "true"),
        ("viewBox", &*format!("0 0 {WIDTH} {HEIGHT}")),
        ("width", &width),
        ("height", &height),
    ];
    pen.open("svg", &attributes);
    let attributes = [
        ("class", &*format!("s{}", Tone::WARNING.number())),
        ("d", &d),
        ("fill", "none"),
        ("stroke", Tone::WARNING.colour()),
        ("stroke-width", &short((wide - 0.5).max(1.0))),
    ];
    pen.empty("path", &attributes);
    pen.close("svg");
    pen.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_where_something_was_counted() {
        assert!(spark(&[0, 4, 1, 0]).contains("d=\"M45 18v-18M75 18v-4.5\""));
        assert!(spark(&[]).contains("<path"));
    }
}
