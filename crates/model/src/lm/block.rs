//! One decoder block: `RMSNorm` → grouped-query attention → residual, `RMSNorm` → `SwiGLU` → residual.
//!
//! Source: Llama / Emu3 blocks; no biases.

use super::rope::Rotary;
use crate::checkpoint::quantize::{Dtype, quantize};
use crate::checkpoint::{HostTensor, TensorMap};
use crate::config::LmConfig;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use earl_kernels::quant_linear::{Bits, Segment};
use earl_kernels::{BlockMaps, BlockShape, DecodeBlock, PackedMatrix};
use std::sync::Arc;

/// A linear map without bias.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`; a single zero where the weights are packed.
    pub weight: Param<Tensor<2>>,
    /// The weights in few bits, `[outputs, inputs]`: never trained.
    #[module(skip)]
    packed: Option<PackedMatrix>,
}

impl Linear {
    /// A map of `weight`, `[inputs, outputs]`.
    #[must_use]
    pub fn new(weight: Tensor<2>) -> Self {
        Self { weight: Param::from_tensor(weight), packed: None }
    }

    /// A map of packed weights.
    #[must_use]
    pub fn packed(weights: PackedMatrix, device: &Device) -> Self {
        Self { packed: Some(weights), ..Self::zeros(1, 1, device) }
    }

    /// A map of zeros.
    #[must_use]
    pub fn zeros(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self::new(Tensor::zeros([inputs, outputs], device))
    }

    /// The same map with its weights in 8 bits, from those of `tensors` under its own `name`: for
    /// inference on the CPU, and after [`Linear::on_device`] on a GPU that has kernels for it.
    #[must_use]
    pub(super) fn pack(self, tensors: &TensorMap, name: &str) -> Self {
        let weights = tensors.get(&format!("{name}.weight")).map(HostTensor::transposed); // [outputs, inputs]
        match weights.as_ref().and_then(pack) {
            Some(weights) => Self::packed(weights, &self.weight.val().device()),
            None => self,
        }
    }

    /// The same with a copy of its packed weights where its device computes.
    #[must_use]
    pub(super) fn on_device(self) -> Self {
        let device = self.weight.val().device();
        Self { packed: self.packed.map(|weights| weights.on(&device)), ..self }
    }

    /// `[batch, seq, inputs]` → `[batch, seq, outputs]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.packed {
            Some(weights) => earl_kernels::quant_linear(x, weights, 0..weights.rows()),
            None => earl_kernels::linear(x, self.weight.val()),
        }
    }
}

/// A table of floats, `[rows, width]`, in 8 bits; `None` if it is no table or empty.
pub(super) fn pack(table: &HostTensor) -> Option<PackedMatrix> {
    let [_, width] = table.shape[..] else { return None };
    let (codes, scales) = quantize(&table.data, width, Dtype::Q8);
    let all = Segment { range: 0..codes.len(), bytes: Arc::new(codes) };
    PackedMatrix::new(Bits::Eight, width, &[all], scales).ok()
}

/// The tensors of one block.
#[derive(Module, Debug)]
pub struct Block {
    /// Gain of the norm before attention.
    pub input_norm: Param<Tensor<1>>,
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Heads back to the residual stream.
    pub o_proj: Linear,
    /// Gain of the norm before the `SwiGLU`.
    pub post_norm: Param<Tensor<1>>,
    /// `SwiGLU`: gate.
    pub gate_proj: Linear,
    /// `SwiGLU`: up.
    pub up_proj: Linear,
    /// `SwiGLU`: back to the residual stream.
    pub down_proj: Linear,
    pub(crate) head_dim: usize,
    #[module(skip)]
    pub(crate) eps: f64,
    /// The whole block in a GPU's memory, where it is packed for one.
    #[module(skip)]
    pub(crate) decode: Option<DecodeBlock>,
}

impl Block {
    /// A block of zeros.
    #[must_use]
    pub fn zeros(config: &LmConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        let heads = config.num_attention_heads * config.head_dim;
        let kv_heads = config.num_key_value_heads * config.head_dim;
        let gain = || Param::from_tensor(Tensor::zeros([width], device));
        Self {
            input_norm: gain(),
            q_proj: Linear::zeros(width, heads, device),
            k_proj: Linear::zeros(width, kv_heads, device),
            v_proj: Linear::zeros(width, kv_heads, device),
            o_proj: Linear::zeros(heads, width, device),
            post_norm: gain(),
            gate_proj: Linear::zeros(width, config.intermediate_size, device),
            up_proj: Linear::zeros(width, config.intermediate_size, device),
            down_proj: Linear::zeros(config.intermediate_size, width, device),
            head_dim: config.head_dim,
            eps: config.rms_norm_eps,
            decode: None,
        }
    }

