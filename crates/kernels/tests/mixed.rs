//! The process-wide precision switch, in a process of its own: mixed products train like full ones.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use burn::Tensor;
use burn::tensor::Device;
use earl_kernels::precision::{Matmul, matmul, set_matmul};
use earl_kernels::{linear, linear_tied};

const ROWS: [usize; 2] = [3, 50];
const INNER: usize = 96;
const OUTER: usize = 130;

/// Values in −1..1 without a pattern, so that sums don't cancel.
fn noise<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    let len: usize = shape.iter().product();
    let value = |i: usize| {
        let mixed = (i as u32 ^ seed.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B1);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2C1B_3C6D);
        (mixed ^ (mixed >> 13)) as f32 / (1u32 << 31) as f32 - 1.0
    };
    let values: Vec<f32> = (0..len).map(value).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape)
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Result, gradient of the input and gradient of the weight.
fn trace(tied: bool) -> [Vec<f32>; 3] {
    let device = Device::flex().autodiff();
    let x = noise([ROWS[0], ROWS[1], INNER], 1, &device).require_grad();
    let shape = if tied { [OUTER, INNER] } else { [INNER, OUTER] };
    let weight = noise(shape, 2, &device).require_grad();
    let project = if tied { linear_tied } else { linear };
    let y = project(x.clone(), weight.clone());
    let gradients = y.clone().mul(noise([ROWS[0], ROWS[1], OUTER], 3, &device)).sum().backward();
    [flat(y), flat(x.grad(&gradients).unwrap()), flat(weight.grad(&gradients).unwrap())]
}

#[test]
fn mixed_results_and_gradients_lie_within_a_hundredth_of_full_ones() {
    for tied in [false, true] {
        set_matmul(Matmul::Full);
        let full = trace(tied);
        let gains = set_matmul(Matmul::Mixed);
        assert_eq!(matmul(), Matmul::Mixed);
        let mixed = trace(tied);
        for (full, mixed) in full.iter().zip(&mixed) {
            let size = full.iter().map(|x| x * x).sum::<f32>().sqrt();
            let error = full.iter().zip(mixed).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt();
            assert!(error <= 0.01 * size, "relative error {}", error / size);
            assert_eq!(gains, error > 0.0, "the setting should matter exactly where it gains");
        }
    }
}
