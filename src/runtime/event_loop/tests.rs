//! The loop on real loopback sockets. Messages are of the plain family, which a bare socket can
//! send and read. Nothing here measures time: what has to happen is waited for.

mod effects;

use std::net::{SocketAddr, UdpSocket as Peer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::*;
use crate::config::Limits;
use crate::kv::command::Key;
use crate::protocol::message::{Ask, ProbeAnswer, Request};
use crate::runtime::{self, Handle, channel, record_file};
use crate::types::{CallId, Incarnation, RequestId, ServerId};

type Script = Box<dyn FnOnce(&mut Scripted, CallId, &mut Outbox<Said>) + Send>;

/// What a caller is told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Done,
    Rang { due: Timestamp, at: Timestamp },
    Counted(u64),
}

/// Answers probes, and does whatever a command tells it to.
#[derive(Default)]
struct Scripted {
    probes: u64,
    /// Sets itself, with every probe, a timer that is due at once, and answers from there.
    batching: bool,
    waiting_peers: Vec<SocketAddr>,
    timer: Option<Timestamp>,
    rings: Option<CallId>,
    /// Whenever the timer rings, it is set to the next nanosecond.
    restless: bool,
}

fn said(text: impl Into<String>) -> Message {
    Message::ProbeAnswer(ProbeAnswer {
        server_id: ServerId::from("scripted"),
        incarnation: String::new(),
        role: text.into(),
        number: 0,
    })
}

impl Process for Scripted {
    type Command = Script;
    type Answer = Said;

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Outbox<Said>,
    ) {
        if let Message::Probe(_) = message {
            self.probes += 1;
            if self.batching {
                self.waiting_peers.push(from);
                self.timer = Some(Timestamp::ZERO);
            } else {
                outbox.send(from, said(format!("probe {}", self.probes)));
            }
        } else if let Message::Request(request) = message {
            assert!(now > Timestamp::ZERO);
            if self.batching {
                self.waiting_peers.push(from);
                self.timer = Some(Timestamp::ZERO);
                return;
            }
            outbox.send(from, said(format!("handed back {}", request.id.0)));
        }
    }

    fn handle_command(
        &mut self,
        _: Timestamp,
        call: CallId,
        command: Script,
        outbox: &mut Outbox<Said>,
    ) {
        command(self, call, outbox);
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Said>) {
        let Some(due) = self.timer.take_if(|due| *due <= now) else { return };
        if self.restless {
            self.timer = Some(now + Duration::from_nanos(1));
        }
        for peer in self.waiting_peers.drain(..) {
            outbox.send(peer, said(format!("one batch of {}", self.probes)));
        }
        if let Some(call) = self.rings.take() {
            outbox.push(Effect::Answer(call, Said::Rang { due, at: now }));
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.timer
    }
}

/// A running loop, and a bare socket beside it.
struct Fixture {
    handle: Handle<Scripted>,
    running: JoinHandle<Result<(), RunError>>,
    address: SocketAddr,
    peer: Peer,
}

fn transport() -> Transport {
    Transport::new(Incarnation(7), Limits::default())
}

fn peer() -> Peer {
    let peer = Peer::bind("127.0.0.1:0").unwrap();
    peer.set_nonblocking(true).unwrap();
    peer
}

async fn start(process: Scripted, record: RecordFile) -> Fixture {
    let socket = runtime::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = socket.local_addr().unwrap();
    let (handle, calls) = channel();
    let running = tokio::spawn(run(process, transport(), socket, calls, record, Spin::Auto, None));
    Fixture { handle, running, address, peer: peer() }
}

