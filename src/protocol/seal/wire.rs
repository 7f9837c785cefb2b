//! The form of a sealed datagram, and the derivation of the key that seals it.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | form: hello, welcome or data; none of them can begin JSON, or any UTF-8 |
//! | 1 | role of the sender |
//! | 4 | which key |
//! | 16 | seal id of the sender |
//! | 16 | seal id of the receiver; zeros in a hello |
//! | 8 | counter of the sender, big-endian |
//! | .. | sealed: for a hello [`HELLO_BODY`], for a welcome [`WELCOME_BODY`], else [`MARKS`] and the clear datagram |
//! | 16 | tag |

use std::net::SocketAddr;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest;
use ring::hkdf::Prk;

use super::Role;
use super::keys::KeyId;

/// Bytes before what is sealed.
pub(super) const HEADER: usize = 46;
/// Bytes after it.
pub(super) const TAG: usize = 16;
/// Two [`Mark`]s before each clear datagram: where the receiver sees the sender, and where the
/// sender sees the receiver.
pub(super) const MARKS: usize = 16;
/// A hello holds the mark of where it goes to, and is as long as its answer.
pub(super) const HELLO_BODY: usize = WELCOME_BODY;
/// A welcome holds the counter of what it answers, the mark of where that came from, and the mark
/// of where its sender sent it.
pub(super) const WELCOME_BODY: usize = 24;
/// The whole of a welcome. Nothing shorter is answered with one.
pub(super) const WELCOME: usize = HEADER + WELCOME_BODY + TAG;

/// What sealing adds to a datagram.
pub const OVERHEAD: usize = HEADER + MARKS + TAG;

/// What a sealed datagram is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Asks for the receiver's seal id. Carries nothing for the process.
    Hello = 0xB1,
    /// Tells it.
    Welcome = 0xB2,
    /// Holds a clear datagram.
    Data = 0xB3,
}

/// Whether this is the first byte of a sealed datagram.
#[must_use]
pub fn is_sealed(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0xB1..=0xB3))
}

/// A random number that stands for one process, for as long as it remembers what it has received.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SealId(pub [u8; 16]);

/// In place of the receiver's, where it is not known.
pub(super) const NOBODY: SealId = SealId([0; 16]);

/// An address as it stands in a sealed datagram: 8 bytes that no other address has in practice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(pub [u8; 8]);

impl Mark {
    pub(super) fn of(address: SocketAddr) -> Mark {
        let mut bytes = [0; 18];
        let ip = match address {
            SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped(),
            SocketAddr::V6(v6) => *v6.ip(),
        };
        bytes[..16].copy_from_slice(&ip.octets());
        bytes[16..].copy_from_slice(&address.port().to_be_bytes());
        let hash = digest::digest(&digest::SHA256, &bytes);
        Mark(array(hash.as_ref()))
    }
}

/// The first bytes of a slice that is long enough.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// What stands before the sealed part. Nothing in it is to be believed before that is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) form: Form,
    pub(super) role: Role,
    pub(super) key: KeyId,
    pub(super) from: SealId,
    pub(super) to: SealId,
    pub(super) counter: u64,
}

impl Header {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.form as u8, self.role as u8]);
        out.extend_from_slice(&self.key.0);
        out.extend_from_slice(&self.from.0);
        out.extend_from_slice(&self.to.0);
        out.extend_from_slice(&self.counter.to_be_bytes());
    }

    pub(super) fn decode(datagram: &[u8]) -> Option<Header> {
        if datagram.len() < HEADER + TAG {
            return None;
        }
        let form = match datagram[0] {
            0xB1 => Form::Hello,
            0xB2 => Form::Welcome,
            0xB3 => Form::Data,
            _ => return None,
        };
        let role = match datagram[1] {
            1 => Role::ViewServer,
            2 => Role::Server,
            3 => Role::Client,
            _ => return None,
        };
        Some(Header {
            form,
            role,
            key: KeyId(array(&datagram[2..])),
            from: SealId(array(&datagram[6..])),
            to: SealId(array(&datagram[22..])),
            counter: u64::from_be_bytes(array(&datagram[38..])),
        })
    }

    /// The key for everything that this sender seals in this form for this receiver. A hello goes
    /// to whoever is there, so that it names no role.
    pub(super) fn derive(&self, root: &Prk, receiver: Role) -> LessSafeKey {
        let receiver = if self.form == Form::Hello { 0 } else { receiver as u8 };
        let parties = [self.form as u8, self.role as u8, receiver];
        let words = [&b"datagrams"[..], &parties, &self.from.0, &self.to.0];
        let key = root.expand(&words, &AES_256_GCM).expect("a key is one block of the hash");
        LessSafeKey::new(UnboundKey::from(key))
    }

    /// A key belongs to one sender id, and a sender counts everything that it seals, with whatever
    /// key: no nonce comes twice under a key.
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Puts the header and the parts, sealed, into `out`.
    pub(super) fn seal(&self, key: &LessSafeKey, parts: &[&[u8]], out: &mut Vec<u8>) {
        out.clear();
        self.encode(out);
        for part in parts {
            out.extend_from_slice(part);
        }
        let (header, body) = out.split_at_mut(HEADER);
        let tag = key
            .seal_in_place_separate_tag(self.nonce(), Aad::from(&*header), body)
            .expect("a datagram is shorter than what one nonce can seal");
        out.extend_from_slice(tag.as_ref());
    }

    /// What is in the datagram that this is the header of; none if it is not authentic.
    pub(super) fn open<'a>(
        &self,
        key: &LessSafeKey,
        datagram: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (header, body) = datagram.split_at_mut(HEADER);
        key.open_in_place(self.nonce(), Aad::from(&*header), body).ok()
    }
}
