//! A dump into a store that counts, stops and remembers.

use std::collections::BTreeMap;

use super::*;
use crate::cli::dump::format::Writer;
use crate::kv::snapshot::Part;
use crate::protocol::client::FailureReason;

type Lists = BTreeMap<String, Vec<String>>;

fn values(texts: &[String]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(text.as_str())).collect()
}

/// Lists of all sorts: short ones, long ones, large elements.
fn lists() -> Lists {
    let mut lists = Lists::new();
    for index in 0..3000 {
        lists.insert(format!("k{index:04}"), vec![format!("v{index}"), "x".repeat(index % 50)]);
    }
    lists.insert("k1000a".to_owned(), (0..500).map(|index| index.to_string()).collect());
    lists.insert("k2000a".to_owned(), vec!["y".repeat(1 << 20); 3]);
    lists.insert("k2000b".to_owned(), vec!["z".repeat(200); 7000]);
    lists
}

/// In parts of at most 100 elements or so.
fn dump(lists: &Lists, id: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, id, 1).unwrap();
    for (key, list) in lists {
        for (index, texts) in list.chunks(if list.len() > 1000 { 3000 } else { 100 }).enumerate() {
            let start = if index == 0 { 0 } else { 100 };
            writer.part(Part { key: key.as_str().into(), start, values: values(texts) }).unwrap();
        }
    }
    writer.end().unwrap();
    bytes
}

#[derive(Default)]
struct Cluster {
    lists: Lists,
    commands: usize,
    epoch: Epoch,
    /// Fails from this command on, which may have happened nevertheless.
    fails_at: Option<usize>,
}

impl Target for Cluster {
    fn epoch(&mut self) -> Result<Epoch, Failure> {
        Ok(self.epoch)
    }

    fn execute(&mut self, commands: Vec<Command>) -> Result<(), Failure> {
        assert!(commands.len() <= LOT);
        for command in commands {
            command.check(&Limits::default()).expect("whatever was stored can be stored again");
            let texts = |values: &[Value]| values.iter().map(Value::to_string).collect();
            match command {
                Command::Put { key, value } => {
                    self.lists.insert(key.to_string(), vec![value.to_string()]);
                }
                Command::Append { key, value } => {
                    self.lists.entry(key.to_string()).or_default().push(value.to_string());
                }
                Command::Mput { entries } => {
                    let entries = entries.iter().map(|(key, list)| (key.to_string(), texts(list)));
                    self.lists.extend(entries);
                }
                Command::Remove { .. }
                | Command::Cas(_)
                | Command::Incr { .. }
                | Command::Refused => {
                    panic!("a load puts and appends")
                }
            }
            self.commands += 1;
            if self.fails_at.is_some_and(|at| self.commands > at) {
                let (outcome, reason) = (FailureOutcome::Unknown, FailureReason::Closed);
                return Err(Failure { outcome, reason });
            }
        }
        Ok(())
    }
}

impl Cluster {
    fn load(&mut self, bytes: &[u8], notes: Notes) -> Result<Totals, Stopped> {
        let reader = Reader::begin(bytes).unwrap();
        load(reader, notes, self, |_| ())
    }
}

fn notes(file: Option<&Path>, bytes: &[u8]) -> Notes {
    let id = Reader::begin(bytes).unwrap().header.id;
    file.map_or_else(Notes::none, |file| Notes::open(file, &id, Epoch::default()).unwrap())
}

#[test]
fn every_list_is_loaded_whatever_was_there_before() {
    let (lists, bytes) = (lists(), dump(&lists(), 1));
    let mut store = Cluster::default();
    store.lists.insert("k0001".to_owned(), vec!["former".to_owned()]);
    store.lists.insert("k2000b".to_owned(), vec!["former".to_owned()]);
    store.lists.insert("other".to_owned(), vec!["stays".to_owned()]);
    let totals = store.load(&bytes, notes(None, &bytes)).unwrap();
    assert_eq!(totals.keys, lists.len() as u64);
    assert_eq!(store.lists.remove("other"), Some(vec!["stays".to_owned()]));
    assert!(store.lists == lists);
}

#[test]
fn a_load_that_stopped_anywhere_and_is_repeated_comes_to_the_same() {
    let (lists, bytes) = (lists(), dump(&lists(), 1));
    let folder = tempfile::tempdir().unwrap();
    let mut all = Cluster::default();
    all.load(&bytes, notes(None, &bytes)).unwrap();
    for fails_at in (0..all.commands).step_by(97) {
        for file in [None, Some(folder.path().join(format!("{fails_at}")))] {
            let mut store = Cluster { fails_at: Some(fails_at), ..Cluster::default() };
            let stopped = store.load(&bytes, notes(file.as_deref(), &bytes)).unwrap_err();
            assert!(stopped.keys <= lists.len() as u64);
            let before = std::mem::take(&mut store.commands);
            store.fails_at = None;
            store.load(&bytes, notes(file.as_deref(), &bytes)).unwrap();
            assert!(store.lists == lists, "{fails_at} {file:?}");
            assert!(store.commands <= all.commands && before > fails_at);
            assert!(file.is_none_or(|file| !file.exists()), "its work is done");
        }
    }
}

