//! What a dump looks like: a JSON object a line.
//!
//! ```text
//! {"pbkv_dump":1,"id":"8c0ffee1d2a3b4c5","operation":1234}      what it is
//! {"key":"a","value":["1","2"]}                                 a key and its list, in key order
//! {"key":"a","more":["3"]}                                      the list goes on (long lists only)
//! {"end":true,"keys":1,"elements":3,"digest":"5f3c0de1a2b3c4d5"}  it is complete
//! ```
//!
//! Kept here: whatever is cut off, left out, put in or changed in between is noticed at the end at
//! the latest. The digest is xxh3-64 of all lines before the last one, with their line ends.

use std::hash::Hasher;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use twox_hash::XxHash3_64;

use crate::kv::command::{Key, Value};
use crate::kv::snapshot::Part;

/// The form that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    pbkv_dump: u32,
    /// Random digits that no other dump has.
    pub id: String,
    /// The last operation that is in it.
    pub operation: u64,
}

/// The last line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Trailer {
    end: bool,
    keys: u64,
    elements: u64,
    digest: String,
}

/// A line between them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Entry {
    key: Key,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    value: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    more: Option<Vec<Value>>,
}

/// How much was written or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Keys.
    pub keys: u64,
    /// Elements of all lists.
    pub elements: u64,
    /// Bytes of all lines.
    pub bytes: u64,
}

/// What both sides keep of the lines so far.
struct Ledger {
    hasher: XxHash3_64,
    totals: Totals,
}

impl Ledger {
    fn new() -> Ledger {
        Ledger { hasher: XxHash3_64::with_seed(0), totals: Totals::default() }
    }

    fn add(&mut self, line: &[u8]) {
        self.hasher.write(line);
        self.totals.bytes += line.len() as u64;
    }

    fn trailer(&self) -> Trailer {
        let Totals { keys, elements, .. } = self.totals;
        Trailer { end: true, keys, elements, digest: format!("{:016x}", self.hasher.finish()) }
    }
}

/// Writes a dump.
pub struct Writer<W: Write> {
    out: W,
    ledger: Ledger,
}

impl<W: Write> Writer<W> {
    /// Begins with the first line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(out: W, id: u64, operation: u64) -> std::io::Result<Writer<W>> {
        let mut writer = Writer { out, ledger: Ledger::new() };
        let id = format!("{id:016x}");
        writer.line(&Header { pbkv_dump: VERSION, id, operation })?;
        Ok(writer)
    }

    fn line(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.ledger.add(&line);
        self.out.write_all(&line)
    }

    /// A list, or what follows of the last one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn part(&mut self, part: Part) -> std::io::Result<()> {
        let Part { key, start, values } = part;
        self.ledger.totals.elements += values.len() as u64;
        if start > 0 {
            return self.line(&Entry { key, value: None, more: Some(values) });
        }
        self.ledger.totals.keys += 1;
        self.line(&Entry { key, value: Some(values), more: None })
    }

    /// How much was written.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.ledger.totals
    }

    /// Ends with the last line. Returns how much was written before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> std::io::Result<Totals> {
        let totals = self.ledger.totals;
        self.line(&self.ledger.trailer())?;
        self.out.flush()?;
        Ok(totals)
    }
}

/// Why a dump cannot be taken for whole. Line numbers begin at 1.
#[derive(Debug, Error)]
pub enum Broken {
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// The first line is not what a dump begins with.
    #[error("it is no dump: line 1 is not {{\"pbkv_dump\":{VERSION},...}}")]
    NoDump,
    /// Of another form.
    #[error("it is a dump of version {0}, and this program reads version {VERSION}")]
    OtherVersion(u32),
    /// A line is not what follows.
    #[error("line {line}: {problem}")]
    Line {
        /// Which.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The last line is missing.
    #[error("it is cut off after line {0}: the last line {{\"end\":true,...}} is missing")]
    CutOff(u64),
    /// The last line counts or sums up something else.
    #[error("it was changed or damaged: the last line does not fit the lines before")]
    Damaged,
}

/// A line of a dump.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A key and its list, or the beginning of it.
    List(Key, Vec<Value>),
    /// What follows of the list before.
    More(Key, Vec<Value>),
}

/// Reads a dump.
pub struct Reader<R: BufRead> {
    input: R,
    /// What it begins with.
    pub header: Header,
    ledger: Ledger,
    lines: u64,
    last: Option<Key>,
    /// Once the last line was read.
    is_over: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// When this is no dump, or one of another form.
    pub fn begin(mut input: R) -> Result<Reader<R>, Broken> {
        #[derive(Deserialize)]
        struct Version {
            pbkv_dump: u32,
        }
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let Version { pbkv_dump: version } =
            serde_json::from_slice(&line).map_err(|_| Broken::NoDump)?;
        if version != VERSION {
            return Err(Broken::OtherVersion(version));
        }
        let header = serde_json::from_slice(&line).map_err(|_| Broken::NoDump)?;
        let mut ledger = Ledger::new();
        ledger.add(&line);
        Ok(Reader { input, header, ledger, lines: 1, last: None, is_over: false })
    }

