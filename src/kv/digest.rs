//! Hashes from which the digest of a copy is made.
//!
//! The digest is a *function of state*: a sum over all entries and sessions, so that it can be kept
//! up to date by subtracting what an operation changes and adding what it becomes, and so that two
//! copies which reached the same state on different ways (one by transfer) agree. It protects
//! against mistakes and damage, not against somebody who looks for collisions.

use twox_hash::XxHash3_64;

/// Hash of a text, chained onto `before`: lists are hashed element by element.
#[must_use]
pub fn text(before: u64, text: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(before, text.as_bytes())
}

/// Hash of a few numbers in order.
#[must_use]
pub fn numbers<const N: usize>(numbers: [u64; N]) -> u64 {
    let mut hash = 0x5851_f42d_4c95_7f2d_u64 ^ N as u64;
    for number in numbers {
        // splitmix64's finaliser: every bit of the input reaches every bit of the output.
        hash = hash.wrapping_add(number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    hash
}
