//! What was compared, how far apart it was, and what the specification allows.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;

/// Comparisons of one area, by stage.
pub(crate) struct Report {
    area: String,
    stages: BTreeMap<String, Stage>,
    problems: Vec<String>,
}

#[derive(Default)]
struct Stage {
    compared: usize,
    /// Largest share of its bound that an error took, with that error and that bound.
    worst: (f64, f64, f64),
}

/// Bound on a float tensor: this, and this share of its largest value.
const FLOAT: f64 = 2e-4;
/// Bound on normalised pixels.
const PIXEL: f64 = 1e-6;
/// Bound on a gradient: this share of its largest value.
const GRADIENT: f64 = 1e-3;

impl Report {
    pub(crate) fn new(area: &str) -> Self {
        Self { area: area.into(), stages: BTreeMap::new(), problems: Vec::new() }
    }

    /// A float tensor.
    pub(crate) fn close(&mut self, stage: &str, got: &[f32], want: &[f32]) {
        self.floats(stage, got, want, FLOAT + FLOAT * largest(want));
    }

    /// Normalised pixels.
    pub(crate) fn pixels(&mut self, stage: &str, got: &[f32], want: &[f32]) {
        self.floats(stage, got, want, PIXEL + PIXEL * largest(want));
    }

    /// A gradient, or the norm of one.
    pub(crate) fn gradient(&mut self, stage: &str, got: &[f32], want: &[f32]) {
        self.floats(stage, got, want, GRADIENT * largest(want));
    }

    /// Bytes, at most 1 apart.
    pub(crate) fn bytes(&mut self, stage: &str, got: &[u8], want: &[u8]) {
        let wide = |bytes: &[u8]| -> Vec<f32> { bytes.iter().map(|&b| f32::from(b)).collect() };
        self.floats(stage, &wide(got), &wide(want), 1.0);
    }

    fn floats(&mut self, stage: &str, got: &[f32], want: &[f32], bound: f64) {
        let entry = self.stages.entry(stage.into()).or_default();
        entry.compared += want.len();
        if got.len() != want.len() || want.is_empty() {
            self.problems.push(format!("{stage}: {} values for {}", got.len(), want.len()));
            return;
        }
        let apart = |(got, want): (&f32, &f32)| (f64::from(*got) - f64::from(*want)).abs();
        // Not `f64::max`, which hides a NaN.
        let worst = got.iter().zip(want).map(apart).fold(0.0, |worst: f64, error| {
            if error.is_nan() || error > worst { error } else { worst }
        });
        if worst.is_nan() || worst > bound {
            self.problems.push(format!("{stage}: {worst:.3e} is above {bound:.3e}"));
        }
        if worst.is_nan() || worst / bound > entry.worst.0 {
            entry.worst = (worst / bound, worst, bound);
        }
    }

    /// Values that must be the same.
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, stage: &str, got: T, want: T) {
        self.stages.entry(stage.into()).or_default().compared += 1;
        if got != want {
            let problem = format!("{stage}: {got:?} is not {want:?}");
            self.problems.push(problem.chars().take(400).collect());
        }
    }

    /// Prints every stage, past the test harness's capture, and fails if one is out of bounds.
    pub(crate) fn finish(self) {
        let mut text = format!("{}:\n", self.area);
        for (stage, Stage { compared, worst: (share, error, bound) }) in &self.stages {
            let line = if *bound > 0.0 {
                format!(
                    "{compared:8} values, largest error {error:.2e} of {bound:.2e} ({:.1} %)",
                    share * 100.0
                )
            } else {
                format!("{compared:8} compared, all equal")
            };
            text += &format!("  {stage:36} {line}\n");
        }
        if self.stages.is_empty() {
            text += "  nothing of this kind in the folder\n";
        }
        if self.problems.is_empty() {
            std::io::stderr().write_all(text.as_bytes()).unwrap();
        }
        assert!(self.problems.is_empty(), "{text}{}", self.problems.join("\n"));
    }
}

fn largest(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max)
}

#[test]
fn golden_emu3_report_sees_what_is_apart() {
    let problems = |check: fn(&mut Report)| {
        let mut report = Report::new("itself");
        check(&mut report);
        report.problems.len()
    };
    assert_eq!(problems(|report| report.close("a", &[1.0, 1.000_1], &[1.0, 1.0])), 0);
    assert_eq!(problems(|report| report.close("a", &[1.0, 1.001], &[1.0, 1.0])), 1);
    assert_eq!(problems(|report| report.close("a", &[1.0, f32::NAN, 1.0], &[1.0; 3])), 1);
    assert_eq!(problems(|report| report.close("a", &[1.0], &[1.0, 1.0])), 1);
    assert_eq!(problems(|report| report.close("a", &[], &[])), 1);
    assert_eq!(problems(|report| report.gradient("a", &[0.0, 1.0], &[0.0, 1.002])), 1);
    assert_eq!(problems(|report| report.bytes("a", &[3], &[5])), 1);
    assert_eq!(problems(|report| report.equal("a", 3, 4)), 1);
}
