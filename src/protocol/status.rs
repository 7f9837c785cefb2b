//! What anybody may ask a server about itself: the messages behind `client watch`.
//!
//! A question changes nothing and is forgotten when it is answered, so duplicates are harmless and
//! whoever asks repeats it. What is answered is bounded, and smaller than three times the question:
//! a forged source address makes nobody a flood. A question is padded for that; one that is too
//! small gets no answer.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::Timing;
use crate::protocol::counts::{Counts, Fate, Kind};
use crate::protocol::view::{Micros, Phase};
use crate::types::{Incarnation, OperationNumber, RequestId, ServerId, ViewId};

/// Padding of a usual question: most clusters are shown completely, and it still fits a datagram
/// of the smallest size.
pub const PADDING: usize = 1000;

/// What an answer takes without its lists, at most.
const AROUND_LISTS: usize = 700;

/// Bytes of [`ClusterStatus::waiting`] that are told.
const WAITING: usize = 200;

/// See [`Message::StatusRequest`](super::message::Message::StatusRequest).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StatusRequest {
    /// Who asks.
    pub client: Incarnation,
    /// To be echoed.
    pub id: RequestId,
    /// Of any content: makes the question large enough for its answer.
    #[serde(default)]
    pub padding: String,
}

impl StatusRequest {
    /// A question of the usual size.
    #[must_use]
    pub fn new(client: Incarnation, id: RequestId) -> Self {
        StatusRequest { client, id, padding: " ".repeat(PADDING) }
    }

    /// Bytes that the lists of the answer may take; none if the question is too small for any
    /// answer.
    #[must_use]
    pub fn budget(&self) -> Option<usize> {
        (3 * self.padding.len()).checked_sub(AROUND_LISTS)
    }
}

/// As much of it as is told of what is waited for.
#[must_use]
pub fn shorten(waiting: String) -> String {
    match waiting.char_indices().map(|(at, _)| at).find(|&at| at > WAITING) {
        Some(end) => format!("{}...", &waiting[..end]),
        None => waiting,
    }
}

/// See [`Message::StatusReply`](super::message::Message::StatusReply).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StatusReply {
    /// Who asked.
    pub client: Incarnation,
    /// Echoed.
    pub id: RequestId,
    /// What there is to say.
    pub status: Status,
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// By the view server.
    ViewServer(Box<ClusterStatus>),
    /// By a kv server.
    Server(Box<CopyStatus>),
}

/// What the view server knows.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The view server's own.
    pub incarnation: Incarnation,
    /// The newest view; the default before the first one.
    pub view: ViewId,
    /// How far it has come; none before the first one.
    pub phase: Option<Phase>,
    /// As `view` shows it.
    pub primary: Option<ServerId>,
    /// As `view` shows it.
    pub backup: Option<ServerId>,
    /// What the cluster waits for, if anything.
    pub waiting: Option<String>,
    /// Timing of the cluster.
    pub timing: Timing,
    /// Servers known, in order of their names.
    pub servers: Vec<ServerLine>,
    /// Servers that did not fit.
    pub servers_left_out: usize,
    /// The last view changes, newest first.
    pub changes: Vec<ChangeLine>,
}

/// One server, as the view server sees it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ServerLine {
    /// Name.
    pub id: ServerId,
    /// As `status` names it.
    pub role: String,
    /// Heard from within dead-after.
    pub alive: bool,
    /// It holds every acknowledged operation.
    pub synced: bool,
    /// Since its last pong; none if it was never heard from.
    #[serde(rename = "silent_us")]
    pub silent: Option<Micros>,
    /// Process, if known.
    pub incarnation: Option<Incarnation>,
    /// Where it is reached.
    pub address: SocketAddr,
}

/// One change of the view.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ChangeLine {
    /// The view.
    pub view: ViewId,
    /// Proposed, or in force.
    pub phase: Phase,
    /// Its members.
    pub primary: ServerId,
    /// See there.
    pub backup: Option<ServerId>,
    /// See there.
    pub joining: Option<ServerId>,
    /// Why.
    pub reason: String,
    /// How long ago.
    #[serde(rename = "ago_us")]
    pub ago: Micros,
}

