//! Names the commit that is built, for `--version`: `PBKV_COMMIT` of the environment, or what git
//! says of this tree. Outside a git checkout, or without git, there is none, and that is no error.
//!
//! Only released programs ask git: a debug build would otherwise be compiled again after every
//! commit that changed nothing in it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PBKV_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let named = std::env::var("PBKV_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = named.or_else(|| is_release.then(commit_of_tree).flatten());
    let version = match commit {
        Some(commit) => format!("{version} ({})", commit.trim()),
        None => version,
    };
    println!("cargo::rustc-env=PBKV_VERSION={version}");
}

/// The commit, with a `+` if a file that is built differs from it.
fn commit_of_tree() -> Option<String> {
    // Of this tree, not of a repository that happens to lie around it.
    let root = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::current_dir().ok()?.canonicalize().ok()?;
    if Path::new(root.trim()).canonicalize().ok()? != here {
        return None;
    }
    // The log of HEAD grows with every commit and checkout. A path that is not there would make
    // cargo run this again every time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    for path in [log.trim(), "src", "Cargo.toml", "Cargo.lock"] {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock"])?;
    let mark = if changed.trim().is_empty() { "" } else { "+" };
    Some(format!("{}{mark}", commit.trim()))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}
