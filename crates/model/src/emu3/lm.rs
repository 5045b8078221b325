//! Emu3's language model: ids in, hidden states and logits out, by the forward pass of [`crate::lm`].
//!
//! One table embeds all ids, another (the head) scores them; neither is scaled or tied.
//! Source: the published `modeling_emu3.py`. Start at [`Emu3Lm::load`].

use super::config::Emu3LmConfig;
use super::load::Loader;
use super::names::Part;
use super::shards::Shards;
use super::wanted::lm_tensors;
use crate::checkpoint::bundle::Bundle;
use crate::error::ModelError;
use crate::ids::TokenId;
use crate::lm::{Block, Chunk, KvCache, Rotary, Trunk};
use crate::sequence::Slot;
use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use earl_kernels::PackedMatrix;

/// The language model's tensors.
#[derive(Module, Debug)]
pub struct Emu3Lm {
    /// Embedding, `[vocab, hidden]`.
    pub embed_tokens: Param<Tensor<2>>,
    /// Blocks.
    pub layers: Vec<Block>,
    /// Gain of the final norm, `[hidden]`.
    pub norm: Param<Tensor<1>>,
    /// Head, `[vocab, hidden]`; not the embedding.
    pub lm_head: Param<Tensor<2>>,
    /// Embedding and head in few bits, where they are packed.
    #[module(skip)]
    packed: [Option<PackedMatrix>; 2],
    #[module(skip)]
    config: Emu3LmConfig,
}

/// Rows of different length as one chunk, padded on the left with `pad`.
///
/// A row's positions count from 0 after its padding; padded places have position 1 and are seen by
/// no token.
#[must_use]
pub fn left_padded(rows: &[Vec<TokenId>], pad: TokenId) -> Chunk {
    let seq = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut chunk = Chunk { batch: rows.len(), seq, ..Chunk::default() };
    for row in rows {
        let before = seq - row.len();
        chunk.ids.extend(std::iter::repeat_n(pad, before).chain(row.iter().copied()));
        chunk.times.extend(std::iter::repeat_n(1, before).chain(0..row.len()));
        chunk.padding.extend((0..seq).map(|at| at < before));
    }
    chunk.slots = vec![Slot::NONE; chunk.ids.len()];
    chunk
}

impl Emu3Lm {
    /// Loads the model from checked shards of either layout; tables and linear maps are kept, and
    /// multiplied, in `matrices`, all else is computed in float32.
    ///
    /// Memory beside the model: the largest tensor twice, in float32.
    ///
    /// # Errors
    /// [`ModelError::Config`]; [`ModelError::Option`] if the device does not compute in `matrices`;
    /// [`ModelError::Checkpoint`] lists every tensor that does not fit; [`ModelError::Format`] and
    /// [`ModelError::Read`] for values that are no numbers or can't be read.
    pub fn load(
        config: &Emu3LmConfig,
        shards: &Shards,
        matrices: FloatDType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let loader = Loader::new(shards, Part::Lm, &lm_tensors(config), device)?;
        Self::from_loader(config, loader.keeping(matrices)?)
    }

    /// Loads the model from a bundle. Quantized matrices stay packed: on the CPU in the bundle's own bytes, on
    /// a GPU with kernels for it (wgpu's) in its memory, all but the embedding, whose rows are read from the
    /// bundle. On other devices they are widened to `matrices`.
    ///
    /// # Errors
    /// As [`Emu3Lm::load`].
    pub fn from_bundle(
        config: &Emu3LmConfig,
        bundle: &Bundle,
        matrices: FloatDType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let loader = Loader::from_bundle(bundle, &lm_tensors(config), device)?;
        Self::from_loader(config, loader.keeping(matrices)?)
    }

