//! Replays the inputs that the fuzzer has found worth keeping, and random changes of them.
//!
//! The targets are in `targets/`, their inputs in `corpus/`; a file whose name begins with `found`
//! once broke something. `scripts/fuzz.sh` runs the fuzzer itself, in `Cargo.toml` beside this file
//! a package of its own. With `PBKV_FUZZ_CHANGES=N` each input is changed N times instead of a few.

mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// Changes of each input, for a run that takes seconds.
const CHANGES: u64 = 3;
/// The whole of `corpus/`, in bytes.
const CORPUS_BYTES_MAX: u64 = 300_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let named = |path: PathBuf| (path.display().to_string(), fs::read(path).expect("readable"));
    files.into_iter().map(named).collect()
}

/// A small generator: the same changes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn changed(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.insert(at, random.next() as u8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 if at < bytes.len() => bytes[at] = random.next() as u8,
            4 => bytes.truncate(at.max(1)),
            _ => {
                let from = random.below(other.len());
                let end = (from + random.below(32)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    bytes
}

fn holds(target: &Target, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| targets::run(target.name, bytes))).is_err() {
        let file = std::env::temp_dir().join(format!("pbkv-fuzz-{}", target.name));
        fs::write(&file, bytes).expect("a temporary file can be written");
        panic!(
            "{what} breaks `{}`; the input is in {}, to be kept as tests/fuzz/corpus/{}/found-...",
            target.name,
            file.display(),
            target.name
        );
    }
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "{name} has inputs");
    let changes = std::env::var("PBKV_FUZZ_CHANGES")
        .map_or(CHANGES, |text| text.parse().expect("PBKV_FUZZ_CHANGES is a number"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (file, bytes) in &inputs {
        holds(target, bytes, file);
        for number in 0..changes {
            let other = &inputs[random.below(inputs.len())].1;
            let bytes = changed(bytes, other, &mut random);
            holds(target, &bytes, &format!("change {number} of {file}"));
        }
    }
}

#[test]
fn kept_inputs_of_typed_commands_break_nothing() {
    replay("commands");
}

#[test]
fn kept_inputs_of_datagrams_break_nothing() {
    replay("datagrams");
}

#[test]
fn kept_inputs_of_dumps_and_histories_break_nothing() {
    replay("dumps");
}

#[test]
fn kept_inputs_of_hosts_files_and_flags_break_nothing() {
    replay("hosts");
}

#[test]
fn kept_inputs_of_pieces_break_nothing_and_hold_nothing_up_for_ever() {
    replay("pieces");
}

#[test]
fn kept_inputs_of_record_files_break_nothing() {
    replay("record");
}

#[test]
fn kept_inputs_of_messages_to_every_role_break_nothing() {
    replay("roles");
}

#[test]
fn every_target_has_a_folder_of_inputs_and_all_of_them_are_small() {
    let mut bytes = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name} is a target");
        bytes += inputs(&name).iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    }
    assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes");
}
