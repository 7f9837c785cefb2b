//! Asks servers how they are, over a socket of its own: the handle to one [`Asking`].

use std::net::SocketAddr;
use std::time::Duration;

use tracing::error;

use crate::config::Limits;
use crate::protocol::asking::{Answer, Asking, Question};
use crate::protocol::seal::{Keyring, Role};
use crate::protocol::transport::Transport;
use crate::runtime::event_loop::drive;
use crate::runtime::socket::local_address_towards;
use crate::runtime::{
    ConnectError, Handle, RecordFile, Spin, bind, channel, key_file, limits_under_seal, now,
    random_u64,
};
use crate::types::Incarnation;

/// See the module. Clones share one socket.
#[derive(Clone, Debug)]
pub struct Observer {
    handle: Handle<Asking>,
}

impl Observer {
    /// Must be called in a tokio runtime. Asks nobody yet. `keys` are those of the cluster, if it
    /// has any.
    ///
    /// # Errors
    /// When no local socket can be opened, or the system has no random numbers for a seal.
    pub async fn towards(
        view_server: SocketAddr,
        keys: Option<Keyring>,
    ) -> Result<Observer, ConnectError> {
        let seal = keys.map(|keys| key_file::seal(keys, Role::Client)).transpose();
        let seal = seal.map_err(ConnectError::Random)?;
        let socket = bind(local_address_towards(view_server)).await?;
        let incarnation = Incarnation(random_u64());
        let limits = Limits::default();
        let under_seal = if seal.is_some() { limits_under_seal(limits) } else { limits };
        let transport = Transport::new(incarnation, under_seal);
        let (handle, calls) = channel();
        tokio::spawn(async move {
            let asking = Asking::new(incarnation);
            let run =
                drive(asking, transport, socket, now, calls, RecordFile::None, Spin::Off, seal);
            if let Err(error) = run.await {
                error!(event = "observer_ended", %error, "the observer has ended");
            }
        });
        Ok(Observer { handle })
    }

    /// What a server says of itself; none if it does not within this time.
    pub async fn ask(&self, whom: SocketAddr, within: Duration) -> Answer {
        self.handle.call(Question { whom, within }).await.flatten()
    }
}