/// What a kv server knows of itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CopyStatus {
    /// Name.
    pub id: ServerId,
    /// Process.
    pub incarnation: Incarnation,
    /// As `status` names it.
    pub role: String,
    /// View number; 0 before the first view.
    pub view: u64,
    /// The other one of the pair (or the joiner), if any.
    pub peer: Option<ServerId>,
    /// It holds every acknowledged operation, and so does its backup, as far as it knows.
    pub synced: bool,
    /// Number of keys.
    pub keys: usize,
    /// Last applied operation.
    pub operations: OperationNumber,
    /// What it has done; left out where the question is too small for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// What a kv server has done for clients since it started: two answers of one process tell rates.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// Reads of any kind.
    pub reads: Work,
    /// Writes of any kind.
    pub writes: Work,
}

/// Operations of one kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Work {
    /// How many were executed and answered.
    pub done: u64,
    /// How many of them took how long, by [`BOUNDS`](crate::protocol::counts::BOUNDS); zeros at the
    /// end are left out.
    pub buckets: Vec<u64>,
}

impl Load {
    /// Bytes on the wire, at most.
    const SIZE: usize = 1000;

    /// All that was counted, if it fits the budget.
    #[must_use]
    pub fn within(budget: usize, counts: &Counts) -> Option<Load> {
        use Kind::{Append, Cas, Get, Incr, Keys, Len, Mget, Mput, Page, Put, Remove, Snapshot};
        (budget >= Load::SIZE).then(|| Load {
            reads: Work::of(counts, &[Get, Len, Keys, Mget, Snapshot, Page]),
            writes: Work::of(counts, &[Put, Append, Remove, Cas, Incr, Mput]),
        })
    }
}

impl Work {
    fn of(counts: &Counts, kinds: &[Kind]) -> Work {
        let mut work = Work::default();
        for kind in kinds {
            let fates = [Fate::Done, Fate::Missing, Fate::Unfit];
            work.done += fates.map(|fate| counts.answered(*kind, fate)).iter().sum::<u64>();
            let buckets = &counts.durations(*kind).buckets;
            work.buckets.resize(buckets.len(), 0);
            for (sum, bucket) in work.buckets.iter_mut().zip(buckets) {
                *sum += bucket;
            }
        }
        while work.buckets.last() == Some(&0) {
            work.buckets.pop();
        }
        work
    }

    /// What was done since this process said the other.
    #[must_use]
    pub fn since(&self, former: &Work) -> Work {
        let before = former.buckets.iter().copied().chain(std::iter::repeat(0));
        Work {
            done: self.done.saturating_sub(former.done),
            buckets: self.buckets.iter().zip(before).map(|(n, m)| n.saturating_sub(m)).collect(),
        }
    }
}

/// Takes entries as long as their sizes fit the budget; what is left of it.
pub(crate) fn take_within<T>(
    entries: impl Iterator<Item = T>,
    size: impl Fn(&T) -> usize,
    mut budget: usize,
) -> (Vec<T>, usize) {
    let mut taken = Vec::new();
    for entry in entries {
        let size = size(&entry);
        if size > budget {
            break;
        }
        budget -= size;
        taken.push(entry);
    }
    (taken, budget)
}

impl ServerLine {
    /// Bytes on the wire, at most: its texts, which JSON may have to escape, and everything else.
    pub(crate) fn size(&self) -> usize {
        200 + 2 * self.id.0.len() + self.role.len()
    }
}

