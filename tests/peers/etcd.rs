//! etcd, through the JSON gateway that every etcd serves: HTTP/1.1 on a connection that stays.

use std::net::SocketAddr;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::measure::{Connection, Result};

#[derive(Clone, Copy, ValueEnum)]
pub enum Operation {
    Put,
    Get,
}

pub struct Etcd {
    stream: TcpStream,
    operation: Operation,
    value: String,
    reply: Vec<u8>,
}

pub async fn connect(server: SocketAddr, operation: Operation, value_size: usize) -> Result<Etcd> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let value = base64(&vec![b'x'; value_size]);
    Ok(Etcd { stream, operation, value, reply: Vec::new() })
}

impl Connection for Etcd {
    async fn ask(&mut self, key: &str) -> Result<()> {
        let key = base64(key.as_bytes());
        let (path, body) = match self.operation {
            Operation::Put => ("put", format!(r#"{{"key":"{key}","value":"{}"}}"#, self.value)),
            Operation::Get => ("range", format!(r#"{{"key":"{key}"}}"#)),
        };
        let head = "HTTP/1.1\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length";
        let request = format!("POST /v3/kv/{path} {head}: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(request.as_bytes()).await?;
        self.reply.clear();
        loop {
            if self.stream.read_buf(&mut self.reply).await? == 0 {
                return Err("etcd closed the connection".into());
            }
            let reply = std::str::from_utf8(&self.reply)?;
            let Some((head, body)) = reply.split_once("\r\n\r\n") else { continue };
            let field = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = field.ok_or("etcd gave no Content-Length")?.parse()?;
            if body.len() < length {
                continue;
            }
            if !head.starts_with("HTTP/1.1 200") || !body.contains("revision") {
                return Err(format!("etcd said {reply}").into());
            }
            return Ok(());
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
