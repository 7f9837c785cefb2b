//! The client's conversation: one shot, a pipe, or a person.
//!
//! One operation at a time, in the order of the lines, one answer a line. A line that cannot be
//! executed does not stop the next one.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::CliError;
use crate::cli::client_answer::{
    Form, Printed, exit_code, of_action, of_help, of_help_on, of_mistake,
};
use crate::cli::client_command::{ONE_SHOT_USAGES, Typed, USAGES, parse};
use crate::cli::editor::{self, KeptMode};
use crate::cli::serve::on_own_thread;
use crate::cli::terminal::Terminal;
use crate::cli::typed::Mistake;
use crate::protocol::client::{Action, Completed, Failure, FailureReason};
use crate::protocol::message::KeysPage;
use crate::runtime::Client;

mod waiting;

/// What the client is started for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// One command, then the end.
    OneShot(Action),
    /// Lines from stdin, until they end or `quit` is typed.
    Lines,
}

/// What the words of the command line ask for, or the exit code if they need no cluster. Nothing
/// has been sent, and no configuration read, when they are wrong.
///
/// # Errors
/// The exit code, once everything has been said.
pub fn task(form: Form, words: &[String], terminal: &mut Terminal<'_>) -> Result<Task, ExitCode> {
    if words.is_empty() {
        return Ok(Task::Lines);
    }
    match parse(words) {
        Ok(Typed::Act(action)) => Ok(Task::OneShot(action)),
        Ok(Typed::Help) => {
            let told = print(terminal, of_help(form, &[USAGES, ONE_SHOT_USAGES].concat()));
            Err(ExitCode::from(u8::from(told.is_err())))
        }
        Ok(Typed::HelpOn(usage)) => {
            let told = print(terminal, of_help_on(form, usage));
            Err(ExitCode::from(u8::from(told.is_err())))
        }
        Ok(Typed::Quit) => Err(ExitCode::SUCCESS),
        Err(mistake) => {
            let _ = print(terminal, of_mistake(form, words.first().map(String::as_str), &mistake));
            Err(ExitCode::from(2))
        }
    }
}

/// Carries out the task on this cluster.
///
/// # Errors
/// When the system has no thread left, or lets nobody handle signals.
pub async fn run(client: Client, form: Form, task: Task) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Handle::current();
    let is_edited = task == Task::Lines && editor::is_possible();
    let _mode = is_edited.then(KeptMode::now);
    // Ended by a signal, this process would leave the terminal in raw mode. Ctrl-C ends nothing but
    // the command that waits, and between two commands nothing at all.
    let signals = is_edited.then(|| {
        Ok::<_, std::io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ))
    });
    let signals = signals.transpose().map_err(CliError::failed)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let stop_writing = Arc::clone(&interrupted);
    let console = move || {
        let ask = |action: &Action| runtime.block_on(act(&client, action));
        match task {
            // A line editor belongs to lines; one shot reads nothing.
            Task::OneShot(action) => {
                let result = ask(&action);
                let printed = of_action(form, &action, &result);
                let told = print(&mut Terminal::standard("> "), printed);
                if told.is_ok() { exit_code(&result) } else { 1 }
            }
            Task::Lines => {
                let keys = waiting::key_source(client.clone(), runtime.clone());
                let history = editor::client_history();
                let mut terminal = Terminal::interactive("> ", USAGES, history, Some(keys));
                terminal.stop_writing = terminal.editor.is_some().then_some(stop_writing);
                let form = if form == Form::Text && !terminal.is_typed { Form::Line } else { form };
                let done = if terminal.editor.is_some() {
                    lines(&mut terminal, form, |action| {
                        runtime.block_on(waiting::with_patience(&client, action))
                    })
                } else {
                    lines(&mut terminal, form, ask)
                };
                // A person has seen what failed and may have tried again.
                u8::from(!(done || terminal.is_typed))
            }
        }
    };
    let done = on_own_thread(console)?;
    let done = match signals {
        Some((mut terminate, mut interrupt)) => {
            tokio::pin!(done);
            loop {
                tokio::select! {
                    done = &mut done => break done,
                    _ = terminate.recv() => return Ok(ExitCode::from(128 + 15)),
                    _ = interrupt.recv() => interrupted.store(true, Ordering::Relaxed),
                }
            }
        }
        None => done.await,
    };
    Ok(ExitCode::from(done.unwrap_or(1)))
}

