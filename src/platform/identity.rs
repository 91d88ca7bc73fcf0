//! Identity of a file: whether two paths or moments refer to the same file, and whether it may have changed.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A file and its state, as far as the system reports it.
///
/// Equal identities do not always prove that the file is unchanged: some file systems have no file IDs or no ctime. See
/// [`Identity::proves_unchanged_since`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `None` if the file system has no file IDs.
    pub id: Option<FileId>,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970. Programs can set it.
    pub mtime: i128,
    /// Last change of the content or metadata, in nanoseconds since 1970. Programs cannot set it. `None` if the file system
    /// does not have it.
    pub ctime: Option<i128>,
}

/// A file ID, unique on the machine while the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// The device on Unix, the serial number of the volume on Windows.
    pub volume: u64,
    /// The inode on Unix, the file index on Windows (64 bits on NTFS, 128 on ReFS).
    pub index: u128,
}

impl Identity {
    /// The identity of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (id, ctime) = system::id_and_ctime(file, &metadata);
        let size = metadata.len();
        let mtime = system::mtime(&metadata);
        // If they differ, ctime is not a copy of mtime.
        let copied = ctime == Some(mtime) && system::may_invent_ctime(file);
        Ok(Self { id, size, mtime, ctime: if copied { None } else { ctime } })
    }

    /// Whether this identity proves that no byte has changed since `earlier`. If not, the content has to be compared.
    pub fn proves_unchanged_since(&self, earlier: &Self) -> bool {
        self == earlier && self.id.is_some() && self.ctime.is_some()
    }

    /// Whether the file at `path` is certainly another one.
    /// Fails with errors of the system, such as [`io::ErrorKind::NotFound`].
    pub fn is_replaced_at(&self, path: &Path) -> io::Result<bool> {
        is_other(self.id, path)
    }

    /// Whether ctime proves that no byte of an open file has changed between the two. [`may_be_written`] has to be called
    /// before the later one is read.
    pub fn has_same_ctime(&self, other: &Self) -> bool {
        self.ctime.is_some() && self.ctime == other.ctime
    }
}

/// Whether another program may have written to an open file without a change of its times. Windows updates them reliably
/// only when the handle used for writing is closed.
pub fn may_be_written(file: &File) -> bool {
    system::may_be_written(file)
}

/// Whether the file at `path` is certainly not `file`.
/// Fails with errors of the system, such as [`io::ErrorKind::NotFound`].
pub fn is_replaced(file: &File, path: &Path) -> io::Result<bool> {
    is_other(system::id_and_ctime(file, &file.metadata()?).0, path)
}

fn is_other(id: Option<FileId>, path: &Path) -> io::Result<bool> {
    Ok(matches!((id, system::id_at(path)?), (Some(open), Some(found)) if open != found))
}

#[cfg(unix)]
mod system {
    use std::os::unix::fs::MetadataExt as _;

    use super::{File, FileId, Metadata, Path, io};

