//! Owns what a chart is to the page that it stands in.
//!
//! It must not know what any chart shows.

/// Texts in the language of the page. Keys of charts begin with `chart.`: `chart.r1.title`; those there
/// are stand in `html/text/charts.en.toml` and `charts.zh.toml`.
pub trait Words {
    /// The text of a key. Parts in braces are for the caller to fill in.
    fn text(&self, key: &str) -> &str;
}

/// Where on the page a chart stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The runs of a command beside each other: S1 to S3.
    Sweep,
    /// Latency: R1, R2, R3.
    Latency,
    /// Throughput and load: R4, R5, R11.
    Load,
    /// Requests: R7 to R10.
    Requests,
    /// Conversations: C1 to C3.
    Conversations,
    /// Server and client: R6.
    Client,
}

impl Group {
    /// All groups of the charts of a run, in the order of the page.
    pub const OF_RUN: [Self; 5] = [
        Self::Latency,
        Self::Load,
        Self::Requests,
        Self::Conversations,
        Self::Client,
    ];

    /// For addresses and text keys: the heading is `group.KEY`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Latency => "latency",
            Self::Load => "load",
            Self::Requests => "requests",
            Self::Conversations => "conversations",
            Self::Client => "client",
        }
    }
}

/// A chart, ready for the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Short name, unique within a run: `r1`.
    pub id: &'static str,
    /// Where it stands.
    pub group: Group,
    /// Its title, as text.
    pub title: String,
    /// What it shows, in words with numbers, as text.
    pub description: String,
    /// The drawing: one complete `<svg>` element, which the elements `ID-title` and `ID-desc` describe.
    pub svg: String,
    /// The id of the drawing.
    pub drawing: String,
    /// The values, in at most 50 rows.
    pub table: Table,
}

/// Values as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

/// Why there is no chart.
#[derive(Clone, Debug, PartialEq)]
pub struct NoChart {
    /// Short name of the chart.
    pub id: &'static str,
    /// Where it would stand.
    pub group: Group,
    /// Its title, as text.
    pub title: String,
    /// What is missing, in one line.
    pub why: String,
}

/// A chart, or why there is none.
pub type Drawn = Result<Chart, NoChart>;