/// Carries out one operation.
async fn act(client: &Client, action: &Action) -> Result<Completed, Failure> {
    if let Action::Keys { prefix, start_after: None } = action {
        let keys = client.all_keys(prefix).await?;
        return Ok(Completed::Keys(KeysPage { keys, more: false }));
    }
    client.execute(action.clone()).await
}

/// Executes lines until they end. Returns whether all of them could be executed, and answered.
fn lines(
    terminal: &mut Terminal<'_>,
    form: Form,
    mut ask: impl FnMut(&Action) -> Result<Completed, Failure>,
) -> bool {
    let mut all_done = true;
    while let Some(words) = terminal.words() {
        let printed = match understand(words) {
            Ok(Typed::Act(action)) => {
                let result = ask(&action);
                all_done &= result.is_ok();
                if result.as_ref().is_err_and(|failure| failure.reason == FailureReason::GivenUp) {
                    // Whoever stops one of several lines does not want the others.
                    terminal.forget_typed();
                }
                of_action(form, &action, &result)
            }
            Ok(Typed::Help) => of_help(form, USAGES),
            Ok(Typed::HelpOn(usage)) => of_help_on(form, usage),
            Ok(Typed::Quit) => break,
            Err((word, mistake)) => {
                all_done = false;
                terminal.point(&mistake, USAGES);
                of_mistake(form, word.as_deref(), &mistake)
            }
        };
        if print(terminal, printed).is_err() {
            // Whoever was to read the answers has gone: what is left of the script might do harm
            // that nobody sees.
            return false;
        }
    }
    all_done
}

fn understand(words: Result<Vec<String>, Mistake>) -> Result<Typed, (Option<String>, Mistake)> {
    let words = words.map_err(|mistake| (None, mistake))?;
    parse(&words).map_err(|mistake| (words.into_iter().next(), mistake))
}

