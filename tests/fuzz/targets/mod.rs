//! What is fuzzed: functions that take any bytes, and panic if anything does not hold.
//!
//! Used twice: by the fuzzer (`fuzzers/`, started by `scripts/fuzz.sh`) and by the replay of the
//! kept inputs in `cargo test --test fuzz`. Each says at its top what must hold.

mod bytes;
mod commands;
mod datagrams;
mod dumps;
mod hosts;
mod pieces;
mod record;
mod roles;

/// A function to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of its module, of its fuzzer, and of its folder in `corpus/`.
    pub name: &'static str,
    /// Takes any bytes; panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "commands", run: commands::run },
    Target { name: "datagrams", run: datagrams::run },
    Target { name: "dumps", run: dumps::run },
    Target { name: "hosts", run: hosts::run },
    Target { name: "pieces", run: pieces::run },
    Target { name: "record", run: record::run },
    Target { name: "roles", run: roles::run },
];

/// Runs the target with this name; for the fuzzers, which are named like their targets.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a fuzzer is named like its target").run)(bytes);
}
