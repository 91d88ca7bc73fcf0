//! The terminal that indicatif draws on: it keeps the lines of the last frame, for [`Screen`](super::screen::Screen) to
//! place.
//!
//! On a real terminal, indicatif fills each line up to the last column, and later moves up by as many rows as it drew.
//! If the terminal has become narrower meanwhile, its lines have wrapped, and stale rows are left behind
//! (<https://github.com/console-rs/indicatif/issues/182>). `Screen` knows the width of what it drew and counts the rows
//! again.

use std::io;
use std::sync::{Arc, Mutex};

use indicatif::TermLike;

use super::text::width;

use crate::mutex::lock;

/// Lines that indicatif has drawn. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct FrameBuffer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    columns: u16,
    drawing: Vec<String>,
    frame: Vec<String>,
}

impl FrameBuffer {
    /// Sets the width of the following frames.
    pub(super) fn set_columns(&self, columns: usize) {
        lock(&self.0).columns = u16::try_from(columns).unwrap_or(u16::MAX);
    }

    /// The lines of the last frame, without trailing spaces.
    pub(super) fn frame(&self) -> Vec<String> {
        lock(&self.0).frame.iter().map(|line| line.trim_end().to_owned()).collect()
    }
}

impl TermLike for FrameBuffer {
    fn width(&self) -> u16 {
        lock(&self.0).columns
    }

    /// Unlimited. The model leaves out what does not fit, and says so.
    fn height(&self) -> u16 {
        u16::MAX
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        lock(&self.0).drawing.push(text.to_owned());
        Ok(())
    }

    /// Text without newlines, where a full line is followed by the next one.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        let columns = usize::from(state.columns);
        match state.drawing.last_mut().filter(|line| width(line) < columns) {
            Some(line) => line.push_str(text),
            None => state.drawing.push(text.to_owned()),
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.frame = std::mem::take(&mut state.drawing);
        Ok(())
    }
}
