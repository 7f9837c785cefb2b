//! The few messages that make up nearly all traffic, written and read without serde, in the one form
//! in which our own programs write them.
//!
//! Kept here: what is written is byte for byte what serde_json writes, and whatever is read here
//! serde_json reads as the same value. Everything else (another order of the fields, blanks, an
//! escaped character, a rarer variant) is not read here and left to serde, which alone decides what
//! is a message. A test compares the two on random messages and on damaged ones.
//!
//! Why: serde_json looks at a text byte by byte and compares every field with all names; without
//! it a pipelined put costs a fifth less processor time at all who take part.

use arcstr::ArcStr;
use serde::Serialize;
use smol_str::SmolStr;

use crate::kv::command::{Command, Key, Operation, Origin, Value};
use crate::kv::transfer::Item;
use crate::protocol::message::{
    Ack, Ask, Link, Message, Outcome, Page, Replicate, Reply, Request, Transfer, TransferAck,
};
use crate::types::{
    COUNT_MAX, Epoch, HistoryId, Incarnation, OperationNumber, RequestId, RequestNumber, SessionId,
    ViewId,
};

/// Appends the message to `out` if it is one of the usual ones; returns whether it is.
pub(super) fn encode(message: &Message, out: &mut Vec<u8>) -> bool {
    match message {
        Message::Request(request) => request.write_tagged("request", out),
        Message::Reply(reply) => reply.write_tagged("reply", out),
        Message::Replicate(replicate) => replicate.write_tagged("replicate", out),
        Message::Ack(ack) => ack.write_tagged("ack", out),
        Message::Transfer(transfer) => transfer.write_tagged("transfer", out),
        Message::TransferAck(ack) => ack.write_tagged("transfer_ack", out),
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
        | Message::Offer(_)
        | Message::Verdict(_)
        | Message::ViewRequest(_)
        | Message::ViewReply(_)
        | Message::StatusRequest(_)
        | Message::StatusReply(_) => return false,
    }
    true
}

/// Reads a message if it is one of the usual ones in the usual form.
pub(super) fn decode(tag: &str, line: &str) -> Option<Message> {
    Some(match tag {
        "request" => Message::Request(Tagged::read_tagged(tag, line)?),
        "reply" => Message::Reply(Tagged::read_tagged(tag, line)?),
        "replicate" => Message::Replicate(Tagged::read_tagged(tag, line)?),
        "ack" => Message::Ack(Tagged::read_tagged(tag, line)?),
        "transfer" => Message::Transfer(Tagged::read_tagged(tag, line)?),
        "transfer_ack" => Message::TransferAck(Tagged::read_tagged(tag, line)?),
        _ => return None,
    })
}

/// A value in its usual form.
trait Form: Sized {
    /// Appends exactly what serde_json would.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes the value from the front of `input`; none if it has another form. `input` is of no use
    /// then.
    fn read(input: &mut &str) -> Option<Self>;
}

/// A struct, whose fields also stand behind the tag of a message.
trait Tagged: Sized {
    /// Appends the fields and the closing brace.
    fn write_fields(&self, out: &mut Vec<u8>);

    /// The counterpart.
    fn read_fields(input: &mut &str) -> Option<Self>;

    fn write_tagged(&self, tag: &str, out: &mut Vec<u8>) {
        text(out, super::TAG_PREFIX);
        text(out, tag);
        text(out, "\",");
        self.write_fields(out);
    }

    fn read_tagged(tag: &str, line: &str) -> Option<Self> {
        let mut input = line.strip_prefix(super::TAG_PREFIX)?.strip_prefix(tag)?;
        skip(&mut input, "\",")?;
        let value = Self::read_fields(&mut input)?;
        input.is_empty().then_some(value)
    }
}

impl<T: Tagged> Form for T {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, "{");
        self.write_fields(out);
    }

    fn read(input: &mut &str) -> Option<Self> {
        skip(input, "{")?;
        Self::read_fields(input)
    }
}

