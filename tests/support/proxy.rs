//! A network that loses, repeats, delays and cuts, between real processes.
//!
//! Every node has one *front*: the address that all others use for it. A datagram that arrives at
//! the front of B from the real address of A leaves from the front of A to the real address of B,
//! so that whatever B answers takes the same way back, and every path goes through here in both
//! directions. A source that belongs to no node is a client and gets a front of its own.
//!
//! What becomes of a datagram is drawn from a seeded generator and may differ for each direction.
//! The threads of the operating system still interleave as they like: a seed names the same
//! weather, not the same run.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The name of every source that is no node.
pub const CLIENT: &str = "client";

/// How often a thread looks whether the proxy still exists.
const LOOK: Duration = Duration::from_millis(50);

/// What may happen to a datagram on one direction of a path.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Faults {
    /// Lost, in percent.
    pub loss: u64,
    /// Delivered a second time, in percent.
    pub duplication: u64,
    /// Each copy waits a random time of this range, so that they overtake one another.
    pub delay: Range<Duration>,
}

/// What the proxy did so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Copies delivered.
    pub delivered: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams delivered twice.
    pub duplicated: u64,
    /// Datagrams stopped by a cut.
    pub cut: u64,
}

struct Node {
    name: String,
    front: Arc<UdpSocket>,
    real: Option<SocketAddr>,
}

/// A copy on its way.
struct Flying {
    due: Instant,
    /// Orders copies that are due at the same time.
    number: u64,
    from: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Arc<[u8]>,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    /// The heap yields its greatest: that is the copy that is due first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

/// Positions of sender and receiver in `nodes`, and what was delivered.
type Recorded = (usize, usize, Arc<[u8]>);

struct State {
    random: u64,
    nodes: Vec<Node>,
    /// Position in `nodes` of the node that sends from a real address.
    sources: HashMap<SocketAddr, usize>,
    everywhere: Faults,
    paths: BTreeMap<(String, String), Faults>,
    cuts: BTreeSet<(String, String)>,
    flying: BinaryHeap<Flying>,
    sent: u64,
    counters: Counters,
    /// Everything that was delivered, if that is wanted.
    recorded: Option<Vec<Recorded>>,
    closing: bool,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared(Arc<(Mutex<State>, Condvar)>);

/// See the top of this file.
pub struct Proxy {
    shared: Shared,
}

impl Proxy {
    /// A network without faults.
    pub fn new(seed: u64) -> Proxy {
        let state = State {
            random: seed,
            nodes: Vec::new(),
            sources: HashMap::new(),
            everywhere: Faults::default(),
            paths: BTreeMap::new(),
            cuts: BTreeSet::new(),
            flying: BinaryHeap::new(),
            sent: 0,
            counters: Counters::default(),
            recorded: None,
            closing: false,
            threads: Vec::new(),
        };
        let shared = Shared(Arc::new((Mutex::new(state), Condvar::new())));
        let courier = shared.clone();
        let thread = thread::spawn(move || courier.carry());
        shared.state().threads.push(thread);
        Proxy { shared }
    }

    /// The front of this node, made on first use.
    pub fn add_node(&self, name: &str) -> SocketAddr {
        let mut state = self.shared.state();
        let known = state.nodes.iter().position(|node| node.name == name);
        let index = known.unwrap_or_else(|| self.shared.add_node(&mut state, name, None));
        state.nodes[index].front.local_addr().expect("a front is bound")
    }

    /// Tells where a node really listens, and from where it sends.
    pub fn set_real(&self, name: &str, real: SocketAddr) {
        let mut state = self.shared.state();
        let index = state.nodes.iter().position(|node| node.name == name);
        let index = index.expect("the node was added");
        state.nodes[index].real = Some(real);
        // It may have been taken for a client before.
        state.sources.insert(real, index);
    }

    /// From now on this happens on every path that has no rule of its own.
    pub fn everywhere(&self, faults: Faults) {
        self.shared.state().everywhere = faults;
    }

    /// From now on this happens to what goes from one to the other.
    pub fn on_path(&self, from: &str, to: &str, faults: Faults) {
        self.shared.state().paths.insert((from.to_owned(), to.to_owned()), faults);
    }

    /// Nothing gets from one to the other any more; the way back stays open.
    pub fn cut(&self, from: &str, to: &str) {
        self.shared.state().cuts.insert((from.to_owned(), to.to_owned()));
    }

    /// Nothing gets through in either direction.
    pub fn cut_both(&self, one: &str, other: &str) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// No faults, no cuts.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.everywhere = Faults::default();
        state.paths.clear();
        state.cuts.clear();
    }

