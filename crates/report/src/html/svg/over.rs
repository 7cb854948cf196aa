//! Owns what is drawn over a panel and keeps its size: markers, points, and the texts beside them.
//!
//! It must not know where panels stand.

use super::frame::{Frame, MARGIN, Placed};
use super::legend::{marker, outline};
use super::marks::{Mark, Point};
use super::pen::{FONT, Pen, short, width_of};
use super::style::{INK, PAPER};

/// How wide a shade is to have its name, pixels.
const LEAST_NAMED: f64 = 2.0;

/// Texts do not cover each other.
#[derive(Default)]
pub(super) struct Taken(Vec<(f64, f64, f64, f64)>);

impl Taken {
    /// Take the place of a text if it is free: left edge, base line, width.
    fn take(&mut self, (left, base): (f64, f64), width: f64) -> bool {
        let own = (left - 2.0, base - FONT, left + width + 2.0, base + 3.0);
        let is_free = self.0.iter().all(|other| {
            own.0 >= other.2 || own.2 <= other.0 || own.1 >= other.3 || own.3 <= other.1
        });
        if is_free {
            self.0.push(own);
        }
        is_free
    }
}

impl Placed<'_> {
    /// What keeps its size.
    pub(super) fn over(&self, pen: &mut Pen, mark: &Mark, taken: &mut Taken) {
        let Frame { left, top, .. } = self.frame;
        match mark {
            Mark::Line {
                tone,
                markers: true,
                points,
                ..
            } => {
                let d: String = points
                    .iter()
                    .filter_map(|(x, y)| Some((*x, (*y).filter(|y| y.is_finite())?)))
                    .map(|(x, y)| outline(*tone, (left + self.x(x), top + self.y(y))))
                    .collect();
                let class = format!("f{}", tone.number());
                pen.empty(
                    "path",
                    &[("class", &class), ("d", &d), ("fill", tone.colour())],
                );
            }
            Mark::Points { tone, points, .. } => {
                for point in points {
                    let at = (left + self.x(point.x), top + self.y(point.y));
                    marker(pen, *tone, at, point);
                    taken.take((at.0 - 4.0, at.1 + 4.0), 8.0);
                }
                for point in points.iter().filter(|point| !point.label.is_empty()) {
                    self.name(pen, point, taken);
                }
            }
            Mark::Shade {
                from, to, label, ..
            } if !label.is_empty() && self.x(*to) - self.x(*from) > LEAST_NAMED => {
                let middle = f64::midpoint(self.x(*from), self.x(*to));
                self.top_label(pen, left + middle, label, taken);
            }
            Mark::At { value, label, .. } if !label.is_empty() => {
                let x = left + self.x(*value) + width_of(label) / 2.0 + 4.0;
                self.top_label(pen, x, label, taken);
            }
            _ => {}
        }
    }

    /// The name of a point, where there is room beside it.
    fn name(&self, pen: &mut Pen, point: &Point, taken: &mut Taken) {
        let frame = self.frame;
        let at = (frame.left + self.x(point.x), frame.top + self.y(point.y));
        let wide = width_of(&point.label);
        let places = [
            (at.0 + 8.0, at.1 - 6.0),
            (at.0 - wide - 8.0, at.1 - 6.0),
            (at.0 + 9.0, at.1 + 14.0),
            (at.0 - wide - 9.0, at.1 + 14.0),
            (at.0 - wide / 2.0, at.1 - 10.0),
            (at.0 - wide / 2.0, at.1 + 19.0),
        ];
        let place = places.into_iter().find(|place| {
            let is_inside = place.0 >= frame.left
                && place.0 + wide <= frame.left + frame.width + MARGIN
                && place.1 - FONT >= frame.top - 8.0
                && place.1 <= frame.top + frame.height - 2.0;
            is_inside && taken.take(*place, wide)
        });
        if let Some(place) = place {
            halo(pen, place, &point.label);
        }
    }

    /// A text at the top, or a line below another one there.
    fn top_label(&self, pen: &mut Pen, middle: f64, label: &str, taken: &mut Taken) {
        let frame = self.frame;
        let wide = width_of(label);
        let right = frame.left + frame.width + MARGIN - wide;
        let left = (middle - wide / 2.0).max(frame.left + 1.0).min(right);
        let bases = (0..4).map(|line| frame.top + FONT + 2.0 + 14.0 * f64::from(line));
        let base = bases
            .into_iter()
            .find(|base| *base < frame.top + frame.height && taken.take((left, *base), wide));
        if let Some(base) = base {
            halo(pen, (left, base), label);
        }
    }
}

/// A text over marks.
fn halo(pen: &mut Pen, (x, y): (f64, f64), text: &str) {
    let attributes = [
        ("class", "ink paper-edge"),
        ("x", &*short(x)),
        ("y", &short(y)),
        ("fill", INK),
        ("stroke", PAPER),
        ("stroke-width", "3"),
        ("paint-order", "stroke"),
    ];
    pen.around("text", &attributes, text);
}
