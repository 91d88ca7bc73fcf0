//! A log of the items that active runs on this machine have created in one account's drive. All runs append to one file.
//! The first run empties the file, the last one removes it.
//!
//! It answers two questions without a request. Has another run created an item of this name in this folder since the
//! folder was listed? Then it is listed again. And has another active run already sent this file to this folder?
//!
//! A full disk, a reached quota or `ulimit -f` accepts no more lines, but usually still an empty file. An entry then
//! becomes the name of an empty file. A marker file without an entry in its name shows that there are such files, and its
//! time shows when there are new ones. If the disk does not accept a file either, the lock file is marked, and folders are
//! always listed again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::lock_file::{LockFile, Mode};
use crate::mutex::lock;
use crate::platform;

/// The extension of entry files, and of the marker file.
const ENTRY: &str = "entry";
/// Bytes per read.
const BLOCK: usize = 64 * 1024;
/// The resolution of file times: FAT stores every other second.
const TICK: Duration = Duration::from_secs(2);

/// The log, opened by one run.
#[derive(Debug)]
pub struct ActivityLog {
    /// Marks this run's entries.
    run: String,
    path: PathBuf,
    state: Mutex<State>,
    /// Shared by all runs that use the log.
    presence: LockFile,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Bytes read so far.
    read: u64,
    /// Names of entry files read so far.
    files: HashSet<String>,
    /// The time of the marker file when entry files were last read.
    marked: Option<SystemTime>,
    /// How often the log was read.
    reads: u64,
    /// For each target, the number of the read that found the last entry of another run.
    targets: HashMap<u64, u64>,
    /// The targets and files that other active runs have sent.
    sent: HashSet<(u64, u64)>,
    /// Entries about files with this run's ID. Before this run has added any, they are those of an earlier run of the same
    /// command.
    own: u64,
}

/// An entry of the log: the run, what it created, and from which file.
#[derive(Clone, Copy)]
struct Entry<'a> {
    run: &'a str,
    target: u64,
    source: Option<u64>,
}

impl ActivityLog {
    /// Opens the log at `path` for a run. `is_alive` tells whether a run with entries is still active. `None` if another run
    /// is opening or closing it.
    pub fn open(path: &Path, run: &str, is_alive: impl Fn(&str) -> bool) -> io::Result<Option<Self>> {
        let lock_path = path.with_extension("runs");
        if let Some(alone) = LockFile::try_acquire(&lock_path, Mode::Exclusive)? {
            // Left by runs that have ended.
            remove(path);
            drop(alone);
        }
        let Some(presence) = LockFile::try_acquire(&lock_path, Mode::Shared)? else { return Ok(None) };
        let file = platform::append_private(path)?;
        let state = State {
            file,
            read: 0,
            files: HashSet::new(),
            marked: None,
            reads: 0,
            targets: HashMap::new(),
            sent: HashSet::new(),
            own: 0,
        };
        let log = Self { run: run.to_owned(), path: path.to_owned(), state: Mutex::new(state), presence };
        let mut alive = HashMap::new();
        let known = |run: &str| match alive.get(run) {
            Some(is_alive) => *is_alive,
            None => *alive.entry(run.to_owned()).or_insert_with(|| is_alive(run)),
        };
        lock(&log.state).read_new(&log.path, &log.run, known)?;
        lock(&log.state).own = 0;
        Ok(Some(log))
    }

    /// Reads what other runs have added. Returns the number of this read.
    pub fn read_new(&self) -> io::Result<u64> {
        // A run that adds entries now is active.
        lock(&self.state).read_new(&self.path, &self.run, |_| true)
    }

    /// Adds an entry: this run has created `target`, from this file.
    pub fn append(&self, target: u64, source: Option<u64>) -> io::Result<()> {
        let entry = Entry { run: &self.run, target, source };
        // A single write, so that the line is appended as a whole. The leading newline ends a line that a full disk has cut
        // off.
        let line = format!("\n{}\n", entry.text(' '));
        let mut state = lock(&self.state);
        state.file.write_all(line.as_bytes()).or_else(|error| {
            self.create_entry_file(&mut state, entry).map_err(|_| {
                self.presence.mark();
                error
            })
        })
    }