impl ChangeLine {
    /// As [`ServerLine::size`].
    pub(crate) fn size(&self) -> usize {
        let names = [Some(&self.primary), self.backup.as_ref(), self.joining.as_ref()];
        let names: usize = names.into_iter().flatten().map(|id| 2 * id.0.len()).sum();
        190 + names + 2 * self.reason.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec;
    use crate::protocol::message::Message;
    use crate::types::Epoch;

    fn line(number: usize) -> ServerLine {
        ServerLine {
            id: ServerId::from(&*format!("server-{number}")),
            role: "proposed primary".to_owned(),
            alive: false,
            synced: false,
            silent: Some(Micros(u64::MAX)),
            incarnation: Some(Incarnation(u64::MAX)),
            address: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        }
    }

    fn change(number: u64) -> ChangeLine {
        ChangeLine {
            view: ViewId { epoch: Epoch(u64::MAX, u64::MAX), number },
            phase: Phase::Proposed,
            primary: ServerId::from("server-1"),
            backup: Some(ServerId::from("server-2")),
            joining: None,
            reason: "x".repeat(40),
            ago: Micros(u64::MAX),
        }
    }

    #[test]
    fn entries_take_no_more_bytes_than_they_say() {
        let encoded = serde_json::to_string(&line(1)).unwrap();
        assert!(encoded.len() <= line(1).size(), "{} of {}", encoded.len(), line(1).size());
        let encoded = serde_json::to_string(&change(u64::MAX)).unwrap();
        assert!(encoded.len() <= change(1).size(), "{} of {}", encoded.len(), change(1).size());
    }

    fn answer(budget: usize) -> Status {
        let (servers, left) = take_within((0..100).map(line), ServerLine::size, budget);
        let (changes, _) = take_within((0..100).map(change), ChangeLine::size, left);
        Status::ViewServer(Box::new(ClusterStatus {
            incarnation: Incarnation(u64::MAX),
            view: change(u64::MAX).view,
            phase: Some(Phase::Proposed),
            primary: Some(ServerId::from("server-1")),
            backup: Some(ServerId::from("server-2")),
            waiting: Some(shorten("w".repeat(1000))),
            timing: Timing::default(),
            servers_left_out: 100 - servers.len(),
            servers,
            changes,
        }))
    }

    #[test]
    fn an_answer_is_never_three_times_its_question() {
        let mut answered = 0;
        for padding in [0, 1, 233, 234, 500, PADDING, 10_000] {
            let (client, id) = (Incarnation(u64::MAX), RequestId(u64::MAX));
            let request = StatusRequest { client, id, padding: " ".repeat(padding) };
            let asked = encode(&Message::StatusRequest(request.clone()));
            assert_eq!(
                codec::decode(asked.as_bytes()).unwrap(),
                Message::StatusRequest(request.clone())
            );
            let Some(budget) = request.budget() else { continue };
            let reply = StatusReply { client, id, status: answer(budget) };
            let told = encode(&Message::StatusReply(reply.into()));
            assert!(told.len() <= 3 * asked.len(), "{} to {}", told.len(), asked.len());
            answered += 1;
        }
        assert_eq!(answered, 4);
    }

    #[test]
    fn the_usual_question_fits_a_small_datagram_and_shows_a_small_cluster() {
        let request = StatusRequest::new(Incarnation(u64::MAX), RequestId(u64::MAX));
        assert!(encode(&Message::StatusRequest(request.clone())).len() < 1150);
        let Status::ViewServer(cluster) = answer(request.budget().unwrap()) else { panic!() };
        assert!(cluster.servers.len() >= 5, "{}", cluster.servers.len());
    }

    #[test]
    fn what_a_server_has_done_fits_where_it_is_told_and_is_left_out_elsewhere() {
        let mut load = Load::within(Load::SIZE, &Counts::default()).unwrap();
        assert_eq!(load, Load::default());
        for work in [&mut load.reads, &mut load.writes] {
            *work = Work { done: u64::MAX, buckets: vec![u64::MAX; 20] };
        }
        let encoded = serde_json::to_string(&load).unwrap();
        assert!(encoded.len() <= Load::SIZE, "{}", encoded.len());
        assert_eq!(Load::within(Load::SIZE - 1, &Counts::default()), None);
        let usual = StatusRequest::new(Incarnation(1), RequestId(1)).budget().unwrap();
        assert!(Load::within(usual, &Counts::default()).is_some());
    }

    #[test]
    fn work_is_summed_over_its_kinds_and_told_apart_from_earlier_work() {
        use crate::protocol::counts::Arrival;
        use crate::time::Timestamp;
        let mut counts = Counts::default();
        let mut answer = |kind, fate, nanos| {
            counts.answer(Timestamp(nanos), Arrival { at: Timestamp::ZERO, kind }, fate);
            Load::within(usize::MAX, &counts).unwrap()
        };
        let former = answer(Kind::Get, Fate::Done, 5_000);
        answer(Kind::Mget, Fate::Missing, 20_000);
        answer(Kind::Cas, Fate::Unfit, 20_000);
        answer(Kind::Put, Fate::Busy, 5_000);
        let load = answer(Kind::Open, Fate::Done, 5_000);
        assert_eq!(load.reads, Work { done: 2, buckets: vec![1, 1] });
        assert_eq!(load.writes, Work { done: 1, buckets: vec![] });
        assert_eq!(load.reads.since(&former.reads), Work { done: 1, buckets: vec![0, 1] });
    }

    fn encode(message: &Message) -> String {
        serde_json::to_string(message).unwrap()
    }
}
