//! Renders progress. Events are accepted at once, and a separate thread writes, so that a stopped terminal (Ctrl-S) or a
//! pipe without a reader does not delay uploads.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::screen::Screen;
use super::state::State;
use crate::event::{Event, Reporter};
use crate::mutex::lock;
use crate::platform;

/// Formats events and draws frames. It neither writes nor blocks.
pub(super) trait Formatter: Send {
    /// Lines about an event that `state` already includes.
    fn format_event(&mut self, event: &Event<'_>, state: &State) -> Vec<String>;

    /// Lines that are due because of the time.
    fn on_tick(&mut self, _state: &State, _now: Instant) -> Vec<String> {
        Vec::new()
    }

    /// The frame at the bottom of the terminal.
    fn render(&mut self, _state: &State, _now: Instant, _columns: usize, _rows: usize) -> Vec<String> {
        Vec::new()
    }
}

/// The interval between progress lines.
#[derive(Debug, Default)]
pub(super) struct ProgressInterval(Option<Instant>);

impl ProgressInterval {
    /// Time between two lines.
    pub(super) const PERIOD: Duration = Duration::from_secs(10);

    /// Whether a line is due.
    pub(super) fn due(&mut self, state: &State, now: Instant) -> bool {
        let Some(begun) = state.begun.filter(|_| !state.finished) else { return false };
        let last = *self.0.get_or_insert(begun);
        let since = now.saturating_duration_since(last);
        if since < Self::PERIOD {
            return false;
        }
        // Counted from the last line, so that lines do not drift; from now if some were missed (the laptop was asleep).
        self.0 = Some(if since < 2 * Self::PERIOD { last + Self::PERIOD } else { now });
        true
    }
}

/// How long to wait for the last lines when the program has to exit at once, because stderr may block.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// How long the reader of a pipe has to print a result before the next frame. Also how long a result waits for a terminal
/// that accepts no output.
const READER_TIME: Duration = Duration::from_millis(30);

/// How results and frames may meet on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Results {
    /// Never: no frames are drawn, or results go to a file.
    Apart,
    /// Results go to the same terminal.
    Terminal,
    /// Results go to a pipe, whose reader may print them on the terminal (`| tee ids.txt`).
    Pipe,
}

/// A request to the thread: write, then confirm on this channel.
type Call = Option<Sender<()>>;

/// A formatter with its thread.
pub(super) struct Renderer {
    shared: Arc<Shared>,
    /// Dropped to end the thread.
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    results: Results,
}

struct Shared {
    live: Mutex<Live>,
    /// Locked before `live` if both are needed.
    screen: Mutex<Screen>,
}

struct Live {
    state: State,
    formatter: Box<dyn Formatter>,
    /// Lines to write.
    queue: Vec<String>,
    /// Draw nothing until the next event.
    cleared: bool,
    /// Draw nothing until then.
    hold_until: Option<Instant>,
}

impl Renderer {
    /// Starts the thread. It writes to `out`, and draws every `period`, if given.
    pub(super) fn start(
        formatter: Box<dyn Formatter>,
        out: Box<dyn Write + Send>,
        period: Option<Duration>,
        results: Results,
    ) -> Self {
        let (state, queue) = (State::default(), Vec::new());
        let live = Live { state, formatter, queue, cleared: false, hold_until: None };
        let (live, screen) = (Mutex::new(live), Mutex::new(Screen::new(out)));
        let shared = Arc::new(Shared { live, screen });
        let (calls, called) = mpsc::channel::<Call>();
        let (of_thread, period) = (Arc::clone(&shared), period.unwrap_or(Duration::from_secs(3600)));
        let work = move || {
            platform::receive_sigcont();
            loop {
                let hold_until = lock(&of_thread.live).hold_until;
                let rest = hold_until.map_or(period, |until| until.saturating_duration_since(Instant::now()));
                let call = called.recv_timeout(period.min(rest));
                let ends = matches!(call, Err(RecvTimeoutError::Disconnected));
                lock(&of_thread.live).cleared |= ends;
                of_thread.write();
                match call {
                    // The sender may no longer wait.
                    Ok(Some(done)) => drop(done.send(())),
                    _ if ends => return,
                    _ => {}
                }
            }
        };
        // Without a thread nothing is drawn, but messages are still written: see `event`.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(work).ok();
        Self { shared, calls: Some(calls), thread, results }
    }