    /// Creates an entry file.
    fn create_entry_file(&self, state: &mut State, entry: Entry<'_>) -> io::Result<()> {
        // The same entry may occur again.
        for number in 0_u32.. {
            let file = self.path.with_extension(format!("{}.{number}.{ENTRY}", entry.text('.')));
            if let (_, false) = platform::open_or_create_private(&file)? {
                break;
            }
        }
        let marker = platform::open_private(&self.path.with_extension(ENTRY))?;
        marker.lock()?;
        let before = marker.metadata()?.modified()?;
        marker.set_modified(SystemTime::now().max(before + TICK))?;
        // This run need not read its own entry files.
        if state.marked == Some(before) {
            state.marked = Some(marker.metadata()?.modified()?);
        }
        Ok(())
    }

    /// Whether an item was created under this run's ID since the log was opened.
    pub fn has_own_entries(&self) -> io::Result<bool> {
        self.read_new()?;
        Ok(lock(&self.state).own > 0)
    }

    /// Whether another run has created `target` since the read with this number, as far as the log has been read. Also
    /// `true` if entries are missing.
    pub fn has_changed(&self, target: u64, since: u64) -> bool {
        self.presence.is_marked() || lock(&self.state).targets.get(&target).is_some_and(|at| *at > since)
    }

    /// Whether another active run has sent this file to this target, as far as the log has been read.
    pub fn has_sent(&self, target: u64, source: u64) -> bool {
        lock(&self.state).sent.contains(&(target, source))
    }
}

impl State {
    fn read_new(
        &mut self,
        path: &Path,
        own: &str,
        mut is_alive: impl FnMut(&str) -> bool,
    ) -> io::Result<u64> {
        self.reads += 1;
        let mut block = Vec::new();
        while self.file.metadata()?.len() > self.read {
            block.resize(BLOCK, 0);
            let read = platform::read_at(&self.file, &mut block, self.read)?;
            // The rest of the line is in the next block, or has not been written yet.
            let Some(end) = block[..read].iter().rposition(|byte| *byte == b'\n') else { break };
            for line in block[..end].split(|byte| *byte == b'\n') {
                let line = std::str::from_utf8(line).unwrap_or_default();
                self.add(Entry::read(line, ' '), own, &mut is_alive);
            }
            self.read += end as u64 + 1;
        }
        let marked = std::fs::metadata(path.with_extension(ENTRY)).and_then(|marker| marker.modified()).ok();
        if marked.is_some() && marked != self.marked {
            for name in entry_files(path)? {
                let entry = name.split_once('.').and_then(|(_, text)| Entry::read(text, '.'));
                if !self.files.contains(&name) {
                    self.add(entry, own, &mut is_alive);
                    self.files.insert(name);
                }
            }
            self.marked = marked;
        }
        Ok(self.reads)
    }

    fn add(&mut self, entry: Option<Entry<'_>>, own: &str, is_alive: &mut impl FnMut(&str) -> bool) {
        let Some(entry) = entry else { return };
        if entry.run == own {
            self.own += u64::from(entry.source.is_some());
            return;
        }
        self.targets.insert(entry.target, self.reads);
        if let Some(source) = entry.source
            && is_alive(entry.run)
        {
            self.sent.insert((entry.target, source));
        }
    }
}

impl<'a> Entry<'a> {
    /// The entry as a line or as a part of a file's name.
    fn text(&self, separator: char) -> String {
        let Self { run, target, source } = self;
        let source = source.map_or_else(|| "-".to_owned(), |source| format!("{source:016x}"));
        format!("{run}{separator}{target:016x}{separator}{source}")
    }

    /// `None` if the line was cut off.
    fn read(text: &'a str, separator: char) -> Option<Self> {
        let mut fields = text.split(separator);
        let (run, target, source) = (fields.next()?, fields.next()?, fields.next()?);
        let number = |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        let source = if source == "-" { None } else { Some(number(source)?) };
        Some(Self { run, target: number(target)?, source })
    }
}

