//! The policy loss: rollouts with their advantages in, one scalar out.
//!
//! ```text
//! loss = Σ over free tokens of (-log π · advantage + β · (e^d - 1 - d)) / all free tokens,   d = log π_ref - log π
//! ```
//! Log-probabilities are those of the sampler: control tokens among what the grammar allowed, codes
//! among codes (EARL's `separate_language_and_vision_vocabs`). Forced tokens and the prompt are not in
//! it. The normaliser counts the whole optimizer step, so micro-batches can't change the gradient.
//! Where `rl.train` names one kind of token, the other is as if it were forced: in neither sum nor count.
//! Source: EARL `rl/nano_aha_moment.py`, `compute_pg_loss`. Start at [`policy_loss`].

use super::config::TokenKind;
use crate::host::{int_tensor, values};
use anyhow::Result;
use burn::tensor::{Tensor, TensorData};
use earl_kernels::cross_entropy;
use earl_model::batch::{Prompt, Written};
use earl_model::lm::{LanguageModel, Packed};
use earl_model::sequence::{Expect, Grammar, Packer, ProgramLayout, Vocabulary, program_layout};
use earl_model::{Mode, TokenId};
use std::collections::BTreeSet;
use std::ops::Range;

/// Added to the logit of a control token the grammar does not allow.
const MASKED: f32 = -1e9;

/// A rollout, ready to be trained on.
pub(crate) struct Episode {
    /// Index of its prompt.
    pub prompt: usize,
    /// Its advantage, the same for all its tokens.
    pub advantage: f64,
    layout: ProgramLayout,
    /// Trained control tokens: index of the target, what the grammar allowed there, position in `rollout`.
    controls: Vec<(usize, Vec<TokenId>, usize)>,
    /// Trained codes: index of the target, position in `rollout`.
    codes: Vec<(usize, usize)>,
    /// Log-probability of each free token when it was sampled.
    rollout: Vec<f64>,
}

impl Episode {
    /// Lays out a written program whose tokens of one kind, or of both, are trained.
    ///
    /// # Errors
    /// If the grammar does not accept it.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        mode: Mode,
        train: TokenKind,
        prompt: usize,
        written: &Written,
        advantage: f64,
    ) -> Result<Self> {
        let layout = program_layout(vocabulary, mode, &written.program)?;
        let (mut controls, mut codes, mut free) = (Vec::new(), Vec::new(), 0..);
        let mut grammar = Grammar::new(vocabulary, mode);
        for (at, &token) in written.program.iter().enumerate() {
            match grammar.expect() {
                Expect::Control(allowed) if allowed.len() > 1 => {
                    controls.extend(free.next().map(|free| (at - 1, allowed, free)));
                }
                Expect::Code(_) => codes.extend(free.next().map(|free| (at - 1, free))),
                _ => {}
            }
            grammar.push(token)?;
        }
        match train {
            TokenKind::All => {}
            TokenKind::Text => codes.clear(),
            TokenKind::Picture => controls.clear(),
        }
        let rollout = written.choices.iter().map(|choice| choice.log_prob).collect();
        Ok(Self { prompt, advantage, layout, controls, codes, rollout })
    }

    /// Tokens the model was free to choose and that are trained.
    #[must_use]
    pub(crate) fn free_tokens(&self) -> usize {
        self.controls.len() + self.codes.len()
    }
}

/// The prompts of some episodes, each once, and their programs as one row: the tokens of each source,
/// and for each episode the index of its source and its program's first token.
fn pack(
    vocabulary: &Vocabulary,
    max_words: usize,
    prompts: &[Prompt],
    episodes: &[&Episode],
) -> (Packed, Vec<Range<usize>>, Vec<(usize, usize)>) {
    let used: BTreeSet<usize> = episodes.iter().map(|episode| episode.prompt).collect();
    let mut packer = Packer::new(vocabulary, max_words);
    let mut sources = Vec::new();
    let mut places = vec![(0, 0); episodes.len()];
    for prompt in used {
        let (picture, tokens) = packer.source(&prompts[prompt].source);
        let (words, _) = packer.words(picture, &prompts[prompt].words);
        for (episode, place) in episodes.iter().zip(&mut places) {
            if episode.prompt == prompt {
                *place = (sources.len(), packer.program(words, &episode.layout).1.start);
            }
        }
        sources.push(tokens);
    }
    (packer.finish(), sources, places)
}

