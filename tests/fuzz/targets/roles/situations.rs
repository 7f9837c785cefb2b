//! States that processes get into by themselves, each brought about by real messages, once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use pbkv::kv::command::{Command, Key, Value};
use pbkv::protocol::client::Action;
use pbkv::protocol::view::Phase;

use super::world::{CLIENT, SERVERS, VIEW, World};

/// What a run begins with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Situation {
    /// All have just been started.
    Fresh,
    /// A primary, a backup, a spare, and no data.
    Empty,
    /// A primary alone, with data; nobody else runs.
    Solo,
    /// A primary with data, and a joiner that has a part of it.
    Joining,
    /// A primary, a backup and a spare, with data and an open session.
    Synced,
    /// As `Synced`; operations and a read wait for the backup, whose messages are lost.
    Pending,
    /// As `Synced`; the primary has died, and its successor has heard of it and may not serve yet.
    Proposed,
    /// As `Synced`; the backup was promoted, and the spare joins it.
    Promoted,
    /// As `Synced`; the view server has lost its record and has just been started.
    Recovering,
    /// As `Synced`; the client is in the middle of a list of many pages.
    Reading,
    /// As `Synced`; somebody reads a snapshot, and keys change meanwhile.
    Dumping,
    /// As `Synced`; nobody runs but the backup and the spare.
    Headless,
}

impl Situation {
    pub const ALL: &[Situation] = &[
        Situation::Fresh,
        Situation::Empty,
        Situation::Solo,
        Situation::Joining,
        Situation::Synced,
        Situation::Pending,
        Situation::Proposed,
        Situation::Promoted,
        Situation::Recovering,
        Situation::Reading,
        Situation::Dumping,
        Situation::Headless,
    ];
}

thread_local! {
    static MADE: RefCell<BTreeMap<Situation, World>> = const { RefCell::new(BTreeMap::new()) };
}

impl World {
    /// A copy of the world in this situation.
    pub fn of(situation: Situation) -> World {
        let made = MADE.with_borrow(|made| made.get(&situation).cloned());
        made.unwrap_or_else(|| {
            let world = make(situation);
            MADE.with_borrow_mut(|made| made.insert(situation, world.clone()));
            world
        })
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        let end = self.now + Duration::from_secs(10);
        assert!(self.settle_until(end, is_so), "the situation comes about: {what}");
    }

    /// So many puts and appends, each executed.
    fn fill(&mut self, count: usize) {
        for number in 0..count {
            let key = Key::from(format!("key{:02}", number / 3).as_str());
            let value = Value::from("x".repeat(150).as_str());
            let done = self.ask_client(Action::Write(Command::Append { key, value }));
            assert!(done.is_ok(), "{done:?}");
        }
    }

    fn is_phase(&self, phase: Phase, has_backup: bool, has_joining: bool) -> bool {
        self.view_server().and_then(|it| it.record()).is_some_and(|record| {
            record.phase == phase
                && record.view.backup.is_some() == has_backup
                && record.view.joining.is_some() == has_joining
        })
    }

    /// Index of the server that serves.
    pub fn primary(&self) -> Option<usize> {
        SERVERS
            .into_iter()
            .find(|node| self.server(*node).is_some_and(|it| it.inspect().is_serving))
    }

    fn backup(&self) -> Option<usize> {
        let record = self.view_server()?.record()?;
        let backup = record.view.backup.as_ref()?.incarnation;
        SERVERS
            .into_iter()
            .find(|node| self.server(*node).is_some_and(|server| server.incarnation() == backup))
    }
}

fn make(situation: Situation) -> World {
    match situation {
        Situation::Fresh => {
            let mut world = World::new();
            for node in VIEW..=CLIENT {
                world.start(node);
            }
            world
        }
        Situation::Empty => {
            let mut world = World::of(Situation::Fresh);
            world.until("a pair", |world| world.is_phase(Phase::Active, true, false));
            world.settle(Duration::from_millis(300));
            world
        }
        Situation::Solo => {
            let mut world = World::new();
            for node in [VIEW, 1, CLIENT] {
                world.start(node);
            }
            world.until("a primary", |world| world.primary().is_some());
            world.fill(24);
            world
        }
        Situation::Joining => {
            let mut world = World::of(Situation::Solo);
            world.start(2);
            world.until("a joiner", |world| world.is_phase(Phase::Active, false, true));
            world.until("a part of the state", |world| {
                let joins = world.server(2).is_some_and(|it| it.inspect().replica.is_none());
                joins && world.sent_transfers() > 2
            });
            world
        }
        Situation::Synced => {
            let mut world = World::of(Situation::Empty);
            world.fill(18);
            world
        }
        Situation::Pending => {
            let mut world = World::of(Situation::Synced);
            let backup = world.backup().expect("a backup");
            for number in 0..3 {
                let value = Value::from("pending");
                world.act(Action::Write(Command::Append { key: Key::from("p"), value }));
                world.act(Action::Get(Key::from(format!("key0{number}").as_str())));
            }
            for _ in 0..20 {
                world.lose_to(backup);
                world.settle(Duration::from_millis(2));
            }
            world
        }
        Situation::Proposed => {
            let mut world = World::of(Situation::Synced);
            let primary = world.primary().expect("a primary");
            world.kill(primary);
            world.until("a proposal", |world| {
                world.view_server().and_then(|it| it.record()).is_some_and(|record| {
                    let successor = record.view.primary.incarnation;
                    record.phase == Phase::Proposed
                        && SERVERS.filter_map(|node| world.server(node)).any(|it| {
                            let adopted = it.inspect().record.map(|record| record.view.id);
                            it.incarnation() == successor && adopted == Some(record.view.id)
                        })
                })
            });
            world
        }
        Situation::Promoted => {
            let mut world = World::of(Situation::Proposed);
            world.until("a joiner", |world| world.is_phase(Phase::Active, false, true));
            world
        }
        Situation::Recovering => {
            let mut world = World::of(Situation::Synced);
            world.lose_record();
            world.start(VIEW);
            world.settle(Duration::from_millis(120));
            world
        }
        Situation::Reading => {
            let mut world = World::of(Situation::Synced);
            for number in 0..12 {
                let value = Value::from(format!("{number}").repeat(200).as_str());
                let key = Key::from("long");
                let done = world.ask_client(Action::Write(Command::Append { key, value }));
                assert!(done.is_ok(), "{done:?}");
            }
            world.act(Action::Get(Key::from("long")));
            world.settle(Duration::from_micros(600));
            world
        }
        Situation::Dumping => {
            let mut world = World::of(Situation::Synced);
            let page = world.ask_client(Action::Snapshot(None));
            assert!(page.is_ok(), "{page:?}");
            for key in ["key00", "key05"] {
                world.act(Action::Write(Command::Remove { key: Key::from(key) }));
            }
            world.settle(Duration::from_millis(1));
            world
        }
        Situation::Headless => {
            let mut world = World::of(Situation::Synced);
            let primary = world.primary().expect("a primary");
            world.kill(primary);
            world.kill(VIEW);
            world.settle(Duration::from_millis(400));
            world
        }
    }
}
