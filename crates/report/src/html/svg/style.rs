//! Owns colours, dashes and markers, and the style sheet that overrides them.
//!
//! It must not know shapes.

/// The style sheet of drawings, light and dark.
pub const STYLE: &str = include_str!("svg.css");

/// Classes of cells.
pub const HEAT_CLASSES: usize = 8;

/// Colours of lines on white, at least 4.5:1: blue, orange, green, pink, brown and grey after Okabe and
/// Ito, darkened.
const COLOURS: [&str; 6] = [
    "#0067a5", "#b34700", "#00734f", "#a33b7a", "#7a5200", "#555",
];

/// Cells from few to many.
pub(super) const HEAT: [&str; HEAT_CLASSES] = [
    "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b",
];

/// Text, axes, grid and shades.
pub(super) const INK: &str = "#222";
pub(super) const MUTED: &str = "#555";
pub(super) const GRID: &str = "#e2e2e2";
pub(super) const SHADE: &str = "#eee";
pub(super) const HATCH: &str = "#bbb";
pub(super) const PAPER: &str = "#fff";

/// One of the colours, with the marker that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tone(pub usize);

impl Tone {
    /// Blue, orange and so on.
    pub(super) fn colour(self) -> &'static str {
        COLOURS[self.number()]
    }

    /// Its number, for classes.
    pub(super) fn number(self) -> usize {
        self.0 % COLOURS.len()
    }

    /// Failures and limits.
    pub const WARNING: Self = Self(1);
    /// What is beside the point.
    pub const QUIET: Self = Self(5);
}

/// How a line is dashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Not at all.
    Solid,
    /// In long dashes.
    Long,
    /// In short dashes.
    Short,
    /// In dots.
    Dots,
    /// In dashes and dots.
    DashDot,
}

impl Dash {
    /// The nth of them.
    #[must_use]
    pub fn nth(number: usize) -> Self {
        [
            Self::Solid,
            Self::Long,
            Self::Short,
            Self::DashDot,
            Self::Dots,
        ][number % 5]
    }

    /// Lengths of dashes and gaps; round ends make each dash as much longer as the line is thick.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Self::Solid => "",
            Self::Long => "8 5",
            Self::Short => "3.5 4.5",
            Self::Dots => ".1 4",
            Self::DashDot => "8 4.5 .1 4.5",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let digits = match colour.len() {
                4 => colour[at.div_ceil(2)..=at.div_ceil(2)].repeat(2),
                _ => colour[at..at + 2].to_owned(),
            };
            let byte = u8::from_str_radix(&digits, 16).unwrap();
            let share = f64::from(byte) / 255.0;
            if share <= 0.03928 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn lines_and_text_stand_out() {
        for colour in COLOURS.into_iter().chain([INK, MUTED]) {
            let on_white = contrast(colour, PAPER);
            assert!(on_white >= 4.5, "{colour} {on_white}");
        }
        let (_, dark) = STYLE.split_once("[data-theme=\"dark\"]").unwrap();
        let of = |name: &str| dark.split_once(name).unwrap().1[1..8].to_owned();
        for name in [
            "--ink", "--muted", "--s0", "--s1", "--s2", "--s3", "--s4", "--s5",
        ] {
            let on_dark = contrast(&of(name), &of("--paper"));
            assert!(on_dark >= 4.5, "{name} {on_dark}");
        }
    }
}
