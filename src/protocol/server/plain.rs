//! Requests in the plain form, as people and other languages write them: what is asked for, checked
//! against the limits before anything is done with it.

use std::net::SocketAddr;

use crate::config::Limits;
use crate::kv::command::{Cas, Command, Value};
use crate::protocol::counts::{Arrival, Aside, Kind};
use crate::protocol::message::{ClientRequest, FailReason};
use crate::protocol::server::intake::Asker;
use crate::protocol::server::reads::Question;

/// One that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlainRequest {
    /// To be ordered.
    Write(Command, Asker),
    /// To be answered from a state that is certainly not too old.
    Read(Question, Asker),
}

/// How a request in the plain form is counted.
pub fn plain_kind(command: &str) -> Kind {
    let kinds =
        [Kind::Put, Kind::Append, Kind::Remove, Kind::Cas, Kind::Incr, Kind::Get, Kind::Len];
    let word = if command == "exists" { Kind::Len.word() } else { command };
    kinds.into_iter().find(|kind| kind.word() == word).unwrap_or(Kind::Unknown)
}

/// Understands a request in the plain form.
pub fn plain_request(
    from: SocketAddr,
    arrival: Arrival,
    request: ClientRequest,
    limits: &Limits,
) -> Result<PlainRequest, (FailReason, String)> {
    let invalid = |detail: &str| (FailReason::Invalid, detail.to_owned());
    let ClientRequest { command, key, value, old, new, by } = request;
    if matches!(command.as_str(), "keys" | "mget" | "mput") {
        return Err(invalid("what is about many keys need not fit a datagram; use the client"));
    }
    let key = key.ok_or_else(|| invalid("the field `key` is missing"))?;
    if key.0.len() > limits.key_bytes {
        let detail = format!("the key has {} bytes; at most {}", key.0.len(), limits.key_bytes);
        return Err((FailReason::TooLarge, detail));
    }
    let arrival = Aside(arrival);
    let asker = Asker::Plain { to: from, command: command.clone(), key: key.clone(), arrival };
    let list = |list: Option<Option<Vec<Value>>>, name: &str| {
        list.ok_or_else(|| invalid(&format!("the field `{name}` is missing; cas needs it")))
    };
    let value = |name: &str| match value {
        Some(value) if value.0.len() > limits.value_bytes => {
            let (size, limit) = (value.0.len(), limits.value_bytes);
            Err((FailReason::TooLarge, format!("the value has {size} bytes; at most {limit}")))
        }
        Some(value) => Ok(value),
        None => Err(invalid(&format!("the field `value` is missing; {name} needs one"))),
    };
    Ok(match command.as_str() {
        "put" => PlainRequest::Write(Command::Put { key, value: value("put")? }, asker),
        "append" => PlainRequest::Write(Command::Append { key, value: value("append")? }, asker),
        "remove" => PlainRequest::Write(Command::Remove { key }, asker),
        "incr" => PlainRequest::Write(Command::Incr { key, by: by.unwrap_or(1) }, asker),
        "cas" => {
            let cas = Cas { key, old: list(old, "old")?, new: list(new, "new")? };
            let command = Command::Cas(cas.into());
            command.check(limits).map_err(|excess| (FailReason::TooLarge, excess.to_string()))?;
            PlainRequest::Write(command, asker)
        }
        "get" => PlainRequest::Read(Question::Get(key), asker),
        "exists" | "len" => PlainRequest::Read(Question::Len(key), asker),
        _ => {
            let known = "put, append, get, remove, exists, len, cas and incr";
            return Err(invalid(&format!("unknown command; there are {known}")));
        }
    })
}
