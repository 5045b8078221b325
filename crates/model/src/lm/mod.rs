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
mod rope;
mod seeing;
mod trunk;

pub use block::{Block, Linear};
pub use initial::{initial_tensors, seeded_normal};
pub use kv_cache::KvCache;
pub use rope::Rotary;
pub use seeing::{SEE_PARTS, SEE_SIZES, SeeingHead, Seen};
pub(crate) use trunk::Trunk;

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::ids::TokenId;
use crate::sequence::grammar::{PARTS, Slot};
use crate::sequence::vocabulary::Vocabulary;
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

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

/// What a forward pass returns.
pub struct Hidden {
    /// After the final norm: `[batch, seq, hidden]`.
    pub last: Tensor<3>,
    /// After block `see_layer`: `[batch, seq, hidden]`.
    pub seen: Tensor<3>,
}

/// Width of the pointer's query and key.
const POINTER_DIM: usize = 64;

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
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    first_cell: usize,
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
            config: config.clone(),
            first_cell: vocabulary.first_cell(),
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
        let device = self.device();
        let x = self.embed(chunk, &device); // [batch, seq, hidden]
        let mut seen = x.clone();
        let trunk = Trunk { config: &self.config.lm, layers: &self.layers, norm: self.norm.val() };
        let last = trunk.read(x, chunk, cache, causal, &mut |at, x| {
            if at + 1 == self.config.lm.see_layer {
                seen = x.clone();
            }
        });
        Hidden { last, seen }
    }

    fn embed(&self, chunk: &Chunk, device: &Device) -> Tensor<3> {
        let width = self.config.lm.hidden_size;
        let rows = chunk.ids.len();
        let control_len = self.control.val().dims()[0] as i32;
        let ids = |of: fn(i32, i32) -> i32| -> Tensor<1, Int> {
            let ids: Vec<i32> = chunk.ids.iter().map(|id| of(id.0 as i32, control_len)).collect();
            Tensor::from_data(TensorData::new(ids, [rows]), device)
        };
        let in_control = || self.control.val().select(0, ids(|id, n| if id < n { id } else { 0 }));
        let in_codes = || self.codes.val().select(0, ids(|id, n| (id - n).max(0)));
        let codes = chunk.ids.iter().filter(|id| id.0 as i32 >= control_len).count();
        let tokens = match codes {
            0 => in_control(),
            all if all == rows => in_codes(),
            _ => {
                let is_code: Vec<f32> = chunk
                    .ids
                    .iter()
                    .map(|id| f32::from(u8::from(id.0 as i32 >= control_len)))
                    .collect();
                let is_code = Tensor::<2>::from_data(TensorData::new(is_code, [rows, 1]), device);
                in_control() * (1.0 - is_code.clone()) + in_codes() * is_code
            }
        };
        let place = |table: &Param<Tensor<2>>, none: usize, of: fn(&Slot) -> Option<usize>| {
            let at: Vec<i32> =
                chunk.slots.iter().map(|slot| of(slot).unwrap_or(none) as i32).collect();
            table.val().select(0, Tensor::<1, Int>::from_data(TensorData::new(at, [rows]), device))
        };
        let grid = self.config.vision.grid;
        let places = place(&self.rows, grid, |slot| slot.row)
            + place(&self.cols, grid, |slot| slot.col)
            + place(&self.parts, PARTS, |slot| slot.part);
        let scale = (width as f64).sqrt();
        (tokens + places).mul_scalar(scale).reshape([chunk.batch, chunk.seq, width])
    }

    /// Pointer keys of the source cells, from the source chunk's last hidden states.
    ///
    /// # Shapes
    /// - `source`: `[batch, cells, hidden]`; returns `[batch, cells, pointer]`
    #[must_use]
    pub fn pointer_keys(&self, source: Tensor<3>) -> Tensor<3> {
        self.pointer_key.forward(source)
    }

    /// Pointer logits of program tokens towards the source cells.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`, `keys`: `[batch, cells, pointer]`
    /// - returns: `[batch, seq, cells]`
    #[must_use]
    pub fn pointer_logits(&self, hidden: Tensor<3>, keys: Tensor<3>) -> Tensor<3> {
        let queries = self.pointer_query.forward(hidden); // [batch, seq, pointer]
        queries.matmul(keys.swap_dims(1, 2)).div_scalar((POINTER_DIM as f64).sqrt())
    }

    /// Logits over the control ids.
    ///
    /// # Shapes
    /// - `hidden`: `[n, hidden]`, `pointers`: `[n, cells]`
    /// - returns: `[n, control]`
    #[must_use]
    pub fn control_logits(&self, hidden: Tensor<2>, pointers: Tensor<2>) -> Tensor<2> {
        let n = hidden.dims()[0];
        let logits = tied(hidden, &self.control); // [n, control]
        let cells = pointers.dims()[1];
        let first = self.first_cell;
        let words = logits.clone().slice([0..n, 0..first]);
        let cells = logits.slice([0..n, first..first + cells]) + pointers;
        Tensor::cat(vec![words, cells], 1)
    }

    /// Logits over the codes.
    ///
    /// # Shapes
    /// - `hidden`: `[n, hidden]`; returns `[n, codes]`
    #[must_use]
    pub fn code_logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        tied(hidden, &self.codes)
    }
}

/// Logits against the rows of a table: `[n, hidden]` → `[n, rows]`.
fn tied(hidden: Tensor<2>, table: &Param<Tensor<2>>) -> Tensor<2> {
    earl_kernels::linear_tied(hidden.unsqueeze(), table.val()).squeeze_dim(0)
}

/// Reads a float tensor back to the host.
pub(crate) async fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    let failed = |problem: String| ModelError::Device(problem);
    let data = tensor.into_data_async().await.map_err(|error| failed(format!("{error:?}")))?;
    data.try_to_vec().map_err(|error| failed(format!("{error:?}")))
}
