//! The one forward pass: embedded tokens in, hidden states out, for every decoder of this crate.
//!
//! What differs between decoders – tables, places, heads – is before and after it.

use super::Chunk;
use super::block::Block;
use super::kv_cache::KvCache;
use super::rope::Rotary;
use crate::config::LmConfig;
use burn::tensor::Tensor;
use earl_kernels::{Packing, packed_attention};
use std::sync::Arc;

/// Blocks and final norm of a decoder.
pub(crate) struct Trunk<'a> {
    pub(crate) config: &'a LmConfig,
    pub(crate) layers: &'a [Block],
    pub(crate) norm: Tensor<1>,
}

impl Trunk<'_> {
    /// Runs `x`, the embedded tokens of `chunk`, through all blocks and the final norm, after what
    /// `cache` holds. `after` sees the hidden states after each block (its index from 0). `rotary` is
    /// made before `x`: a GPU hands over what it has to do before it takes new numbers.
    ///
    /// # Shapes
    /// - `x`: `[chunk.batch, chunk.seq, hidden]`; returns the same
    pub(crate) fn read(
        self,
        x: Tensor<3>,
        rotary: &Rotary,
        chunk: &Chunk,
        cache: &mut KvCache,
        causal: bool,
        after: &mut dyn FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let mask = cache.push_mask(chunk, &x.device());
        let step = |at, layer: &Block, x| cache.step(at, layer, x, rotary, mask.as_ref(), causal);
        self.run(x, step, after)
    }

    /// As [`Trunk::read`], for whole sequences at once: the tokens of one packed row.
    ///
    /// # Shapes
    /// - `x`: `[1, tokens, hidden]`, the tokens of the packing; returns the same
    pub(crate) fn read_packed(
        self,
        x: Tensor<3>,
        rotary: &Rotary,
        packing: &Arc<Packing>,
        after: &mut dyn FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let look = |q, k, v| packed_attention(q, k, v, packing);
        self.run(x, |_, layer, x| layer.forward(x, rotary, look), after)
    }

    /// All blocks, each by `step`, and the final norm.
    fn run(
        self,
        mut x: Tensor<3>,
        mut step: impl FnMut(usize, &Block, Tensor<3>) -> Tensor<3>,
        after: &mut dyn FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        for (at, layer) in self.layers.iter().enumerate() {
            x = step(at, layer, x);
            after(at, &x);
        }
        earl_kernels::rms_norm(x, self.norm, self.config.rms_norm_eps)
    }

    /// Queries before the rotary turn, and what attention adds to `x`, of the first block alone.
    ///
    /// # Shapes
    /// - `x`: `[chunk.batch, chunk.seq, hidden]`
    /// - returns: `[chunk.batch, chunk.seq, heads · head_dim]` and the shape of `x`
    pub(crate) fn first_attention(
        self,
        x: Tensor<3>,
        rotary: &Rotary,
        chunk: &Chunk,
        causal: bool,
    ) -> Option<(Tensor<3>, Tensor<3>)> {
        let layer = self.layers.first()?;
        let mut cache = KvCache::new(1);
        let mask = cache.push_mask(chunk, &x.device());
        let look = |q, k, v| cache.look(0, [q, k, v], mask.as_ref(), causal);
        let attended = layer.attend(x.clone(), rotary, look);
        Some((layer.queries(x), attended))
    }
}
