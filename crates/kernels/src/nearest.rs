//! Pictures of another size, by repeating and leaving out places.
//!
//! Start at [`nearest`].

use burn::Tensor;
use burn::tensor::{Int, TensorData};

/// Resizes by repeating places: place `i` shows `⌊i · before / after⌋`.
///
/// # Shapes
/// - `x`: `[batch, maps, rows, columns]`
/// - returns: `[batch, maps, height, width]`
#[must_use]
pub fn nearest(x: Tensor<4>, height: usize, width: usize) -> Tensor<4> {
    let [_, _, rows, columns] = x.dims();
    let device = x.device();
    let pick = |before: usize, after: usize| {
        let at: Vec<i32> = (0..after).map(|place| (place * before / after) as i32).collect();
        Tensor::<1, Int>::from_data(TensorData::new(at, [after]), &device)
    };
    let x = if rows == height { x } else { x.select(2, pick(rows, height)) };
    if columns == width { x } else { x.select(3, pick(columns, width)) }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::nearest;
    use crate::testing::values;
    use burn::Tensor;
    use burn::tensor::Device;

    #[test]
    #[allow(clippy::float_cmp, reason = "values are copied")]
    fn repeats_and_skips_places() {
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &Device::flex()).reshape([1, 1, 1, 3]);
        assert_eq!(values(nearest(x.clone(), 1, 6)), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(values(nearest(x.clone(), 1, 4)), [1.0, 1.0, 2.0, 3.0]);
        assert_eq!(values(nearest(x, 2, 2)), [1.0, 2.0, 1.0, 2.0]);
    }
}
