//! A picture as a line for logs, or as an object for programs.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::picture::{Picture, Rates, Took, quantile};
use super::screen::{duration, micros, took};
use crate::cli::terminal::printable;
use crate::protocol::status::Work;
use crate::protocol::view::Phase;

/// One line a picture.
pub(super) fn lines(picture: &Picture) -> String {
    let mut line = match picture.fresh_cluster() {
        Some(cluster) => {
            let name = |id: &Option<crate::types::ServerId>| {
                id.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
            };
            let (primary, backup) = (name(&cluster.primary), name(&cluster.backup));
            format!("view {} primary {primary} backup {backup}", cluster.view)
        }
        None => "view server silent".to_owned(),
    };
    for (id, server) in &picture.servers {
        let _ = write!(line, ", {id} {}", picture.role(server));
        if let Some(transfer) = picture.transfer(server) {
            let _ = write!(line, " {}%", transfer.percent());
        }
        if let Some(lag) = picture.lag(server) {
            let _ = write!(line, " lag {lag}");
        }
    }
    if let Some(Rates { reads, writes }) = picture.rates.back() {
        for (name, rate) in [("writes", writes), ("reads", reads)] {
            if let Some(rate) = rate {
                let _ = write!(line, ", {name}/s {rate:.0}");
            }
        }
    }
    for (name, work) in [("writes", &picture.served.writes), ("reads", &picture.served.reads)] {
        let quantile = |share| work.as_ref().and_then(|work| quantile(work, share));
        if let Some((p50, p99)) = quantile(0.5).zip(quantile(0.99)) {
            let _ = write!(line, ", {name} there p50 {} p99 {}", took(p50), took(p99));
        }
    }
    let reads = &picture.reads;
    if let (Some(p50), Some(p99)) = (reads.p50, reads.p99) {
        let _ = write!(line, ", reads from here p50 {} p99 {}", micros(p50), micros(p99));
    }
    if reads.failed > 0 {
        let _ = write!(line, ", {} reads failed", reads.failed);
    }
    if let Some(waiting) = reads.waiting {
        let _ = write!(line, ", a read waits for {}", duration(waiting));
    }
    if let Some(waiting) = picture.fresh_cluster().and_then(|cluster| cluster.waiting.as_ref()) {
        let _ = write!(line, ", {waiting}");
    }
    printable(&line).into_owned()
}

/// One object a picture. What is not known is `null`.
pub(super) fn object(picture: &Picture) -> String {
    let cluster = picture.fresh_cluster();
    let view_server = picture.cluster.as_ref().map(|word| {
        json!({
            "silent_us": picture.now.since(word.at).as_micros() as u64,
            "round_trip_us": word.round_trip.map(|time| time.as_micros() as u64),
        })
    });
    let servers: Map<String, Value> = picture
        .servers
        .iter()
        .map(|(id, server)| {
            let word = server.word.as_ref().filter(|word| picture.is_fresh(word));
            let line = server.line.as_ref();
            let transfer = picture.transfer(server).map(|transfer| {
                json!({
                    "keys": transfer.keys, "of": transfer.of, "keys_per_second": transfer.rate,
                    "remaining_seconds": transfer.remaining(),
                })
            });
            let incarnation = word
                .map(|word| word.said.incarnation)
                .or(line.and_then(|line| line.incarnation));
            let object = json!({
                "role": Some(picture.role(server)).filter(|role| *role != "-"),
                "answers": word.is_some(),
                "alive": line.map(|line| line.alive),
                "synced": line.map(|line| line.synced),
                "incarnation": incarnation.map(|incarnation| incarnation.to_string()),
                "last_pong_us": line.and_then(|line| line.silent).map(|silent| silent.0),
                "round_trip_us": word.and_then(|word| word.round_trip).map(|time| time.as_micros() as u64),
                "operations": word.map(|word| word.said.operations.0),
                "keys": word.map(|word| word.said.keys),
                "lag": picture.lag(server),
                "transfer": transfer,
            });
            (id.to_string(), object)
        })
        .collect();
    let changes = cluster.map(|cluster| {
        let change = |change: &crate::protocol::status::ChangeLine| {
            json!({
                "view": change.view.number, "epoch": change.view.epoch.0,
                "phase": phase(change.phase), "primary": change.primary.to_string(),
                "backup": change.backup.as_ref().map(ToString::to_string),
                "joining": change.joining.as_ref().map(ToString::to_string),
                "reason": change.reason, "ago_us": change.ago.0,
            })
        };
        cluster.changes.iter().map(change).collect::<Vec<_>>()
    });
    let reads = &picture.reads;
    let rates = picture.rates.back().copied().unwrap_or_default();
    json!({
        "view": cluster.map(|cluster| cluster.view.number),
        "epoch": cluster.map(|cluster| cluster.view.epoch.0),
        "phase": cluster.and_then(|cluster| cluster.phase).map(phase),
        "primary": cluster.and_then(|cluster| cluster.primary.as_ref()).map(ToString::to_string),
        "backup": cluster.and_then(|cluster| cluster.backup.as_ref()).map(ToString::to_string),
        "waiting": cluster.and_then(|cluster| cluster.waiting.as_ref()),
        "view_server": view_server,
        "servers": servers,
        "operations_per_second": rates.sum(),
        "reads_per_second": rates.reads,
        "writes_per_second": rates.writes,
        "at_primary": {
            "reads": picture.served.reads.as_ref().map(work),
            "writes": picture.served.writes.as_ref().map(work),
        },
        "reads": {
            "done": reads.done, "failed": reads.failed, "p50_us": reads.p50,
            "p90_us": reads.p90, "p99_us": reads.p99, "max_us": reads.max,
            "waiting_us": reads.waiting.map(|waiting| waiting.as_micros() as u64),
        },
        "changes": changes,
    })
    .to_string()
}

