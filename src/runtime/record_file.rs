//! The view server's record on disk.
//!
//! Two lines: a header `{"pbkv":"view server record","version":1,"sum":...}` with the xxh3_64 of
//! the second line, and the record itself as JSON. The file is only ever replaced as a whole: a
//! temporary file (`FILE.tmp`) is written, made durable and renamed, and then the folder is made
//! durable too, because it is the folder that holds the new name.
//!
//! Kept here: a record that was persisted is read back after any crash, and anything else that is
//! found in its place is an error, never a fresh start (a view server that wrongly believes to
//! have no record could promote a server that lacks acknowledged operations). `FILE.lock` keeps a
//! second view server away for as long as [`OpenRecord`] lives; it holds the process number of
//! whoever took it last.
//!
//! Of all that can fail, only the lack of room may be waited out ([`RecordError::NoRoom`]): it is
//! met before the former record is touched, and every attempt writes a file of its own. After any
//! other failure nobody knows what the disk holds until it is read again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use twox_hash::XxHash3_64;

use crate::protocol::view_server::DurableRecord;

const MARK: &str = "view server record";
const VERSION: u64 = 1;
/// Larger than the record of a cluster of ten servers.
const PROBE_BYTES: usize = 4 << 10;

/// Why the record cannot be used. Each names the file, the cause and the remedy.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The path names a folder, or nothing.
    #[error("{}: not the name of a file; name one with --state", file.display())]
    NotAFile {
        /// What was given.
        file: PathBuf,
    },
    /// The folder that should hold the file does not exist.
    #[error("{}: the folder {} does not exist; make it, or choose another file with --state",
        file.display(), folder.display())]
    FolderMissing {
        /// The record.
        file: PathBuf,
        /// What is missing.
        folder: PathBuf,
    },
    /// Nothing can be created beside the file, so that no record could ever be written.
    #[error("{}: cannot write in the folder {}: {cause}; make it writable, or choose another file \
        with --state", file.display(), folder.display())]
    FolderNotWritable {
        /// The record.
        file: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another view server uses this record now.
    #[error("{}: in use by another view server{}; stop that one, or choose another file with \
        --state", file.display(), process(*.holder))]
    InUse {
        /// The record.
        file: PathBuf,
        /// The process that holds it, if it has said so.
        holder: Option<u32>,
    },
    /// The file is there and cannot be read.
    #[error("{}: cannot be read: {cause}; make it readable, or choose another file with --state",
        file.display())]
    Unreadable {
        /// The record.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file holds something else than a whole record.
    #[error("{}: damaged ({damage}); put back an intact copy of the newest record, or, if there is \
        none, move the file away: the view server then asks the servers for what it held",
        file.display())]
    Damaged {
        /// The record.
        file: PathBuf,
        /// What is wrong with it.
        damage: String,
    },
    /// The record was written by a newer program, and may mean what this one does not know.
    #[error("{}: written in version {version} of the format, this program knows up to {VERSION}; \
        use a newer viewserver", file.display())]
    Newer {
        /// The record.
        file: PathBuf,
        /// Version of the format.
        version: u64,
    },
    /// There is no room for another record. The former one is untouched: it may be tried again.
    #[error("{}: no room for the record: {cause}; free space in {}", file.display(),
        folder.display())]
    NoRoom {
        /// What could not be written.
        file: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The record could not be made durable. What is on disk is the former one or the new one.
    #[error("{}: cannot be made durable: {cause}; see to free space and a healthy disk, then start \
        the view server again", file.display())]
    NotDurable {
        /// What could not be written.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

fn process(holder: Option<u32>) -> String {
    holder.map_or(String::new(), |pid| format!(" (process {pid})"))
}

/// Where a process keeps its record.
#[derive(Debug)]
pub enum RecordFile {
    /// Nowhere: it has none, or gives it up with every restart (`--state none`).
    None,
    /// In a file.
    At(OpenRecord),
}

impl RecordFile {
    pub(crate) fn persist(&self, record: &DurableRecord) -> Result<(), RecordError> {
        match self {
            RecordFile::None => Ok(()),
            RecordFile::At(open) => open.persist(record),
        }
    }
}

/// What is asked of the disk, so that tests can let each of it fail.
#[derive(Clone, Copy, Debug)]
struct Disk {
    write: fn(&mut File, &[u8]) -> io::Result<()>,
    sync: fn(&File) -> io::Result<()>,
    rename: fn(&Path, &Path) -> io::Result<()>,
}

/// The one that there is.
const DISK: Disk = Disk {
    write: |file, bytes| file.write_all(bytes),
    sync: File::sync_all,
    rename: |from, to| fs::rename(from, to),
};

/// A record file that this process alone may replace.
#[derive(Debug)]
pub struct OpenRecord {
    disk: Disk,
    file: PathBuf,
    /// Written first; what is left of it after a crash means nothing.
    temporary: PathBuf,
    folder_path: PathBuf,
    /// Open, so that it can be made durable.
    folder: File,
    /// Keeps the lock, which ends with the process at the latest.
    _lock: File,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    pbkv: String,
    version: u64,
    sum: u64,
}

/// Locks the record and reads it; none if there is no such file yet. Blocks.
///
/// # Errors
/// When it is in use, damaged, or newer than this program, or when no new one could be written.
pub fn open(path: &Path) -> Result<(OpenRecord, Option<DurableRecord>), RecordError> {
    open_on(DISK, path)
}

fn open_on(disk: Disk, path: &Path) -> Result<(OpenRecord, Option<DurableRecord>), RecordError> {
    let file = path.to_path_buf();
    let real;
    let path = if path.is_symlink() {
        // 1. two view servers are given two links to one file .. 2. each locks beside its link, and
        // replaces its link .. 3. there are two records. And a link that leads nowhere, for a disk
        // is not mounted, is not the same as no record.
        real = fs::canonicalize(path)
            .map_err(|cause| RecordError::Unreadable { file: file.clone(), cause })?;
        &real
    } else {
        path
    };
    if path.file_name().is_none() || path.is_dir() {
        return Err(RecordError::NotAFile { file });
    }
    let folder_path = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    };
    if !folder_path.is_dir() {
        return Err(RecordError::FolderMissing { file, folder: folder_path });
    }
    let not_writable = |cause| RecordError::FolderNotWritable {
        file: path.to_path_buf(),
        folder: folder_path.clone(),
        cause,
    };
    // The lock is a file of its own: the record is replaced, and a lock would stay with the old one.
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(beside(path, ".lock"))
        .map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            return Err(RecordError::InUse { file, holder: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(cause)) => return Err(not_writable(cause)),
    }
    // For whoever comes second, and nothing depends on it: a full disk is found out below.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    // Found out now rather than when the first view has to be recorded: a record of the usual size
    // can be written here.
    let temporary = beside(path, ".tmp");
    let folder = File::open(&folder_path).map_err(not_writable)?;
    let written = replace_temporary(disk, &temporary, &[b' '; PROBE_BYTES]);
    let _ = fs::remove_file(&temporary);
    written.map_err(|cause| {
        if is_for_want_of_room(&cause) {
            RecordError::NoRoom { file: file.clone(), folder: folder_path.clone(), cause }
        } else {
            not_writable(cause)
        }
    })?;
    let record = match fs::read(path) {
        Ok(bytes) => Some(decode(path, &bytes)?),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(RecordError::Unreadable { file, cause }),
    };
    // What was read must not be forgotten again. 1. a view server renames and is killed before the
    // folder is durable; 2. the next one reads the new record and tells everybody; 3. the machine
    // fails, and the old record is back.
    (disk.sync)(&folder).map_err(not_writable)?;
    let file = path.to_path_buf();
    Ok((OpenRecord { disk, file, temporary, folder_path, folder, _lock: lock }, record))
}

impl OpenRecord {
    /// Replaces the record. When this returns, it is read back after any crash. Blocks.
    ///
    /// # Errors
    /// [`RecordError::NoRoom`] when the former record is still the one on disk, and this may be
    /// tried again. After any other it is unknown which record is on disk, and trying again proves
    /// nothing (the kernel may have dropped what it could not write): the process must end.
    pub fn persist(&self, record: &DurableRecord) -> Result<(), RecordError> {
        let not_durable =
            |file: &Path, cause| RecordError::NotDurable { file: file.to_path_buf(), cause };
        let written =
            encode(record).and_then(|bytes| replace_temporary(self.disk, &self.temporary, &bytes));
        if let Err(cause) = written {
            // What is left of it would take the room that is missing.
            let _ = fs::remove_file(&self.temporary);
            if is_for_want_of_room(&cause) {
                let (file, folder) = (self.file.clone(), self.folder_path.clone());
                return Err(RecordError::NoRoom { file, folder, cause });
            }
            return Err(not_durable(&self.temporary, cause));
        }
        (self.disk.rename)(&self.temporary, &self.file)
            .and_then(|()| (self.disk.sync)(&self.folder))
            .map_err(|cause| not_durable(&self.file, cause))
    }
}

/// Writes a durable file under this name. Always a new one: 1. a file is written, and making it
/// durable fails .. 2. the kernel drops what it could not write and takes it for clean .. 3. the
/// same file is made durable again, successfully, and lacks a part.
fn replace_temporary(disk: Disk, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = File::create_new(temporary)?;
    (disk.write)(&mut file, bytes)?;
    (disk.sync)(&file)
}

fn is_for_want_of_room(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The path with something added to the file's name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The content of the file.
///
/// # Errors
/// Never in practice: a record is always JSON.
pub fn encode(record: &DurableRecord) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(record)?;
    let mut bytes = header_line(VERSION, XxHash3_64::oneshot(&body))?;
    bytes.extend_from_slice(&body);
    bytes.push(b'\n');
    Ok(bytes)
}

fn header_line(version: u64, sum: u64) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Header { pbkv: MARK.to_owned(), version, sum })?;
    line.push(b'\n');
    Ok(line)
}