    fn from_loader(config: &Emu3LmConfig, loader: Loader<'_>) -> Result<Self, ModelError> {
        let (embed_tokens, packed_embedding) = loader.table("model.embed_tokens.weight")?;
        let (lm_head, packed_head) = loader.table("lm_head.weight")?;
        let packed_head = packed_head.map(|head| head.moved_to(&lm_head.val().device()));
        Ok(Self {
            embed_tokens,
            layers: (0..config.blocks.num_hidden_layers)
                .map(|layer| block(&loader, config, layer))
                .collect::<Result<_, _>>()?,
            norm: loader.param("model.norm.weight")?,
            lm_head,
            packed: [packed_embedding, packed_head],
            config: config.clone(),
        })
    }

    /// The configuration it was loaded with.
    #[must_use]
    pub fn config(&self) -> &Emu3LmConfig {
        &self.config
    }

    /// The device its tensors are on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.norm.val().device()
    }

    /// An empty cache.
    #[must_use]
    pub fn cache(&self) -> KvCache {
        KvCache::new(self.layers.len())
    }

    /// Is every id of the chunk a row of the embedding?
    ///
    /// # Errors
    /// [`ModelError::Option`] names the first that is not.
    pub fn check_ids(&self, chunk: &Chunk) -> Result<(), ModelError> {
        let known = self.config.vocab_size;
        match chunk.ids.iter().find(|id| id.0 as usize >= known) {
            None => Ok(()),
            Some(id) => Err(ModelError::Option {
                name: "ids",
                problem: format!("{} is outside the vocabulary of {known}", id.0),
            }),
        }
    }

    /// Rows of the embedding.
    ///
    /// # Shapes
    /// - returns: `[chunk.batch, chunk.seq, hidden]`
    #[must_use]
    pub fn embed(&self, chunk: &Chunk) -> Tensor<3> {
        if let [Some(table), _] = &self.packed {
            let width = table.width();
            let row = |id: &TokenId| table.row_values(id.0 as usize);
            let rows = chunk.ids.iter().flat_map(|id| row(id).unwrap_or_else(|| vec![0.0; width]));
            let data = TensorData::new(rows.collect(), [chunk.batch, chunk.seq, width]);
            return Tensor::from_data(data, &self.device());
        }
        let ids: Vec<i32> = chunk.ids.iter().map(|id| id.0 as i32).collect();
        let ids = TensorData::new(ids, [chunk.batch * chunk.seq]);
        let ids = Tensor::<1, Int>::from_data(ids, &self.device());
        let width = self.config.blocks.hidden_size;
        let rows = self.embed_tokens.val().select(0, ids).reshape([chunk.batch, chunk.seq, width]);
        rows.cast(FloatDType::F32)
    }

    /// Reads one chunk after what `cache` holds, and adds it to the cache; causal.
    ///
    /// Ids must be known (see [`Emu3Lm::check_ids`]).
    ///
    /// # Shapes
    /// - returns: `[chunk.batch, chunk.seq, hidden]`, after the final norm
    #[must_use]
    pub fn forward(&self, chunk: &Chunk, cache: &mut KvCache) -> Tensor<3> {
        self.forward_watched(chunk, cache, &mut |_, _| {})
    }

    /// [`Emu3Lm::forward`]; `after` sees the hidden states after each block (its index from 0),
    /// before the final norm.
    #[must_use]
    pub fn forward_watched(
        &self,
        chunk: &Chunk,
        cache: &mut KvCache,
        after: &mut dyn FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let rotary = Rotary::new(&self.config.blocks, chunk, &self.device());
        self.trunk().read(self.embed(chunk), &rotary, chunk, cache, true, after)
    }

    /// Queries before the rotary turn and attention's output of the first block, if there is one:
    /// where a wrong head order or rotary form shows first.
    ///
    /// # Shapes
    /// - returns: `[chunk.batch, chunk.seq, hidden]`, twice
    #[must_use]
    pub fn first_attention(&self, chunk: &Chunk) -> Option<(Tensor<3>, Tensor<3>)> {
        let rotary = Rotary::new(&self.config.blocks, chunk, &self.device());
        self.trunk().first_attention(self.embed(chunk), &rotary, chunk, true)
    }

    fn trunk(&self) -> Trunk<'_> {
        Trunk { config: &self.config.blocks, layers: &self.layers, norm: self.norm.val() }
    }

    /// Logits over the whole vocabulary.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`; returns `[batch, seq, vocab]`
    #[must_use]
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.logits_of(hidden, 0, self.config.vocab_size)
    }

    /// Logits over `count` ids from `first` on alone, reading only their rows of the head.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`; returns `[batch, seq, count]`
    #[must_use]
    pub fn logits_of(&self, hidden: Tensor<3>, first: usize, count: usize) -> Tensor<3> {
        match &self.packed {
            [_, Some(head)] => earl_kernels::quant_linear(hidden, head, first..first + count),
            _ if count == self.config.vocab_size => {
                earl_kernels::linear_tied(hidden, self.lm_head.val())
            }
            _ => earl_kernels::linear_tied(hidden, self.lm_head.val().narrow(0, first, count)),
        }
    }
}

