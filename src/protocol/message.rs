//! Every message, with who sends it, to whom, and why a duplicate of it is harmless.
//!
//! Two families share the wire. The *plain* messages are what anybody can send with `nc -u`; they
//! have no session, so each datagram of theirs stands for itself. All others travel between our own
//! programs only, in datagrams with a checksum, and the codec refuses them anywhere else: a
//! damaged datagram can never turn one into another.
//!
//! Invariant I10: a message between servers names history, view, sender and receiver in its
//! [`Link`]; what does not match is dropped before it touches any state.
//!
//! # Message by message
//!
//! Nothing here trusts the network: any datagram may be lost, come twice, late, or out of order. A
//! message is one JSON object with its name as `"type"`; the fields are those of the struct of that
//! name below, in snake case. Ids and incarnations are numbers of up to 64 bits; a session is
//! `[[epoch counter, epoch author], operation number]`. How objects share datagrams, the checksum
//! (`pbkv`), and large messages (`piece`, `want`) are the business of
//! [`transport`](super::transport). P is the primary, B the backup, S a joining spare, V the view
//! server, C a client; `scripts/pbkv_client.py` is a small one.
//!
//! | message | from | to | when | who resends | why duplicates are harmless |
//! | --- | --- | --- | --- | --- | --- |
//! | `get_view` | anybody | V, any kv server | somebody wants to know who is primary | whoever asks | it changes nothing |
//! | `view` | V, kv server | who asked | at once | nobody: it is asked again | it says what was so when it was sent; a primary that is no more refuses |
//! | `client_request` | anybody | P | somebody without a session wants something done | nobody: every copy is executed | they are not: each datagram counts, which is why there are sessions |
//! | `success` | P | who asked | the command is committed and applied, or the read is proven | nobody | it claims nothing about any other request |
//! | `fail` | kv server | who asked | the command was certainly not executed | nobody | as `success` |
//! | `ping` | anybody | kv server | a liveness probe | whoever probes | it changes nothing |
//! | `pong` | kv server | who asked | at once | nobody | it is no sign of life to V, who hears only `view_pong` |
//! | `online` | kv server | V | at the start, and while no ping comes | the sender, with backoff up to half of dead-after | it proves nothing: it makes V ping that incarnation, and a ghost does not answer |
//! | `refused` | V | kv server | another process with its id answers fresh pings | V, for every new `online` | it names one incarnation, which ends once |
//! | `view_ping` | V | kv server | every ping interval, more often in silence, at once for a new record | V, with a new nonce | an old record is ignored, an old pong that it names grants nothing, and the answer's nonce no longer counts |
//! | `view_pong` | kv server | V | in answer to each `view_ping` | nobody: it is pinged again | the nonce counts once; what it reports names view and incarnation and is stale in any other |
//! | `replicate` | P | B, S once it follows | operations or reads wait | P, until acknowledged, with backoff; barriers several times an interval | operations have numbers: what is applied is skipped, what is early waits; a barrier only rises |
//! | `ack` | B, S | P | something arrived from P | B, for every `replicate` | it is cumulative: an old one says less than a newer one |
//! | `newer_view` | kv server | kv server | a message of an older view arrived | the sender, for every such message | an old record is ignored, and it names the incarnation that it is for |
//! | `offer` | S | P | its view names it joining | S, until the verdict | the first one decides; a copy gets the same verdict |
//! | `verdict` | P | S | in answer to `offer` | P, for every `offer` | given once an attempt; after it S no longer listens for one |
//! | `transfer` | P | S | the state is sent, while P serves | P, until acknowledged | messages have sequence numbers, and belong to one attempt (`since`) |
//! | `transfer_ack` | S | P | a part of the state arrived | S, for every `transfer` | it is cumulative, and belongs to one attempt |
//! | `view_request` | C | V, any kv server | C knows no primary, or the one it knows is silent | C, at growing intervals | it changes nothing |
//! | `view_reply` | V, kv server | C | at once, or (if `fresh`) when every member shown has been heard | nobody | it echoes the request's id, which C asks once |
//! | `request` | C | P | an operation | C, with backoff up to its deadline, to whoever is primary then | writes: session and number are executed once, and the result is kept until C has said that it knows it; `open`: its nonce names the session; reads change nothing |
//! | `reply` | kv server | C | the outcome is known | P, for every copy of the request | it echoes client and id; C takes the first final outcome |
//! | `get_status` | C (`client watch`) | V, kv server | every tick | whoever watches, with the next question | it changes nothing |
//! | `status` | V, kv server | who asked | at once, and never three times as long as the question | nobody | it says what was so when it was sent |
//! | `pbkv` | everybody but the plain | everybody | first line of a datagram: the checksum of the rest | it is of one datagram | it says nothing by itself |
//! | `piece` | whoever sends a large message | its receiver | the first ones at once, the others when they are wanted | the sender of the message; then the receiver wants what lacks | id and length name one byte sequence: the same bytes at the same place |
//! | `want` | the receiver of a large message | its sender | the first pieces came | the receiver, until the message is whole | it is answered with the same bytes |

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::Timing;
use crate::kv::command::{Command, Key, Operation, Origin, Value};
use crate::kv::snapshot::{Part, Position};
use crate::kv::transfer::Item;
use crate::protocol::status::{StatusReply, StatusRequest};
use crate::protocol::view::{Record, Shown, Stamp};
use crate::types::{
    Epoch, HistoryId, Incarnation, OperationNumber, RequestId, RequestNumber, ServerId, SessionId,
    ViewId,
};

