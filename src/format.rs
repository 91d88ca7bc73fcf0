//! Text for users and terminals: durations, sizes, rates, and names without control characters.

use std::borrow::Cow;
use std::time::Duration;

/// A duration in at most two units: "4m 10s", "1.5s", "80ms". Not jiff's printer, which pads all units or none.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        // A `Retry-After` can be any number of seconds.
        315_360_000.. => "more than 10 years".to_owned(),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Whether a character could move the cursor, hide text or reverse it: C0, DEL and C1 controls, bidirectional embeddings,
/// overrides and isolates ("Trojan Source", CVE-2021-42574), line separators.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn escape(text: &str, is_risky: fn(char) -> bool, escaped: fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_risky) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if is_risky(c) { escaped(c) } else { c.to_string() }).collect::<String>().into()
}

/// The text with control characters escaped for terminals: `\n`, `\u{1b}`.
pub fn safe(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe, |c| c.escape_default().to_string())
}

/// The same for a text of several lines. All lines but the first are indented, so that none looks like another message.
pub fn safe_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(safe).collect();
    lines.join("\n  ")
}

/// JSON with control characters escaped for terminals. JSON itself escapes C0. The others can only be in strings, where
/// `\uXXXX` means the same. Line breaks between tokens stay.
pub fn safe_json(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_unsafe(c) && c >= '\u{7f}', |c| format!("\\u{:04x}", u32::from(c)))
}

/// Bytes in at most eight columns: `512 B`, `3.1 MiB`, `1023 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be rounded to 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // 99.95 would be rounded to 100.0.
    let digits = usize::from(value < 99.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A part of a size: `40 of 300 MiB`, `512 KiB of 3.1 GiB`.
pub fn part_of(count: u64, total: u64) -> String {
    let (count, total) = (bytes(count), bytes(total));
    let (number, unit) = count.split_once(' ').unwrap_or((&count, ""));
    let number = number.strip_suffix(".0").unwrap_or(number);
    if total.ends_with(&format!(" {unit}")) {
        format!("{number} of {total}")
    } else {
        format!("{number} {unit} of {total}")
    }
}

/// Bytes per second: `17.5 MiB/s`.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second.max(0.0) as u64))
}

/// Time left, as on a clock: `00:42`, `1:02:03`, `60d 16h`.
pub fn clock(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..3600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        172_800..86_400_000 => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
        // At a few bytes per second.
        _ => "> 999d".to_owned(),
    }
}

/// `1 file`, `2 files`.
pub fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Seconds with three decimals.
pub fn seconds(elapsed: Duration) -> f64 {
    elapsed.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_terminals() {
        assert_eq!(safe("Grüße 数据.pdf"), "Grüße 数据.pdf");
        assert_eq!(
            safe("a\nb\t\u{1b}[31m\u{7f}\u{9b}\u{202e}fdp"),
            "a\\nb\\t\\u{1b}[31m\\u{7f}\\u{9b}\\u{202e}fdp"
        );
        assert_eq!(safe("\u{2066}x\u{2069}\u{2028}"), "\\u{2066}x\\u{2069}\\u{2028}");
        assert_eq!(safe_lines("a\n  b\u{1b}\n"), "a\n    b\\u{1b}");
    }

    #[test]
    fn escaped_json_keeps_its_meaning() {
        let text = "{\"a\":\"\u{7f}\u{85}\u{202e}\u{2069}é\"}";
        let shown = safe_json(text);
        assert_eq!(shown, "{\"a\":\"\\u007f\\u0085\\u202e\\u2069é\"}");
        let (a, b): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(text).unwrap(), serde_json::from_str(&shown).unwrap());
        assert_eq!(a, b);
    }

    #[test]
    fn a_part_of_a_size_names_a_common_unit_once() {
        for (count, total, text) in [
            (40 << 20, 300 << 20, "40 of 300 MiB"),
            (1 << 20, 3 << 20, "1 of 3.0 MiB"),
            (0, 5, "0 of 5 B"),
            (5 << 20, 2 << 30, "5 MiB of 2.0 GiB"),
            (7, 3 << 20, "7 B of 3.0 MiB"),
        ] {
            assert_eq!(part_of(count, total), text);
        }
    }

    #[test]
    fn numbers_fit_their_columns() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (102_348, "99.9 KiB"),
            (102_399, "100 KiB"),
            (1_048_063, "1023 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(18_350_080.0), "17.5 MiB/s");
        assert_eq!(rate(-1.0), "0 B/s");
        for (seconds, text) in [
            (42, "00:42"),
            (3599, "59:59"),
            (3723, "1:02:03"),
            (172_799, "47:59:59"),
            (5_241_600, "60d 16h"),
            (u64::MAX, "> 999d"),
        ] {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
    }
}
