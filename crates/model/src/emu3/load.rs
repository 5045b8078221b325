//! Checked names → tensors on the device, one at a time, in the layout the modules compute with.
//!
//! `PyTorch` keeps linear weights as `[out, in]`; the blocks multiply by `[in, out]`, so they are
//! transposed here. Convolutions over time are folded by the image tokenizer itself.
//! Start at [`Loader::new`].

use super::names::{Part, match_names};
use super::shards::Shards;
use super::wanted::Wanted;
use crate::checkpoint::HostTensor;
use crate::checkpoint::bundle::Bundle;
use crate::error::ModelError;
use crate::lm::Linear;
use burn::module::Param;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use earl_kernels::PackedMatrix;
use std::collections::BTreeMap;

/// Where tensors come from.
enum Source<'a> {
    /// Published files, with the file's own name of each tensor.
    Shards { shards: &'a Shards, names: BTreeMap<String, String> },
    /// An exported bundle, which has BAAI's names.
    Bundle(&'a Bundle),
}

/// Reads one model's tensors under BAAI's names.
pub struct Loader<'a> {
    source: Source<'a>,
    /// What tables and linear maps are kept in.
    matrices: FloatDType,
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
        let names = match_names(shards, part, wanted)?;
        Ok(Self { source: Source::Shards { shards, names }, matrices: FloatDType::F32, device })
    }

    /// The same from a bundle.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] with every tensor that is missing or misshapen.
    pub fn from_bundle(
        bundle: &'a Bundle,
        wanted: &[Wanted],
        device: &'a Device,
    ) -> Result<Self, ModelError> {
        let differs = |tensor: &Wanted| match bundle.shape(&tensor.name) {
            None => Some(format!("`{}` {:?} is missing", tensor.name, tensor.shape)),
            Some(shape) if shape != tensor.shape => {
                let (name, wanted) = (&tensor.name, &tensor.shape);
                Some(format!("`{name}` has shape {shape:?}; the config asks for {wanted:?}"))
            }
            Some(_) => None,
        };
        let problems: Vec<String> = wanted.iter().filter_map(differs).collect();
        if problems.is_empty() {
            return Ok(Self { source: Source::Bundle(bundle), matrices: FloatDType::F32, device });
        }
        let fix = "export the model again: the manifest's config and tensors must be of one export";
        Err(ModelError::Checkpoint { what: "the bundle".into(), problems, fix: fix.into() })
    }

    /// The same with tables and linear maps that are not packed kept in `matrices`. Vectors and the image
    /// tokenizer stay in float32.
    ///
    /// # Errors
    /// [`ModelError::Option`] if the device does not compute in that type.
    pub fn keeping(self, matrices: FloatDType) -> Result<Self, ModelError> {
        if self.device.supports_dtype(matrices) {
            return Ok(Self { matrices, ..self });
        }
        let problem = format!("the device does not compute in {matrices:?}; float32 always works");
        Err(ModelError::Option { name: "dtype", problem })
    }

    /// Values of one tensor.
    ///
    /// # Errors
    /// As [`Shards::read`] or [`Bundle::tensor`].
    pub fn host(&self, name: &str) -> Result<HostTensor, ModelError> {
        let missing = || ModelError::Tensors(format!("`{name}` is missing"));
        match &self.source {
            Source::Shards { shards, names } => shards.read(names.get(name).ok_or_else(missing)?),
            Source::Bundle(bundle) => bundle.tensor(name),
        }
    }

    /// A matrix that is packed and can be used so: on the CPU, and on a GPU that has kernels for it.
    ///
    /// # Errors
    /// As [`Bundle::packed`].
    pub fn packed(&self, name: &str) -> Result<Option<PackedMatrix>, ModelError> {
        match &self.source {
            Source::Bundle(bundle) if earl_kernels::quant_linear::packs_on(self.device) => {
                bundle.packed(name)
            }
            _ => Ok(None),
        }
    }

    /// A tensor as it is in the file, with `D` axes; axes of size 1 are added at the end.
    ///
    /// # Errors
    /// As [`Loader::host`].
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
    /// As [`Loader::host`].
    pub fn param<const D: usize>(&self, name: &str) -> Result<Param<Tensor<D>>, ModelError> {
        Ok(Param::from_tensor(self.tensor(name)?))
    }

    /// A table of rows: packed where it can be used so, else trainable.
    ///
    /// # Errors
    /// As [`Loader::host`] and [`Loader::packed`].
    pub fn table(
        &self,
        name: &str,
    ) -> Result<(Param<Tensor<2>>, Option<PackedMatrix>), ModelError> {
        match self.packed(name)? {
            Some(packed) => {
                Ok((Param::from_tensor(Tensor::zeros([1, 1], self.device)), Some(packed)))
            }
            None => Ok((Param::from_tensor(self.matrix(self.host(name)?)?), None)),
        }
    }

    /// A linear map: `[out, in]` in the file, `[in, out]` here unless it stays packed.
    ///
    /// # Errors
    /// As [`Loader::host`] and [`Loader::packed`].
    pub fn linear(&self, name: &str) -> Result<Linear, ModelError> {
        if let Some(packed) = self.packed(name)? {
            return Ok(Linear::packed(packed, self.device));
        }
        Ok(Linear::new(self.matrix(self.host(name)?.transposed())?))
    }

    fn matrix(&self, host: HostTensor) -> Result<Tensor<2>, ModelError> {
        Ok(self.upload::<2>(host)?.cast(self.matrices))
    }
}
