//! The size of a gradient, for a clip over all of them.
//!
//! Start at [`sum_of_squares`].

use burn::Tensor;

/// `Σ x²`, on flex in double precision and in an order that does not depend on the number of cores.
///
/// # Shapes
/// `[n]`, without autodiff.
///
/// # Panics
/// If the device does not give the sum back.
#[must_use]
pub fn sum_of_squares(x: Tensor<1>) -> f64 {
    #[cfg(feature = "flex")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::norm::sum_of_squares(x);
    }
    f64::from(x.square().sum().into_scalar::<f32>())
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::float_cmp, reason = "small integers are exact")]
mod tests {
    use super::sum_of_squares;
    use crate::testing::noise;
    use burn::Tensor;
    use burn::tensor::Device;

    #[test]
    fn is_exact_in_double_precision_and_the_same_for_any_threads() {
        let of = |values: &[f32]| sum_of_squares(Tensor::from_floats(values, &Device::flex()));
        assert_eq!(of(&[3.0, -4.0]), 25.0);
        assert_eq!(of(&[]), 0.0);
        let values = noise(100_003, 1);
        let exact: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let with = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| of(&values))
        };
        assert!((with(1) / exact - 1.0).abs() < 1e-12);
        assert_eq!(with(1), with(5));
    }
}
