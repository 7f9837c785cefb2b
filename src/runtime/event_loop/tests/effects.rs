//! Effects are carried out in order, and each as promised.

use super::*;

pub(super) fn read(id: u64) -> Box<Request> {
    let ask = Ask::Get { key: Key::from("a"), after: None, page: None };
    Box::new(Request { client: Incarnation(1), id: RequestId(id), ask })
}

fn durable(number: u64) -> Box<crate::protocol::view_server::DurableRecord> {
    Box::new(record_file::tests::record(number))
}

fn record_at(path: &Path) -> RecordFile {
    RecordFile::At(record_file::open(path).unwrap().0)
}

#[tokio::test]
async fn what_follows_a_persist_is_sent_when_the_record_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let it = start(Scripted::default(), record_at(&file)).await;
    let to = it.peer_address();
    let answer = it.call(move |_, call, outbox| {
        outbox.send(to, said("before"));
        outbox.push(Effect::Persist(durable(1)));
        outbox.push(Effect::Persist(durable(2)));
        outbox.send(to, said("after"));
        outbox.push(Effect::Answer(call, Said::Done));
    });
    assert_eq!(answer.await, Some(Said::Done));
    assert_eq!(it.heard().await, "before");
    assert_eq!(it.heard().await, "after");
    drop(it.handle);
    it.running.await.unwrap().unwrap();
    assert_eq!(record_file::open(&file).unwrap().1, Some(*durable(2)));
}

#[tokio::test]
async fn nothing_that_follows_a_failed_persist_is_sent_or_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let it = start(Scripted::default(), record_at(&file)).await;
    std::fs::create_dir(folder.path().join("state.tmp")).unwrap();
    let to = it.peer_address();
    let answer = it.call(move |_, call, outbox| {
        outbox.send(to, said("before"));
        outbox.push(Effect::Persist(durable(1)));
        outbox.send(to, said("after"));
        outbox.push(Effect::Answer(call, Said::Done));
    });
    assert_eq!(answer.await, None);
    let error = it.running.await.unwrap().unwrap_err();
    assert!(matches!(&error, RunError::Record(RecordError::NotDurable { .. })), "{error}");
    assert!(error.to_string().contains("state.tmp"), "{error}");
    assert_eq!(heard_now(&it.peer), Some("before".to_owned()));
    assert_eq!(heard_now(&it.peer), None);
}

#[tokio::test]
async fn nothing_that_follows_a_persist_is_sent_before_there_is_room_for_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let record = RecordFile::At(record_file::tests::room::open_without(&file));
    let it = start(Scripted::default(), record).await;
    let to = it.peer_address();
    let script: Script = Box::new(move |_, call, outbox| {
        outbox.send(to, said("before"));
        outbox.push(Effect::Persist(durable(1)));
        outbox.send(to, said("after"));
        outbox.push(Effect::Answer(call, Said::Done));
    });
    let handle = it.handle.clone();
    let answer = tokio::spawn(async move { handle.call(script).await });
    assert_eq!(it.heard().await, "before");
    while record_file::tests::room::attempts() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(heard_now(&it.peer), None);
    assert!(!answer.is_finished() && !it.running.is_finished());
    assert!(!file.exists(), "nothing is on disk");
    record_file::tests::room::make();
    assert_eq!(answer.await.unwrap(), Some(Said::Done));
    assert_eq!(it.heard().await, "after");
    drop(it.handle);
    it.running.await.unwrap().unwrap();
    assert_eq!(record_file::open(&file).unwrap().1, Some(*durable(1)));
}

#[tokio::test]
async fn an_answer_under_a_lease_is_sent_while_the_lease_lasts() {
    let it = start(Scripted::default(), RecordFile::None).await;
    let to = it.peer_address();
    it.call(move |_, call, outbox| {
        let before = now() + Duration::from_secs(3600);
        let message = said("leased");
        outbox.push(Effect::SendBefore { before, to, message, request: read(1) });
        outbox.push(Effect::Answer(call, Said::Done));
    })
    .await;
    assert_eq!(it.heard().await, "leased");
    it.probe();
    assert_eq!(it.heard().await, "probe 1", "and nothing was handed back");
    let totals = it.handle.totals().await.unwrap();
    let (packed, bytes) = (totals.transport.datagrams_sent, totals.transport.bytes_sent);
    assert_eq!((totals.sent, totals.sent_bytes, totals.unsent), (packed, bytes, 0));
}

#[tokio::test]
async fn a_request_whose_lease_is_over_is_handed_back_and_its_answer_never_sent() {
    let it = start(Scripted::default(), RecordFile::None).await;
    let to = it.peer_address();
    it.call(move |_, call, outbox| {
        let later = now() + Duration::from_secs(3600);
        outbox.send(to, said("free of any lease"));
        // The shortest lease counts for all that leave together.
        for (id, before) in [(1, later), (2, Timestamp(1)), (3, later)] {
            let message = said(format!("late {id}"));
            outbox.push(Effect::SendBefore { before, to, message, request: read(id) });
        }
        outbox.push(Effect::Answer(call, Said::Done));
    })
    .await;
    assert_eq!(it.heard().await, "free of any lease");
    for id in 1..=3 {
        assert_eq!(it.heard().await, format!("handed back {id}"));
    }
    it.probe();
    assert_eq!(it.heard().await, "probe 1");
    let totals = it.handle.totals().await.unwrap();
    let (packed, bytes) = (totals.transport.datagrams_sent, totals.transport.bytes_sent);
    assert!(totals.sent < packed && totals.sent_bytes < bytes, "what is withheld is not sent");
    assert_eq!(totals.unsent, 0, "nor lost");
}

#[tokio::test]
async fn a_lease_that_ends_during_a_persist_does_not_hold_up_the_persist() {
    let folder = tempfile::tempdir().unwrap();
    let it = start(Scripted::default(), record_at(&folder.path().join("state"))).await;
    let to = it.peer_address();
    it.call(move |_, call, outbox| {
        let message = said("late");
        outbox.push(Effect::SendBefore { before: Timestamp(1), to, message, request: read(5) });
        outbox.push(Effect::Persist(durable(1)));
        outbox.send(to, said("after"));
        outbox.push(Effect::Answer(call, Said::Done));
    })
    .await;
    assert_eq!(it.heard().await, "after");
    assert_eq!(it.heard().await, "handed back 5");
}

#[tokio::test]
async fn a_process_that_stops_itself_is_heard_out_first() {
    let it = start(Scripted::default(), RecordFile::None).await;
    let to = it.peer_address();
    let answer = it.call(move |_, _, outbox| {
        outbox.send(to, said("farewell"));
        outbox.push(Effect::Stop("another process bears this id".to_owned()));
        outbox.send(to, said("never sent"));
    });
    assert_eq!(answer.await, None);
    let error = it.running.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "another process bears this id");
    assert_eq!(heard_now(&it.peer), Some("farewell".to_owned()));
    assert_eq!(heard_now(&it.peer), None);
    assert_eq!(it.handle.call(Box::new(|_, _, _| ())).await, None, "asking later is harmless");
}
