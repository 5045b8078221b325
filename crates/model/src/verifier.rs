//! The model's own verifier: edits in, how likely each is right out.
//!
//! ```text
//! source, sentence → the decoder plans (mode `think`, greedily) → reads the edited picture after its own plan
//!   → facts of each cell → p(cell is right) → their product
//! ```
//! The model reasons first and then checks: the edited picture is read code by code as if it had been written after
//! that plan, whatever mode it was made in, so that verdicts of different modes compare. Nothing is asked of how the
//! edit came about. An edit is right if every cell is; so one wrong cell is enough.
//!
//! `trainer verifier` trains it on judged rollouts. It belongs to the decoder it was trained beside. All of it is
//! computed on the host in a fixed order, so verdicts are the same bits wherever the decoder's are.
//! Start at [`Editor::verdict`], or [`read`] for many.

use crate::batch::{Prompt, Written, read_prompts, write_plans};
use crate::checkpoint::TensorMap;
use crate::editor::{EditOutcome, Editor, Mode, VERIFIER_PREFIX};
use crate::error::ModelError;
use crate::ids::{CodeGrid, TokenId};
use crate::lm::{KvCache, LanguageModel, to_host};
use crate::sample::log_prob_and_entropy;
use crate::sequence::layout::{ProgramLayout, program_chunk, program_layout};
use crate::sequence::{Expect, Grammar, Vocabulary};

/// Numbers known of each cell: see [`CellFacts`].
pub const FACTS: usize = 6;

/// What is known of a cell: the log-probability of its code, of the likeliest code and of the plan (in units of
/// 4 nats, at least -4), the entropy in nats, 1 if the code is the source's, and 1.
pub type CellFacts = [f32; FACTS];

/// Log-probabilities below this are all the same to the verifier, in nats.
const LEAST_LOG_PROB: f64 = -16.0;
/// Facts that are log-probabilities are told in this unit, in nats.
const UNIT: f64 = 4.0;

/// Two layers on each cell's facts, without a view of the other cells.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// `[FACTS, width]`, row by row.
    facts: Vec<f32>,
    /// `[width]`.
    out: Vec<f32>,
    bias: f32,
}

impl Verifier {
    /// From a model's tensors: `verifier.facts` `[FACTS, width]`, `verifier.out` `[width]`, `verifier.bias` `[1]`.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if they are not there or of other shapes.
    pub fn from_tensors(tensors: &TensorMap) -> Result<Self, ModelError> {
        let part = |name: &str| {
            let name = format!("{VERIFIER_PREFIX}{name}");
            let found = tensors.get(&name);
            found.ok_or_else(|| ModelError::Tensors(format!("`{name}` is missing")))
        };
        let (facts, out, bias) = (part("facts")?, part("out")?, part("bias")?);
        let width = out.data.len();
        if facts.shape != [FACTS, width] || out.shape != [width] || bias.shape != [1] {
            let shapes = [&facts.shape, &out.shape, &bias.shape];
            let problem = format!(
                "a verifier's tensors have shapes {shapes:?}, not [{FACTS}, width], [width] and [1]"
            );
            return Err(ModelError::Tensors(problem));
        }
        Ok(Self { facts: facts.data.clone(), out: out.data.clone(), bias: bias.data[0] })
    }

    /// How likely an edit is right, from the facts of its cells: in 0..=1.
    #[must_use]
    pub fn verdict(&self, cells: &[CellFacts]) -> f64 {
        let right = |facts| 1.0 / (1.0 + libm::exp(-f64::from(self.logit(facts))));
        cells.iter().map(right).product()
    }

    /// The logit of "this cell is right".
    #[must_use]
    pub fn logit(&self, facts: &CellFacts) -> f32 {
        let width = self.out.len();
        let unit = |at: usize| {
            let weights = self.facts[at..].iter().step_by(width);
            let sum: f32 = facts.iter().zip(weights).map(|(fact, weight)| fact * weight).sum();
            sum.max(0.0) * self.out[at]
        };
        (0..width).map(unit).sum::<f32>() + self.bias
    }
}

