//! pbkv
pub mod cli;
pub mod config;
pub mod history;
pub mod hosts;
pub mod kv;
pub mod protocol;
pub mod runtime;
pub mod time;
pub mod types;

pub use runtime::Client;
