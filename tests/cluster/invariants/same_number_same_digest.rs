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
        if !truth.is_some_and(|truth| truth.is_eligible(seen.incarnation)) {
            return Ok(());
        }
        let Ok(number) = usize::try_from(seen.applied.0) else { return Ok(()) };
        if self.digests.len() <= number {
            self.digests.resize(number + 1, None);
        }
        let (digest, first) = *self.digests[number].get_or_insert((seen.digest, server));
        if digest == seen.digest {
            return Ok(());
        }
        let detail = format!(
            "at operation {number} s{first} had {digest:016x} and s{server} has {:016x}",
            seen.digest
        );
        Err(Violation::new("same-number-same-digest", detail))
    }
}
