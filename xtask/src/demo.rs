//! The demo: build the site, serve it on this machine, open it.

use crate::folders::cache;
use crate::{serve, site};
use anyhow::{Context, Result};
use std::io::Write;
use std::process::{Command, Stdio};

/// Serves the site until the process ends.
pub(crate) fn run(port: u16, open: bool) -> Result<()> {
    // A taken port shows now, not after the build.
    drop(serve::listen(port)?);
    let folder = cache()?.join("site");
    site::build(&folder)?;
    let server = serve::listen(port)?;
    let url = serve::url(&server)?;
    writeln!(std::io::stdout(), "{url}").context("printing the address")?;
    eprintln!("serving {} at {url}; Ctrl-C ends it", folder.display());
    if open {
        open_browser(&url);
    }
    serve::serve(&server, &folder);
    Ok(())
}

/// Asks the desktop for a browser; without one the printed address is enough.
fn open_browser(url: &str) {
    let (name, args): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("cmd", &["/c", "start"])
    } else {
        ("xdg-open", &[])
    };
    let mut command = Command::new(name);
    command.args(args).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if command.spawn().is_err() {
        eprintln!("note: no `{name}` here; open the address by hand");
    }
}
