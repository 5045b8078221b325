//! Running other programs: said on stderr before, explained when they fail.

use crate::folders::{root, tools};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `PATH` with our tools and the page's Node programs in front.
fn search_path() -> Result<OsString> {
    let mut folders = vec![tools()?.join("bin"), root().join("tests/web/node_modules/.bin")];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    Ok(std::env::join_paths(folders)?)
}

/// A program, run in the checkout's root with our tools on `PATH`. It prints to stderr: stdout holds
/// only what a task answers, such as the demo's address.
pub(crate) fn program(name: &str, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(name);
    command.args(args).current_dir(root()).env("PATH", search_path()?);
    command.stdout(std::io::stderr());
    Ok(command)
}

/// Runs a program to its end; `hint` says what to do if it fails.
pub(crate) fn run(mut command: Command, hint: &str) -> Result<()> {
    let line = announce(&command);
    let status =
        command.status().with_context(|| format!("`{line}` can't be started\nhint: {hint}"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})\nhint: {hint}");
    }
    Ok(())
}

/// [`run`], but a program that takes longer than `limit` is ended and counts as failed.
pub(crate) fn run_within(mut command: Command, limit: Duration, hint: &str) -> Result<()> {
    let line = announce(&command);
    let start = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("`{line}` can't be started\nhint: {hint}"))?;
    loop {
        match child.try_wait().with_context(|| format!("waiting for `{line}`"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{line}` failed ({status})\nhint: {hint}"),
            None if start.elapsed() > limit => {
                child.kill().with_context(|| format!("ending `{line}`"))?;
                child.wait().with_context(|| format!("ending `{line}`"))?;
                bail!("`{line}` was ended after {} s\nhint: {hint}", limit.as_secs());
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What a program prints on stdout; `None` if it is missing or fails.
pub(crate) fn output(name: &str, args: &[&str]) -> Option<String> {
    let output = program(name, args).ok()?.stdout(Stdio::piped()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim().to_owned())
}

/// Where `PATH` has this program.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let folders = search_path().ok()?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name));
    found.into_iter().find(|file| file.is_file())
}

/// Prints the command line and returns it.
fn announce(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let line = words.join(" ");
    eprintln!("$ {line}");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        program("sh", &["-c", script]).unwrap()
    }

    #[test]
    fn a_failure_says_what_and_how_to_fix() {
        let message = run(shell("exit 3"), "mend it").unwrap_err().to_string();
        assert!(message.contains("exit 3") && message.contains("hint: mend it"), "{message}");
        let missing = program("earl-no-such-program", &[]).unwrap();
        let message = run(missing, "install it").unwrap_err().to_string();
        assert!(message.contains("can't be started\nhint: install it"), "{message}");
    }

    #[test]
    fn a_hanging_program_is_ended() {
        let start = Instant::now();
        let limit = Duration::from_millis(200);
        assert!(run_within(shell("exec sleep 60"), limit, "").is_err());
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(run_within(shell("exit 1"), Duration::from_secs(30), "").is_err());
        assert!(run_within(shell("exit 0"), Duration::from_secs(30), "").is_ok());
    }

    #[test]
    fn output_of_a_failing_program_is_no_output() {
        assert_eq!(output("sh", &["-c", "echo 1.2.3"]).as_deref(), Some("1.2.3"));
        assert_eq!(output("sh", &["-c", "echo 1.2.3; exit 1"]), None);
        assert!(which("sh").is_some() && which("earl-no-such-program").is_none());
    }
}
