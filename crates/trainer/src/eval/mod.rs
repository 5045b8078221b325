//! Evaluation: a model and held-out edits in, scores with intervals and baselines out.
//!
//! ```text
//! examples → edits (in batches, in order) → oracle → rows → report
//! ```
//! A model's failure to write an edit ("not understood") is a row with score 0, never left out.
//! Start at [`evaluate`].

pub(crate) mod compare;
pub(crate) mod measured;
pub(crate) mod page;
pub(crate) mod public;
pub(crate) mod report;
pub(crate) mod round_trip;
pub(crate) mod served;
pub(crate) mod similarity;
pub(crate) mod stats;

use anyhow::{Result, bail};
use earl_model::batch::{Draw, Prompt, Written, write_programs};
use earl_model::compose::{self, Composed};
use earl_model::verifier::read;
use earl_model::{CodeGrid, Editor, Mode, ModelError, Seed};
use earl_scenes::{Example, Op, Score, judge, render};
use image::RgbImage;
use rayon::prelude::*;
use round_trip::psnr;
use serde::Serialize;

/// How to edit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How much of the picture the model writes.
    pub mode: Mode,
    /// 0 is greedy.
    pub temperature: f32,
    /// Seed of the sampler.
    pub seed: u64,
    /// Candidates of best-of-N, at temperature 1 if none is set; 1 is off.
    pub best_of: u64,
}

/// One edit, scored.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The example's.
    pub id: String,
    /// Kind of edit.
    pub op: Op,
    /// The sentence.
    pub instruction: String,
    /// Seed of the sampler.
    pub seed: u64,
    /// The edit's score.
    pub score: Score,
    /// The best of N candidates, by the oracle's overall score.
    pub best_by_oracle: Option<Best>,
    /// The likeliest of N candidates.
    pub best_by_likelihood: Option<Best>,
    /// That of N candidates which the model's own verifier holds for likeliest right; none without one.
    pub best_by_verifier: Option<Best>,
    /// Overall score of the source, copied.
    pub copy: Score,
    /// Score of the true edit.
    pub truth: Score,
    /// Score of the true edit after the tokenizer's round trip.
    pub round_trip: Score,
    /// Share of cells no right answer changes whose code is the source's; none with a new background.
    pub codes_kept: Option<f64>,
    /// PSNR of those cells against the source, dB; 99 for equal.
    pub psnr_outside: Option<f64>,
    /// Tokens generated.
    pub tokens: usize,
    /// Forward passes.
    pub forwards: usize,
    /// Why there is no edit.
    pub failed: Option<String>,
    /// Source, result and true edit.
    #[serde(skip)]
    pub pictures: [RgbImage; 3],
}

/// How one of several candidates did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Best {
    /// Is it right?
    pub success: bool,
    /// Its overall score.
    pub overall: f32,
}

/// Forward passes that read the picture and the sentence; each free choice takes one more.
const PROMPT_FORWARDS: usize = 2;
/// Examples written together; rollouts of one chunk share the passes of the decoder.
const CHUNK: usize = 16;

