//! The compiler's WebAssembly target.

use crate::command::{output, program, run};
use anyhow::Result;
use std::path::Path;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Adds the target through rustup, unless the compiler has it already.
pub(crate) fn add() -> Result<()> {
    let sysroot = output("rustc", &["--print", "sysroot"]).unwrap_or_default();
    let library = Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib");
    if !sysroot.is_empty() && library.is_dir() {
        return Ok(());
    }
    run(
        program("rustup", &["target", "add", TARGET])?,
        "rustup brings the compiler's targets; install it, or the target with your system's packages",
    )
}
