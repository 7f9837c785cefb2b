//! The floor: four hops of bare datagrams (client, primary, backup, primary, client) of the sizes
//! of pbkv's own, with nothing in them but the number of the operation.
//!
//! A hop is one receive and one send. Unpacked, each operation is a datagram of its own on every
//! hop. Packed, what has arrived at the primary by the time it looks shares one datagram to the
//! backup and one back; clients are answered one by one. A lost datagram is not repeated (the
//! client then fails): on loopback with large buffers none is.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::measure::{Connection, Result};

/// Bytes of a put of a 16-byte key and a 100-byte value, as pbkv sends them.
const REQUEST: usize = 353;
/// Around the operations that share a datagram to the backup, and for each of them.
const REPLICATE: usize = 330;
const OPERATION: usize = 230;
const ACK: usize = 328;
const REPLY: usize = 167;

/// A datagram on loopback holds no more.
const DATAGRAM: usize = 60_000;

fn bind() -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(4 << 20)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}

/// Sends at once; waits if there is no room.
async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> Result<()> {
    match socket.try_send_to(bytes, to) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            socket.send_to(bytes, to).await?;
        }
        sent => {
            sent?;
        }
    }
    Ok(())
}

/// The number that stands in the first eight bytes.
fn number(bytes: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(bytes.get(..8).ok_or("a datagram is too short")?.try_into()?))
}

pub async fn primary(backup: SocketAddr, is_packed: bool) -> Result<()> {
    let socket = bind()?;
    println!("{}", socket.local_addr()?);
    let mut buffer = vec![0; 65_536];
    let mut datagram = vec![0; DATAGRAM];
    // What waits for the backup, by the number of the datagram that carried it.
    let mut waiting: HashMap<u64, Vec<SocketAddr>> = HashMap::new();
    let mut arrived: VecDeque<SocketAddr> = VecDeque::new();
    let mut batches = 0_u64;
    loop {
        socket.readable().await?;
        loop {
            match socket.try_recv_from(&mut buffer) {
                Ok((size, from)) if from == backup => {
                    for client in waiting.remove(&number(&buffer[..size])?).into_iter().flatten() {
                        send(&socket, &buffer[..REPLY], client).await?;
                    }
                }
                Ok((_, from)) => arrived.push_back(from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        while !arrived.is_empty() {
            let room = if is_packed { (DATAGRAM - REPLICATE) / OPERATION } else { 1 };
            let batch: Vec<SocketAddr> = arrived.drain(..room.min(arrived.len())).collect();
            batches += 1;
            datagram[..8].copy_from_slice(&batches.to_le_bytes());
            let size = REPLICATE + OPERATION * batch.len();
            waiting.insert(batches, batch);
            send(&socket, &datagram[..size], backup).await?;
        }
    }
}

pub async fn backup() -> Result<()> {
    let socket = bind()?;
    println!("{}", socket.local_addr()?);
    let mut buffer = vec![0; 65_536];
    loop {
        socket.readable().await?;
        loop {
            match socket.try_recv_from(&mut buffer) {
                Ok((_, from)) => send(&socket, &buffer[..ACK], from).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub struct Relayed {
    socket: UdpSocket,
    server: SocketAddr,
}

pub async fn connect(server: SocketAddr) -> Result<Relayed> {
    Ok(Relayed { socket: bind()?, server })
}

impl Connection for Relayed {
    async fn ask(&mut self, key: &str) -> Result<()> {
        let mut request = [0; REQUEST];
        request[..key.len()].copy_from_slice(key.as_bytes());
        send(&self.socket, &request, self.server).await?;
        let mut reply = [0; REPLY];
        loop {
            match self.socket.try_recv_from(&mut reply) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.readable().await?;
                }
                received => {
                    received?;
                    return Ok(());
                }
            }
        }
    }
}
