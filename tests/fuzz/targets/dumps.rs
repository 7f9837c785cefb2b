//! Dumps and recorded histories, line by line.
//!
//! Must hold: no panic; a dump that is read to its end, written again, is the same to the byte if
//! our own program wrote it, and the same in content in any case; one that lacks any part of it is
//! refused; the line of an operation is read back as that operation.

use std::hash::Hasher;

use pbkv::cli::dump::format::{Reader, Record, Writer};
use pbkv::history::lines;
use pbkv::kv::snapshot::Part;
use twox_hash::XxHash3_64;

pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => dump(rest),
        1 => dump(&ended(rest)),
        _ => history(rest),
    }
}

/// A first line, these lines, and a last line that fits them.
fn ended(lines: &[u8]) -> Vec<u8> {
    let mut bytes = b"{\"pbkv_dump\":1,\"id\":\"0\",\"operation\":7}\n".to_vec();
    bytes.extend_from_slice(lines);
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    let (mut keys, mut elements) = (0, 0);
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let count = |field| line.get(field).and_then(|it| it.as_array()).map(Vec::len);
        keys += usize::from(count("value").is_some());
        elements += count("value").or(count("more")).unwrap_or(0);
    }
    let mut hasher = XxHash3_64::with_seed(0);
    hasher.write(&bytes);
    let digest = format!("{:016x}", hasher.finish());
    let last = format!(
        "{{\"end\":true,\"keys\":{keys},\"elements\":{elements},\"digest\":\"{digest}\"}}\n"
    );
    bytes.extend_from_slice(last.as_bytes());
    bytes
}

fn read(bytes: &[u8]) -> Option<(u64, Vec<Record>)> {
    let mut reader = Reader::begin(bytes).ok()?;
    let mut records = Vec::new();
    while let Some(record) = reader.record().ok()? {
        records.push(record);
    }
    assert_eq!(reader.totals().keys as usize, records.iter().filter(|it| is_list(it)).count());
    Some((reader.header.operation, records))
}

fn is_list(record: &Record) -> bool {
    matches!(record, Record::List(..))
}

fn dump(bytes: &[u8]) {
    let Some((operation, records)) = read(bytes) else { return };
    let mut written = Vec::new();
    let mut writer = Writer::begin(&mut written, 0, operation).expect("memory takes every byte");
    let mut length = 0;
    for record in &records {
        let (key, start, values) = match record {
            Record::List(key, values) => (key, 0, values),
            Record::More(key, values) => (key, length, values),
        };
        length = start + values.len();
        let part = Part { key: key.clone(), start: start as _, values: values.clone() };
        writer.part(part).expect("memory takes every byte");
    }
    writer.end().expect("memory takes every byte");
    assert_eq!(read(&written), Some((operation, records)), "read back");
    let cuts = [0, 1, written.len() / 3, written.len() / 2, written.len() - 1];
    for cut in cuts {
        assert_eq!(read(&written[..cut]), None, "cut off after {cut} bytes");
    }
    let lines: Vec<&[u8]> = written.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() > 2 {
        let without = [&lines[..1], &lines[2..]].concat().concat();
        assert_eq!(read(&without), None, "a line is missing");
    }
}

fn history(bytes: &[u8]) {
    let Ok(events) = lines::read(bytes) else { return };
    let text: String = events.iter().map(|event| lines::line(event) + "\n").collect();
    assert_eq!(lines::read(text.as_bytes()).ok().as_ref(), Some(&events), "{text}");
}
