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

/// Spearman's rank correlation of two equally long series, ties at their mean rank; 0 if one is flat.
#[must_use]
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let centre = |ranks: &[f64]| ranks.iter().sum::<f64>() / ranks.len().max(1) as f64;
    let (ca, cb) = (centre(&a), centre(&b));
    let dot = |x: &[f64], cx: f64, y: &[f64], cy: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - cx) * (y - cy)).sum()
    };
    let scale = (dot(&a, ca, &a, ca) * dot(&b, cb, &b, cb)).sqrt();
    if scale > 0.0 { dot(&a, ca, &b, cb) / scale } else { 0.0 }
}

/// 1 for the smallest.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count() as f64;
        let equal = values.iter().filter(|other| other.total_cmp(value).is_eq()).count() as f64;
        below + f64::midpoint(equal, 1.0)
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_by_hand() {
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, squares 4.5 and 5.
        let found = spearman(&[0.0, 3.0, 3.0, 9.0], &[1.0, 2.0, 5.0, 7.0]);
        assert!((found - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-12, "{found}");
        assert!((spearman(&[1.0, 2.0, 3.0], &[9.0, 5.0, 1.0]) + 1.0).abs() < 1e-12);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).abs() < 1e-12);
    }

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
