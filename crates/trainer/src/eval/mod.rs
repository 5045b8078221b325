//! Evaluation: a model and held-out edits in, scores with intervals and baselines out.
//!
//! ```text
//! examples → edits (in parallel, in order) → oracle → rows → report
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

use anyhow::Result;
use earl_model::{EditEvent, EditOutcome, EditRequest, Editor, Mode, ModelError, Seed, compose};
use earl_scenes::{Example, Op, Score, judge, render};
use image::RgbImage;
use rayon::prelude::*;
use round_trip::psnr;
use serde::Serialize;
use std::ops::ControlFlow;

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
    /// Success of the best of N candidates, by the oracle's overall score.
    pub best_of: Option<bool>,
    /// Overall score of the best of N candidates.
    pub best_overall: Option<f32>,
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

/// Edits every example and scores the results; `done` hears of each.
///
/// # Errors
/// If the tokenizer refuses a scene's picture.
pub(crate) fn evaluate(
    editor: &Editor,
    examples: &[Example],
    settings: Settings,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Row>> {
    examples
        .par_iter()
        .map(|example| {
            let row = row(editor, example, settings);
            done();
            row
        })
        .collect()
}

fn row(editor: &Editor, example: &Example, settings: Settings) -> Result<Row> {
    let case = Case::new(editor, example, settings)?;
    let outcome = case.edit(settings.seed, settings.temperature);
    let failed = outcome.as_ref().err().map(ToString::to_string);
    let result = outcome.as_ref().map_or_else(|_| case.source.clone(), |edit| edit.image.clone());
    let score = if failed.is_some() { Score::failed() } else { case.score(&result) };
    let best = (settings.best_of > 1).then(|| case.best());
    let target = render(&example.target, example.style);
    let tokenizer = editor.tokenizer();
    let back = compose::paint(tokenizer, &tokenizer.encode(&target)?);
    let stay = steady_cells(example);
    let outside = outcome.as_ref().ok().filter(|_| stay.contains(&true));
    Ok(Row {
        id: example.id.clone(),
        op: example.op,
        instruction: example.instruction.clone(),
        seed: settings.seed,
        score,
        best_of: best.as_ref().map(|best| best.success),
        best_overall: best.map(|best| best.overall),
        copy: case.judged(&case.source, None),
        truth: case.judged(&target, None),
        round_trip: case.judged(&back, Some(&case.reference)),
        codes_kept: outside.map(|outcome| kept_share(outcome, &stay)),
        psnr_outside: outside.map(|outcome| psnr_of(&case.source, &outcome.image, &stay)),
        tokens: outcome.as_ref().map_or(0, |outcome| outcome.tokens),
        forwards: outcome.as_ref().map_or(0, |outcome| outcome.forwards),
        failed,
        pictures: [case.source, result, target],
    })
}

/// An example, ready to be edited and judged.
struct Case<'a> {
    editor: &'a Editor,
    example: &'a Example,
    settings: Settings,
    source: RgbImage,
    /// The source's own way through the tokenizer.
    reference: RgbImage,
}

impl<'a> Case<'a> {
    fn new(editor: &'a Editor, example: &'a Example, settings: Settings) -> Result<Self> {
        let source = render(&example.scene, example.style);
        let tokenizer = editor.tokenizer();
        let reference = compose::paint(tokenizer, &tokenizer.encode(&source)?);
        Ok(Self { editor, example, settings, source, reference })
    }

    fn edit(&self, seed: u64, temperature: f32) -> Result<EditOutcome, ModelError> {
        let instruction = self.example.instruction.clone();
        let mode = self.settings.mode;
        let request = EditRequest { instruction, mode, seed: Seed(seed), temperature };
        let go_on = &mut |_: &EditEvent| ControlFlow::Continue(());
        pollster::block_on(self.editor.edit(&self.source, &request, go_on))
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

    /// The best of N sampled candidates by overall score.
    fn best(&self) -> Score {
        let Settings { temperature, seed, best_of, .. } = self.settings;
        let warm = if temperature > 0.0 { temperature } else { 1.0 };
        let candidates = (0..best_of).filter_map(|at| self.edit(seed + at, warm).ok());
        let better = |a: Score, b: Score| {
            if (b.overall, b.success) > (a.overall, a.success) { b } else { a }
        };
        candidates.map(|edit| self.score(&edit.image)).fold(Score::failed(), better)
    }
}

/// Cells that no right answer changes; none with a new background.
fn steady_cells(example: &Example) -> Vec<bool> {
    example.may_change().map(|changes| !changes).to_vec()
}

fn kept_share(outcome: &EditOutcome, stay: &[bool]) -> f64 {
    let pairs = outcome.codes.codes.iter().zip(&outcome.source_codes.codes).zip(stay);
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
