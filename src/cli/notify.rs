//! Readiness for a service manager that sets `NOTIFY_SOCKET` (systemd with `Type=notify`): a
//! datagram of a few words to a local socket. Without the variable, nothing is said.
//!
//! Not here: the watchdog of systemd. Whether the loop still answers is what `/healthz` says
//! ([`super::metrics`]).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::debug;

/// What the service manager is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The server can be reached.
    Ready,
    /// It is about to end.
    Stopping,
}

impl State {
    fn line(self) -> &'static [u8] {
        match self {
            State::Ready => b"READY=1\n",
            State::Stopping => b"STOPPING=1\n",
        }
    }
}

/// Tells the service manager, if there is one that wants to know. A failure is none of the
/// server's: the manager waits in vain and says so itself.
pub fn notify(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state.line()) {
        debug!(?socket, %error, "the service manager was not told {state:?}");
    }
}

/// A path, or after an `@` the name of an abstract socket.
fn send(socket: &OsStr, line: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        Some(_) | None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the protocol.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(line, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let mut bytes = [0; 64];
        let size = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..size].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), State::Ready.line()).unwrap();
        assert_eq!(received(&socket), "READY=1\n");

        let name = format!("pbkv-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), State::Stopping.line()).unwrap();
        assert_eq!(received(&socket), "STOPPING=1\n");
    }

    #[test]
    fn nobody_there_is_an_error_and_no_panic() {
        for socket in ["/nowhere/at/all", "@pbkv-nobody", "@", "relative"] {
            assert!(send(OsStr::new(socket), State::Ready.line()).is_err(), "{socket}");
        }
    }
}
