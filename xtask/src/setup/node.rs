//! The page's pinned Node packages: TypeScript, esbuild, wasm-opt, Playwright, axe, publint. None of them is served.

use crate::command::{output, program, run};
use crate::folders::root;
use crate::version;
use anyhow::{Result, bail};
use std::path::Path;

/// The first with `node --test --test-concurrency`.
const NODE: &str = "18.19.0";

/// Installs what `tests/web/package-lock.json` names, unless that was done since it changed.
pub(crate) fn packages() -> Result<()> {
    let found = output("node", &["--version"]).unwrap_or_default();
    if !version::is_at_least(&found, NODE) {
        bail!("Node {NODE} or later is needed, found `{found}`\nhint: install a newer `nodejs`");
    }
    let folder = root().join("tests/web");
    // npm writes this file last.
    if is_newer(&folder.join("node_modules/.package-lock.json"), &folder.join("package-lock.json"))
    {
        return Ok(());
    }
    let mut command = program("npm", &["ci", "--no-audit", "--no-fund"])?;
    command.current_dir(&folder);
    run(
        command,
        "npm fetches the pinned packages of the lock file into `tests/web/node_modules`: check the network",
    )
}

fn is_newer(a: &Path, b: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
    matches!((time(a), time(b)), (Some(a), Some(b)) if a >= b)
}
