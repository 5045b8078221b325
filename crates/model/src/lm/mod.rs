//! The decoder: ids and places in, hidden states and logits out. One forward pass for everything.
//!
//! A sequence is read in chunks (source picture, instruction, program). Each chunk sees all that is
//! in the [`KvCache`] and itself (causally or not) and appends its keys and values, so that prompt,
//! training sequence and a single decoded token all take [`LanguageModel::forward`].
//!
//! Source: Emu3's decoder (Llama blocks). Added for the tiny tier: places (`grid` tables and rotary
//! sections) and the pointer, by which a cell token's logit looks at the source cell itself.

mod block;
mod initial;
mod kv_cache;
mod pointer;
mod rope;
mod seeing;
mod trunk;

pub use block::{Block, Linear};
pub use initial::{initial_tensors, seeded_normal};
pub use kv_cache::KvCache;
use pointer::POINTER_DIM;
pub use pointer::{Erase, Left, Look};
pub use rope::Rotary;
pub use seeing::{SEE_PARTS, SEE_SIZES, SeeingHead, Seen};
pub(crate) use trunk::Trunk;

use crate::checkpoint::TensorMap;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::ids::TokenId;
use crate::sequence::grammar::{PARTS, Slot};
use crate::sequence::vocabulary::{Control, Vocabulary};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use earl_kernels::{NO_ROW, PackedMatrix, Packing, gather_sum};
use std::ops::Range;
use std::sync::Arc;

/// Tokens of one chunk for a batch, with their places; rows of equal length.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// `batch` rows of `seq` ids.
    pub ids: Vec<TokenId>,
    /// Position in time of each token.
    pub times: Vec<usize>,
    /// Place of each token.
    pub slots: Vec<Slot>,
    /// Rows.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
    /// `true` for padding: never seen by any token. Empty = none.
    pub padding: Vec<bool>,
}

/// Whole sequences in one row, without padding: see [`crate::sequence::Packer`].
#[derive(Clone, Debug)]
pub struct Packed {
    /// Every token, as a batch of one row.
    pub chunk: Chunk,
    /// What each may see.
    pub packing: Arc<Packing>,
}

/// What a forward pass returns.
pub struct Hidden {
    /// After the final norm: `[batch, seq, hidden]`.
    pub last: Tensor<3>,
    /// After block `see_layer`: `[batch, seq, hidden]`.
    pub seen: Tensor<3>,
}

/// The decoder's tensors.
#[derive(Module, Debug)]
pub struct LanguageModel {
    /// Embedding and head of the control ids, `[control, hidden]`.
    pub control: Param<Tensor<2>>,
    /// Embedding and head of the codes, `[codes, hidden]`.
    pub codes: Param<Tensor<2>>,
    /// Added by row; the last row is "no row".
    pub rows: Param<Tensor<2>>,
    /// Added by column; the last row is "no column".
    pub cols: Param<Tensor<2>>,
    /// Added by sprite part; the last row is "no part".
    pub parts: Param<Tensor<2>>,
    /// Blocks.
    pub layers: Vec<Block>,
    /// Gain of the final norm.
    pub norm: Param<Tensor<1>>,
    /// Pointer: query of a program token.
    pub pointer_query: Linear,
    /// Pointer: key of a source cell.
    pub pointer_key: Linear,
    /// Erase map: query of a choice after an ERASE for the cells still to be erased, if the model has one.
    pub erase_query: Option<Linear>,
    /// The tables of control ids and codes as heads in 8 bits, where the model is packed.
    #[module(skip)]
    heads: Option<[PackedMatrix; 2]>,
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    first_cell: usize,
    #[module(skip)]
    erase: usize,
}

impl LanguageModel {
    /// A decoder of zeros, to be filled by `checkpoint::apply`.
    #[must_use]
    pub fn zeros(config: &ModelConfig, device: &Device) -> Self {
        let lm = &config.lm;
        let vocabulary = Vocabulary::new(config);
        let width = lm.hidden_size;
        let table = |rows| Param::from_tensor(Tensor::zeros([rows, width], device));
        Self {
            control: table(vocabulary.control_len()),
            codes: table(vocabulary.code_len()),
            rows: table(config.vision.grid + 1),
            cols: table(config.vision.grid + 1),
            parts: table(PARTS + 1),
            layers: (0..lm.num_hidden_layers).map(|_| Block::zeros(lm, device)).collect(),
            norm: Param::from_tensor(Tensor::zeros([width], device)),
            pointer_query: Linear::zeros(width, POINTER_DIM, device),
            pointer_key: Linear::zeros(width, POINTER_DIM, device),
            erase_query: lm.erase_map.then(|| Linear::zeros(width, POINTER_DIM, device)),
            heads: None,
            config: config.clone(),
            first_cell: vocabulary.first_cell(),
            erase: vocabulary.control(Control::Erase).0 as usize,
        }
    }

