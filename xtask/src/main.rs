//! `cargo xtask`: set-up, browser modules, site, demo, checks and tests, each one command from a fresh
//! machine.
//!
//! `setup` → `modules` → `site` → `demo` or `test`. Tools are pinned and come from the registries;
//! they and all build results are kept in `$EARL_CACHE` (default `~/.cache/earl`); in the checkout only
//! `web/wasm` and `tests/web/node_modules` are written. Start at [`Task`].

mod check;
mod command;
mod demo;
mod folders;
mod modules;
mod serve;
mod setup;
mod site;
mod stages;
mod stamp;
mod test;
mod version;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Set-up, build and test everything.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, build the site and serve it.
    Demo {
        /// Port on 127.0.0.1; 0 takes any free one.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Don't open a browser.
        #[arg(long)]
        no_open: bool,
    },
    /// Install what is missing and run every test; exit code 0 means all passed.
    Test {
        /// Leave the browser out.
        #[arg(long)]
        skip_web: bool,
    },
    /// The cheap gates: format, clippy, types of the page.
    Check,
    /// Type-check the CUDA build, on any machine: six minutes the first time.
    Cuda,
    /// Build the static site into a folder, ready for any host.
    Site {
        /// The folder: new, empty, or an older site.
        #[arg(long)]
        out: PathBuf,
    },
    /// Build the browser modules into `web/wasm` (the other tasks do it when needed).
    Modules {
        /// Only this one.
        #[arg(long)]
        only: Option<modules::Module>,
        /// Build them a second time in an empty target folder, and compare: a quarter of an hour for all four.
        #[arg(long)]
        again: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo { port, no_open } => demo::run(port, !no_open),
        Task::Test { skip_web } => test::run_all(skip_web),
        Task::Check => check::run_all(),
        Task::Cuda => check::cuda(),
        Task::Site { out } => site::build(&out),
        Task::Modules { only, again } => {
            setup::for_site()?;
            if again { modules::build_again(only) } else { modules::build(only) }
        }
    }
}
