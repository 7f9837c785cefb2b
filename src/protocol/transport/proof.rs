//! Whether somebody receives at the address that a datagram claims to come from.
//!
//! Anybody can write any source address on a datagram. A server that believes it can be used to
//! flood somebody else, and executes what nobody asked for. So a server that has no better proof (a
//! key) takes nothing from an address outside its own machine before a datagram from there has
//! repeated a *token*, a number that only whoever receives at that address can know: a keyed hash
//! of the address. The secret is drawn when the process starts; nothing is remembered for anybody.
//!
//! ```text
//! client                                                  server
//!   {"type":"pbkv","sum":S} ...                 ------->  not proven: dropped
//!   {"type":"retry","token":T,"of":S}           <-------  never larger than what it answers
//!   {"type":"pbkv","sum":..}
//!   {"type":"proof","token":T} ...              ------->  taken, and everything after it
//!
//!   {"type":"get_view","pad":"at least so long"} ------>  (the plain form: pad what is too short)
//!   {"type":"retry","token":T}                  <-------
//!   {"type":"get_view","token":T}               ------->
//! ```
//!
//! Kept here: what is sent to an address that is not proven is one datagram for each that came from
//! there, and not larger; a `retry` is never answered. A token is learned only from a `retry` that
//! names a datagram which was really sent to that address, so nobody else can make this process
//! forget the right one. Loopback is proven: the system takes no such source from outside.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What the tokens of one process are made with.
#[derive(Clone, Copy)]
pub struct Secret(pub [u64; 2]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Tokens are below this: a JSON number that every language reads exactly.
const TOKEN_BITS: u32 = 52;

/// Addresses whose token is known, and addresses to which something was sent lately, at most. One
/// that is forgotten costs one more round trip.
const ADDRESSES_MAX: usize = 1024;

/// Datagrams to one address that a `retry` may name: as many as may be under way.
const RECENT_MAX: usize = 64;

/// What a proof takes at the beginning of a datagram, at most, with its newline.
pub(super) const PROOF_BYTES: usize = 48;

impl Secret {
    /// The token of this address.
    #[must_use]
    pub fn token(self, of: SocketAddr) -> u64 {
        let Secret([first, second]) = self;
        let (high, low) = match of.ip() {
            IpAddr::V4(ip) => (0, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                ((bits >> 64) as u64, bits as u64)
            }
        };
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&high.to_le_bytes());
        bytes[8..16].copy_from_slice(&low.to_le_bytes());
        bytes[16..].copy_from_slice(&of.port().to_le_bytes());
        sip_hash(first, second, &bytes) >> (64 - TOKEN_BITS)
    }
}

/// SipHash-2-4, which nobody can compute or predict without the key.
#[expect(deprecated, reason = "deprecated for maps only; no other keyed hash is in std")]
fn sip_hash(first: u64, second: u64, bytes: &[u8]) -> u64 {
    use std::hash::{Hasher, SipHasher};
    let mut hasher = SipHasher::new_with_keys(first, second);
    hasher.write(bytes);
    hasher.finish()
}

/// Asks whoever sent a datagram to show that it receives at the address it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Retry {
    /// To be repeated.
    pub token: u64,
    /// The checksum in the header of the datagram that is answered, if it had one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
}

/// Puts the tags before the fields.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Retry(Retry),
    Proof { token: u64 },
}

fn encode(line: &Line, out: &mut Vec<u8>) {
    serde_json::to_writer(out, line).expect("numbers, and a vector takes every byte");
}

/// Appends the line, without a newline.
pub(super) fn encode_retry(retry: Retry, out: &mut Vec<u8>) {
    encode(&Line::Retry(retry), out);
}

/// The token that the first line of a datagram carries, whatever its type is.
pub(super) fn token_in(lines: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Carries {
        token: Option<u64>,
    }
    let end = lines.iter().position(|byte| *byte == b'\n').unwrap_or(lines.len());
    // An array would be taken for the fields of the struct.
    let line = lines[..end].trim_ascii();
    line.starts_with(b"{").then(|| serde_json::from_slice::<Carries>(line).ok()?.token)?
}

/// The `retry` that a datagram is, if it is one: that stands alone, without a header.
pub(super) fn retry_in(datagram: &[u8]) -> Option<Retry> {
    const BEGINNING: &[u8] = b"{\"type\":\"retry\"";
    datagram.starts_with(BEGINNING).then(|| serde_json::from_slice(datagram.trim_ascii()).ok())?
}

/// What the other end wants to see, for every address that has asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs {
    tokens: BTreeMap<SocketAddr, u64>,
    /// Checksums of the datagrams that were sent last.
    recent: BTreeMap<SocketAddr, VecDeque<u64>>,
}

impl Proofs {
    /// Appends the proof for this address, with its newline, if it wants one.
    pub(super) fn write(&self, to: SocketAddr, out: &mut Vec<u8>) {
        if let Some(token) = self.tokens.get(&to) {
            encode(&Line::Proof { token: *token }, out);
            out.push(b'\n');
        }
    }

    /// Addresses of which anything is remembered.
    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.tokens.len().max(self.recent.len())
    }

    /// A datagram leaves.
    pub(super) fn note(&mut self, to: SocketAddr, sum: u64) {
        if to.ip().is_loopback() {
            return;
        }
        if self.recent.len() >= ADDRESSES_MAX && !self.recent.contains_key(&to) {
            self.recent.clear();
        }
        let recent = self.recent.entry(to).or_default();
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(sum);
    }

    /// Takes a `retry`. Returns whether its token is new.
    pub(super) fn learn(&mut self, from: SocketAddr, retry: Retry) -> bool {
        let was_sent = retry
            .of
            .is_some_and(|of| self.recent.get(&from).is_some_and(|recent| recent.contains(&of)));
        if !was_sent || retry.token >> TOKEN_BITS != 0 {
            return false;
        }
        if self.tokens.len() >= ADDRESSES_MAX && !self.tokens.contains_key(&from) {
            self.tokens.clear();
        }
        self.tokens.insert(from, retry.token) != Some(retry.token)
    }
}