/// Structs of which every field is written, in this order; what follows a semicolon only if it is
/// not none. What is read has to fulfil the condition.
macro_rules! structs {
    ($($name:ident { $first:ident $(, $field:ident)* $(; $last:ident)? } $(=> $sound:expr;)?)*) => {$(
        impl Tagged for $name {
            fn write_fields(&self, out: &mut Vec<u8>) {
                text(out, concat!("\"", stringify!($first), "\":"));
                self.$first.write(out);
                $(
                    text(out, concat!(",\"", stringify!($field), "\":"));
                    self.$field.write(out);
                )*
                $(
                    if let Some(value) = &self.$last {
                        text(out, concat!(",\"", stringify!($last), "\":"));
                        value.write(out);
                    }
                )?
                text(out, "}");
            }

            fn read_fields(input: &mut &str) -> Option<Self> {
                skip(input, concat!("\"", stringify!($first), "\":"))?;
                let $first = Form::read(input)?;
                $(
                    skip(input, concat!(",\"", stringify!($field), "\":"))?;
                    let $field = Form::read(input)?;
                )*
                $(
                    let $last = match skip(input, concat!(",\"", stringify!($last), "\":")) {
                        Some(()) => Some(Form::read(input)?),
                        None => None,
                    };
                )?
                skip(input, "}")?;
                let value = $name { $first $(, $field)* $(, $last)? };
                $(
                    let is_sound: fn(&$name) -> bool = $sound;
                    if !is_sound(&value) {
                        return None;
                    }
                )?
                Some(value)
            }
        }
    )*};
}

structs! {
    Request { client, id, ask }
    Reply { client, id, view, outcome }
    Ack { link, applied, digest, received, barrier; memory_max }
    Transfer { link, sequence, items, probe }
    TransferAck { link, sequence, probe, diverged }
    Link { from, to, history, view, since }
    ViewId { epoch, number } => |view| view.number <= COUNT_MAX;
    Origin { session, number, acknowledged }
    Page { generation, start, end, values }
}

/// Numbers, with the greatest that is read.
macro_rules! numbers {
    ($($name:ident: $most:expr,)*) => {$(
        impl Form for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(input: &mut &str) -> Option<Self> {
                u64::read(input).filter(|number| *number <= $most).map($name)
            }
        }
    )*};
}

numbers! {
    Incarnation: u64::MAX,
    HistoryId: u64::MAX,
    RequestId: u64::MAX,
    OperationNumber: COUNT_MAX,
    RequestNumber: COUNT_MAX,
}

impl Form for Epoch {
    fn write(&self, out: &mut Vec<u8>) {
        (self.0, self.1).write(out);
    }

    fn read(input: &mut &str) -> Option<Self> {
        let (counter, author) = Form::read(input)?;
        (counter <= COUNT_MAX).then_some(Epoch(counter, author))
    }
}

impl Form for SessionId {
    fn write(&self, out: &mut Vec<u8>) {
        (self.0, self.1).write(out);
    }

    fn read(input: &mut &str) -> Option<Self> {
        Form::read(input).map(|(epoch, number)| SessionId(epoch, number))
    }
}

impl<T: Form, U: Form> Form for (T, U) {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, "[");
        self.0.write(out);
        text(out, ",");
        self.1.write(out);
        text(out, "]");
    }

    fn read(input: &mut &str) -> Option<Self> {
        skip(input, "[")?;
        let one = T::read(input)?;
        skip(input, ",")?;
        let other = U::read(input)?;
        skip(input, "]")?;
        Some((one, other))
    }
}

impl<T: Form> Form for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, "[");
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                text(out, ",");
            }
            value.write(out);
        }
        text(out, "]");
    }

    fn read(input: &mut &str) -> Option<Self> {
        skip(input, "[")?;
        let mut values = Vec::new();
        if skip(input, "]").is_some() {
            return Some(values);
        }
        loop {
            values.push(T::read(input)?);
            if skip(input, ",").is_none() {
                skip(input, "]")?;
                return Some(values);
            }
        }
    }
}

impl Form for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        by_serde(self, out);
    }

    fn read(input: &mut &str) -> Option<Self> {
        let bytes = input.as_bytes();
        let mut number = u64::from(bytes.first()?.checked_sub(b'0').filter(|digit| *digit < 10)?);
        let mut length = 1;
        // JSON has no zeros before a number.
        while number > 0
            && let Some(digit) = bytes.get(length).and_then(|byte| byte.checked_sub(b'0'))
            && digit < 10
        {
            number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
            length += 1;
        }
        *input = &input[length..];
        Some(number)
    }
}

