//! Muon's update: the momentum of a matrix, made orthogonal by five Newton–Schulz iterations.
//!
//! Source: Jordan et al. 2024 (coefficients); scale `0.2 · sqrt(max(rows, cols))` after Moonlight
//! (arXiv 2502.16982), which lets matrices share `AdamW`'s learning rate.

use anyhow::{Result, anyhow};
use burn::tensor::{Device, Tensor, TensorData};

const MOMENTUM: f32 = 0.95;
const COEFFICIENTS: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;

/// Adds `grad` to `momentum` and returns the orthogonalised Nesterov update, row-major `shape`.
///
/// # Errors
/// If the device does not give the result back.
pub(super) fn orthogonal_update(
    momentum: &mut [f32],
    grad: &[f32],
    shape: [usize; 2],
) -> Result<Vec<f32>> {
    let mut nesterov = Vec::with_capacity(grad.len());
    for (m, &g) in momentum.iter_mut().zip(grad) {
        *m = MOMENTUM * *m + g;
        nesterov.push(g + MOMENTUM * *m);
    }
    let matrix = Tensor::<2>::from_data(TensorData::new(nesterov, shape), &Device::flex());
    let scale = 0.2 * (shape[0].max(shape[1]) as f32).sqrt();
    let update = orthogonalise(matrix).mul_scalar(scale);
    update.into_data().try_into_vec().map_err(|problem| anyhow!("{problem:?}"))
}

/// The nearest (semi-)orthogonal matrix, roughly: singular values end between 0.7 and 1.2.
fn orthogonalise(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, cols] = matrix.dims();
    let tall = rows > cols;
    let mut x = if tall { matrix.transpose() } else { matrix };
    let norm = x.clone().powf_scalar(2.0).sum().sqrt().add_scalar(1e-7);
    x = x.div(norm.unsqueeze());
    let (a, b, c) = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = x.clone().matmul(x.clone().transpose());
        let poly = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
        x = x.clone().mul_scalar(a) + poly.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_update_has_singular_values_near_one_and_keeps_the_direction() {
        // A diagonal matrix stays diagonal, so its singular values can be read off.
        let grad = [4.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let mut momentum = vec![0.0; 6];
        let update = orthogonal_update(&mut momentum, &grad, [2, 3]).unwrap();
        assert_eq!(momentum, grad);
        let scale = 0.2 * 3.0f32.sqrt();
        for (at, value) in update.iter().enumerate() {
            match at {
                0 | 4 => assert!((0.6..1.3).contains(&(value / scale)), "{update:?}"),
                _ => assert!(value.abs() < 1e-6, "{update:?}"),
            }
        }
    }
}