/// A message of either family. The tag on the wire is the variant's name in snake case, or what
/// `serde(rename)` says. What is rare and large is boxed: every message is moved several times.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    // Plain family.
    /// Anybody -> view server or kv server: who is primary?
    GetView(GetView),
    /// The answer to [`GetView`].
    #[serde(rename = "view")]
    ViewAnswer(Box<ViewAnswer>),
    /// Anybody -> primary: execute once for this datagram.
    ClientRequest(ClientRequest),
    /// The command was executed.
    Success(Success),
    /// The command was not executed.
    Fail(Fail),
    /// Anybody -> kv server: are you there? Changes nothing.
    #[serde(rename = "ping")]
    Probe(Probe),
    /// The answer to [`Probe`].
    #[serde(rename = "pong")]
    ProbeAnswer(ProbeAnswer),

    // View server and kv servers.
    /// kv server -> view server: I exist and hear nothing of you. Proves nothing by itself.
    #[serde(rename = "online")]
    Announce(Announce),
    /// View server -> kv server: another process that answers bears your id.
    Refused(Refused),
    /// View server -> kv server: are you alive? Here is the newest record.
    #[serde(rename = "view_ping")]
    Ping(Box<Ping>),
    /// kv server -> view server: the answer to one ping, with what I have adopted and must report.
    #[serde(rename = "view_pong")]
    Pong(Box<Pong>),

    // Among kv servers.
    /// Primary -> backup (or caught-up joiner): operations in order, and a barrier.
    Replicate(Replicate),
    /// Backup -> primary: everything up to here is applied.
    Ack(Ack),
    /// kv server -> kv server: what you sent belongs to an older view than this.
    NewerView(Box<NewerView>),
    /// Joiner -> primary: I am ready, and hold a copy that may be worth keeping.
    Offer(Offer),
    /// Primary -> joiner: keep the copy, or wipe it and take the state from the stream.
    Verdict(Verdict),
    /// Primary -> joiner: a part of the state.
    Transfer(Transfer),
    /// Joiner -> primary: parts up to here are applied.
    TransferAck(TransferAck),

    // Client library.
    /// Client -> view server or kv server: who is primary?
    ViewRequest(ViewRequest),
    /// The answer to [`ViewRequest`].
    ViewReply(Box<ViewReply>),
    /// Client -> primary: open a session, write in it, or read.
    Request(Request),
    /// The answer to [`Request`].
    Reply(Reply),
    /// Anybody -> view server or kv server: how are you? Changes nothing, and is repeated at will.
    #[serde(rename = "get_status")]
    StatusRequest(StatusRequest),
    /// The answer to [`StatusRequest`].
    #[serde(rename = "status")]
    StatusReply(Box<StatusReply>),
}

impl Message {
    /// Whether the message belongs to the plain family, which needs no checksum.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Message::GetView(_)
            | Message::ViewAnswer(_)
            | Message::ClientRequest(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::Probe(_)
            | Message::ProbeAnswer(_) => true,
            Message::Announce(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Replicate(_)
            | Message::Ack(_)
            | Message::NewerView(_)
            | Message::Offer(_)
            | Message::Verdict(_)
            | Message::Transfer(_)
            | Message::TransferAck(_)
            | Message::ViewRequest(_)
            | Message::ViewReply(_)
            | Message::Request(_)
            | Message::Reply(_)
            | Message::StatusRequest(_)
            | Message::StatusReply(_) => false,
        }
    }

