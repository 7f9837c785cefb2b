use super::*;
use crate::kv::command::Cas;
use crate::protocol::codec::decode_by_serde;
use crate::protocol::message::PageRequest;

const ROUNDS: u64 = 4_000;

/// Pseudo-random values; the same for the same seed.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = crate::kv::digest::numbers([self.0]);
        // Of any length, and the ends of the range.
        match drawn % 8 {
            0 => 0,
            1 => u64::MAX,
            _ => drawn >> (drawn % 64),
        }
    }

    /// Of what is counted; now and then more than is read.
    fn count(&mut self) -> u64 {
        let number = self.number();
        if self.below(500) == 0 { number } else { number.min(COUNT_MAX) }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        usize::try_from(crate::kv::digest::numbers([self.0]) % bound as u64).unwrap()
    }

    fn text(&mut self) -> String {
        const RARE: &[char] =
            &['"', '\\', '\u{0}', '\n', '\u{1f}', ' ', '\u{7f}', '\u{e9}', '\u{2028}', '\u{1f980}'];
        let is_plain = self.below(3) > 0;
        let length = self.below(40);
        let mut letter = || match self.below(8) {
            0 if !is_plain => RARE[self.below(RARE.len())],
            _ => char::from(b'a' + u8::try_from(self.below(26)).unwrap()),
        };
        (0..length).map(|_| letter()).collect()
    }

    fn key(&mut self) -> Key {
        Key::from(self.text().as_str())
    }

    fn value(&mut self) -> Value {
        Value::from(self.text().as_str())
    }

    fn values(&mut self) -> Vec<Value> {
        (0..self.below(4)).map(|_| self.value()).collect()
    }

    fn session(&mut self) -> SessionId {
        SessionId(Epoch(self.count(), self.number()), OperationNumber(self.count()))
    }

    fn view(&mut self) -> ViewId {
        ViewId { epoch: Epoch(self.count(), self.number()), number: self.count() }
    }

    fn origin(&mut self) -> Origin {
        Origin {
            session: self.session(),
            number: RequestNumber(self.count()),
            acknowledged: RequestNumber(self.count()),
        }
    }

    fn command(&mut self) -> Command {
        let (key, value) = (self.key(), self.value());
        match self.below(13) {
            0 => Command::Remove { key },
            1 => Command::Cas(Box::new(Cas { key, old: None, new: Some(self.values()) })),
            2 => Command::Incr { key, by: self.number().cast_signed() },
            3 => Command::Mput { entries: vec![(key, self.values())] },
            12 => Command::Refused,
            4..8 => Command::Append { key, value },
            _ => Command::Put { key, value },
        }
    }

    fn operation(&mut self) -> Operation {
        let command = self.command();
        match self.below(10) {
            0 => Operation::Write { origin: None, command },
            1 => Operation::Open { nonce: self.number(), epoch: Epoch(1, 2), capacity: 3 },
            _ => Operation::Write { origin: Some(self.origin()), command },
        }
    }

    fn ask(&mut self) -> Ask {
        let key = self.key();
        let after = (self.below(2) == 0).then(|| (self.session(), RequestNumber(self.count())));
        match self.below(8) {
            0 => Ask::Open { nonce: self.number() },
            1 => {
                let page = PageRequest { generation: OperationNumber(1), start: 2, end: 3 };
                Ask::Get { key, after, page: Some(page) }
            }
            2 => Ask::Mget { keys: vec![key], after },
            3 => Ask::Len { key, after },
            4 => Ask::Get { key, after, page: None },
            _ => Ask::Write { origin: self.origin(), command: self.command() },
        }
    }

    fn outcome(&mut self) -> Outcome {
        match self.below(6) {
            0 => Outcome::Missing,
            1 => Outcome::Opened(self.session()),
            2 => Outcome::Busy,
            3 => Outcome::Page(Page {
                generation: OperationNumber(self.count()),
                start: self.number(),
                end: self.number(),
                values: self.values(),
            }),
            _ => Outcome::Done,
        }
    }

    fn item(&mut self) -> Item {
        let key = self.key();
        match self.below(8) {
            0 => Item::Gone { key },
            1 => Item::SessionGone(self.session()),
            2 => Item::End { applied: OperationNumber(1), digest: self.number() },
            _ => Item::List {
                key,
                generation: OperationNumber(self.count()),
                start: self.number(),
                values: self.values(),
            },
        }
    }

    fn message(&mut self) -> Message {
        let link = Link {
            from: Incarnation(self.number()),
            to: Incarnation(self.number()),
            history: HistoryId(self.number()),
            view: self.view(),
            since: self.view(),
        };
        let (client, id) = (Incarnation(self.number()), RequestId(self.number()));
        match self.below(6) {
            0 => Message::Request(Request { client, id, ask: self.ask() }),
            1 => Message::Reply(Reply { client, id, view: self.view(), outcome: self.outcome() }),
            2 => Message::Replicate(Replicate {
                link,
                first: OperationNumber(self.count()),
                operations: (0..self.below(4)).map(|_| self.operation()).collect(),
                barrier: self.number(),
                flip: OperationNumber(self.count()),
            }),
            3 => Message::Ack(Ack {
                link,
                applied: OperationNumber(self.count()),
                digest: self.number(),
                received: OperationNumber(self.count()),
                barrier: self.number(),
                memory_max: (self.below(2) == 0).then(|| self.number()),
            }),
            4 => Message::Transfer(Transfer {
                link,
                sequence: self.number(),
                items: (0..self.below(4)).map(|_| self.item()).collect(),
                probe: self.number(),
            }),
            _ => Message::TransferAck(TransferAck {
                link,
                sequence: self.number(),
                probe: self.number(),
                diverged: self.below(2) == 0,
            }),
        }
    }
}

