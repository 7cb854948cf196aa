//! Owns where a panel stands, and where values stand in it.
//!
//! It must not know what is drawn there.

use super::Panel;
use super::legend::Legend;

/// Left and right of a panel.
pub(super) const MARGIN: f64 = 12.0;

/// The space between the axes of a panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A panel with its place.
pub(super) struct Placed<'a> {
    pub(super) panel: &'a Panel,
    pub(super) legend: Legend<'a>,
    /// Upper left corner of everything.
    pub(super) corner: (f64, f64),
    pub(super) frame: Frame,
}

impl Placed<'_> {
    /// Place along x inside the frame.
    pub(super) fn x(&self, value: f64) -> f64 {
        self.panel.x.scale.at(value) * self.frame.width
    }

    /// Place along y inside the frame, from its top.
    pub(super) fn y(&self, value: f64) -> f64 {
        (1.0 - self.panel.y.scale.at(value)) * self.frame.height
    }
}
