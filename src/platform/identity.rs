//! Which file this is, and whether it can have changed since: what each system says of it.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What tells one state of a file from another, as far as the system says.
///
/// Two equal ones are a proof only where [`Identity::proves_unchanged_since`] says so: some file systems number no
/// files, or keep no time of the last change that programs cannot set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The file system's number for the file; `None` where it has none.
    pub id: Option<FileId>,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970. Any program can set it.
    pub mtime: i128,
    /// Last change of the content or of the metadata, nanoseconds since 1970, which no program can set. `None` where
    /// the file system does not keep it.
    pub ctime: Option<i128>,
}

/// A file system's number for a file: unique on one machine as long as the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// The device (Unix), the volume's serial number (Windows).
    pub volume: u64,
    /// The inode (Unix), the file's index (Windows: 64 bits on NTFS, 128 on ReFS).
    pub index: u128,
}

impl Identity {
    /// Asks for an open file's identity.
    ///
    /// # Errors
    /// Those of the system.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (id, ctime) = system::id_and_ctime(file, &metadata);
        let size = metadata.len();
        let mtime = system::mtime(&metadata);
        // Only where the two differ is it certain that the second one is not a copy of the first.
        let copied = ctime == Some(mtime) && system::may_invent_ctime(file);
        Ok(Self { id, size, mtime, ctime: if copied { None } else { ctime } })
    }

    /// Whether this identity, read after `earlier`, proves that no byte has changed in between.
    ///
    /// `false` does not mean that one has: the content decides then.
    pub fn proves_unchanged_since(&self, earlier: &Self) -> bool {
        self == earlier && self.id.is_some() && self.ctime.is_some()
    }

    /// Whether ctime proves that no byte of one open file has changed between the two. [`may_be_written`] has to be
    /// asked before the later one is read.
    pub fn has_same_ctime(&self, other: &Self) -> bool {
        self.ctime.is_some() && self.ctime == other.ctime
    }
}

/// Whether another program may have written to an open file without its times telling yet: on Windows, where a write
/// is sure to show in them only when the handle that it was made with is closed.
pub fn may_be_written(file: &File) -> bool {
    system::may_be_written(file)
}

/// Whether the file at `path` is certainly another one than `file`.
///
/// # Errors
/// Those of the system, such as [`io::ErrorKind::NotFound`].
pub fn is_replaced(file: &File, path: &Path) -> io::Result<bool> {
    let open = system::id_and_ctime(file, &file.metadata()?).0;
    Ok(are_different(open, system::id_at(path)?))
}

fn are_different(one: Option<FileId>, other: Option<FileId>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

#[cfg(unix)]
mod system {
    use std::os::unix::fs::MetadataExt as _;

    use super::{File, FileId, Metadata, Path, io};

    fn id(metadata: &Metadata) -> Option<FileId> {
        // No file system has an inode 0 (readdir(3) tells unused entries by it).
        (metadata.ino() != 0).then(|| FileId { volume: metadata.dev(), index: metadata.ino().into() })
    }

    fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
        i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
    }

    pub(super) fn mtime(metadata: &Metadata) -> i128 {
        nanoseconds(metadata.mtime(), metadata.mtime_nsec())
    }

    pub(super) fn id_and_ctime(_: &File, metadata: &Metadata) -> (Option<FileId>, Option<i128>) {
        let ctime = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        (id(metadata), (ctime != 0).then_some(ctime))
    }

    /// Asked by name: opening a FIFO would wait for its writer.
    pub(super) fn id_at(path: &Path) -> io::Result<Option<FileId>> {
        std::fs::metadata(path).map(|metadata| id(&metadata))
    }

    /// The times show a write at once.
    pub(super) fn may_be_written(_: &File) -> bool {
        false
    }

    /// Whether the file system may report a copy of mtime as ctime: FAT and exFAT keep none, and what servers and FUSE
    /// programs report is up to them (sshfs copies).
    #[cfg(target_os = "linux")]
    pub(super) fn may_invent_ctime(file: &File) -> bool {
        // linux/magic.h and fs/smb/client/cifsglob.h.
        const MSDOS: u32 = 0x4d44;
        const EXFAT: u32 = 0x2011_bab0;
        const FUSE: u32 = 0x6573_5546;
        const CIFS: u32 = 0xff53_4d42;
        const SMB2: u32 = 0xfe53_4d42;
        const V9FS: u32 = 0x0102_1997;
        // All of them are 32-bit numbers; the field's width differs by architecture.
        let kind = rustix::fs::fstatfs(file).map(|found| found.f_type as u32);
        kind.map_or(true, |kind| [MSDOS, EXFAT, FUSE, CIFS, SMB2, V9FS].contains(&kind))
    }

    /// Whether the file system may report a copy of mtime as ctime: not the ones that such systems live on.
    #[cfg(target_vendor = "apple")]
    pub(super) fn may_invent_ctime(file: &File) -> bool {
        let Ok(found) = rustix::fs::fstatfs(file) else { return true };
        let name: Vec<u8> =
            found.f_fstypename.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
        ![b"apfs".as_slice(), b"hfs", b"nfs"].contains(&name.as_slice())
    }

    /// Whether the file system may report a copy of mtime as ctime. Unknown here, and improbable.
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    pub(super) fn may_invent_ctime(_: &File) -> bool {
        false
    }
}

