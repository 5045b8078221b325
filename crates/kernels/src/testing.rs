//! What the tests of every operation share: inputs, gradients, and three ways to check them.

use burn::Tensor;
use burn::tensor::{DType, Device, TensorData};

/// Floats in −2..2 that depend on nothing but the arguments.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

/// A result and the gradient of `Σ result · noise` for every input, all flat.
#[derive(Debug, PartialEq)]
pub(crate) struct Traced {
    pub(crate) output: Vec<f32>,
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// Runs `operation`, which shapes its flat inputs itself, forward and backward on flex.
pub(crate) fn trace<const D: usize>(
    inputs: &[Vec<f32>],
    operation: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
) -> Traced {
    let device = Device::flex().autodiff();
    let leaves: Vec<_> = inputs
        .iter()
        .map(|input| Tensor::<1>::from_floats(input.as_slice(), &device).require_grad())
        .collect();
    let output = operation(leaves.clone());
    let output: Tensor<1> = output.flatten(0, D - 1);
    let weights = noise(output.dims()[0], 99);
    let loss = output.clone().mul(Tensor::from_floats(weights.as_slice(), &device)).sum();
    let gradients = loss.backward();
    let gradient = |leaf: &Tensor<1>| values(leaf.grad(&gradients).expect("a gradient"));
    Traced { output: values(output), gradients: leaves.iter().map(gradient).collect() }
}

/// The elements in row order.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32 elements")
}

/// All elements within `tolerance`, relative to the largest magnitude of `want`; values below a
/// hundredth are what is left where larger ones cancel, and count as a hundredth.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    let magnitude = want.iter().fold(1e-2f32, |peak, x| peak.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / magnitude;
        assert!(error <= tolerance, "element {i}: {got}, not {want} (magnitude {magnitude})");
    }
}

/// The fused operation gives the plain one's results (1e-5) and gradients (1e-4).
#[track_caller]
pub(crate) fn assert_agree<const D: usize>(
    inputs: &[Vec<f32>],
    fused: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
    plain: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
) {
    let (got, want) = (trace(inputs, fused), trace(inputs, plain));
    assert_close(&got.output, &want.output, 1e-5);
    for (got, want) in got.gradients.iter().zip(&want.gradients) {
        assert_close(got, want, 1e-4);
    }
}

/// The fused gradients are the slopes of the plain operation, measured in f64.
#[track_caller]
pub(crate) fn assert_slopes<const D: usize>(
    inputs: &[Vec<f32>],
    fused: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
    plain: impl Fn(Vec<Tensor<1>>) -> Tensor<D>,
) {
    const STEP: f64 = 1e-5;
    let device = Device::flex();
    let exact: Vec<Vec<f64>> =
        inputs.iter().map(|input| input.iter().map(|&x| f64::from(x)).collect()).collect();
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        let tensor = |input: &Vec<f64>| {
            let data = TensorData::new(input.clone(), [input.len()]);
            Tensor::<1>::from_data(data, (&device, DType::F64))
        };
        let output = plain(inputs.iter().map(tensor).collect());
        let output: Vec<f64> = output.into_data().try_into_vec().expect("f64 elements");
        let weights = noise(output.len(), 99);
        output.iter().zip(weights).map(|(x, weight)| x * f64::from(weight)).sum()
    };
    let traced = trace(inputs, fused);
    for (which, gradient) in traced.gradients.iter().enumerate() {
        let slope = |i: usize| {
            let mut moved = exact.clone();
            moved[which][i] += STEP;
            let above = loss(&moved);
            moved[which][i] -= 2.0 * STEP;
            ((above - loss(&moved)) / (2.0 * STEP)) as f32
        };
        let slopes: Vec<f32> = (0..gradient.len()).map(slope).collect();
        assert_close(gradient, &slopes, 1e-4);
    }
}

/// One thread and five give the same bits.
#[track_caller]
pub(crate) fn assert_same_bits<const D: usize>(
    inputs: &[Vec<f32>],
    operation: impl Fn(Vec<Tensor<1>>) -> Tensor<D> + Sync,
) {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| trace(inputs, &operation))
    };
    assert_eq!(with(1), with(5));
}
