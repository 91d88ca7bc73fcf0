//! Parsers for sizes, rates, durations and counts on the command line and in configuration files.
//!
//! Errors are messages that follow the name of the option. The bytesize crate does not fit: it saturates beyond 64 bits
//! instead of failing, computes fractions as floats, and reads `10M` as ten million, where users of curl, rclone and
//! coreutils mean 10 MiB.

pub mod toml;

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

/// 1 MiB.
pub const MIB: u64 = 1 << 20;
/// 1 GiB.
pub const GIB: u64 = 1 << 30;
/// The smallest part that S3 accepts, except for the last one (Amazon S3, "Multipart upload limits").
pub const PART_MIN: u64 = 5 * MIB;
/// The largest part that S3 accepts.
pub const PART_MAX: u64 = 5 * GIB;
/// The largest `--concurrency`. Higher values were slower in measurements.
pub const CONCURRENCY_MAX: usize = 64;

/// Short enough to be added to any clock without overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

const SIZE_FORM: &str = "a size is a number and a unit, such as 8MiB, 1.5 GiB, 10M (MiB) or 5MB (5,000,000)";
const DURATION_FORM: &str = "a duration is such as 30s, 5m, 1h30m, 500ms, or a plain number of seconds";

/// A size in bytes: `8MiB`, `10M` (a single letter is a power of 1024), `5MB` (of 1000), `1.5 GiB`, `1048576`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = unit_factor(unit.trim()).ok_or(SIZE_FORM)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(fraction) {
        return Err(SIZE_FORM.to_owned());
    }
    if factor == 1 && !fraction.is_empty() {
        return Err("there are no fractions of a byte".to_owned());
    }
    let too_large = || "that is more than 64 bits can count".to_owned();
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
    // Further digits are less than a byte, even of exbibytes.
    let fraction = &fraction[..fraction.len().min(19)];
    let numerator: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| too_large())? };
    let part = numerator * u128::from(factor) / 10u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    whole
        .checked_mul(u128::from(factor))
        .and_then(|bytes| bytes.checked_add(part))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(too_large)
}

fn unit_factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b") {
        return Some(1);
    }
    let (letter, rest) = unit.split_at_checked(1)?;
    let power = u32::try_from("kmgtpe".find(letter)?).ok()? + 1;
    match rest {
        "" | "i" | "ib" => Some(1024u64.pow(power)),
        "b" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// A rate in bytes per second: a size, optionally followed by `/s`. Must not be 0.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let size = text.strip_suffix("/s").or_else(|| text.strip_suffix("/S")).unwrap_or(text);
    match parse_size(size)? {
        0 => Err("a rate of 0 would never finish; leave the option out for no limit".to_owned()),
        rate => Ok(rate),
    }
}

/// `--part-size`: a size that S3 accepts for parts.
pub fn parse_part_size(text: &str) -> Result<u64, String> {
    check_part_size(parse_size(text)?)
}

/// Checks that S3 accepts parts of this size.
pub fn check_part_size(size: u64) -> Result<u64, String> {
    if (PART_MIN..=PART_MAX).contains(&size) { Ok(size) } else { Err("a part is 5MiB to 5GiB".to_owned()) }
}

/// A duration: `30s`, `5m`, `1h30m`, `500ms`. A plain number is in seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let seconds: f64 = text.parse().map_err(|_| DURATION_FORM)?;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        SpanParser::new().parse_unsigned_duration(text).map_err(|_| DURATION_FORM)?
    };
    if duration > DURATION_MAX { Err("that is too long".to_owned()) } else { Ok(duration) }
}

/// A timeout: a duration that is not 0.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("a timeout of 0 would abort everything at once".to_owned()),
        timeout => Ok(timeout),
    }
}

/// `--concurrency`: 1 to 64.
pub fn parse_concurrency(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(count) if (1..=CONCURRENCY_MAX).contains(&count) => Ok(count),
        _ => Err(format!("the number of parts in flight is 1 to {CONCURRENCY_MAX}")),
    }
}

/// `--max-retries`: a count, which may be 0.
pub fn parse_retries(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("the number of retries is 0 to {}", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_exactly() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", MIB),
            ("8MiB", 8 * MIB),
            ("8mib", 8 * MIB),
            ("8 Mi", 8 * MIB),
            ("10M", 10 * MIB),
            ("10k", 10 * 1024),
            ("5MB", 5_000_000),
            ("5mb", 5_000_000),
            ("1.5 GiB", 3 * GIB / 2),
            (".5k", 512),
            ("1.k", 1024),
            ("7b", 7),
            (" 2 TiB ", 2048 * GIB),
            // Above 2^53, where floats lose bytes.
            ("9007199254740993", 9_007_199_254_740_993),
            ("18446744073709551615", u64::MAX),
            ("15EiB", 15 << 60),
            ("0.00000000000000000000000000001GiB", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_refused() {
        for text in [
            "",
            " ",
            ".",
            "MiB",
            "-1",
            "+1",
            "-5MiB",
            "NaN",
            "inf",
            "1e3",
            "1,5GiB",
            "1.2.3M",
            "5MiBs",
            "5 M B",
            "1.5",
            "0.5b",
            "16EiB",
            "99999999999999999999GB",
            "18446744073709551616",
            "８MiB",
            "5ü",
            "9999999999999999999999999999999999999999999999",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_part_sizes_and_counts_have_bounds() {
        assert_eq!(parse_rate("2MiB/s"), Ok(2 * MIB));
        assert_eq!(parse_rate("2MB"), Ok(2_000_000));
        assert!(parse_rate("0").is_err() && parse_rate("/s").is_err() && parse_rate("1m/h").is_err());
        assert_eq!(parse_part_size("5MiB"), Ok(PART_MIN));
        assert_eq!(parse_part_size("5GiB"), Ok(PART_MAX));
        assert_eq!(parse_part_size("5MB"), Err("a part is 5MiB to 5GiB".into()));
        assert!(parse_part_size("5368709121").is_err());
        assert_eq!(parse_concurrency("64"), Ok(64));
        for text in ["0", "65", "-1", "four", ""] {
            assert!(parse_concurrency(text).is_err(), "{text}");
        }
        assert_eq!(parse_retries("0"), Ok(0));
        assert!(parse_retries("4294967296").is_err());
    }

    #[test]
    fn plain_numbers_are_durations_in_seconds() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("30", 30_000),
            ("1.5", 1500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("2 minutes", 120_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            ".",
            "-1",
            "-5s",
            "5m ago",
            "NaN",
            "inf",
            "1e3",
            "ten",
            "99999999999999999999999",
            "1.2.3",
            "99999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_timeout("0").is_err() && parse_timeout("0ms").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,30}", number in "[0-9.]{0,50}[a-zA-Z ]{0,4}") {
            for text in [text, number] {
                let _ = (parse_rate(&text), parse_timeout(&text));
            }
        }

        #[test]
        fn plain_numbers_are_bytes(bytes: u64) {
            proptest::prop_assert_eq!(parse_size(&bytes.to_string()), Ok(bytes));
        }
    }
}
