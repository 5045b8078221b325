//! Float32 safetensors, with the model's configuration in the file's metadata.
//!
//! The `safetensors` crate checks the header (offsets, overlaps, sizes) before a value is read.

use super::{HostTensor, TensorMap};
use crate::error::ModelError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;

/// Metadata key of the model's configuration, as JSON.
pub const CONFIG_KEY: &str = "earl_config";

fn format_error(problem: impl ToString) -> ModelError {
    ModelError::Format { what: "safetensors file".into(), problem: problem.to_string() }
}

/// Serializes `tensors` and the configuration `config` (JSON).
///
/// # Errors
/// [`ModelError::Format`] if a shape and its data disagree.
pub fn write(tensors: &TensorMap, config: &str) -> Result<Vec<u8>, ModelError> {
    let bytes: Vec<(&String, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let raw = tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, tensor.shape.as_slice(), raw)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, raw)| Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), raw)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(format_error)?;
    let metadata = HashMap::from([(CONFIG_KEY.to_owned(), config.to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(format_error)
}

/// Reads float32 tensors and the configuration, if the file has one.
///
/// # Errors
/// [`ModelError::Format`] for anything that is not a well-formed float32 safetensors file.
pub fn read(bytes: &[u8]) -> Result<(TensorMap, Option<String>), ModelError> {
    let file = SafeTensors::deserialize(bytes).map_err(format_error)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(format_error)?;
    let config = header.metadata().as_ref().and_then(|meta| meta.get(CONFIG_KEY).cloned());
    let mut tensors = TensorMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format_error(format!("`{name}` is {:?}; only F32 is read", view.dtype())));
        }
        let data: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        if let Some(at) = data.iter().position(|value| !value.is_finite()) {
            return Err(format_error(format!("`{name}` holds {} at index {at}", data[at])));
        }
        tensors.insert(name, HostTensor { shape: view.shape().to_vec(), data });
    }
    Ok((tensors, config))
}
