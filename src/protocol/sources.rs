//! From where the messages count that only servers say, in a cluster without keys.
//!
//! An address identifies nobody: who a server is, is said by its incarnation, which every message
//! between servers names. But incarnations are no secrets (`status` shows them), so that anybody
//! could write such a message. Where datagrams are not authenticated, what servers say among
//! themselves is therefore taken only from where a server is: the view server's address, the
//! addresses that the adopted record names, the address that a ping was sent to. Whoever cannot
//! receive at such an address cannot send from it either: loopback cannot be reached from outside,
//! and others prove it (`transport::proof`).
//!
//! Not promised: who may become a server. Whoever reaches the view server may announce one, which
//! joins like any other. Only keys keep strangers out.

use std::net::SocketAddr;

/// What the address of a datagram has to do with who may have sent it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sources {
    /// Nothing: datagrams are authenticated, or nobody else is there.
    Any,
    /// What servers say counts only from where they are.
    Known,
}

/// Whether a datagram from there comes from the process that is known at `known`. One on this very
/// machine may be known by its loopback address and answer by the machine's own, which is `here`.
#[must_use]
pub fn is_at(known: SocketAddr, here: Option<SocketAddr>, from: SocketAddr) -> bool {
    let is_near = || {
        known.ip().is_loopback()
            && known.port() == from.port()
            && here.is_some_and(|here| here.ip() == from.ip())
    };
    known == from || is_near()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_on_the_same_machine_may_answer_by_its_other_address() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let known = at("127.0.0.1:5000");
        let here = Some(at("192.168.1.5:5010"));
        assert!(is_at(known, here, known) && is_at(known, None, known));
        assert!(is_at(known, here, at("192.168.1.5:5000")));
        assert!(!is_at(known, here, at("192.168.1.5:5001")), "another process");
        assert!(!is_at(known, here, at("192.168.1.6:5000")), "another machine");
        assert!(!is_at(known, None, at("192.168.1.5:5000")));
        assert!(!is_at(at("192.168.1.6:5000"), here, at("192.168.1.5:5000")));
    }
}