impl Form for bool {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, if *self { "true" } else { "false" });
    }

    fn read(input: &mut &str) -> Option<Self> {
        let value = skip(input, "true").is_some();
        if !value {
            skip(input, "false")?;
        }
        Some(value)
    }
}

impl Form for Key {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(&self.0, out);
    }

    fn read(input: &mut &str) -> Option<Self> {
        read_text(input).map(|text| Key(SmolStr::new(text)))
    }
}

impl Form for Value {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(&self.0, out);
    }

    fn read(input: &mut &str) -> Option<Self> {
        read_text(input).map(|text| Value(ArcStr::from(text)))
    }
}

impl Tagged for Replicate {
    fn write_fields(&self, out: &mut Vec<u8>) {
        text(out, "\"link\":");
        self.link.write(out);
        text(out, ",\"first\":");
        self.first.write(out);
        if !self.operations.is_empty() {
            text(out, ",\"operations\":");
            self.operations.write(out);
        }
        text(out, ",\"barrier\":");
        self.barrier.write(out);
        text(out, ",\"flip\":");
        self.flip.write(out);
        text(out, "}");
    }

    fn read_fields(input: &mut &str) -> Option<Self> {
        skip(input, "\"link\":")?;
        let link = Form::read(input)?;
        skip(input, ",\"first\":")?;
        let first = Form::read(input)?;
        let operations = match skip(input, ",\"operations\":") {
            Some(()) => Form::read(input)?,
            None => Vec::new(),
        };
        skip(input, ",\"barrier\":")?;
        let barrier = Form::read(input)?;
        skip(input, ",\"flip\":")?;
        let flip = Form::read(input)?;
        skip(input, "}")?;
        Some(Replicate { link, first, operations, barrier, flip })
    }
}

impl Form for Operation {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Operation::Write { origin: Some(origin), command } => {
                text(out, "{\"write\":{\"origin\":");
                origin.write(out);
                text(out, ",\"command\":");
                command.write(out);
                text(out, "}}");
            }
            Operation::Write { origin: None, .. } | Operation::Open { .. } => by_serde(self, out),
        }
    }

    fn read(input: &mut &str) -> Option<Self> {
        skip(input, "{\"write\":{\"origin\":")?;
        let origin = Some(Form::read(input)?);
        skip(input, ",\"command\":")?;
        let command = Form::read(input)?;
        skip(input, "}}")?;
        Some(Operation::Write { origin, command })
    }
}

impl Form for Command {
    fn write(&self, out: &mut Vec<u8>) {
        let (name, key, value) = match self {
            Command::Put { key, value } => ("{\"put\":{\"key\":", key, value),
            Command::Append { key, value } => ("{\"append\":{\"key\":", key, value),
            Command::Remove { .. }
            | Command::Cas(_)
            | Command::Incr { .. }
            | Command::Mput { .. }
            | Command::Refused => return by_serde(self, out),
        };
        text(out, name);
        key.write(out);
        text(out, ",\"value\":");
        value.write(out);
        text(out, "}}");
    }

    fn read(input: &mut &str) -> Option<Self> {
        let is_put = skip(input, "{\"put\":{\"key\":").is_some();
        if !is_put {
            skip(input, "{\"append\":{\"key\":")?;
        }
        let key = Form::read(input)?;
        skip(input, ",\"value\":")?;
        let value = Form::read(input)?;
        skip(input, "}}")?;
        Some(if is_put { Command::Put { key, value } } else { Command::Append { key, value } })
    }
}

