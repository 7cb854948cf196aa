//! Owns layout: where the panels of a drawing stand, their axes, and each mark in pixels.
//!
//! It must not know what is measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::frame::{Frame, MARGIN, Placed};
use super::legend::{Legend, ROW, area, stroke};
use super::marks::{Bar, Mark, Shade};
use super::over::Taken;
use super::path;
use super::pen::{Anchor, FONT, Pen, number, short, width_of};
use super::style::{Dash, GRID, HATCH, HEAT, HEAT_CLASSES, MUTED, PAPER, SHADE, Tone};
use super::{Axis, Drawing, Height, Panel};

/// How wide drawings are.
const WIDTH: f64 = 600.0;
/// Points of a line that hides few of the cells below it, with an edge around it.
const FEW_POINTS: usize = 60;
/// Between panels.
const GAP: f64 = 14.0;

/// The SVG of a drawing.
#[must_use]
pub fn draw(drawing: &Drawing) -> String {
    let (placed, height) = layout(drawing);
    let id = &drawing.id;
    let mut pen = Pen::default();
    let attributes = [
        ("class", "chart"),
        ("id", id),
        ("role", "img"),
        ("aria-labelledby", &*format!("{id}-title {id}-desc")),
        ("viewBox", &format!("0 0 {WIDTH} {}", short(height))),
        ("width", &short(WIDTH)),
        ("height", &short(height)),
        ("font-family", "system-ui, sans-serif"),
        ("font-size", &short(FONT)),
    ];
    pen.open("svg", &attributes);
    patterns(&mut pen, drawing);
    for placed in &placed {
        placed.draw(&mut pen, id);
    }
    pen.close("svg");
    pen.0
}

fn layout(drawing: &Drawing) -> (Vec<Placed<'_>>, f64) {
    let columns = drawing.columns.max(1);
    let across = (WIDTH - GAP * (columns - 1) as f64) / columns as f64;
    let mut placed = Vec::new();
    let mut top = 0.0;
    for row in drawing.panels.chunks(columns) {
        let legends: Vec<_> = row
            .iter()
            .map(|panel| Legend::new(&panel.y.label, &panel.marks, across - 2.0 * MARGIN))
            .collect();
        let head = |panel: &Panel| if panel.title.is_empty() { 2.0 } else { 19.0 };
        let above = row
            .iter()
            .zip(&legends)
            .map(|(panel, legend)| head(panel) + ROW * legend.rows as f64 + 8.0)
            .fold(0.0, f64::max);
        let mut bottom = top;
        for (nth, (panel, legend)) in row.iter().zip(legends).enumerate() {
            let corner = ((across + GAP) * nth as f64, top);
            let labels = tick_labels(&panel.y);
            let widest = labels.iter().map(|text| width_of(text)).fold(0.0, f64::max);
            // panels below each other have their axes below each other
            let before = if columns == 1 { 52.0 } else { 40.0 };
            let before = f64::max(before, MARGIN + widest + 6.0);
            let frame = Frame {
                left: corner.0 + before,
                top: top + above,
                width: across - before - MARGIN - 4.0,
                height: height_of(panel.height),
            };
            let below = if panel.x.label.is_empty() { 22.0 } else { 40.0 };
            bottom = f64::max(bottom, frame.top + frame.height + below);
            placed.push(Placed {
                panel,
                legend,
                corner,
                frame,
            });
        }
        top = bottom + 6.0;
    }
    (placed, top)
}

fn height_of(height: Height) -> f64 {
    match height {
        Height::Full => 230.0,
        Height::Half => 140.0,
        Height::Strip => 56.0,
        Height::Lanes(lanes) => (lanes as f64 * 12.0).clamp(60.0, 380.0),
    }
}

fn tick_labels(axis: &Axis) -> Vec<String> {
    if axis.ticks.is_empty() {
        axis.scale
            .ticks()
            .iter()
            .map(|tick| number(*tick))
            .collect()
    } else {
        axis.ticks.clone()
    }
}

