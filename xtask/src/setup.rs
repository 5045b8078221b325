//! What a fresh machine lacks: compiler target, browser-module tools, Node packages, system packages.
//!
//! Every step looks first and does nothing when all is there.

use crate::command::{cache, output, program, root, run, tools};
use anyhow::{Result, bail};
use std::path::Path;

const TARGET: &str = "wasm32-unknown-unknown";
/// Must equal the version of the `wasm-bindgen` crate in `Cargo.toml`.
const WASM_BINDGEN: &str = "0.2.130";
const TRUNK: &str = "0.21.14";
/// Programs the tests and the site need, and the Debian packages that bring them.
const SYSTEM: [(&str, &str); 4] =
    [("node", "nodejs"), ("npm", "npm"), ("brotli", "brotli"), ("chromium", "chromium")];

/// Tools that build the browser modules and the site.
pub(crate) fn browser_tools() -> Result<()> {
    let targets = output("rustup", &["target", "list", "--installed"]).unwrap_or_default();
    if !targets.lines().any(|line| line == TARGET) {
        run(program("rustup", &["target", "add", TARGET])?, "rustup brings the compiler's targets")?;
    }
    cargo_tool("wasm-bindgen", "wasm-bindgen-cli", WASM_BINDGEN, &["--bin", "wasm-bindgen"])?;
    cargo_tool("trunk", "trunk", TRUNK, &["--locked"])?;
    system(&["node", "npm"])?;
    node_packages()
}

/// What the browser tests need beyond [`browser_tools`].
pub(crate) fn test_tools() -> Result<()> {
    system(&SYSTEM.map(|(name, _)| name))
}

fn cargo_tool(name: &str, package: &str, version: &str, more: &[&str]) -> Result<()> {
    if output(name, &["--version"]).is_some_and(|line| is_version(&line, version)) {
        return Ok(());
    }
    let (tools, target) = (tools()?, cache()?.join("tools-target"));
    let (tools, target) = (tools.to_string_lossy(), target.to_string_lossy());
    let mut args = vec!["install", package, "--version", version, "--no-default-features", "--force"];
    args.extend(["--root", &tools]);
    args.extend(more);
    let mut command = program("cargo", &args)?;
    command.env("CARGO_TARGET_DIR", &*target).env_remove("RUSTFLAGS");
    for (key, value) in [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    run(command, "cargo builds this tool from crates.io; check the network")
}

/// Does `trunk 0.21.14` or `wasm-bindgen 0.2.130 (…)` name this version?
fn is_version(line: &str, version: &str) -> bool {
    line.split_whitespace().any(|word| word == version)
}

/// The page's pinned Node packages: TypeScript, wasm-opt, Playwright.
fn node_packages() -> Result<()> {
    let folder = root().join("tests/web");
    let stamp = folder.join("node_modules/.package-lock.json");
    if is_newer(&stamp, &folder.join("package-lock.json")) {
        return Ok(());
    }
    let mut command = program("npm", &["ci", "--no-audit", "--no-fund"])?;
    command.current_dir(&folder);
    run(command, "npm fetches three pinned packages; check the network")
}

fn is_newer(a: &Path, b: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
    matches!((time(a), time(b)), (Some(a), Some(b)) if a >= b)
}

fn system(programs: &[&str]) -> Result<()> {
    let wanted = SYSTEM.iter().filter(|(name, _)| programs.contains(name));
    let missing: Vec<&str> =
        wanted.filter(|(name, _)| output(name, &["--version"]).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if output("id", &["-u"]).as_deref() != Some("0") {
        bail!("missing system packages: {0}; install them with `sudo apt-get install {0}`", missing.join(" "));
    }
    run(program("apt-get", &["update", "-qq"])?, "check the network")?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&missing);
    let mut command = program("apt-get", &args)?;
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run(command, "install the named packages by hand and run this again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_whole() {
        assert!(is_version("wasm-bindgen 0.2.130", "0.2.130"));
        assert!(is_version("trunk 0.21.14", "0.21.14"));
        assert!(!is_version("trunk 0.21.140", "0.21.14"));
    }

    #[test]
    fn wasm_bindgen_is_the_version_of_the_crate() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("wasm-bindgen = \"={WASM_BINDGEN}\"")));
    }
}
