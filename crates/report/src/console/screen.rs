//! Owns what text is made for: its width, whether it shows colour, and whether it shows intervals.

/// Whether text may carry escape codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Plain text.
    Plain,
    /// ANSI colours.
    Color,
}

/// Whether the tables of a run say how far its figures can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// They do not.
    Hidden,
    /// There is a table of intervals.
    Shown,
}

/// What text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: u16,
    /// Colours.
    pub ink: Ink,
    /// Intervals.
    pub confidence: Confidence,
}

#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Bold,
    Red,
    Yellow,
    Green,
}

impl Screen {
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => 1,
            Paint::Red => 31,
            Paint::Green => 32,
            Paint::Yellow => 33,
        };
        match self.ink {
            Ink::Plain => text.to_owned(),
            Ink::Color => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
