//! recorded-before-shown (I13), from outside: no datagram of the view server shows a record that is
//! newer than the one on the disk when it leaves.

use std::path::PathBuf;

use pbkv::protocol::codec;
use pbkv::protocol::message::Message;
use pbkv::protocol::view::Stamp;
use pbkv::protocol::view_server::DurableRecord;

pub struct Durable {
    file: PathBuf,
    /// The newest that was found on the disk.
    known: Option<Stamp>,
}

impl Durable {
    pub fn new(file: PathBuf) -> Self {
        Durable { file, known: None }
    }

    /// To be called with every datagram just before it leaves.
    pub fn check(&mut self, datagram: &[u8]) {
        let messages = datagram.split(|byte| *byte == b'\n').filter_map(|line| {
            // The header and the pieces of larger messages are none of ours.
            codec::decode(line).ok()
        });
        for message in messages {
            let Message::Ping(ping) = message else { continue };
            let shown = ping.record.map(|record| record.stamp());
            if shown > self.known {
                self.known = self.read();
                assert!(shown <= self.known, "recorded-before-shown: {shown:?} is not durable");
            }
        }
    }

    fn read(&self) -> Option<Stamp> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        // A header line comes first.
        let record: DurableRecord = serde_json::from_str(text.lines().nth(1)?).ok()?;
        Some(record.record.stamp())
    }
}
