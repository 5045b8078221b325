//! Lloyd's k-means: rows in, centres out; seeded starts, fixed order of sums.

use earl_model::sample::rng::{Key, uniform};
use rayon::prelude::*;

/// Purpose of the starts' random numbers.
const START: u64 = 31;

/// `count` centres of `rows`; with at least as many centres as rows, the rows themselves, repeated.
pub(super) fn centres(
    rows: &[&[f32]],
    count: usize,
    iterations: u64,
    seed: u64,
    on_iteration: &mut impl FnMut(u64, f64),
) -> Vec<Vec<f32>> {
    let start = |at: usize| {
        let key = Key { seed, purpose: START, index: at as u64, position: 0, token: 0 };
        rows[(uniform(key) * rows.len() as f64) as usize].to_vec()
    };
    let mut centres: Vec<Vec<f32>> = (0..count).map(start).collect();
    for iteration in 0..iterations {
        let nearest: Vec<(usize, f32)> =
            rows.par_iter().map(|row| nearest(row, &centres)).collect();
        let error: f64 = nearest.iter().map(|(_, distance)| f64::from(*distance)).sum();
        on_iteration(iteration, error / (rows.len() * rows[0].len()) as f64);
        let mut sums = vec![vec![0.0f32; rows[0].len()]; count];
        let mut members = vec![0u32; count];
        for (row, &(at, _)) in rows.iter().zip(&nearest) {
            members[at] += 1;
            sums[at].iter_mut().zip(*row).for_each(|(sum, value)| *sum += value);
        }
        for ((centre, sum), &members) in centres.iter_mut().zip(sums).zip(&members) {
            if members > 0 {
                *centre = sum.into_iter().map(|value| value / members as f32).collect();
            }
        }
    }
    centres
}

fn nearest(row: &[f32], centres: &[Vec<f32>]) -> (usize, f32) {
    let mut best = (0, f32::INFINITY);
    for (at, centre) in centres.iter().enumerate() {
        let distance: f32 = row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum();
        if distance < best.1 {
            best = (at, distance);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_are_found() {
        let rows: Vec<Vec<f32>> = [0.0, 0.1, 0.2, 0.8, 0.9, 1.0].map(|x| vec![x, 1.0 - x]).to_vec();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut errors = Vec::new();
        let mut found = centres(&rows, 2, 8, 3, &mut |_, error| errors.push(error));
        found.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert!((found[0][0] - 0.1).abs() < 1e-6 && (found[1][0] - 0.9).abs() < 1e-6, "{found:?}");
        assert!(errors.windows(2).all(|pair| pair[1] <= pair[0]), "{errors:?}");
    }
}
