//! Many programs at once: prompts and seeds in, sampled programs and their log-probabilities out.
//!
//! ```text
//! read the pictures once → read the sentences once → write all rows, one token a step
//! ```
//! For rollouts and for scoring: no events, no pixels. Every row draws by its own key, so a row's
//! program is the one [`crate::editor::Editor::edit`] writes for the same picture, sentence and seed.
//! Rows that are done leave the batch. Start at [`write_programs`].

use crate::editor::Mode;
use crate::error::ModelError;
use crate::ids::{CodeGrid, Seed, TokenId};
use crate::lm::{Chunk, KvCache, LanguageModel, to_host};
use crate::sample::{Chosen, Rule, pick_code, pick_control};
use crate::sequence::layout::input_slot;
use crate::sequence::{Expect, Grammar, Vocabulary, source_chunk, words_chunk};
use burn::tensor::{Int, Tensor, TensorData};

/// A picture and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Codes of the picture; all prompts of a batch have one size.
    pub source: CodeGrid,
    /// Indices of the sentence's words.
    pub words: Vec<usize>,
}

/// One program to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Index of its prompt.
    pub prompt: usize,
    /// Seed of its choices.
    pub seed: Seed,
}

/// A token the model chose among several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its index in the program.
    pub at: usize,
    /// Log-probability at temperature 1 under the grammar's mask, in nats.
    pub log_prob: f64,
    /// Entropy of what it was chosen from, in nats.
    pub entropy: f64,
    /// A picture code rather than a control token?
    pub is_code: bool,
}

/// A written program.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// All ids, forced ones included.
    pub program: Vec<TokenId>,
    /// The free choices, in order; forced tokens have none.
    pub choices: Vec<Choice>,
}

impl Written {
    /// Log-probability of all its choices, in nats.
    #[must_use]
    pub fn log_prob(&self) -> f64 {
        self.choices.iter().map(|choice| choice.log_prob).sum()
    }
}

struct Row<'a> {
    draw: Draw,
    grammar: Grammar<'a>,
    written: Written,
}

/// Writes one program for each draw, at `temperature` (0 is greedy).
///
/// # Errors
/// [`ModelError::NotANumber`] for a broken model, [`ModelError::Device`] for a failing device.
pub async fn write_programs(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    prompts: &[Prompt],
    draws: &[Draw],
    mode: Mode,
    temperature: f32,
) -> Result<Vec<Written>, ModelError> {
    let (cache, keys) = read_prompts(lm, vocabulary, prompts);
    let read = (cache, &keys);
    write_until(lm, vocabulary, read, draws, Rule::at(temperature), mode, |next| {
        *next == Expect::Nothing
    })
    .await
}

/// Writes the plan of each prompt, greedily: programs of mode `think` up to their first code.
///
/// # Errors
/// As [`write_programs`].
pub async fn write_plans(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    (cache, keys): (KvCache, &Tensor<3>),
) -> Result<Vec<Written>, ModelError> {
    let draws: Vec<Draw> =
        (0..keys.dims()[0]).map(|prompt| Draw { prompt, seed: Seed(0) }).collect();
    let (read, greedy) = ((cache, keys), Rule::at(0.0));
    write_until(lm, vocabulary, read, &draws, greedy, Mode::Think, |next| {
        matches!(next, Expect::Code(_))
    })
    .await
}