impl Form for Ask {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Ask::Write { origin, command } => {
                text(out, "{\"write\":{\"origin\":");
                origin.write(out);
                text(out, ",\"command\":");
                command.write(out);
                text(out, "}}");
            }
            Ask::Get { key, after, page: None } => {
                text(out, "{\"get\":{\"key\":");
                key.write(out);
                if let Some(after) = after {
                    text(out, ",\"after\":");
                    after.write(out);
                }
                text(out, "}}");
            }
            Ask::Get { page: Some(_), .. }
            | Ask::Open { .. }
            | Ask::Len { .. }
            | Ask::Keys { .. }
            | Ask::Mget { .. }
            | Ask::Snapshot { .. } => by_serde(self, out),
        }
    }

    fn read(input: &mut &str) -> Option<Self> {
        let ask = if skip(input, "{\"write\":{\"origin\":").is_some() {
            let origin = Form::read(input)?;
            skip(input, ",\"command\":")?;
            Ask::Write { origin, command: Form::read(input)? }
        } else {
            skip(input, "{\"get\":{\"key\":")?;
            let key = Form::read(input)?;
            let after = match skip(input, ",\"after\":") {
                Some(()) => Some(Form::read(input)?),
                None => None,
            };
            Ask::Get { key, after, page: None }
        };
        skip(input, "}}")?;
        Some(ask)
    }
}

impl Form for Outcome {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Outcome::Done => text(out, "\"done\""),
            Outcome::Missing => text(out, "\"missing\""),
            Outcome::Page(page) => {
                text(out, "{\"page\":");
                page.write(out);
                text(out, "}");
            }
            Outcome::Opened(_)
            | Outcome::Number(_)
            | Outcome::Mismatch(_)
            | Outcome::NotANumber
            | Outcome::Overflow
            | Outcome::OutOfMemory
            | Outcome::Length(_)
            | Outcome::Keys(_)
            | Outcome::Pages(_)
            | Outcome::Snapshot(_)
            | Outcome::SnapshotRefused(_)
            | Outcome::GenerationChanged
            | Outcome::SessionExpired
            | Outcome::NotPrimary(_)
            | Outcome::Busy => by_serde(self, out),
        }
    }

    fn read(input: &mut &str) -> Option<Self> {
        if skip(input, "\"done\"").is_some() {
            return Some(Outcome::Done);
        }
        if skip(input, "\"missing\"").is_some() {
            return Some(Outcome::Missing);
        }
        skip(input, "{\"page\":")?;
        let page = Form::read(input)?;
        skip(input, "}")?;
        Some(Outcome::Page(page))
    }
}

impl Form for Item {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Item::List { key, generation, start, values } => {
                text(out, "{\"list\":{\"key\":");
                key.write(out);
                text(out, ",\"generation\":");
                generation.write(out);
                text(out, ",\"start\":");
                start.write(out);
                text(out, ",\"values\":");
                values.write(out);
                text(out, "}}");
            }
            Item::Gone { .. } | Item::Session(_) | Item::SessionGone(_) | Item::End { .. } => {
                by_serde(self, out);
            }
        }
    }

    fn read(input: &mut &str) -> Option<Self> {
        skip(input, "{\"list\":{\"key\":")?;
        let key = Form::read(input)?;
        skip(input, ",\"generation\":")?;
        let generation = Form::read(input)?;
        skip(input, ",\"start\":")?;
        let start = Form::read(input)?;
        skip(input, ",\"values\":")?;
        let values = Form::read(input)?;
        skip(input, "}}")?;
        Some(Item::List { key, generation, start, values })
    }
}

fn by_serde(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("as in `encode`");
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn skip(input: &mut &str, text: &str) -> Option<()> {
    *input = input.strip_prefix(text)?;
    Some(())
}

/// What JSON cannot have in a text as it is.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes come before the first special one. Compilers make wide comparisons of the blocks.
fn plain_bytes(bytes: &[u8]) -> usize {
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |any, byte| any | is_special(*byte));
    let blocks = 16 * bytes.chunks_exact(16).take_while(is_plain).count();
    blocks + bytes[blocks..].iter().take_while(|byte| !is_special(**byte)).count()
}

fn write_text(value: &str, out: &mut Vec<u8>) {
    if plain_bytes(value.as_bytes()) < value.len() {
        return by_serde(&value, out);
    }
    text(out, "\"");
    text(out, value);
    text(out, "\"");
}

fn read_text<'a>(input: &mut &'a str) -> Option<&'a str> {
    skip(input, "\"")?;
    let (text, rest) = input.split_at_checked(plain_bytes(input.as_bytes()))?;
    *input = rest.strip_prefix('"')?;
    Some(text)
}

#[cfg(test)]
mod tests;
