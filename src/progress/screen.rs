//! Places lines on stderr: messages that stay, and below them a frame that replaces the previous one.
//!
//! The rows of the previous frame are counted at the terminal's present width, because a terminal that became narrower has
//! wrapped them.

use std::fmt::Write as _;
use std::io::Write;

use super::text::width;
use crate::platform;

/// The terminal on stderr.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    /// The width of each line of the present frame. The cursor is at the start of the line below it, so that an echoed
    /// `^C` or a shell's prompt gets a line of its own.
    drawn: Vec<usize>,
    /// The terminal's width at that time.
    columns: usize,
}

impl Screen {
    /// A screen without a frame.
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, drawn: Vec::new(), columns: 0 }
    }

    /// Columns and rows of the terminal on stderr.
    pub(super) fn size(&self) -> (usize, usize) {
        let (rows, columns) = console::Term::stderr().size();
        (usize::from(columns), usize::from(rows))
    }

    /// Writes messages and draws the frame below them, in one write so that nothing flickers.
    pub(super) fn show(&mut self, messages: &[String], frame: &[String], columns: usize) {
        if messages.is_empty() && frame.is_empty() && self.drawn.is_empty() {
            return;
        }
        let old: usize = self.drawn.iter().map(|line| rows_of(*line, columns)).sum();
        let mut text = if old == 0 { String::new() } else { format!("\r\u{1b}[{old}A") };
        if columns != self.columns {
            // Terminals remember which rows they wrapped. Only erased rows are separate lines when the terminal gets
            // wider again. At other times, drawing over the old frame flickers less.
            text.push_str(&erase(old));
        }
        self.columns = columns;
        let mut new = frame.len();
        for line in messages.iter().flat_map(|message| message.split('\n')) {
            let _ = writeln!(text, "{line}{}", if old == 0 { "" } else { "\u{1b}[K" });
            new += rows_of(width(line), columns);
        }
        if !frame.is_empty() {
            // Without automatic wrapping, a line that is wider than measured is cut off.
            text.push_str("\u{1b}[?7l");
            for line in frame {
                let _ = writeln!(text, "{line}\u{1b}[K");
            }
            text.push_str("\u{1b}[?7h");
        }
        text.push_str(&erase(old.saturating_sub(new)));
        self.drawn = frame.iter().map(|line| width(line)).collect();
        self.write(&text);
    }

    /// Whether to draw now: only in the foreground. A frame from before others wrote to the terminal (the shell, after
    /// Ctrl-Z) stays where it is.
    ///
    /// A process can lose the foreground without a stop. Ctrl-C in `while …; done | copera-upload -` ends a subshell of
    /// bash, which takes the terminal with it. The frame is still the last thing there and can be erased.
    pub(super) fn may_draw(&mut self) -> bool {
        if platform::was_continued() {
            self.drawn.clear();
        }
        platform::in_foreground()
    }

    /// Erases the frame, if it is still the last thing on the terminal.
    pub(super) fn erase(&mut self) {
        self.may_draw();
        let (columns, _) = self.size();
        self.show(&[], &[], columns);
    }

    /// Ignores errors, because uploads continue without stderr.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

/// Rows of the terminal that a line takes.
fn rows_of(width: usize, columns: usize) -> usize {
    width.div_ceil(columns.max(1)).max(1)
}

/// Erases the rows from the cursor down, and returns to the first one. Not by "erase to the end of the screen": at the
/// top of the screen, tmux takes that for a clear and moves the rows to the scrollback.
fn erase(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("{}\u{1b}[{rows}A", "\u{1b}[2K\u{1b}[1B".repeat(rows)) }
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
        let (columns, _) = screen.size();
        screen.show(&[], &lines(&["one", "two"]), columns);
        screen.show(&lines(&["warning: x"]), &lines(&["uno"]), columns);
        screen.erase();
        assert_eq!(
            paper.text().replace('\u{1b}', "^").replace('\r', "<"),
            "^[?7lone^[K\ntwo^[K\n^[?7h<^[2Awarning: x^[K\n^[?7luno^[K\n^[?7h<^[1A^[2K^[1B^[1A"
        );
    }

    #[test]
    fn on_a_terminal_that_became_narrower_wrapped_rows_are_erased() {
        for (columns, rows) in [(40, 4), (3, 30)] {
            let paper = Paper::default();
            let mut screen = Screen::new(Box::new(paper.clone()));
            screen.show(&[], &lines(&[&"x".repeat(79), "", "短い"]), 80);
            screen.show(&[], &lines(&["one"]), columns);
            let erased = format!("\r\u{1b}[{rows}A{}\u{1b}[?7lone", erase(rows));
            assert!(paper.text().contains(&erased), "{columns}: {:?}", paper.text());
        }
        assert_eq!(erase(2), "\u{1b}[2K\u{1b}[1B\u{1b}[2K\u{1b}[1B\u{1b}[2A");
    }
}
