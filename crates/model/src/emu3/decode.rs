//! Prompts in, images' ids out: decoding under the grammar, in a batch, with or without guidance.
//!
//! Only codes are the model's choice. Forced ids (row ends, image end) are not asked for; they are
//! read together with the next code, so that a row of `w` codes takes `w` passes; locked codes of a
//! [`Request`] are forced ids too, so that only what is left open takes passes of its own. Rows of a batch
//! are padded on the left and may have grids of different size; a row that is done writes PAD.
//! Guidance reads a second, unconditional prompt in the same batch. Noise is keyed by (seed, row,
//! place, token): neither batching nor forced ids can change a draw.
//!
//! Source: Emu3's generation example; transformers' order of processors (guidance, grammar,
//! temperature, top-k, top-p). Start at [`generate`].

use super::grammar::{Kind, image_len, kind_at};
use super::ids::Emu3Ids;
use super::lm::{Emu3Lm, left_padded};
use crate::error::ModelError;
use crate::ids::{CodeId, Seed, TokenId};
use crate::lm::{Chunk, KvCache, to_host};
use crate::sample::rng::Key;
use crate::sample::{choose, likeliest_first};
use crate::sequence::Slot;
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

/// One image to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Ends with the image's IMG.
    pub prompt: Vec<TokenId>,
    /// Rows of codes.
    pub height: usize,
    /// Codes a row.
    pub width: usize,
    /// Codes that are given and not the model's choice, row by row; empty = none.
    pub locked: Vec<Option<CodeId>>,
}

impl Request {
    /// The id that must stand `place` ids after IMG, unless the model chooses.
    pub(super) fn forced(&self, ids: &Emu3Ids, place: usize) -> Option<TokenId> {
        let kind = kind_at(self.height, self.width, place);
        if kind != Kind::Code {
            return kind.forced(ids);
        }
        let code = self.locked.get(self.cell(place)).copied().flatten();
        code.map(|code| TokenId(ids.vis_start + code.0))
    }

    /// Index among the codes of a place that holds one.
    pub(super) fn cell(&self, place: usize) -> usize {
        place / (self.width + 1) * self.width + place % (self.width + 1)
    }

    /// The broken rule, if any.
    pub(super) fn check(&self, ids: &Emu3Ids) -> Result<(), ModelError> {
        let refuse = |name, problem: String| Err(ModelError::Option { name, problem });
        let (height, width, most) = (self.height, self.width, 1 << 12);
        if !(1..=most).contains(&height.max(width)) || height * width == 0 {
            return refuse("grid", format!("{height}×{width} is not in 1..={most}"));
        }
        if !self.locked.is_empty() && self.locked.len() != height * width {
            let problem = format!("{} locked codes for {height}×{width}", self.locked.len());
            return refuse("grid", problem);
        }
        match self.locked.iter().flatten().find(|code| code.0 >= ids.codebook_size) {
            Some(code) => refuse("codes", format!("{} of {}", code.0, ids.codebook_size)),
            None => Ok(()),
        }
    }
}

/// Classifier-free guidance.
#[derive(Clone, Debug, PartialEq)]
pub struct Guidance {
    /// 1 changes nothing, more follows the prompt more closely.
    pub scale: f32,
    /// What each request is held against: `BOS BOI header IMG`.
    pub prompts: Vec<Vec<TokenId>>,
}

/// How a code is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest.
    pub temperature: f32,
    /// Draw among this many likeliest codes; `None` = all.
    pub top_k: Option<usize>,
    /// Draw among the likeliest codes that make up this share; 1 = all.
    pub top_p: f32,
    /// Key of all draws.
    pub seed: Seed,
}

impl Sampling {
    /// The likeliest code, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: None, top_p: 1.0, seed: Seed(0) };

