//! What a person types while a command runs is taken in its turn, as it was typed; and the terminal
//! is the person's again whenever the program ends or stops.

use crate::support::cluster::Cluster;
use crate::support::logs::Logs;
use crate::support::person::{CTRL_C, CTRL_D, CTRL_Z, Person, UP};
use crate::support::process::{Process, Signal, command};
use crate::support::screen::Screen;

const SIZE: (u16, u16) = (100, 30);

/// A client, and a server that sleeps, so that each command certainly waits.
fn at_sleeping_server() -> (Cluster, Person) {
    let mut cluster = Cluster::of(1);
    let mut client = command("client", cluster.folder());
    let address = cluster.view_address().to_string();
    client.args(["--view-server", &address, "--deadline", "30s"]);
    let mut person = Person::start(&cluster.logs, "client", &client, SIZE);
    person.wait_for_line("> ");
    person.enter("put a 0");
    person.wait_for("put completed");
    person.wait_for_line("> ");
    cluster.server("s1").signal(Signal::STOP);
    (cluster, person)
}

/// Waits until the command says that it waits. An earlier one may have had to, on a loaded machine.
#[track_caller]
fn wait_until_it_waits(person: &Person, line: &str) {
    person.wait_until("a command that waits", |screen| {
        let text = screen.text();
        let rest = text.split_once(&format!("> {line}\n")).map(|(_, rest)| rest);
        // Whom it waits for depends on who has noticed first that s1 sleeps.
        rest.is_some_and(|rest| rest.contains("..."))
    });
}

/// The lines that were typed at the prompt and their answers, without what waiting said.
fn conversation(person: &Person) -> Vec<String> {
    let text = person.text();
    let lines = text.lines().filter(|line| line.starts_with('>') || line.contains("a returned"));
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn lines_typed_ahead_are_executed_in_order_and_ctrl_d_behind_them_ends() {
    let mut cluster = Cluster::of(1);
    // What a program writes last can be lost with its terminal; a shell keeps that.
    let mut person = at_shell(&cluster);
    person.enter("$CLIENT --deadline 30s --view-server $VIEW; echo ended with $?");
    person.wait_for_line("> ");
    person.enter("put a 0");
    person.wait_for("put completed");
    person.wait_for_line("> ");
    cluster.server("s1").signal(Signal::STOP);
    person.enter("append a 1");
    wait_until_it_waits(&person, "append a 1");
    // One at a time, and several at once; Return, an arrow, and the end of the input.
    person.enter("append a 2");
    person.type_keys(&format!("append a 3\rget a\r{UP}{UP}\rget a\r"));
    person.type_keys(CTRL_D);
    cluster.server("s1").signal(Signal::CONT);
    person.wait_for("ended with 0");
    person.wait_until_cooked();
    let lines = conversation(&person);
    let expected = [
        "> put a 0",
        "> append a 1",
        "> append a 2",
        "> append a 3",
        "> get a",
        "get a returned 0, 1, 2, 3",
        "> append a 3",
        "> get a",
        "get a returned 0, 1, 2, 3, 3",
    ];
    assert_eq!(lines[..expected.len()], expected, "{}", person.text());
}

#[test]
fn ctrl_c_drops_what_was_typed_ahead_of_it() {
    let (mut cluster, mut person) = at_sleeping_server();
    // In one go, so that the editor has read the second line with the first.
    person.type_keys("append a 1\rappend a 2\r");
    wait_until_it_waits(&person, "append a 1");
    person.enter("append a 3");
    person.type_keys(CTRL_C);
    person.wait_for("interrupted while waiting for the answer");
    person.wait_for_line("> ");
    cluster.server("s1").signal(Signal::CONT);
    // Completion still knows the keys, and the history the lines.
    person.type_keys("get a\r");
    person.wait_for("get a returned 0");
    let answers = conversation(&person);
    assert!(!answers.iter().any(|line| line.contains('2') || line.contains('3')), "{answers:?}");
    person.wait_for_line("> ");
    person.type_keys(&format!("{UP}{UP}"));
    person.wait_for_line("> append a 1");
}

#[test]
fn a_view_server_takes_what_is_typed_while_it_waits() {
    let logs = Logs::default();
    let folder = tempfile::tempdir().unwrap();
    let mut view_server = command("viewserver", folder.path());
    view_server.args(["--listen", "127.0.0.1:0", "--state", "none", "--dead-after", "1s"]);
    let mut person = Person::start(&logs, "view", &view_server, SIZE);
    person.wait_for("view listening on ");
    let text = person.text();
    let (_, rest) = text.split_once("listening on ").unwrap();
    let address = rest.split_whitespace().next().unwrap().to_owned();
    let mut server = command("kvserver", folder.path());
    server.args(["s1", "--listen", "127.0.0.1:0", "--view-server", &address]);
    let server = Process::spawn(&logs, "s1", server);
    person.wait_for("s1 takes over");
    server.signal(Signal::STOP);
    // Nobody may say who is primary before the sleeper counts as lost.
    person.enter("view");
    person.wait_until("the line", |screen| screen.text().contains("viewserver> view\n"));
    assert!(!person.is_cooked());
    person.type_keys("help\r");
    person.type_keys(CTRL_D);
    person.wait_for("primary: none backup: none");
    person.wait_for("this list");
    // The end of the input ends no server, and the terminal is the person's.
    person.wait_until_cooked();
    person.type_keys(CTRL_C);
    assert_eq!(person.end(), Some(0));
}

#[test]
fn a_client_that_is_ended_while_a_command_waits_leaves_the_terminal_as_it_was() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::QUIT, 131)] {
        let (_cluster, mut person) = at_sleeping_server();
        person.enter("get a");
        wait_until_it_waits(&person, "get a");
        assert!(!person.is_cooked());
        person.signal(signal);
        assert_eq!(person.end(), Some(code));
        assert!(person.is_cooked());
    }
}

