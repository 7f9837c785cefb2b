//! A key for servers and one for clients.

use super::*;
use crate::protocol::message::{
    Announce, ClientRequest, Fail, FailReason, GetView, Probe, Refused, Success,
};
use crate::types::{Incarnation, ServerId};

const BOTH: [&str; 2] = [A_KEY, CLIENT_KEY];

/// A client with its own key says so; then, to see what it gets, it claims to be something else.
fn claiming(role: Role) -> Node {
    let mut node = node(Role::Client, &[CLIENT_KEY], 1);
    node.seal.role = role;
    node
}

#[test]
fn a_client_with_its_key_is_served_as_a_client() {
    let (mut a, mut b) = (node(Role::Client, &[CLIENT_KEY], 1), node(Role::Server, &BOTH, 2));
    let hello = a.send(b.address, "question");
    assert_eq!(carry(&mut a, &mut b, hello).1, ["question"]);
    let answer = only(b.send(a.address, "answer"));
    assert_eq!(a.take(&b, &answer).0, Got::Clear("answer".to_owned(), Role::Server));
}

#[test]
fn the_key_of_a_client_makes_no_server() {
    for role in [Role::Server, Role::ViewServer] {
        let (mut a, mut b) = (claiming(role), node(Role::Server, &BOTH, 2));
        let hello = only(a.send(b.address, "forged"));
        assert_eq!(b.take(&a, &hello), (Got::Refused(Refusal::Role), vec![]));
        // One that was welcomed as a client, and changes its mind.
        let mut a = claiming(Role::Client);
        let hello = a.send(b.address, "question");
        carry(&mut a, &mut b, hello);
        a.seal.role = role;
        a.seal.peers.get_mut(b.address).unwrap().known.as_mut().unwrap().sealing = None;
        let data = only(a.send(b.address, "forged"));
        let (got, answers) = b.take(&a, &data);
        assert!(matches!(got, Got::Refused(_)), "{got:?}");
        assert_eq!(answers, vec![]);
    }
}

#[test]
fn clients_do_not_hear_one_another() {
    let (mut a, mut b) =
        (node(Role::Client, &[CLIENT_KEY], 1), node(Role::Client, &[CLIENT_KEY], 2));
    let hello = only(a.send(b.address, "question"));
    assert_eq!(b.take(&a, &hello), (Got::Refused(Refusal::Role), vec![]));
}

#[test]
fn each_role_takes_what_the_other_one_may_say_and_nothing_else() {
    let anybody = [
        Message::GetView(GetView {}),
        Message::ClientRequest(ClientRequest::default()),
        Message::Probe(Probe::default()),
    ];
    let answers = [
        Message::Success(Success {
            command: "get".to_owned(),
            key: "k".into(),
            value: None,
            result: None,
        }),
        Message::Fail(Fail {
            reason: FailReason::Busy,
            detail: None,
            number: 1,
            primary: None,
            primary_address: None,
        }),
    ];
    let servers = [Message::Announce(Announce {
        id: ServerId::from("s1"),
        incarnation: Incarnation(1),
        address: None,
    })];
    let view_server = [Message::Refused(Refused { to: Incarnation(1), holder: at(1) })];
    for (ours, theirs, taken) in [
        (Role::Server, Role::Client, &anybody[..]),
        (Role::ViewServer, Role::Client, &anybody),
        (Role::Client, Role::Server, &answers),
        (Role::Client, Role::ViewServer, &answers),
        (Role::Server, Role::Server, &servers),
        (Role::ViewServer, Role::Server, &servers),
        (Role::Server, Role::ViewServer, &view_server),
        (Role::Client, Role::Client, &[]),
    ] {
        for message in anybody.iter().chain(&answers).chain(&servers).chain(&view_server) {
            let expected = taken.contains(message);
            assert_eq!(ours.takes(theirs, message), expected, "{ours:?} {theirs:?} {message:?}");
        }
    }
}

#[test]
fn a_server_speaks_first_only_with_the_key_of_the_cluster() {
    let mut server = node(Role::Server, &[CLIENT_KEY, A_KEY], 2);
    let hello = Header::decode(&only(server.send(at(1), "replicate"))).unwrap();
    assert_eq!(server.seal.keyring.find(hello.key), Some(1));
}

#[test]
fn a_client_does_not_take_the_place_of_a_server_that_is_there_or_asked_for() {
    let (mut first, mut second) = (node(Role::Server, &BOTH, 2), node(Role::Server, &BOTH, 3));
    let mut client = node(Role::Client, &[CLIENT_KEY], 3);
    // Asked for: on the path, the client answers in the server's place, or comes by itself.
    first.replicate(second.address, "replicate");
    let hello = client.send(first.address, "me");
    let (at_client, at_first) = carry(&mut client, &mut first, hello);
    assert_eq!((at_client, at_first), (vec![], vec!["me".to_owned()]), "heard as a client");
    assert!(first.replicate(second.address, "replicate").is_empty(), "still asking");
    // There.
    after(&mut first, Duration::from_millis(5));
    let hello = first.replicate(second.address, "replicate");
    assert!(!carry(&mut first, &mut second, hello).1.is_empty());
    let again = client.send(first.address, "me");
    carry(&mut client, &mut first, again);
    let data = only(first.replicate(second.address, "replicate"));
    assert!(matches!(second.take(&first, &data).0, Got::Clear(_, _)));
    // Gone for long: the port is somebody else's now.
    after(&mut first, Duration::from_secs(10));
    client.restart(44);
    let hello = client.send(first.address, "me");
    carry(&mut client, &mut first, hello);
    let answer = first.send(client.address, "answer");
    assert!(matches!(client.take(&first, &answer.last().unwrap().bytes).0, Got::Clear(_, _)));
}

#[test]
fn an_answer_to_a_client_that_was_forgotten_holds_its_place_for_nobody() {
    let mut server = node(Role::Server, &BOTH, 2);
    let mut client = node(Role::Client, &[CLIENT_KEY], 3);
    let hello = client.send(server.address, "question");
    carry(&mut client, &mut server, hello);
    server.seal.peers = Peers::default();
    server.send(client.address, "answer");
    let again = client.send(server.address, "question");
    let (at_client, at_server) = carry(&mut client, &mut server, again);
    assert_eq!(
        (&at_client[..], &at_server[..]),
        (&["answer".to_owned()][..], &["question".to_owned()][..])
    );
}

#[test]
fn what_is_meant_for_a_server_is_not_sealed_for_a_client_that_was_there_first() {
    let mut first = node(Role::Server, &BOTH, 2);
    let mut client = node(Role::Client, &[CLIENT_KEY], 3);
    let hello = client.send(first.address, "me");
    carry(&mut client, &mut first, hello);
    let sent = only(first.replicate(client.address, "replicate"));
    assert_eq!(Header::decode(&sent).unwrap().form, Form::Hello);
    assert_eq!(client.take(&first, &sent).0, Got::Refused(Refusal::UnknownKey));
    let again = client.send(first.address, "me");
    assert_eq!(carry(&mut client, &mut first, again).0, [""; 0]);
    let mut second = node(Role::Server, &BOTH, 3);
    after(&mut first, Duration::from_millis(5));
    let hello = first.replicate(second.address, "more");
    assert_eq!(carry(&mut first, &mut second, hello).1, ["replicate", "more"]);
}
