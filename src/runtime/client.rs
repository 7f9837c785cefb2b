//! The client library: a cloneable handle to one [`ClientProcess`].
//!
//! Any number of operations may be in flight on one client; each costs an entry in the process's
//! tables and no task or timer of its own. Kept here: nothing; exactly-once and the judgement of
//! what may have happened are the process's.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::broadcast;
use tracing::error;

use crate::config::Limits;
use crate::kv::command::{self, Key, Value};
use crate::kv::snapshot::Part;
use crate::protocol::client::{
    Action, Answer, ClientConfig, ClientProcess, Command, Completed, Event, Failure, FailureReason,
};
use crate::protocol::message::{KeysPage, Message, SnapshotCursor, SnapshotPage};
use crate::protocol::seal::{Keyring, Role, Seal};
use crate::protocol::transport::Transport;
use crate::protocol::view::Shown;
use crate::protocol::{Outbox, Process};
use crate::runtime::event_loop::drive;
use crate::runtime::socket::local_address_towards;
use crate::runtime::{
    BindError, DatagramSocket, Handle, RecordFile, Spin, bind, channel, key_file,
    limits_under_seal, now, random_u64,
};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation, OperationNumber};

/// Events that a listener may be behind before it misses some.
const EVENTS: usize = 32;

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whom to ask who is primary.
    pub view_server: SocketAddr,
    /// How long each operation is tried before its caller is told that it failed.
    pub deadline: Duration,
    /// Bounds. Those on keys and values must be the servers' own.
    pub limits: Limits,
    /// Whether the client looks out for answers before its task sleeps: shortens the way of single
    /// operations, at the cost of the thread's time.
    pub spin: Spin,
    /// The keys of the cluster, or those for clients, if it has any
    /// ([`key_file::load`]).
    pub keys: Option<Keyring>,
}

impl ClientOptions {
    /// A deadline of five seconds, the default limits, no spinning, no keys.
    #[must_use]
    pub fn new(view_server: SocketAddr) -> Self {
        let (deadline, limits) = (Duration::from_secs(5), Limits::default());
        ClientOptions { view_server, deadline, limits, spin: Spin::Off, keys: None }
    }
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The local socket could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system has no random numbers, which a seal needs.
    #[error("cannot seal datagrams: {0}")]
    Random(std::io::Error),
}

/// A client of a cluster. Clones share one socket and one session; when the last one is dropped,
/// the task behind them ends.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = pbkv::Client::connect("127.0.0.1:5000".parse()?).await?;
/// client.put("fruit", "apple").await?;
/// client.append("fruit", "pear").await?;
/// assert_eq!(client.get("fruit").await?, Some(vec!["apple".to_owned(), "pear".to_owned()]));
/// client.remove("fruit").await?;
///
/// client.mput(&[("a", "1"), ("b", "2")]).await?;
/// assert_eq!(client.incr("a", 41).await?, 42);
/// assert!(client.cas("lock", None, Some(&["me"])).await?, "nobody else had it");
/// println!("{}", client.view().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Handle<Observed>,
    deadline: Duration,
    events: broadcast::Sender<Event>,
}

/// What has happened since it was made, from [`Client::events`].
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Waits for the next event; none once the client has ended. Whoever takes them too slowly
    /// misses the oldest ones.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The process, with somebody who passes on what it tells.
struct Observed {
    process: ClientProcess,
    events: broadcast::Sender<Event>,
}

impl Observed {
    fn pass_on(&mut self) {
        while let Some(event) = self.process.take_event() {
            // Mostly nobody listens.
            let _ = self.events.send(event);
        }
    }
}

