//! One UDP socket a process, always unconnected: a connected one reports a peer's absence as an
//! error of its own, and a process has many peers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::UdpSocket;
use tracing::debug;

/// Asked of the kernel for each direction. A burst (a state transfer, an answer from every client
/// at once) that finds a short buffer full pushes out the pings that arrive with it.
const BUFFER_BYTES: usize = 4 << 20;

/// What the loop needs of a socket: tokio's [`UdpSocket`], and in the tests one whose network is
/// simulated. All of it means what it means there; in particular, waiting may end although nothing
/// has arrived, or although there is no room, and can be given up at any time without loss.
pub trait DatagramSocket: Send + Sync {
    /// Waits until something may have arrived.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until there may be room in the send buffer.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes the datagram that arrived first, with its size and its sender.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; any other tells of something that was sent earlier.
    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends one datagram.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; any other when it cannot be sent at all.
    fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize>;
}

impl DatagramSocket for UdpSocket {
    async fn readable(&self) -> io::Result<()> {
        UdpSocket::readable(self).await
    }

    async fn writable(&self) -> io::Result<()> {
        UdpSocket::writable(self).await
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        UdpSocket::try_recv_from(self, buffer)
    }

    fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        UdpSocket::try_send_to(self, bytes, to)
    }
}

/// The socket could not be set up.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {cause}; {}", remedy(.cause))]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system says.
    pub cause: io::Error,
}

fn remedy(cause: &io::Error) -> &'static str {
    let kind = cause.kind();
    if kind == io::ErrorKind::AddrInUse {
        "stop the process that listens there, or choose another port (0 lets the system choose)"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "choose an address of this machine (--advertise is for those that only others use)"
    } else if kind == io::ErrorKind::PermissionDenied {
        "choose a port above 1023, or ask for the permission to use this one"
    } else {
        "choose another address"
    }
}

/// Opens a socket at this address; port 0 lets the system choose one. Must be called in a tokio
/// runtime.
///
/// # Errors
/// When the address cannot be used. Names the address, the cause and the remedy.
pub async fn bind(listen: SocketAddr) -> Result<UdpSocket, BindError> {
    open(listen).map_err(|cause| BindError { address: listen, cause })
}

fn open(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if listen.is_ipv6() {
        // Reaches IPv4 peers as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    // The kernel silently grants less than was asked for; less only costs speed.
    for refused in
        [socket.set_recv_buffer_size(BUFFER_BYTES), socket.set_send_buffer_size(BUFFER_BYTES)]
            .into_iter()
            .filter_map(Result::err)
    {
        debug!(%refused, "buffer size refused");
    }
    socket.bind(&listen.into())?;
    debug!(
        asked = BUFFER_BYTES,
        receive = ?socket.recv_buffer_size().ok(),
        send = ?socket.send_buffer_size().ok(),
        "socket buffers granted (Linux shows twice the usable size; net.core.rmem_max and \
         net.core.wmem_max are the bounds)"
    );
    UdpSocket::from_std(socket.into())
}

/// Where to bind a socket that nobody needs to know, so that it can reach `peer` and whatever other
/// servers that one names: a view server on this machine may well name servers on others, which a
/// socket bound to loopback could not reach.
#[must_use]
pub fn local_address_towards(peer: SocketAddr) -> SocketAddr {
    let ip = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}

/// An IPv4 peer is shown to an IPv6 socket as a mapped address. Told to others, that form would be
/// useless to everybody who has an IPv4 socket.
#[must_use]
pub(crate) fn canonical(from: SocketAddr) -> SocketAddr {
    match from.ip().to_canonical() {
        ip @ std::net::IpAddr::V4(_) => SocketAddr::new(ip, from.port()),
        std::net::IpAddr::V6(_) => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn port_0_lets_the_system_choose() {
        let socket = bind(address("127.0.0.1:0")).await.unwrap();
        assert_ne!(socket.local_addr().unwrap().port(), 0);
    }

    #[tokio::test]
    async fn a_taken_address_is_refused_with_address_cause_and_remedy() {
        let socket = bind(address("127.0.0.1:0")).await.unwrap();
        let taken = socket.local_addr().unwrap();
        let error = bind(taken).await.unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
        assert!(error.contains("in use") && error.contains("another port"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_with_the_remedy() {
        let error = bind(address("192.0.2.1:0")).await.unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:0") && error.contains("of this machine"), "{error}");
    }

    #[test]
    fn a_local_socket_is_of_the_family_of_its_peer_and_reaches_other_machines() {
        for (peer, local) in [
            ("127.0.0.1:5000", "0.0.0.0:0"),
            ("192.0.2.1:5000", "0.0.0.0:0"),
            ("[::1]:5000", "[::]:0"),
            ("[2001:db8::1]:5000", "[::]:0"),
        ] {
            assert_eq!(local_address_towards(address(peer)), address(local));
        }
    }

    #[test]
    fn mapped_addresses_are_shown_as_what_they_are() {
        assert_eq!(canonical(address("[::ffff:192.0.2.1]:7")), address("192.0.2.1:7"));
        assert_eq!(canonical(address("[fe80::1%3]:7")), address("[fe80::1%3]:7"));
        assert_eq!(canonical(address("192.0.2.1:7")), address("192.0.2.1:7"));
    }
}
