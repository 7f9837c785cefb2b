//! What must hold in every outbox of the view server.

use super::Bench;
use crate::protocol::view::{Phase, Record, Shown};
use crate::protocol::view_server::DurableRecord;

impl Bench {
    pub(super) fn check_shown(&self, shown: &Shown) {
        let Some(DurableRecord { record, .. }) = self.persisted.last() else {
            assert_eq!((&shown.primary, &shown.backup), (&None, &None));
            return;
        };
        if let Some(primary) = &shown.primary {
            assert_eq!(shown.view, record.view.id, "shown, but not durable (I13)");
            assert_eq!(primary, &record.view.primary);
            assert!(record.phase == Phase::Active || record.keeps_primary());
        }
        if let Some(backup) = &shown.backup {
            assert!(record.is_eligible(backup.incarnation));
            assert_eq!(Some(backup), record.view.backup.as_ref());
        }
    }

    pub(super) fn persist(&mut self, durable: DurableRecord) {
        let record = &durable.record;
        let known = self.contents.entry(record.view.id).or_insert_with(|| record.view.clone());
        assert_eq!(known, &record.view, "one content per view id");
        if let Some(DurableRecord { record: last, .. }) = self.persisted.last() {
            if record.stamp() == last.stamp() {
                let lease = last.lease;
                assert_eq!(&Record { lease, ..record.clone() }, last, "only lease or addresses");
            } else {
                assert!(record.stamp() > last.stamp(), "stamps rise (I5)");
                self.check_eligible(last, record);
            }
        }
        self.persisted.push(durable);
    }

    fn check_eligible(&self, last: &Record, record: &Record) {
        let view = &record.view;
        if view.genesis {
            return;
        }
        let primary = view.primary.incarnation;
        assert!(last.is_eligible(primary), "primary-comes-from-eligible (I6)");
        if record.phase == Phase::Proposed {
            assert_eq!(record.eligible, last.eligible, "a proposal changes nobody's standing");
            let wiped = view.backup.iter().chain(&view.joining);
            for member in wiped {
                assert!(!last.is_eligible(member.incarnation), "never wipe while eligible");
            }
        }
        for member in &record.eligible {
            let backup = view.backup.as_ref().map(|backup| backup.incarnation);
            assert!(
                last.is_eligible(member.incarnation) || backup == Some(member.incarnation),
                "grows only by a backup"
            );
        }
        let dead_after = self.timing.dead_after();
        // What is recovered was decided before; who reported it may be gone.
        let recovered = view.id.epoch != last.view.id.epoch;
        for lost in last.eligible.iter().filter(|lost| !record.is_eligible(lost.incarnation)) {
            // The operator drains it, or it hands over by itself: it has adopted the view that leaves
            // it out, and serves no more.
            let drained = self.view_server.is_drained(lost.incarnation);
            let agreed = drained
                || self.servers.values().any(|fake| {
                    fake.incarnation == lost.incarnation
                        && fake.record.as_ref().map(|known| known.view.id) == Some(view.id)
                });
            let before = self.answered.get(&lost.incarnation).map_or(0, |(nonce, _)| *nonce);
            assert!(
                record.eligible.iter().any(|member| {
                    let reported = self.servers.values().any(|fake| {
                        fake.incarnation == member.incarnation
                            && fake.says.iter().any(|(about, _)| *about == lost.incarnation)
                    });
                    let fresh = |nonce| reported || agreed || nonce > before;
                    self.answered.get(&member.incarnation).is_some_and(|(nonce, at)| {
                        recovered || self.now.since(*at) < dead_after && fresh(*nonce)
                    })
                }),
                "{lost} is left out, and nobody who stays has answered since"
            );
        }
    }
}
