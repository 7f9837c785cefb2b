//! pbkv
pub mod config;
pub mod kv;
pub mod protocol;
pub mod time;
pub mod types;