/// Writes a program for each draw after prompts that were read, until `ends` says so of what comes next.
async fn write_until(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    (cache, keys): (KvCache, &Tensor<3>),
    draws: &[Draw],
    rule: Rule,
    mode: Mode,
    ends: fn(&Expect) -> bool,
) -> Result<Vec<Written>, ModelError> {
    let mut rows = draws
        .iter()
        .map(|&draw| {
            let mut row = Row {
                draw,
                grammar: Grammar::new(vocabulary, mode),
                written: Written { program: Vec::new(), choices: Vec::new() },
            };
            row.force()?;
            Ok(row)
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let of: Vec<usize> = draws.iter().map(|draw| draw.prompt).collect();
    let mut cache = cache.select(&of, &lm.device());
    let mut live: Vec<usize> = (0..rows.len()).collect();
    while !live.is_empty() {
        let hidden = read_last(lm, vocabulary, &rows, &live, &mut cache);
        advance(lm, vocabulary, &mut rows, &live, &hidden, keys, rule).await?;
        let stay: Vec<usize> =
            (0..live.len()).filter(|&at| !ends(&rows[live[at]].grammar.expect())).collect();
        if stay.len() < live.len() {
            cache = cache.select(&stay, &lm.device());
            live = stay.iter().map(|&at| live[at]).collect();
        }
    }
    Ok(rows.into_iter().map(|row| row.written).collect())
}

/// The cache after pictures and sentences, and the pointer keys `[prompts, cells, pointer]`.
#[must_use]
pub fn read_prompts(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    prompts: &[Prompt],
) -> (KvCache, Tensor<3>) {
    let sources: Vec<&CodeGrid> = prompts.iter().map(|prompt| &prompt.source).collect();
    let words: Vec<&[usize]> = prompts.iter().map(|prompt| prompt.words.as_slice()).collect();
    let mut cache = lm.cache();
    let read = lm.forward(&source_chunk(vocabulary, &sources), &mut cache, false);
    let keys = lm.pointer_keys(read.last);
    drop(lm.forward(&words_chunk(vocabulary, &words), &mut cache, false));
    (cache, keys)
}

/// Reads the last token of every live row: hidden states `[live, hidden]`.
fn read_last(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    rows: &[Row<'_>],
    live: &[usize],
    cache: &mut KvCache,
) -> Tensor<2> {
    let first = 1 + lm.config().text.max_words;
    let mut chunk = Chunk { batch: live.len(), seq: 1, ..Chunk::default() };
    for row in live.iter().map(|&at| &rows[at]) {
        let at = row.written.program.len() - 1;
        let token = row.written.program[at];
        chunk.ids.push(token);
        chunk.times.push(first + at);
        chunk.slots.push(input_slot(vocabulary, &row.grammar, token));
    }
    lm.forward(&chunk, cache, true).last.squeeze_dim(1)
}

/// One token for every live row.
async fn advance(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    rows: &mut [Row<'_>],
    live: &[usize],
    hidden: &Tensor<2>,
    keys: &Tensor<3>,
    rule: Rule,
) -> Result<(), ModelError> {
    let (mut controls, mut codes) = (Vec::new(), Vec::new());
    for (at, &row) in live.iter().enumerate() {
        match rows[row].grammar.expect() {
            Expect::Nothing => {}
            Expect::Control(allowed) if allowed.len() == 1 => rows[row].force()?,
            Expect::Control(allowed) => controls.push((at, row, allowed)),
            Expect::Code(_) => codes.push((at, row)),
        }
    }
    let ids = |ids: Vec<usize>| -> Tensor<1, Int> {
        let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
        let len = ids.len();
        Tensor::from_data(TensorData::new(ids, [len]), &lm.device())
    };
    if !controls.is_empty() {
        let picked = hidden.clone().select(0, ids(controls.iter().map(|(at, ..)| *at).collect()));
        let prompts = controls.iter().map(|&(_, row, _)| rows[row].draw.prompt).collect();
        let left: Vec<&[bool]> =
            controls.iter().map(|&(_, row, _)| rows[row].grammar.left()).collect();
        let left = lm.left(&left, left.len());
        let keys = keys.clone().select(0, ids(prompts));
        let look = lm.look(picked.clone().unsqueeze_dim(1), keys, left);
        let logits = lm.control_logits(picked, look); // [rows, control]
        let width = logits.dims()[1];
        let logits = to_host(logits).await?;
        for ((_, row, allowed), logits) in controls.into_iter().zip(logits.chunks(width)) {
            let row = &mut rows[row];
            let chosen = pick_control(logits, &allowed, rule, row.key());
            row.take(chosen, false)?;
        }
    }
    if !codes.is_empty() {
        let picked = hidden.clone().select(0, ids(codes.iter().map(|(at, _)| *at).collect()));
        let logits = to_host(lm.code_logits(picked)).await?; // [rows, codes]
        for ((_, row), logits) in codes.into_iter().zip(logits.chunks(vocabulary.code_len())) {
            let row = &mut rows[row];
            let chosen = pick_code(vocabulary, logits, rule, row.key());
            row.take(chosen, true)?;
        }
    }
    Ok(())
}

impl Row<'_> {
    fn key(&self) -> crate::sample::rng::Key {
        crate::sample::token_key(self.draw.seed, self.written.program.len())
    }

    /// Takes the only token the grammar allows.
    fn force(&mut self) -> Result<(), ModelError> {
        if let Expect::Control(allowed) = self.grammar.expect() {
            self.grammar.push(allowed[0])?;
            self.written.program.push(allowed[0]);
        }
        Ok(())
    }

    fn take(&mut self, chosen: Option<Chosen>, is_code: bool) -> Result<(), ModelError> {
        let at = self.written.program.len();
        let chosen = chosen.ok_or(ModelError::NotANumber { index: at })?;
        self.grammar.push(chosen.token)?;
        self.written.program.push(chosen.token);
        let Chosen { log_prob, entropy, .. } = chosen;
        self.written.choices.push(Choice { at, log_prob, entropy, is_code });
        Ok(())
    }
}