    /// How much was read.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.ledger.totals
    }

    /// The next line; none after the last one, if all is as it was written.
    ///
    /// # Errors
    /// When it is not.
    pub fn record(&mut self) -> Result<Option<Record>, Broken> {
        let mut bytes = Vec::new();
        self.input.read_until(b'\n', &mut bytes)?;
        if self.is_over {
            let line = self.lines + 1;
            let problem = "something follows the last line of the dump";
            return if bytes.is_empty() { Ok(None) } else { Err(Broken::Line { line, problem }) };
        }
        if bytes.last() != Some(&b'\n') {
            return Err(Broken::CutOff(self.lines));
        }
        self.lines += 1;
        let line = self.lines;
        let wrong = |problem| Broken::Line { line, problem };
        if bytes.starts_with(b"{\"end\":")
            && let Ok(trailer) = serde_json::from_slice::<Trailer>(&bytes)
        {
            if trailer != self.ledger.trailer() {
                return Err(Broken::Damaged);
            }
            self.is_over = true;
            return self.record();
        }
        let entry: Entry =
            serde_json::from_slice(&bytes).map_err(|_| wrong("it is not a line of a dump"))?;
        self.ledger.add(&bytes);
        let record = match entry {
            Entry { key, value: Some(values), more: None } if !values.is_empty() => {
                if self.last.as_ref().is_some_and(|last| *last >= key) {
                    return Err(wrong("its key is not after the one before"));
                }
                self.last = Some(key.clone());
                self.ledger.totals.keys += 1;
                self.ledger.totals.elements += values.len() as u64;
                Record::List(key, values)
            }
            Entry { key, value: None, more: Some(values) } if !values.is_empty() => {
                if self.last.as_ref() != Some(&key) {
                    return Err(wrong("it goes on with a list that was not begun before it"));
                }
                self.ledger.totals.elements += values.len() as u64;
                Record::More(key, values)
            }
            Entry { .. } => return Err(wrong("it has no elements, or two lists")),
        };
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<Value> {
        texts.iter().map(|text| Value::from(*text)).collect()
    }

    fn dump() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, 7, 42).unwrap();
        for (key, start, texts) in
            [("", 0, &["\n\"", ""][..]), ("a", 0, &["1"]), ("a", 1, &["2", "3"]), ("b", 0, &["x"])]
        {
            writer.part(Part { key: key.into(), start, values: values(texts) }).unwrap();
        }
        let totals = writer.end().unwrap();
        assert_eq!((totals.keys, totals.elements), (3, 6));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, Broken> {
        let mut reader = Reader::begin(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.record()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(
            read(&dump()).unwrap(),
            [
                Record::List("".into(), values(&["\n\"", ""])),
                Record::List("a".into(), values(&["1"])),
                Record::More("a".into(), values(&["2", "3"])),
                Record::List("b".into(), values(&["x"])),
            ]
        );
        let text = String::from_utf8(dump()).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(first, r#"{"pbkv_dump":1,"id":"0000000000000007","operation":42}"#);
        assert_eq!(text.lines().nth(2), Some(r#"{"key":"a","value":["1"]}"#));
        let mut empty = Vec::new();
        Writer::begin(&mut empty, 1, 0).unwrap().end().unwrap();
        assert_eq!(read(&empty).unwrap(), []);
    }

    #[test]
    fn a_dump_that_is_cut_off_anywhere_is_noticed() {
        let whole = dump();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        let lines = whole.iter().filter(|byte| **byte == b'\n').count();
        let cut = &whole[..whole.len() - 1];
        assert!(matches!(read(cut), Err(Broken::CutOff(line)) if line == lines as u64 - 1));
    }

    #[test]
    fn a_dump_of_which_any_byte_or_line_was_changed_is_noticed() {
        let whole = dump();
        let original = read(&whole).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            // The last line is not in its own digest, and may be written in more than one way.
            assert!(read(&changed).map_or(true, |records| records == original), "{at}");
        }
        let text = String::from_utf8(whole).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for left_out in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(left_out);
            assert!(read(fewer.concat().as_bytes()).is_err(), "{left_out}");
            let mut twice = lines.clone();
            twice.insert(left_out, lines[left_out]);
            assert!(read(twice.concat().as_bytes()).is_err(), "{left_out}");
        }
    }

    #[test]
    fn what_is_no_dump_is_refused_by_its_first_line() {
        for text in ["", "hello\n", "{}\n", "{\"key\":\"a\",\"value\":[\"1\"]}\n"] {
            assert!(matches!(read(text.as_bytes()), Err(Broken::NoDump)), "{text}");
        }
        let text = "{\"pbkv_dump\":2,\"new\":true}\n";
        assert!(matches!(read(text.as_bytes()), Err(Broken::OtherVersion(2))));
    }
}