    /// The header of a message between two kv servers that share a view.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        match self {
            Message::Replicate(Replicate { link, .. })
            | Message::Ack(Ack { link, .. })
            | Message::Offer(Offer { link, .. })
            | Message::Verdict(Verdict { link, .. })
            | Message::Transfer(Transfer { link, .. })
            | Message::TransferAck(TransferAck { link, .. }) => Some(link),
            Message::GetView(_)
            | Message::ViewAnswer(_)
            | Message::ClientRequest(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::Probe(_)
            | Message::ProbeAnswer(_)
            | Message::Announce(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::NewerView(_)
            | Message::ViewRequest(_)
            | Message::ViewReply(_)
            | Message::Request(_)
            | Message::Reply(_)
            | Message::StatusRequest(_)
            | Message::StatusReply(_) => None,
        }
    }

    /// Who may send it.
    #[must_use]
    pub fn speaker(&self) -> Speaker {
        match self {
            Message::GetView(_)
            | Message::ClientRequest(_)
            | Message::Probe(_)
            | Message::ViewRequest(_)
            | Message::Request(_)
            | Message::StatusRequest(_) => Speaker::Anybody,
            Message::ViewAnswer(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::ProbeAnswer(_)
            | Message::ViewReply(_)
            | Message::Reply(_)
            | Message::StatusReply(_) => Speaker::WhoeverWasAsked,
            Message::Announce(_)
            | Message::Pong(_)
            | Message::Replicate(_)
            | Message::Ack(_)
            | Message::NewerView(_)
            | Message::Offer(_)
            | Message::Verdict(_)
            | Message::Transfer(_)
            | Message::TransferAck(_) => Speaker::Server,
            Message::Refused(_) | Message::Ping(_) => Speaker::ViewServer,
        }
    }
}

/// Who may send a message, and by that what it can do: only what servers say among themselves ever
/// changes who is primary, or the copies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Speaker {
    /// A question or a request: anybody, clients above all.
    Anybody,
    /// An answer: whoever was asked, a kv server or the view server. Only clients listen to it.
    WhoeverWasAsked,
    /// A kv server, to another one or to the view server.
    Server,
    /// The view server, to kv servers.
    ViewServer,
}

/// See [`Message::GetView`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct GetView {}

/// See [`Message::ViewAnswer`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ViewAnswer {
    /// Name of the primary, if one is active and alive.
    pub primary: Option<ServerId>,
    /// Name of the backup, if it is eligible and alive.
    pub backup: Option<ServerId>,
    /// View number.
    pub number: u64,
    /// Where the primary is reached.
    pub primary_address: Option<SocketAddr>,
    /// Where the backup is reached.
    pub backup_address: Option<SocketAddr>,
    /// What the cluster waits for, if anything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<String>,
}

impl From<&Shown> for ViewAnswer {
    fn from(shown: &Shown) -> Self {
        let id = |member: &Option<crate::protocol::view::Member>| {
            member.as_ref().map(|member| member.id.clone())
        };
        let address = |member: &Option<crate::protocol::view::Member>| {
            member.as_ref().map(|member| member.address)
        };
        ViewAnswer {
            primary: id(&shown.primary),
            backup: id(&shown.backup),
            number: shown.view.number,
            primary_address: address(&shown.primary),
            backup_address: address(&shown.backup),
            waiting: shown.waiting.clone(),
        }
    }
}

/// See [`Message::ClientRequest`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ClientRequest {
    /// `put`, `append`, `get`, `remove`, `exists`, `len`, `cas` or `incr`.
    pub command: String,
    /// Needed by every command.
    #[serde(default)]
    pub key: Option<Key>,
    /// Needed by `put` and `append`.
    #[serde(default)]
    pub value: Option<Value>,
    /// Needed by `cas`: the list that must be there, or `null` for a missing key.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub old: Option<Option<Vec<Value>>>,
    /// Needed by `cas`: what the list becomes, or `null` for a missing key.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub new: Option<Option<Vec<Value>>>,
    /// Of `incr`: by how much; 1 if it is left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<i64>,
}

/// See [`Message::Success`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Success {
    /// The command that was executed.
    pub command: String,
    /// The key it was about.
    pub key: Key,
    /// Of a `get` only: `Some(None)`, on the wire `null`, is a missing key.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub value: Option<Option<Vec<Value>>>,
    /// Of `exists` and `cas` (whether it is there, whether it was the expected list), of `len` and
    /// `incr` (the length, the number now).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<PlainResult>,
}

