//! The simple JSON form, from a plain UDP socket: no session, no checksum, no library.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;

/// A socket that speaks the simple form.
pub struct Plain {
    socket: UdpSocket,
    /// Objects that came in the same datagram as one that was taken already.
    waiting: VecDeque<Value>,
}

impl Plain {
    /// A socket on a port that the system chooses.
    pub fn new() -> Plain {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
        Plain { socket, waiting: VecDeque::new() }
    }

    /// One datagram.
    pub fn send(&self, to: SocketAddr, bytes: impl AsRef<[u8]>) {
        self.socket.send_to(bytes.as_ref(), to).expect("loopback takes every datagram");
    }

    /// The next object, if it comes in time.
    pub fn receive(&mut self, within: Duration) -> Option<Value> {
        let until = Instant::now() + within;
        let mut bytes = vec![0; 1 << 16];
        loop {
            if let Some(object) = self.waiting.pop_front() {
                return Some(object);
            }
            let left = until.checked_duration_since(Instant::now())?;
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
            // An error is silence, or an answer from a port where nobody listens any more.
            let Ok((size, _)) = self.socket.recv_from(&mut bytes) else { continue };
            let text = String::from_utf8(bytes[..size].to_vec()).expect("answers are UTF-8");
            for line in text.lines().filter(|line| !line.is_empty()) {
                self.waiting.push_back(serde_json::from_str(line).expect("answers are JSON"));
            }
        }
    }

    /// Everything that has arrived by now.
    pub fn drain(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.receive(Duration::from_millis(50))).collect()
    }

    /// Sends once and waits for the answer.
    #[track_caller]
    pub fn ask(&mut self, to: SocketAddr, text: &str) -> Value {
        self.send(to, text);
        self.receive(PATIENCE).unwrap_or_else(|| panic!("{to} does not answer {text}"))
    }
}

/// Asks a harmless question from a fresh socket, again and again until somebody answers.
pub fn ask_again(to: SocketAddr, text: &str, within: Duration) -> Option<Value> {
    let until = Instant::now() + within;
    let mut plain = Plain::new();
    while Instant::now() < until {
        // A closed port of this machine refuses at once, now or at the next send.
        let _ = plain.socket.send_to(text.as_bytes(), to);
        if let Some(answer) = plain.receive(Duration::from_millis(500)) {
            return Some(answer);
        }
    }
    None
}
