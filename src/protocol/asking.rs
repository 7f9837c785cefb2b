//! Asks servers about themselves: the pure core behind `client watch`.
//!
//! Kept here: nothing is remembered of a server between two questions. Each question is repeated
//! until it is answered or given up, and an answer counts only from where it was asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::message::Message;
use super::status::{Status, StatusRequest};
use super::{Effect, Outbox, Process};
use crate::time::{Timestamp, earlier};
use crate::types::{CallId, Incarnation, RequestId};

/// Between two sendings of a question.
const PATIENCE: Duration = Duration::from_millis(80);

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Who is asked.
    pub whom: SocketAddr,
    /// When to give up.
    pub within: Duration,
}

/// What it says, and the round-trip time, if it was sent only once.
pub type Answer = Option<(Status, Option<Duration>)>;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Open {
    call: CallId,
    whom: SocketAddr,
    sent: Timestamp,
    sendings: u32,
    due: Timestamp,
    until: Timestamp,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asking {
    client: Incarnation,
    last: u64,
    open: BTreeMap<RequestId, Open>,
}

impl Asking {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: Incarnation) -> Self {
        Asking { client, last: 0, open: BTreeMap::new() }
    }

    fn transmit(&mut self, now: Timestamp, id: RequestId, outbox: &mut Outbox<Answer>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        (open.sent, open.due) = (now, now + PATIENCE);
        open.sendings += 1;
        let request = StatusRequest::new(self.client, id);
        outbox.send(open.whom, Message::StatusRequest(request));
    }
}

impl Process for Asking {
    type Command = Question;
    type Answer = Answer;

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Outbox<Answer>,
    ) {
        if let Message::StatusReply(reply) = message
            && reply.client == self.client
            && self.open.get(&reply.id).is_some_and(|open| open.whom == from)
            && let Some(open) = self.open.remove(&reply.id)
        {
            let round_trip = (open.sendings == 1).then(|| now.since(open.sent));
            outbox.push(Effect::Answer(open.call, Some((reply.status, round_trip))));
        }
    }

    fn handle_command(
        &mut self,
        now: Timestamp,
        call: CallId,
        question: Question,
        outbox: &mut Outbox<Answer>,
    ) {
        self.last += 1;
        let id = RequestId(self.last);
        let Question { whom, within } = question;
        let open = Open { call, whom, sent: now, sendings: 0, due: now, until: now + within };
        self.open.insert(id, open);
        self.transmit(now, id, outbox);
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        let over: Vec<RequestId> =
            self.open.iter().filter(|(_, open)| open.until <= now).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(open) = self.open.remove(&id) {
                outbox.push(Effect::Answer(open.call, None));
            }
        }
        let due: Vec<RequestId> =
            self.open.iter().filter(|(_, open)| open.due <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.transmit(now, id, outbox);
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.open
            .values()
            .map(|open| open.due.min(open.until))
            .fold(None, |first, next| earlier(first, Some(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::status::{CopyStatus, StatusReply};
    use crate::types::{OperationNumber, ServerId};

    const MS: Duration = Duration::from_millis(1);

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn reply(id: u64) -> Message {
        let status = CopyStatus {
            id: ServerId::from("s1"),
            incarnation: Incarnation(7),
            role: "spare".to_owned(),
            view: 0,
            peer: None,
            synced: false,
            keys: 0,
            operations: OperationNumber(0),
            load: None,
        };
        let status = Status::Server(Box::new(status));
        Message::StatusReply(
            StatusReply { client: Incarnation(1), id: RequestId(id), status }.into(),
        )
    }

    #[test]
    fn a_question_is_repeated_until_it_is_answered_from_where_it_was_asked() {
        let (mut asking, mut outbox) = (Asking::new(Incarnation(1)), Outbox::default());
        let whom = at("127.0.0.1:1");
        let start = Timestamp(1_000_000_000);
        let question = Question { whom, within: 200 * MS };
        asking.handle_command(start, CallId(1), question, &mut outbox);
        assert_eq!(outbox.drain().count(), 1);
        asking.handle_message(start + MS, at("127.0.0.1:2"), reply(1), &mut outbox);
        asking.handle_message(start + MS, whom, reply(2), &mut outbox);
        assert!(outbox.is_empty());
        assert_eq!(asking.poll_timeout(), Some(start + PATIENCE));
        asking.handle_timeout(start + PATIENCE, &mut outbox);
        assert_eq!(outbox.drain().count(), 1);
        asking.handle_message(start + 90 * MS, whom, reply(1), &mut outbox);
        let answers: Vec<_> = outbox.drain().collect();
        // Which of the two was answered is not known.
        assert!(matches!(answers[..], [Effect::Answer(CallId(1), Some((_, None)))]), "{answers:?}");
        assert_eq!(asking.poll_timeout(), None);
    }

    #[test]
    fn a_question_is_given_up_in_time_and_a_round_trip_is_measured() {
        let (mut asking, mut outbox) = (Asking::new(Incarnation(1)), Outbox::default());
        let whom = at("127.0.0.1:1");
        let start = Timestamp(1_000_000_000);
        asking.handle_command(start, CallId(1), Question { whom, within: 50 * MS }, &mut outbox);
        asking.handle_timeout(start + 50 * MS, &mut outbox);
        assert_eq!(outbox.drain().next_back(), Some(Effect::Answer(CallId(1), None)));
        asking.handle_command(start, CallId(2), Question { whom, within: 50 * MS }, &mut outbox);
        asking.handle_message(start + 3 * MS, whom, reply(2), &mut outbox);
        let last = outbox.drain().next_back();
        assert!(
            matches!(&last, Some(Effect::Answer(_, Some((_, Some(time))))) if *time == 3 * MS),
            "{last:?}"
        );
    }
}