    pub(super) fn check(&self) -> Result<(), ModelError> {
        let refuse = |name, problem: String| Err(ModelError::Option { name, problem });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse("temperature", format!("{} is not 0 or more", self.temperature));
        }
        if self.top_k == Some(0) {
            return refuse("top_k", "0 leaves nothing to draw".into());
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", format!("{} is not in 0..=1, above 0", self.top_p));
        }
        Ok(())
    }

    /// Draws one of `scores` (logits or guided log-probabilities) by its index.
    pub(super) fn draw(&self, scores: &[f32], row: usize, place: usize) -> Option<usize> {
        let key = Key {
            seed: self.seed.0,
            purpose: PURPOSE,
            index: row as u64,
            position: place as u64,
            token: 0,
        };
        if self.temperature == 0.0 || (self.top_k.is_none() && self.top_p >= 1.0) {
            return choose(scores, 0..scores.len(), self.temperature, key).map(|(at, _)| at);
        }
        choose(scores, self.likeliest(scores)?, self.temperature, key).map(|(at, _)| at)
    }

    /// The codes that top-k and top-p leave, likeliest first; `None` if a score is no number.
    fn likeliest(&self, scores: &[f32]) -> Option<Vec<usize>> {
        let mut order = likeliest_first(scores, (0..scores.len()).collect())?;
        order.truncate(self.top_k.unwrap_or(scores.len()));
        let highest = f64::from(scores[*order.first()?]);
        let weight = |at: &usize| {
            libm::exp((f64::from(scores[*at]) - highest) / f64::from(self.temperature))
        };
        let total: f64 = order.iter().map(weight).sum();
        let mut sum = 0.0;
        let kept = order.iter().take_while(|at| {
            let before = sum;
            sum += weight(at);
            before < f64::from(self.top_p) * total
        });
        let kept = kept.count();
        order.truncate(kept.max(1));
        Some(order)
    }
}

/// Keeps these draws apart from the tiny tier's.
const PURPOSE: u64 = 0x656d_7533;

/// What a watcher sees after each place that was a choice for some row.
#[derive(Debug)]
pub struct Step<'a> {
    /// Ids after IMG before this one.
    pub place: usize,
    /// Places in all.
    pub places: usize,
    /// By row, the score of each code: logits, or guided log-probabilities.
    pub scores: &'a [Vec<f32>],
}

