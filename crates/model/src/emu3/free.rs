//! Reasoning first: the model writes text until it opens an image, says its size, then its codes.
//!
//! ```text
//! free text ─BOI─▶ rows (digits) ─*─▶ columns (digits) ─IMG─▶ codes, by `decode`
//! ```
//! The grammar never lets a control token other than these through, never lets a size out of range
//! be written, and opens the image itself when the text has grown too long: whatever the weights,
//! what comes out is an image.
//!
//! Source: EARL's chain-of-thought and mixed modes. Start at [`write_freely`].

use super::decode::Sampling;
use super::ids::Emu3Ids;
use super::lm::{Emu3Lm, left_padded};
use super::text::{Emu3Text, RANKS};
use crate::error::ModelError;
use crate::ids::TokenId;
use crate::lm::Chunk;
use crate::lm::to_host;
use crate::sequence::Slot;
use burn::tensor::Tensor;

/// What the free part is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeIds {
    /// Control ids.
    pub ids: Emu3Ids,
    /// Ids below this are text.
    pub text: u32,
    /// The digits 0 to 9.
    pub digits: [TokenId; 10],
    /// What stands between rows and columns.
    pub times: TokenId,
}

impl FreeIds {
    /// Those of the published vocabulary.
    ///
    /// # Errors
    /// [`ModelError::Format`] if a digit is not one id of this tokenizer.
    pub fn published(text: &Emu3Text) -> Result<Self, ModelError> {
        let single = |character: &str| match text.encode(character)?[..] {
            [id] => Ok(id),
            ref ids => Err(ModelError::Format {
                what: "text tokenizer".into(),
                problem: format!("`{character}` has {} ids", ids.len()),
            }),
        };
        let mut digits = [TokenId(0); 10];
        for (digit, id) in digits.iter_mut().enumerate() {
            *id = single(&digit.to_string())?;
        }
        Ok(Self { ids: Emu3Ids::PUBLISHED, text: RANKS, digits, times: single("*")? })
    }
}

/// Bounds of the free part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ids of text before the image is opened for the model.
    pub text: usize,
    /// Most rows, and most columns.
    pub side: usize,
}

/// What the model wrote before the codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Everything from the end of the prompt to IMG, which is the last.
    pub written: Vec<TokenId>,
    /// How many of them are text.
    pub text: usize,
    /// Rows of codes.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Where the writing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    Rows(usize),
    Columns { height: usize, width: usize },
    Done { height: usize, width: usize },
}

/// Follows what is written and says what may come next.
#[derive(Clone, Debug)]
struct Free<'a> {
    with: &'a FreeIds,
    limits: Limits,
    state: State,
    text: usize,
}

impl Free<'_> {
    /// Ids that may come next; never empty before [`State::Done`].
    fn allowed(&self) -> Vec<TokenId> {
        let boi = TokenId(self.with.ids.boi);
        match self.state {
            State::Text if self.text >= self.limits.text => vec![boi],
            State::Text => (0..self.with.text).map(TokenId).chain([boi]).collect(),
            State::Rows(rows) => self.side(rows, self.with.times),
            State::Columns { width, .. } => self.side(width, TokenId(self.with.ids.img)),
            State::Done { .. } => Vec::new(),
        }
    }

    /// Digits that keep a number in range, and its end once it has one.
    fn side(&self, number: usize, end: TokenId) -> Vec<TokenId> {
        let keeps = |digit: &usize| (1..=self.limits.side).contains(&(number * 10 + digit));
        let digits = (0..10).filter(keeps).map(|digit| self.with.digits[digit]);
        digits.chain((number > 0).then_some(end)).collect()
    }

    fn push(&mut self, id: TokenId) {
        let digit = self.with.digits.iter().position(|known| *known == id).unwrap_or(0);
        self.state = match self.state {
            State::Text if id.0 == self.with.ids.boi => State::Rows(0),
            State::Text => {
                self.text += 1;
                State::Text
            }
            State::Rows(height) if id == self.with.times => State::Columns { height, width: 0 },
            State::Rows(rows) => State::Rows(rows * 10 + digit),
            State::Columns { height, width } if id.0 == self.with.ids.img => {
                State::Done { height, width }
            }
            State::Columns { height, width } => {
                State::Columns { height, width: width * 10 + digit }
            }
            done @ State::Done { .. } => done,
        };
    }
}