/// Edits every example and scores the results; `done` hears of each. Programs are written many at a
/// time, each the one [`Editor::edit`] writes for the same picture, sentence and seed.
///
/// # Errors
/// If the tokenizer refuses a scene's picture or the model is broken.
pub(crate) fn evaluate(
    editor: &Editor,
    examples: &[Example],
    settings: Settings,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Row>> {
    let share = examples.len().div_ceil(rayon::current_num_threads()).clamp(1, CHUNK);
    let rows: Vec<Vec<Row>> = examples
        .par_chunks(share)
        .map(|part| chunk_rows(editor, part, settings, done))
        .collect::<Result<_>>()?;
    Ok(rows.into_iter().flatten().collect())
}

fn chunk_rows(
    editor: &Editor,
    examples: &[Example],
    settings: Settings,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Row>> {
    let cases: Vec<Case> = examples
        .iter()
        .map(|example| Case::new(editor, example, settings))
        .collect::<Result<_>>()?;
    let prompts: Vec<Prompt> =
        cases.iter().filter_map(|case| case.prompt.as_ref().ok().cloned()).collect();
    let edits = write(editor, &prompts, settings, 1, settings.temperature)?;
    let warm = if settings.temperature > 0.0 { settings.temperature } else { 1.0 };
    let candidates = if settings.best_of > 1 { settings.best_of } else { 0 };
    let tried = write(editor, &prompts, settings, candidates, warm)?;
    let known: Vec<&Case> = cases.iter().filter(|case| case.prompt.is_ok()).collect();
    let tried = judged(editor, &known, &prompts, &tried)?;
    let mut written = edits.into_iter();
    let mut tried = tried.chunks(candidates.max(1) as usize);
    let row = |case: Case| {
        let (edit, tried) = match &case.prompt {
            Ok(_) => (written.next(), tried.next().unwrap_or_default()),
            Err(_) => (None, [].as_slice()),
        };
        let row = case.row(edit, tried);
        done();
        row
    };
    cases.into_iter().map(row).collect()
}

/// `count` programs for each prompt, at `temperature`; seeds count up from the setting's.
fn write(
    editor: &Editor,
    prompts: &[Prompt],
    settings: Settings,
    count: u64,
    temperature: f32,
) -> Result<Vec<Written>> {
    if prompts.is_empty() || count == 0 {
        return Ok(Vec::new());
    }
    let draws: Vec<Draw> = (0..prompts.len())
        .flat_map(|prompt| {
            (0..count).map(move |at| Draw { prompt, seed: Seed(settings.seed.wrapping_add(at)) })
        })
        .collect();
    let (lm, vocabulary) = (editor.lm(), editor.vocabulary());
    let written = write_programs(lm, vocabulary, prompts, &draws, settings.mode, temperature);
    Ok(pollster::block_on(written)?)
}

/// One of several edits of an example.
struct Candidate {
    score: Score,
    log_prob: f64,
    /// How likely it is right, as the model's own verifier says; none without one.
    verdict: Option<f64>,
}

/// The candidates of each case, judged by the oracle and by the model itself.
fn judged(
    editor: &Editor,
    cases: &[&Case<'_>],
    prompts: &[Prompt],
    tried: &[Written],
) -> Result<Vec<Candidate>> {
    let each = tried.len() / cases.len().max(1);
    let composed = |(at, written): (usize, &Written)| cases[at / each].composed(written);
    let composed = tried.iter().enumerate().map(composed).collect::<Result<Vec<_>>>()?;
    let verdicts = match editor.verifier().filter(|_| !tried.is_empty()) {
        Some(verifier) => {
            let edits = composed.iter().enumerate().map(|(at, made)| (at / each, &made.codes));
            let edits: Vec<_> = edits.collect();
            let read = read(editor.lm(), editor.vocabulary(), prompts, &edits);
            let read = pollster::block_on(read)?;
            read.iter().map(|cells| Some(verifier.verdict(cells))).collect()
        }
        None => vec![None; tried.len()],
    };
    let candidates = tried.iter().zip(&composed).zip(verdicts).enumerate();
    Ok(candidates
        .map(|(at, ((written, composed), verdict))| Candidate {
            score: cases[at / each].score(&composed.picture),
            log_prob: written.log_prob(),
            verdict,
        })
        .collect())
}

/// The first of the candidates that are highest; `None` if nothing is known of them.
fn pick<S: PartialOrd>(tried: &[Candidate], by: fn(&Candidate) -> Option<S>) -> Option<Best> {
    let known = tried.iter().filter(|candidate| by(candidate).is_some());
    let best = known.reduce(|best, next| if by(next) > by(best) { next } else { best });
    best.map(|Candidate { score, .. }| Best { success: score.success, overall: score.overall })
}

/// An example, ready to be edited and judged.
struct Case<'a> {
    editor: &'a Editor,
    example: &'a Example,
    settings: Settings,
    source: RgbImage,
    /// The source's own way through the tokenizer.
    reference: RgbImage,
    /// What the model reads, or why it does not understand the sentence.
    prompt: Result<Prompt, ModelError>,
}

impl<'a> Case<'a> {
    fn new(editor: &'a Editor, example: &'a Example, settings: Settings) -> Result<Self> {
        let picture = render(&example.scene, example.style);
        let tokenizer = editor.tokenizer();
        let source = tokenizer.encode(&picture)?;
        let reference = compose::paint(tokenizer, &source);
        let words = editor.vocabulary().text().encode(&example.instruction);
        let prompt = words.map(|words| Prompt { source, words });
        Ok(Self { editor, example, settings, source: picture, reference, prompt })
    }

    /// The row of a written edit (none if the sentence is not understood) and its rival candidates.
    fn row(self, edit: Option<Written>, tried: &[Candidate]) -> Result<Row> {
        let edited = edit.as_ref().map(|written| self.composed(written)).transpose()?;
        let result = edited.as_ref().map_or(&self.source, |edited| &edited.picture);
        let score = if edited.is_some() { self.score(result) } else { Score::failed() };
        let example = self.example;
        let target = render(&example.target, example.style);
        let tokenizer = self.editor.tokenizer();
        let back = compose::paint(tokenizer, &tokenizer.encode(&target)?);
        let stay = steady_cells(example);
        let outside = edited.as_ref().zip(self.prompt.as_ref().ok());
        let outside = outside.filter(|_| stay.contains(&true));
        Ok(Row {
            id: example.id.clone(),
            op: example.op,
            instruction: example.instruction.clone(),
            seed: self.settings.seed,
            score,
            best_by_oracle: pick(tried, |Candidate { score, .. }| {
                Some((score.overall, score.success))
            }),
            best_by_likelihood: pick(tried, |candidate| Some(candidate.log_prob)),
            best_by_verifier: pick(tried, |candidate| candidate.verdict),
            copy: self.judged(&self.source, None),
            truth: self.judged(&target, None),
            round_trip: self.judged(&back, Some(&self.reference)),
            codes_kept: outside
                .map(|(edited, prompt)| kept_share(&edited.codes, &prompt.source, &stay)),
            psnr_outside: outside.map(|(edited, _)| psnr_of(&self.source, &edited.picture, &stay)),
            tokens: edit.as_ref().map_or(0, |written| written.program.len()),
            forwards: edit.as_ref().map_or(0, |written| PROMPT_FORWARDS + written.choices.len()),
            failed: self.prompt.as_ref().err().map(ToString::to_string),
            pictures: [self.source.clone(), result.clone(), target],
        })
    }

    /// What a program makes of the source.
    fn composed(&self, written: &Written) -> Result<Composed> {
        let codes = match &self.prompt {
            Ok(prompt) => &prompt.source,
            Err(problem) => bail!("{problem}"),
        };
        let mode = self.settings.mode;
        Ok(self.editor.compose(&self.source, codes, mode, &written.program)?.1)
    }

    fn judged(&self, picture: &RgbImage, reference: Option<&RgbImage>) -> Score {
        let Example { scene, check, style, .. } = self.example;
        judge(&self.source, picture, reference, scene, check, *style)
    }

    /// Score of an edit. Whole pictures are decoded ones, held against the source's round trip: what
    /// the tokenizer loses outside the edit is not the edit's fault.
    fn score(&self, picture: &RgbImage) -> Score {
        self.judged(picture, (self.settings.mode != Mode::Local).then_some(&self.reference))
    }
}

/// Cells that no right answer changes; none with a new background.
fn steady_cells(example: &Example) -> Vec<bool> {
    example.may_change().map(|changes| !changes).to_vec()
}

fn kept_share(codes: &CodeGrid, source: &CodeGrid, stay: &[bool]) -> f64 {
    let pairs = codes.codes.iter().zip(&source.codes).zip(stay);
    let kept: Vec<bool> = pairs.filter(|(_, stay)| **stay).map(|((a, b), _)| a == b).collect();
    kept.iter().filter(|same| **same).count() as f64 / kept.len().max(1) as f64
}

fn psnr_of(source: &RgbImage, result: &RgbImage, stay: &[bool]) -> f64 {
    let side = usize::from(earl_scenes::GRID);
    let cell = earl_scenes::CELL_PX;
    let pick = |picture: &RgbImage| {
        let inside = |x: u32, y: u32| stay[(y / cell) as usize * side + (x / cell) as usize];
        let pixels = picture.enumerate_pixels().filter(|(x, y, _)| inside(*x, *y));
        let bytes: Vec<u8> = pixels.flat_map(|(_, _, pixel)| pixel.0).collect();
        RgbImage::from_raw(bytes.len() as u32 / 3, 1, bytes).unwrap_or_default()
    };
    psnr(&pick(source), &pick(result))
}
