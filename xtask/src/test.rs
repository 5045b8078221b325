//! All tests: native, then the built page in a browser.

use crate::command::{program, run, run_within};
use crate::folders::{cache, root};
use crate::stages::Stages;
use crate::{check, setup, site};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Far above what the page's tests take on two cores; a hanging browser must not hang a CI machine.
const PAGE_LIMIT: Duration = Duration::from_mins(40);

/// Runs every test and prints a table of minutes; an error if one stage did not pass.
pub(crate) fn run_all(skip_web: bool) -> Result<()> {
    let folder = cache()?.join("test-site");
    let mut stages = Stages::default();
    if !skip_web {
        stages.run("system packages", &[], setup::for_tests);
        stages.run("tools", &["system packages"], setup::for_site);
    }
    stages.run("native tests", &[], native);
    stages.run("types of the CUDA build", &[], check::cuda);
    if !skip_web {
        stages.run("site", &["tools"], || site::build(&folder));
        stages.run("types of the page", &["site"], check::types);
        stages.run("page in the browser", &["site"], || page(&folder));
    }
    stages.finish()
}

/// Where the native tests leave a published model's bundle, and what it writes, for the page's tests.
fn page_fixture() -> Result<PathBuf> {
    Ok(cache()?.join("test-full"))
}

fn native() -> Result<()> {
    let workspace = ["--workspace", "--exclude", "earl-web", "--no-fail-fast"];
    // By itself: the feature would build Burn a second time.
    let parquet = ["-p", "earl-benches", "--features", "parquet"];
    for selection in [&workspace[..], &parquet] {
        let args = [&["test", "--release"][..], selection].concat();
        let mut command = program("cargo", &args)?;
        command.stdout(Stdio::inherit()).env("EARL_PAGE_FIXTURE", page_fixture()?);
        run(command, "the failing test's message stands above")?;
    }
    Ok(())
}

fn page(site: &Path) -> Result<()> {
    let files = test_files(&root().join("tests/web"))?;
    let mut command = program("node", &["--test", "--test-concurrency=1"])?;
    command
        .args(files)
        .env("EARL_SITE", site)
        .env("EARL_FULL", page_fixture()?)
        .stdout(Stdio::inherit());
    if let Some(browser) = setup::browser() {
        command.env("CHROMIUM", browser);
    }
    run_within(command, PAGE_LIMIT, "screenshots, if any, are in `tests/web/artifacts`")
}

/// The folder's `*.test.js`, by name: `node --test` passes when it finds nothing, and later versions
/// of Node take a folder for a file.
fn test_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing `{}`", folder.display()))? {
        let file = entry?.path();
        if file.to_string_lossy().ends_with(".test.js") {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!(
            "`{}` has no `*.test.js`\nhint: `--skip-web` leaves the browser out",
            folder.display()
        );
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_browser_test_is_an_error() {
        let message = test_files(&root().join("xtask/src")).unwrap_err().to_string();
        assert!(message.contains("--skip-web"), "{message}");
    }
}
