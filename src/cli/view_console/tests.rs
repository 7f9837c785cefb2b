use super::*;
use crate::cli::terminal::tests::feed;
use crate::protocol::view::{Member, Shown, View};
use crate::time::Timestamp;
use crate::types::{Epoch, Incarnation, ServerId, ViewId};

fn shown() -> Shown {
    let member = |id: &str| Member {
        id: ServerId::from(id),
        incarnation: Incarnation(1),
        address: "127.0.0.1:5010".parse().unwrap(),
    };
    Shown {
        view: ViewId { epoch: Epoch(1, 1), number: 7 },
        primary: Some(member("s1")),
        backup: None,
        waiting: None,
    }
}

/// Runs the console over these lines; returns how it left, its answers, its complaints and what
/// it asked.
fn run(
    input: &str,
    mut reply: impl FnMut(&Command) -> Answer,
) -> (Left, String, String, Vec<Command>) {
    let mut asked = Vec::new();
    let (left, output, errors) = feed(input.as_bytes(), |terminal| {
        console(terminal, |command| {
            let answer = reply(&command);
            asked.push(command);
            Some(answer)
        })
    });
    (left, output, errors, asked)
}

fn reset_replies(command: &Command) -> Answer {
    match command {
        Command::PrepareReset => Answer::ResetPrepared("all is lost".to_owned()),
        Command::Reset => Answer::ResetDone("reset done".to_owned()),
        Command::View
        | Command::Status
        | Command::Measure
        | Command::History
        | Command::Explain
        | Command::Switchover(_)
        | Command::Drain { .. }
        | Command::Undrain(_) => {
            panic!("not asked for")
        }
    }
}

#[test]
fn answers_come_in_the_order_typed() {
    let (left, output, errors, asked) =
        run("view\n\nfrob\nview now\nhelp\nview\n", |_| Answer::View(shown()));
    assert_eq!(left, Left::InputEnded);
    assert_eq!(asked, [Command::View, Command::View]);
    assert!(output.starts_with("primary: s1 backup: none\nview "), "{output}");
    assert!(output.ends_with("\nprimary: s1 backup: none\n"), "{output}");
    assert!(errors.starts_with("unknown command\n"), "{errors}");
    assert!(errors.contains("Invalid view command\nusage: view\n"), "{errors}");
}

#[test]
fn quit_ends_the_console_before_the_lines_behind_it() {
    let (left, output, _, asked) = run("quit\nview\n", |_| Answer::View(shown()));
    assert_eq!((left, output.as_str(), asked.len()), (Left::Quit, "", 0));
}

#[test]
fn reset_asks_and_takes_the_next_line_for_the_answer() {
    let (_, output, _, asked) = run("reset\nyes\n", reset_replies);
    assert_eq!(asked, [Command::PrepareReset, Command::Reset]);
    assert!(output.starts_with("all is lost\ntype yes"), "{output}");
    assert!(output.ends_with("\nreset done\n"), "{output}");
    for input in ["reset\nno\n", "reset\n\n", "reset\n"] {
        let (_, output, _, asked) = run(input, reset_replies);
        assert_eq!(asked, [Command::PrepareReset]);
        assert!(output.ends_with("\nreset cancelled\n"), "{output}");
    }
}

#[test]
fn reset_with_the_flag_does_not_ask() {
    let (_, output, _, asked) = run("reset --accept-loss\n", reset_replies);
    assert_eq!((asked.as_slice(), output.as_str()), (&[Command::Reset][..], "reset done\n"));
}

#[test]
fn a_refused_reset_says_why_on_stderr() {
    let refuse = |_: &Command| Answer::ResetRefused("s2 answers".to_owned());
    let (_, output, errors, _) = run("reset\nreset --accept-loss\n", refuse);
    assert_eq!(output, "unable to execute reset\nunable to execute reset\n");
    assert_eq!(errors, "s2 answers\ns2 answers\n");
}

