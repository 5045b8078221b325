//! Weights in and out: named tensors, safetensors, and the EARLW bundle. Reads slices, never paths.

pub mod bundle;
pub mod known;
pub mod quantize;
pub mod safetensors;
pub mod tensors;
pub mod writer;

pub use tensors::{HostTensor, TensorMap, apply, collect};
