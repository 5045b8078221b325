//! What a fresh machine lacks. Every step looks first and does nothing when all is there.
//!
//! Two sets: [`for_site`] builds the page, [`for_tests`] adds the browser that tests it.

mod cargo_tools;
mod node;
mod system;
mod target;

use anyhow::Result;

pub(crate) use cargo_tools::WASM_BINDGEN;
pub(crate) use node::packages as node_packages;
pub(crate) use system::browser;

/// Compiler target, module binder, site builder, optimiser.
pub(crate) fn for_site() -> Result<()> {
    system::need(&system::SITE)?;
    target::add()?;
    cargo_tools::install()?;
    node::packages()
}

/// The browser, its fonts and the measuring tools of the page's tests.
pub(crate) fn for_tests() -> Result<()> {
    system::need(&system::TESTS)
}
