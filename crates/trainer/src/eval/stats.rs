//! Means with 95 % bootstrap intervals, seeded, so that a table can be made again.

use earl_model::sample::rng::{Key, uniform};
use serde::Serialize;

/// Resamples of an interval.
const RESAMPLES: u64 = 2_000;
/// Purpose of the resampling's random numbers.
const BOOTSTRAP: u64 = 31;

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Mean {
    /// The mean itself.
    #[allow(clippy::struct_field_names, reason = "the key that readers of `eval --json` expect")]
    pub mean: f64,
    /// 2.5th percentile of resampled means.
    pub lo: f64,
    /// 97.5th percentile.
    pub hi: f64,
}

/// The mean of `values` with its percentile-bootstrap interval; zeros for none.
#[must_use]
pub(crate) fn mean(values: &[f64]) -> Mean {
    let count = values.len();
    if count == 0 {
        return Mean { mean: 0.0, lo: 0.0, hi: 0.0 };
    }
    let resample = |index: u64| {
        let draw = |position: u64| {
            let key = Key { seed: 1, purpose: BOOTSTRAP, index, position, token: 0 };
            values[((uniform(key) * count as f64) as usize).min(count - 1)]
        };
        (0..count as u64).map(draw).sum::<f64>() / count as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(resample).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
    Mean { mean: values.iter().sum::<f64>() / count as f64, lo: at(0.025), hi: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_the_binomial() {
        let values: Vec<f64> = (0..400).map(|at| f64::from(u8::from(at % 4 == 0))).collect();
        let found = mean(&values);
        // 0.25 ± 1.96 · sqrt(0.25 · 0.75 / 400) = 0.2076 … 0.2924
        assert!((found.mean - 0.25).abs() < 1e-12);
        assert!((found.lo - 0.2076).abs() < 0.01 && (found.hi - 0.2924).abs() < 0.01, "{found:?}");
        assert_eq!(mean(&[1.0; 9]), Mean { mean: 1.0, lo: 1.0, hi: 1.0 });
    }
}
