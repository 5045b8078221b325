//! A decoder block for inference on a GPU: norms, projections, attention over a cache and `SwiGLU` in a
//! few dispatches, since at one token the number of dispatches is what takes time.
//!
//! Its specification is the same block of [`rms_norm`](crate::rms_norm()),
//! [`quant_linear`](crate::quant_linear()), [`rope`](crate::rope()), [`attention`](crate::attention())
//! and [`swiglu`](crate::swiglu()) on the CPU. Start at [`DecodeBlock`].

use crate::quant_linear::PackedMatrix;
use burn::Tensor;
use burn::tensor::Device;

/// Packed maps of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockMaps<'a> {
    /// Queries, keys, values.
    pub qkv: [&'a PackedMatrix; 3],
    /// Heads back to the residual stream.
    pub out: &'a PackedMatrix,
    /// `SwiGLU`: gate and up.
    pub gate_up: [&'a PackedMatrix; 2],
    /// `SwiGLU`: back to the residual stream.
    pub down: &'a PackedMatrix,
}

/// What a block is besides its maps.
#[derive(Clone, Debug)]
pub struct BlockShape {
    /// Gains of the norms before attention and before the `SwiGLU`.
    pub gains: [Tensor<1>; 2],
    /// Width of a head.
    pub head_dim: usize,
    /// ε of the norms.
    pub eps: f32,
}

/// Keys and values read so far, and which of them are seen.
#[derive(Debug)]
pub struct Seen<'a> {
    /// `[batch, room, kv_heads, head_dim]` each; new ones are written behind the first `start`.
    pub kv: [Tensor<4>; 2],
    /// Keys that are there.
    pub start: usize,
    /// `[batch, start + seq]`, 1 where a key is seen; `None` shows all.
    pub mask: Option<&'a Tensor<2>>,
    /// Does a token see only what came before it?
    pub causal: bool,
}

/// A block whose maps are in a GPU's memory, in 8 bits.
#[derive(Clone, Debug)]
pub struct DecodeBlock {
    #[cfg(feature = "wgpu")]
    inner: crate::device::block::Block,
    #[cfg(not(feature = "wgpu"))]
    never: std::convert::Infallible,
}

impl DecodeBlock {
    /// A block on a device; `None` where the device has no kernels for it (all but wgpu's) or a map has
    /// not 8 bits.
    #[must_use]
    pub fn new(maps: BlockMaps<'_>, shape: BlockShape, device: &Device) -> Option<Self> {
        #[cfg(feature = "wgpu")]
        {
            let inner = crate::device::block::Block::new(maps, shape, device)?;
            Some(Self { inner })
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _ = (maps, shape, device);
            None
        }
    }

    /// The shape of keys and of values of so many tokens.
    #[must_use]
    pub fn cache_shape(&self, batch: usize, room: usize) -> [usize; 4] {
        #[cfg(feature = "wgpu")]
        {
            self.inner.cache_shape(batch, room)
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _ = (batch, room);
            match self.never {}
        }
    }

    /// The block's output and the cache with these tokens' keys and values.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`; returns the same
    /// - `angles`: cosines and sines, `[batch, seq, head_dim / 2]` each
    ///
    /// # Panics
    /// If sizes disagree, or the cache has no room for the tokens.
    #[must_use]
    pub fn forward(
        &self,
        x: Tensor<3>,
        angles: [Tensor<3>; 2],
        seen: Seen<'_>,
    ) -> (Tensor<3>, [Tensor<4>; 2]) {
        #[cfg(feature = "wgpu")]
        {
            self.inner.forward(x, angles, seen)
        }
        #[cfg(not(feature = "wgpu"))]
        {
            let _ = (x, angles, seen);
            match self.never {}
        }
    }
}
