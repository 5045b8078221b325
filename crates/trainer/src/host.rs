//! Plain values to tensors and back.

use anyhow::{Result, anyhow};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Indices as a tensor `[len]`.
#[must_use]
pub(crate) fn int_tensor(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// A tensor's values.
///
/// # Errors
/// If the device does not give them back.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().try_into_vec();
    data.map_err(|problem| anyhow!("reading a tensor: {problem:?}"))
}