impl Process for Observed {
    type Command = Command;
    type Answer = Answer;

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Outbox<Answer>,
    ) {
        self.process.handle_message(now, from, message, outbox);
        self.pass_on();
    }

    fn handle_command(
        &mut self,
        now: Timestamp,
        call: CallId,
        command: Command,
        outbox: &mut Outbox<Answer>,
    ) {
        self.process.handle_command(now, call, command, outbox);
        self.pass_on();
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        self.process.handle_timeout(now, outbox);
        self.pass_on();
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.process.poll_timeout()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with default options. Does not wait for the cluster: the first operation does. Must
    /// be called in a tokio runtime, on which the client's one task then runs.
    ///
    /// # Errors
    /// When no local socket can be opened.
    pub async fn connect(view_server: SocketAddr) -> Result<Client, ConnectError> {
        Client::connect_with(ClientOptions::new(view_server)).await
    }

    /// As [`Client::connect`], with other options.
    ///
    /// # Errors
    /// When no local socket can be opened.
    pub async fn connect_with(options: ClientOptions) -> Result<Client, ConnectError> {
        let socket = bind(local_address_towards(options.view_server)).await?;
        let spin = options.spin;
        let keys = options.keys.clone();
        let seal = keys.map(|keys| key_file::seal(keys, Role::Client)).transpose();
        let seal = seal.map_err(ConnectError::Random)?;
        Ok(Client::start(socket, now, Incarnation(random_u64()), options, spin, seal))
    }

    /// As [`Client::connect_with`], over another network and another clock (see
    /// [`run_over`](crate::runtime::run_over)), and with an incarnation that no other client has.
    /// Chooses nothing itself, so that a simulation can be repeated; does not spin.
    ///
    /// # Panics
    /// When there are keys: a seal needs random numbers.
    #[must_use]
    pub fn connect_over<S, N>(
        socket: S,
        now: N,
        incarnation: Incarnation,
        options: ClientOptions,
    ) -> Client
    where
        S: DatagramSocket + 'static,
        N: Fn() -> Timestamp + Copy + Send + 'static,
    {
        assert!(options.keys.is_none(), "a simulation has no secrets");
        Client::start(socket, now, incarnation, options, Spin::Off, None)
    }

    fn start<S, N>(
        socket: S,
        now: N,
        incarnation: Incarnation,
        options: ClientOptions,
        spin: Spin,
        seal: Option<Seal>,
    ) -> Client
    where
        S: DatagramSocket + 'static,
        N: Fn() -> Timestamp + Copy + Send + 'static,
    {
        let ClientOptions { view_server, deadline, limits, spin: _, keys: _ } = options;
        let process = ClientProcess::new(now(), ClientConfig { incarnation, view_server, limits });
        let (events, _) = broadcast::channel(EVENTS);
        let process = Observed { process, events: events.clone() };
        let under_seal = if seal.is_some() { limits_under_seal(limits) } else { limits };
        let transport = Transport::new(incarnation, under_seal);
        let (handle, calls) = channel();
        tokio::spawn(async move {
            let run = drive(process, transport, socket, now, calls, RecordFile::None, spin, seal);
            if let Err(error) = run.await {
                error!(event = "client_ended", %error, "the client has ended");
            }
        });
        Client { handle, deadline, events }
    }

    /// What happens from now on while operations wait: a primary that does not answer, whom the
    /// client asks, a new primary. For people; no operation depends on it.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.events.subscribe() }
    }

    /// The value becomes the one-element list `[value]`, exactly once.
    ///
    /// # Errors
    /// When it was not acknowledged before the deadline; says whether it may have happened.
    pub async fn put(&self, key: &str, value: &str) -> Result<(), Failure> {
        self.write(command::Command::Put { key: Key::from(key), value: Value::from(value) }).await
    }

    /// The value joins the end of the list, exactly once; a missing key starts a new list.
    ///
    /// # Errors
    /// When it was not acknowledged before the deadline; says whether it may have happened.
    pub async fn append(&self, key: &str, value: &str) -> Result<(), Failure> {
        self.write(command::Command::Append { key: Key::from(key), value: Value::from(value) })
            .await
    }

    /// The key is missing afterwards, whether or not it was there.
    ///
    /// # Errors
    /// When it was not acknowledged before the deadline; says whether it may have happened.
    pub async fn remove(&self, key: &str) -> Result<(), Failure> {
        self.write(command::Command::Remove { key: Key::from(key) }).await
    }

    /// The list becomes `new` if it is `old` as a whole, exactly once; none is a missing key, as
    /// [`Client::get`] says it. Returns whether it did.
    ///
    /// # Errors
    /// When it was not acknowledged before the deadline; says whether it may have happened.
    pub async fn cas(
        &self,
        key: &str,
        old: Option<&[String]>,
        new: Option<&[&str]>,
    ) -> Result<bool, Failure> {
        let old = old.map(|list| list.iter().map(|value| Value::from(value.as_str())).collect());
        let new = new.map(|list| list.iter().map(|value| Value::from(*value)).collect());
        let cas = command::Cas { key: Key::from(key), old, new };
        Ok(self.execute(Action::Write(command::Command::Cas(cas.into()))).await?
            == Completed::Written)
    }

    /// Adds to the decimal number that is the list's one element, exactly once, and returns the
    /// sum; a missing key counts as 0.
    ///
    /// # Errors
    /// When the list is not one decimal number, or the sum needs more than 64 bits; and when it was
    /// not acknowledged before the deadline. Says whether it may have happened.
    pub async fn incr(&self, key: &str, by: i64) -> Result<i64, Failure> {
        let Completed::Number(number) =
            self.execute(Action::Write(command::Command::Incr { key: Key::from(key), by })).await?
        else {
            unreachable!("an incr yields a number")
        };
        Ok(number)
    }

    /// Every key gets the one-element list `[value]`, all at one instant and exactly once. Of equal
    /// keys, the last one counts.
    ///
    /// # Errors
    /// When it is too much for one command, or was not acknowledged before the deadline; says
    /// whether it may have happened.
    pub async fn mput(&self, entries: &[(&str, &str)]) -> Result<(), Failure> {
        let entry = |(key, value): &(&str, &str)| (Key::from(*key), vec![Value::from(*value)]);
        self.write(command::Command::Mput { entries: entries.iter().map(entry).collect() }).await
    }

    /// The list at one instant between this call and its return; none for a missing key.
    ///
    /// # Errors
    /// When it could not be read before the deadline.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<String>>, Failure> {
        let Completed::List(list) = self.execute(Action::Get(Key::from(key))).await? else {
            unreachable!("a get yields a list")
        };
        Ok(list.map(texts))
    }

    /// Several lists in the order of their keys, all as they were at one instant between this call
    /// and its return; none for a missing key.
    ///
    /// # Errors
    /// When these are too many keys for one command, or they could not be read before the deadline.
    pub async fn mget(&self, keys: &[&str]) -> Result<Vec<Option<Vec<String>>>, Failure> {
        let keys = keys.iter().map(|key| Key::from(*key)).collect();
        let Completed::Lists(lists) = self.execute(Action::Mget(keys)).await? else {
            unreachable!("an mget yields lists")
        };
        Ok(lists.into_iter().map(|list| list.map(texts)).collect())
    }

    /// Whether there is a list at one instant between this call and its return.
    ///
    /// # Errors
    /// When it could not be read before the deadline.
    pub async fn exists(&self, key: &str) -> Result<bool, Failure> {
        let Completed::Exists(exists) = self.execute(Action::Exists(Key::from(key))).await? else {
            unreachable!("an exists yields yes or no")
        };
        Ok(exists)
    }

    /// How many elements the list has at one instant between this call and its return; 0 for a
    /// missing key.
    ///
    /// # Errors
    /// When it could not be read before the deadline.
    pub async fn len(&self, key: &str) -> Result<u64, Failure> {
        let Completed::Length(length) = self.execute(Action::Len(Key::from(key))).await? else {
            unreachable!("a len yields a length")
        };
        Ok(length)
    }

    /// All keys that begin with `prefix`, in the order of their bytes, read page by page. Each page
    /// is what there was at one instant, but not all pages at the same one: a key that is there all
    /// the while is listed exactly once, a key that comes or goes meanwhile at most once. The
    /// deadline holds for each page.
    ///
    /// # Errors
    /// When a page could not be read before the deadline.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        Ok(self.all_keys(&Key::from(prefix)).await?.iter().map(Key::to_string).collect())
    }

    /// The first keys that begin with `prefix`, after `start_after` if one is given, as many as one
    /// answer holds and all at one instant; and whether more follow them.
    ///
    /// # Errors
    /// When it could not be read before the deadline.
    pub async fn keys_page(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<(Vec<String>, bool), Failure> {
        let page = self.read_keys(&Key::from(prefix), start_after.map(Key::from)).await?;
        Ok((page.keys.iter().map(Key::to_string).collect(), page.more))
    }

    async fn read_keys(&self, prefix: &Key, start_after: Option<Key>) -> Result<KeysPage, Failure> {
        let Completed::Keys(page) =
            self.execute(Action::Keys { prefix: prefix.clone(), start_after }).await?
        else {
            unreachable!("keys yield a page of keys")
        };
        Ok(page)
    }

    /// As [`Client::keys`].
    pub(crate) async fn all_keys(&self, prefix: &Key) -> Result<Vec<Key>, Failure> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let page = self.read_keys(prefix, keys.last().cloned()).await?;
            keys.extend(page.keys);
            if !page.more {
                return Ok(keys);
            }
        }
    }

    /// Begins to read everything as it is at one instant between this call and its return, however
    /// long the reading takes and whatever is written meanwhile. The primary keeps what is changed;
    /// it does that for one reader at a time, for no more than 256 MiB of changes, and not for one
    /// that asks for nothing for half a minute.
    ///
    /// # Errors
    /// When it could not begin before the deadline, or another client reads a snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot, Failure> {
        let page = self.read_snapshot(None).await?;
        Ok(Snapshot { client: self.clone(), at: page.at, parts: page.parts, next: page.next })
    }

    async fn read_snapshot(&self, cursor: Option<SnapshotCursor>) -> Result<SnapshotPage, Failure> {
        let Completed::Snapshot(page) = self.execute(Action::Snapshot(cursor)).await? else {
            unreachable!("a snapshot yields a page")
        };
        Ok(*page)
    }

    /// Who is primary and who is backup now, as the view server knows it.
    ///
    /// # Errors
    /// When the view server did not answer before the deadline.
    pub async fn view(&self) -> Result<Shown, Failure> {
        let Completed::View(shown) = self.execute(Action::View).await? else {
            unreachable!("a view yields a view")
        };
        Ok(*shown)
    }

    async fn write(&self, command: command::Command) -> Result<(), Failure> {
        let Completed::Written = self.execute(Action::Write(command)).await? else {
            unreachable!("such a write yields nothing")
        };
        Ok(())
    }

    /// Carries out one operation, whichever it is.
    ///
    /// # Errors
    /// When it exceeds a limit, was refused, or was not answered before the deadline; says whether
    /// it may have happened.
    pub async fn execute(&self, action: Action) -> Result<Completed, Failure> {
        let closed = Failure { outcome: action.if_abandoned(), reason: FailureReason::Closed };
        let command = Command { action, deadline: self.deadline };
        self.handle.call(command).await.unwrap_or(Err(closed))
    }
}

