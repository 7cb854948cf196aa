//! Owns layout: where the panels of a drawing stand, their axes, and each mark in pixels.
//!
//! It must not know what is measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::frame::{Frame, MARGIN, Placed};
use super::legend::{Legend, ROW, area, stroke};
use super::marks::{Bar, Mark, Shade};
use super::over::Taken;
use super::pen::{Anchor, FONT, Pen, number, short, width_of};
use super::style::{Dash, GRID, HATCH, HEAT, HEAT_CLASSES, MUTED, PAPER, SHADE, Tone};
use super::{Axis, Drawing, Height, Panel};

/// How wide drawings are.
const WIDTH: f64 = 760.0;
/// Points of a line of which half a pixel cannot be told any more.
const MANY_POINTS: usize = 200;
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
        ("xmlns", "http://www.w3.org/2000/svg"),
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
    pen.around("title", &[("id", &format!("{id}-title"))], &drawing.title);
    pen.around(
        "desc",
        &[("id", &format!("{id}-desc"))],
        &drawing.description,
    );
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
            .map(|(panel, legend)| head(panel) + ROW * legend.rows as f64 + 6.0)
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
            let below = if panel.x.label.is_empty() { 20.0 } else { 36.0 };
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
        Height::Full => 240.0,
        Height::Half => 150.0,
        Height::Strip => 56.0,
        Height::Lanes(lanes) => (lanes as f64 * 14.0).clamp(60.0, 420.0),
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
        let attributes = [
            ("class", "panel"),
            ("data-low", &*scale.low().to_string()),
            ("data-high", &scale.high().to_string()),
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
        ];
        pen.open("svg", &attributes);
        // the grid is above shades and below everything else
        let (shades, others): (Vec<_>, Vec<_>) = self
            .panel
            .marks
            .iter()
            .partition(|mark| matches!(mark, Mark::Shade { .. }));
        for mark in shades {
            self.inside(pen, id, mark);
        }
        self.grid(pen);
        for mark in others {
            self.inside(pen, id, mark);
        }
        pen.close("svg");
        self.axes(pen);
        let mut taken = Taken::default();
        for mark in &self.panel.marks {
            self.over(pen, mark, &mut taken);
        }
        pen.close("g");
    }

    fn grid(&self, pen: &mut Pen) {
        let mut d = String::new();
        for tick in self.panel.y.scale.ticks() {
            let _ = write!(d, "M0 {}h{}", short(self.y(*tick)), short(self.frame.width));
        }
        let attributes = [
            ("class", "grid"),
            ("d", &*d),
            ("fill", "none"),
            ("stroke", GRID),
            ("stroke-width", "1"),
            ("vector-effect", "non-scaling-stroke"),
        ];
        pen.empty("path", &attributes);
    }

    fn axes(&self, pen: &mut Pen) {
        let frame = self.frame;
        let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
        let mut d = format!(
            "M{} {}V{}H{}",
            short(frame.left),
            short(frame.top),
            short(bottom),
            short(right)
        );
        let mut last = f64::MIN;
        let labels = tick_labels(&self.panel.x);
        let mut texts: Vec<(f64, f64, &str)> = Vec::new();
        for (tick, label) in self.panel.x.scale.ticks().iter().zip(&labels) {
            let x = frame.left + self.x(*tick);
            let _ = write!(d, "M{} {}v4", short(x), short(bottom));
            let wide = width_of(label);
            let limit = f64::min(right + MARGIN, WIDTH) - wide / 2.0;
            let middle = x.min(limit);
            if middle - wide / 2.0 > last + 4.0 {
                last = middle + wide / 2.0;
                texts.push((middle, bottom + 15.0, label));
            }
        }
        pen.texts("muted", Anchor::Middle, &texts);
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
            let at = (frame.left + frame.width / 2.0, bottom + 30.0);
            pen.text("muted", at, Anchor::Middle, &self.panel.x.label);
        }
        let attributes = [
            ("class", "axis"),
            ("d", &*d),
            ("fill", "none"),
            ("stroke", MUTED),
            ("stroke-width", "1"),
        ];
        pen.empty("path", &attributes);
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
            } => {
                let d: String = bars.iter().map(|bar| self.rectangle(*bar)).collect();
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

    /// A line, in whole pixels where it has many points.
    fn path(&self, points: &[(f64, Option<f64>)]) -> String {
        let place = |value: f64| {
            if points.len() > MANY_POINTS {
                value.round()
            } else {
                (value * 10.0).round() / 10.0
            }
        };
        let mut d = String::new();
        let mut last = None;
        for (nth, (x, y)) in points.iter().enumerate() {
            let Some(y) = y.filter(|y| y.is_finite() && x.is_finite()) else {
                last = None;
                continue;
            };
            let at = (place(self.x(*x)), place(self.y(y)));
            let _ = match last {
                None => write!(d, "M{} {}", short(at.0), short(at.1)),
                Some((x, y)) => write!(d, "l{} {}", short(at.0 - x), short(at.1 - y)),
            };
            let is_followed = points.get(nth + 1).is_some_and(|(_, y)| y.is_some());
            if last.is_none() && !is_followed {
                // a point on its own is a dot
                d += "h0";
            }
            last = Some(at);
        }
        d
    }

    fn band(&self, pen: &mut Pen, tone: Tone, edges: &[(f64, Option<(f64, f64)>)]) {
        let mut d = String::new();
        for part in edges.split(|(_, edge)| edge.is_none()) {
            let at = |x: f64, y: f64| format!("{} {}", short(self.x(x)), short(self.y(y)));
            let known = part.iter().filter_map(|(x, edge)| Some((*x, (*edge)?)));
            let mut corners: Vec<_> = known.clone().map(|(x, (_, high))| at(x, high)).collect();
            corners.extend(known.rev().map(|(x, (low, _))| at(x, low)));
            if corners.len() > 2 {
                let _ = write!(d, "M{}z", corners.join("L"));
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

    fn rectangle(&self, bar: Bar) -> String {
        let (left, right) = (self.x(bar.x.0), self.x(bar.x.1));
        let (bottom, top) = (self.y(bar.y.0), self.y(bar.y.1));
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let wide = short(tenths(right) - tenths(left));
        let high = short(tenths(bottom) - tenths(top));
        format!("M{} {}h{wide}v{high}h-{wide}z", short(left), short(top))
    }

    /// Cells as strokes along their rows, a path for each class and height: half as long as rectangles.
    fn heat(&self, pen: &mut Pen, rows: &[f64], columns: &[f64], cells: &[Vec<u8>]) {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
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
                let (from, to) = (tenths(self.x(*from)), tenths(self.x(*to)));
                let d = paths.entry((class - 1, high.clone())).or_default();
                let _ = match ends[class - 1] {
                    None => write!(d, "M{} {}", short(from), short(y)),
                    Some(end) => write!(d, "m{} 0", short(from - end)),
                };
                let _ = write!(d, "h{}", short(to - from));
                ends[class - 1] = Some(to);
            }
        }
        for ((class, high), d) in &paths {
            let attributes = [
                ("class", &*format!("k{class}")),
                ("d", d),
                ("fill", "none"),
                ("stroke", HEAT[*class]),
                ("stroke-width", high),
                ("shape-rendering", "crispEdges"),
            ];
            pen.empty("path", &attributes);
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

/// What keeps a line apart from the cells below it.
fn casing(pen: &mut Pen, d: &str) {
    let attributes = [
        ("class", "paper-edge"),
        ("d", d),
        ("fill", "none"),
        ("stroke", PAPER),
        ("stroke-width", "4.5"),
        ("stroke-linecap", "round"),
        ("stroke-linejoin", "round"),
        ("vector-effect", "non-scaling-stroke"),
    ];
    pen.empty("path", &attributes);
}

impl Dash {
    /// Of limits.
    pub const LIMIT: Self = Self::Dots;
}
