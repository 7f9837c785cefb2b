//! stub: messages to datagrams and back; interface.

use std::net::SocketAddr;

use crate::config::Limits;
use crate::protocol::message::Message;
use crate::time::Timestamp;
use crate::types::Incarnation;

/// Bytes for one `sendto`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// Packs messages into datagrams, and puts messages together from datagrams.
#[derive(Debug)]
pub struct Transport {}

impl Transport {
    /// A transport of the process with this incarnation.
    #[must_use]
    pub fn new(incarnation: Incarnation, limits: Limits) -> Self {
        let _ = (incarnation, limits);
        Transport {}
    }

    /// Queues a message; it shares a datagram with others to the same destination.
    pub fn send(&mut self, now: Timestamp, to: SocketAddr, message: &Message) {
        let _ = (now, to, message);
    }

    /// Takes out every datagram that is ready, in the order of the sends.
    pub fn flush(&mut self, out: &mut Vec<Datagram>) {
        let _ = out;
    }

    /// A datagram has arrived: appends the messages that are complete now. Whatever it needs to
    /// send in return leaves with the next flush.
    pub fn receive(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<Message>,
    ) {
        let _ = (now, from, bytes, out);
    }

    /// The time that `poll_timeout` named has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// When to call `handle_timeout` next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}
