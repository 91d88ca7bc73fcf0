//! Opening, reading and locking files and directories.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::time::{Duration, Instant};

/// Reads at `offset` without moving a shared position. May read less than the buffer holds. 0 means the end of the file.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, buffer, offset);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// As [`read_at`], but only from the page cache. `None` if the disk would have to be read, or the system cannot tell.
pub fn read_at_if_cached(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    // RWF_NOWAIT (preadv2(2), Linux 4.14) fails with EAGAIN instead of waiting, or with EOPNOTSUPP if the file system does
    // not support it. A real error shows again in the blocking read.
    #[cfg(target_os = "linux")]
    return rustix::io::preadv2(
        file,
        &mut [io::IoSliceMut::new(buffer)],
        offset,
        rustix::io::ReadWriteFlags::NOWAIT,
    )
    .ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, buffer, offset);
        None
    }
}

/// Asks the system to read a range of a file ahead, without waiting. Does nothing on systems without such a call.
pub fn read_ahead(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(length) {
        let _ = rustix::fs::fadvise(file, offset, Some(length), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// Options for reading a file that, if it is new, only the user can access.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opens or creates a file for reading and writing. Only the user can access a new one.
pub fn open_private(path: &Path) -> io::Result<File> {
    // Not append: Windows refuses to truncate a file that is opened for appending.
    open_with_retry(|| private().write(true).create(true).truncate(false).open(path))
}

/// As [`open_private`]. Also returns whether the file existed.
pub fn open_or_create_private(path: &Path) -> io::Result<(File, bool)> {
    match open_with_retry(|| private().write(true).create_new(true).open(path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((open_private(path)?, true)),
        created => Ok((created?, false)),
    }
}

/// Opens or creates a file for reading and appending. Only the user can access a new one.
pub fn append_private(path: &Path) -> io::Result<File> {
    private().append(true).create(true).open(path)
}

/// Creates a directory and its parents. Only the user can access new ones.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Waits for the lock on a directory and holds it until the file is dropped. `None` if there are no such locks: Windows
/// cannot open directories, and some network file systems do not support locks.
pub fn lock_dir(path: &Path) -> Option<File> {
    let folder = if cfg!(unix) { open_with_retry(|| File::open(path)).ok()? } else { return None };
    folder.lock().ok().map(|()| folder)
}

/// Syncs a directory to disk after a rename. Some file systems refuse, and Windows cannot open directories.
pub fn sync_dir(path: &Path) {
    #[cfg(unix)]
    let _ = File::open(path).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = path;
}

/// A path from bytes: any on Unix, UTF-8 elsewhere.
/// Fails if the bytes are not valid.
pub fn os_string(bytes: Vec<u8>) -> Result<OsString, FromUtf8Error> {
    #[cfg(unix)]
    return Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes));
    #[cfg(not(unix))]
    String::from_utf8(bytes).map(OsString::from)
}

/// The name that [`kind_of`] returns for a named pipe.
pub const FIFO: &str = "a FIFO";

/// The name of a file type that is neither a regular file nor a directory.
pub fn kind_of(kind: std::fs::FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return FIFO;
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    let _ = kind;
    "something special"
}

/// Opens a file for reading. Does not wait for the writer of a FIFO. Reading a FIFO without a writer returns the end of
/// the file.
pub fn open_nonblocking(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
        // Reads have to wait for a slow writer.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        Ok(file)
    }
    #[cfg(not(unix))]
    File::open(path)
}

/// Whether this is the null device. `NUL` on Windows has no metadata.
pub fn is_null_device(metadata: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        metadata.file_type().is_char_device()
            && std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev())
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

/// The path of a file without links, `.` and `..`.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    let path = std::fs::canonicalize(path)?;
    // Windows returns the verbatim form `\\?\C:\folder\file`, which users do not know.
    #[cfg(windows)]
    if let Some(plain) = path.to_str().and_then(|text| text.strip_prefix(r"\\?\"))
        && plain.as_bytes().get(1) == Some(&b':')
    {
        return Ok(plain.into());
    }
    Ok(path)
}

/// A duplicate of the handle of standard input, if it can be duplicated.
pub fn stdin_as_file() -> Option<File> {
    duplicate(&io::stdin()).ok()
}

/// Whether standard output is a regular file or the null device.
pub fn stdout_is_file() -> bool {
    let metadata = duplicate(&io::stdout()).and_then(|stdout| stdout.metadata());
    metadata.is_ok_and(|metadata| metadata.is_file() || is_null_device(&metadata))
}

#[cfg(unix)]
fn duplicate(stream: &impl std::os::fd::AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn duplicate(stream: &impl std::os::windows::io::AsHandle) -> io::Result<File> {
    Ok(stream.as_handle().try_clone_to_owned()?.into())
}

/// Whether a write failed because the reader closed the pipe.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    // ERROR_PIPE_NOT_CONNECTED, for which std has no kind.
    const NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe || cfg!(windows) && error.raw_os_error() == Some(NOT_CONNECTED)
}

/// Raises the limit on open files to `wanted`. Returns the limit if the system does not allow that many.
pub fn raise_open_file_limit(wanted: u64) -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let current = current.filter(|current| *current < wanted)?;
        let more = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum });
        Some(if raised.is_ok() { more } else { current }).filter(|allowed| *allowed < wanted)
    }
    #[cfg(not(unix))]
    {
        let _ = wanted;
        None
    }
}

