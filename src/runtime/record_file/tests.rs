use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::protocol::view::{Member, Micros, Phase, Record, View};
use crate::types::{Epoch, HistoryId, Incarnation, ServerId, ViewId};

/// A record whose view has this number.
pub(crate) fn record(number: u64) -> DurableRecord {
    let id = ServerId::from("s1");
    let address = "127.0.0.1:5010".parse().unwrap();
    let primary = Member { id: id.clone(), incarnation: Incarnation(u64::MAX), address };
    let view = ViewId { epoch: Epoch(1, 77), number };
    DurableRecord {
        record: Record {
            history: HistoryId(0x1234_5678_9abc_def0),
            view: View {
                id: view,
                primary: primary.clone(),
                backup: None,
                joining: None,
                since: view,
                genesis: number == 1,
            },
            phase: Phase::Active,
            eligible: vec![primary.clone()],
            last_primary: Some(primary),
            lease: Micros(200_000),
        },
        addresses: BTreeMap::from([(id, address)]),
        drained: std::collections::BTreeMap::new(),
    }
}

fn state_file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("view.state.json");
    (folder, file)
}

fn open_error(file: &Path) -> RecordError {
    let error = open(file).unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "names the file: {error}");
    error
}

#[test]
fn what_was_persisted_last_is_read_back() {
    let (_folder, file) = state_file();
    let (open_record, found) = open(&file).unwrap();
    assert_eq!(found, None);
    open_record.persist(&record(1)).unwrap();
    open_record.persist(&record(2)).unwrap();
    drop(open_record);
    let (_open, found) = open(&file).unwrap();
    assert_eq!(found, Some(record(2)));
}

#[test]
fn the_file_is_a_header_line_and_a_line_of_json() {
    let (_folder, file) = state_file();
    open(&file).unwrap().0.persist(&record(3)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let (header, body) = text.trim_end().split_once('\n').unwrap();
    let sum = XxHash3_64::oneshot(body.as_bytes());
    let expected = format!(r#"{{"pbkv":"view server record","version":1,"sum":{sum}}}"#);
    assert_eq!(header, expected);
    assert_eq!(serde_json::from_str::<DurableRecord>(body).unwrap(), record(3));
}

#[test]
fn a_file_name_without_folder_lies_in_the_working_directory() {
    let name = format!("pbkv-record-test-{}", std::process::id());
    let (open_record, found) = open(Path::new(&name)).unwrap();
    assert_eq!(found, None);
    drop(open_record);
    fs::remove_file(format!("{name}.lock")).unwrap();
}

#[test]
fn a_file_torn_at_any_length_is_an_error() {
    let (_folder, file) = state_file();
    let bytes = encode(&record(1)).unwrap();
    for length in 0..bytes.len() {
        let error = decode(&file, &bytes[..length]).unwrap_err();
        assert!(matches!(error, RecordError::Damaged { .. }), "{length}: {error}");
    }
    assert_eq!(decode(&file, &bytes).unwrap(), record(1));
}

#[test]
fn a_flipped_bit_in_any_byte_is_an_error() {
    let (_folder, file) = state_file();
    let mut bytes = encode(&record(1)).unwrap();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            bytes[index] ^= 1 << bit;
            assert!(decode(&file, &bytes).is_err(), "byte {index}, bit {bit}");
            bytes[index] ^= 1 << bit;
        }
    }
    bytes.push(b'\n');
    assert!(decode(&file, &bytes).is_err(), "more than one record");
}

#[test]
fn an_empty_a_torn_or_a_strange_file_is_an_error_that_names_a_remedy() {
    let (_folder, file) = state_file();
    let whole = encode(&record(1)).unwrap();
    for bytes in [&b""[..], &whole[..whole.len() / 2], b"{}\n{}\n", b"\0\xff\n", b"\n\n"] {
        fs::write(&file, bytes).unwrap();
        let error = open_error(&file);
        assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "the file is left alone");
    }
}

#[test]
fn a_record_with_the_right_sum_and_the_wrong_content_is_an_error() {
    let (_folder, file) = state_file();
    let mut bytes = header_line(VERSION, XxHash3_64::oneshot(b"{}")).unwrap();
    bytes.extend_from_slice(b"{}\n");
    let error = decode(&file, &bytes).unwrap_err();
    assert!(error.to_string().contains("no record"), "{error}");
}

#[test]
fn a_record_of_a_newer_program_is_an_error() {
    let (_folder, file) = state_file();
    let header = r#"{"pbkv":"view server record","version":2,"sum":0,"more":1}"#;
    fs::write(&file, format!("{header}\nwhatever\n")).unwrap();
    let error = open_error(&file);
    assert!(matches!(error, RecordError::Newer { version: 2, .. }), "{error}");
}

#[test]
fn a_missing_folder_is_an_error() {
    let (folder, _) = state_file();
    let error = open_error(&folder.path().join("missing").join("view.state.json"));
    assert!(matches!(error, RecordError::FolderMissing { .. }), "{error}");
}

