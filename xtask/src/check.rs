//! The cheap gates: format, clippy, types of the page.

use crate::command::{program, run};
use crate::folders::cache;
use crate::modules::{self, State};
use crate::setup;
use crate::stages::Stages;
use anyhow::Result;

/// Runs all gates; an error if one did not pass.
pub(crate) fn run_all() -> Result<()> {
    let mut stages = Stages::default();
    stages.run("format", &[], format);
    stages.run("clippy", &[], clippy);
    stages.run("types of the page", &[], || {
        declarations()?;
        types()
    });
    stages.finish()
}

fn format() -> Result<()> {
    run(program("cargo", &["fmt", "--all", "--check"])?, "run `cargo fmt --all`")
}

fn clippy() -> Result<()> {
    let args = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(program("cargo", &args)?, "clippy's message above says where")
}

/// Type-checks the trainer with its CUDA device, which no machine of ours can run. `DOCS_RS` keeps
/// cubecl's build script from downloading LLVM; it would make every other build start anew, so this one
/// has a target folder of its own.
pub(crate) fn cuda() -> Result<()> {
    let mut command = program("cargo", &["check", "-p", "trainer", "--features", "cuda"])?;
    command.env("DOCS_RS", "1").env("CARGO_TARGET_DIR", cache()?.join("target-cuda"));
    run(command, "a fused operation may lack its plain form where the backend is not flex")
}

/// The page's types against the modules' declarations in `web/wasm`.
pub(crate) fn types() -> Result<()> {
    let args = ["-p", "tests/web"];
    run(program("tsc", &args)?, "the page's JSDoc types disagree; the message above says where")
}

/// The page imports the modules' declarations: builds the modules if they are missing, but takes
/// older ones, so that the gates stay cheap. `cargo xtask test` takes fresh ones only.
fn declarations() -> Result<()> {
    match modules::state()? {
        State::Fresh => setup::node_packages(),
        State::Stale => {
            eprintln!(
                "note: `web/wasm` is older than its sources; `cargo xtask modules` renews it"
            );
            setup::node_packages()
        }
        State::Missing => {
            setup::for_site()?;
            modules::build(None)
        }
    }
}
