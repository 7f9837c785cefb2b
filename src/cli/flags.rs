//! The values of flags: addresses, times, names, the form of logs.
//!
//! Every error says what is expected, because clap prints it as it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::hosts;
use crate::runtime::Spin;
use crate::types::ServerId;

/// More is a typing mistake, and sums with it could overflow.
const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl ValueEnum for Spin {
    fn value_variants<'a>() -> &'a [Self] {
        &[Spin::Off, Spin::Auto, Spin::On]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Spin::Off => PossibleValue::new("off").help("Sleep at once"),
            Spin::Auto => PossibleValue::new("auto")
                .help("While that is mostly rewarded and nobody else wants the processor"),
            Spin::On => PossibleValue::new("on").help("Always, for 200us"),
        })
    }
}

/// Where the view server keeps its durable record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateFile {
    /// Nowhere: a restart recovers from the servers alone.
    None,
    /// In this file.
    At(PathBuf),
}

/// Reads `--state`. A file of the name `none` can be given as `./none`.
///
/// # Errors
/// When the text is empty.
pub fn parse_state(text: &str) -> Result<StateFile, String> {
    match text {
        "none" => Ok(StateFile::None),
        "" => Err("give the name of a file, or none".to_owned()),
        path => Ok(StateFile::At(PathBuf::from(path))),
    }
}

/// Reads an address to bind: port 0 lets the system choose.
///
/// # Errors
/// When it is not `IP:PORT`.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    const FORM: &str = "write IP:PORT, as in 127.0.0.1:5000, localhost:0 or [::1]:5000";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (ip_address, port) = text.rsplit_once(':').ok_or(FORM)?;
    let ip_address = hosts::parse_ip(ip_address).map_err(|problem| format!("{problem}; {FORM}"))?;
    if ip_address.is_ipv6() {
        return Err(FORM.to_owned());
    }
    let port = port.parse().map_err(|_| format!("\"{port}\" is not a port; {FORM}"))?;
    Ok(SocketAddr::new(ip_address, port))
}

/// Reads an address that others send to.
///
/// # Errors
/// When it is not `IP:PORT`, or nothing can be sent to it.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let address = parse_listen(text)?;
    if address.port() == 0 {
        return Err("nothing can be sent to port 0; give the port that is bound".to_owned());
    }
    if address.ip().is_unspecified() {
        let ip_address = address.ip();
        return Err(format!("nothing can be sent to {ip_address}; give the address of a machine"));
    }
    Ok(address)
}

/// Reads the name of a kv server.
///
/// # Errors
/// When no kv server may bear it.
pub fn parse_kv_id(text: &str) -> Result<ServerId, String> {
    hosts::check_id(text)?;
    if text == hosts::VIEW {
        return Err("\"view\" is the view server; choose another name such as s1, or start \
                    the program viewserver"
            .to_owned());
    }
    Ok(ServerId::from(text))
}

/// Reads the name of a view server.
///
/// # Errors
/// When no server may bear it.
pub fn parse_id(text: &str) -> Result<ServerId, String> {
    hosts::check_id(text)?;
    Ok(ServerId::from(text))
}

/// Reads a time: a number, possibly with a fraction, and a unit.
///
/// # Errors
/// When there is no number or unit, when it is zero, or longer than a year.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a number with one of the units us, ms, s, min, h, as in 50ms or 1.5s";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let nanos_of_unit: u128 = match unit.trim_start() {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" if !number.is_empty() => return Err(format!("the unit is missing; {FORM}")),
        _ => return Err(FORM.to_owned()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let valid = !whole.is_empty() && !fraction.contains('.') && !number.ends_with('.');
    // Twelve digits of a year's worth of nanoseconds and twelve behind the point fit in 128 bits.
    if !valid || whole.len() > 12 || fraction.len() > 12 {
        return Err(FORM.to_owned());
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| FORM)?);
    let number: u128 = format!("{whole}{fraction}").parse().map_err(|_| FORM)?;
    let nanos = number * nanos_of_unit / scale;
    if nanos == 0 {
        return Err("must be more than zero".to_owned());
    }
    if nanos > LONGEST_TIME.as_nanos() {
        return Err("is longer than a year".to_owned());
    }
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| FORM.to_owned())
}

