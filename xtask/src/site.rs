//! The static site: browser modules, then Trunk over a copy of what the site is made of, its scripts
//! bundled.
//!
//! Trunk takes a `Cargo.toml` beside `index.html` for the page's own crate and stops at a virtual
//! workspace; our modules are built by [`modules`], one `cargo build` each, since their features must
//! not unify. So Trunk gets a folder that holds the page and nothing else.

use crate::command::{program, run};
use crate::folders::{cache, copy, files_below, root};
use crate::stamp::Stamp;
use crate::{modules, setup};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum as _;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// What a site is made of.
const PARTS: [&str; 7] = [
    "index.html",
    "element.html",
    "manifest.webmanifest",
    "sw.js",
    "Trunk.toml",
    "web",
    "models/tiny",
];
/// What pages import: each gets a file of its own, and what several share lies in `chunk-*.js` beside them.
const ENTRIES: [&str; 5] =
    ["api.js", "app.js", "demo.js", "element/define.js", "element/element.js"];
/// What stays behind of `web`: scripts come bundled.
const NOT_COPIED: &[&str] = &[".d.ts", ".stamp", ".js"];
/// What every site has; a build without one of these failed.
const ESSENTIAL: [&str; 12] = [
    "index.html",
    "web/app.js",
    "web/api.js",
    "element.html",
    "sw.js",
    "web/element/define.js",
    "web/worker.js",
    "web/wasm/earl_cpu_bg.wasm",
    "web/wasm/earl_gpu_bg.wasm",
    "web/wasm/earl_cpu_full_bg.wasm",
    "web/wasm/earl_gpu_full_bg.wasm",
    "models/tiny/manifest.json",
];
/// The names at the top of a built site. A folder with anything else is not replaced.
const TOP: [&str; 7] =
    ["index.html", "element.html", "manifest.webmanifest", "sw.js", "web", "models", ".stage"];
/// Digits of a version.
const VERSION_DIGITS: usize = 16;
/// The line of `sw.js` that is filled in.
const SITE_LINE: &str = "const SITE = ";
/// What the service worker leaves to the page (weights), to the visit that needs it (WebGPU, published
/// models), or to the npm package.
const NOT_KEPT: [&str; 7] =
    ["/chunks/", "earl_gpu", "earl_cpu_full", "sw.js", ".md", "web/npm/", "custom-elements.json"];

/// Sets up what is missing and builds the site into `folder`.
pub(crate) fn build(folder: &Path) -> Result<()> {
    let site = std::path::absolute(folder).context("the site's folder")?;
    may_replace(&site)?;
    setup::for_site()?;
    modules::build(None)?;
    let pages = cache()?.join(format!("page-{}", std::process::id()));
    let built = collect(&pages).and_then(|()| bundle(&pages)).and_then(|()| trunk(&pages, &site));
    if pages.exists() {
        fs::remove_dir_all(&pages).with_context(|| format!("removing `{}`", pages.display()))?;
    }
    built?;
    let bytes = check(&site)?;
    name_files(&site)?;
    eprintln!("site: {} ({:.1} MB)", site.display(), bytes as f64 / 1e6);
    Ok(())
}

/// Trunk empties the folder it builds into, so that folder must be empty or an older site.
fn may_replace(site: &Path) -> Result<()> {
    if !site.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(site).with_context(|| format!("listing `{}`", site.display()))? {
        let name = entry?.file_name();
        if !TOP.iter().any(|part| name == *part) {
            bail!(
                "`{}` holds `{}`, which is no part of a site; building there would delete it\n\
                 hint: choose a new or empty folder",
                site.display(),
                name.display()
            );
        }
    }
    Ok(())
}

fn collect(pages: &Path) -> Result<()> {
    PARTS.iter().try_for_each(|part| {
        let skip = if *part == "web" { NOT_COPIED } else { &[] };
        copy(&root().join(part), &pages.join(part), skip)
    })
}

/// Bundles the scripts, without comments and white space: a page asks for a handful of files, none of
/// which waits for three others to name it. Names stay: an error tells its class by one. The worker
/// shares no chunk with the pages, so that it is one file; the modules' own scripts stay apart, since
/// one of them is loaded.
fn bundle(pages: &Path) -> Result<()> {
    let split = ["--bundle", "--external:./wasm/*", "--splitting", "--chunk-names=[name]-[hash]"];
    esbuild(pages, &split, &ENTRIES.map(str::to_owned))?;
    esbuild(pages, &split[..2], &["worker.js".to_owned()])?;
    let modules = modules::Module::value_variants().iter();
    let modules: Vec<_> = modules.map(|module| format!("wasm/{}.js", module.name())).collect();
    esbuild(pages, &[], &modules)
}

/// Runs esbuild over scripts of `web`, into the same places of the copy.
fn esbuild(pages: &Path, how: &[&str], scripts: &[String]) -> Result<()> {
    let args = ["--minify-whitespace", "--minify-syntax", "--format=esm", "--target=es2022"];
    let mut command = program("esbuild", &args)?;
    let outdir = format!("--outdir={}", pages.join("web").display());
    command.args(["--log-level=warning", "--outbase=web", &outdir]).args(how);
    command.args(scripts.iter().map(|script| format!("web/{script}")));
    run(command, "a script of `web/` is not valid; the message above says where")
}

