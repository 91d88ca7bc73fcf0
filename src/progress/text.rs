//! Small text arithmetic: what may reach a terminal, how wide it is, and numbers in a person's units.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// Whether a character could move the cursor, hide text or turn it around: C0, DEL and C1 controls, the
/// bidirectional embeddings, overrides and isolates ("Trojan Source", CVE-2021-42574), line separators.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// The text with everything a terminal might obey made visible: `\n`, `\u{1b}`.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The same for a text of several lines (a TOML error with its snippet): each line safe, all but the first
/// indented, so that none can pass for a message of its own.
pub(super) fn safe_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(safe).collect();
    lines.join("\n  ")
}

/// JSON text in which nothing is left that a terminal might obey. JSON itself escapes C0; what remains can
/// only stand inside strings, where `\uXXXX` means the same.
pub(crate) fn safe_json(text: &str) -> Cow<'_, str> {
    // White space between tokens (a line break of pretty-printed JSON) is no string's.
    let risky = |c: char| is_unsafe(c) && c >= '\u{7f}';
    if !text.contains(risky) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if risky(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

fn char_width(c: char) -> usize {
    console::measure_text_width(c.encode_utf8(&mut [0; 4]))
}

/// As much of the text's beginning as `columns` hold.
fn head(text: &str, columns: usize) -> &str {
    // Measured as a whole: a character may widen the one before it (U+FE0F makes an emoji of a symbol).
    let ends = text.char_indices().map(|(at, c)| &text[..at + c.len_utf8()]);
    ends.take_while(|head| width(head) <= columns).last().unwrap_or_default()
}

/// As much of the text's end as `columns` hold.
fn tail(text: &str, columns: usize) -> &str {
    let starts = text.char_indices().rev().map(|(at, _)| &text[at..]);
    let tail = starts.take_while(|tail| width(tail) <= columns).last().unwrap_or_default();
    // Nothing that would change what it is put behind.
    tail.trim_start_matches(|c| char_width(c) == 0)
}

/// Cuts a name in its middle to `columns`: its beginning and its extension say more than what is between.
pub(super) fn cut_middle(text: &str, columns: usize, dots: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(width(dots)).filter(|room| *room >= 2) else {
        return head(text, columns).to_owned();
    };
    format!("{}{dots}{}", head(text, room.div_ceil(2)), tail(text, room / 2))
}

/// Cuts a sentence at its end to `columns`.
pub(super) fn cut_end(text: &str, columns: usize, dots: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns.checked_sub(width(dots)) {
        Some(room) => format!("{}{dots}", head(text, room).trim_end()),
        None => head(text, columns).to_owned(),
    }
}

/// The text with spaces behind it up to `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Bytes in at most eight columns: `512 B`, `3.1 MiB`, `1023 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 and more would be rounded to 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // 99.95 and more would be rounded to 100.0.
    let digits = usize::from(value < 99.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Bytes a second: `17.5 MiB/s`.
pub(super) fn rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second.max(0.0) as u64))
}

/// Time left as a clock shows it: `00:42`, `1:02:03`, `60d 16h`.
pub(super) fn clock(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..3600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        172_800..86_400_000 => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
        // At a few bytes a second; nobody reads more digits.
        _ => "> 999d".to_owned(),
    }
}

/// `1 file`, `2 files`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Styles(pub(super) bool);

impl Styles {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Errors.
    pub(super) fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Warnings and troubles that pass.
    pub(super) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Advice.
    pub(super) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    /// What is there but matters less.
    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_in_a_name() {
        assert_eq!(safe("Grüße 数据.pdf"), "Grüße 数据.pdf");
        assert_eq!(
            safe("a\nb\t\u{1b}[31m\u{7f}\u{9b}\u{202e}fdp"),
            "a\\nb\\t\\u{1b}[31m\\u{7f}\\u{9b}\\u{202e}fdp"
        );
        assert_eq!(safe("\u{2066}x\u{2069}\u{2028}"), "\\u{2066}x\\u{2069}\\u{2028}");
        assert_eq!(safe_lines("a\n  b\u{1b}\n"), "a\n    b\\u{1b}");
    }

    #[test]
    fn json_keeps_its_meaning_when_it_is_made_safe() {
        let text = "{\"a\":\"\u{7f}\u{85}\u{202e}\u{2069}é\"}";
        let shown = safe_json(text);
        assert_eq!(shown, "{\"a\":\"\\u007f\\u0085\\u202e\\u2069é\"}");
        let (a, b): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(text).unwrap(), serde_json::from_str(&shown).unwrap());
        assert_eq!(a, b);
    }

    #[test]
    fn names_are_cut_by_columns_not_by_characters() {
        assert_eq!(cut_middle("short", 5, "…"), "short");
        assert_eq!(cut_middle("a-very-long-report.pdf", 11, "…"), "a-ver…t.pdf");
        assert_eq!(cut_middle("数据数据数据.txt", 9, "…"), "数据….txt");
        assert_eq!(cut_middle("abcdef", 2, "…"), "ab");
        assert_eq!(cut_end("503 SlowDown: please", 8, "…"), "503 Slo…");
        assert_eq!(pad("数", 4), "数  ");
    }

    #[test]
    fn numbers_never_outgrow_their_columns() {
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

    proptest::proptest! {
        #[test]
        fn cut_names_always_fit(name in "\\PC{0,30}", columns in 0usize..20) {
            proptest::prop_assert!(width(&cut_middle(&name, columns, "…")) <= columns);
            proptest::prop_assert!(width(&cut_end(&name, columns, "…")) <= columns);
        }
    }

    #[test]
    fn a_character_that_widens_the_one_before_it_is_reckoned_with() {
        assert!(width(&cut_middle("\u{1f56f}\u{fe0f}\u{1fa60}\u{1f300}AA", 1, "…")) <= 1);
    }
}