    /// From now on everything is recorded.
    pub fn record(&self) {
        self.shared.state().recorded.get_or_insert_default();
    }

    /// Sends everything that was recorded so far once more, in a random order, from where it came
    /// the first time; a part of it from the front of somebody else. Returns how much that was.
    pub fn replay(&self) -> usize {
        let mut all = self.shared.state().recorded.clone().unwrap_or_default();
        for last in (1..all.len()).rev() {
            let other = self.shared.state().draw(last as u64 + 1);
            all.swap(last, usize::try_from(other).expect("an index"));
        }
        for (number, (from, to, bytes)) in all.iter().enumerate() {
            let (front, real) = {
                let mut state = self.shared.state();
                let others = state.nodes.len() as u64;
                let elsewhere = usize::try_from(state.draw(others)).expect("an index");
                let from = if state.draw(10) == 0 { elsewhere } else { *from };
                (Arc::clone(&state.nodes[from].front), state.nodes[*to].real)
            };
            if let Some(real) = real {
                let _ = front.send_to(bytes, real);
            }
            if number % 64 == 0 {
                // What the kernel loses was not replayed.
                thread::sleep(Duration::from_millis(1));
            }
        }
        all.len()
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let threads = {
            let mut state = self.shared.state();
            state.closing = true;
            std::mem::take(&mut state.threads)
        };
        self.shared.0.1.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no thread of the proxy panics")
    }

    fn add_node(&self, state: &mut State, name: &str, real: Option<SocketAddr>) -> usize {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        front.set_read_timeout(Some(LOOK)).expect("a timeout can be set");
        // A burst must not be lost here: what is lost is decided by the faults alone.
        let _ = socket2::SockRef::from(&front).set_recv_buffer_size(4 << 20);
        let front = Arc::new(front);
        let index = state.nodes.len();
        state.nodes.push(Node { name: name.to_owned(), front: Arc::clone(&front), real });
        if let Some(real) = real {
            state.sources.insert(real, index);
        }
        let shared = self.clone();
        state.threads.push(thread::spawn(move || shared.receive(index, &front)));
        index
    }

    /// Takes what arrives at one front.
    fn receive(&self, to: usize, front: &UdpSocket) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            // An error is the timeout, or an answer from a port where nobody listens any more.
            let received = front.recv_from(&mut bytes);
            let mut state = self.state();
            if state.closing {
                return;
            }
            if let Ok((size, source)) = received {
                let known = state.sources.get(&source).copied();
                let from = known.unwrap_or_else(|| self.add_node(&mut state, CLIENT, Some(source)));
                state.route(from, to, &bytes[..size]);
                drop(state);
                self.0.1.notify_all();
            }
        }
    }

    /// Delivers every copy when it is due.
    fn carry(&self) {
        let mut state = self.state();
        while !state.closing {
            let now = Instant::now();
            let wait = match state.flying.peek() {
                Some(first) if first.due <= now => {
                    let copy = state.flying.pop().expect("it was just seen");
                    state.counters.delivered += 1;
                    let _ = copy.from.send_to(&copy.bytes, copy.to);
                    continue;
                }
                Some(first) => first.due - now,
                None => LOOK,
            };
            state = self.0.1.wait_timeout(state, wait).expect("no thread of the proxy panics").0;
        }
    }
}

impl State {
    /// Decides what becomes of one datagram.
    fn route(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let path = (self.nodes[from].name.clone(), self.nodes[to].name.clone());
        let Some(real) = self.nodes[to].real else { return };
        if self.cuts.contains(&path) {
            self.counters.cut += 1;
            return;
        }
        let faults = self.paths.get(&path).unwrap_or(&self.everywhere).clone();
        if self.draw(100) < faults.loss {
            self.counters.lost += 1;
            return;
        }
        let copies = if self.draw(100) < faults.duplication { 2 } else { 1 };
        self.counters.duplicated += copies - 1;
        let bytes: Arc<[u8]> = bytes.into();
        if let Some(recorded) = &mut self.recorded {
            recorded.push((from, to, Arc::clone(&bytes)));
        }
        for _ in 0..copies {
            let span = faults.delay.end.saturating_sub(faults.delay.start).as_micros();
            let span = u64::try_from(span).expect("delays are short");
            let delay = faults.delay.start + Duration::from_micros(self.draw(span.max(1)));
            self.sent += 1;
            self.flying.push(Flying {
                due: Instant::now() + delay,
                number: self.sent,
                from: Arc::clone(&self.nodes[from].front),
                to: real,
                bytes: Arc::clone(&bytes),
            });
        }
    }

    /// A random number below `bound` (SplitMix64).
    fn draw(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