fn trunk(pages: &Path, site: &Path) -> Result<()> {
    fs::create_dir_all(site).with_context(|| format!("making `{}`", site.display()))?;
    let args = ["build", "--offline", "--skip-version-check", "--dist", &site.to_string_lossy()];
    let mut command = program("trunk", &args)?;
    // Trunk reads `NO_COLOR` as one of its switches and stops at the usual `1`.
    command.current_dir(pages).env_remove("NO_COLOR");
    run(
        command,
        "Trunk's message above says where; `index.html` and `Trunk.toml` tell it what to do",
    )
}

/// Is all there that a site needs? Its size in bytes.
fn check(site: &Path) -> Result<u64> {
    for part in ESSENTIAL {
        if !site.join(part).is_file() {
            bail!("the built site lacks `{part}`\nhint: `index.html` names what Trunk copies");
        }
    }
    let mut files = Vec::new();
    files_below(site, &mut files)?;
    Ok(files.iter().flat_map(fs::metadata).map(|facts| facts.len()).sum())
}

/// Tells the service worker the site's files, by which address and with which SHA-256, and their version,
/// a hash over them all.
fn name_files(site: &Path) -> Result<()> {
    let mut files = Vec::new();
    files_below(site, &mut files)?;
    let below = files.iter().flat_map(|file| file.strip_prefix(site));
    let mut names: Vec<String> =
        below.map(|name| name.to_string_lossy().replace('\\', "/")).collect();
    names.retain(|name| NOT_KEPT.iter().all(|part| !name.contains(part)));
    names.sort();
    let files = names.iter().map(|name| {
        let bytes = fs::read(site.join(name)).with_context(|| format!("reading `{name}`"))?;
        // The page is asked for by its folder.
        let address = if name == "index.html" { "" } else { name.as_str() };
        Ok(format!("{address:?}: \"sha256-{}\"", BASE64_STANDARD.encode(Sha256::digest(bytes))))
    });
    let files = files.collect::<Result<Vec<_>>>()?.join(", ");
    let mut stamp = Stamp::default();
    stamp.add("files", files.as_bytes());
    let version = &stamp.finish()[..VERSION_DIGITS];
    let line = format!("{SITE_LINE}{{ version: {version:?}, files: {{ {files} }} }};");
    let path = site.join("sw.js");
    let script = fs::read_to_string(&path).context("reading `sw.js`")?;
    let lines = script.lines().map(|old| if old.starts_with(SITE_LINE) { &line } else { old });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").context("writing `sw.js`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_no_place_for_a_site() {
        let message = may_replace(&root()).unwrap_err().to_string();
        assert!(message.contains("would delete it"), "{message}");
        assert!(may_replace(&root().join("no-such-folder")).is_ok());
    }

    #[test]
    fn an_older_site_is_replaced_and_other_files_are_not() {
        let folder = std::env::temp_dir().join(format!("earl-site-{}", std::process::id()));
        fs::create_dir_all(folder.join("web")).unwrap();
        fs::write(folder.join("index.html"), "").unwrap();
        assert!(may_replace(&folder).is_ok());
        assert!(check(&folder).unwrap_err().to_string().contains("web/app.js"));
        fs::write(folder.join("thesis.tex"), "").unwrap();
        assert!(may_replace(&folder).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_service_worker_is_told_what_to_keep() {
        let folder = std::env::temp_dir().join(format!("earl-names-{}", std::process::id()));
        for below in ["models/tiny/chunks", "web/wasm", "web/npm"] {
            fs::create_dir_all(folder.join(below)).unwrap();
        }
        let script = fs::read_to_string(root().join("sw.js")).unwrap();
        for (name, text) in [
            ("sw.js", script.as_str()),
            ("index.html", "a"),
            ("models/tiny/chunks/b.bin", "b"),
            ("web/wasm/earl_cpu_bg.wasm", "c"),
            ("web/wasm/earl_cpu_full_bg.wasm", "d"),
            ("web/wasm/earl_gpu_bg.wasm", "e"),
            ("web/wasm/earl_gpu_full.js", "f"),
            ("web/npm/jsx.js", "g"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let told = || {
            name_files(&folder).unwrap();
            fs::read_to_string(folder.join("sw.js")).unwrap()
        };
        let first = told();
        assert!(
            first.contains(concat!(
                r#"files: { "": "sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=", "#,
                r#""web/wasm/earl_cpu_bg.wasm": "sha256-Ln0sA6lQeuJl7PW1NWiFpTOTogKdJBOUmXJloaJa78Y=" } };"#
            )),
            "{first}"
        );
        assert_eq!(first, told(), "the same files make the same worker");
        fs::write(folder.join("index.html"), "b").unwrap();
        assert_ne!(first, told(), "another file makes another version");
        fs::remove_dir_all(&folder).unwrap();
    }
}
