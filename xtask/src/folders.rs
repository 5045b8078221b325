//! Where things lie: the checkout, and the cache that outlives it.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The checkout's root, as `cargo xtask` says it: a target folder that several checkouts share may hold
/// the program that another one built.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    here.parent().map(Path::to_owned).unwrap_or(here)
}

/// Tools and build results: `$EARL_CACHE`, else `~/.cache/earl`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("EARL_CACHE").filter(|folder| !folder.is_empty()) {
        return std::path::absolute(folder).context("`EARL_CACHE` names no folder");
    }
    let home = std::env::var_os("HOME")
        .context("neither `EARL_CACHE` nor `HOME` is set\nhint: set `EARL_CACHE` to a folder")?;
    Ok(PathBuf::from(home).join(".cache/earl"))
}

/// Root of the installed tools; the programs are in its `bin`.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(cache()?.join("tools"))
}

/// Every file below `path` (or `path` itself), in no order.
pub(crate) fn files_below(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("listing `{}`", path.display()))? {
            files_below(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Copies a file or folder; files whose names end in one of `skip` stay behind.
pub(crate) fn copy(from: &Path, to: &Path, skip: &[&str]) -> Result<()> {
    let failed = || format!("copying `{}` to `{}`", from.display(), to.display());
    let mut files = Vec::new();
    files_below(from, &mut files)?;
    for file in files {
        let below = file.strip_prefix(from).with_context(failed)?;
        // A file's own path below itself is empty; joining that would add a slash.
        let target = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if skip.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        fs::copy(&file, &target).with_context(failed)?;
    }
    Ok(())
}