#[test]
fn a_folder_that_takes_no_files_is_an_error() {
    // Nothing can be created here, not even by root, whom permissions do not stop.
    let error = open_error(Path::new("/proc/self/view.state.json"));
    assert!(matches!(error, RecordError::FolderNotWritable { .. }), "{error}");
}

#[test]
fn a_folder_in_place_of_the_file_is_an_error() {
    let (folder, _) = state_file();
    for path in [folder.path(), Path::new("/"), Path::new("..")] {
        let error = open_error(path);
        assert!(matches!(error, RecordError::NotAFile { .. }), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let (_folder, file) = state_file();
    // A link to itself: reading fails for everybody, and it is not the same as no file.
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let error = open_error(&file);
    assert!(matches!(error, RecordError::Unreadable { .. }), "{error}");
}

#[test]
fn a_second_view_server_is_kept_away_while_the_first_one_lives() {
    let (_folder, file) = state_file();
    let first = open(&file).unwrap();
    let error = open_error(&file);
    assert!(matches!(error, RecordError::InUse { .. }), "{error}");
    drop(first);
    open(&file).unwrap();
}

#[test]
fn a_left_over_temporary_file_is_ignored_and_replaced() {
    let (_folder, file) = state_file();
    open(&file).unwrap().0.persist(&record(1)).unwrap();
    let temporary = beside(&file, ".tmp");
    fs::write(&temporary, encode(&record(9)).unwrap()).unwrap();
    let (open_record, found) = open(&file).unwrap();
    assert_eq!(found, Some(record(1)));
    fs::write(&temporary, "longer than any record".repeat(100)).unwrap();
    open_record.persist(&record(2)).unwrap();
    assert!(!temporary.exists());
    drop(open_record);
    assert_eq!(open(&file).unwrap().1, Some(record(2)));
}

/// A disk that has no room until there is some. For one test only, which shares it with nobody.
pub(crate) mod room {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    static IS_THERE: AtomicBool = AtomicBool::new(false);
    static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);

    pub(crate) fn open_without(path: &Path) -> OpenRecord {
        let write: fn(&mut File, &[u8]) -> io::Result<()> = |file, bytes| {
            if IS_THERE.load(Ordering::SeqCst) {
                return file.write_all(bytes);
            }
            ATTEMPTS.fetch_add(1, Ordering::SeqCst);
            Err(system_error(rustix::io::Errno::NOSPC))
        };
        let (mut open, _) = open(path).unwrap();
        open.disk = Disk { write, ..DISK };
        open
    }

    pub(crate) fn attempts() -> usize {
        ATTEMPTS.load(Ordering::SeqCst)
    }

    pub(crate) fn make() {
        IS_THERE.store(true, Ordering::SeqCst);
    }
}

/// The error of the system with this number, as `std` gives it.
fn system_error(number: rustix::io::Errno) -> io::Error {
    io::Error::from(number)
}

const FULL: fn(&mut File, &[u8]) -> io::Result<()> = |file, bytes| {
    file.write_all(&bytes[..bytes.len() / 2])?;
    Err(system_error(rustix::io::Errno::NOSPC))
};

#[test]
fn a_full_disk_is_an_error_that_may_be_waited_out_and_leaves_the_former_record() {
    let (folder, file) = state_file();
    let (mut open_record, _) = open(&file).unwrap();
    open_record.persist(&record(1)).unwrap();
    let quota: fn(&File) -> io::Result<()> = |_| Err(system_error(rustix::io::Errno::DQUOT));
    for disk in [Disk { write: FULL, ..DISK }, Disk { sync: quota, ..DISK }] {
        open_record.disk = disk;
        let error = open_record.persist(&record(2)).unwrap_err();
        assert!(matches!(error, RecordError::NoRoom { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("free space in {}", folder.path().display())), "{text}");
        assert!(text.contains(&file.display().to_string()), "{text}");
        assert!(!beside(&file, ".tmp").exists(), "what was written takes no room");
        assert_eq!(decode(&file, &fs::read(&file).unwrap()).unwrap(), record(1));
    }
    open_record.disk = DISK;
    open_record.persist(&record(2)).unwrap();
    drop(open_record);
    assert_eq!(open(&file).unwrap().1, Some(record(2)));
}

#[test]
fn a_disk_that_is_full_or_broken_at_the_start_is_an_error_and_the_record_is_left_alone() {
    let (_folder, file) = state_file();
    open(&file).unwrap().0.persist(&record(1)).unwrap();
    let error = open_on(Disk { write: FULL, ..DISK }, &file).unwrap_err();
    assert!(matches!(error, RecordError::NoRoom { .. }), "{error}");
    let broken: fn(&File) -> io::Result<()> = |_| Err(system_error(rustix::io::Errno::IO));
    let error = open_on(Disk { sync: broken, ..DISK }, &file).unwrap_err();
    assert!(matches!(error, RecordError::FolderNotWritable { .. }), "{error}");
    let read_only: fn(&mut File, &[u8]) -> io::Result<()> =
        |_, _| Err(system_error(rustix::io::Errno::ROFS));
    let error = open_on(Disk { write: read_only, ..DISK }, &file).unwrap_err();
    assert!(matches!(error, RecordError::FolderNotWritable { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("read-only"), "{error}");
    assert_eq!(open(&file).unwrap().1, Some(record(1)));
}

#[test]
fn what_cannot_be_made_durable_is_an_error_whichever_step_fails_and_is_never_waited_out() {
    let broken: fn(&File) -> io::Result<()> = |_| Err(system_error(rustix::io::Errno::IO));
    // Only the folder: the file itself was made durable.
    let folder_broken: fn(&File) -> io::Result<()> = |file| {
        if file.metadata()?.is_dir() {
            return Err(system_error(rustix::io::Errno::IO));
        }
        file.sync_all()
    };
    // Even for want of room: the new name may or may not be there after a crash.
    let folder_full: fn(&File) -> io::Result<()> = |file| {
        if file.metadata()?.is_dir() {
            return Err(system_error(rustix::io::Errno::NOSPC));
        }
        file.sync_all()
    };
    let short: fn(&mut File, &[u8]) -> io::Result<()> =
        |_, _| Err(io::Error::from(io::ErrorKind::WriteZero));
    let unnamed: fn(&Path, &Path) -> io::Result<()> =
        |_, _| Err(system_error(rustix::io::Errno::IO));
    for disk in [
        Disk { sync: broken, ..DISK },
        Disk { sync: folder_broken, ..DISK },
        Disk { sync: folder_full, ..DISK },
        Disk { write: short, ..DISK },
        Disk { rename: unnamed, ..DISK },
    ] {
        let (_folder, file) = state_file();
        let (mut open_record, _) = open(&file).unwrap();
        open_record.persist(&record(1)).unwrap();
        open_record.disk = disk;
        let error = open_record.persist(&record(2)).unwrap_err();
        assert!(matches!(error, RecordError::NotDurable { .. }), "{error}");
        drop(open_record);
        // Either record is sound, and nothing else is found.
        let found = open(&file).unwrap().1.unwrap();
        assert!(found == record(1) || found == record(2));
    }
}

#[test]
fn the_content_is_durable_before_its_name_and_the_name_before_anything_is_said() {
    use std::cell::RefCell;
    thread_local!(static STEPS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) });
    let disk = Disk {
        write: |file, bytes| {
            STEPS.with_borrow_mut(|steps| steps.push("write"));
            file.write_all(bytes)
        },
        sync: |file| {
            let is_folder = file.metadata()?.is_dir();
            STEPS.with_borrow_mut(|it| it.push(if is_folder { "sync folder" } else { "sync" }));
            file.sync_all()
        },
        rename: |from, to| {
            STEPS.with_borrow_mut(|steps| steps.push("rename"));
            fs::rename(from, to)
        },
    };
    let (_folder, file) = state_file();
    let (open_record, _) = open_on(disk, &file).unwrap();
    assert_eq!(STEPS.take(), ["write", "sync", "sync folder"], "what is read is durable too");
    open_record.persist(&record(1)).unwrap();
    assert_eq!(STEPS.take(), ["write", "sync", "rename", "sync folder"]);
}

#[test]
fn the_lock_outlives_every_record_and_names_its_holder() {
    let (_folder, file) = state_file();
    let (first, _) = open(&file).unwrap();
    for number in 1..4 {
        first.persist(&record(number)).unwrap();
        let text = open_error(&file).to_string();
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        assert!(text.contains("stop that one"), "{text}");
    }
    drop(first);
    fs::write(beside(&file, ".lock"), "12345678 left over, and longer than any number").unwrap();
    let (_second, found) = open(&file).unwrap();
    assert_eq!(found, Some(record(3)));
    let left = fs::read_to_string(beside(&file, ".lock")).unwrap();
    assert_eq!(left, format!("{}\n", std::process::id()));
}

#[test]
fn a_link_to_a_record_is_that_record() {
    let (folder, file) = state_file();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let error = open_error(&link);
    assert!(matches!(error, RecordError::Unreadable { .. }), "leads nowhere: {error}");
    let (first, _) = open(&file).unwrap();
    first.persist(&record(1)).unwrap();
    let error = open_error(&link);
    assert!(matches!(error, RecordError::InUse { .. }), "{error}");
    drop(first);
    let (by_link, found) = open(&link).unwrap();
    assert_eq!(found, Some(record(1)));
    by_link.persist(&record(2)).unwrap();
    drop(by_link);
    assert!(link.is_symlink(), "the link is not replaced");
    assert_eq!(open(&file).unwrap().1, Some(record(2)));
}
