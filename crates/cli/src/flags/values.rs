//! Owns the values of flags as a person writes them: numbers, times with units, shares.
//!
//! It must not know which flag a value belongs to, nor what it means there.

use evalscope_model::prompt::OwnHeaders;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};

use evalscope_model::profile::Gaps;

/// The longest time that is accepted, in seconds: 31 years.
const LONGEST_S: f64 = 1e9;

/// The most turns of a conversation: no context is long enough for as many.
const MOST_TURNS: u32 = 1_000_000;

/// A whole number, 0 or greater; `1e3` is one too.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    let wanted = || "expected a whole number, 0 or greater".to_owned();
    if let Ok(value) = text.parse::<u64>() {
        return Ok(value);
    }
    // above 2⁵³ a float has gaps
    match text.parse::<f64>() {
        Ok(value) if (0.0..=9e15).contains(&value) && value.fract() == 0.0 => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number of that range"
            )]
            let value = value as u64;
            Ok(value)
        }
        _ => Err(wanted()),
    }
}

/// A key and a value, with `=` between them.
pub(crate) fn fact(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE, such as gpu=H100".to_owned()),
    }
}

/// A whole number greater than 0.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let value = whole(text).ok().filter(|value| *value > 0);
    value.ok_or_else(|| "expected a whole number greater than 0".to_owned())
}

/// The name of a header that a request can set.
pub(crate) fn header_name(text: &str) -> Result<String, String> {
    let checked = OwnHeaders::default().push(text, "");
    checked
        .map(|()| text.to_owned())
        .map_err(|_| "expected the name of a header, such as X-Session-ID".to_owned())
}

/// A whole number that its type can hold.
pub(crate) fn small<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    T::try_from(whole(text)?).map_err(|_| "the number is too large".to_owned())
}

/// A whole number that may be negative.
pub(crate) fn signed(text: &str) -> Result<i64, String> {
    let value = text.parse::<i64>();
    value.map_err(|_| "expected a whole number, such as 40 or -1".to_owned())
}

/// A count of what is held in memory.
pub(crate) fn places(text: &str) -> Result<NonZeroUsize, String> {
    NonZeroUsize::try_from(small::<usize>(&count(text)?.to_string())?)
        .map_err(|_| "expected a whole number greater than 0".to_owned())
}

/// The side of a square.
pub(crate) fn pixels(text: &str) -> Result<NonZeroU32, String> {
    NonZeroU32::try_from(small::<u32>(&count(text)?.to_string())?)
        .map_err(|_| "expected a whole number greater than 0".to_owned())
}

/// A TCP port to serve on.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let value = small::<u16>(text).ok().filter(|port| *port > 0);
    value.ok_or_else(|| "expected a port from 1 to 65535".to_owned())
}

/// The number of turns in a conversation.
pub(crate) fn turns(text: &str) -> Result<u32, String> {
    let value = small::<u32>(text).ok();
    let value = value.filter(|turns| (1..=MOST_TURNS).contains(turns));
    value.ok_or_else(|| format!("expected a whole number from 1 to {MOST_TURNS}"))
}

/// How often something is measured: no drift of a machine is worth more.
pub(crate) fn repeats(text: &str) -> Result<NonZeroU32, String> {
    let value = small::<u32>(text).ok().filter(|times| *times <= 1000);
    let value = value.and_then(NonZeroU32::new);
    value.ok_or_else(|| "expected a whole number from 1 to 1000".to_owned())
}

/// The number of images in a prompt.
pub(crate) fn images(text: &str) -> Result<u32, String> {
    let value = small::<u32>(text).ok().filter(|images| *images <= 1024);
    value.ok_or_else(|| "expected a whole number from 0 to 1024".to_owned())
}

pub(crate) fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("expected a number".to_owned()),
    }
}

/// Warm-up requests, or a fraction of `--number`. A negative value means none, as in EvalScope.
pub(crate) fn warmup(text: &str) -> Result<f64, String> {
    let wanted = "expected a whole number of requests up to 10⁹, or a fraction below 1";
    match finite(text) {
        Ok(value) if value <= 0.0 => Ok(0.0),
        Ok(value) if value < 1.0 || value <= 1e9 && value.fract() == 0.0 => Ok(value),
        _ => Err(wanted.to_owned()),
    }
}

pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match seconds_or_zero(text) {
        Ok(value) if value > 0.0 => Ok(value),
        _ => Err("expected a time greater than 0, such as 30, 30s or 5m".to_owned()),
    }
}

pub(crate) fn seconds_or_zero(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().or_else(|| with_units(text));
    let value = value.filter(|value| (0.0..=LONGEST_S).contains(value));
    value.ok_or_else(|| "expected a time of 0 or more, such as 30, 30s or 5m".to_owned())
}

/// `90s`, `1.5h`, `1h30m`: seconds.
fn with_units(text: &str) -> Option<f64> {
    let mut rest = Some(text.trim()).filter(|text| !text.is_empty())?;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = rest[digits..].trim_start();
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        sum += number
            * match &tail[..letters] {
                "ms" => 1e-3,
                unit => unit_seconds(unit)?,
            };
        rest = tail[letters..].trim_start();
    }
    Some(sum)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        _ => return None,
    })
}