#[test]
fn what_is_noted_as_loaded_is_not_loaded_again_and_what_is_not_loaded_is_not_noted() {
    let (lists, bytes) = (lists(), dump(&lists(), 1));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("note");
    let note = Note { id: "0000000000000001".to_owned(), epoch: Epoch::default(), keys: 1500 };
    std::fs::write(&file, serde_json::to_string(&note).unwrap()).unwrap();
    let mut store = Cluster::default();
    store.load(&bytes, notes(Some(&file), &bytes)).unwrap();
    let expected: Lists = lists.into_iter().skip(1500).collect();
    assert!(store.lists == expected);
    let open = |id: &str| Notes::open(&file, id, Epoch::default());
    assert!(open("x").is_ok(), "there is none any more");
    std::fs::write(&file, serde_json::to_string(&note).unwrap()).unwrap();
    let error = open("0000000000000002").err().unwrap().to_string();
    assert!(error.contains("another dump; remove it"), "{error}");
    std::fs::write(&file, "something of mine").unwrap();
    let error = open("0000000000000001").err().unwrap().to_string();
    assert!(error.contains("name another file"), "{error}");
}

#[test]
fn a_note_counts_for_the_store_it_was_made_of_and_for_no_other_one() {
    let bytes = dump(&lists(), 1);
    let id = "0000000000000001";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("note");
    // The same address, the same view server, the next epoch: that is what a reset leaves.
    let (former, reset) = (Epoch(1, 9), Epoch(2, 9));
    let note = |keys| serde_json::to_string(&Note { id: id.to_owned(), epoch: former, keys });
    std::fs::write(&file, note(1500).unwrap()).unwrap();
    let refused = Notes::open(&file, id, reset).err().unwrap();
    assert!(matches!(refused, CliError::Misused(_)));
    assert!(refused.to_string().contains("before it began anew; remove it"), "{refused}");
    assert!(file.exists(), "whose note it is, its owner says");
    // It is reset while the load waits for a primary.
    let mut cluster = Cluster { epoch: reset, ..Cluster::default() };
    let stopped = cluster.load(&bytes, Notes::open(&file, id, former).unwrap()).unwrap_err();
    assert_eq!((stopped.keys, stopped.then), (0, Then::Anew));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), note(1500).unwrap(), "nothing is noted");
    // What was begun before the reset is noted for the store before it, although the reset came in
    // between.
    std::fs::remove_file(&file).unwrap();
    let mut cluster = Cluster { epoch: reset, fails_at: Some(200), ..Cluster::default() };
    cluster.load(&bytes, Notes::open(&file, id, former).unwrap()).unwrap_err();
    let noted: Note = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(noted.epoch == former && noted.keys > 0);
}

#[test]
fn a_program_is_told_of_a_load_that_failed_as_of_one_that_did_not() {
    let totals = Totals { keys: 3, elements: 4, bytes: 5 };
    assert_eq!(
        object(&Ok(Loaded { totals, skipped: 2 })),
        r#"{"command":"load","elements":4,"keys":3,"ok":true,"skipped":2}"#
    );
    assert_eq!(
        object(&Err(CliError::Misused("why".to_owned()).into())),
        r#"{"command":"load","error":"why","ok":false,"outcome":"not_executed"}"#
    );
    let error = CliError::Failed("why".to_owned());
    assert_eq!(
        object(&Err(NotLoaded { error, keys: Some(2) })),
        r#"{"command":"load","error":"why","keys":2,"ok":false,"outcome":"unknown"}"#
    );
}

#[test]
fn a_dump_that_is_cut_off_says_how_many_keys_are_loaded() {
    let bytes = dump(&lists(), 1);
    let mut store = Cluster::default();
    let stopped = store.load(&bytes[..bytes.len() / 3], notes(None, &bytes)).unwrap_err();
    assert!(stopped.why.contains("cut off"), "{}", stopped.why);
    let loaded = store.lists.len() as u64;
    assert!(stopped.keys <= loaded && stopped.keys > 0, "{} of {loaded}", stopped.keys);
}

#[tokio::test]
async fn calls_begin_in_their_order_and_a_failure_ends_the_waiting() {
    use std::cell::RefCell;
    let begun = RefCell::new(Vec::new());
    let call = |number: u32| {
        let begun = &begun;
        async move {
            begun.borrow_mut().push(number);
            for _ in 0..(7 - number) * 3 {
                tokio::task::yield_now().await;
            }
            let (outcome, reason) = (FailureOutcome::Unknown, FailureReason::Closed);
            if number == 7 { Err(Failure { outcome, reason }) } else { Ok(()) }
        }
    };
    in_order((0..7).map(|number| Box::pin(call(number))).collect()).await.unwrap();
    assert_eq!(begun.take(), (0..7).collect::<Vec<_>>());
    in_order((5..8).map(|number| Box::pin(call(number))).collect()).await.unwrap_err();
}
