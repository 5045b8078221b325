//! Checked names → tensors on the device, one at a time, in the layout the modules compute with.
//!
//! `PyTorch` keeps linear weights as `[out, in]`; the blocks multiply by `[in, out]`, so they are
//! transposed here. Convolutions over time are folded by the image tokenizer itself.
//! Start at [`Loader::new`].

use super::names::{Part, match_names};
use super::shards::Shards;
use super::wanted::Wanted;
use crate::checkpoint::HostTensor;
use crate::error::ModelError;
use crate::lm::Linear;
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// Reads one model's tensors under BAAI's names.
pub struct Loader<'a> {
    shards: &'a Shards,
    names: BTreeMap<String, String>,
    device: &'a Device,
}

impl<'a> Loader<'a> {
    /// Checks every name, shape and type before a value is read.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] with all differences.
    pub fn new(
        shards: &'a Shards,
        part: Part,
        wanted: &[Wanted],
        device: &'a Device,
    ) -> Result<Self, ModelError> {
        Ok(Self { shards, names: match_names(shards, part, wanted)?, device })
    }

    /// Values of one tensor.
    ///
    /// # Errors
    /// As [`Shards::read`].
    pub fn host(&self, name: &str) -> Result<HostTensor, ModelError> {
        let missing = || ModelError::Tensors(format!("`{name}` is missing"));
        self.shards.read(self.names.get(name).ok_or_else(missing)?)
    }

    /// A tensor as it is in the file, with `D` axes; axes of size 1 are added at the end.
    ///
    /// # Errors
    /// As [`Shards::read`].
    pub fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>, ModelError> {
        self.upload(self.host(name)?)
    }

    /// Host values on the device, axes of size 1 added at the end up to `D`.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if there are more axes than `D`.
    pub fn upload<const D: usize>(&self, host: HostTensor) -> Result<Tensor<D>, ModelError> {
        let mut shape = host.shape;
        if shape.len() > D {
            return Err(ModelError::Tensors(format!("{shape:?} has more than {D} axes")));
        }
        shape.resize(D, 1);
        Ok(Tensor::from_data(TensorData::new(host.data, shape), self.device))
    }

    /// A trainable tensor as it is in the file.
    ///
    /// # Errors
    /// As [`Shards::read`].
    pub fn param<const D: usize>(&self, name: &str) -> Result<Param<Tensor<D>>, ModelError> {
        Ok(Param::from_tensor(self.tensor(name)?))
    }

    /// A linear map: `[out, in]` in the file, `[in, out]` here.
    ///
    /// # Errors
    /// As [`Shards::read`].
    pub fn linear(&self, name: &str) -> Result<Linear, ModelError> {
        let weight = self.upload(transposed(&self.host(name)?))?;
        Ok(Linear { weight: Param::from_tensor(weight) })
    }
}

/// Side of the squares that are transposed at once, so that both sides stay in the cache.
const TILE: usize = 64;

/// `[rows, columns]` → `[columns, rows]`.
fn transposed(host: &HostTensor) -> HostTensor {
    let [rows, columns] = host.shape[..] else { return host.clone() };
    let mut data = vec![0.0; host.data.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                for column in left..columns.min(left + TILE) {
                    data[column * rows + row] = host.data[row * columns + column];
                }
            }
        }
    }
    HostTensor { shape: vec![columns, rows], data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_same() {
        let host = HostTensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(transposed(&host).data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let (rows, columns) = (130, 67);
        let data = (0..rows * columns).map(|at| at as f32).collect();
        let host = HostTensor { shape: vec![rows, columns], data };
        assert_eq!(transposed(&transposed(&host)), host);
    }
}