/// See [`Success::result`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlainResult {
    /// Yes or no.
    Truth(bool),
    /// A length, or a number that was counted to.
    Number(i64),
}

/// Keeps a field that is `null` apart from one that is absent, which serde alone would take for
/// the same: only a field that is there gets as far as this function.
fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// See [`Message::Fail`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fail {
    /// Why.
    pub reason: FailReason,
    /// The same for people, where the reason alone does not say it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// What the server knows of the view.
    pub number: u64,
    /// Name of the primary in that view.
    pub primary: Option<ServerId>,
    /// Where it is reached.
    pub primary_address: Option<SocketAddr>,
}

/// Why a plain request was not executed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    /// This server is not the serving primary.
    NotPrimary,
    /// Too much is waiting; try again a little later.
    Busy,
    /// A server has reached its limit of memory. What makes the store no larger is executed.
    OutOfMemory,
    /// The key, the value or the answer exceeds a limit.
    TooLarge,
    /// The command is unknown or lacks a field.
    Invalid,
    /// The command cannot be executed on the list that is there; nothing was changed.
    Refused,
}

/// See [`Message::Probe`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Probe {}

/// See [`Message::ProbeAnswer`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// The server's name.
    pub server_id: ServerId,
    /// Its incarnation, in hexadecimal.
    pub incarnation: String,
    /// Its role, as `status` names it.
    pub role: String,
    /// The number of its view.
    pub number: u64,
}

/// See [`Message::Announce`]. Resent with backoff until a ping arrives; a ghost of it starts a
/// ping to an incarnation that never answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Announce {
    /// The server's name.
    pub id: ServerId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Where others reach it; none if it does not know, then the datagram's source is taken.
    pub address: Option<SocketAddr>,
}

/// See [`Message::Refused`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The incarnation that is refused.
    pub to: Incarnation,
    /// The process that bears the id and answers.
    pub holder: SocketAddr,
}

/// See [`Message::Ping`]. Repeated until answered. A ghost of it can only repeat an old record,
/// which is ignored, and name an old pong, which grants nothing and is no sign of life; its answer
/// carries a nonce that no longer counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ping {
    /// The view server.
    pub from: Incarnation,
    /// The incarnation that is asked; none where only an address is known. Another incarnation at
    /// that address adopts nothing, and announces itself.
    pub to: Option<Incarnation>,
    /// Drawn fresh for every ping.
    pub nonce: u64,
    /// Timing of the cluster.
    pub timing: Timing,
    /// The newest record, once there is one.
    pub record: Option<Record>,
    /// Asks to promise this epoch: to adopt nothing of any other or lower epoch from now on.
    pub promise: Option<Epoch>,
    /// Token of the newest pong heard from this server: shows that the ping is no ghost.
    pub heard: Option<u64>,
    /// Grants a read lease from when that pong was sent.
    pub grants_lease: bool,
    /// Another process has borne the receiver's id since, and the record does without the receiver:
    /// it never counts again as what it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

/// See [`Message::Pong`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pong {
    /// The server's name.
    pub id: ServerId,
    /// Its incarnation.
    pub from: Incarnation,
    /// The view server whose ping this answers.
    pub to: Incarnation,
    /// The ping's nonce.
    pub nonce: u64,
    /// Drawn fresh for every pong, rising, never used again.
    pub token: u64,
    /// As in [`Announce`].
    pub address: Option<SocketAddr>,
    /// The history the server has heard of.
    pub history: Option<HistoryId>,
    /// It holds a complete copy of that history, which nobody but it may give up.
    pub holds_copy: bool,
    /// The highest epoch it has promised or adopted.
    pub promised: Epoch,
    /// The newest record it has adopted.
    pub adopted: Option<Stamp>,
    /// The record itself, in answer to a ping that asks for a promise.
    pub record: Option<Record>,
    /// What the view server must know. Repeated in every pong until a record answers it.
    pub reports: Vec<Report>,
}

/// Something a primary (or a synced joiner) tells the view server.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The view it was seen in; stale in any other.
    pub view: ViewId,
    /// The backup or joiner it is about.
    pub about: Incarnation,
    /// What was seen.
    pub kind: ReportKind,
}

/// See [`Report`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// No progress for dead-after while something was pending.
    Stalled,
    /// Its digest differs at the same operation number.
    Diverged,
    /// The joiner holds everything but a window.
    CaughtUp,
    /// The backup of the proposed view holds everything before the flip point.
    Synced,
}

