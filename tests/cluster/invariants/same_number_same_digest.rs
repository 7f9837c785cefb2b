//! same-number-same-digest (I11): eligible copies that have applied the same number of operations
//! are the same, store and sessions, at whatever times they get there.

use pbkv::protocol::view::Record;

use crate::invariants::Violation;
use crate::observe::Seen;

#[derive(Default)]
pub struct SameNumberSameDigest {
    /// By operation number: the digest, and the server that showed it first.
    digests: Vec<Option<(u64, usize)>>,
}

impl SameNumberSameDigest {
    pub fn on_turn(
        &mut self,
        server: usize,
        seen: &Seen,
        truth: Option<&Record>,
    ) -> Result<(), Violation> {
        let Some(truth) = truth.filter(|truth| truth.is_eligible(seen.incarnation)) else {
            return Ok(());
        };
        // Until it hears that a history begins anew, a server may hold a copy of the last one.
        if truth.view.genesis && seen.adopted != Some(truth.stamp()) {
            return Ok(());
        }
        let Some((applied, digest_now)) = seen.copy else { return Ok(()) };
        let number = usize::try_from(applied.0).expect("a short run");
        if self.digests.len() <= number {
            self.digests.resize(number + 1, None);
        }
        let (digest, first) = *self.digests[number].get_or_insert((digest_now, server));
        if digest == digest_now {
            return Ok(());
        }
        let detail = format!(
            "at operation {number} s{first} had {digest:016x} and s{server} has {digest_now:016x}"
        );
        Err(Violation::new("same-number-same-digest", detail))
    }
}
