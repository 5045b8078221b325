//! A decoder block for inference in six dispatches, whatever the number of tokens; ten where rows are too wide
//! for a workgroup's memory or weights have 4 bits (see [`super::matrix`]).

use super::matrix::{Around, DeviceMatrix};
use super::{Shader, THREADS, infers_on, inner, outer, room};
use crate::attention::{FEW, SHORT};
use crate::decode_block::{BlockMaps, BlockShape, Seen};
use burn::Tensor;
use burn::tensor::Device;
use burn_cubecl::tensor::CubeTensor;

/// Most keys whose weights lie in a workgroup's memory; more take `far_attention.wgsl`.
pub(crate) const MOST_KEYS: usize = 2048;
/// Threads of a workgroup of `far_attention.wgsl`.
const FAR_THREADS: usize = 256;
/// Tokens that are widened to the `SwiGLU`'s inner width at once.
const MOST_TOKENS: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Block {
    shape: BlockShape,
    heads: usize,
    kv_heads: usize,
    qkv: DeviceMatrix,
    out: DeviceMatrix,
    gate_up: DeviceMatrix,
    down: DeviceMatrix,
}

impl Block {
    pub(crate) fn new(maps: BlockMaps<'_>, shape: BlockShape, device: &Device) -> Option<Self> {
        if !infers_on(device) {
            return None;
        }
        let [queries, keys, _] = maps.qkv;
        Some(Self {
            heads: queries.rows() / shape.head_dim,
            kv_heads: keys.rows() / shape.head_dim,
            shape,
            qkv: DeviceMatrix::new(&maps.qkv, device)?,
            out: DeviceMatrix::new(&[maps.out], device)?,
            gate_up: DeviceMatrix::new(&maps.gate_up, device)?,
            down: DeviceMatrix::new(&[maps.down], device)?,
        })
    }

    /// See [`crate::DecodeBlock::cache_shape`].
    pub(crate) fn cache_shape(&self, batch: usize, room: usize) -> [usize; 4] {
        [batch, room, self.kv_heads, self.shape.head_dim]
    }

    /// See [`crate::DecodeBlock::forward`].
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        angles: [Tensor<3>; 2],
        seen: Seen<'_>,
    ) -> (Tensor<3>, [Tensor<4>; 2]) {
        let [gain_in, gain_post] = &self.shape.gains;
        let eps = self.shape.eps;
        let norm = |gain| Around { norm: Some((gain, eps)), ..Around::default() };
        let qkv = self.qkv.forward(x.clone(), norm(gain_in));
        let (attended, kv) = self.attend(qkv, angles, seen);
        let x = self.out.forward(attended, Around { residual: Some(&x), ..Around::default() });
        (self.widened(x, norm(gain_post)), kv)
    }

    /// The `SwiGLU` and its residual; many tokens in several turns, since the widened ones lie in one buffer.
    fn widened(&self, x: Tensor<3>, norm: Around<'_>) -> Tensor<3> {
        let seq = x.dims()[1];
        if seq > MOST_TOKENS {
            let parts = x.split(MOST_TOKENS, 1).into_iter().map(|part| self.widened(part, norm));
            return Tensor::cat(parts.collect(), 1);
        }
        let gated = self.gate_up.forward(x.clone(), Around { swiglu: true, ..norm });
        self.down.forward(gated, Around { residual: Some(&x), ..Around::default() })
    }

    /// `qkv` is overwritten: nobody else holds it.
    fn attend(
        &self,
        qkv: Tensor<3>,
        angles: [Tensor<3>; 2],
        seen: Seen<'_>,
    ) -> (Tensor<3>, [Tensor<4>; 2]) {
        let [batch, seq, _] = qkv.dims();
        let Seen { kv, start, mask, causal } = seen;
        let keys_room = kv[0].dims()[1];
        assert!(start + seq <= keys_room, "attention: {seq} keys after {start} of {keys_room}");
        let qkv = inner(qkv.into_dispatch());
        let [cosines, sines] = angles.map(|angles| inner(angles.into_dispatch()));
        let [keys, values] = kv.map(|kv| own(inner(kv.into_dispatch())));
        let heads = |shader: Shader| {
            shader
                .whole("HEADS", self.heads)
                .whole("KV_HEADS", self.kv_heads)
                .whole("DIM", self.shape.head_dim)
        };
        let pairs = (self.heads + 2 * self.kv_heads) * self.shape.head_dim / 2;
        heads(Shader::new("append", include_str!("wgsl/append.wgsl"))).launch(
            [pairs.div_ceil(THREADS), batch * seq],
            &[&qkv, &cosines, &sines, &keys, &values],
            Some([seq, start, keys_room, 0]),
        );

        let mask = mask.map(|mask| inner(mask.clone().into_dispatch()));
        let output = room(&qkv, [batch, seq, self.heads * self.shape.head_dim]);
        let mut buffers = vec![&qkv, &keys, &values];
        buffers.extend(mask.as_ref());
        buffers.push(&output);
        heads(self.attention(keys_room, seq, causal)).option("mask", mask.is_some()).launch(
            [self.heads, batch * seq],
            &buffers,
            Some([seq, start, keys_room, usize::from(causal)]),
        );
        (outer(output), [outer(keys), outer(values)])
    }

    /// The shader for a cache with that room.
    fn attention(&self, keys_room: usize, seq: usize, causal: bool) -> Shader {
        let shader = |name, text| {
            let shader = Shader::new(name, text).with(include_str!("wgsl/keys.wgsl"));
            shader.float("SCALE", (self.shape.head_dim as f32).powf(-0.5))
        };
        if keys_room > MOST_KEYS {
            let width = self.shape.head_dim;
            let fits = width.is_multiple_of(4) && width <= 4 * FAR_THREADS;
            assert!(fits, "attention: {keys_room} keys of {width} numbers");
            let text = include_str!("wgsl/far_attention.wgsl");
            return shader("far_attention", text).threads(FAR_THREADS);
        }
        let in_lanes = seq * self.heads / self.kv_heads <= FEW || (causal && seq <= SHORT);
        shader("attention", include_str!("wgsl/attention.wgsl"))
            .whole("MOST_KEYS", MOST_KEYS)
            .option("lanes", in_lanes)
            .option("straight", !in_lanes)
    }
}

/// The same numbers where writing them disturbs nobody.
fn own(tensor: CubeTensor) -> CubeTensor {
    if tensor.can_mut() { tensor } else { tensor.copy() }
}
