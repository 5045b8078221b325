//! Running other programs: said on stderr before, explained when they fail.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where tools and build results outlive a checkout: `$EARL_CACHE`, else `~/.cache/earl`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("EARL_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("neither `EARL_CACHE` nor `HOME` is set")?;
    Ok(PathBuf::from(home).join(".cache/earl"))
}

/// Folder of the installed tools' programs.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(cache()?.join("tools"))
}

/// `PATH` with our tools and the page's Node programs in front.
fn path() -> Result<OsString> {
    let mut folders = vec![tools()?.join("bin"), root().join("tests/web/node_modules/.bin")];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    Ok(std::env::join_paths(folders)?)
}

/// A program, run in the checkout's root with our tools on `PATH`.
pub(crate) fn program(name: &str, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(name);
    command.args(args).current_dir(root()).env("PATH", path()?);
    Ok(command)
}

/// Runs a program; `hint` says what to do if it fails.
pub(crate) fn run(mut command: Command, hint: &str) -> Result<()> {
    let line = describe(&command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`; {hint}"))?;
    if !status.success() {
        bail!("`{line}` failed ({status}); {hint}");
    }
    Ok(())
}

/// What a program prints on stdout; `None` if it is missing or fails.
pub(crate) fn output(name: &str, args: &[&str]) -> Option<String> {
    let output = program(name, args).ok()?.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