/// The names of the log's entry files.
fn entry_files(path: &Path) -> io::Result<impl Iterator<Item = String>> {
    let stem = path.file_stem().unwrap_or_default().to_owned();
    let names = std::fs::read_dir(path.parent().unwrap_or(Path::new("")))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(move |name| {
        let rest = stem.to_str().and_then(|stem| name.strip_prefix(stem)?.strip_prefix('.'));
        rest.is_some_and(|rest| rest.rsplit('.').next() == Some(ENTRY))
    }))
}

/// Removes the log.
fn remove(path: &Path) {
    let files = entry_files(path).into_iter().flatten().map(|name| path.with_file_name(name));
    for file in files.chain([path.to_owned()]) {
        let _ = std::fs::remove_file(file);
    }
}

impl Drop for ActivityLog {
    fn drop(&mut self) {
        if self.presence.try_upgrade() {
            remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, run: &str, alive: &[&str]) -> ActivityLog {
        ActivityLog::open(path, run, |run| alive.contains(&run)).unwrap().unwrap()
    }

    #[test]
    fn later_items_of_other_runs_are_changes_and_own_items_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (one, two) = (open(&path, "one", &[]), open(&path, "two", &["one"]));
        let listed = two.read_new().unwrap();
        one.append(7, Some(70)).unwrap();
        two.append(8, None).unwrap();
        let later = two.read_new().unwrap();
        assert!(two.has_changed(7, listed) && !two.has_changed(7, later));
        assert!(!two.has_changed(8, listed) && !two.has_changed(9, listed));
        assert!(two.has_own_entries().is_ok_and(|own| !own) && one.has_own_entries().unwrap());
        assert!(two.has_sent(7, 70) && !two.has_sent(7, 71) && !two.has_sent(8, 70));
        one.read_new().unwrap();
        assert!(one.has_changed(8, 0));
    }

    #[test]
    fn files_sent_by_a_run_that_has_ended_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (over, alive) = (open(&path, "over", &[]), open(&path, "alive", &[]));
        over.append(1, Some(10)).unwrap();
        alive.append(2, Some(20)).unwrap();
        drop(over);
        let late = open(&path, "late", &["alive"]);
        assert!(!late.has_sent(1, 10) && late.has_sent(2, 20));
        drop((alive, late));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_that_a_full_disk_has_cut_off_does_not_affect_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "\nold 0000000000000005 0000000000000050\n").unwrap();
        let (one, two) = (open(&path, "one", &[]), open(&path, "two", &["old"]));
        assert!(!two.has_sent(5, 0x50));
        lock(&one.state).file.write_all(b"\none 00000000").unwrap();
        two.read_new().unwrap();
        one.append(6, Some(60)).unwrap();
        two.read_new().unwrap();
        assert!(two.has_sent(6, 60));
    }

    #[test]
    fn an_entry_that_cannot_be_appended_becomes_a_file_that_is_removed_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.activity");
        std::fs::write(folder.path().join("log.old.0000000000000005.0000000000000050.0.entry"), "").unwrap();
        let other = open(&folder.path().join("other.activity"), "other", &[]);
        let (one, two) = (open(&path, "one", &[]), open(&path, "two", &["one"]));
        assert!(!two.has_sent(5, 0x50), "it was left by a run that was killed");
        let full = || std::fs::File::open(&path).unwrap();
        for log in [&one, &other] {
            lock(&log.state).file = full();
            log.append(7, Some(70)).unwrap();
        }
        let listed = two.read_new().unwrap();
        assert!(two.has_sent(7, 70) && !two.has_changed(7, listed) && !two.has_own_entries().unwrap());
        one.append(7, Some(70)).unwrap();
        one.append(8, None).unwrap();
        two.read_new().unwrap();
        assert!(two.has_changed(7, listed) && two.has_changed(8, listed) && one.has_own_entries().unwrap());
        // A later run finds what active runs have noted.
        assert!(open(&path, "three", &["one"]).has_sent(7, 70) && !open(&path, "four", &[]).has_sent(7, 70));
        drop((one, two));
        let left = |log: &str| entry_files(&folder.path().join(log)).unwrap().count();
        assert_eq!((left("log.activity"), left("other.activity")), (0, 2));
        drop(other);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
