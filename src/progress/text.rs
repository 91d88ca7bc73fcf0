//! Text on a terminal: width, cutting, colors.

/// Width of a text on a terminal, in columns.
pub(super) fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// The start of a text, up to this width.
fn head(text: &str, columns: usize) -> &str {
    // Measured as a whole: a character can widen the one before it (U+FE0F turns a symbol into an emoji).
    let ends = text.char_indices().map(|(at, c)| &text[..at + c.len_utf8()]);
    ends.take_while(|head| width(head) <= columns).last().unwrap_or_default()
}

/// The end of a text, up to this width.
fn tail(text: &str, columns: usize) -> &str {
    let starts = text.char_indices().rev().map(|(at, _)| &text[at..]);
    let tail = starts.take_while(|tail| width(tail) <= columns).last().unwrap_or_default();
    // Without characters that would change the one before them.
    tail.trim_start_matches(|c: char| width(c.encode_utf8(&mut [0; 4])) == 0)
}

/// Shortens a name in the middle, because its start and its extension say most. `dots` is one column wide.
pub(super) fn cut_middle(text: &str, columns: usize, dots: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns < 3 {
        return head(text, columns).to_owned();
    }
    format!("{}{dots}{}", head(text, columns / 2), tail(text, (columns - 1) / 2))
}

/// Whether to use colors.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Styles(pub(super) bool);

impl Styles {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Errors.
    pub(super) fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Warnings and transient problems.
    pub(super) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Hints.
    pub(super) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    /// Less important text.
    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_by_columns_not_by_characters() {
        assert_eq!(cut_middle("short", 5, "…"), "short");
        assert_eq!(cut_middle("a-very-long-report.pdf", 11, "…"), "a-ver…t.pdf");
        assert_eq!(cut_middle("数据数据数据.txt", 9, "…"), "数据….txt");
        assert_eq!(cut_middle("abcdef", 2, "…"), "ab");
    }

    proptest::proptest! {
        #[test]
        fn cut_names_always_fit(name in "\\PC{0,30}", columns in 0usize..20) {
            proptest::prop_assert!(width(&cut_middle(&name, columns, "…")) <= columns);
        }
    }

    #[test]
    fn a_character_that_widens_the_one_before_it_is_reckoned_with() {
        assert!(width(&cut_middle("\u{1f56f}\u{fe0f}\u{1fa60}\u{1f300}AA", 1, "…")) <= 1);
    }
}
