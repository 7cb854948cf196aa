//! Owns the legend of a panel: the name of its axis, then an entry for each named mark.
//!
//! It must not know where marks stand.

use super::marks::{Mark, Point};
use super::pen::{Anchor, FONT, Pen, short, width_of};
use super::style::{Dash, HEAT, HEAT_CLASSES, PAPER, Tone};

/// How high a row is.
pub(super) const ROW: f64 = 19.0;
/// How wide a sample of a mark is.
const SAMPLE: f64 = 22.0;
/// Between entries.
const SPACE: f64 = 12.0;

/// A sample of a mark with its name.
enum Entry<'a> {
    Line(&'a str, Tone, Dash, bool),
    Bars(&'a str, Tone, bool),
    Points(&'a str, Tone, &'a Point),
    Heat(&'a str, &'a str),
}

impl Entry<'_> {
    fn width(&self) -> f64 {
        match self {
            Self::Line(name, ..) | Self::Bars(name, ..) | Self::Points(name, ..) => {
                SAMPLE + 5.0 + width_of(name)
            }
            Self::Heat(least, most) => {
                HEAT_CLASSES as f64 * 12.0 + 10.0 + width_of(least) + width_of(most)
            }
        }
    }
}

/// An entry with its place.
struct Entered<'a> {
    /// The position of its mark.
    mark: usize,
    row: usize,
    x: f64,
    entry: Entry<'a>,
}

/// The entries of marks.
pub(super) struct Legend<'a> {
    placed: Vec<Entered<'a>>,
    label: &'a str,
    /// How many rows it takes.
    pub(super) rows: usize,
}

impl<'a> Legend<'a> {
    /// The legend of a panel of that width.
    pub(super) fn new(label: &'a str, marks: &'a [Mark], width: f64) -> Self {
        let mut placed = Vec::new();
        let first = if label.is_empty() {
            0.0
        } else {
            width_of(label) + SPACE
        };
        let (mut row, mut x) = (0, first);
        let entries = marks.iter().enumerate();
        for (mark, entry) in entries.filter_map(|(nth, mark)| Some((nth, entry(mark)?))) {
            let wide = entry.width();
            if x > 0.0 && x + wide > width {
                (row, x) = (row + 1, 0.0);
            }
            placed.push(Entered {
                mark,
                row,
                x,
                entry,
            });
            x += wide + SPACE;
        }
        Self {
            rows: usize::from(!label.is_empty() || !placed.is_empty()) + row,
            placed,
            label,
        }
    }

    /// Whether the mark at a position has an entry that may hide it: beside others, and not a sample.
    pub(super) fn names(&self, mark: usize) -> bool {
        let can_hide = |one: &&Entered<'_>| !matches!(one.entry, Entry::Heat(..));
        let mut others = self.placed.iter().filter(can_hide);
        self.placed.len() > 1 && others.any(|one| one.mark == mark)
    }

    /// Draw it, the left upper corner there.
    pub(super) fn draw(&self, pen: &mut Pen, id: &str, (left, top): (f64, f64)) {
        if !self.label.is_empty() {
            pen.text("muted", (left, top + FONT), Anchor::Start, self.label);
        }
        if self.placed.is_empty() {
            return;
        }
        pen.open("g", &[("stroke-width", "1.8"), ("stroke-linecap", "round")]);
        for one in &self.placed {
            let x = left + one.x;
            let y = top + ROW * one.row as f64;
            let is_key = self.names(one.mark);
            if is_key {
                pen.open("g", &[("class", &format!("key m{}", one.mark))]);
            }
            let middle = y + FONT * 0.65;
            let name = match &one.entry {
                Entry::Line(name, tone, dash, markers) => {
                    let d = format!("M{} {}h{SAMPLE}", short(x), short(middle));
                    stroke(pen, *tone, *dash, &d);
                    if *markers {
                        let point = Point::default();
                        marker(pen, *tone, (x + SAMPLE / 2.0, middle), &point);
                    }
                    name
                }
                Entry::Bars(name, tone, hatched) => {
                    let d = format!(
                        "M{} {}h{SAMPLE}v9h-{SAMPLE}z",
                        short(x),
                        short(middle - 4.5)
                    );
                    area(pen, id, *tone, *hatched, &d);
                    name
                }
                Entry::Points(name, tone, point) => {
                    marker(pen, *tone, (x + SAMPLE / 2.0, middle), point);
                    name
                }
                Entry::Heat(least, most) => {
                    heat(pen, (x, y), least, most);
                    continue;
                }
            };
            pen.text("ink", (x + SAMPLE + 5.0, y + FONT), Anchor::Start, name);
            if is_key {
                pen.close("g");
            }
        }
        pen.close("g");
    }
}

