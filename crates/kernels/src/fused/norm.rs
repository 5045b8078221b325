//! `Σ x²` in double precision, in pieces whose sums are added in order.

use burn::Tensor;

use super::parallel::for_each;
use super::simd::{Level, vector_fn};
use super::{floats, in_rows};

/// Floats in a piece of work.
const PIECE: usize = 65_536;
/// Sums kept side by side.
const LANES: usize = 16;

/// See [`crate::sum_of_squares`].
pub(crate) fn sum_of_squares(x: Tensor<1>) -> f64 {
    let x = in_rows(x);
    let pieces = floats(&x).chunks(PIECE);
    let mut sums = vec![0.0; pieces.len()];
    for_each(pieces.zip(&mut sums).collect(), |(piece, sum)| {
        *sum = squares(Level::widest(), piece);
    });
    sums.iter().sum()
}

vector_fn! {
    fn squares<S>(_s, x: &[f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (lanes, rest) = x.as_chunks::<LANES>();
        for x in lanes {
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        sums.iter().sum::<f64>() + rest
    }
}