fn print(terminal: &mut Terminal<'_>, printed: Printed) -> std::io::Result<()> {
    let told = printed.output.map_or(Ok(()), |output| terminal.answer(&output));
    if let Some(errors) = printed.errors {
        terminal.complain(&errors);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::tests::feed;
    use crate::kv::command::Command;
    use crate::protocol::client::FailureOutcome;

    fn failure() -> Failure {
        Failure { outcome: FailureOutcome::NotExecuted, reason: FailureReason::Closed }
    }

    /// Answers gets with a missing key, completes all writes but those of key `bad`.
    fn cluster(action: &Action) -> Result<Completed, Failure> {
        match action {
            Action::Write(Command::Put { key, .. }) if &*key.0 == "bad" => Err(failure()),
            Action::Write(Command::Cas(_)) => Ok(Completed::Mismatch(0)),
            Action::Write(_) => Ok(Completed::Written),
            Action::Get(_) => Ok(Completed::List(None)),
            Action::Mget(keys) => Ok(Completed::Lists(vec![None; keys.len()])),
            Action::Snapshot(_) => Err(failure()),
            Action::Exists(_) => Ok(Completed::Exists(false)),
            Action::Len(_) => Ok(Completed::Length(0)),
            Action::Keys { prefix, .. } => {
                let keys = vec![prefix.clone(), "z".into()];
                Ok(Completed::Keys(KeysPage { keys, more: false }))
            }
            Action::View => Ok(Completed::View(Default::default())),
        }
    }

    fn script(form: Form, input: &str) -> (bool, String, String) {
        feed(input.as_bytes(), |terminal| lines(terminal, form, cluster))
    }

    #[test]
    fn a_script_is_executed_in_order_with_one_answer_a_line() {
        let (done, output, errors) =
            script(Form::Text, "put a 1\n\nappend a \"x y\"\nget a\nremove a\nview");
        assert!(done);
        assert_eq!(
            output,
            "put completed\nappend completed\nget a returned null\nremove completed\n\
             primary: none backup: none\n"
        );
        assert_eq!(errors, "");
    }

    #[test]
    fn an_answer_of_no_fails_no_script() {
        let (done, output, errors) =
            script(Form::Line, "exists a\ncas a 1 2\nkeys a\nmget a b\nlen a");
        assert!(done && errors.is_empty(), "{errors}");
        assert_eq!(
            output,
            "exists a returned false\ncas failed: a is missing\nkeys returned a, z\n\
             mget returned a : null, b : null\nlen a returned 0\n"
        );
    }

    #[test]
    fn what_cannot_be_executed_does_not_stop_the_next_line() {
        let (done, output, errors) =
            script(Form::Text, "put bad 1\nput a\nfrob\nput 'a 1\nget a\n");
        assert!(!done);
        assert_eq!(output, "unable to execute put\nget a returned null\n");
        let first = failure().to_string();
        assert!(errors.starts_with(&format!("{first}\nInvalid put command\nusage: ")), "{errors}");
        assert!(errors.contains("\nunknown command\n"), "{errors}");
        assert!(errors.contains("single quote"), "{errors}");
    }

    #[test]
    fn each_mistake_alone_fails_a_script() {
        for line in ["put bad 1", "put a", "frob", "put 'a"] {
            assert!(!script(Form::Text, line).0, "{line}");
        }
        assert!(script(Form::Text, "help\nquit\nfrob").0);
    }

    #[test]
    fn json_has_one_object_a_command() {
        let (_, output, _) = script(Form::Json, "put a 1\nput bad 1\nfrob\n'x\nput\nhelp\nview");
        let objects: Vec<serde_json::Value> =
            output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ok: Vec<bool> = objects.iter().map(|object| object["ok"] == true).collect();
        assert_eq!(ok, [true, false, false, false, false, true, true]);
        assert_eq!(objects[2]["command"], "frob");
        assert_eq!(objects[3]["command"], serde_json::Value::Null);
    }

    #[test]
    fn bench_and_check_are_no_lines() {
        let (done, output, errors) = script(Form::Text, "bench\ncheck h.jsonl\nhelp");
        assert!(!done && errors.starts_with("unknown command\n\"bench\" is none of"), "{errors}");
        assert!(output.starts_with("put KEY VALUE") && !output.contains("bench"), "{output}");
    }

    #[test]
    fn a_script_stops_when_nobody_reads_the_answers() {
        struct Closed;
        impl std::io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut asked = 0;
        let (done, _, _) = feed(b"put a 1\nput a 2\n", |terminal| {
            terminal.output = Box::new(Closed);
            lines(terminal, Form::Text, |action| {
                asked += 1;
                cluster(action)
            })
        });
        assert_eq!((done, asked), (false, 1));
    }

    #[test]
    fn the_command_line_is_understood_before_anything_is_sent() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let task =
            |line: &str| feed(b"", |terminal| super::task(Form::Text, &words(line), terminal));
        assert!(matches!(task("put a 1"), (Ok(Task::OneShot(_)), _, _)));
        let (result, output, errors) = task("put a");
        assert_eq!((result, output.as_str()), (Err(ExitCode::from(2)), ""));
        assert!(errors.starts_with("Invalid put command\n"), "{errors}");
        let (result, output, _) = task("help");
        assert_eq!(result, Err(ExitCode::SUCCESS));
        assert!(output.starts_with("put KEY VALUE"), "{output}");
        assert!(
            output.contains("\nbench [FLAGS]") && output.contains("\ncheck HISTORY"),
            "{output}"
        );
        let (none, _, _) = feed(b"", |terminal| super::task(Form::Text, &[], terminal));
        assert_eq!(none, Ok(Task::Lines));
    }
}