    /// The same block with its maps in 8 bits, from those of `tensors` under its own `name`.
    #[must_use]
    pub(super) fn pack(self, tensors: &TensorMap, name: &str) -> Self {
        let packed = self.map_each(|map, part| map.pack(tensors, &format!("{name}.{part}")));
        Self { decode: packed.for_device(), ..packed }
    }

    /// The same packed block in its device's memory and no longer in the host's, if that is a GPU with kernels
    /// for it.
    #[must_use]
    pub(crate) fn moved_to_device(self) -> Self {
        let device = self.input_norm.val().device();
        match self.for_device() {
            Some(decode) => {
                let empty = self.map_each(|_, _| Linear::zeros(1, 1, &device));
                Self { decode: Some(decode), ..empty }
            }
            None => self.map_each(|map, _| map.on_device()),
        }
    }

    /// The same block with each of its maps changed; `change` gets a map and its name.
    fn map_each(self, change: impl Fn(Linear, &str) -> Linear) -> Self {
        Self {
            q_proj: change(self.q_proj, "q_proj"),
            k_proj: change(self.k_proj, "k_proj"),
            v_proj: change(self.v_proj, "v_proj"),
            o_proj: change(self.o_proj, "o_proj"),
            gate_proj: change(self.gate_proj, "gate_proj"),
            up_proj: change(self.up_proj, "up_proj"),
            down_proj: change(self.down_proj, "down_proj"),
            ..self
        }
    }

    /// This packed block in its device's memory, if that is a GPU with kernels for it.
    fn for_device(&self) -> Option<DecodeBlock> {
        let maps = BlockMaps {
            qkv: [
                self.q_proj.packed.as_ref()?,
                self.k_proj.packed.as_ref()?,
                self.v_proj.packed.as_ref()?,
            ],
            out: self.o_proj.packed.as_ref()?,
            gate_up: [self.gate_proj.packed.as_ref()?, self.up_proj.packed.as_ref()?],
            down: self.down_proj.packed.as_ref()?,
        };
        let gains = [self.input_norm.val(), self.post_norm.val()];
        let device = gains[0].device();
        let shape = BlockShape { gains, head_dim: self.head_dim, eps: self.eps as f32 };
        DecodeBlock::new(maps, shape, &device)
    }

    /// `[batch, seq, hidden]` → the same. `look` is attention: queries, keys and values of these
    /// tokens in, values weighed by what each may see out, `[batch, seq, heads, head_dim]`.
    #[must_use]
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        rotary: &Rotary,
        look: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let x = x.clone() + self.attend(x, rotary, look);
        let normed = earl_kernels::rms_norm(x.clone(), self.post_norm.val(), self.eps);
        let gated = earl_kernels::swiglu(
            self.gate_proj.forward(normed.clone()),
            self.up_proj.forward(normed),
        );
        x + self.down_proj.forward(gated)
    }

    /// Queries before the rotary turn: `[batch, seq, hidden]` → `[batch, seq, heads · head_dim]`.
    #[must_use]
    pub(crate) fn queries(&self, x: Tensor<3>) -> Tensor<3> {
        self.q_proj.forward(earl_kernels::rms_norm(x, self.input_norm.val(), self.eps))
    }

    /// What attention (`look`, see [`Block::forward`]) adds to the residual stream.
    #[must_use]
    pub(super) fn attend(
        &self,
        x: Tensor<3>,
        rotary: &Rotary,
        look: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let normed = earl_kernels::rms_norm(x, self.input_norm.val(), self.eps);
        let split = |y: Tensor<3>| {
            let heads = y.dims()[2] / self.head_dim;
            y.reshape([batch, seq, heads, self.head_dim]) // [batch, seq, heads, head_dim]
        };
        let q = rotary.apply(split(self.q_proj.forward(normed.clone())));
        let k = rotary.apply(split(self.k_proj.forward(normed.clone())));
        let v = split(self.v_proj.forward(normed));
        let attended = look(q, k, v);
        let heads = attended.dims()[2] * self.head_dim;
        self.o_proj.forward(attended.reshape([batch, seq, heads]))
    }
}