/// Writes one image for each request; every row is as long as the longest, padded with PAD.
///
/// `watch` sees each step and returns whether to go on.
///
/// # Errors
/// [`ModelError::Option`] for prompts, grids or settings out of range;
/// [`ModelError::NotANumber`] if logits are none; [`ModelError::Stopped`] if `watch` said so.
pub async fn generate(
    lm: &Emu3Lm,
    ids: &Emu3Ids,
    requests: &[Request],
    guidance: Option<&Guidance>,
    sampling: &Sampling,
    watch: &mut dyn FnMut(&Step<'_>) -> bool,
) -> Result<Vec<Vec<TokenId>>, ModelError> {
    sampling.check()?;
    let mut reader = Reader::new(lm, ids, requests, guidance)?;
    let places = requests.iter().map(|r| image_len(r.height, r.width)).max().unwrap_or(0);
    let mut rows = vec![Vec::with_capacity(places); requests.len()];
    for place in 0..places {
        let forced: Vec<Option<TokenId>> =
            requests.iter().map(|request| request.forced(ids, place)).collect();
        let scores = if forced.contains(&None) { reader.scores().await? } else { Vec::new() };
        for (row, forced) in forced.iter().enumerate() {
            let id = if let Some(id) = forced {
                *id
            } else {
                let code = sampling.draw(&scores[row], row, place);
                let code = code.ok_or(ModelError::NotANumber { index: place })?;
                TokenId(ids.vis_start + code as u32)
            };
            rows[row].push(id);
            reader.push(row, id);
        }
        if !scores.is_empty() && !watch(&Step { place, places, scores: &scores }) {
            return Err(ModelError::Stopped { tokens: place });
        }
    }
    Ok(rows)
}

/// `u + scale · (c − u)` of the log-probabilities of both prompts, over the whole vocabulary.
///
/// # Shapes
/// - `conditional`, `unconditional`: logits, `[rows, vocab]`; returns the same
#[must_use]
pub fn guided(conditional: Tensor<2>, unconditional: Tensor<2>, scale: f32) -> Tensor<2> {
    let (c, u) = (log_softmax(conditional, 1), log_softmax(unconditional, 1));
    u.clone() + (c - u).mul_scalar(scale)
}

/// Feeds the model and keeps what it has not read yet.
struct Reader<'a> {
    lm: &'a Emu3Lm,
    ids: &'a Emu3Ids,
    scale: Option<f32>,
    requests: usize,
    cache: KvCache,
    /// The prompts, until they are read.
    prompts: Option<Chunk>,
    /// By batch row, what comes after; of equal length.
    waiting: Vec<Vec<TokenId>>,
    /// By batch row, the position of the first waiting id.
    next: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn new(
        lm: &'a Emu3Lm,
        ids: &'a Emu3Ids,
        requests: &[Request],
        guidance: Option<&Guidance>,
    ) -> Result<Self, ModelError> {
        let refuse = |name, problem: String| Err(ModelError::Option { name, problem });
        if ids.vocab_size() != lm.config().vocab_size {
            let (own, given) = (lm.config().vocab_size, ids.vocab_size());
            return refuse("ids", format!("are for {given} rows; the model has {own}"));
        }
        let mut prompts: Vec<Vec<TokenId>> = requests.iter().map(|r| r.prompt.clone()).collect();
        if let Some(guidance) = guidance {
            if guidance.prompts.len() != requests.len() || !guidance.scale.is_finite() {
                let count = guidance.prompts.len();
                let problem = format!(
                    "{count} prompts at scale {} for {} requests",
                    guidance.scale,
                    requests.len()
                );
                return refuse("guidance", problem);
            }
            prompts.extend(guidance.prompts.iter().cloned());
        }
        if prompts.iter().any(Vec::is_empty) {
            return refuse("prompt", "is empty".into());
        }
        requests.iter().try_for_each(|request| request.check(ids))?;
        let chunk = left_padded(&prompts, TokenId(ids.pad));
        lm.check_ids(&chunk)?;
        Ok(Self {
            lm,
            ids,
            scale: guidance.map(|guidance| guidance.scale),
            requests: requests.len(),
            cache: lm.cache(),
            next: prompts.iter().map(Vec::len).collect(),
            waiting: vec![Vec::new(); prompts.len()],
            prompts: Some(chunk),
        })
    }

    /// Appends an id to a request's row, and to its unconditional one.
    fn push(&mut self, request: usize, id: TokenId) {
        for row in (request..self.waiting.len()).step_by(self.requests.max(1)) {
            self.waiting[row].push(id);
        }
    }

    /// Reads what is waiting and scores the codes that may follow, by request.
    async fn scores(&mut self) -> Result<Vec<Vec<f32>>, ModelError> {
        let prompts = self.prompts.take().map(|chunk| self.lm.forward(&chunk, &mut self.cache));
        let hidden = match prompts {
            Some(hidden) if self.waiting.iter().all(Vec::is_empty) => hidden,
            // Ids that were given before the first choice follow the prompt.
            _ => self.lm.forward(&self.take_waiting(), &mut self.cache),
        };
        let [batch, seq, width] = hidden.dims();
        let last = hidden.slice([0..batch, seq - 1..seq, 0..width]); // [batch, 1, hidden]
        let (first, count) = (self.ids.vis_start as usize, self.ids.codebook_size as usize);
        let scores: Tensor<2> = match self.scale {
            // Log-probabilities need every logit, plain scores those of the codes alone.
            None => self.lm.logits_of(last, first, count).squeeze_dim(1),
            Some(scale) => {
                let logits: Tensor<2> = self.lm.logits(last).squeeze_dim(1); // [2 · requests, vocab]
                let half = |from| logits.clone().narrow(0, from, self.requests);
                guided(half(0), half(self.requests), scale).narrow(1, first, count)
            }
        };
        Ok(to_host(scores).await?.chunks_exact(count).map(<[f32]>::to_vec).collect())
    }

    fn take_waiting(&mut self) -> Chunk {
        let seq = self.waiting.first().map_or(0, Vec::len);
        let mut chunk = Chunk { batch: self.waiting.len(), seq, ..Chunk::default() };
        for (row, next) in self.waiting.iter_mut().zip(&mut self.next) {
            chunk.times.extend(*next..*next + seq);
            *next += seq;
            chunk.ids.append(row);
        }
        chunk.slots = vec![Slot::NONE; chunk.ids.len()];
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_and_top_p_leave_the_likeliest() {
        let scores = [0.0, 3.0, 1.0, 2.0];
        let left = |top_k, top_p| {
            Sampling { temperature: 1.0, top_k, top_p, seed: Seed(1) }.likeliest(&scores).unwrap()
        };
        assert_eq!(left(Some(2), 1.0), [1, 3]);
        // softmax = 0.0321, 0.6439, 0.0871, 0.2369: 0.6439 alone, or with 0.2369, make up the share.
        assert_eq!(left(None, 0.6), [1]);
        assert_eq!(left(None, 0.7), [1, 3]);
        assert_eq!(left(None, 1e-9), [1]);
        assert_eq!(left(None, 1.0), [1, 3, 2, 0]);
        let hot = Sampling { temperature: 1.0, top_k: Some(3), top_p: 1.0, seed: Seed(1) };
        assert_eq!(hot.likeliest(&[f32::NAN, 1.0]), None);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let with = |temperature, top_k, top_p| {
            Sampling { temperature, top_k, top_p, seed: Seed(0) }.check()
        };
        assert!(with(-1.0, None, 1.0).is_err());
        assert!(with(f32::NAN, None, 1.0).is_err());
        assert!(with(1.0, Some(0), 1.0).is_err());
        assert!(with(1.0, None, 0.0).is_err());
        assert!(with(1.0, None, f32::NAN).is_err());
        assert!(with(1.0, Some(2048), 0.95).is_ok());
    }
}