/// A shell without an editor of its own; `$CLIENT --view-server $VIEW` is a client.
fn at_shell(cluster: &Cluster) -> Person {
    let mut shell = command("sh", cluster.folder());
    shell.arg("-i").env("PS1", "shell$ ").env("CLIENT", env!("CARGO_BIN_EXE_client"));
    shell.env("VIEW", cluster.view_address().to_string());
    let person = Person::start(&cluster.logs, "sh", &shell, SIZE);
    person.wait_for_line("shell$ ");
    person
}

#[test]
fn ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back() {
    let cluster = Cluster::of(1);
    let mut person = at_shell(&cluster);
    person.enter("$CLIENT --view-server $VIEW");
    person.wait_for_line("> ");
    person.type_keys("put a ");
    person.wait_for_line("> put a ");
    person.type_keys(CTRL_Z);
    person.wait_for_line("shell$ ");
    person.wait_until_cooked();
    person.enter("fg");
    // The line may be drawn a moment before the mode is set.
    person.wait_for_line("> put a ");
    person.wait_until_raw();
    person.enter("1");
    person.wait_for("put completed");
    // The mode between two lines is still the one that keeps what is typed.
    person.wait_for_line("> ");
    person.type_keys("get a\rquit\r");
    person.wait_for("get a returned 1");
    person.wait_for_line("shell$ ");
    person.wait_until_cooked();
}

#[test]
fn a_command_that_waits_can_be_stopped_and_goes_on() {
    let mut cluster = Cluster::of(1);
    let mut person = at_shell(&cluster);
    cluster.server("s1").signal(Signal::STOP);
    person.enter("$CLIENT --deadline 30s --view-server $VIEW");
    person.wait_for_line("> ");
    person.enter("append a 1");
    person.wait_for("no primary");
    person.type_keys(CTRL_Z);
    person.wait_for_line("shell$ ");
    person.wait_until_cooked();
    person.enter("fg");
    person.wait_until_raw();
    person.type_keys("get a\r");
    cluster.server("s1").signal(Signal::CONT);
    person.wait_for("get a returned 1");
    person.enter("quit");
    person.wait_for_line("shell$ ");
}

#[test]
fn watch_gives_the_screen_back_while_it_is_stopped() {
    let cluster = Cluster::of(1);
    let mut person = at_shell(&cluster);
    person.enter("$CLIENT --view-server $VIEW watch --interval 100ms");
    let is_drawn = |screen: &Screen| screen.is_alternate() && screen.text().contains("primary s1");
    person.wait_until("the picture", is_drawn);
    person.type_keys(CTRL_Z);
    person.wait_until("the main screen", |screen| !screen.is_alternate());
    person.wait_for_line("shell$ ");
    person.wait_until_cooked();
    person.enter("fg");
    person.wait_until("the picture again", is_drawn);
    person.type_keys("q");
    person.wait_for_line("shell$ ");
    person.wait_until_cooked();
}
