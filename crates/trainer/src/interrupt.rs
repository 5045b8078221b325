//! Ctrl-C: the first asks the running loop to stop after its step, the second ends the process.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Starts to listen.
///
/// # Errors
/// If the system refuses a handler.
pub(crate) fn listen() -> Result<()> {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("stopping after this step; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler).context("listening for Ctrl-C")
}

/// Was Ctrl-C pressed?
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