/// Prompts that were read, each with the model's own plan: what any number of edits is read after.
#[derive(Clone, Debug)]
pub struct Thoughts {
    prompts: Vec<Prompt>,
    cache: KvCache,
    plans: Vec<Written>,
}

impl Thoughts {
    /// Reads prompts and plans.
    ///
    /// # Errors
    /// [`ModelError::NotANumber`] for a broken model; [`ModelError::Device`].
    pub async fn new(
        lm: &LanguageModel,
        vocabulary: &Vocabulary,
        prompts: Vec<Prompt>,
    ) -> Result<Self, ModelError> {
        let (cache, keys) = read_prompts(lm, vocabulary, &prompts);
        let plans = write_plans(lm, vocabulary, (cache.clone(), &keys)).await?;
        Ok(Self { prompts, cache, plans })
    }

    /// Reads edited pictures, each with the index of its prompt: the facts of each one's cells, row by row.
    ///
    /// # Errors
    /// [`ModelError::Format`] for a picture of another size than the model's; [`ModelError::NotANumber`] for a
    /// broken model; [`ModelError::Device`].
    pub async fn read(
        &self,
        lm: &LanguageModel,
        vocabulary: &Vocabulary,
        edits: &[(usize, &CodeGrid)],
    ) -> Result<Vec<Vec<CellFacts>>, ModelError> {
        let Self { prompts, cache, plans } = self;
        let layouts = edits
            .iter()
            .map(|&(prompt, picture)| layout(vocabulary, &plans[prompt], picture))
            .collect::<Result<Vec<_>, _>>()?;
        let of: Vec<usize> = edits.iter().map(|(prompt, _)| *prompt).collect();
        let mut cache = cache.select(&of, &lm.device());
        let chunk = program_chunk(lm.config().text.max_words, &layouts.iter().collect::<Vec<_>>());
        let last = lm.forward(&chunk, &mut cache, true).last; // [edits, tokens, hidden]
        let width = last.dims()[2];
        let mut facts = Vec::with_capacity(edits.len());
        for (at, &(prompt, picture)) in edits.iter().enumerate() {
            let (plan, cells) = (&plans[prompt], picture.codes.len());
            let first = plan.program.len() - 1;
            let states = last.clone().slice([at..at + 1, first..first + cells, 0..width]);
            let logits = to_host(lm.code_logits(states.reshape([cells, width]))).await?;
            facts.push(cell_facts(&logits, picture, &prompts[prompt].source, plan)?);
        }
        Ok(facts)
    }
}

/// Reads edited pictures, each with the index of its prompt, after new [`Thoughts`].
///
/// # Errors
/// As [`Thoughts::new`] and [`Thoughts::read`].
pub async fn read(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    prompts: &[Prompt],
    edits: &[(usize, &CodeGrid)],
) -> Result<Vec<Vec<CellFacts>>, ModelError> {
    Thoughts::new(lm, vocabulary, prompts.to_vec()).await?.read(lm, vocabulary, edits).await
}

/// The program that writes a whole picture after a plan.
fn layout(
    vocabulary: &Vocabulary,
    plan: &Written,
    picture: &CodeGrid,
) -> Result<ProgramLayout, ModelError> {
    let mut grammar = Grammar::new(vocabulary, Mode::Think);
    let mut program: Vec<TokenId> = plan.program.clone();
    program.iter().try_for_each(|&token| grammar.push(token))?;
    for &code in &picture.codes {
        let token = vocabulary.code(code);
        grammar.push(token)?;
        program.push(token);
    }
    if let Expect::Control(allowed) = grammar.expect() {
        program.push(allowed[0]);
        return program_layout(vocabulary, Mode::Think, &program);
    }
    let problem = format!("has {} cells alone", picture.codes.len());
    Err(ModelError::Format { what: "picture".into(), problem })
}

