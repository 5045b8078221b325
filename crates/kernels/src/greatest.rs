//! The greatest number of each row.
//!
//! Start at [`greatest`].

use burn::Tensor;

/// `[rows, n]` → `[rows, 1]`; `n` is 1 at least.
#[must_use]
pub fn greatest(x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "wgpu")]
    if crate::device::infers_on(&x.device()) {
        return crate::device::operations::greatest(x);
    }
    x.max_dim(1)
}