    /// The same decoder for inference: every product of weights in integers (see
    /// [`earl_kernels::quant_linear`](mod@earl_kernels::quant_linear)), so that its tokens are the same
    /// on every machine, natively and in WebAssembly, and all but the same on a GPU through wgpu. On other
    /// devices nothing changes.
    ///
    /// `tensors` are its own, on the host; their names begin with `prefix`.
    #[must_use]
    pub fn pack(self, tensors: &TensorMap, prefix: &str) -> Self {
        let device = self.device();
        if !earl_kernels::quant_linear::packs_on(&device) {
            return self;
        }
        let table = |name: &str| {
            let table = tensors.get(&format!("{prefix}{name}")).and_then(block::pack)?;
            Some(table.on(&device))
        };
        let [Some(control), Some(codes)] = ["control", "codes"].map(table) else { return self };
        let named = |at: usize, layer: Block| layer.pack(tensors, &format!("{prefix}layers.{at}"));
        let map =
            |map: Linear, name: &str| map.pack(tensors, &format!("{prefix}{name}")).on_device();
        Self {
            layers: self
                .layers
                .into_iter()
                .enumerate()
                .map(|(at, layer)| named(at, layer))
                .collect(),
            pointer_query: map(self.pointer_query, "pointer_query"),
            pointer_key: map(self.pointer_key, "pointer_key"),
            erase_query: self.erase_query.map(|query| map(query, "erase_query")),
            heads: Some([control, codes]),
            ..self
        }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
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

    /// Reads one chunk after what `cache` holds, and adds it to the cache.
    ///
    /// # Shapes
    /// - returns: `[chunk.batch, chunk.seq, hidden]`, twice (see [`Hidden`])
    #[must_use]
    pub fn forward(&self, chunk: &Chunk, cache: &mut KvCache, causal: bool) -> Hidden {
        let rotary = Rotary::new(&self.config.lm, chunk, &self.device());
        let x = self.embed(chunk); // [batch, seq, hidden]
        self.watched(x, |trunk, x, after| trunk.read(x, &rotary, chunk, cache, causal, after))
    }

    /// Reads whole sequences at once, what they share once: the tokens of one packed row. It gives
    /// what [`LanguageModel::forward`] gives for each sequence, and is what training uses.
    ///
    /// # Shapes
    /// - returns: `[1, tokens, hidden]`, twice (see [`Hidden`])
    #[must_use]
    pub fn forward_packed(&self, packed: &Packed) -> Hidden {
        let Packed { chunk, packing } = packed;
        let rotary = Rotary::new(&self.config.lm, chunk, &self.device());
        let x = self.embed(chunk); // [1, tokens, hidden]
        self.watched(x, |trunk, x, after| trunk.read_packed(x, &rotary, packing, after))
    }

    /// Runs the trunk and keeps what the seeing head looks at.
    fn watched(
        &self,
        x: Tensor<3>,
        run: impl FnOnce(Trunk<'_>, Tensor<3>, &mut dyn FnMut(usize, &Tensor<3>)) -> Tensor<3>,
    ) -> Hidden {
        let mut seen = x.clone();
        let trunk = Trunk { config: &self.config.lm, layers: &self.layers, norm: self.norm.val() };
        let last = run(trunk, x, &mut |at, x| {
            if at + 1 == self.config.lm.see_layer {
                seen = x.clone();
            }
        });
        Hidden { last, seen }
    }

    fn embed(&self, chunk: &Chunk) -> Tensor<3> {
        let width = self.config.lm.hidden_size;
        let control_len = self.control.val().dims()[0] as u32;
        let token = |of: fn(u32, u32) -> Option<u32>| -> Vec<i32> {
            let row = |id: &TokenId| of(id.0, control_len).map_or(NO_ROW, |row| row as i32);
            chunk.ids.iter().map(row).collect()
        };
        let place = |none: usize, of: fn(&Slot) -> Option<usize>| -> Vec<i32> {
            chunk.slots.iter().map(|slot| of(slot).unwrap_or(none) as i32).collect()
        };
        let grid = self.config.vision.grid;
        let ids = [
            token(|id, control_len| (id < control_len).then_some(id)),
            token(u32::checked_sub),
            place(grid, |slot| slot.row),
            place(grid, |slot| slot.col),
            place(PARTS, |slot| slot.part),
        ];
        let tables = [&self.control, &self.codes, &self.rows, &self.cols, &self.parts];
        let scale = (width as f32).sqrt();
        let rows = gather_sum(tables.map(Param::val), ids, scale); // [batch · seq, hidden]
        rows.reshape([chunk.batch, chunk.seq, width])
    }

    /// Logits over the control ids, given what the same tokens look at (see [`LanguageModel::look`]).
    ///
    /// # Shapes
    /// - `hidden`: `[n, hidden]`; returns `[n, control]`
    #[must_use]
    pub fn control_logits(&self, hidden: Tensor<2>, look: Look) -> Tensor<2> {
        let logits = self.word_logits(hidden); // [n, control]
        let [n, cells] = look.pointers.dims();
        let part = |range: Range<usize>| logits.clone().slice([0..n, range]);
        let first = self.first_cell;
        let cells = part(first..first + cells) + look.pointers;
        let parts = match look.erase {
            None => vec![part(0..first), cells],
            Some(Erase { most, .. }) => {
                let erase = self.erase;
                vec![part(0..erase), part(erase..erase + 1) + most, part(erase + 1..first), cells]
            }
        };
        Tensor::cat(parts, 1)
    }

    /// Likeness to the control ids' embeddings alone: `[n, hidden]` → `[n, control]`.
    pub(super) fn word_logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        tied(hidden, &self.control, self.heads.as_ref().map(|[control, _]| control))
    }

    /// The ids of some control tokens on the device, if reading their logits alone saves anything.
    pub(crate) fn selection(&self, tokens: &[TokenId]) -> Option<Tensor<1, Int>> {
        let device = self.device();
        let far = !earl_kernels::quant_linear::runs_on(&device) && self.heads.is_some();
        let ids = || tokens.iter().map(|token| token.0 as i32).collect::<Vec<_>>();
        far.then(|| Tensor::from_data(TensorData::new(ids(), [tokens.len()]), &device))
    }

    /// Logits of the control ids, `[1, control]`, on the host; where there is a selection of `tokens`, NaN
    /// for all others.
    pub(crate) async fn read_selected(
        &self,
        logits: Tensor<2>,
        tokens: &[TokenId],
        selection: Option<Tensor<1, Int>>,
    ) -> Result<Vec<f32>, ModelError> {
        let Some(selection) = selection else { return to_host(logits).await };
        let mut all = vec![f32::NAN; logits.dims()[1]];
        let some = to_host(logits.select(1, selection)).await?;
        for (token, logit) in tokens.iter().zip(some) {
            all[token.0 as usize] = logit;
        }
        Ok(all)
    }

    /// Logits over the codes.
    ///
    /// # Shapes
    /// - `hidden`: `[n, hidden]`; returns `[n, codes]`
    #[must_use]
    pub fn code_logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        tied(hidden, &self.codes, self.heads.as_ref().map(|[_, codes]| codes))
    }
}

/// Logits against the rows of a table: `[n, hidden]` → `[n, rows]`.
fn tied(hidden: Tensor<2>, table: &Param<Tensor<2>>, packed: Option<&PackedMatrix>) -> Tensor<2> {
    let hidden = hidden.unsqueeze(); // [1, n, hidden]
    let logits = match packed {
        Some(packed) => earl_kernels::quant_linear(hidden, packed, 0..packed.rows()),
        None => earl_kernels::linear_tied(hidden, table.val()),
    };
    logits.squeeze_dim(0)
}

/// Reads a float tensor back to the host.
pub(crate) async fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    let failed = |problem: String| ModelError::Device(problem);
    let data = tensor.into_data_async().await.map_err(|error| failed(format!("{error:?}")))?;
    data.try_to_vec().map_err(|error| failed(format!("{error:?}")))
}
