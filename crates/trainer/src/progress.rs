//! Progress on stderr: a bar with ETA on a terminal, a plain line now and then elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Seconds between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(20);

/// Progress of a known number of steps.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    first: u64,
    start: Instant,
    spoken: Instant,
}

impl Progress {
    /// Starts at step `first` of `total`.
    #[must_use]
    pub(crate) fn new(what: &'static str, first: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(first);
            let template = "{prefix} {wide_bar} {pos}/{len} · {eta} left · {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(what);
            bar
        });
        let now = Instant::now();
        Self { bar, what, total, first, start: now, spoken: now }
    }

    /// After a step: `done` of the total, and what to say.
    pub(crate) fn step(&mut self, done: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message.to_owned());
        } else if self.spoken.elapsed() >= PLAIN_EVERY || done == self.total {
            let elapsed = self.start.elapsed().as_secs_f64();
            let taken = done.saturating_sub(self.first).max(1) as f64;
            let left = elapsed / taken * self.total.saturating_sub(done) as f64;
            let (total, what) = (self.total, self.what);
            eprintln!("{what} {done}/{total} · {:.0} min left · {message}", left / 60.0);
            self.spoken = Instant::now();
        }
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }
}

/// Progress that threads share: each says when it is done with one.
pub(crate) struct Counter(Mutex<(Progress, u64)>);

impl Counter {
    /// Starts at none of `total`.
    #[must_use]
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        Self(Mutex::new((Progress::new(what, 0, total as u64), 0)))
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        if let Ok(mut inner) = self.0.lock() {
            inner.1 += 1;
            let at = inner.1;
            inner.0.step(at, "");
        }
    }
}
