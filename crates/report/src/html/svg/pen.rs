//! Owns SVG as text: elements, attributes, escaping and short numbers.
//!
//! It must not know axes or marks.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

/// Size of texts.
pub(super) const FONT: f64 = 12.0;

/// How wide a text is, at most.
pub(super) fn width_of(text: &str) -> f64 {
    text.width() as f64 * FONT * 0.56
}

/// A length or a place with one decimal, as short as it can be.
pub(super) fn short(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // without the sign of −0
    format!("{}", rounded + 0.0)
}

/// A number at a tick or in a legend: at most six digits, then with k, M or G.
#[must_use]
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let (value, unit) = match size {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match value.abs() {
        size if size >= 1000.0 || size == 0.0 => 0,
        // four significant digits
        size => (0..9)
            .find(|decimals| size * 10_f64.powi(*decimals) >= 1000.0)
            .map_or(9, i32::unsigned_abs) as usize,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{}{unit}", text.replace('-', "−"))
}

/// Writes elements.
#[derive(Debug, Default)]
pub(super) struct Pen(pub(super) String);

/// Where a text begins, ends or has its middle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Pen {
    /// An element without content.
    pub(super) fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
        self.0.pop();
        self.0.push_str("/>");
    }

    /// The beginning of an element.
    pub(super) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
    }

    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.0, "<{name}");
        for (key, value) in attributes {
            if !value.is_empty() {
                let _ = write!(self.0, " {key}=\"");
                self.escaped(value);
                self.0.push('"');
            }
        }
        self.0.push('>');
    }

    /// The end of an element.
    pub(super) fn close(&mut self, name: &str) {
        let _ = write!(self.0, "</{name}>");
    }

    /// An element with a text in it.
    pub(super) fn around(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.begin(name, attributes);
        self.escaped(text);
        self.close(name);
    }

    /// A text at a place.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.texts(class, anchor, &[(x, y, text)]);
    }

    /// Texts of one kind, which share their attributes where they are several.
    pub(super) fn texts(&mut self, class: &str, anchor: Anchor, texts: &[(f64, f64, &str)]) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let fill = if class == "ink" {
            super::style::INK
        } else {
            super::style::MUTED
        };
        let shared = [("class", class), ("text-anchor", anchor), ("fill", fill)];
        // whole pixels suffice for text
        let place = |value: f64| short(value.round());
        if let [(x, y, text)] = texts {
            let [class, anchor, fill] = shared;
            let own = [class, ("x", &place(*x)), ("y", &place(*y)), anchor, fill];
            return self.around("text", &own, text);
        }
        self.open("g", &shared);
        for (x, y, text) in texts {
            self.around("text", &[("x", &place(*x)), ("y", &place(*y))], text);
        }
        self.close("g");
    }

    fn escaped(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                letter if letter.is_control() => self.0.push(' '),
                letter => self.0.push(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts: Vec<_> = [
            0.0, 0.3, 2.5, 1000.0, 12000.0, 200_000.0, 1.5e6, -0.25, 0.000_12, 33.333_33,
        ]
        .into_iter()
        .map(number)
        .collect();
        assert_eq!(
            texts,
            [
                "0", "0.3", "2.5", "1000", "12000", "200k", "1.5M", "−0.25", "0.00012", "33.33"
            ]
        );
    }

    #[test]
    fn text_from_outside_stays_text() {
        let mut pen = Pen::default();
        pen.around("text", &[("id", "a\"b")], "</script><b>&");
        assert_eq!(
            pen.0,
            "<text id=\"a&quot;b\">&lt;/script&gt;&lt;b&gt;&amp;</text>"
        );
    }
}
