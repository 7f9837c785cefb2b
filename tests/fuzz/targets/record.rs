//! The view server's record file.
//!
//! Must hold: no panic; only what our own program could have written is a record, and it is written
//! again to the byte; every other content is refused with a sentence that names the file; a view
//! server that begins with a record, whatever it says, shows nobody that the record does not name.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pbkv::config::Timing;
use pbkv::protocol::message::{GetView, Message};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::view_server::{DurableRecord, ViewServer, ViewServerConfig};
use pbkv::protocol::{Outbox, Process};
use pbkv::runtime::record_file;
use pbkv::time::Timestamp;
use pbkv::types::Incarnation;
use twox_hash::XxHash3_64;

pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let path = Path::new("some/where/view.state.json");
    let content = match kind % 3 {
        0 => rest.to_vec(),
        // Sums that fit, which no fuzzer would ever guess.
        1 => {
            let sum = XxHash3_64::oneshot(rest);
            let header =
                format!("{{\"pbkv\":\"view server record\",\"version\":1,\"sum\":{sum}}}\n");
            [header.as_bytes(), rest, b"\n"].concat()
        }
        _ => {
            let Ok(record) = serde_json::from_slice::<DurableRecord>(rest) else { return };
            let written = record_file::encode(&record).expect("memory takes every byte");
            assert_eq!(record_file::decode(path, &written).ok(), Some(record));
            written
        }
    };
    match record_file::decode(path, &content) {
        Ok(record) => {
            let written = record_file::encode(&record).expect("memory takes every byte");
            assert_eq!(record_file::decode(path, &written).ok().as_ref(), Some(&record));
            begins(record);
        }
        Err(error) => assert!(error.to_string().starts_with("some/where/"), "{error}"),
    }
}

fn begins(durable: DurableRecord) {
    let mut now = Timestamp(1_000_000_000);
    let config = ViewServerConfig {
        incarnation: Incarnation(7),
        timing: Timing::default(),
        hosts: std::iter::empty().collect(),
        sources: Sources::Any,
    };
    let mut process = ViewServer::new(now, config, Some(durable.clone()));
    let mut outbox = Outbox::default();
    let from: SocketAddr = "192.0.2.1:1".parse().expect("an address");
    for _ in 0..40 {
        process.handle_message(now, from, Message::GetView(GetView::default()), &mut outbox);
        process.handle_timeout(now, &mut outbox);
        assert!(process.poll_timeout().is_none_or(|due| due > now), "timer-advances");
        now = now + Duration::from_millis(20);
    }
    // Nobody has answered: nobody is alive, and nothing can have changed.
    assert_eq!(process.record(), Some(&durable.record), "nobody said anything");
}
