//! Keys and values of everything read so far, by layer, and which of them are padding.

use super::Chunk;
use super::block::Block;
use super::rope::Rotary;
use burn::tensor::{Device, Int, Tensor, TensorData};
use earl_kernels::{DecodeBlock, Seen};

/// Keys and values of one layer, `[batch, room, kv_heads, head_dim]` each; the first `len` of `room`
/// keys are there.
#[derive(Clone, Debug, Default)]
struct LayerCache {
    kv: Option<[Tensor<4>; 2]>,
    len: usize,
}

/// Room is made for half as many keys again, and for at least this many.
const LEAST_ROOM: usize = 64;
/// Keys by which a GPU's cache grows: a whole edit of the tiny tier.
const ROOM: usize = 256;

impl LayerCache {
    /// Appends keys and values and returns all.
    ///
    /// A single row without gradients is written into spare room, so that a token does not copy
    /// what was read before it. Rows of a batch would lie apart there and be copied on use, and
    /// gradients need every state: both are joined anew.
    fn push(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let start = self.len;
        self.len += k.dims()[1];
        let Some(held) = self.kv.take() else {
            self.kv = Some([k.clone(), v.clone()]);
            return (k, v);
        };
        let [keys, values] = held;
        let in_place = k.dims()[0] == 1 && !k.device().is_autodiff();
        let join = |all: Tensor<4>, new: Tensor<4>| {
            if in_place {
                written(all, start, new)
            } else {
                Tensor::cat(vec![first(all, start), new], 1)
            }
        };
        let all = [join(keys, k), join(values, v)];
        self.kv = Some(all.clone());
        let [keys, values] = all;
        (first(keys, self.len), first(values, self.len))
    }

    /// Runs a GPU's block, which writes its keys and values into the spare room itself.
    fn decode(
        &mut self,
        block: &DecodeBlock,
        x: Tensor<3>,
        rotary: &Rotary,
        mask: Option<&Tensor<2>>,
        causal: bool,
    ) -> Tensor<3> {
        let (start, [batch, seq, _]) = (self.len, x.dims());
        self.len += seq;
        let wanted = block.cache_shape(batch, self.len.next_multiple_of(ROOM));
        let spare = |room: usize| {
            let [batch, _, heads, width] = wanted;
            Tensor::empty([batch, room, heads, width], &x.device())
        };
        let kv = match self.kv.take() {
            None => [spare(wanted[1]), spare(wanted[1])],
            Some(kv) => kv.map(|kv| match wanted[1].saturating_sub(kv.dims()[1]) {
                0 => kv,
                missing => Tensor::cat(vec![kv, spare(missing)], 1),
            }),
        };
        let (x, kv) = block.forward(x, rotary.angles(), Seen { kv, start, mask, causal });
        self.kv = Some(kv);
        x
    }

    /// Keys and values that are there.
    fn held(&self) -> Option<[Tensor<4>; 2]> {
        self.kv.clone().map(|kv| kv.map(|tensor| first(tensor, self.len)))
    }
}

/// The first `len` keys: a view.
fn first(tensor: Tensor<4>, len: usize) -> Tensor<4> {
    if tensor.dims()[1] == len { tensor } else { tensor.narrow(1, 0, len) }
}

/// `new` written behind the first `start` keys of `all`, in place if nobody else holds it.
fn written(all: Tensor<4>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [batch, room, heads, width] = all.dims();
    let len = start + new.dims()[1];
    let all = if len > room {
        let spare = (len / 2).max(LEAST_ROOM);
        let spare = Tensor::zeros([batch, len + spare - room, heads, width], &all.device());
        Tensor::cat(vec![all, spare], 1)
    } else {
        all
    };
    all.slice_assign([0..batch, start..len, 0..heads, 0..width], new)
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

    /// One block over all that was read and the new tokens, whose keys and values are appended. `mask`
    /// comes from [`KvCache::push_mask`].
    pub(super) fn step(
        &mut self,
        layer: usize,
        block: &Block,
        x: Tensor<3>,
        rotary: &Rotary,
        mask: Option<&Tensor<2>>,
        causal: bool,
    ) -> Tensor<3> {
        match &block.decode {
            Some(decode) => self.layers[layer].decode(decode, x, rotary, mask, causal),
            None => block.forward(x, rotary, |q, k, v| self.look(layer, [q, k, v], mask, causal)),
        }
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

    /// Forgets all but the first `len` key positions.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for layer in &mut self.layers {
            layer.len = layer.len.min(len);
        }
        for row in &mut self.padding {
            row.truncate(len);
        }
    }

    /// A cache whose batch rows are `rows` of this one, in that order, each as often as it is named:
    /// one source pass serves many instructions.
    #[must_use]
    pub fn select(&self, rows: &[usize], device: &Device) -> Self {
        let ids: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), device);
        let pick = |layer: &LayerCache| LayerCache {
            kv: layer.held().map(|kv| kv.map(|tensor| tensor.select(0, ids.clone()))),
            len: layer.len,
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
