//! What is typed at the view server: `view`, `status`, `history`, `explain`,
//! `switchover`, `drain`, `undrain`, `reset`.
//!
//! Giving up all data needs a `yes`, or `--accept-loss` on the same line.

use std::time::Duration;

use crate::cli::serve::Left;
use crate::cli::terminal::{Terminal, printable};
use crate::cli::typed::{Mistake, Usage, find, help};
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Command, ServerStatus, Status, ViewChange};
use crate::types::{ServerId, ViewId};

/// Every command, in the order of the help.
pub const USAGES: &[Usage] = &[
    Usage { word: "view", arguments: "", purpose: "who is primary and backup now" },
    Usage { word: "status", arguments: "", purpose: "the view number, and a line a server" },
    Usage { word: "history", arguments: "", purpose: "the last view changes, and why" },
    Usage {
        word: "explain",
        arguments: "",
        purpose: "why the view is as it is, and what would change it",
    },
    Usage {
        word: "switchover",
        arguments: "[ID]",
        purpose: "the backup becomes primary, without a failure",
    },
    Usage { word: "drain", arguments: "ID [--force]", purpose: "take a server out of service" },
    Usage { word: "undrain", arguments: "ID", purpose: "let a drained server join again" },
    Usage {
        word: "reset",
        arguments: "[--accept-loss]",
        purpose: "after the loss of all data: begin an empty history",
    },
    Usage { word: "help", arguments: "", purpose: "this list" },
    Usage { word: "quit", arguments: "", purpose: "end the view server" },
];

/// A command, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Typed {
    View,
    Status,
    History,
    Explain,
    Switchover(Option<ServerId>),
    Drain { id: ServerId, force: bool },
    Undrain(ServerId),
    Reset { confirmed: bool },
    Help,
    Quit,
}

fn parse(words: &[String]) -> Result<Typed, Mistake> {
    let usage = find(words, USAGES)?;
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match (usage.word, arguments.as_slice()) {
        ("view", []) => Ok(Typed::View),
        ("status", []) => Ok(Typed::Status),
        ("history", []) => Ok(Typed::History),
        ("explain", []) => Ok(Typed::Explain),
        ("switchover", []) => Ok(Typed::Switchover(None)),
        ("switchover", [id]) => Ok(Typed::Switchover(Some(ServerId::from(*id)))),
        ("drain", [id] | [id, "--force"]) => {
            Ok(Typed::Drain { id: ServerId::from(*id), force: arguments.len() == 2 })
        }
        ("undrain", [id]) => Ok(Typed::Undrain(ServerId::from(*id))),
        ("reset", []) => Ok(Typed::Reset { confirmed: false }),
        ("reset", ["--accept-loss"]) => Ok(Typed::Reset { confirmed: true }),
        ("help", []) => Ok(Typed::Help),
        ("quit", []) => Ok(Typed::Quit),
        _ => Err(Mistake::invalid(usage)),
    }
}

/// Answers the lines of the terminal, in order, until they end or `quit` is typed.
pub fn console(
    terminal: &mut Terminal<'_>,
    mut ask: impl FnMut(Command) -> Option<Answer>,
) -> Left {
    while let Some(words) = terminal.words() {
        let typed = match words.and_then(|words| parse(&words)) {
            Ok(typed) => typed,
            Err(mistake) => {
                terminal.complain_of(&mistake, USAGES);
                continue;
            }
        };
        let answer = match typed {
            Typed::View => ask(Command::View),
            Typed::Status => ask(Command::Status),
            Typed::History => ask(Command::History),
            Typed::Explain => ask(Command::Explain),
            Typed::Switchover(to) => ask(Command::Switchover(to)),
            Typed::Drain { id, force } => ask(Command::Drain { id, force }),
            Typed::Undrain(id) => ask(Command::Undrain(id)),
            Typed::Reset { confirmed: true } => ask(Command::Reset),
            Typed::Reset { confirmed: false } => match ask(Command::PrepareReset) {
                Some(Answer::ResetPrepared(warning)) if !confirm(terminal, &warning) => {
                    let _ = terminal.answer("reset cancelled");
                    continue;
                }
                Some(Answer::ResetPrepared(_)) => ask(Command::Reset),
                other => other,
            },
            Typed::Help => {
                let _ = terminal.answer(&help(USAGES));
                continue;
            }
            Typed::Quit => return Left::Quit,
        };
        // Without an answer the server itself has ended, and says why.
        let Some(answer) = answer else { return Left::InputEnded };
        // A reader that has gone away is no reason to end a server.
        let _ = terminal.answer(&text_of(&answer));
        if let Answer::ResetRefused(reason)
        | Answer::SwitchoverRefused(reason)
        | Answer::DrainRefused(reason)
        | Answer::UndrainRefused(reason) = answer
        {
            terminal.complain(&reason);
        }
    }
    Left::without_lines(terminal)
}

