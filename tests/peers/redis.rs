//! Redis: requests of a fixed form, and replies of a known length.

use std::net::SocketAddr;

use clap::ValueEnum;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::measure::{Connection, Result, key};

#[derive(Clone, Copy, ValueEnum)]
pub enum Operation {
    Set,
    /// SET and WAIT 1 0, written together, so that a replicated write costs one round trip.
    SetWait,
    Get,
}

pub struct Redis {
    stream: TcpStream,
    operation: Operation,
    value: String,
    request: Vec<u8>,
    reply: Vec<u8>,
}

pub async fn connect(server: SocketAddr, operation: Operation, value_size: usize) -> Result<Redis> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let value = "x".repeat(value_size);
    Ok(Redis { stream, operation, value, request: Vec::new(), reply: vec![0; value_size + 64] })
}

/// Writes one command.
fn encode(to: &mut Vec<u8>, words: &[&str]) {
    to.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        to.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

impl Connection for Redis {
    async fn ask(&mut self, key: &str) -> Result<()> {
        self.request.clear();
        let wanted = match self.operation {
            Operation::Set => {
                encode(&mut self.request, &["SET", key, &self.value]);
                "+OK\r\n".to_owned()
            }
            Operation::SetWait => {
                encode(&mut self.request, &["SET", key, &self.value]);
                encode(&mut self.request, &["WAIT", "1", "0"]);
                "+OK\r\n:1\r\n".to_owned()
            }
            Operation::Get => {
                encode(&mut self.request, &["GET", key]);
                format!("${}\r\n{}\r\n", self.value.len(), self.value)
            }
        };
        self.stream.write_all(&self.request).await?;
        let mut read = 0;
        while read < wanted.len() {
            let more = self.stream.read(&mut self.reply[read..]).await?;
            if more == 0 {
                return Err("Redis closed the connection".into());
            }
            read += more;
        }
        if &self.reply[..read] != wanted.as_bytes() {
            return Err(
                format!("Redis said {:?}", String::from_utf8_lossy(&self.reply[..read])).into()
            );
        }
        Ok(())
    }
}

/// Every key once.
pub async fn fill(server: SocketAddr, keys: u64, value_size: usize) -> Result<()> {
    let mut redis = connect(server, Operation::Set, value_size).await?;
    for first in (0..keys).step_by(100) {
        let last = (first + 100).min(keys);
        redis.request.clear();
        for number in first..last {
            encode(&mut redis.request, &["SET", &key(number), &redis.value]);
        }
        redis.stream.write_all(&redis.request).await?;
        let mut replies = vec![0; usize::try_from(last - first)? * 5];
        redis.stream.read_exact(&mut replies).await?;
        if !replies.chunks(5).all(|reply| reply == b"+OK\r\n") {
            return Err(format!("Redis said {:?}", String::from_utf8_lossy(&replies)).into());
        }
    }
    println!("{}", json!({ "done": keys }));
    Ok(())
}