/// Reads an amount of memory: a number, possibly with a fraction, and a unit.
///
/// # Errors
/// When there is no number or unit, or it is less than a megabyte or more than a petabyte.
pub fn parse_size(text: &str) -> Result<usize, String> {
    const FORM: &str = "write a number with one of the units mb, gb, as in 512mb or 1.5gb";
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let thousandths_of_unit: u64 = match unit.trim_start() {
        "mb" | "mib" => (1 << 20) / 8,
        "gb" | "gib" => (1 << 30) / 8,
        _ => return Err(FORM.to_owned()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let valid = (1..=9).contains(&whole.len()) && (1..=3).contains(&fraction.len());
    let number = valid.then(|| format!("{whole}{fraction:0<3}").parse::<u64>().ok()).flatten();
    let thousandths = number.ok_or(FORM)?;
    let bytes = thousandths.checked_mul(thousandths_of_unit).ok_or(FORM)? / 125;
    if !(1 << 20..=1 << 50).contains(&bytes) {
        return Err(format!("must be between 1mb and a million gigabytes; {FORM}"));
    }
    usize::try_from(bytes).map_err(|_| FORM.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_number_and_a_unit() {
        for (text, nanos) in [
            ("50ms", 50_000_000),
            ("1s", 1_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.25ms", 250_000),
            ("7us", 7_000),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("3 s", 3_000_000_000),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "5",
            "ms",
            "-5s",
            "5 parsecs",
            "1.2.3s",
            "1.s",
            ".5s",
            "0s",
            "0.0ms",
            "9000h",
            "999999999999999999999s",
            "1e3s",
            "5s5",
            "5µs",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(parse_time("5").unwrap_err().contains("unit is missing"));
    }

    #[test]
    fn sizes_need_a_number_and_a_unit() {
        for (text, bytes) in [
            ("1mb", 1 << 20),
            ("512mb", 512 << 20),
            ("512 MB", 512 << 20),
            ("2gb", 2 << 30),
            ("1.5GB", 3 << 29),
            ("0.5gib", 1 << 29),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "5", "mb", "-5mb", "5 tb", "1.2.3mb", "1.mb", ".5mb", "0mb", "9999999999gb"]
        {
            assert!(parse_size(text).unwrap_err().contains("512mb"), "{text}");
        }
    }

    #[test]
    fn addresses_are_numbers_or_localhost() {
        assert_eq!(parse_listen("localhost:0"), Ok("127.0.0.1:0".parse().unwrap()));
        assert_eq!(parse_listen("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        assert_eq!(parse_address("10.0.0.1:5000"), Ok("10.0.0.1:5000".parse().unwrap()));
        for text in ["", "localhost", "5000", "::1:5", "host.example:5", "127.0.0.1:70000", ":5"] {
            let error = parse_listen(text).unwrap_err();
            assert!(error.contains("IP:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn others_cannot_send_to_port_0_or_to_no_machine() {
        assert!(parse_address("127.0.0.1:0").is_err());
        assert!(parse_address("0.0.0.0:5000").is_err());
        assert!(parse_address("[::]:5000").is_err());
    }

    #[test]
    fn the_name_of_the_view_server_is_no_kv_server() {
        assert_eq!(parse_kv_id("s1"), Ok(ServerId::from("s1")));
        assert!(parse_kv_id("view").unwrap_err().contains("viewserver"));
        assert!(parse_kv_id("none").is_err());
        assert_eq!(parse_id("view"), Ok(ServerId::from("view")));
    }

    #[test]
    fn the_state_file_can_be_none() {
        assert_eq!(parse_state("none"), Ok(StateFile::None));
        assert_eq!(parse_state("./none"), Ok(StateFile::At(PathBuf::from("./none"))));
        assert!(parse_state("").is_err());
    }
}