fn entry(mark: &Mark) -> Option<Entry<'_>> {
    let entry = match mark {
        Mark::Line {
            name,
            tone,
            dash,
            markers,
            ..
        } if !name.is_empty() => Entry::Line(name, *tone, *dash, *markers),
        Mark::Level {
            name, tone, dash, ..
        } if !name.is_empty() => Entry::Line(name, *tone, *dash, false),
        Mark::Bars {
            name,
            tone,
            hatched,
            ..
        } if !name.is_empty() => Entry::Bars(name, *tone, *hatched),
        Mark::Points { name, tone, points } if !name.is_empty() => {
            Entry::Points(name, *tone, points.first()?)
        }
        Mark::Sample { name, tone, point } => Entry::Points(name, *tone, point),
        Mark::Heat { ends, .. } => Entry::Heat(&ends.0, &ends.1),
        _ => return None,
    };
    Some(entry)
}

fn heat(pen: &mut Pen, (x, y): (f64, f64), least: &str, most: &str) {
    pen.text("ink", (x, y + FONT), Anchor::Start, least);
    let left = x + width_of(least) + 5.0;
    pen.open("g", &[("stroke-width", "11"), ("stroke-linecap", "butt")]);
    for (class, colour) in HEAT.iter().enumerate() {
        let x = short((left + 12.0 * class as f64).round());
        let d = format!("M{x} {}h12", short((y + 7.0).round()));
        let class = format!("k{class}");
        pen.empty("path", &[("class", &class), ("d", &d), ("stroke", colour)]);
    }
    pen.close("g");
    let right = left + 12.0 * HEAT_CLASSES as f64 + 5.0;
    pen.text("ink", (right, y + FONT), Anchor::Start, most);
}

/// A stroke along a path, in a plot or a legend, which say how thick it is.
pub(super) fn stroke(pen: &mut Pen, tone: Tone, dash: Dash, d: &str) {
    let attributes = [
        ("class", &*format!("s{}", tone.number())),
        ("d", d),
        ("stroke", tone.colour()),
        ("stroke-dasharray", dash.pattern()),
    ];
    pen.empty("path", &attributes);
}

/// A filled or hatched path.
pub(super) fn area(pen: &mut Pen, id: &str, tone: Tone, hatched: bool, d: &str) {
    if hatched {
        let fill = format!("url(#{id}-hatch{})", tone.number());
        let attributes = [
            ("class", &*format!("s{}", tone.number())),
            ("d", d),
            ("fill", &fill),
            ("stroke", tone.colour()),
            ("stroke-width", "0.6"),
        ];
        pen.empty("path", &attributes);
    } else {
        let attributes = [
            ("class", &*format!("f{}", tone.number())),
            ("d", d),
            ("fill", tone.colour()),
        ];
        pen.empty("path", &attributes);
    }
}

/// The outline of a tone's marker.
pub(super) fn outline(tone: Tone, (x, y): (f64, f64)) -> String {
    let (x, y) = (short(x), short(y));
    match tone.number() {
        0 => format!("M{x} {y}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z"),
        1 => format!("M{x} {y}m-3.2-3.2h6.4v6.4h-6.4z"),
        2 => format!("M{x} {y}m0-4.2l4 7.2h-8z"),
        3 => format!("M{x} {y}m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z"),
        4 => format!("M{x} {y}m0 4.2l4-7.2h-8z"),
        _ => format!("M{x} {y}m-1.3-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z"),
    }
}

/// A marker.
pub(super) fn marker(pen: &mut Pen, tone: Tone, at: (f64, f64), point: &Point) {
    let d = outline(tone, at);
    let class = format!("s{}", tone.number());
    let colour = tone.colour();
    if point.hollow {
        let attributes = [
            ("class", &*format!("{class} paper")),
            ("d", &d),
            ("fill", PAPER),
            ("stroke", colour),
            ("stroke-width", "1.6"),
        ];
        pen.empty("path", &attributes);
    } else {
        let class = format!("f{}", tone.number());
        pen.empty("path", &[("class", &class), ("d", &d), ("fill", colour)]);
    }
    let (x, y) = (short(at.0), short(at.1));
    if point.crossed {
        let d = format!("M{x} {y}m-4.5-4.5l9 9m0-9l-9 9");
        let attributes = [
            ("class", &*class),
            ("d", &d),
            ("fill", "none"),
            ("stroke", colour),
            ("stroke-width", "1.6"),
        ];
        pen.empty("path", &attributes);
    }
    if point.ringed {
        let attributes = [
            ("class", "axis"),
            ("cx", &*x),
            ("cy", &y),
            ("r", "8"),
            ("fill", "none"),
            ("stroke", super::style::MUTED),
            ("stroke-width", "1.6"),
        ];
        pen.empty("circle", &attributes);
    }
}
