//! Owns the two text formats that Prometheus reads: its own, 0.0.4, and `OpenMetrics` 1.0.0.
//!
//! It must not know which metrics there are.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an HTTP header `Accept` prefers: `OpenMetrics` only where it is named.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let quality = |wanted: &str| {
            accept
                .split(',')
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let kind = parts.next()?;
                    if !kind.eq_ignore_ascii_case(wanted) {
                        return None;
                    }
                    let quality = parts.find_map(|part| part.strip_prefix("q="));
                    quality.map_or(Some(1.0), |q| q.parse::<f64>().ok())
                })
                .fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The value of an HTTP header `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    Gauge,
    /// Always 1; what it says is in its labels, and its name ends in `_info`.
    Info,
    /// Of times in seconds.
    Histogram,
}

/// A name with its meaning.
#[derive(Clone, Debug)]
pub(super) struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

impl Family {
    pub(super) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help }
    }

    /// A histogram of times in seconds.
    pub(super) const fn seconds(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, help)
    }
}

/// A text that is being written. The samples of a family follow it.
#[derive(Debug)]
pub(super) struct Page {
    format: Format,
    text: String,
    /// The name of the family that is being written.
    name: &'static str,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
            name: "",
        }
    }

    /// Begin a family.
    pub(super) fn family(&mut self, family: &Family) {
        self.name = family.name;
        let open = self.format == Format::OpenMetrics;
        let (ending, kind) = match family.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Info if open => ("_info", "info"),
            Kind::Gauge | Kind::Info => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        // OpenMetrics names a family without what its samples end in
        let name = match family.name.strip_suffix(ending) {
            Some(name) if open => name,
            _ => family.name,
        };
        let _ = writeln!(self.text, "# HELP {name} {}", family.help);
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if open && family.kind == Kind::Histogram {
            let _ = writeln!(self.text, "# UNIT {name} seconds");
        }
    }

    /// Write a sample of the family; `part` follows its name.
    pub(super) fn sample(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{part}", self.name);
        let mut mark = '{';
        for (label, text) in labels {
            let _ = write!(self.text, "{mark}{label}=\"{}\"", escaped(text));
            mark = ',';
        }
        if mark == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A label's value.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    let escaped = text.replace('\\', r"\\").replace('"', "\\\"");
    escaped.replace('\n', r"\n").into()
}
