//! The program at a terminal of its own: a pseudo-terminal, whose other end is the test's keyboard and screen.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::halfway::wait_for;
use crate::ran::{Ran, Running};

/// A run of the program with standard input and stderr on a terminal.
pub struct Terminal {
    running: Running,
    /// The test's end.
    end: File,
    /// The program's end, held so that the terminal outlives the program.
    held: File,
    /// The program's end, for writes that do not wait while output is stopped.
    probe: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub fn start(mut command: Command, secret: &str) -> Self {
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&end).unwrap();
        unlockpt(&end).unwrap();
        let name = ptsname(&end, Vec::new()).unwrap();
        let held = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let probe =
            File::options().write(true).custom_flags(nonblocking).open(name.to_str().unwrap()).unwrap();
        let end = File::from(end);
        command.stdin(held.try_clone().unwrap()).stderr(held.try_clone().unwrap()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only two system calls are made.
        #[expect(unsafe_code, reason = "std has no safe way to give a child a terminal; see SAFETY")]
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                // Ctrl-C becomes a signal for whom the terminal belongs to.
                Ok(rustix::process::ioctl_tiocsctty(std::io::stdin())?)
            });
        }
        let running = Running::start(command, secret);
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut from, to) = (end.try_clone().unwrap(), Arc::clone(&screen));
        let reader = std::thread::spawn(move || {
            let mut block = [0; 4096];
            // Linux tells the end of a terminal as an error (EIO).
            while let Ok(read @ 1..) = from.read(&mut block) {
                to.lock().unwrap().extend_from_slice(&block[..read]);
            }
        });
        Self { running, end, held, probe, screen, reader }
    }

    /// What is on the screen by now.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until this is on the screen.
    pub fn shows(&self, words: &str) {
        wait_for(words, || self.screen().contains(words));
    }

    /// Presses keys: `\r` is Enter, `\x03` Ctrl-C.
    pub fn press(&mut self, keys: &str) {
        self.end.write_all(keys.as_bytes()).unwrap();
    }

    /// Presses keys and waits until the terminal has taken them in: later it may show them.
    pub fn press_and_wait(&mut self, keys: &str) {
        // Ctrl-S behind them stops the output, Ctrl-Q lets it go on.
        self.press(&format!("{keys}\x13"));
        wait_for("the keys to be taken in", || (&self.probe).write(b".").is_err());
        self.press("\x11");
        wait_for("the output to go on", || (&self.probe).write(b".").is_ok());
    }

    /// Whether the terminal shows what is typed.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.end).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end; stderr is the screen.
    pub fn wait(self) -> Ran {
        let ran = self.running.wait();
        // The reader's end comes when nobody holds the terminal any more.
        drop((self.held, self.probe));
        self.reader.join().unwrap();
        let screen = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        Ran { stderr: screen, ..ran }
    }

    pub fn running(&self) -> &Running {
        &self.running
    }
}
