//! Runs the program on a pseudo-terminal. The test has its keyboard and screen.
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

/// A run with standard input and stderr on a terminal.
pub struct Terminal {
    running: Running,
    /// The side of the test.
    end: File,
    /// The side of the program, which keeps the terminal open after the program ends.
    held: File,
    /// The side of the program, for writes that fail while output is stopped.
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
                // The terminal sends signals such as Ctrl-C to its session.
                Ok(rustix::process::ioctl_tiocsctty(std::io::stdin())?)
            });
        }
        let running = Running::start(command, secret);
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut from, to) = (end.try_clone().unwrap(), Arc::clone(&screen));
        let reader = std::thread::spawn(move || {
            let mut block = [0; 4096];
            // On Linux, the end of a terminal is an error (EIO).
            while let Ok(read @ 1..) = from.read(&mut block) {
                to.lock().unwrap().extend_from_slice(&block[..read]);
            }
        });
        Self { running, end, held, probe, screen, reader }
    }

    /// The text on the screen.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits for text on the screen.
    pub fn shows(&self, words: &str) {
        wait_for(words, || self.screen().contains(words));
    }

    /// Presses keys. `\r` is Enter, `\x03` is Ctrl-C.
    pub fn press(&mut self, keys: &str) {
        self.end.write_all(keys.as_bytes()).unwrap();
    }

    /// Presses keys and waits until the terminal has processed them. It may echo them later.
    pub fn press_and_wait(&mut self, keys: &str) {
        // Ctrl-S after the keys stops output, Ctrl-Q resumes it.
        self.press(&format!("{keys}\x13"));
        wait_for("the terminal to process the keys", || (&self.probe).write(b".").is_err());
        self.press("\x11");
        wait_for("output to resume", || (&self.probe).write(b".").is_ok());
    }

    /// Whether the terminal echoes input.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.end).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end of the program. The screen counts as stderr.
    pub fn wait(self) -> Ran {
        let ran = self.running.wait();
        // The reader ends when the terminal has no other user.
        drop((self.held, self.probe));
        self.reader.join().unwrap();
        let screen = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        Ran { stderr: screen, ..ran }
    }

    pub fn running(&self) -> &Running {
        &self.running
    }
}