/// Shows what will be lost and takes the next line for the answer.
fn confirm(terminal: &mut Terminal<'_>, warning: &str) -> bool {
    let _ = terminal.answer(&format!("{warning}\ntype yes to go on, anything else to cancel"));
    terminal.answer_to_question().is_some_and(|line| line.trim() == "yes")
}

fn text_of(answer: &Answer) -> String {
    match answer {
        Answer::View(shown) => shown.to_string(),
        Answer::Status(status) => status_text(status),
        Answer::History(changes) if changes.is_empty() => "no view yet".to_owned(),
        Answer::History(changes) => {
            let lines: Vec<_> = changes.iter().map(|(ago, it)| change_text(*ago, it)).collect();
            lines.join("\n")
        }
        Answer::ResetPrepared(text) | Answer::ResetDone(text) => text.clone(),
        Answer::Explained(lines) => {
            let lines: Vec<_> = lines.iter().map(|line| printable(line)).collect();
            lines.join("\n")
        }
        Answer::SwitchedOver(shown) => match &shown.waiting {
            Some(waiting) => format!("{shown}\n{waiting}"),
            None => shown.to_string(),
        },
        Answer::Drained(text) => text.clone(),
        Answer::DrainRefused(_) => "unable to execute drain".to_owned(),
        Answer::UndrainRefused(_) => "unable to execute undrain".to_owned(),
        Answer::SwitchoverRefused(_) => "unable to execute switchover".to_owned(),
        Answer::ResetRefused(_) => "unable to execute reset".to_owned(),
        // Asked by nobody here.
        Answer::Measures(_) => String::new(),
    }
}

fn status_text(status: &Status) -> String {
    let mut lines = vec![match status.shown.view.number {
        0 => "no view yet".to_owned(),
        number => format!("view number: {number}"),
    }];
    lines.extend(status.servers.iter().map(server_text));
    if status.servers.is_empty() {
        lines.push("no servers known".to_owned());
    }
    if let Some(waiting) = &status.shown.waiting {
        lines.push(format!("waiting: {}", printable(waiting)));
    }
    lines.join("\n")
}

fn server_text(server: &ServerStatus) -> String {
    let life = match (server.alive, server.silent) {
        (true, _) => "alive".to_owned(),
        (false, Some(silent)) => format!("not alive, last heard of {} ago", rounded(silent)),
        (false, None) => "not alive, never heard of".to_owned(),
    };
    let incarnation = match server.incarnation {
        Some(incarnation) => format!("incarnation {incarnation}"),
        None => "incarnation unknown".to_owned(),
    };
    let synced = if server.synced { "synced" } else { "not synced" };
    let ServerStatus { id, role, address, .. } = server;
    let text = format!("{id} {role}, {life}, {incarnation}, {synced}, at {address}");
    printable(&text).into_owned()
}

/// One view change: how long ago, the view and its members, and why.
fn change_text(ago: Duration, change: &ViewChange) -> String {
    let view = &change.view;
    let mut members = format!("primary {}", view.primary);
    for (role, member) in [("backup", &view.backup), ("joining", &view.joining)] {
        if let Some(member) = member {
            members += &format!(", {role} {member}");
        }
    }
    let phase = match change.phase {
        Phase::Proposed => "proposed",
        Phase::Active => "active",
    };
    let ViewId { number, .. } = view.id;
    let text =
        format!("{} ago: view {number} {phase}: {members} ({})", rounded(ago), change.reason);
    printable(&text).into_owned()
}

/// A time in units that a person would choose.
fn rounded(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}min {}s", seconds / 60, seconds % 60),
        3600.. => format!("{}h {}min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests;