fn block(loader: &Loader, config: &Emu3LmConfig, layer: usize) -> Result<Block, ModelError> {
    let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
    let linear = |part: &str| loader.linear(&name(part));
    let block = Block {
        input_norm: loader.param(&name("input_layernorm"))?,
        q_proj: linear("self_attn.q_proj")?,
        k_proj: linear("self_attn.k_proj")?,
        v_proj: linear("self_attn.v_proj")?,
        o_proj: linear("self_attn.o_proj")?,
        post_norm: loader.param(&name("post_attention_layernorm"))?,
        gate_proj: linear("mlp.gate_proj")?,
        up_proj: linear("mlp.up_proj")?,
        down_proj: linear("mlp.down_proj")?,
        head_dim: config.blocks.head_dim,
        eps: config.blocks.rms_norm_eps,
        decode: None,
    };
    Ok(block.moved_to_device())
}

/// BAAI's name of a parameter, from its path in [`Emu3Lm`] (`layers.0.q_proj.weight`).
///
/// Linear maps are `[in, out]` here and `[out, in]` in the files.
#[must_use]
pub fn published_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["lm_head"] => "lm_head.weight".into(),
        [table] => format!("model.{table}.weight"),
        ["layers", layer, rest @ ..] => {
            let part = match *rest.first().unwrap_or(&"") {
                "input_norm" => "input_layernorm".into(),
                "post_norm" => "post_attention_layernorm".into(),
                mlp @ ("gate_proj" | "up_proj" | "down_proj") => format!("mlp.{mlp}"),
                attention => format!("self_attn.{attention}"),
            };
            format!("model.layers.{layer}.{part}.weight")
        }
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_on_the_left_and_count_from_zero() {
        let rows = [vec![TokenId(5)], vec![TokenId(6), TokenId(7), TokenId(8)]];
        let chunk = left_padded(&rows, TokenId(9));
        assert_eq!(chunk.ids.iter().map(|id| id.0).collect::<Vec<_>>(), [9, 9, 5, 6, 7, 8]);
        assert_eq!(chunk.times, [1, 1, 0, 0, 1, 2]);
        assert_eq!(chunk.padding, [true, true, false, false, false, false]);
        assert_eq!((chunk.batch, chunk.seq, chunk.slots.len()), (2, 3, 6));
    }

    #[test]
    fn paths_have_published_names() {
        for (path, name) in [
            ("embed_tokens", "model.embed_tokens.weight"),
            ("norm", "model.norm.weight"),
            ("lm_head", "lm_head.weight"),
            ("layers.3.q_proj.weight", "model.layers.3.self_attn.q_proj.weight"),
            ("layers.0.post_norm", "model.layers.0.post_attention_layernorm.weight"),
            ("layers.0.down_proj.weight", "model.layers.0.mlp.down_proj.weight"),
        ] {
            assert_eq!(published_name(path), name);
        }
    }
}
