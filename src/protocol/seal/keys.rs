//! Keys, and the text of a key file.
//!
//! ```text
//! # a line a key: a name, 64 hexadecimal digits, and what it is for
//! key-5be0cd19 1f83d9abfb41bd6b5be0cd19137e2179a54ff53a3c6ef372bb67ae856a09e667 cluster
//! ```
//!
//! Kept here: a secret is never shown, neither by `Debug` nor in an error. Which of several keys
//! seals is decided in [`Keyring::asking`]; every key opens.

use std::fmt;

use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use thiserror::Error;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;

/// Keys of one file, at most: each is tried whenever a peer is not known yet.
pub const KEYS_MAX: usize = 8;

/// What a line of a key file looks like.
const FORM: &str = "write NAME, a blank, and 64 hexadecimal digits, as `client keygen` prints them";

/// Tells keys apart on the wire without telling anything about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct KeyId(pub [u8; 4]);

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// Whoever holds it may be a server, a view server or a client.
    Cluster,
    /// Whoever holds it may be a client.
    Client,
}

impl KeyKind {
    /// How key files name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            KeyKind::Cluster => "cluster",
            KeyKind::Client => "client",
        }
    }
}

/// One key.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: KeyKind,
    pub(super) id: KeyId,
    /// What the keys of all datagrams are derived from.
    pub(super) root: Prk,
}

impl Key {
    fn new(name: &str, kind: KeyKind, secret: &[u8; SECRET_BYTES]) -> Key {
        // The kind is part of the derivation: the same digits as a key of another kind are
        // another key, so that no mistake in a file makes a server of a client.
        let salt = Salt::new(HKDF_SHA256, b"pbkv datagrams, version 1");
        let root = salt.extract(&[secret, kind.word().as_bytes()].concat());
        let mut id = [0; 4];
        expand(&root, &[b"name on the wire"], &mut id);
        Key { name: name.to_owned(), kind, id: KeyId(id), root }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.kind.word())
    }
}

/// Fills `out`, which has at most 32 bytes, with what follows from the key and the words.
pub(super) fn expand(root: &Prk, words: &[&[u8]], out: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    root.expand(words, Length(out.len()))
        .and_then(|bytes| bytes.fill(out))
        .expect("the length is one block of the hash at most");
}

/// The keys of one process.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// What is wrong with the text of a key file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum KeysError {
    /// No line of it is a key.
    #[error("there is no key in it; `client keygen` prints one")]
    Empty,
    /// A line is no key, or one that is there already.
    #[error("line {line}: {problem}; {remedy}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// More than [`KEYS_MAX`].
    #[error("there are more than {KEYS_MAX} keys in it; remove those that nobody seals with")]
    TooMany,
}

impl Keyring {
    /// Reads the text of a key file. Empty lines, and those that begin with `#`, mean nothing.
    ///
    /// # Errors
    /// When a line is not a key. The error names the line and the remedy, and shows no secret.
    pub fn parse(text: &str) -> Result<Keyring, KeysError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let complain = |problem: &str, remedy: &'static str| KeysError::Line {
                line: index + 1,
                problem: problem.to_owned(),
                remedy,
            };
            let (name, digits, kind) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [name, digits] => (name, digits, KeyKind::Cluster),
                [name, digits, "cluster"] => (name, digits, KeyKind::Cluster),
                [name, digits, "client"] => (name, digits, KeyKind::Client),
                [_, _, _] => {
                    return Err(complain(
                        "a key is for \"cluster\" or \"client\" and nothing else",
                        "write one of the two words, or none for a key of the cluster",
                    ));
                }
                [_] => return Err(complain("a name and a key are expected", FORM)),
                _ => return Err(complain("there are too many words", FORM)),
            };
            let secret = secret(digits).map_err(|problem| complain(&problem, FORM))?;
            let key = Key::new(name, kind, &secret);
            if keys.iter().any(|known| known.name == key.name) {
                return Err(complain(
                    &format!("the name \"{name}\" stands there twice"),
                    "give each key a name of its own",
                ));
            }
            if keys.iter().any(|known| known.id == key.id) {
                return Err(complain("this key stands there twice", "remove one of the two"));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err(KeysError::Empty),
            1..=KEYS_MAX => Ok(Keyring { keys }),
            _ => Err(KeysError::TooMany),
        }
    }

    /// Whether there is a key of this kind.
    #[must_use]
    pub fn has(&self, kind: KeyKind) -> bool {
        self.keys.iter().any(|key| key.kind == kind)
    }

    /// Names and kinds, in order, for the log.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(|key| format!("{key:?}")).collect();
        names.join(", ")
    }

    pub(super) fn get(&self, index: usize) -> &Key {
        &self.keys[index]
    }

    /// Which key a datagram names.
    pub(super) fn find(&self, id: KeyId) -> Option<usize> {
        self.keys.iter().position(|key| key.id == id)
    }

    /// The keys with which to ask somebody who is not known yet, the preferred one first. A server
    /// never speaks first to a client, so that nobody who only proves a client's key is ever taken
    /// for a server.
    pub(super) fn asking(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let kind = if self.has(KeyKind::Cluster) { KeyKind::Cluster } else { KeyKind::Client };
        let indexes: Vec<usize> =
            (0..self.keys.len()).filter(|index| self.keys[*index].kind == kind).collect();
        indexes.into_iter()
    }
}

fn secret(digits: &str) -> Result<[u8; SECRET_BYTES], String> {
    // What was typed in place of a key may well be a secret: it is not shown.
    if digits.len() != 2 * SECRET_BYTES {
        let length = digits.chars().count();
        return Err(format!("the key has {length} characters and not {}", 2 * SECRET_BYTES));
    }
    let mut secret = [0; SECRET_BYTES];
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        let value = digit(0).zip(digit(1)).map(|(high, low)| high * 16 + low);
        *byte = value
            .and_then(|value| u8::try_from(value).ok())
            .ok_or("the key has characters that are no hexadecimal digits")?;
    }
    if secret == [secret[0]; SECRET_BYTES] {
        return Err("the key is one digit pair repeated, which anybody guesses".to_owned());
    }
    Ok(secret)
}

/// The line of a key file for a secret that was just drawn. It gets a name that follows from it.
#[must_use]
pub fn key_line(kind: KeyKind, secret: &[u8; SECRET_BYTES]) -> String {
    let KeyId(id) = Key::new("", kind, secret).id;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("key-{} {} {}", hex(&id), hex(secret), kind.word())
}