    fn call(&self, call: Call) -> bool {
        let calls = self.calls.as_ref().filter(|_| self.thread.is_some());
        calls.is_some_and(|calls| calls.send(call).is_ok())
    }

    /// Lets the thread write what is queued, and waits for it, at most for this long.
    fn write_now(&self, limit: Duration) {
        let (done, written) = mpsc::channel();
        if !self.call(Some(done)) {
            return self.shared.write();
        }
        let _ = written.recv_timeout(limit);
    }
}

impl Shared {
    /// The screen, unless it stays in use for longer than this, by a terminal that accepts no output (Ctrl-S).
    fn screen_within(&self, limit: Duration) -> Option<MutexGuard<'_, Screen>> {
        let until = Instant::now() + limit;
        loop {
            match self.screen.try_lock() {
                Ok(screen) => return Some(screen),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn write(&self) {
        self.write_to(&mut lock(&self.screen));
    }

    /// Writes lines that are queued or due, and draws. Events are accepted meanwhile.
    fn write_to(&self, screen: &mut Screen) {
        let now = Instant::now();
        let ((columns, rows), may_draw) = (screen.size(), screen.may_draw());
        let mut live = lock(&self.live);
        let Live { state, formatter, queue, cleared, hold_until } = &mut *live;
        state.sample(now);
        queue.extend(formatter.on_tick(state, now));
        let lines = std::mem::take(queue);
        *hold_until = hold_until.filter(|until| now < *until);
        let frame = if *cleared || !may_draw || hold_until.is_some() {
            Vec::new()
        } else {
            formatter.render(state, now, columns, rows)
        };
        drop(live);
        screen.show(&lines, &frame, columns);
    }
}

impl Reporter for Renderer {
    fn event(&self, event: &Event<'_>) {
        let mut live = lock(&self.shared.live);
        let Live { state, formatter, queue, cleared, .. } = &mut *live;
        *cleared = false;
        state.apply(event, Instant::now());
        let was_empty = queue.is_empty();
        queue.extend(formatter.format_event(event, state));
        // Otherwise a call is pending that will write these lines too.
        let needs_call = was_empty && !queue.is_empty();
        drop(live);
        // The process may exit after these events.
        if matches!(event, Event::Finished { .. } | Event::Planned { .. } | Event::Error { .. }) {
            self.write_now(Duration::MAX);
        } else if needs_call && !self.call(None) {
            self.shared.write();
        }
    }

    fn suspend(&self, write: &mut dyn FnMut()) {
        match self.results {
            Results::Apart => write(),
            Results::Terminal => {
                let mut screen = lock(&self.shared.screen);
                screen.erase();
                write();
                self.shared.write_to(&mut screen);
            }
            Results::Pipe => {
                let hold = |time| lock(&self.shared.live).hold_until = Some(Instant::now() + time);
                hold(Duration::from_secs(86_400));
                // The thread erases the frame, since the terminal may accept no output.
                self.write_now(READER_TIME);
                // The reader may keep this waiting. The screen is not locked, so messages are still written.
                write();
                hold(READER_TIME);
                // The thread draws when that is over.
                self.call(None);
            }
        }
    }

    fn pause(&self, stop: &mut dyn FnMut()) {
        // Held until the process continues, so that nothing is drawn meanwhile.
        let mut screen = self.shared.screen_within(FLUSH_TIMEOUT);
        if let Some(screen) = &mut screen {
            screen.erase();
        }
        stop();
    }

    fn clear(&self) {
        lock(&self.shared.live).cleared = true;
        self.write_now(FLUSH_TIMEOUT);
    }
}

impl Drop for Renderer {
    /// The thread writes what is left, erases the frame and ends.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Paper;
    use super::*;

    /// Says every note, and "tick" when asked.
    struct Echo;

    impl Formatter for Echo {
        fn format_event(&mut self, event: &Event<'_>, _: &State) -> Vec<String> {
            match event {
                Event::Verbose { message } => vec![(*message).to_owned()],
                _ => Vec::new(),
            }
        }

        fn on_tick(&mut self, _: &State, _: Instant) -> Vec<String> {
            vec!["tick".to_owned()]
        }
    }

    /// Always draws the same frame.
    struct Bar;

    impl Formatter for Bar {
        fn format_event(&mut self, _: &Event<'_>, _: &State) -> Vec<String> {
            Vec::new()
        }

        fn render(&mut self, _: &State, _: Instant, _: usize, _: usize) -> Vec<String> {
            vec!["bar".to_owned()]
        }
    }

    /// Takes one write, and no other until it is released.
    struct Stuck {
        after: Paper,
        release: mpsc::Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !self.after.text().is_empty() {
                let _ = self.release.recv();
            }
            self.after.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_end_of_the_renderer_writes_pending_messages_and_does_not_wait_for_a_tick() {
        let (paper, begun) = (Paper::default(), Instant::now());
        let formatter = Renderer::start(Box::new(Echo), Box::new(paper.clone()), None, Results::Apart);
        formatter.event(&Event::Verbose { message: "one" });
        formatter.event(&Event::Verbose { message: "two" });
        drop(formatter);
        let text = paper.text();
        assert!(text.contains("one\n") && text.contains("two\n") && text.contains("tick\n"), "{text}");
        assert!(text.find("one") < text.find("two"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    /// Waits until another frame has been drawn.
    fn wait_for_frame(paper: &Paper) {
        let drawn = || paper.text().matches("bar").count();
        let (before, begun) = (drawn(), Instant::now());
        while drawn() == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "no frame is drawn");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn no_frame_is_on_the_terminal_while_the_reader_of_a_pipe_prints_a_result() {
        let paper = Paper::default();
        let period = Some(Duration::from_millis(1));
        let renderer = Renderer::start(Box::new(Bar), Box::new(paper.clone()), period, Results::Pipe);
        for results in 1..=3 {
            wait_for_frame(&paper);
            renderer.suspend(&mut || {
                // The reader takes its time.
                std::thread::sleep(2 * READER_TIME);
                assert!(paper.text().ends_with("\u{1b}[2K\u{1b}[1B\u{1b}[1A"), "{results}");
            });
        }
    }

    #[test]
    fn the_frame_returns_as_soon_as_the_reader_of_a_pipe_had_time_to_print() {
        let paper = Paper::default();
        let renderer = Renderer::start(Box::new(Bar), Box::new(paper.clone()), None, Results::Pipe);
        for _ in 0..3 {
            renderer.suspend(&mut || {});
            wait_for_frame(&paper);
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_does_not_hold_up_results() {
        let paper = Paper::default();
        let (release, stuck) = mpsc::channel();
        let out = Stuck { after: paper.clone(), release: stuck };
        let period = Some(Duration::from_millis(1));
        let renderer = Renderer::start(Box::new(Bar), Box::new(out), period, Results::Pipe);
        wait_for_frame(&paper);
        let (mut results, begun) = (0, Instant::now());
        for _ in 0..20 {
            renderer.suspend(&mut || results += 1);
        }
        let elapsed = begun.elapsed();
        drop(release);
        assert!(results == 20 && elapsed < Duration::from_secs(4), "{results} {elapsed:?}");
    }

    #[test]
    fn the_last_message_is_written_before_the_call_returns() {
        let paper = Paper::default();
        let formatter = Renderer::start(Box::new(Echo), Box::new(paper.clone()), None, Results::Apart);
        formatter.event(&Event::Verbose { message: "last" });
        formatter.event(&Event::Finished { summary: &crate::outcome::Summary::default() });
        assert!(paper.text().contains("last\n"));
    }

    #[test]
    fn a_stderr_that_takes_nothing_does_not_hold_up_events() {
        let (release, stuck) = mpsc::channel();
        let out = Stuck { after: Paper::default(), release: stuck };
        let formatter = Renderer::start(Box::new(Echo), Box::new(out), None, Results::Apart);
        for _ in 0..1000 {
            formatter.event(&Event::Verbose { message: "many" });
        }
        formatter.clear();
        drop(release);
    }
}
