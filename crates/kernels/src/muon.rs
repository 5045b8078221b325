//! One step of Muon: matrices with their gradients and momenta in, new matrices and momenta out.
//!
//! The momentum of a matrix is made orthogonal, roughly, by five Newton–Schulz iterations. Source:
//! Jordan et al. 2024 (coefficients); scale `0.2 · sqrt(max(rows, cols))` after Moonlight (arXiv
//! 2502.16982), which lets matrices share `AdamW`'s learning rate. No gradient flows through it.
//! Start at [`muon`].

use burn::Tensor;

/// Decay of the momentum.
pub(crate) const MOMENTUM: f32 = 0.95;
/// An iteration is `x ← (a + b·xxᵀ + c·(xxᵀ)²)·x`.
pub(crate) const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
pub(crate) const ITERATIONS: usize = 5;
/// Added to the norm that the matrix is divided by first.
pub(crate) const TINY: f32 = 1e-7;

/// Settings of one step.
#[derive(Clone, Copy, Debug)]
pub struct Muon {
    /// Learning rate.
    pub rate: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// The gradient is multiplied by this first: what a clip leaves of it.
    pub scale: f32,
}

/// A matrix to be stepped, all three `[rows, cols]` and without autodiff.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The weights.
    pub weight: Tensor<2>,
    /// Their gradient.
    pub gradient: Tensor<2>,
    /// The momentum so far, zeros at first.
    pub momentum: Tensor<2>,
}

/// Steps every matrix: `m ← 0.95·m + g`, `w ← w − rate · (s · orthogonal(g + 0.95·m) + decay · w)`
/// with `s = 0.2 · sqrt(max(rows, cols))`. Returns new weights and momenta in the same order.
///
/// All in one call, since on flex each core takes a matrix at a time; momenta's memory is reused.
#[must_use]
pub fn muon(matrices: Vec<Matrix>, step: &Muon) -> Vec<[Tensor<2>; 2]> {
    #[cfg(feature = "flex")]
    if matrices.first().is_some_and(|matrix| crate::fused::runs_on(&matrix.weight.device())) {
        return crate::fused::muon::muon(matrices, step);
    }
    matrices.into_iter().map(|matrix| plain(matrix, step)).collect()
}

/// The factor of an orthogonal update.
pub(crate) fn size(rows: usize, cols: usize) -> f32 {
    0.2 * (rows.max(cols) as f32).sqrt()
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(matrix: Matrix, step: &Muon) -> [Tensor<2>; 2] {
    let Matrix { weight, gradient, momentum } = matrix;
    let [rows, cols] = weight.dims();
    let gradient = gradient.mul_scalar(step.scale);
    let momentum = momentum.mul_scalar(MOMENTUM) + gradient.clone();
    let update = orthogonal(gradient + momentum.clone().mul_scalar(MOMENTUM));
    let update = update.mul_scalar(size(rows, cols)) + weight.clone().mul_scalar(step.decay);
    [weight - update.mul_scalar(step.rate), momentum]
}

/// The nearest (semi-)orthogonal matrix, roughly: singular values end between 0.7 and 1.2.
fn orthogonal(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, cols] = matrix.dims();
    let tall = rows > cols;
    let mut x = if tall { matrix.transpose() } else { matrix };
    let norm = x.clone().square().sum().sqrt().add_scalar(TINY);
    x = x.div(norm.unsqueeze());
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = x.clone().matmul(x.clone().transpose());
        let poly = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
        x = x.clone().mul_scalar(a) + poly.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{Matrix, Muon, muon, plain, size};
    use crate::testing::{assert_close, noise, values};
    use burn::Tensor;
    use burn::tensor::Device;

    const STEP: Muon = Muon { rate: 0.1, decay: 0.5, scale: 0.3 };

    fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape(shape)
    }

    fn matrix(shape: [usize; 2], seed: u64) -> Matrix {
        let tensor = |seed| tensor(&noise(shape[0] * shape[1], seed), shape);
        Matrix { weight: tensor(seed), gradient: tensor(seed + 1), momentum: tensor(seed + 2) }
    }

    #[test]
    fn the_update_has_singular_values_near_one_and_keeps_the_direction() {
        // A diagonal matrix stays diagonal, so its singular values can be read off.
        let zeros = tensor(&[0.0; 6], [2, 3]);
        let gradient = tensor(&[4.0, 0.0, 0.0, 0.0, 1.0, 0.0], [2, 3]);
        let matrix = Matrix { weight: zeros.clone(), gradient, momentum: zeros };
        let step = Muon { rate: -1.0, decay: 0.5, scale: 1.0 };
        let [update, momentum] = muon(vec![matrix], &step).remove(0);
        assert_close(&values(momentum), &[4.0, 0.0, 0.0, 0.0, 1.0, 0.0], 1e-6);
        for (at, value) in values(update).into_iter().enumerate() {
            match at {
                0 | 4 => assert!((0.6..1.3).contains(&(value / size(2, 3))), "{at}: {value}"),
                _ => assert!(value.abs() < 1e-6, "{at}: {value}"),
            }
        }
    }

    /// Rounding of either form grows with the small singular values: 1e-4 of the largest element.
    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        let shapes =
            [[1, 1], [1, 5], [7, 3], [33, 40], [192, 64], [192, 512], [512, 192], [64, 64]];
        let matrices: Vec<Matrix> =
            shapes.iter().zip(1..).map(|(&shape, seed)| matrix(shape, 10 * seed)).collect();
        let fused = muon(matrices.clone(), &STEP);
        for (fused, matrix) in fused.into_iter().zip(matrices) {
            let plain = plain(matrix, &STEP);
            for (fused, plain) in fused.into_iter().zip(plain) {
                assert_close(&values(fused), &values(plain), 1e-4);
            }
        }
    }

    #[test]
    fn one_thread_or_many() {
        let with = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let matrices = (0..5).map(|seed| matrix([48, 80], seed)).collect();
            let stepped = pool.install(|| muon(matrices, &STEP));
            stepped.into_iter().flatten().map(values).collect::<Vec<_>>()
        };
        assert_eq!(with(1), with(5));
    }

    #[test]
    fn a_gradient_of_zeros_moves_nothing() {
        let zeros = tensor(&[0.0; 6], [3, 2]);
        let matrix = Matrix { weight: zeros.clone(), gradient: zeros.clone(), momentum: zeros };
        let [weight, _] = muon(vec![matrix], &STEP).remove(0);
        assert_eq!(values(weight), [0.0; 6]);
    }
}