/// Writes on from `prompt` until an image is open and its size is known.
///
/// Continue with [`super::generate`] on `prompt` and what was written; its `height` and `width` are
/// the grid's. `watch` sees each id and returns whether to go on.
///
/// # Errors
/// [`ModelError::Option`] for an empty prompt, unknown ids or a side of 0;
/// [`ModelError::NotANumber`] if logits are none; [`ModelError::Stopped`] if `watch` said so.
pub async fn write_freely(
    lm: &Emu3Lm,
    with: &FreeIds,
    prompt: &[TokenId],
    limits: Limits,
    sampling: &Sampling,
    watch: &mut dyn FnMut(TokenId) -> bool,
) -> Result<Opened, ModelError> {
    sampling.check()?;
    check(lm, with, prompt, limits)?;
    let mut chunk = left_padded(&[prompt.to_vec()], TokenId(with.ids.pad));
    lm.check_ids(&chunk)?;
    let mut free = Free { with, limits, state: State::Text, text: 0 };
    let (mut cache, mut written) = (lm.cache(), Vec::new());
    loop {
        if let State::Done { height, width } = free.state {
            return Ok(Opened { written, text: free.text, height, width });
        }
        let place = written.len();
        let allowed = free.allowed();
        let hidden = lm.forward(&chunk, &mut cache);
        let [_, seq, width] = hidden.dims();
        let id = if let [only] = allowed[..] {
            only // read nothing back: there is no choice
        } else {
            let last: Tensor<3> = hidden.slice([0..1, seq - 1..seq, 0..width]);
            let logits = to_host(lm.logits(last)).await?;
            let scores: Vec<f32> = allowed.iter().map(|id| logits[id.0 as usize]).collect();
            let drawn = sampling.draw(&scores, 0, place);
            allowed[drawn.ok_or(ModelError::NotANumber { index: place })?]
        };
        free.push(id);
        written.push(id);
        if !watch(id) {
            return Err(ModelError::Stopped { tokens: written.len() });
        }
        chunk = Chunk {
            ids: vec![id],
            times: vec![prompt.len() + place],
            slots: vec![Slot::NONE],
            batch: 1,
            seq: 1,
            padding: Vec::new(),
        };
    }
}

fn check(
    lm: &Emu3Lm,
    with: &FreeIds,
    prompt: &[TokenId],
    limits: Limits,
) -> Result<(), ModelError> {
    let refuse = |name, problem: String| Err(ModelError::Option { name, problem });
    let known = lm.config().vocab_size;
    let Emu3Ids { boi, img, .. } = with.ids;
    let largest = with.digits.iter().map(|id| id.0).chain([
        with.times.0,
        boi,
        img,
        with.text.saturating_sub(1),
    ]);
    if with.text == 0 || largest.max().is_none_or(|id| id as usize >= known) {
        return refuse("ids", format!("reach beyond the vocabulary of {known}"));
    }
    if prompt.is_empty() {
        return refuse("prompt", "is empty".into());
    }
    if limits.side == 0 || limits.side > 1 << 12 {
        return refuse("side", format!("{} is not in 1..=4096", limits.side));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn free_ids() -> FreeIds {
        let ids = Emu3Ids { boi: 20, img: 21, pad: 22, vis_start: 30, ..Emu3Ids::PUBLISHED };
        let digits = std::array::from_fn(|digit| TokenId(digit as u32));
        FreeIds { ids, text: 15, digits, times: TokenId(10) }
    }

    fn follow(with: &FreeIds, side: usize, ids: &[u32]) -> (State, Vec<u32>) {
        let limits = Limits { text: 2, side };
        let mut free = Free { with, limits, state: State::Text, text: 0 };
        for id in ids {
            assert!(free.allowed().contains(&TokenId(*id)), "{id} after {:?}", free.state);
            free.push(TokenId(*id));
        }
        (free.state, free.allowed().iter().map(|id| id.0).collect())
    }

    #[test]
    fn a_size_is_read_from_its_digits() {
        let with = free_ids();
        // After two ids of text only BOI is left.
        assert_eq!(follow(&with, 32, &[3, 10]).1, [20]);
        // No number starts with 0; "3" may become 30 to 32 or end.
        assert_eq!(follow(&with, 32, &[20]).1, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(follow(&with, 32, &[7, 20, 3]).1, [0, 1, 2, 10]);
        assert_eq!(follow(&with, 32, &[20, 3, 2, 10, 4]).1, [21]);
        let (state, left) = follow(&with, 32, &[20, 3, 2, 10, 4, 21]);
        assert_eq!((state, left), (State::Done { height: 32, width: 4 }, vec![]));
    }

    proptest! {
        #[test]
        fn any_choices_open_an_image_in_range(
            side in 1usize..300,
            choices in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let with = free_ids();
            let limits = Limits { text: 3, side };
            let mut free = Free { with: &with, limits, state: State::Text, text: 0 };
            for choice in choices {
                let allowed = free.allowed();
                if allowed.is_empty() { break; }
                free.push(allowed[choice.index(allowed.len())]);
            }
            // Three of text, BOI, three digits, *, three digits, IMG: no more than twelve.
            match free.state {
                State::Done { height, width } => {
                    prop_assert!((1..=side).contains(&height) && (1..=side).contains(&width));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
