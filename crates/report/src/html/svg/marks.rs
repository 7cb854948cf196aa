//! Owns what can be drawn between axes.
//!
//! It must not know pixels.

use super::style::{Dash, Tone};

/// Something drawn between the axes of a panel.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A line; a gap where a value is missing. In the legend if it has a name.
    Line {
        /// In the legend; empty for no entry.
        name: String,
        /// Its colour and marker.
        tone: Tone,
        /// How it is dashed.
        dash: Dash,
        /// Whether each point has a marker.
        markers: bool,
        /// Its points.
        points: Vec<(f64, Option<f64>)>,
    },
    /// The space between two lines: x, lower and upper value.
    Band {
        /// Its colour.
        tone: Tone,
        /// Its edges; a gap where they are missing.
        edges: Vec<(f64, Option<(f64, f64)>)>,
    },
    /// Rectangles.
    Bars {
        /// In the legend; empty for no entry.
        name: String,
        /// Their colour.
        tone: Tone,
        /// Hatched in their colour instead of filled.
        hatched: bool,
        /// The rectangles.
        bars: Vec<Bar>,
    },
    /// Cells by class, rows from the bottom.
    Heat {
        /// Edges of the rows, one more than rows.
        rows: Vec<f64>,
        /// Edges of the columns, one more than columns.
        columns: Vec<f64>,
        /// The class of each cell by row, then by column: 0 is empty, 1 to 8 are drawn.
        cells: Vec<Row>,
        /// What the least and the most mean, for the legend.
        ends: (String, String),
    },
    /// A part of the background.
    Shade {
        /// What it is.
        kind: Shade,
        /// Where it begins.
        from: f64,
        /// Where it ends.
        to: f64,
        /// At its top.
        label: String,
    },
    /// A horizontal line from one side to the other, or between two x.
    Level {
        /// Its colour.
        tone: Tone,
        /// How it is dashed.
        dash: Dash,
        /// Where it stands.
        value: f64,
        /// From where to where; everywhere without.
        between: Option<(f64, f64)>,
        /// In the legend.
        name: String,
    },
    /// A vertical line.
    At {
        /// Its colour.
        tone: Tone,
        /// How it is dashed.
        dash: Dash,
        /// Where it stands.
        value: f64,
        /// At its top.
        label: String,
    },
    /// An entry of the legend that explains how some points are drawn.
    Sample {
        /// In the legend.
        name: String,
        /// Its colour and marker.
        tone: Tone,
        /// How it is drawn.
        point: Point,
    },
    /// Single points.
    Points {
        /// In the legend; empty for no entry.
        name: String,
        /// Their colour and marker.
        tone: Tone,
        /// The points.
        points: Vec<Point>,
    },
}

impl Mark {
    /// The y values of lines, for the choice of a scale.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        let points: &[(f64, Option<f64>)] = match self {
            Self::Line { points, .. } => points,
            _ => &[],
        };
        let value = match self {
            Self::Level { value, .. } => Some(*value),
            _ => None,
        };
        points.iter().filter_map(|(_, y)| *y).chain(value)
    }
}

/// A row of cells: classes from left to right.
pub type Row = Vec<u8>;

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// From and to along x.
    pub x: (f64, f64),
    /// From and to along y.
    pub y: (f64, f64),
}

/// A point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Along x.
    pub x: f64,
    /// Along y.
    pub y: f64,
    /// Beside it; empty for none.
    pub label: String,
    /// Not filled.
    pub hollow: bool,
    /// With a cross over it.
    pub crossed: bool,
    /// With a ring around it.
    pub ringed: bool,
}

/// Parts of the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// Grey and hatched: in no figure.
    Excluded,
    /// Grey: still measured, but no longer loaded as asked.
    Fading,
}