    fn id(metadata: &Metadata) -> Option<FileId> {
        // No file has the inode 0, which marks unused entries (readdir(3)).
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

    /// By path, because opening a FIFO would wait for its writer.
    pub(super) fn id_at(path: &Path) -> io::Result<Option<FileId>> {
        std::fs::metadata(path).map(|metadata| id(&metadata))
    }

    /// Writes change the times immediately.
    pub(super) fn may_be_written(_: &File) -> bool {
        false
    }

    /// Whether the file system may report a copy of mtime as ctime. FAT and exFAT have no ctime. Servers and FUSE programs
    /// may report anything (sshfs copies mtime).
    #[cfg(target_os = "linux")]
    pub(super) fn may_invent_ctime(file: &File) -> bool {
        // linux/magic.h and fs/smb/client/cifsglob.h.
        const MSDOS: u32 = 0x4d44;
        const EXFAT: u32 = 0x2011_bab0;
        const FUSE: u32 = 0x6573_5546;
        const CIFS: u32 = 0xff53_4d42;
        const SMB2: u32 = 0xfe53_4d42;
        const V9FS: u32 = 0x0102_1997;
        // All are 32-bit numbers. The width of the field depends on the architecture.
        let kind = rustix::fs::fstatfs(file).map(|found| found.f_type as u32);
        kind.map_or(true, |kind| [MSDOS, EXFAT, FUSE, CIFS, SMB2, V9FS].contains(&kind))
    }

    /// Whether the file system may report a copy of mtime as ctime. APFS, HFS+ and NFS do not.
    #[cfg(target_vendor = "apple")]
    pub(super) fn may_invent_ctime(file: &File) -> bool {
        let Ok(found) = rustix::fs::fstatfs(file) else { return true };
        let name: Vec<u8> =
            found.f_fstypename.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
        ![b"apfs".as_slice(), b"hfs", b"nfs"].contains(&name.as_slice())
    }

    /// Whether the file system may report a copy of mtime as ctime. Unknown on this system, but unlikely.
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

    /// 1970 as a FILETIME, in units of 100 ns since 1601.
    const UNIX_EPOCH: i128 = 116_444_736_000_000_000;

    fn nanoseconds(filetime: i128) -> i128 {
        (filetime - UNIX_EPOCH) * 100
    }

    pub(super) fn mtime(metadata: &Metadata) -> i128 {
        nanoseconds(metadata.last_write_time().into())
    }

    pub(super) fn id_and_ctime(file: &File, _: &Metadata) -> (Option<FileId>, Option<i128>) {
        // SAFETY: FILE_BASIC_INFO is the structure of this class.
        #[expect(unsafe_code, reason = "std's change_time is unstable; see SAFETY")]
        let basic = unsafe { information::<FILE_BASIC_INFO>(file, FileBasicInfo) };
        let ctime = basic.map(|basic| basic.ChangeTime).filter(|ctime| *ctime != 0);
        (id(file), ctime.map(|ctime| nanoseconds(ctime.into())))
    }

    pub(super) fn id_at(path: &Path) -> io::Result<Option<FileId>> {
        let mut options = File::options();
        // The flag allows opening directories.
        options.access_mode(FILE_READ_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
        options.open(path).map(|file| id(&file))
    }

    fn id(file: &File) -> Option<FileId> {
        // SAFETY: FILE_ID_INFO is the structure of this class.
        #[expect(unsafe_code, reason = "std's file_index is unstable; see SAFETY")]
        let found = unsafe { information::<FILE_ID_INFO>(file, FileIdInfo) };
        let id = match found {
            Some(found) => FileId {
                volume: found.VolumeSerialNumber,
                index: u128::from_le_bytes(found.FileId.Identifier),
            },
            // FAT and some servers support only the older call.
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
        // File systems without file IDs return 0 or all ones (MS-FSCC, 2.1.9 and 2.1.10).
        (id.index != 0 && id.index != u128::MAX && id.index != u128::from(u64::MAX)).then_some(id)
    }

    /// Queries one class of information.
    ///
    /// # Safety
    /// `T` has to be the structure of the class.
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
            // Without FILE_SHARE_WRITE, this fails while a program has the file open for writing.
            let share = FILE_SHARE_READ | FILE_SHARE_DELETE;
            ReOpenFile(file.as_raw_handle(), FILE_GENERIC_READ, share, 0)
        };
        if reopened == INVALID_HANDLE_VALUE {
            // Other errors say nothing about writers.
            return io::Error::last_os_error().raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32);
        }
        // SAFETY: the handle was opened above and has no other owner.
        #[expect(unsafe_code, reason = "the call above gives a raw handle")]
        drop(unsafe { OwnedHandle::from_raw_handle(reopened) });
        false
    }

    /// Whether the file system may report a copy of LastWriteTime as ChangeTime. NTFS and ReFS do not.
    pub(super) fn may_invent_ctime(file: &File) -> bool {
        let mut name = [0_u16; 32];
        let null = std::ptr::null_mut();
        // SAFETY: the handle is open. The call writes at most the given number of characters to `name`, and nothing to
        // null pointers.
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
    fn equal_identities_without_id_or_ctime_prove_nothing() {
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
    fn identities_survive_serialization() {
        for identity in [identity(), Identity { id: None, ctime: None, ..identity() }] {
            let text = serde_json::to_string(&identity).unwrap();
            assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
        }
    }

    #[test]
    fn old_identities_without_file_ids_are_read_and_prove_nothing() {
        let text = r#"{"device":0,"inode":0,"size":30,"mtime":4,"ctime":5}"#;
        let old: Identity = serde_json::from_str(text).unwrap();
        assert_eq!((old.size, old.mtime), (30, 4));
        assert!(!old.proves_unchanged_since(&old.clone()));
    }

    #[test]
    fn a_change_with_mtime_set_back_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "0123456789").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let before = Identity::of(&file).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        // The clock of the file system ticks in milliseconds.
        while Identity::of(&file).unwrap() == before {
            std::fs::write(&path, "012345678_").unwrap();
            file.set_modified(modified).unwrap();
        }
        let after = Identity::of(&file).unwrap();
        assert_eq!((after.size, after.mtime), (before.size, before.mtime));
        assert!(!after.proves_unchanged_since(&before));
    }

    #[test]
    fn another_file_at_the_same_path_is_detected() {
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
