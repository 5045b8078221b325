//! Programs and files that Debian's packages bring.

use crate::command::{output, program, run, which};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// What shows that a package is there.
#[derive(Clone, Copy)]
pub(crate) enum Sign {
    /// A program on `PATH`.
    Program(&'static str),
    /// A browser that Playwright can drive.
    Browser,
    /// Any font, so that pages have letters.
    Font,
}

/// A sign, and the package that brings it.
pub(crate) type Need = (Sign, &'static str);

pub(crate) const SITE: [Need; 2] =
    [(Sign::Program("node"), "nodejs"), (Sign::Program("npm"), "npm")];
pub(crate) const TESTS: [Need; 5] = [
    SITE[0],
    SITE[1],
    (Sign::Program("brotli"), "brotli"),
    (Sign::Browser, "chromium"),
    (Sign::Font, "fonts-dejavu-core"),
];
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

impl Sign {
    fn is_there(self) -> bool {
        match self {
            Self::Program(name) => which(name).is_some(),
            Self::Browser => browser().is_some(),
            Self::Font => output("fc-list", &[]).map_or_else(
                || Path::new("/usr/share/fonts/truetype/dejavu").is_dir(),
                |fonts| !fonts.is_empty(),
            ),
        }
    }
}

/// The browser of the tests: `$CHROMIUM`, else the first on `PATH`.
pub(crate) fn browser() -> Option<PathBuf> {
    let chosen = std::env::var_os("CHROMIUM").map(PathBuf::from);
    chosen.filter(|file| file.is_file()).or_else(|| BROWSERS.into_iter().find_map(which))
}

/// Installs, as root through apt, the packages whose signs are missing.
pub(crate) fn need(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> =
        needs.iter().filter(|(sign, _)| !sign.is_there()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if which("apt-get").is_none() {
        bail!(
            "missing system packages (Debian's names): {list}\nhint: install them and run this again"
        );
    }
    if output("id", &["-u"]).as_deref() != Some("0") {
        bail!(
            "missing system packages: {list}\nhint: `sudo apt-get install {list}`, then run this again"
        );
    }
    let wait = ["-o", "DPkg::Lock::Timeout=300", "-qq"];
    let hint = format!("check the network, or install by hand: {list}");
    let mut update = program("apt-get", &wait)?;
    update.arg("update");
    run(update, &hint)?;
    let mut install = program("apt-get", &wait)?;
    install.args(["install", "-y", "--no-install-recommends"]).args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(install, &hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_needs_nothing() {
        assert!(need(&[(Sign::Program("sh"), "no-such-package")]).is_ok());
        assert!(!Sign::Program("earl-no-such-program").is_there());
    }
}