impl Fixture {
    fn probe(&self) {
        self.peer.send_to(br#"{"type":"ping"}"#, self.address).unwrap();
    }

    /// Waits until something arrives; gives up only so that a failing test ends.
    async fn heard(&self) -> String {
        let heard = async {
            loop {
                if let Some(text) = heard_now(&self.peer) {
                    return text;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard).await.expect("nothing arrived")
    }

    async fn call(
        &self,
        script: impl FnOnce(&mut Scripted, CallId, &mut Outbox<Said>) + Send + 'static,
    ) -> Option<Said> {
        self.handle.call(Box::new(script)).await
    }

    fn peer_address(&self) -> SocketAddr {
        self.peer.local_addr().unwrap()
    }
}

/// What has arrived: on loopback, everything that was sent.
fn heard_now(peer: &Peer) -> Option<String> {
    let mut buffer = [0; 4096];
    match peer.recv_from(&mut buffer) {
        Ok((size, _)) => {
            let object: serde_json::Value = serde_json::from_slice(&buffer[..size]).unwrap();
            Some(object["role"].as_str().unwrap().to_owned())
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            None
        }
    }
}

#[tokio::test]
async fn a_message_is_answered_to_where_it_came_from() {
    let it = start(Scripted::default(), RecordFile::None).await;
    it.probe();
    assert_eq!(it.heard().await, "probe 1");
    it.probe();
    assert_eq!(it.heard().await, "probe 2");
}

#[tokio::test]
async fn garbage_and_failing_sends_do_not_end_the_loop() {
    let it = start(Scripted::default(), RecordFile::None).await;
    for garbage in [&b""[..], b"\n", b"{", b"\xff\xfe", &[b'['; 60_000], b"{\"type\":\"pbkv\"}\n"] {
        it.peer.send_to(garbage, it.address).unwrap();
    }
    let unreachable = ["[::1]:9".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let answer = it.call(move |_, call, outbox| {
        for to in unreachable {
            outbox.send(to, said("nobody hears this"));
        }
        outbox.push(Effect::Answer(call, Said::Done));
    });
    assert_eq!(answer.await, Some(Said::Done));
    it.probe();
    assert_eq!(it.heard().await, "probe 1");
}

#[tokio::test]
async fn what_arrived_together_is_handled_before_a_timer_that_is_due_at_once() {
    let socket = runtime::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (handle, calls) = channel();
    let address = socket.local_addr().unwrap();
    let process = Scripted { batching: true, ..Scripted::default() };
    let driven = run(process, transport(), socket, calls, RecordFile::None, Spin::On, None);
    let it = Fixture { handle, running: tokio::spawn(async { Ok(()) }), address, peer: peer() };
    for _ in 0..10 {
        it.probe();
    }
    // Only now does the loop begin.
    tokio::spawn(driven);
    for _ in 0..10 {
        assert_eq!(it.heard().await, "one batch of 10");
    }
}

#[tokio::test]
async fn what_has_arrived_is_handled_before_a_timer_that_was_due_before_it_arrived() {
    let it = start(Scripted { batching: true, ..Scripted::default() }, RecordFile::None).await;
    let (to, address) = (it.peer_address(), it.address);
    it.call(move |_, call, outbox| {
        // Arrives while this turn is busy.
        peer().send_to(br#"{"type":"ping"}"#, address).unwrap();
        // Handed back when the turn ends: then the timer is set.
        outbox.push(Effect::SendBefore {
            before: Timestamp(1),
            to,
            message: said("late"),
            request: effects::read(1),
        });
        outbox.push(Effect::Answer(call, Said::Done));
    })
    .await;
    assert_eq!(it.heard().await, "one batch of 1");
}

#[tokio::test]
async fn a_timer_rings_when_it_is_due_and_not_before() {
    let it = start(Scripted::default(), RecordFile::None).await;
    // The second one comes before the first, the third is already over, the fourth is set anew.
    for wait in [20, 5, 0, 1] {
        let answer = it.call(move |process, call, _| {
            process.timer = Some(now() + Duration::from_millis(wait));
            process.rings = Some(call);
        });
        match answer.await {
            Some(Said::Rang { due, at }) => assert!(at >= due, "{at:?} {due:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_timer_can_be_brought_forward_and_put_off_while_it_runs() {
    let it = start(Scripted::default(), RecordFile::None).await;
    it.call(|process, call, outbox| {
        process.timer = Some(Timestamp(u64::MAX));
        outbox.push(Effect::Answer(call, Said::Done));
    })
    .await;
    let answer = it.call(|process, call, _| {
        process.timer = Some(now() + Duration::from_millis(2));
        process.rings = Some(call);
    });
    assert!(matches!(answer.await, Some(Said::Rang { .. })));
    let answer = it.call(|process, call, outbox| {
        process.timer = None;
        outbox.push(Effect::Answer(call, Said::Done));
    });
    assert_eq!(answer.await, Some(Said::Done));
}

#[tokio::test]
async fn the_loop_ends_when_the_last_handle_is_dropped() {
    let it = start(Scripted::default(), RecordFile::None).await;
    let clone = it.handle.clone();
    drop(it.handle);
    let answer = clone.call(Box::new(|_, call, outbox: &mut Outbox<Said>| {
        outbox.push(Effect::Answer(call, Said::Done));
    }));
    assert_eq!(answer.await, Some(Said::Done));
    drop(clone);
    it.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_timer_that_is_due_again_at_once_starves_neither_socket_nor_calls() {
    let it = start(Scripted { restless: true, ..Scripted::default() }, RecordFile::None).await;
    let answer = it.call(|process, call, outbox| {
        process.timer = Some(Timestamp::ZERO);
        outbox.push(Effect::Answer(call, Said::Done));
    });
    assert_eq!(answer.await, Some(Said::Done));
    it.probe();
    assert_eq!(it.heard().await, "probe 1");
    let rang = it.call(|process, call, _| process.rings = Some(call));
    assert!(matches!(rang.await, Some(Said::Rang { .. })));
    drop(it.handle);
    it.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_flood_starves_neither_timers_nor_calls() {
    let it = start(Scripted::default(), RecordFile::None).await;
    let over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (over, address) = (over.clone(), it.address);
        move || {
            let source = peer();
            while !over.load(Ordering::Relaxed) {
                // A full buffer is what this is about.
                let _ = source.send_to(br#"{"type":"ping"}"#, address);
            }
        }
    });
    for _ in 0..10 {
        let answer = it.call(|process, call, _| {
            process.timer = Some(now() + Duration::from_millis(1));
            process.rings = Some(call);
        });
        assert!(matches!(answer.await, Some(Said::Rang { .. })));
    }
    over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    drop(it.handle);
    it.running.await.unwrap().unwrap();
}

/// A network on which something has always arrived already.
struct Endless(Arc<AtomicUsize>);

impl DatagramSocket for Endless {
    async fn readable(&self) -> io::Result<()> {
        Ok(())
    }

    async fn writable(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        // It does end, so that a loop that never turns to anything else ends, too.
        if self.0.fetch_add(1, Ordering::Relaxed) >= 100 * DATAGRAMS_PER_TURN {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let ping = br#"{"type":"ping"}"#;
        buffer[..ping.len()].copy_from_slice(ping);
        Ok((ping.len(), SocketAddr::from(([127, 0, 0, 1], 9))))
    }

    fn try_send_to(&self, bytes: &[u8], _: SocketAddr) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

#[tokio::test]
async fn a_turn_takes_no_more_than_its_share_of_datagrams_that_never_end() {
    // D37: else the timers would wait for as long as others care to send.
    let taken = Arc::new(AtomicUsize::new(0));
    let (handle, calls) = channel();
    let socket = Endless(taken.clone());
    let running = tokio::spawn(run_over(
        Scripted::default(),
        transport(),
        socket,
        now,
        calls,
        RecordFile::None,
    ));
    let script: Script = Box::new(|_, call, outbox| outbox.push(Effect::Answer(call, Said::Done)));
    assert_eq!(handle.call(script).await, Some(Said::Done));
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken <= 3 * TAKEN_PER_TURN, "{taken} datagrams before the first call");
    drop(handle);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_calls_at_once_do_not_hold_up_a_timer() {
    // D37: the first one sets a timer that is due at once; it rings before the last one is taken.
    let it = start(Scripted::default(), RecordFile::None).await;
    let mut callers: Vec<_> = (0..3 * CALLS_PER_TURN)
        .map(|number| {
            let handle = it.handle.clone();
            tokio::spawn(async move {
                let script: Script = Box::new(move |process, call, outbox| {
                    if number == 0 {
                        process.timer = Some(Timestamp::ZERO);
                    }
                    let waits = u64::from(process.timer.is_some());
                    outbox.push(Effect::Answer(call, Said::Counted(waits)));
                });
                handle.call(script).await
            })
        })
        .collect();
    let last = callers.pop().expect("there are some");
    assert_eq!(last.await.unwrap(), Some(Said::Counted(0)));
}

#[tokio::test]
async fn calls_in_flight_together_each_get_their_own_answer() {
    let it = start(Scripted::default(), RecordFile::None).await;
    // More than one turn takes, from more than one task; nobody is starved by the others.
    let callers: Vec<_> = (0..1000_u64)
        .map(|number| {
            let handle = it.handle.clone();
            tokio::spawn(async move {
                let script: Script = Box::new(move |_, call, outbox| {
                    outbox.push(Effect::Answer(call, Said::Counted(number)));
                });
                handle.call(script).await
            })
        })
        .collect();
    for (number, caller) in (0..).zip(callers) {
        assert_eq!(caller.await.unwrap(), Some(Said::Counted(number)));
    }
}

#[tokio::test]
async fn a_caller_that_has_gone_disturbs_nobody() {
    let it = start(Scripted::default(), RecordFile::None).await;
    {
        let abandoned = it.call(|process, call, _| process.rings = Some(call));
        let answered = it.call(|_, call, outbox| outbox.push(Effect::Answer(call, Said::Done)));
        tokio::select! {
            biased;
            _ = abandoned => panic!("nobody answers this"),
            answer = answered => assert_eq!(answer, Some(Said::Done)),
        }
    }
    let answer = it.call(|process, call, outbox| {
        let gone = process.rings.take().unwrap();
        outbox.push(Effect::Answer(gone, Said::Done));
        outbox.push(Effect::Answer(gone, Said::Done));
        outbox.push(Effect::Answer(call, Said::Done));
    });
    assert_eq!(answer.await, Some(Said::Done));
}