/// Times are the bounds of a histogram, and none beyond its last one.
fn work(work: &Work) -> Value {
    let within = |share| match quantile(work, share) {
        Some(Took::Within(micros)) => Some(micros),
        Some(Took::Longer) | None => None,
    };
    json!({ "done": work.done, "p50_us": within(0.5), "p90_us": within(0.9), "p99_us": within(0.99) })
}

pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Proposed => "proposed",
        Phase::Active => "active",
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::sample;
    use super::*;

    #[test]
    fn a_line_says_who_does_what() {
        assert_eq!(
            lines(&sample()),
            "view 1.6 primary s1 backup none, s1 primary, s2 joining 40% lag 510, s3 -, \
             writes/s 500, reads/s 1500, writes there p50 <=25us p99 <=100us, \
             reads there p50 <=25us p99 <=100us, reads from here p50 120us p99 900us, waiting for s2 to receive the state"
        );
    }

    #[test]
    fn an_object_says_the_same_to_programs() {
        let object: Value = serde_json::from_str(&object(&sample())).unwrap();
        assert_eq!((&object["primary"], &object["backup"]), (&json!("s1"), &Value::Null));
        assert_eq!(object["servers"]["s2"]["transfer"]["remaining_seconds"], 2.0);
        assert_eq!(object["servers"]["s3"]["alive"], false);
        assert_eq!(object["servers"]["s3"]["last_pong_us"], 7_000_000);
        assert_eq!(object["changes"][0]["reason"], "s3 does not answer");
        assert_eq!(object["reads"]["p99_us"], 900);
        assert_eq!(
            (&object["operations_per_second"], &object["reads_per_second"]),
            (&json!(2000.0), &json!(1500.0))
        );
        assert_eq!(
            object["at_primary"]["reads"],
            json!({"done": 1500, "p50_us": 25, "p90_us": 25, "p99_us": 100})
        );
    }

    #[test]
    fn a_silent_view_server_leaves_what_the_servers_say_themselves() {
        let mut picture = sample();
        let asked = picture.cluster.as_mut().unwrap();
        asked.at = crate::time::Timestamp::ZERO;
        picture.now = picture.now + std::time::Duration::from_secs(1);
        let line = lines(&picture);
        assert!(line.starts_with("view server silent, s1 primary, s2 joining 40%"), "{line}");
        let object: Value = serde_json::from_str(&object(&picture)).unwrap();
        assert_eq!(
            (&object["view"], &object["servers"]["s1"]["role"]),
            (&Value::Null, &json!("primary"))
        );
    }
}
