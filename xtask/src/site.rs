//! The static site: browser modules, then Trunk over a copy of what the site is made of.
//!
//! Trunk takes a `Cargo.toml` beside `index.html` for the page's own crate and stops at a virtual
//! workspace; our modules are built by [`modules`], one `cargo build` each, since their features must
//! not unify. So Trunk gets a folder that holds the page and nothing else.

use crate::command::{cache, program, root, run};
use crate::{modules, setup};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What a site is made of, beside what `index.html` names.
const PARTS: [&str; 4] = ["index.html", "Trunk.toml", "web", "models/tiny"];

/// Sets up what is missing and builds the site into `folder`.
pub(crate) fn build(folder: &Path) -> Result<()> {
    setup::browser_tools()?;
    modules::build(None)?;
    let (pages, dist) = (cache()?.join("page"), std::path::absolute(folder).context("the site's folder")?);
    if pages.exists() {
        fs::remove_dir_all(&pages).with_context(|| format!("emptying `{}`", pages.display()))?;
    }
    for part in PARTS {
        copy(&root().join(part), &pages.join(part))?;
    }
    fs::create_dir_all(&dist).with_context(|| format!("making `{}`", dist.display()))?;
    let args = ["build", "--offline", "--skip-version-check", "--dist", &dist.to_string_lossy()];
    let mut command = program("trunk", &args)?;
    command.current_dir(&pages);
    run(command, "Trunk's message above says where")?;
    eprintln!("site: {}", dist.display());
    Ok(())
}

/// Copies a file or folder; build stamps and type declarations stay behind.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("copying `{}`", from.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(failed)?;
        for entry in fs::read_dir(from).with_context(failed)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let name = from.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
    if name.ends_with(".d.ts") || name.ends_with(".stamp") {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    fs::copy(from, to).map(|_| ()).with_context(failed)
}
