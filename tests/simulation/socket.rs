//! A socket of turmoil, behind a network that loses, duplicates and delays as a seed commands.
//!
//! Kept here: chance has one source, and everything that is sent or received is part of the trace.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pbkv::runtime::DatagramSocket;
use tokio::time::{Instant, sleep, sleep_until};
use turmoil::net::UdpSocket;
use twox_hash::XxHash3_64;

use crate::durable::Durable;

/// How often things go wrong, in a thousand datagrams.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub lost: u64,
    /// A second copy travels with a latency of its own.
    pub doubled: u64,
    /// A second copy arrives when everybody has forgotten the first one, often in a later view.
    pub belated: u64,
    /// The send buffer is full for some milliseconds, at times for longer than the loop waits.
    pub stuck: u64,
}

/// What really happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub doubled: u64,
    pub belated: u64,
    pub stuck: u64,
    /// Bytes of the largest datagram.
    pub largest: usize,
}

/// What all sockets of a simulation share.
pub struct Network {
    seed: u64,
    drawn: u64,
    faults: Faults,
    trace: u64,
    counts: Counts,
}

#[derive(Clone)]
pub struct SharedNetwork(Arc<Mutex<Network>>);

impl SharedNetwork {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let network = Network { seed, drawn: 0, faults, trace: 0, counts: Counts::default() };
        SharedNetwork(Arc::new(Mutex::new(network)))
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// 64 bits that depend on the seed and on how often this was asked.
    pub fn draw(&self) -> u64 {
        self.lock().draw()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// A hash of every datagram, sent and received, with its time.
    pub fn trace(&self) -> u64 {
        self.lock().trace
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts
    }
}

impl Network {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        XxHash3_64::oneshot_with_seed(self.seed, &self.drawn.to_le_bytes())
    }

    fn happens(&mut self, in_a_thousand: u64) -> bool {
        in_a_thousand > 0 && self.draw() % 1000 < in_a_thousand
    }

    fn note(&mut self, what: &str, peer: SocketAddr, bytes: &[u8]) {
        let time = turmoil::sim_elapsed().expect("sockets are used inside the simulation");
        let event = format!("{what} {peer} {}", time.as_nanos());
        let event = XxHash3_64::oneshot_with_seed(self.trace, event.as_bytes());
        self.trace = XxHash3_64::oneshot_with_seed(event, bytes);
    }
}

/// See the module.
pub struct SimulatedSocket {
    host: String,
    inner: Arc<UdpSocket>,
    network: SharedNetwork,
    /// The send buffer is full until then.
    stuck_until: Mutex<Option<Instant>>,
    /// The view server's.
    durable: Option<Mutex<Durable>>,
}

impl SimulatedSocket {
    pub async fn bind(host: &str, port: u16, network: &SharedNetwork) -> io::Result<Self> {
        let inner = Arc::new(UdpSocket::bind(("0.0.0.0", port)).await?);
        Ok(SimulatedSocket {
            host: host.to_owned(),
            inner,
            network: network.clone(),
            stuck_until: Mutex::new(None),
            durable: None,
        })
    }

    /// Whatever is sent from now on must rest on what is durable.
    pub fn showing(self, durable: Durable) -> Self {
        SimulatedSocket { durable: Some(Mutex::new(durable)), ..self }
    }

    fn stuck_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stuck_until.lock().expect("nobody panics while holding it")
    }

    fn is_stuck(&self) -> bool {
        let mut until = self.stuck_until();
        if let Some(end) = *until {
            if Instant::now() < end {
                return true;
            }
            // Whoever waited gets its datagram out.
            *until = None;
            return false;
        }
        let mut network = self.network.lock();
        let stuck = network.faults.stuck;
        if !network.happens(stuck) {
            return false;
        }
        network.counts.stuck += 1;
        *until = Some(Instant::now() + Duration::from_millis(1 + network.draw() % 8));
        true
    }
}

impl DatagramSocket for SimulatedSocket {
    async fn readable(&self) -> io::Result<()> {
        self.inner.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        let until = *self.stuck_until();
        if let Some(until) = until {
            sleep_until(until).await;
        }
        Ok(())
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (size, from) = self.inner.try_recv_from(buffer)?;
        let mut network = self.network.lock();
        network.counts.received += 1;
        network.note(&format!("{} received from", self.host), from, &buffer[..size]);
        Ok((size, from))
    }

    fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        if self.is_stuck() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Some(durable) = &self.durable {
            durable.lock().expect("nobody panics while holding it").check(bytes);
        }
        let (lost, doubled, belated) = {
            let mut network = self.network.lock();
            let faults = network.faults;
            network.note(&format!("{} sent to", self.host), to, bytes);
            let lost = network.happens(faults.lost);
            let doubled = network.happens(faults.doubled);
            let belated = network.happens(faults.belated).then(|| 100 + network.draw() % 2000);
            let counts = &mut network.counts;
            counts.sent += 1;
            counts.lost += u64::from(lost);
            counts.doubled += u64::from(doubled);
            counts.belated += u64::from(belated.is_some());
            counts.largest = counts.largest.max(bytes.len());
            (lost, doubled, belated)
        };
        if !lost {
            self.inner.try_send_to(bytes, to)?;
        }
        if doubled {
            self.inner.try_send_to(bytes, to)?;
        }
        if let Some(millis) = belated {
            let (inner, bytes) = (self.inner.clone(), bytes.to_vec());
            tokio::spawn(async move {
                sleep(Duration::from_millis(millis)).await;
                // A link that is cut by now refuses it, and that is all right.
                drop(inner.try_send_to(&bytes, to));
            });
        }
        Ok(bytes.len())
    }
}