fn tag(line: &str) -> &str {
    line.split('"').nth(3).unwrap()
}

#[test]
fn what_is_written_is_what_serde_writes_and_both_read_it_as_the_same() {
    let mut read = 0;
    for seed in 0..ROUNDS {
        let message = Random(seed).message();
        let mut line = Vec::new();
        assert!(encode(&message, &mut line));
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, serde_json::to_string(&message).unwrap(), "seed {seed}");
        // What counts too far is refused by both.
        let by_serde = decode_by_serde(tag(&line), &line).ok();
        assert!(by_serde.as_ref().is_none_or(|same| *same == message), "seed {seed}");
        if let Some(same) = decode(tag(&line), &line) {
            assert_eq!(by_serde, Some(same), "seed {seed}");
            read += 1;
        }
    }
    assert!(read > ROUNDS / 2, "only {read} messages were read without serde");
}

#[test]
fn what_is_read_from_damaged_lines_serde_reads_as_the_same() {
    const PIECES: &[&str] = &[
        "",
        "0",
        "00",
        "1",
        "-",
        "-0",
        ".",
        ".0",
        "e1",
        "E0",
        "+",
        " ",
        "\t",
        "\n",
        "\"",
        "\\",
        "\\\"",
        "\\u0041",
        "\u{1f}",
        "\u{0}",
        "\u{7f}",
        "\u{e9}",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "\"\"",
        "18446744073709551616",
        "\"key\":",
        "\"id\":1,",
        ",\"operations\":[]",
        ",\"after\":null",
        ",\"page\":null",
        "\"x\":0,",
    ];
    let (mut read, mut refused) = (0, 0);
    for seed in 0..ROUNDS * 20 {
        let mut random = Random(seed);
        let message = random.message();
        let mut line = String::new();
        line.push_str(&serde_json::to_string(&message).unwrap());
        let tag = tag(&line).to_owned();
        for _ in 0..=random.below(2) {
            let mut place = || {
                let at = random.below(line.len() + 1);
                (0..=at).rev().find(|at| line.is_char_boundary(*at)).unwrap()
            };
            let (start, end) = (place(), place());
            // Mostly short: what replaces half of a line is hardly ever still one.
            let end = if end > start && end - start < 4 { end } else { start };
            let piece = PIECES[random.below(PIECES.len())];
            line.replace_range(start..end, piece);
        }
        match decode(&tag, &line) {
            Some(message) => {
                assert_eq!(decode_by_serde(&tag, &line), Ok(message), "seed {seed}: {line}");
                read += 1;
            }
            None => refused += 1,
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn every_message_of_a_put_and_of_a_get_is_read_without_serde() {
    let link = r#""link":{"from":1,"to":2,"history":3,"view":{"epoch":[1,4],"number":5},"since":{"epoch":[1,4],"number":3}}"#;
    let write = r#"{"write":{"origin":{"session":[[1,4],1],"number":2,"acknowledged":1},"command":{"put":{"key":"k","value":"v"}}}}"#;
    for line in [
        format!(r#"{{"type":"request","client":7,"id":8,"ask":{write}}}"#),
        format!(
            r#"{{"type":"replicate",{link},"first":9,"operations":[{write}],"barrier":2,"flip":0}}"#
        ),
        format!(
            r#"{{"type":"ack",{link},"applied":9,"digest":18446744073709551615,"received":9,"barrier":2}}"#
        ),
        r#"{"type":"reply","client":7,"id":8,"view":{"epoch":[1,4],"number":5},"outcome":"done"}"#
            .to_owned(),
        r#"{"type":"request","client":7,"id":8,"ask":{"get":{"key":"k","after":[[[1,4],1],2]}}}"#
            .to_owned(),
        format!(r#"{{"type":"replicate",{link},"first":9,"barrier":2,"flip":0}}"#),
        r#"{"type":"reply","client":7,"id":8,"view":{"epoch":[1,4],"number":5},"outcome":{"page":{"generation":9,"start":0,"end":1,"values":["v"]}}}"#
            .to_owned(),
    ] {
        let message = decode(tag(&line), &line).expect("usual");
        assert_eq!(serde_json::to_string(&message).unwrap(), line);
    }
}
