//! Keys and values of everything read so far, by layer, and which of them are padding.

use super::Chunk;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Keys and values of one layer, `[batch, keys, kv_heads, head_dim]` each.
#[derive(Clone, Debug, Default)]
struct LayerCache {
    kv: Option<(Tensor<4>, Tensor<4>)>,
}

impl LayerCache {
    /// Appends keys and values and returns all.
    fn push(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let all = match self.kv.take() {
            None => (k, v),
            Some((keys, values)) => {
                (Tensor::cat(vec![keys, k], 1), Tensor::cat(vec![values, v], 1))
            }
        };
        self.kv = Some(all.clone());
        all
    }
}

/// The cache of a whole decoder.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// Key positions by batch row, `true` = padding; empty while nothing is padded.
    padding: Vec<Vec<bool>>,
    len: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize) -> Self {
        Self { layers: vec![LayerCache::default(); layers], padding: Vec::new(), len: 0 }
    }

    /// Attention of one layer over all that was read and the new tokens, whose keys and values are
    /// appended. `mask` comes from [`KvCache::push_mask`].
    pub(super) fn look(
        &mut self,
        layer: usize,
        [q, k, v]: [Tensor<4>; 3],
        mask: Option<&Tensor<2>>,
        causal: bool,
    ) -> Tensor<4> {
        let (keys, values) = self.layers[layer].push(k, v);
        earl_kernels::attention(q, keys, values, mask.cloned(), causal)
    }

    /// Key positions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has nothing been read yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A cache whose batch rows are `rows` of this one, in that order, each as often as it is named:
    /// one source pass serves many instructions.
    #[must_use]
    pub fn select(&self, rows: &[usize], device: &Device) -> Self {
        let ids: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), device);
        let pick = |layer: &LayerCache| LayerCache {
            kv: layer
                .kv
                .as_ref()
                .map(|(k, v)| (k.clone().select(0, ids.clone()), v.clone().select(0, ids.clone()))),
        };
        let padding = if self.padding.is_empty() {
            Vec::new()
        } else {
            rows.iter().map(|&row| self.padding[row].clone()).collect()
        };
        Self { layers: self.layers.iter().map(pick).collect(), padding, len: self.len }
    }

    /// Notes the chunk's padding; the mask of all keys (1 = visible), if any key is hidden.
    pub(super) fn push_mask(&mut self, chunk: &Chunk, device: &Device) -> Option<Tensor<2>> {
        let before = self.len;
        self.len += chunk.seq;
        if self.padding.is_empty() && !chunk.padding.contains(&true) {
            return None;
        }
        self.padding.resize(chunk.batch, vec![false; before]);
        for (row, padding) in self.padding.iter_mut().enumerate() {
            match chunk.padding.get(row * chunk.seq..(row + 1) * chunk.seq) {
                Some(own) => padding.extend_from_slice(own),
                None => padding.resize(self.len, false),
            }
        }
        let visible: Vec<f32> =
            self.padding.iter().flatten().map(|&hidden| f32::from(u8::from(!hidden))).collect();
        Some(Tensor::from_data(TensorData::new(visible, [chunk.batch, self.len]), device))
    }
}
