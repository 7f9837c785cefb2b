//! The snapshot that a client reads page by page while the service goes on.
//!
//! Kept here: every page is of the store as it was when the reading began, which was proven like
//! any other read; there is at most one snapshot, what it takes is bounded, and one that nobody
//! reads is given up. It is volatile: another primary knows nothing of it.

use std::time::Duration;

use crate::config::Limits;
use crate::kv::command::Command;
use crate::kv::replica::Replica;
use crate::kv::snapshot::{Position, Snapshot};
use crate::protocol::message::{Outcome, SnapshotCursor, SnapshotPage, SnapshotRefusal};
use crate::time::Timestamp;
use crate::types::{Incarnation, RequestId, ViewId};

/// A reader that has not asked for so long has gone, if another one wants to read.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reader that has not asked for so long has gone in any case.
const IDLE: Duration = Duration::from_secs(30);

/// A reader that was given everything may ask for the last page again, but not for longer.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// So much of what was put aside is dropped at a time.
const DISCARDED_AT_ONCE: usize = 1_000;

/// What names a snapshot, together with its operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Opened {
    /// Who reads.
    pub client: Incarnation,
    /// The request that began it.
    pub open: RequestId,
    /// The view in which it began.
    pub view: ViewId,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Reading {
    opened: Opened,
    /// None once more was changed meanwhile than may be kept.
    snapshot: Option<Snapshot>,
    last_asked: Timestamp,
    /// The last page was given.
    is_over: bool,
}

impl Reading {
    fn page(
        &mut self,
        now: Timestamp,
        from: Option<&Position>,
        replica: &Replica,
        limits: &Limits,
    ) -> Outcome {
        let Some(snapshot) = &mut self.snapshot else {
            return Outcome::SnapshotRefused(SnapshotRefusal::TooMuchChanged);
        };
        self.last_asked = now;
        if snapshot.has_forgotten(from) {
            // An old copy of a request that was answered: nobody waits for this.
            return Outcome::SnapshotRefused(SnapshotRefusal::Gone);
        }
        if let Some(from) = from {
            snapshot.forget_before(from);
        }
        let at = snapshot.at();
        let (parts, next) = snapshot.read(replica.store(), from, limits.page_bytes);
        self.is_over = next.is_none();
        let Opened { open, view, .. } = self.opened;
        let next = next.map(|from| SnapshotCursor { open, view, at, from });
        Outcome::Snapshot(SnapshotPage { at, parts, next })
    }

    /// For how long the reader may rest before somebody else may read.
    fn patience(&self) -> Duration {
        if self.is_over { AFTERWARDS } else { PATIENCE }
    }
}

/// The place of a snapshot, which may be empty.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Snapshots {
    reading: Option<Box<Reading>>,
    /// What nobody reads any more, dropped bit by bit.
    discarded: Vec<Snapshot>,
}

impl Snapshots {
    /// Begins to read the state of now. A repeated request gets the first page of the same
    /// snapshot, as long as that is there: the client may go on from either answer.
    pub fn begin(
        &mut self,
        now: Timestamp,
        opened: Opened,
        replica: &Replica,
        limits: &Limits,
    ) -> Outcome {
        if let Some(reading) = &mut self.reading {
            let same = reading.opened;
            if (same.client, same.open) == (opened.client, opened.open) {
                return reading.page(now, None, replica, limits);
            }
            if same.client == opened.client && opened.open < same.open {
                // An old copy of a request: the client has begun another one since.
                return Outcome::SnapshotRefused(SnapshotRefusal::Gone);
            }
            let rests = now.since(reading.last_asked);
            if same.client != opened.client && rests < reading.patience() {
                return Outcome::SnapshotRefused(SnapshotRefusal::Taken);
            }
        }
        self.give_up();
        let snapshot = Some(Snapshot::begin(replica.applied()));
        let reading = Reading { opened, snapshot, last_asked: now, is_over: false };
        self.reading.insert(reading.into()).page(now, None, replica, limits)
    }

    /// A later page.
    pub fn go_on(
        &mut self,
        now: Timestamp,
        client: Incarnation,
        cursor: &SnapshotCursor,
        replica: &Replica,
        limits: &Limits,
    ) -> Outcome {
        let SnapshotCursor { open, view, at, ref from } = *cursor;
        let opened = Opened { client, open, view };
        let is_same = |reading: &&mut Box<Reading>| {
            let taken_at = reading.snapshot.as_ref().map_or(at, Snapshot::at);
            reading.opened == opened && taken_at == at
        };
        match self.reading.as_mut().filter(is_same) {
            Some(reading) => reading.page(now, Some(from), replica, limits),
            None => Outcome::SnapshotRefused(SnapshotRefusal::Gone),
        }
    }

    /// Whether anything is read, and [`Snapshots::before`] has to know what is executed.
    pub fn is_open(&self) -> bool {
        self.reading.is_some() || !self.discarded.is_empty()
    }

    /// A command is about to be executed.
    pub fn before(&mut self, command: &Command, replica: &Replica, limits: &Limits) {
        self.discard();
        if let Some(reading) = &mut self.reading
            && let Some(snapshot) = &mut reading.snapshot
        {
            snapshot.before(command, replica.store());
            if snapshot.bytes() > limits.snapshot_bytes {
                self.discarded.extend(reading.snapshot.take());
            }
        }
    }

    /// Bytes that are kept for the reader.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let snapshot = self.reading.as_ref().and_then(|reading| reading.snapshot.as_ref());
        snapshot.map_or(0, Snapshot::bytes)
    }

    fn give_up(&mut self) {
        self.discarded.extend(self.reading.take().and_then(|reading| reading.snapshot));
    }

    fn discard(&mut self) {
        self.discarded.pop_if(|snapshot| snapshot.discard(DISCARDED_AT_ONCE));
    }

    /// Gives up what nobody reads any more.
    pub fn on_timeout(&mut self, now: Timestamp) {
        self.discard();
        let has_gone = |reading: &Reading| {
            let longest = if reading.is_over { AFTERWARDS } else { IDLE };
            now.since(reading.last_asked) >= longest
        };
        if self.reading.as_deref().is_some_and(has_gone) {
            self.give_up();
        }
    }
}
