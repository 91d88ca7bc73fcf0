//! Places lines on stderr: messages that stay, and below them a picture that is drawn over the one before.
//!
//! Not indicatif: it fills each line with spaces up to the terminal's last column, so that after a narrower
//! terminal has wrapped them it no longer knows how many rows it drew. Here a line ends where its text ends,
//! and the rows it takes are counted anew at the width the terminal has when it is drawn over.

use std::fmt::Write as _;
use std::io::Write;

use super::text::width;
use crate::platform;

/// Where lines go.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    /// The columns of each line of the picture that is there now. The cursor stands below it, at the line's
    /// beginning, so that an echoed `^C` or a shell's prompt lands on an empty line.
    drawn: Vec<usize>,
    /// The terminal's columns at that time.
    columns: usize,
}

impl Screen {
    /// A screen without a picture.
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, drawn: Vec::new(), columns: 0 }
    }

    /// Columns and rows of the terminal on stderr.
    pub(super) fn size(&self) -> (usize, usize) {
        let (rows, columns) = console::Term::stderr().size();
        (usize::from(columns), usize::from(rows))
    }

    /// Writes messages and draws the picture below them, in one write so that nothing flickers.
    pub(super) fn show(&mut self, messages: &[String], picture: &[String], columns: usize) {
        if messages.is_empty() && picture.is_empty() && self.drawn.is_empty() {
            return;
        }
        let mut text = self.way_back(columns);
        if !self.drawn.is_empty() && columns != self.columns {
            // Terminals remember which rows they wrapped; only erased rows are lines of their own again when
            // the terminal gets wider. At other times drawing over flickers less.
            text.push_str("\u{1b}[J");
        }
        self.columns = columns;
        for message in messages {
            if self.drawn.is_empty() {
                let _ = writeln!(text, "{message}");
            } else {
                let _ = writeln!(text, "{}\u{1b}[K", message.replace('\n', "\u{1b}[K\n"));
            }
        }
        if !picture.is_empty() {
            // No automatic wrap: should a name be wider than we think, it is cut off.
            text.push_str("\u{1b}[?7l");
            for line in picture {
                let _ = writeln!(text, "{line}\u{1b}[K");
            }
            text.push_str("\u{1b}[?7h");
        }
        if !self.drawn.is_empty() {
            text.push_str("\u{1b}[J");
        }
        self.drawn = picture.iter().map(|line| width(line)).collect();
        self.write(&text);
    }

    /// Whether something may be drawn now. What was drawn before others wrote on the terminal (the shell, after
    /// Ctrl-Z) is left where it is.
    pub(super) fn may_draw(&mut self) -> bool {
        let in_foreground = platform::in_foreground();
        if platform::was_continued() || !in_foreground {
            self.drawn.clear();
        }
        in_foreground
    }

    /// Takes the picture away, if it is still in its place.
    pub(super) fn erase(&mut self) {
        self.may_draw();
        let (columns, _) = self.size();
        self.show(&[], &[], columns);
    }

    /// Up to the picture's first row.
    fn way_back(&self, columns: usize) -> String {
        let rows: usize = self.drawn.iter().map(|line| line.div_ceil(columns.max(1)).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\r\u{1b}[{rows}A") }
    }

    /// A stderr that is gone is no reason to stop an upload.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Paper;
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn messages_alone_are_plain_lines() {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()));
        screen.show(&lines(&["a", "b\n  c"]), &[], 80);
        screen.show(&[], &[], 80);
        screen.erase();
        assert_eq!(paper.text(), "a\nb\n  c\n");
    }

    #[test]
    fn a_picture_is_drawn_over_and_messages_go_above_it() {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()));
        screen.show(&[], &lines(&["one", "two"]), 80);
        screen.show(&lines(&["warning: x"]), &lines(&["uno"]), 80);
        screen.erase();
        assert_eq!(
            paper.text().replace('\u{1b}', "^").replace('\r', "<"),
            "^[?7lone^[K\ntwo^[K\n^[?7h<^[2Awarning: x^[K\n^[?7luno^[K\n^[?7h^[J<^[1A^[J"
        );
    }

    #[test]
    fn a_terminal_that_became_narrower_has_wrapped_what_was_drawn() {
        let mut screen = Screen::new(Box::new(Paper::default()));
        screen.show(&[], &lines(&[&"x".repeat(79), "", "短い"]), 80);
        assert_eq!(screen.way_back(80), "\r\u{1b}[3A");
        assert_eq!(screen.way_back(40), "\r\u{1b}[4A");
        assert_eq!(screen.way_back(3), "\r\u{1b}[30A");
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()));
        screen.show(&[], &lines(&["one", "two"]), 80);
        screen.show(&[], &lines(&["one"]), 2);
        assert!(paper.text().contains("\r\u{1b}[4A\u{1b}[J\u{1b}[?7lone"));
    }
}