/// Hatches: of excluded parts, and of the tones in use.
fn patterns(pen: &mut Pen, drawing: &Drawing) {
    let mut wanted: Vec<(String, String, &str)> = Vec::new();
    for mark in drawing.panels.iter().flat_map(|panel| &panel.marks) {
        let (name, class, colour) = match mark {
            Mark::Shade {
                kind: Shade::Excluded,
                ..
            } => (String::new(), "hatch".to_owned(), HATCH),
            Mark::Bars {
                hatched: true,
                tone,
                ..
            } => (
                tone.number().to_string(),
                format!("s{}", tone.number()),
                tone.colour(),
            ),
            _ => continue,
        };
        if !wanted.iter().any(|(other, ..)| *other == name) {
            wanted.push((name, class, colour));
        }
    }
    if wanted.is_empty() {
        return;
    }
    pen.open("defs", &[]);
    for (name, class, colour) in wanted {
        let attributes = [
            ("id", &*format!("{}-hatch{name}", drawing.id)),
            ("width", "6"),
            ("height", "6"),
            ("patternUnits", "userSpaceOnUse"),
            ("patternTransform", "rotate(45)"),
        ];
        pen.open("pattern", &attributes);
        let attributes = [
            ("class", &*class),
            ("d", "M1.5 0v6"),
            ("fill", "none"),
            ("stroke", colour),
            ("stroke-width", "1.6"),
        ];
        pen.empty("path", &attributes);
        pen.close("pattern");
    }
    pen.close("defs");
}

