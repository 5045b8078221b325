//! Ctrl-C: the first asks the running loop to stop after its step, the second ends the process.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ASKED: AtomicBool = AtomicBool::new(false);

/// How often a wait looks whether Ctrl-C was pressed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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

/// Waits, but not past a Ctrl-C.
pub(crate) fn wait(time: Duration) {
    let start = Instant::now();
    while !asked() {
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}
