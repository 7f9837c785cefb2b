//! What tests of the real binaries share: processes, clusters, plain JSON, a lossy network, and a
//! workload that knows what must be in the store.
//!
//! Tests wait for conditions, never for time. Every wait is bounded by [`PATIENCE`], which is long
//! because the machine may be loaded, and a wait that fails ends with the last lines that every
//! process wrote to stderr.

pub mod cluster;
pub mod hostile;
pub mod logs;
pub mod person;
pub mod plain;
pub mod process;
pub mod proxy;
pub mod screen;
pub mod workload;

use std::time::Duration;

/// How long any condition may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How much of something a test does: less every day than with `PBKV_LONG=1`.
pub fn amount(everyday: usize, long: usize) -> usize {
    match std::env::var("PBKV_LONG") {
        Ok(value) if !value.is_empty() && value != "0" => long,
        _ => everyday,
    }
}