/// What is known of each cell; `logits` are those of all codes, cell by cell.
fn cell_facts(
    logits: &[f32],
    picture: &CodeGrid,
    source: &CodeGrid,
    plan: &Written,
) -> Result<Vec<CellFacts>, ModelError> {
    let codes = logits.len() / picture.codes.len();
    let told = |log_prob: f64| (log_prob.max(LEAST_LOG_PROB) / UNIT) as f32;
    let plan = told(plan.log_prob());
    let cell = |(index, logits): (usize, &[f32])| {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(ModelError::NotANumber { index });
        }
        let code = picture.codes[index];
        let at = code.0 as usize;
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (log_prob, entropy) = log_prob_and_entropy(logits, 0..codes, at);
        let most = log_prob + f64::from(best) - f64::from(logits[at]);
        let kept = f32::from(u8::from(source.codes.get(index) == Some(&code)));
        Ok([told(log_prob), told(most), plan, entropy as f32, kept, 1.0])
    };
    logits.chunks(codes).enumerate().map(cell).collect()
}

impl Editor {
    /// How likely an edit is right, in 0..=1, as the model's verifier says; `None` in models without one.
    ///
    /// # Errors
    /// [`ModelError`] for an instruction that is not understood and a failing device.
    pub async fn verdict(
        &self,
        instruction: &str,
        outcome: &EditOutcome,
    ) -> Result<Option<f64>, ModelError> {
        let Some(verifier) = self.verifier() else { return Ok(None) };
        let words = self.vocabulary().text().encode(instruction)?;
        let prompt = Prompt { source: outcome.source_codes.clone(), words };
        // Candidates of one edit come one after the other.
        let last = self.thoughts().take();
        let thoughts = match last {
            Some(last) if last.prompts[..] == [prompt.clone()] => last,
            _ => Thoughts::new(self.lm(), self.vocabulary(), vec![prompt]).await?,
        };
        let read = thoughts.read(self.lm(), self.vocabulary(), &[(0, &outcome.codes)]).await?;
        *self.thoughts() = Some(thoughts);
        Ok(read.first().map(|cells| verifier.verdict(cells)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::HostTensor;

    /// One unit that looks at the code's log-probability, one at the last fact.
    fn tensors() -> TensorMap {
        let facts = vec![-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        let tensor = |shape: &[usize], data| HostTensor { shape: shape.to_vec(), data };
        [
            ("facts", tensor(&[FACTS, 2], facts)),
            ("out", tensor(&[2], vec![-4.0, 3.0])),
            ("bias", tensor(&[1], vec![0.5])),
        ]
        .map(|(name, tensor)| (format!("{VERIFIER_PREFIX}{name}"), tensor))
        .into()
    }

    #[test]
    fn one_wrong_cell_is_enough() {
        let verifier = Verifier::from_tensors(&tensors()).unwrap();
        let cell = |log_prob: f32| [log_prob, 0.0, 0.0, 0.0, 1.0, 1.0];
        // relu(0)·-4 + relu(2)·3 + 0.5 = 6.5, and relu(3)·-4 + 6.5 = -5.5.
        assert!((verifier.logit(&cell(0.0)) - 6.5).abs() < 1e-6);
        assert!((verifier.logit(&cell(-3.0)) + 5.5).abs() < 1e-6);
        let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let mut cells = vec![cell(0.0); 64];
        assert!((verifier.verdict(&cells) - sigmoid(6.5).powi(64)).abs() < 1e-9);
        cells[9] = cell(-3.0);
        assert!((verifier.verdict(&cells) - sigmoid(6.5).powi(63) * sigmoid(-5.5)).abs() < 1e-9);
    }

    #[test]
    fn other_shapes_are_refused() {
        let mut tensors = tensors();
        tensors.remove("verifier.bias");
        let problem = Verifier::from_tensors(&tensors).unwrap_err().to_string();
        assert!(problem.contains("`verifier.bias` is missing"), "{problem}");
        tensors.insert("verifier.bias".into(), HostTensor { shape: vec![2], data: vec![0.0; 2] });
        let problem = Verifier::from_tensors(&tensors).unwrap_err().to_string();
        assert!(problem.contains("[2]"), "{problem}");
    }
}