impl Placed<'_> {
    fn draw(&self, pen: &mut Pen, id: &str) {
        let Frame {
            left,
            top,
            width,
            height,
        } = self.frame;
        let scale = &self.panel.x.scale;
        let unit_s = self.panel.x.unit_s.map(|unit_s| unit_s.to_string());
        let attributes = [
            ("class", "panel"),
            ("data-low", &*end(scale.low())),
            ("data-high", &end(scale.high())),
            ("data-unit-s", unit_s.as_deref().unwrap_or_default()),
        ];
        pen.open("g", &attributes);
        let mut below = self.corner.1;
        if !self.panel.title.is_empty() {
            let at = (self.corner.0 + MARGIN, below + 13.0);
            pen.text("ink", at, Anchor::Start, &self.panel.title);
            below += 17.0;
        }
        let corner = (self.corner.0 + MARGIN, below + 2.0);
        self.legend.draw(pen, id, corner);
        let attributes = [
            ("class", "plot"),
            ("x", &*short(left)),
            ("y", &short(top)),
            ("width", &short(width)),
            ("height", &short(height)),
            (
                "viewBox",
                &format!("0 0 {} {}", short(width), short(height)),
            ),
            ("preserveAspectRatio", "none"),
            // of lines, unless they say otherwise
            ("fill", "none"),
            ("stroke-width", "1.8"),
            ("stroke-linejoin", "round"),
            ("stroke-linecap", "round"),
        ];
        pen.open("svg", &attributes);
        // the grid is above shades and below everything else
        let (shades, others): (Vec<_>, Vec<_>) = self
            .panel
            .marks
            .iter()
            .enumerate()
            .partition(|(_, mark)| matches!(mark, Mark::Shade { .. }));
        for (_, mark) in shades {
            self.inside(pen, id, mark);
        }
        self.grid(pen);
        for (nth, mark) in others {
            self.toggled(pen, nth, |pen| self.inside(pen, id, mark));
        }
        pen.close("svg");
        self.axes(pen);
        let mut taken = Taken::default();
        pen.open("g", &[("class", "over")]);
        for (nth, mark) in self.panel.marks.iter().enumerate() {
            self.toggled(pen, nth, |pen| self.over(pen, mark, &mut taken));
        }
        pen.close("g");
        pen.close("g");
    }

    /// What a mark draws, in a group that the script can hide if the legend names it.
    fn toggled(&self, pen: &mut Pen, nth: usize, draw: impl FnOnce(&mut Pen)) {
        if !self.legend.names(nth) {
            return draw(pen);
        }
        let before = pen.0.len();
        pen.open("g", &[("class", &format!("m{nth}"))]);
        let opened = pen.0.len();
        draw(pen);
        if pen.0.len() == opened {
            pen.0.truncate(before);
        } else {
            pen.close("g");
        }
    }

    fn grid(&self, pen: &mut Pen) {
        let mut d = String::new();
        for tick in self.panel.y.scale.ticks() {
            let _ = write!(d, "M0 {}h{}", short(self.y(*tick)), short(self.frame.width));
        }
        let attributes = [
            ("class", "grid"),
            ("d", &*d),
            ("stroke", GRID),
            ("stroke-width", "1"),
        ];
        pen.empty("path", &attributes);
    }

    fn axes(&self, pen: &mut Pen) {
        let frame = self.frame;
        let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
        let d = format!(
            "M{} {}V{}H{}",
            short(frame.left),
            short(frame.top),
            short(bottom),
            short(right)
        );
        let mut ticks = String::new();
        let mut last = f64::MIN;
        let labels = tick_labels(&self.panel.x);
        let mut texts: Vec<(f64, f64, &str)> = Vec::new();
        for (tick, label) in self.panel.x.scale.ticks().iter().zip(&labels) {
            let x = frame.left + self.x(*tick);
            let _ = write!(ticks, "M{} {}v4", short(x), short(bottom));
            let wide = width_of(label);
            let limit = f64::min(right + MARGIN, WIDTH) - wide / 2.0;
            let middle = x.min(limit);
            if middle - wide / 2.0 > last + 4.0 {
                last = middle + wide / 2.0;
                texts.push((middle, bottom + 17.0, label));
            }
        }
        pen.open("g", &[("class", "x")]);
        pen.texts("muted", Anchor::Middle, &texts);
        axis(pen, &ticks);
        pen.close("g");
        texts.clear();
        let mut last = f64::MAX;
        let y_labels = tick_labels(&self.panel.y);
        for (tick, label) in self.panel.y.scale.ticks().iter().zip(&y_labels) {
            let y = frame.top + self.y(*tick);
            if y + FONT < last + 1.0 {
                last = y;
                texts.push((frame.left - 5.0, y + FONT * 0.35, label));
            }
        }
        pen.texts("muted", Anchor::End, &texts);
        if !self.panel.x.label.is_empty() {
            let at = (frame.left + frame.width / 2.0, bottom + 34.0);
            pen.text("muted", at, Anchor::Middle, &self.panel.x.label);
        }
        axis(pen, &d);
    }

    /// What stretches with the axes.
    fn inside(&self, pen: &mut Pen, id: &str, mark: &Mark) {
        match mark {
            Mark::Line {
                tone, dash, points, ..
            } => {
                let d = self.path(points);
                if !d.is_empty() {
                    let is_heat = |mark: &Mark| matches!(mark, Mark::Heat { .. });
                    if points.len() < FEW_POINTS && self.panel.marks.iter().any(is_heat) {
                        casing(pen, &d);
                    }
                    stroke(pen, *tone, *dash, &d);
                }
            }
            Mark::Band { tone, edges } => self.band(pen, *tone, edges),
            Mark::Bars {
                tone,
                hatched,
                bars,
                ..
            } if matches!(self.panel.height, Height::Lanes(_)) => {
                self.lanes(pen, id, (*tone, *hatched), bars);
            }
            Mark::Bars {
                tone,
                hatched,
                bars,
                ..
            } => {
                let d = self.outlines(bars);
                if !d.is_empty() {
                    area(pen, id, *tone, *hatched, &d);
                }
            }
            Mark::Heat {
                rows,
                columns,
                cells,
                ..
            } => self.heat(pen, rows, columns, cells),
            Mark::Shade { kind, from, to, .. } => self.shade(pen, id, *kind, (*from, *to)),
            Mark::Level {
                tone,
                dash,
                value,
                between,
                ..
            } => {
                let scale = &self.panel.x.scale;
                let (from, to) = between.unwrap_or((scale.low(), scale.high()));
                let d = format!(
                    "M{} {}H{}",
                    short(self.x(from)),
                    short(self.y(*value)),
                    short(self.x(to))
                );
                stroke(pen, *tone, *dash, &d);
            }
            Mark::At {
                tone, dash, value, ..
            } => {
                let d = format!("M{} 0V{}", short(self.x(*value)), short(self.frame.height));
                stroke(pen, *tone, *dash, &d);
            }
            Mark::Points { .. } | Mark::Sample { .. } => {}
        }
    }

    /// A line, with a gap where a value is missing.
    fn path(&self, points: &[(f64, Option<f64>)]) -> String {
        let place = |(x, y): &(f64, Option<f64>)| {
            let y = y.filter(|y| y.is_finite() && x.is_finite())?;
            Some((self.x(*x), self.y(y)))
        };
        let places: Vec<Option<(f64, f64)>> = points.iter().map(place).collect();
        let parts = places.split(Option::is_none);
        parts
            .map(|part| path::line(&part.iter().flatten().copied().collect::<Vec<_>>()))
            .collect()
    }

    fn band(&self, pen: &mut Pen, tone: Tone, edges: &[(f64, Option<(f64, f64)>)]) {
        let mut d = String::new();
        for part in edges.split(|(_, edge)| edge.is_none()) {
            let known = part.iter().filter_map(|(x, edge)| Some((*x, (*edge)?)));
            let upper = known
                .clone()
                .map(|(x, (_, high))| (self.x(x), self.y(high)));
            let lower = known.map(|(x, (low, _))| (self.x(x), self.y(low)));
            let corners: Vec<_> = upper.chain(lower.rev()).collect();
            if corners.len() > 2 {
                d += &path::line(&corners);
                d.push('z');
            }
        }
        if d.is_empty() {
            return;
        }
        let attributes = [
            ("class", &*format!("f{}", tone.number())),
            ("d", &d),
            ("fill", tone.colour()),
            ("fill-opacity", "0.15"),
        ];
        pen.empty("path", &attributes);
    }

    /// Bars of lanes as strokes along them: a third as long as rectangles.
    fn lanes(&self, pen: &mut Pen, id: &str, (tone, hatched): (Tone, bool), bars: &[Bar]) {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let mut by_lane: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
        for bar in bars {
            let ends = (tenths(self.x(bar.x.0)), tenths(self.x(bar.x.1)));
            let y = tenths(f64::midpoint(self.y(bar.y.0), self.y(bar.y.1)));
            by_lane.entry(y.to_bits()).or_default().push(ends);
        }
        let mut d = String::new();
        for (y, ends) in &by_lane {
            let mut last = None;
            // what is not even a fraction of a pixel is not seen
            for (from, to) in ends.iter().filter(|(from, to)| to > from) {
                let _ = match last {
                    None => write!(d, "M{} {}", short(*from), short(f64::from_bits(*y))),
                    Some(last) => write!(d, "m{} 0", short(from - last)),
                };
                let _ = write!(d, "h{}", short(to - from));
                last = Some(*to);
            }
        }
        let high = bars
            .first()
            .map_or(0.0, |bar| self.y(bar.y.0) - self.y(bar.y.1));
        let (class, colour) = if hatched {
            let pattern = format!("url(#{id}-hatch{})", tone.number());
            (String::new(), pattern)
        } else {
            (format!("s{}", tone.number()), tone.colour().to_owned())
        };
        let attributes = [
            ("class", &*class),
            ("d", &d),
            ("stroke", &colour),
            ("stroke-linecap", "butt"),
            ("stroke-width", &short(high)),
        ];
        pen.empty("path", &attributes);
    }

    /// Bars as outlines: those that touch each other and stand on one level have one together.
    fn outlines(&self, bars: &[Bar]) -> String {
        let tenths = |value: f64| short((value * 10.0).round() / 10.0);
        let same = |a: f64, b: f64| a.total_cmp(&b).is_eq();
        let touch = |a: &Bar, b: &Bar| same(a.x.1, b.x.0) && same(a.y.0, b.y.0);
        let mut d = String::new();
        for bars in bars.chunk_by(touch) {
            let bottom = tenths(self.y(bars[0].y.0));
            let _ = write!(d, "M{} {bottom}", tenths(self.x(bars[0].x.0)));
            for bar in bars {
                let (top, right) = (tenths(self.y(bar.y.1)), tenths(self.x(bar.x.1)));
                let _ = write!(d, "V{top}H{right}");
            }
            let _ = write!(d, "V{bottom}z");
        }
        d
    }

    /// Cells as strokes along their rows, a path for each class and height: half as long as rectangles.
    fn heat(&self, pen: &mut Pen, rows: &[f64], columns: &[f64], cells: &[Vec<u8>]) {
        let mut paths: BTreeMap<(usize, String), String> = BTreeMap::new();
        for (classes, edges) in cells.iter().zip(rows.windows(2)) {
            let y = f64::midpoint(self.y(edges[0]), self.y(edges[1]));
            let high = short(self.y(edges[0]) - self.y(edges[1]));
            let mut ends = [None; HEAT_CLASSES];
            let mut at = 0;
            for run in classes.chunk_by(|a, b| a == b) {
                let (from, to) = (at, at + run.len());
                at = to;
                let class = usize::from(run[0]);
                let (Some(from), Some(to)) = (columns.get(from), columns.get(to)) else {
                    continue;
                };
                if class == 0 || class > HEAT_CLASSES {
                    continue;
                }
                let (from, to) = (self.x(*from).round(), self.x(*to).round());
                let d = paths.entry((class - 1, high.clone())).or_default();
                let _ = match ends[class - 1] {
                    None => write!(d, "M{} {}", short(from), short(y)),
                    Some(end) => write!(d, "m{} 0", short(from - end)),
                };
                let _ = write!(d, "h{}", short(to - from));
                ends[class - 1] = Some(to);
            }
        }
        for (class, colour) in HEAT.iter().enumerate() {
            let own = paths.range((class, String::new())..(class + 1, String::new()));
            let mut own = own.peekable();
            if own.peek().is_none() {
                continue;
            }
            let attributes = [
                ("class", &*format!("k{class}")),
                ("stroke", colour),
                ("stroke-linecap", "butt"),
                ("shape-rendering", "crispEdges"),
            ];
            pen.open("g", &attributes);
            for ((_, high), d) in own {
                pen.empty("path", &[("d", d), ("stroke-width", high)]);
            }
            pen.close("g");
        }
    }

    fn shade(&self, pen: &mut Pen, id: &str, kind: Shade, (from, to): (f64, f64)) {
        let (left, right) = (self.x(from), self.x(to));
        let place = [
            ("x", short(left)),
            ("y", "0".to_owned()),
            ("width", short((right - left).max(0.0))),
            ("height", short(self.frame.height)),
        ];
        let mut rectangle = |class: &str, fill: &str| {
            let mut attributes = vec![("class", class)];
            attributes.extend(place.iter().map(|(key, value)| (*key, value.as_str())));
            attributes.push(("fill", fill));
            pen.empty("rect", &attributes);
        };
        rectangle("shade", SHADE);
        if kind == Shade::Excluded {
            rectangle("", &format!("url(#{id}-hatch)"));
        }
    }
}

/// An end of a scale for the script.
fn end(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    (rounded + 0.0).to_string()
}

/// Strokes of an axis.
fn axis(pen: &mut Pen, d: &str) {
    let attributes = [
        ("class", "axis"),
        ("d", d),
        ("fill", "none"),
        ("stroke", MUTED),
        ("stroke-width", "1"),
    ];
    pen.empty("path", &attributes);
}

/// What keeps a line apart from the cells below it.
fn casing(pen: &mut Pen, d: &str) {
    let attributes = [
        ("class", "paper-edge"),
        ("d", d),
        ("stroke", PAPER),
        ("stroke-width", "4.5"),
    ];
    pen.empty("path", &attributes);
}

impl Dash {
    /// Of limits.
    pub const LIMIT: Self = Self::Dots;
}