/// The number of open files, including inherited ones.
pub fn count_open_files() -> usize {
    #[cfg(unix)]
    // One of the entries is the directory itself, opened for reading. Without /dev/fd, assume the three streams.
    return std::fs::read_dir("/dev/fd").map_or(3, |entries| entries.count().saturating_sub(1));
    #[cfg(not(unix))]
    0
}

/// Whether too many files are open, in this process or on the system.
pub fn is_out_of_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    let numbers = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    #[cfg(windows)]
    // ERROR_TOO_MANY_OPEN_FILES, WSAEMFILE.
    let numbers = [4, 10024];
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// Whether another program has the file open and does not share it. Only Windows has such locks.
pub fn is_locked(error: &io::Error) -> bool {
    // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
    cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33))
}

/// The path under which a file can be opened by exactly its name. Windows opens a device for `CON` or `NUL`, and removes
/// dots and blanks from the end of a name, unless the path begins with `\\?\`.
pub fn literal_path(path: &Path) -> Cow<'_, Path> {
    let name =
        path.file_name().filter(|name| cfg!(windows) && is_changed_by_windows(&name.to_string_lossy()));
    let Some(name) = name else { return Cow::Borrowed(path) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // On Windows the canonical path begins with `\\?\`. Without one, opening fails with the reason.
    std::fs::canonicalize(parent).map_or(Cow::Borrowed(path), |parent| Cow::Owned(parent.join(name)))
}

/// Whether Windows opens something else than a file of this name.
fn is_changed_by_windows(name: &str) -> bool {
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_uppercase();
    let is_port = |prefix| stem.strip_prefix(prefix).is_some_and(|number| number.chars().count() == 1);
    name.ends_with(['.', ' ']) || DEVICES.contains(&stem.as_str()) || is_port("COM") || is_port("LPT")
}

/// How long to retry opening while too many files are open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Retries `open` for a while if too many files are open. Blocks.
pub fn open_with_retry<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + OPEN_TIMEOUT;
    loop {
        match open() {
            Err(error) if is_out_of_files(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_does_not_take_literally_are_known() {
        for name in
            ["CON", "nul", "NUL.txt", "aux .tar.gz", "COM1", "lpt9.log", "COM²", "conin$", "a.", "a ", "..."]
        {
            assert!(is_changed_by_windows(name), "{name}");
        }
        for name in ["CONSOLE", "a.con", "COM", "COM10", "LPTX1", "nul_", "a.b", ".hidden", " a"] {
            assert!(!is_changed_by_windows(name), "{name}");
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_file_that_another_program_does_not_share_is_locked() {
        use std::os::windows::fs::OpenOptionsExt as _;
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let held = File::options().read(true).share_mode(0).open(&path).unwrap();
        assert!(is_locked(&File::open(&path).unwrap_err()));
        drop(held);
    }
}