/// An address to listen at. Without a host it is that of the loopback, and `localhost` is too.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "expected the address of an interface and a port, such as 127.0.0.1:9464, [::1]:9464, or \
                  9464 for this machine only";
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| wanted.to_owned())?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let host = match host {
        "" | "localhost" => loopback,
        host => match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(inner) => inner
                .parse()
                .map(IpAddr::V6)
                .map_err(|_| wanted.to_owned())?,
            None => host
                .parse()
                .map(IpAddr::V4)
                .map_err(|_| wanted.to_owned())?,
        },
    };
    Ok(SocketAddr::new(host, port))
}

/// The gaps of `--burstiness`: the shape of a gamma distribution.
pub(crate) fn burstiness(text: &str) -> Result<Gaps, String> {
    let shape = text
        .parse()
        .map_err(|_| "expected a number greater than 0, or inf")?;
    Gaps::of_shape(shape)
}

/// A fraction, or a percentage.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>().map(|n| n / unit) {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a fraction from 0 to 1, or 0% to 100%".to_owned()),
    }
}

/// A finite number above 0.
pub(crate) fn above_zero(text: &str) -> Result<f64, String> {
    match finite(text) {
        Ok(value) if value > 0.0 => Ok(value),
        _ => Err("expected a number greater than 0".to_owned()),
    }
}

/// How close two loads have to be: a share that a search can reach.
pub(crate) fn precision(text: &str) -> Result<f64, String> {
    let value = share(text).ok();
    let value = value.filter(|value| (0.001..=0.5).contains(value));
    value.ok_or_else(|| "expected a share from 0.1% to 50%".to_owned())
}

/// The probability that a verdict is right.
pub(crate) fn confidence(text: &str) -> Result<f64, String> {
    let value = share(text).ok();
    let value = value.filter(|value| (0.5..=0.9999).contains(value));
    value.ok_or_else(|| "expected a share from 0.5 to 0.9999".to_owned())
}

/// Two times, the first not above the second: `20..120`, `20s..2m`.
pub(crate) fn times(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once("..");
    let ends = ends.and_then(|(from, to)| Some((seconds(from).ok()?, seconds(to).ok()?)));
    let ends = ends.filter(|(from, to)| from <= to);
    ends.ok_or_else(|| {
        "expected two times, the first not above the second, such as 20..120".to_owned()
    })
}

/// Whether a text can be a URL, with or without a scheme, and not a number or a word.
pub(crate) fn looks_like_url(text: &str) -> bool {
    let is_host = text == "localhost" || text.contains([':', '/']);
    let is_number = text.parse::<f64>().is_ok();
    is_host || text.contains('.') && !is_number
}

/// A URL given without its flag. A number or a word there is a value of some other flag.
pub(crate) fn argument_url(text: &str) -> Result<String, String> {
    if looks_like_url(text) {
        Ok(text.to_owned())
    } else {
        Err("this is not a URL, and the flag before it takes no further value".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_host() {
        for (text, want) in [
            ("9464", Some("127.0.0.1:9464")),
            (":0", Some("127.0.0.1:0")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("0.0.0.0:9464", Some("0.0.0.0:9464")),
            ("[::1]:9464", Some("[::1]:9464")),
            ("::1:9464", None),
            ("host:9464", None),
            ("127.0.0.1", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:65536", None),
            ("", None),
        ] {
            let address = listen_address(text).ok().map(|address| address.to_string());
            assert_eq!(address.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, want) in [
            ("30", 30.0),
            ("0", 0.0),
            ("1.5", 1.5),
            ("30s", 30.0),
            ("5m", 300.0),
            ("5min", 300.0),
            ("1.5h", 5400.0),
            ("1h30m", 5400.0),
            ("1h 30m 1s", 5401.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(seconds_or_zero(text), Ok(want), "{text}");
        }
        for text in ["", "-1", "5x", "s", "1h30", "nan", "inf", "5 m m", "1e10"] {
            assert!(seconds_or_zero(text).is_err(), "{text}");
        }
        assert!(seconds("0s").is_err());
    }

    #[test]
    fn numbers_are_whole() {
        assert_eq!(whole("1e3"), Ok(1000));
        assert_eq!(whole("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(count("10"), Ok(10));
        for text in ["-1", "1.5", "x", "", "1e300"] {
            assert!(whole(text).is_err(), "{text}");
        }
        assert!(count("0").is_err() && places("0").is_err());
        assert_eq!(warmup("-1"), Ok(0.0));
        assert_eq!(warmup("0.1"), Ok(0.1));
        assert!(warmup("1.5").is_err());
        assert_eq!(small::<u32>("1e3"), Ok(1000));
        assert_eq!(
            small::<u32>("1e10"),
            Err("the number is too large".to_owned())
        );
        assert_eq!(signed("-1"), Ok(-1));
        assert_eq!((port("1"), images("0")), (Ok(1), Ok(0)));
        assert!(port("0").is_err() && port("65536").is_err() && images("1025").is_err());
    }

    #[test]
    fn a_word_is_not_a_url() {
        for url in [
            "http://h",
            "h:8000",
            "h/v1",
            "api.example.com",
            "localhost",
            "10.0.0.1",
        ] {
            assert!(argument_url(url).is_ok(), "{url}");
        }
        for word in ["3", "true", "1.5", "b"] {
            assert!(argument_url(word).is_err(), "{word}");
        }
    }
}