/// Everything as it was at one instant; see [`Client::snapshot`].
#[derive(Debug)]
pub struct Snapshot {
    client: Client,
    at: OperationNumber,
    /// Not returned yet.
    parts: Vec<Part>,
    /// Where to go on; none once all was read. It stays until what it points at is there.
    next: Option<SnapshotCursor>,
}

impl Snapshot {
    /// The number of the last operation that it contains.
    #[must_use]
    pub fn operation(&self) -> OperationNumber {
        self.at
    }

    /// The lists that follow, in key order; none at the end. A list may begin in one of these and
    /// go on in the next. The deadline of the client holds for each call. After an error, or when
    /// the future was dropped, the next call asks for the same lists again.
    ///
    /// # Errors
    /// When they could not be read before the deadline, or the primary does not keep the snapshot
    /// any more; then it cannot be read to its end.
    pub async fn next(&mut self) -> Result<Option<Vec<Part>>, Failure> {
        // A page may be empty where all keys are newer than the snapshot.
        while self.parts.is_empty() {
            // Taken out of its place, it would be lost with an error, and the next call would say
            // that this is the end: a copy that lacks the rest, and nobody knows.
            let Some(cursor) = self.next.clone() else { return Ok(None) };
            let page = self.client.read_snapshot(Some(cursor)).await?;
            (self.parts, self.next) = (page.parts, page.next);
        }
        Ok(Some(std::mem::take(&mut self.parts)))
    }
}