/// Log-probabilities of the trained tokens of some episodes: each episode's controls, then each one's codes.
/// There is one at least.
pub(crate) fn log_probs(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    prompts: &[Prompt],
    episodes: &[&Episode],
) -> Tensor<1> {
    let device = lm.device();
    let (packed, sources, places) = pack(vocabulary, lm.config().text.max_words, prompts, episodes);
    let hidden = lm.forward_packed(&packed).last.squeeze_dim::<2>(0); // [tokens, hidden]

    let (mut control_rows, mut control_targets, mut mask) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = Vec::new();
    let (mut code_rows, mut code_targets) = (Vec::new(), Vec::new());
    let controls = vocabulary.control_len();
    for (episode, &(source, row)) in episodes.iter().zip(&places) {
        for (at, allowed, _) in &episode.controls {
            control_rows.push((source, row + at));
            control_targets.push(episode.layout.targets[*at].0 as usize);
            left.push(episode.layout.left[*at].as_slice());
            let start = mask.len();
            mask.resize(start + controls, MASKED);
            for token in allowed {
                mask[start + token.0 as usize] = 0.0;
            }
        }
        for (at, _) in &episode.codes {
            code_rows.push(row + at);
            code_targets.push(episode.layout.targets[*at].0 as usize - controls);
        }
    }
    let mut parts = Vec::new();
    if !control_rows.is_empty() {
        let mask = TensorData::new(mask, [control_rows.len(), controls]);
        let look = lm.packed_look(&hidden, &sources, &control_rows, &left);
        let rows = int_tensor(control_rows.into_iter().map(|(_, row)| row), &device);
        let logits = lm.control_logits(hidden.clone().select(0, rows), look);
        let logits = logits + Tensor::from_data(mask, &device);
        parts.push(cross_entropy(logits, int_tensor(control_targets.into_iter(), &device)).neg());
    }
    if !code_rows.is_empty() {
        let logits = lm.code_logits(hidden.select(0, int_tensor(code_rows.into_iter(), &device)));
        parts.push(cross_entropy(logits, int_tensor(code_targets.into_iter(), &device)).neg());
    }
    Tensor::cat(parts, 0)
}

/// What the loss of some episodes comes to; tensors `[1]`.
pub(crate) struct PolicyLoss {
    /// Their part of the step's loss.
    pub total: Tensor<1>,
    /// What control tokens and codes add to the step's loss.
    pub parts: [f64; 2],
    /// Sums of the penalty's k3 estimates over control tokens and codes, in nats.
    pub kl: [f64; 2],
    /// Largest difference to the log-probabilities the rollouts were sampled with, in nats.
    pub gap: f64,
}

/// The loss of some episodes; `tokens` are the free tokens of the whole optimizer step, `reference`
/// the starting model's log-probabilities in the order of [`log_probs`].
///
/// # Errors
/// If the device fails.
pub(crate) fn policy_loss(
    current: &Tensor<1>,
    reference: &Tensor<1>,
    episodes: &[&Episode],
    beta: f64,
    tokens: usize,
) -> Result<PolicyLoss> {
    let device = current.device();
    let order = |of: fn(&Episode) -> Vec<f64>| -> Vec<f32> {
        let of: Vec<Vec<f64>> = episodes.iter().map(|episode| of(episode)).collect();
        let controls = episodes.iter().zip(&of).flat_map(|(episode, values)| {
            episode.controls.iter().map(|(.., free)| values[*free] as f32)
        });
        let codes = episodes.iter().zip(&of).flat_map(|(episode, values)| {
            episode.codes.iter().map(|(_, free)| values[*free] as f32)
        });
        controls.chain(codes).collect()
    };
    let advantages = order(|episode| vec![episode.advantage; episode.rollout.len()]);
    let rollout = order(|episode| episode.rollout.clone());
    let n = advantages.len();
    let advantages = Tensor::<1>::from_data(TensorData::new(advantages, [n]), &device);
    let ahead = reference.clone() - current.clone(); // d
    let kl = ahead.clone().exp() - ahead.add_scalar(1.0); // e^d - (d + 1)
    let each = current.clone().neg() * advantages + kl.clone().mul_scalar(beta);
    let total = each.clone().sum().div_scalar(tokens as f64);
    let now = values(current.clone().detach())?;
    let controls = episodes.iter().map(|episode| episode.controls.len()).sum::<usize>();
    let by_kind = |values: Vec<f32>| {
        let (control, code) = values.split_at(controls);
        [control, code].map(|values| values.iter().copied().map(f64::from).sum::<f64>())
    };
    let kl = by_kind(values(kl.detach())?);
    let parts = by_kind(values(each.detach())?).map(|sum| sum / tokens as f64);
    let gap = now.iter().zip(&rollout).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    Ok(PolicyLoss { total, parts, kl, gap })
}
