//! All tests, and the cheap gates.

use crate::command::{self, cache, program};
use crate::{setup, site};
use anyhow::Result;
use std::time::Instant;

/// Runs every test: native, then the built page in Chromium.
pub(crate) fn run_all(skip_web: bool) -> Result<Vec<(&'static str, f64)>> {
    let mut stages = Vec::new();
    let mut stage = |name: &'static str, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        eprintln!("== {name}");
        let start = Instant::now();
        work()?;
        stages.push((name, start.elapsed().as_secs_f64() / 60.0));
        Ok(())
    };
    stage("native tests", &mut || {
        let args = ["test", "--release", "--workspace", "--exclude", "earl-web"];
        command::run(program("cargo", &args)?, "the failing test's message stands above")
    })?;
    if !skip_web {
        let folder = cache()?.join("test-site");
        stage("tools", &mut || {
            setup::test_tools()?;
            setup::browser_tools()
        })?;
        stage("types of the page and its modules", &mut || site::build(&folder).and_then(|()| types()))?;
        stage("page in Chromium", &mut || {
            let mut command = program("node", &["--test", "--test-concurrency=1", "tests/web/"])?;
            command.env("EARL_SITE", &folder);
            command::run(command, "screenshots of failed tests are in `tests/web/artifacts`")
        })?;
    }
    Ok(stages)
}

/// [`run_all`], with a table of minutes.
pub(crate) fn run(skip_web: bool) -> Result<()> {
    for (name, minutes) in run_all(skip_web)? {
        eprintln!("{minutes:6.1} min  {name}");
    }
    eprintln!("all tests passed");
    Ok(())
}

fn types() -> Result<()> {
    command::run(program("tsc", &["-p", "tests/web"])?, "the page's JSDoc types disagree")
}

/// Format, clippy and types.
pub(crate) fn check() -> Result<()> {
    command::run(program("cargo", &["fmt", "--all", "--check"])?, "run `cargo fmt --all`")?;
    let args = ["clippy", "--release", "--workspace", "--exclude", "earl-web", "--all-targets", "--", "-D", "warnings"];
    command::run(program("cargo", &args)?, "clippy's message above says where")?;
    setup::browser_tools()?;
    crate::modules::build(None)?;
    types()
}