fn texts(values: Vec<Value>) -> Vec<String> {
    values.iter().map(Value::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::snapshot::Position;
    use crate::protocol::client::FailureOutcome;
    use crate::types::{RequestId, ViewId};

    fn closed() -> Client {
        let (handle, calls) = channel();
        drop(calls);
        Client { handle, deadline: Duration::from_secs(5), events: broadcast::channel(1).0 }
    }

    #[tokio::test]
    async fn a_write_on_a_closed_client_has_an_unknown_outcome() {
        let failure = Failure { outcome: FailureOutcome::Unknown, reason: FailureReason::Closed };
        assert_eq!(closed().put("a", "1").await, Err(failure.clone()));
        assert_eq!(closed().append("a", "1").await, Err(failure.clone()));
        assert_eq!(closed().remove("a").await, Err(failure));
    }

    #[tokio::test]
    async fn a_read_on_a_closed_client_was_not_executed() {
        let failure =
            Failure { outcome: FailureOutcome::NotExecuted, reason: FailureReason::Closed };
        assert_eq!(closed().get("a").await, Err(failure.clone()));
        assert_eq!(closed().view().await, Err(failure));
    }

    #[tokio::test]
    async fn a_snapshot_that_could_not_be_read_on_has_not_ended() {
        let cursor = |key: &str| SnapshotCursor {
            open: RequestId(1),
            view: ViewId::default(),
            at: OperationNumber(7),
            from: Position { key: Key::from(key), index: 0 },
        };
        let page = |key: &str, next: Option<SnapshotCursor>| {
            let parts = vec![Part { key: Key::from(key), start: 0, values: Vec::new() }];
            Ok(Completed::Snapshot(SnapshotPage { at: OperationNumber(7), parts, next }.into()))
        };
        let late = Failure { outcome: FailureOutcome::NotExecuted, reason: FailureReason::Closed };
        let (handle, mut calls) = channel::<Observed>();
        let client =
            Client { handle, deadline: Duration::from_secs(5), events: broadcast::channel(1).0 };
        let mut answers = [
            (None, Some(page("a", Some(cursor("b"))))),
            (Some(cursor("b")), Some(Err(late.clone()))),
            // Whoever asked does not wait for this one.
            (Some(cursor("b")), None),
            (Some(cursor("b")), Some(page("b", Some(cursor("c"))))),
            (Some(cursor("c")), Some(page("c", None))),
        ]
        .into_iter();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Some(call) = calls.next().await {
                let (number, command) = calls.register(call, Default::default).unwrap();
                let (asked, answer) = answers.next().unwrap();
                assert_eq!(command.action, Action::Snapshot(asked));
                match answer {
                    Some(answer) => calls.answer(number, answer),
                    None => kept.push(number),
                }
            }
        });
        let mut snapshot = client.snapshot().await.unwrap();
        let keys = |next: Result<Option<Vec<Part>>, Failure>| {
            next.map(|parts| parts.map(|parts| parts[0].key.to_string()))
        };
        assert_eq!(keys(snapshot.next().await), Ok(Some("a".to_owned())));
        assert_eq!(keys(snapshot.next().await), Err(late));
        tokio::select! {
            biased;
            _ = snapshot.next() => panic!("nobody has answered"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(keys(snapshot.next().await), Ok(Some("b".to_owned())));
        assert_eq!(keys(snapshot.next().await), Ok(Some("c".to_owned())));
        assert_eq!(keys(snapshot.next().await), Ok(None));
        assert_eq!(keys(snapshot.next().await), Ok(None));
    }

    #[tokio::test]
    async fn no_two_clients_have_the_same_incarnation() {
        // D31: a client that took up the incarnation of another would take answers to that one's
        // requests for answers to its own, and open the other's session.
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let view_server = socket.local_addr().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let client = Client::connect(view_server).await.unwrap();
            let asking = tokio::spawn(async move { client.view().await });
            let mut buffer = [0; 2048];
            let (size, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut messages = Vec::new();
            Transport::new(Incarnation(1), Limits::default()).receive(
                Timestamp::ZERO,
                from,
                &buffer[..size],
                &mut messages,
            );
            let [Message::ViewRequest(request)] = &messages[..] else { panic!("{messages:?}") };
            assert!(seen.insert(request.client), "{} came twice", request.client);
            asking.abort();
        }
    }

    #[tokio::test]
    async fn connecting_waits_for_nobody_and_a_client_can_be_shared_among_tasks() {
        let client = Client::connect("127.0.0.1:9".parse().unwrap()).await.unwrap();
        let clone = client.clone();
        tokio::spawn(async move { drop(clone) }).await.unwrap();
    }
}
