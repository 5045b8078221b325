//! How long a piece of work took: on the wall, and on the processor.
//!
//! On a machine that does other work too, the processor's time of one thread (`RAYON_NUM_THREADS=1`) is the
//! steadier number; with more threads, waiting for one another is in it.

use std::fs;
use std::time::Instant;

/// Seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lap {
    /// On the wall.
    pub(super) wall: f64,
    /// Of all threads together, where the system says so.
    pub(super) cpu: f64,
}

impl Lap {
    /// Longer than anything.
    pub(super) const NEVER: Self = Self { wall: f64::INFINITY, cpu: f64::INFINITY };

    /// The smaller of each.
    pub(super) fn best(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

/// A running clock.
pub(super) struct Clock {
    start: Instant,
    cpu: f64,
}

impl Clock {
    /// Starts.
    pub(super) fn start() -> Self {
        let cpu = cpu_seconds();
        Self { start: Instant::now(), cpu }
    }

    /// What passed since the start.
    pub(super) fn lap(&self) -> Lap {
        Lap { wall: self.start.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.cpu }
    }
}

/// The middle of some times, which it puts in order; NaN of none.
pub(super) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds that this process's threads have run; 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0.0 };
    let of_task = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let nanoseconds = tasks.flatten().filter_map(|task| of_task(task.path())).sum::<u64>();
    nanoseconds as f64 / 1e9
}
