//! Owns the values of `--rate`: numbers, profiles, and files that hold a profile.
//!
//! It must not know how files are read, nor what a rate is used for.

use std::path::PathBuf;

use evalscope_model::profile::Profile;

/// One rate of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rate {
    /// −1 and infinity: no pacing.
    Unpaced,
    /// A number, or segments.
    Profile(Profile),
    /// `@FILE`.
    File(PathBuf),
}

/// A word behind `--rate`: numbers with commas between them, or one profile.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rates(pub(crate) Vec<Rate>);

/// Rates: `5`, `5,10,90/m`, `1..20@60,20@300`, `@FILE`.
pub(crate) fn rates(text: &str) -> Result<Rates, String> {
    if let Some(file) = text.strip_prefix('@') {
        if file.is_empty() {
            return Err("expected the name of a file after `@`".to_owned());
        }
        return Ok(Rates(vec![Rate::File(PathBuf::from(file))]));
    }
    if text.contains(['@', '+']) {
        let is_number = |part: &&str| !part.contains('+') && part.trim().parse::<f64>().is_ok();
        if let Some(number) = text.split(',').find(is_number) {
            return Err(format!(
                "`{}` has no time: commas separate the segments of one profile, such as 10@60,5@30; put a space \
                 between the rates of several runs",
                number.trim()
            ));
        }
        return Ok(Rates(vec![Rate::Profile(profile(text)?)]));
    }
    text.split(',')
        .map(|rate| one(rate.trim()))
        .collect::<Result<_, _>>()
        .map(Rates)
}

fn one(text: &str) -> Result<Rate, String> {
    if text.is_empty() {
        return Err("a value is missing beside a comma".to_owned());
    }
    match text.parse::<f64>() {
        Ok(number) if number == f64::INFINITY || number.total_cmp(&-1.0).is_eq() => {
            Ok(Rate::Unpaced)
        }
        _ => match text.parse() {
            Ok(profile) => Ok(Rate::Profile(profile)),
            Err(_) if text.parse::<f64>().is_ok_and(|number| number <= 0.0) => Err(
                "expected a rate greater than 0, such as 5, 0.5 or 90/m; -1 for no pacing"
                    .to_owned(),
            ),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn profile(text: &str) -> Result<Profile, String> {
    text.parse::<Profile>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a list of numbers, commas separate runs; in a profile, they separate segments.
    #[test]
    fn a_number_among_segments_is_explained() {
        for text in ["10,5@1", "5@1, 10", "+3,10"] {
            let why = rates(text).unwrap_err();
            assert!(why.starts_with("`10` has no time: commas"), "{why}");
        }
    }

    #[test]
    fn numbers_and_profiles_are_told_apart() {
        let constant = |rate_per_s| Rate::Profile(Profile::Constant { rate_per_s });
        let read = |text| rates(text).unwrap().0;
        assert_eq!(read("5"), [constant(5.0)]);
        assert_eq!(
            read("0.5, 90/m,-1,inf"),
            [constant(0.5), constant(1.5), Rate::Unpaced, Rate::Unpaced]
        );
        assert_eq!(
            read("1..20@60,+5"),
            ["1..20@60,+5".parse().map(Rate::Profile).unwrap()]
        );
        assert_eq!(read("@load.csv"), [Rate::File(PathBuf::from("load.csv"))]);
        for bad in ["", "5,,6", "x", "0", "-2", "nan", "@", "20@60,5", "+x"] {
            assert!(rates(bad).is_err(), "{bad}");
        }
    }
}