#[test]
fn status_has_a_line_a_server_that_begins_with_its_id() {
    let server =
        |id: &str, role: &str, alive: bool, silent: Option<u64>, synced: bool| ServerStatus {
            id: ServerId::from(id),
            role: role.to_owned(),
            alive,
            silent: silent.map(Duration::from_millis),
            incarnation: silent.map(|_| Incarnation(0xabc)),
            address: "127.0.0.1:5010".parse().unwrap(),
            synced,
        };
    let status = Status {
        shown: Shown { waiting: Some("s2, the last copy".to_owned()), ..shown() },
        servers: vec![
            server("s1", "primary", true, Some(10), true),
            server("s2", "backup", false, Some(1_250), false),
            server("s3", "spare", false, None, false),
        ],
    };
    assert_eq!(
        status_text(&status),
        "view number: 7\n\
         s1 primary, alive, incarnation 0000000000000abc, synced, at 127.0.0.1:5010\n\
         s2 backup, not alive, last heard of 1.2s ago, incarnation 0000000000000abc, not synced, \
         at 127.0.0.1:5010\n\
         s3 spare, not alive, never heard of, incarnation unknown, not synced, at 127.0.0.1:5010\n\
         waiting: s2, the last copy"
    );
    let empty = Status { shown: Shown::default(), servers: Vec::new() };
    assert_eq!(status_text(&empty), "no view yet\nno servers known");
}

#[test]
fn history_shows_each_change_with_its_age_its_members_and_its_reason() {
    let member = shown().primary.unwrap();
    let id = shown().view;
    let view = View {
        id,
        primary: member.clone(),
        backup: None,
        joining: Some(Member { id: "s2".into(), ..member }),
        since: id,
        genesis: false,
    };
    let reason = "s2 joins".to_owned();
    let change = ViewChange { at: Timestamp(1), view, phase: Phase::Active, reason };
    let (_, output, errors, asked) =
        run("history\n", |_| Answer::History(vec![(Duration::from_millis(2500), change.clone())]));
    assert_eq!(output, "2.5s ago: view 7 active: primary s1, joining s2 (s2 joins)\n");
    assert_eq!((errors.as_str(), asked), ("", vec![Command::History]));
    let (_, output, ..) = run("history\n", |_| Answer::History(Vec::new()));
    assert_eq!(output, "no view yet\n");
}

#[test]
fn switchover_takes_an_id_or_none_and_a_refusal_says_why_on_stderr() {
    let (_, output, errors, asked) = run("switchover\nswitchover s2\nswitchover a b\n", |asked| {
        let waiting = Some("waiting for s1 to receive the state".to_owned());
        if *asked == Command::Switchover(None) {
            return Answer::SwitchedOver(Shown { waiting, ..shown() });
        }
        Answer::SwitchoverRefused("s2 is a spare".to_owned())
    });
    assert_eq!(asked, [Command::Switchover(None), Command::Switchover(Some("s2".into()))]);
    assert_eq!(
        output,
        "primary: s1 backup: none\nwaiting for s1 to receive the state\n\
         unable to execute switchover\n"
    );
    assert_eq!(errors, "s2 is a spare\nInvalid switchover command\nusage: switchover [ID]\n");
}

#[test]
fn drain_takes_an_id_and_perhaps_force_and_undrain_an_id() {
    let input = "drain s2\ndrain s2 --force\nundrain s2\ndrain\ndrain s2 --now\n";
    let drain = |force| Command::Drain { id: "s2".into(), force };
    let (_, output, errors, asked) = run(input, |asked| {
        if *asked == drain(false) {
            Answer::DrainRefused("one of two".to_owned())
        } else if *asked == drain(true) {
            Answer::Drained("s2 is drained".to_owned())
        } else {
            Answer::UndrainRefused("s2 is not drained".to_owned())
        }
    });
    assert_eq!(asked, [drain(false), drain(true), Command::Undrain("s2".into())]);
    assert_eq!(output, "unable to execute drain\ns2 is drained\nunable to execute undrain\n");
    assert!(
        errors.starts_with("one of two\ns2 is not drained\nInvalid drain command\n"),
        "{errors}"
    );
}

#[test]
fn what_servers_call_themselves_stays_on_its_line() {
    let evil = "s9 primary, alive\nprimary: evil\u{1b}[2J";
    let server = ServerStatus {
        id: ServerId::from(evil),
        role: "spare".to_owned(),
        alive: true,
        silent: None,
        incarnation: None,
        address: "127.0.0.1:5010".parse().unwrap(),
        synced: false,
    };
    let waiting = Some(format!("waiting for {evil}"));
    let status = Status { shown: Shown { waiting, ..shown() }, servers: vec![server] };
    let (_, output, _, _) = run("status\n", |_| Answer::Status(status.clone()));
    assert_eq!(output.lines().count(), 3, "{output}");
    let (_, output, _, _) = run("explain\n", |_| Answer::Explained(vec![evil.to_owned()]));
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(!output.contains('\u{1b}'), "{output}");
}
