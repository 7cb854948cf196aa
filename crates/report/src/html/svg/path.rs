//! Owns paths: lines through places, with no more of them than are seen, in as few letters as they take.
//!
//! It must not know what a line means.

use std::fmt::Write as _;

use super::pen::short;

/// Places that are left out are no further from the line than this, pixels.
const SEEN: f64 = 0.3;
/// Lines with more places have them in whole pixels.
const MANY: usize = 50;

/// A line through some places.
pub(super) fn line(places: &[(f64, f64)]) -> String {
    let whole = places.len() > MANY;
    let seen = thinned(places, if whole { 2.0 * SEEN } else { SEEN });
    let round = |value: f64| {
        let steps = if whole { 1.0 } else { 10.0 };
        (value * steps).round() / steps
    };
    let mut d = String::new();
    let mut last: Option<(f64, f64)> = None;
    for place in &seen {
        let at = (round(place.0), round(place.1));
        match last {
            None => {
                let _ = write!(d, "M{} {}", short(at.0), short(at.1));
            }
            Some(last) if last == at => continue,
            Some(last) => step(&mut d, at.0 - last.0, at.1 - last.1),
        }
        last = Some(at);
    }
    if seen.len() == 1 {
        // a place on its own is a dot
        d += "h0";
    }
    d
}

/// A step; the letter stands for those after it, too.
fn step(d: &mut String, x: f64, y: f64) {
    let is_first = !d.contains('l');
    for (nth, value) in [x, y].into_iter().enumerate() {
        let text = short(value);
        let text = match text.strip_prefix("0.") {
            Some(decimals) => format!(".{decimals}"),
            None => text.replacen("-0.", "-.", 1),
        };
        if is_first && nth == 0 {
            d.push('l');
        } else if !text.starts_with('-') {
            d.push(' ');
        }
        d.push_str(&text);
    }
}

/// The places that shape a line (Ramer 1972, Douglas and Peucker 1973).
fn thinned(places: &[(f64, f64)], seen: f64) -> Vec<(f64, f64)> {
    if places.len() < 3 {
        return places.to_vec();
    }
    let mut kept = vec![false; places.len()];
    let mut parts = vec![(0, places.len() - 1)];
    while let Some((from, to)) = parts.pop() {
        (kept[from], kept[to]) = (true, true);
        let away = |nth: usize| distance(places[nth], places[from], places[to]);
        let furthest = (from + 1..to).max_by(|a, b| away(*a).total_cmp(&away(*b)));
        if let Some(nth) = furthest.filter(|nth| away(*nth) > seen) {
            parts.extend([(from, nth), (nth, to)]);
        }
    }
    let both = places.iter().zip(kept);
    both.filter_map(|(place, kept)| kept.then_some(*place))
        .collect()
}

/// From a place to the line between two others.
fn distance(place: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (x, y) = (to.0 - from.0, to.1 - from.1);
    let (own_x, own_y) = (place.0 - from.0, place.1 - from.1);
    let length = x.hypot(y);
    if length == 0.0 {
        return own_x.hypot(own_y);
    }
    let along = ((own_x * x + own_y * y) / length).clamp(0.0, length);
    (own_x - along * x / length).hypot(own_y - along * y / length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_short() {
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[(1.0, 2.04)]), "M1 2h0");
        let places = [(0.0, 5.0), (1.0, 4.0), (2.0, 3.0), (2.5, 3.5), (3.0, 0.0)];
        assert_eq!(line(&places), "M0 5l2-2 .5 .5 .5-3.5");
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_not_seen(heights in prop::collection::vec(0.0..100.0f64, 1..60)) {
            let places: Vec<_> = (0..60).map(f64::from).zip(heights).collect();
            let kept = thinned(&places, SEEN);
            for place in &places {
                let near = kept.windows(2).any(|ends| distance(*place, ends[0], ends[1]) <= SEEN);
                prop_assert!(near || kept.contains(place), "{place:?} {kept:?}");
            }
        }
    }
}
