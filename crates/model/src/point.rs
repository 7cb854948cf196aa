//! Owns which point of a command a run is: its place in the order, what people call it, and the
//! name of its folder.
//!
//! It must not know what is measured at a point.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};

/// The folder of the probes of a search for capacity, as EvalScope names it.
pub const PROBES: &str = "sla_tuning";

/// Which point of a command a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointId {
    /// Its place in the order of the command, from 1; `None` in files of earlier versions.
    #[serde(default)]
    pub ordinal: Option<NonZeroUsize>,
    /// What people call it: its load, and what else tells it from the other points.
    #[serde(rename = "name")]
    pub label: String,
    /// Which measurement of the same load it is, from 1; `None` if each load is measured once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<NonZeroU32>,
    /// The folder that its own lies in; `None`: that of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

impl PointId {
    /// The first point of a command.
    #[must_use]
    pub fn first(label: &str) -> Self {
        Self::after([], label)
    }

    /// The point that comes after others. If one of them has its label, it gets a number, so that
    /// each point has a folder of its own.
    ///
    /// ```
    /// use evalscope_model::point::PointId;
    /// let first = PointId::first("parallel_2_number_9");
    /// let second = PointId::after([&first], "parallel_2_number_9");
    /// assert_eq!(second.label, "parallel_2_number_9_2");
    /// assert_eq!(second.ordinal.map(usize::from), Some(2));
    /// ```
    #[must_use]
    pub fn after<'a>(before: impl IntoIterator<Item = &'a Self>, label: &str) -> Self {
        let taken: Vec<String> = before.into_iter().map(Self::folder).collect();
        let mut id = Self {
            ordinal: NonZeroUsize::new(taken.len() + 1),
            label: label.to_owned(),
            repetition: None,
            within: None,
        };
        let mut repeat = 1_u64;
        while taken.contains(&id.folder()) {
            repeat += 1;
            id.label = format!("{label}_{repeat}");
        }
        id
    }

    /// The same load measured again: from the second time on, the label says which it is.
    ///
    /// ```
    /// use evalscope_model::point::PointId;
    /// use std::num::NonZeroU32;
    /// let point = PointId::first("parallel_2_number_9");
    /// assert_eq!(point.clone().repeated(NonZeroU32::MIN).label, "parallel_2_number_9");
    /// let third = point.repeated(NonZeroU32::new(3).unwrap());
    /// assert_eq!(third.label, "parallel_2_number_9_rep3");
    /// assert_eq!(third.load_label(), "parallel_2_number_9");
    /// ```
    #[must_use]
    pub fn repeated(mut self, repetition: NonZeroU32) -> Self {
        if repetition > NonZeroU32::MIN {
            self.label = format!("{}_rep{repetition}", self.label);
        }
        self.repetition = Some(repetition);
        self
    }

    /// What all measurements of its load are called.
    #[must_use]
    pub fn load_label(&self) -> &str {
        let suffix = self.repetition.map(|nth| format!("_rep{nth}"));
        suffix
            .and_then(|suffix| self.label.strip_suffix(&suffix))
            .unwrap_or(&self.label)
    }

    /// The same point in a folder with others of its kind.
    ///
    /// ```
    /// use evalscope_model::point::{PROBES, PointId};
    /// let probe = PointId::first("sla_rate_0.5_run_0").within(PROBES);
    /// assert_eq!(probe.folder(), "sla_tuning/sla_rate_0.5_run_0");
    /// ```
    #[must_use]
    pub fn within(self, folder: &str) -> Self {
        Self {
            within: Some(folder.to_owned()),
            ..self
        }
    }

    /// The name of its folder, below that of the command.
    ///
    /// ```
    /// use evalscope_model::point::PointId;
    /// assert_eq!(PointId::first("rate_0.5_number_9").folder(), "rate_0.5_number_9");
    /// assert_eq!(PointId::first("p99 < 2 s").folder(), "p99___2_s");
    /// ```
    #[must_use]
    pub fn folder(&self) -> String {
        let plain = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '_',
        };
        let own: String = self.label.chars().map(plain).collect();
        match &self.within {
            Some(folder) => format!("{folder}/{own}"),
            None => own,
        }
    }
}

/// Whether a folder's name is that of a run, as [`PointId::folder`] makes it of the label of a load.
///
/// ```
/// use evalscope_model::point::is_run_name;
/// assert!(is_run_name("parallel_8_number_100"));
/// assert!(is_run_name("parallel_8_number_100_rate_0.5_2"));
/// assert!(is_run_name("rate_5.0_duration_30s"));
/// assert!(is_run_name("rate_profile1_number_all"));
/// assert!(is_run_name("parallel_8_number_100_rep3"));
/// assert!(is_run_name("sla_rate_26.1_run_0"));
/// assert!(!is_run_name("parallel_8"));
/// ```
#[must_use]
pub fn is_run_name(name: &str) -> bool {
    let whole = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_plain && text.parse::<f64>().is_ok()
    };
    let rate_of = |text: &str| {
        let nth = text.strip_prefix("profile");
        number(text) || nth.is_some_and(whole)
    };
    let load = match name.rsplit_once("_rep") {
        Some((load, nth)) if whole(nth) => load,
        _ => name,
    };
    let parts: Vec<&str> = load.split('_').collect();
    if let ["sla", "parallel" | "rate", value, "run", nth] = parts[..] {
        return number(value) && whole(nth);
    }
    let (load, amount) = match parts.as_slice() {
        ["parallel", slots, rest @ ..] if whole(slots) => (true, rest),
        ["rate", rate, rest @ ..] if rate_of(rate) => (false, rest),
        _ => return false,
    };
    let behind = match amount {
        ["number", requests, rest @ ..] if whole(requests) || *requests == "all" => rest,
        ["duration", seconds, rest @ ..] if seconds.strip_suffix('s').is_some_and(number) => rest,
        _ => return false,
    };
    match behind {
        [] => true,
        ["rate", rate] => load && rate_of(rate),
        ["rate", rate, nth] => load && rate_of(rate) && whole(nth),
        [nth] => whole(nth),
        _ => false,
    }
}