/// The header of everything between two kv servers (invariant I10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The sender.
    pub from: Incarnation,
    /// The receiver.
    pub to: Incarnation,
    /// The history.
    pub history: HistoryId,
    /// The view the sender has adopted.
    pub view: ViewId,
    /// Lineage of the receiver's (or, in an answer, the sender's) copy.
    pub since: ViewId,
}

/// See [`Message::Replicate`]. Resent until acknowledged; numbers make duplicates harmless.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Replicate {
    /// Who, to whom, in which view and lineage.
    pub link: Link,
    /// Number of the first operation below, or of the next one if there is none.
    pub first: OperationNumber,
    /// Operations in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub operations: Vec<Operation>,
    /// Highest barrier sent; 0 for none yet. To be echoed by a backup that is still in this view.
    pub barrier: u64,
    /// The last operation that the primary committed without this backup: a backup that holds
    /// everything up to here, in a view that names it backup, is synced.
    pub flip: OperationNumber,
}

/// See [`Message::Ack`]. Cumulative: an old one is covered by any newer one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// Who, to whom, in which view and lineage.
    pub link: Link,
    /// Everything up to here is applied.
    pub applied: OperationNumber,
    /// Digest of the state at that number.
    pub digest: u64,
    /// Highest operation number received, in order or not: shows gaps.
    pub received: OperationNumber,
    /// Highest barrier received in this view.
    pub barrier: u64,
    /// Bytes that the copy may take here; none without a limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_max: Option<u64>,
}

/// See [`Message::NewerView`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct NewerView {
    /// The receiver, so that a ghost for a former process is ignored.
    pub to: Incarnation,
    /// The record that the sender has adopted.
    pub record: Record,
}

/// See [`Message::Offer`]. Resent until the verdict arrives.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Who, to whom, in which attempt (`since`).
    pub link: Link,
    /// The last operation of a complete copy and the digest there; none if there is no such copy.
    pub copy: Option<(OperationNumber, u64)>,
    /// As in [`Ack`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_max: Option<u64>,
}

/// See [`Message::Verdict`]. Given once an attempt; repeated for a repeated offer.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Who, to whom, in which attempt (`since`).
    pub link: Link,
    /// Keep the offered copy and go on after it; otherwise wipe it.
    pub keep: bool,
}

/// See [`Message::Transfer`]. Resent until acknowledged; sequence numbers make duplicates harmless.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// Who, to whom, in which attempt (`since`).
    pub link: Link,
    /// Position of this message in the stream, from 1; 0 for a mere probe.
    pub sequence: u64,
    /// Effects, to be applied in order.
    pub items: Vec<Item>,
    /// Highest probe sent; 0 for none. To be echoed: shows that the joiner is there, although what
    /// it must receive first may be large.
    pub probe: u64,
}

/// See [`Message::TransferAck`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TransferAck {
    /// Who, to whom, in which attempt (`since`).
    pub link: Link,
    /// Everything up to here is applied.
    pub sequence: u64,
    /// Highest probe received in this attempt.
    pub probe: u64,
    /// The stream ended in another digest than the primary's: this attempt has failed.
    pub diverged: bool,
}

/// See [`Message::ViewRequest`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ViewRequest {
    /// The client.
    pub client: Incarnation,
    /// To be echoed.
    pub id: RequestId,
    /// Answer only when every member shown has been heard from after this arrived (view server).
    pub fresh: bool,
}

/// See [`Message::ViewReply`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ViewReply {
    /// The client.
    pub client: Incarnation,
    /// Echoed.
    pub id: RequestId,
    /// The view as this process knows it.
    pub shown: Shown,
    /// Servers that can be asked when the view server cannot be reached.
    pub servers: Vec<SocketAddr>,
}

/// See [`Message::Request`]. Resent with the same bytes until answered; the session makes
/// duplicates of writes harmless, and reads change nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The client: ports are reused, so its address does not name it.
    pub client: Incarnation,
    /// To be echoed.
    pub id: RequestId,
    /// What is asked.
    pub ask: Ask,
}

