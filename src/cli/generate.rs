//! What a program prints about itself: completion scripts for shells, and its man page. Both are
//! made of its flags, so that they cannot be older than those.
//!
//! `--completions SHELL` and `--man` stand alone on the command line, of every program; the client
//! also takes `completions SHELL` and `man` as commands. They come before anything else is read:
//! an installation has no hosts file.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Command, ValueEnum};
use clap_complete::Shell;

use crate::cli::CliError;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Completions(Shell),
    Man,
}

/// Prints what the command line of this process asks for, if it asks for nothing but that. `words`
/// are the commands of a program that takes commands.
#[must_use]
pub fn asked(command: Command, words: Vec<&'static str>) -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let asked = match parse(&arguments, !words.is_empty())? {
        Ok(asked) => asked,
        Err(complaint) => {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(std::io::stderr(), "{}: {complaint}", command.get_name());
            return Some(ExitCode::from(2));
        }
    };
    let name = command.get_name().to_owned();
    let told = tell(&mut std::io::stdout(), &text(command, words, asked));
    Some(super::exit(&name, told.map(|()| ExitCode::SUCCESS)))
}

/// Writes all of it. A reader that has gone away wanted no more.
fn tell(output: &mut impl Write, text: &[u8]) -> Result<(), CliError> {
    match output.write_all(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("stdout could not be written to its end: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn parse(arguments: &[OsString], takes_commands: bool) -> Option<Result<Asked, String>> {
    let mut arguments = arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
    let is = |word: &str, flag: &str| word == flag || (takes_commands && word == &flag[2..]);
    let (first, second, more) = (arguments.next()?, arguments.next(), arguments.next());
    if is(first, "--man") && second.is_none() {
        return Some(Ok(Asked::Man));
    }
    if !is(first, "--completions") || more.is_some() {
        return None;
    }
    let names: Vec<String> =
        Shell::value_variants().iter().map(|shell| shell.to_string()).collect();
    let shell = second.and_then(|name| Shell::from_str(name, false).ok());
    Some(
        shell.map(Asked::Completions).ok_or_else(|| {
            format!("{first} needs the name of a shell: one of {}", names.join(", "))
        }),
    )
}

fn text(command: Command, words: Vec<&'static str>, asked: Asked) -> Vec<u8> {
    let mut command = command.disable_help_subcommand(true);
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    match asked {
        Asked::Completions(shell) => {
            if !words.is_empty() {
                command = command.mut_arg("command", |argument| {
                    argument.value_parser(PossibleValuesParser::new(words))
                });
            }
            clap_complete::generate(shell, &mut command, name, &mut text);
        }
        Asked::Man => {
            clap_mangen::Man::new(command).render(&mut text).expect("a vector takes every byte");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str], takes_commands: bool) -> Option<Result<Asked, String>> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&words, takes_commands)
    }

    #[test]
    fn only_the_whole_command_line_asks_and_commands_only_where_there_are_commands() {
        let bash = Some(Ok(Asked::Completions(Shell::Bash)));
        for takes_commands in [false, true] {
            assert_eq!(parsed(&["--completions", "bash"], takes_commands), bash);
            assert_eq!(parsed(&["--man"], takes_commands), Some(Ok(Asked::Man)));
            for other in [&[][..], &["--man", "x"], &["get", "man"], &["--json", "--man"]] {
                assert_eq!(parsed(other, takes_commands), None, "{other:?}");
            }
        }
        assert_eq!(parsed(&["completions", "bash"], true), bash);
        assert_eq!(parsed(&["man"], true), Some(Ok(Asked::Man)));
        // A kv server may be named so.
        assert_eq!(parsed(&["completions", "bash"], false), None);
        assert_eq!(parsed(&["man"], false), None);
    }

    #[test]
    fn what_could_not_be_written_is_an_error_unless_nobody_reads_it() {
        struct Failing(ErrorKind);
        impl Write for Failing {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Err(self.0.into())
            }
        }
        assert!(tell(&mut Vec::new(), b"x").is_ok());
        assert!(tell(&mut Failing(ErrorKind::BrokenPipe), b"x").is_ok());
        assert!(tell(&mut Failing(ErrorKind::StorageFull), b"x").is_err());
    }

    #[test]
    fn a_shell_that_is_not_known_is_refused_with_those_that_are() {
        for words in [&["--completions"][..], &["--completions", "csh"]] {
            let complaint = parsed(words, false).unwrap().unwrap_err();
            assert!(complaint.contains("bash") && complaint.contains("fish"), "{complaint}");
        }
    }
}
