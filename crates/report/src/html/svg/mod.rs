//! Owns drawings: a description of panels with axes and marks, and the SVG made of it. Colours, strokes
//! and sizes stand as attributes on every element, so that a drawing is legible where styles are
//! forbidden; classes let the style sheet override them.
//!
//! It must not know what is measured, nor any language.

mod draw;

mod frame;

mod legend;

mod marks;

mod over;

mod path;

mod pen;

mod spark;

mod style;

pub use draw::draw;
pub use marks::{Bar, Mark, Point, Row, Shade};
pub use spark::spark;
pub use style::{Dash, HEAT_CLASSES, STYLE, Tone};

use super::scale::Scale;

/// A drawing.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Prefix of the ids inside; unique on the page. What is around it has its title and its description, with
    /// the ids `ID-title` and `ID-desc`.
    pub id: String,
    /// Panels side by side: 1 or 2.
    pub columns: usize,
    /// What is drawn, from left to right and top to bottom.
    pub panels: Vec<Panel>,
}

/// One pair of axes with what is drawn between them.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Above it; empty for none.
    pub title: String,
    /// How high the space between the axes is.
    pub height: Height,
    /// Along the bottom.
    pub x: Axis,
    /// Along the left side.
    pub y: Axis,
    /// What is drawn, the first at the back.
    pub marks: Vec<Mark>,
}

/// Heights of panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Height {
    /// Of a chart with one panel.
    Full,
    /// Of one of several.
    Half,
    /// A strip below another panel.
    Strip,
    /// A row for each of so many lanes.
    Lanes(usize),
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Where values stand.
    pub scale: Scale,
    /// What they are, with their unit.
    pub label: String,
    /// The texts at the ticks, as many as the scale has; empty for numbers.
    pub ticks: Vec<String>,
    /// Of a time axis that the script may zoom: seconds of its unit.
    pub unit_s: Option<f64>,
}

impl Axis {
    /// An axis with numbers at its ticks.
    #[must_use]
    pub fn new(scale: Scale, label: impl Into<String>) -> Self {
        Self {
            scale,
            label: label.into(),
            ticks: Vec::new(),
            unit_s: None,
        }
    }
}