/// What a client asks of the primary.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Open a session.
    Open {
        /// The same in every repetition.
        nonce: u64,
    },
    /// Execute a command as a request of a session, exactly once.
    Write {
        /// Which request of which session.
        origin: Origin,
        /// What changes.
        command: Command,
    },
    /// Read a list, or a page of it.
    Get {
        /// Which list.
        key: Key,
        /// The session and its last write before this read, which the read must see.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<(SessionId, RequestNumber)>,
        /// For pages after the first.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        page: Option<PageRequest>,
    },
    /// Read the length of a list; a missing key has none.
    Len {
        /// Which list.
        key: Key,
        /// As in `Get`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<(SessionId, RequestNumber)>,
    },
    /// Read as many keys, in order, as a page holds.
    Keys {
        /// How they begin.
        prefix: Key,
        /// The last key that is already known; none for the first page.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        start_after: Option<Key>,
        /// As in `Get`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<(SessionId, RequestNumber)>,
    },
    /// Read several lists, or the first page of them all, at one instant. Later pages are those of
    /// `Get`.
    Mget {
        /// Which lists.
        keys: Vec<Key>,
        /// As in `Get`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<(SessionId, RequestNumber)>,
    },
    /// Read all lists as they are at one instant, page by page.
    Snapshot {
        /// As in `Get`; counts for the first page, which fixes the instant.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<(SessionId, RequestNumber)>,
        /// For pages after the first: what the page before said.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        cursor: Option<SnapshotCursor>,
    },
}

/// Where to go on in a snapshot.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SnapshotCursor {
    /// The request that began it.
    pub open: RequestId,
    /// The view in which it was begun, and its operation: the same request may have begun another
    /// one elsewhere, or later.
    pub view: ViewId,
    /// See `view`.
    pub at: OperationNumber,
    /// What was read before needs not be kept.
    pub from: Position,
}

/// A later page of a list whose first page has been read. What a page shows never changes while
/// the list's generation is the same, because lists only grow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PageRequest {
    /// The operation that began the list, as the first page said.
    pub generation: OperationNumber,
    /// First element wanted.
    pub start: u64,
    /// Elements after the last one wanted: the list's length when the first page was read.
    pub end: u64,
}

/// See [`Message::Reply`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The client.
    pub client: Incarnation,
    /// Echoed.
    pub id: RequestId,
    /// The view that the sender has adopted.
    pub view: ViewId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a client's request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Final: the session is open.
    Opened(SessionId),
    /// Final: the write was executed.
    Done,
    /// Final: an `incr` was executed; this is the number now.
    Number(i64),
    /// Final: a `cas` has changed nothing; the list is another one, of so many elements.
    Mismatch(u64),
    /// Final: an `incr` has changed nothing; the list is not one decimal number.
    NotANumber,
    /// Final: an `incr` has changed nothing; the sum is beyond 64 bits.
    Overflow,
    /// Final: nothing was executed; a server has reached its limit of memory. What makes the store
    /// no larger is executed.
    OutOfMemory,
    /// Final: the length of the list; 0 for a missing key.
    Length(u64),
    /// Final: keys in order.
    Keys(KeysPage),
    /// Final: for each key asked for, in the same order, what `Page` and `Missing` say of one. All
    /// were read at one instant. A page of a list with elements may have none of them yet.
    Pages(Vec<Option<Page>>),
    /// Final: a page of a snapshot.
    Snapshot(SnapshotPage),
    /// Final: no page of a snapshot.
    SnapshotRefused(SnapshotRefusal),
    /// Final: the list, or its first page, or the page that was asked for.
    Page(Page),
    /// Final: the key is missing.
    Missing,
    /// The list is no longer of the generation that a later page was asked of: begin again.
    GenerationChanged,
    /// Final: nothing was executed by this request now; whether an earlier copy of it was executed
    /// before the session ended is not known.
    SessionExpired,
    /// Never final: this server is not the serving primary. Carries what it knows.
    NotPrimary(Box<Shown>),
    /// Never final: too much is waiting; try again a little later.
    Busy,
}

/// A part of all lists as they were after one operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SnapshotPage {
    /// The last operation that is in the snapshot.
    pub at: OperationNumber,
    /// Lists in key order; the first and the last one may have other parts in other pages.
    pub parts: Vec<Part>,
    /// Where to go on; none at the end.
    pub next: Option<SnapshotCursor>,
}

/// Why there is no page of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotRefusal {
    /// This primary does not have it (any more): it is another one, or nobody asked for long.
    Gone,
    /// More was changed meanwhile than may be kept.
    TooMuchChanged,
    /// Another client reads one.
    Taken,
}

/// Keys in order, as many as fit.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KeysPage {
    /// The keys.
    pub keys: Vec<Key>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// A list, or a part of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The operation that began the list.
    pub generation: OperationNumber,
    /// Index of the first element here.
    pub start: u64,
    /// Length of the whole list when its first page was read.
    pub end: u64,
    /// The elements.
    pub values: Vec<Value>,
}
