//! Owns profiles in files: points in time with a rate, as JSON or as CSV.
//!
//! It must not know what a profile is used for.

use std::path::Path;

use anyhow::Context as _;
use evalscope_model::profile::Profile;
use serde::Deserialize;

use crate::failure::hinted;

const FORMS: &str = "a profile file is JSON, [{\"time_s\":0,\"qps\":5},{\"time_s\":60,\"qps\":50}], or CSV \
                     with the header time_s,rate";

/// A file of 10,000 points is far smaller.
const MOST_BYTES: u64 = 4 << 20;

/// A point of a profile: in JSON as `AIPerf` writes it, or a row of the CSV file.
#[derive(Debug, Deserialize)]
struct Point {
    time_s: f64,
    #[serde(alias = "qps")]
    rate: f64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Points {
    List(Vec<Point>),
    Object { points: Vec<Point> },
}

/// The profile in a file.
pub(super) fn read(file: &Path) -> anyhow::Result<Profile> {
    let cannot = || format!("`--rate @{}` cannot be read", file.display());
    let about = std::fs::metadata(file).with_context(cannot)?;
    if !about.is_file() || about.len() > MOST_BYTES {
        let why = format!(
            "`--rate @{}` is not a file of at most {} MB",
            file.display(),
            MOST_BYTES >> 20
        );
        return Err(hinted(why, FORMS));
    }
    let text = std::fs::read_to_string(file).with_context(cannot)?;
    let text = text.trim_start_matches('\u{feff}');
    let points = if text.trim_start().starts_with(['[', '{']) {
        json(text)
    } else {
        csv(text)
    };
    let profile = points.and_then(|points| {
        let points: Vec<(f64, f64)> = points.iter().map(|p| (p.time_s, p.rate)).collect();
        Profile::of_points(&points).map_err(|error| error.to_string())
    });
    profile.map_err(|why| hinted(format!("`--rate @{}`: {why}", file.display()), FORMS))
}

fn json(text: &str) -> Result<Vec<Point>, String> {
    // first as any JSON: the message for a text that is none then has its place
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match serde_json::from_value(value) {
        Ok(Points::List(points) | Points::Object { points }) => Ok(points),
        Err(_) => Err("it is not a list of points with `time_s` and `qps`".to_owned()),
    }
}

fn csv(text: &str) -> Result<Vec<Point>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        // a row that is too short has a message of its own
        .flexible(true)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    if header.is_empty() {
        return Err("it is empty".to_owned());
    }
    let column = |names: &[&str]| header.iter().position(|name| names.contains(&name));
    let (Some(time_s), Some(rate)) = (column(&["time_s"]), column(&["rate", "qps"])) else {
        return Err(format!(
            "its first line has to name the columns `time_s` and `rate`, but it is `{}`",
            header.iter().collect::<Vec<_>>().join(",")
        ));
    };
    reader
        .records()
        .map(|row| {
            let row = row.map_err(|error| error.to_string())?;
            let line = row.position().map_or(0, csv::Position::line);
            let number = |at: usize| {
                let cell = row.get(at).unwrap_or_default();
                cell.parse()
                    .map_err(|_| format!("line {line}: `{cell}` is not a number"))
            };
            Ok(Point {
                time_s: number(time_s)?,
                rate: number(rate)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile");
        std::fs::write(&file, text).unwrap();
        let name = file.display().to_string();
        read(&file)
            .map(|profile| profile.to_string())
            .map_err(|error| format!("{error:#}").replace(&name, "FILE"))
    }

    #[test]
    fn forms_of_other_tools_are_read() {
        let want = Ok("5..50@60".to_owned());
        assert_eq!(of(r#"[{"time_s":0,"qps":5},{"time_s":60,"qps":50}]"#), want);
        assert_eq!(
            of(r#"{"points":[{"time_s":0,"qps":5},{"time_s":60,"qps":50}]}"#),
            want
        );
        assert_eq!(of("\u{feff}time_s, rate\r\n0, 5\r\n60, 50\r\n"), want);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let bad = [
            "",
            "[",
            "{}",
            "time,rate\n0,5\n1,5\n",
            "0,5\n1,5\n",
            "time_s;rate\n0;5\n",
            "time_s,rate\n0,5\n1,x\n",
            "time_s,rate\n0,5\n1\n",
            "time_s,rate\n0,5\n0,6\n",
            r#"[{"time_s":0,"qps":-5},{"time_s":60,"qps":50}]"#,
        ];
        let said: Vec<String> = bad
            .into_iter()
            .map(|text| format!("{text:?} => {}", of(text).unwrap_err()))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