/// The record in the content of the file at this path.
///
/// # Errors
/// When the content is anything but what [`encode`] writes; see [`RecordError`].
pub fn decode(path: &Path, bytes: &[u8]) -> Result<DurableRecord, RecordError> {
    let damaged = |damage: String| RecordError::Damaged { file: path.to_path_buf(), damage };
    let torn = || damaged(format!("it ends after {} bytes", bytes.len()));
    if bytes.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(torn)?;
    let (first, rest) = bytes.split_at(end + 1);
    let header: Header = serde_json::from_slice(first)
        .map_err(|error| damaged(format!("the first line is no header: {error}")))?;
    if header.pbkv != MARK {
        return Err(damaged(format!("it is a {:?}, not a {MARK:?}", header.pbkv)));
    }
    if header.version > VERSION {
        return Err(RecordError::Newer { file: path.to_path_buf(), version: header.version });
    }
    // Nothing guards the header itself, so it must be, byte for byte, the only one that this
    // program could have written.
    let written = header_line(VERSION, header.sum);
    if !written.is_ok_and(|written| written == first) {
        return Err(damaged("the header was altered".to_owned()));
    }
    let body = rest.strip_suffix(b"\n").ok_or_else(torn)?;
    if XxHash3_64::oneshot(body) != header.sum {
        return Err(damaged("the checksum does not match".to_owned()));
    }
    serde_json::from_slice(body)
        .map_err(|error| damaged(format!("the second line is no record: {error}")))
}

#[cfg(test)]
pub(crate) mod tests;
