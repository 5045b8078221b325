//! Decoding with a draft: several places in one pass, the same image as place by place.
//!
//! Most codes of an edit are the source's own. So the source is the draft: the model reads its next
//! codes in one pass, which scores every place among them; each place is then drawn by the rule and
//! the key it would have been drawn by alone. The draft is kept as far as it is what was drawn; from
//! the first difference on it is forgotten, and its keys and values with it. A pass reads the weights
//! once however many places it holds, which is what decoding costs.
//!
//! Source: Leviathan et al., arXiv 2211.17192, with exact agreement instead of rejection sampling,
//! since draws are functions of scores and key. Start at [`generate_drafted`].

use super::decode::{Request, Sampling, Step};
use super::grammar::image_len;
use super::ids::Emu3Ids;
use super::lm::{Emu3Lm, left_padded};
use crate::error::ModelError;
use crate::ids::{CodeId, TokenId};
use crate::lm::{Chunk, KvCache, to_host};
use crate::sequence::Slot;

/// An image, and what writing it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drafted {
    /// Every id after IMG, as [`super::generate`] gives them.
    pub written: Vec<TokenId>,
    /// Forward passes.
    pub passes: usize,
    /// Codes that were the model's choice.
    pub chosen: usize,
    /// Chosen codes that were the draft's.
    pub accepted: usize,
}

/// Writes one image with `draft`, a code for each cell, read `ahead` codes at a time.
///
/// `watch` sees each step and returns whether to go on.
///
/// # Errors
/// As [`super::generate`]; [`ModelError::Option`] for a draft of another size too.
pub async fn generate_drafted(
    lm: &Emu3Lm,
    ids: &Emu3Ids,
    request: &Request,
    draft: &[CodeId],
    ahead: usize,
    sampling: &Sampling,
    watch: &mut dyn FnMut(&Step<'_>) -> bool,
) -> Result<Drafted, ModelError> {
    let mut writer = Writer::new(lm, ids, request, draft, ahead, sampling)?;
    let places = image_len(request.height, request.width);
    while writer.out.written.len() < places {
        match request.forced(ids, writer.out.written.len()) {
            Some(id) => writer.out.written.push(id),
            None => writer.pass(watch).await?,
        }
    }
    Ok(writer.out)
}

struct Writer<'a> {
    lm: &'a Emu3Lm,
    ids: &'a Emu3Ids,
    request: &'a Request,
    draft: &'a [CodeId],
    ahead: usize,
    sampling: &'a Sampling,
    cache: KvCache,
    out: Drafted,
}

impl<'a> Writer<'a> {
    fn new(
        lm: &'a Emu3Lm,
        ids: &'a Emu3Ids,
        request: &'a Request,
        draft: &'a [CodeId],
        ahead: usize,
        sampling: &'a Sampling,
    ) -> Result<Self, ModelError> {
        let refuse = |name, problem: String| Err(ModelError::Option { name, problem });
        sampling.check()?;
        request.check(ids)?;
        if ids.vocab_size() != lm.config().vocab_size || request.prompt.is_empty() {
            return refuse("prompt", "is empty, or its ids are for another vocabulary".into());
        }
        let (cells, most) = (request.height * request.width, ids.codebook_size);
        if draft.len() != cells || draft.iter().any(|code| code.0 >= most) {
            return refuse("draft", format!("{} codes below {most} for {cells}", draft.len()));
        }
        lm.check_ids(&left_padded(std::slice::from_ref(&request.prompt), TokenId(ids.pad)))?;
        let out = Drafted { written: Vec::new(), passes: 0, chosen: 0, accepted: 0 };
        Ok(Self { lm, ids, request, draft, ahead, sampling, cache: lm.cache(), out })
    }

    /// One pass over what was not read yet and the draft behind it; draws as long as both agree.
    async fn pass(&mut self, watch: &mut dyn FnMut(&Step<'_>) -> bool) -> Result<(), ModelError> {
        let start = self.out.written.len();
        let read = self.cache.len();
        let unread: Vec<TokenId> =
            self.request.prompt.iter().chain(&self.out.written).skip(read).copied().collect();
        let (guess, places) = self.guess(start);
        let scores = self.scores(&unread, &guess, &places).await?;
        self.out.passes += 1;
        for (&place, scores) in places.iter().zip(scores) {
            // Forced ids between two choices.
            self.out
                .written
                .extend_from_slice(&guess[self.out.written.len() - start..place - start]);
            let code = self.sampling.draw(&scores, 0, place);
            let code = code.ok_or(ModelError::NotANumber { index: place })?;
            self.out.written.push(TokenId(self.ids.vis_start + code as u32));
            self.out.chosen += 1;
            let places = image_len(self.request.height, self.request.width);
            if !watch(&Step { place, places, scores: &[scores] }) {
                return Err(ModelError::Stopped { tokens: place });
            }
            if self.draft[self.request.cell(place)].0 as usize != code {
                break;
            }
            self.out.accepted += 1;
        }
        // The last one drawn is not kept even where it was read: it is read again with what follows.
        let known = self.request.prompt.len() + self.out.written.len() - 1;
        self.cache.truncate(known);
        Ok(())
    }

    /// Ids that would follow from `start` on if the draft were right, and the places of choices: the
    /// first `ahead` + 1. The last of them is not among the ids.
    fn guess(&self, start: usize) -> (Vec<TokenId>, Vec<usize>) {
        let (mut guess, mut places) = (Vec::new(), Vec::new());
        for place in start..image_len(self.request.height, self.request.width) {
            let id = if let Some(id) = self.request.forced(self.ids, place) {
                id
            } else {
                places.push(place);
                if places.len() > self.ahead {
                    break;
                }
                TokenId(self.ids.vis_start + self.draft[self.request.cell(place)].0)
            };
            guess.push(id);
        }
        // What follows the last choice needs no reading here.
        guess.truncate(places.last().map_or(0, |last| last - start));
        (guess, places)
    }

    /// Scores of the codes at each of `places`.
    async fn scores(
        &mut self,
        unread: &[TokenId],
        guess: &[TokenId],
        places: &[usize],
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let seq = unread.len() + guess.len();
        let chunk = Chunk {
            ids: [unread, guess].concat(),
            times: (self.cache.len()..self.cache.len() + seq).collect(),
            slots: vec![Slot::NONE; seq],
            batch: 1,
            seq,
            padding: Vec::new(),
        };
        let hidden = self.lm.forward(&chunk, &mut self.cache);
        let width = hidden.dims()[2];
        // The place of the first choice is scored by the last id that is known.
        let from = unread.len() - 1;
        let hidden = hidden.slice([0..1, from..seq, 0..width]);
        let (first, count) = (self.ids.vis_start as usize, self.ids.codebook_size as usize);
        let scores = to_host(self.lm.logits_of(hidden, first, count)).await?;
        let start = places.first().copied().unwrap_or(0);
        let at = |place: &usize| scores[(place - start) * count..][..count].to_vec();
        Ok(places.iter().map(at).collect())
    }
}
