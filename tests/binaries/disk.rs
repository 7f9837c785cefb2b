//! The view server on a disk that runs full, and gets room again.
//!
//! The disk is a small one in memory, mounted where only the view server sees it. Where the system
//! lets nobody but root do that the test says so on stderr, and proves nothing; the same is shown
//! for every step of writing by `runtime::record_file::tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cluster::PATIENT;
use crate::support::logs::Logs;
use crate::support::process::{Process, command};

/// A shell that mounts the disk and becomes the view server, after something else was done there.
fn on_small_disk(folder: &Path, first: &str) -> Command {
    let viewserver = command("viewserver", folder);
    let script = format!(
        "mount -t tmpfs -o size=64k none room && {first} && exec {} --listen 127.0.0.1:0 \
         --state room/view.state {}",
        viewserver.get_program().display(),
        PATIENT.join(" ")
    );
    let mut shell = command("unshare", folder);
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    shell
}

/// The folder to mount on; none where that is not allowed.
fn room() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::create_dir(folder.path().join("room")).expect("it is empty");
    let mut shell = command("unshare", folder.path());
    let mount = "mount -t tmpfs -o size=64k none room";
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]);
    let is_allowed = shell.output().is_ok_and(|output| output.status.success());
    if !is_allowed {
        eprintln!("SKIPPED: this system does not let us mount a small disk (unshare, tmpfs)");
    }
    is_allowed.then_some(folder)
}

#[test]
fn a_disk_that_is_full_at_the_start_ends_the_view_server_with_file_and_remedy() {
    let Some(folder) = room() else { return };
    let fill = "{ dd if=/dev/zero of=room/filler bs=1k 2>/dev/null || true; }";
    let shell = on_small_disk(folder.path(), fill);
    let finished = Process::run(&Logs::default(), "view", shell, "");
    finished.expect_complaint(2, &["room/view.state", "no room", "free space in room"]);
}

#[test]
fn a_view_server_whose_disk_is_full_decides_nothing_until_there_is_room() {
    let Some(folder) = room() else { return };
    let logs = Logs::default();
    let view = Process::spawn(&logs, "view", on_small_disk(folder.path(), "true"));
    let line = view.wait_for_log("listening on ");
    let (_, address) = line.split_once("listening on ").expect("that was waited for");
    let address = address.split(' ').next().expect("the address comes next").to_owned();
    // The disk as the view server sees it.
    let filler: PathBuf =
        format!("/proc/{}/root{}/room/filler", view.pid(), folder.path().display()).into();
    assert!(fs::write(&filler, vec![0; 64 << 10]).is_err(), "as much of it as fits");
    let mut server = command("kvserver", folder.path());
    server.args(["s1", "--listen", "127.0.0.1:0", "--view-server", &address]);
    let _server = Process::spawn(&logs, "s1", server);
    let waits = view.wait_for_log("no room for the record");
    assert!(waits.contains("view.state") && waits.contains("free space in room"), "{waits}");
    let client = |words: &[&str]| {
        let mut client = command("client", folder.path());
        client.args(["--view-server", &address]).args(words);
        Process::run(&logs, "client", client, "")
    };
    let refused = client(&["--deadline", "700ms", "put", "a", "1"]);
    refused.expect(1, &["unable to execute put"]);
    fs::remove_file(&filler).expect("it was written");
    view.wait_for_log("there is room for the record again");
    client(&["--deadline", "20s", "put", "a", "1"]).expect(0, &["put completed"]);
}
