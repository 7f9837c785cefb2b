//! Readers that do not read: a terminal held by Ctrl-S, a pipe into a pager.

use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::process::{Signal, command};

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Waits until the process ends; kills it if it does not.
#[track_caller]
fn end(mut child: Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it does not end");
}

#[test]
fn a_server_whose_log_nobody_reads_serves_and_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (_reader, stderr) = full_pipe();
    let mut server = command("viewserver", folder.path());
    server.args(["--listen", "127.0.0.1:0", "--state", "none"]);
    server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    let mut server = server.spawn().unwrap();
    let mut stdin = server.stdin.take().unwrap();
    let stdout = BufReader::new(server.stdout.take().unwrap());
    let (tell, told) = channel();
    spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    stdin.write_all(b"view\n").unwrap();
    let answer = told.recv_timeout(PATIENCE);
    signal(&server, Signal::TERM);
    assert_eq!(end(server), Some(0));
    assert_eq!(answer.as_deref(), Ok("primary: none backup: none"));
}

/// A pipe into which nothing fits any more.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'x'; 1 << 16]).unwrap();
    (reader, writer.into())
}

/// Whether the process does something of its own on SIGINT.
fn catches_interrupts(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 1) != 0
}

#[test]
fn watch_ends_although_nobody_reads_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [Signal::INT, Signal::TERM] {
        let (_reader, stdout) = full_pipe();
        let mut watch = command("client", folder.path());
        watch.args(["--view-server", "127.0.0.1:9", "watch", "--interval", "50ms", "--no-reads"]);
        let watch = watch.stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while !catches_interrupts(&watch) && Instant::now() < until {
            sleep(Duration::from_millis(2));
        }
        // Long enough for some pictures; that it hangs cannot be seen from here.
        sleep(Duration::from_millis(300));
        signal(&watch, kind);
        assert_eq!(end(watch), Some(0));
    }
}