#[cfg(windows)]
mod system {
    use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
    use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};

    use windows_sys::Win32::Foundation::{ERROR_SHARING_VIOLATION, INVALID_HANDLE_VALUE};
    use windows_sys::Win32::Storage::FileSystem::{
        BY_HANDLE_FILE_INFORMATION, FILE_BASIC_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_GENERIC_READ,
        FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS, FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ,
        FileBasicInfo, FileIdInfo, GetFileInformationByHandle, GetFileInformationByHandleEx,
        GetVolumeInformationByHandleW, ReOpenFile,
    };

    use super::{File, FileId, Metadata, Path, io};

    /// 1970 in FILETIME's count: 100 ns since 1601.
    const UNIX_EPOCH: i128 = 116_444_736_000_000_000;

    fn nanoseconds(filetime: i128) -> i128 {
        (filetime - UNIX_EPOCH) * 100
    }

    pub(super) fn mtime(metadata: &Metadata) -> i128 {
        nanoseconds(metadata.last_write_time().into())
    }

    pub(super) fn id_and_ctime(file: &File, _: &Metadata) -> (Option<FileId>, Option<i128>) {
        // SAFETY: FILE_BASIC_INFO is what this class is answered with.
        #[expect(unsafe_code, reason = "std's change_time is unstable; see SAFETY")]
        let basic = unsafe { information::<FILE_BASIC_INFO>(file, FileBasicInfo) };
        let ctime = basic.map(|basic| basic.ChangeTime).filter(|ctime| *ctime != 0);
        (id(file), ctime.map(|ctime| nanoseconds(ctime.into())))
    }

    pub(super) fn id_at(path: &Path) -> io::Result<Option<FileId>> {
        let mut options = File::options();
        // With the flag, a directory opens too.
        options.access_mode(FILE_READ_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
        options.open(path).map(|file| id(&file))
    }

    fn id(file: &File) -> Option<FileId> {
        // SAFETY: FILE_ID_INFO is what this class is answered with.
        #[expect(unsafe_code, reason = "std's file_index is unstable; see SAFETY")]
        let found = unsafe { information::<FILE_ID_INFO>(file, FileIdInfo) };
        let id = match found {
            Some(found) => FileId {
                volume: found.VolumeSerialNumber,
                index: u128::from_le_bytes(found.FileId.Identifier),
            },
            // FAT and some servers know only the older call.
            None => {
                let mut found = BY_HANDLE_FILE_INFORMATION::default();
                // SAFETY: the handle is open, and the call writes to the structure and nothing else.
                #[expect(unsafe_code, reason = "std's file_index is unstable; see SAFETY")]
                let done = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut found) };
                if done == 0 {
                    return None;
                }
                FileId {
                    volume: found.dwVolumeSerialNumber.into(),
                    index: u128::from(found.nFileIndexHigh) << 32 | u128::from(found.nFileIndexLow),
                }
            }
        };
        // A file system without numbers answers with 0, some with all ones (MS-FSCC, 2.1.9 and 2.1.10).
        (id.index != 0 && id.index != u128::MAX && id.index != u128::from(u64::MAX)).then_some(id)
    }

    /// Asks for one class of information.
    ///
    /// # Safety
    /// `T` has to be the plain structure that the class is answered with.
    #[expect(unsafe_code, reason = "std's change_time and file_index are unstable")]
    unsafe fn information<T: Default>(file: &File, class: FILE_INFO_BY_HANDLE_CLASS) -> Option<T> {
        let mut found = T::default();
        let size = u32::try_from(size_of::<T>()).ok()?;
        // SAFETY: the handle is open, and the call writes at most `size` bytes to `found`, which is that long.
        let done = unsafe {
            GetFileInformationByHandleEx(file.as_raw_handle(), class, (&raw mut found).cast(), size)
        };
        (done != 0).then_some(found)
    }

    /// Whether a program has the file open for writing. "Not all file systems can record creation and last access times,
    /// and ... the last write time is not fully updated until all handles used for writing are closed" (GetFileTime).
    pub(super) fn may_be_written(file: &File) -> bool {
        // SAFETY: the handle is open, and the call touches no memory of ours.
        #[expect(unsafe_code, reason = "no safe wrapper for this call exists; see SAFETY")]
        let reopened = unsafe {
            // Without FILE_SHARE_WRITE: refused while somebody has it open for writing.
            let share = FILE_SHARE_READ | FILE_SHARE_DELETE;
            ReOpenFile(file.as_raw_handle(), FILE_GENERIC_READ, share, 0)
        };
        if reopened == INVALID_HANDLE_VALUE {
            // A file system that cannot do it has said nothing of writers.
            return io::Error::last_os_error().raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32);
        }
        // SAFETY: the handle was opened above and belongs to nobody else.
        #[expect(unsafe_code, reason = "the call above gives a raw handle")]
        drop(unsafe { OwnedHandle::from_raw_handle(reopened) });
        false
    }

    /// Whether the file system may report a copy of the last write's time as ChangeTime: of NTFS and ReFS it is known
    /// that they do not.
    pub(super) fn may_invent_ctime(file: &File) -> bool {
        let mut name = [0_u16; 32];
        let null = std::ptr::null_mut();
        // SAFETY: the handle is open; the call writes at most the given number of characters to `name`, and nothing
        // where it is given null.
        #[expect(unsafe_code, reason = "no safe wrapper for this call exists; see SAFETY")]
        let done = unsafe {
            GetVolumeInformationByHandleW(
                file.as_raw_handle(),
                null,
                0,
                null.cast(),
                null.cast(),
                null.cast(),
                name.as_mut_ptr(),
                name.len() as u32,
            )
        };
        let name: Vec<u16> = name.into_iter().take_while(|unit| *unit != 0).collect();
        done == 0 || !["NTFS", "ReFS"].contains(&String::from_utf16_lossy(&name).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let id = Some(FileId { volume: 1, index: u128::MAX - 7 });
        Identity { id, size: 30, mtime: 1_700_000_000_000_000_000, ctime: Some(1_700_000_000_000_000_001) }
    }

    #[test]
    fn equal_identities_prove_nothing_where_the_system_tells_too_little() {
        let whole = identity();
        assert!(whole.proves_unchanged_since(&identity()));
        for poor in [Identity { id: None, ..identity() }, Identity { ctime: None, ..identity() }] {
            assert!(!poor.proves_unchanged_since(&poor.clone()), "{poor:?}");
            assert!(!poor.proves_unchanged_since(&whole) && !whole.proves_unchanged_since(&poor), "{poor:?}");
        }
        let other = Some(FileId { volume: 2, index: u128::MAX - 7 });
        for moved in [
            Identity { id: other, ..identity() },
            Identity { size: 31, ..identity() },
            Identity { mtime: 0, ..identity() },
            Identity { ctime: Some(0), ..identity() },
        ] {
            assert!(!moved.proves_unchanged_since(&whole), "{moved:?}");
        }
    }

    #[test]
    fn an_identity_is_read_back_as_it_was_written() {
        for identity in [identity(), Identity { id: None, ctime: None, ..identity() }] {
            let text = serde_json::to_string(&identity).unwrap();
            assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
        }
    }

    #[test]
    fn an_identity_of_before_there_were_file_ids_is_read_and_proves_nothing() {
        let text = r#"{"device":0,"inode":0,"size":30,"mtime":4,"ctime":5}"#;
        let old: Identity = serde_json::from_str(text).unwrap();
        assert_eq!((old.size, old.mtime), (30, 4));
        assert!(!old.proves_unchanged_since(&old.clone()));
    }

    #[test]
    fn a_change_whose_time_was_put_back_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "0123456789").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let before = Identity::of(&file).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        // Until the file system's clock, whose ticks are milliseconds, shows another time.
        while Identity::of(&file).unwrap() == before {
            std::fs::write(&path, "012345678_").unwrap();
            file.set_modified(modified).unwrap();
        }
        let after = Identity::of(&file).unwrap();
        assert_eq!((after.size, after.mtime), (before.size, before.mtime));
        assert!(!after.proves_unchanged_since(&before));
    }

    #[test]
    fn another_file_at_the_same_path_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("f"), folder.path().join("g"));
        std::fs::write(&path, "0123456789").unwrap();
        let file = File::open(&path).unwrap();
        assert!(!is_replaced(&file, &path).unwrap());
        std::fs::write(&other, "0123456789").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(is_replaced(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(is_replaced(&file, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
