//! What crosses the boundary to JavaScript; `web/types.d.ts` names the same fields.

use earl_model::checkpoint::known::KnownAnswer;
use earl_model::editor::{AHEAD, CellPreview, EditEvent, PlanStep};
#[cfg(feature = "full")]
use earl_model::{CodeId, emu3::FullOutcome};
use earl_model::{EditOutcome, EditRequest, Mode, Seed, TokenId};
use serde::{Deserialize, Serialize};

/// How to edit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Options {
    pub(crate) instruction: String,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    pub(crate) temperature: f32,
    /// The plan to carry out, as [`Edited`] gives it.
    #[serde(default)]
    pub(crate) plan: Option<Vec<PlanStep>>,
    /// Cells of the canvas that may change, row by row.
    #[serde(default)]
    pub(crate) within: Option<Vec<bool>>,
    /// How many of the likeliest tokens are drawn from.
    pub(crate) top_k: Option<usize>,
    /// Most codes of the source that are read ahead.
    pub(crate) ahead: Option<usize>,
    /// Is the model's own verifier asked how likely the edit is right?
    #[serde(default)]
    pub(crate) verify: bool,
    /// Tokens of the same edit that are decided already.
    pub(crate) decided: Vec<TokenId>,
}

impl Options {
    pub(crate) fn request(&self) -> EditRequest {
        EditRequest {
            instruction: self.instruction.clone(),
            mode: self.mode,
            seed: Seed(self.seed),
            temperature: self.temperature,
            plan: self.plan.clone(),
            within: self.within.clone(),
            top_k: self.top_k,
            ahead: self.ahead.unwrap_or(AHEAD),
        }
    }
}

/// What the module is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info<'a> {
    pub(crate) backend: &'static str,
    pub(crate) model_hash: &'a str,
    pub(crate) name: &'a str,
    pub(crate) canvas: usize,
    pub(crate) patch: usize,
    pub(crate) names: &'a [String],
    pub(crate) tintable: &'a [bool],
    pub(crate) tints: &'a [String],
    pub(crate) backgrounds: &'a [String],
    pub(crate) words: &'a [String],
}

/// A known answer.
#[derive(Serialize)]
pub(crate) struct Known<'a> {
    instruction: &'a str,
    mode: Mode,
    temperature: f32,
    sure: bool,
}

impl<'a> Known<'a> {
    pub(crate) fn of(known: &'a KnownAnswer) -> Self {
        let KnownAnswer { mode, temperature, sure, .. } = *known;
        Self { instruction: &known.instruction, mode, temperature, sure }
    }
}

/// Whether an edit gives its known answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agrees {
    pub(crate) tokens: bool,
    pub(crate) pixels: bool,
    pub(crate) exact: bool,
    pub(crate) off_by: Option<f64>,
}

/// One generated token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Token<'a> {
    index: usize,
    id: TokenId,
    source_id: Option<TokenId>,
    log_prob: f64,
    entropy: f64,
    margin: f64,
    forced: bool,
    accepted: bool,
    label: &'a str,
    cell: Option<(usize, usize)>,
    previews: &'a [CellPreview],
}

impl<'a> Token<'a> {
    pub(crate) fn of(event: &'a EditEvent) -> Self {
        Self {
            index: event.index,
            id: event.id,
            source_id: event.source,
            log_prob: event.log_prob,
            entropy: event.entropy,
            margin: event.margin,
            forced: event.forced,
            accepted: event.accepted,
            label: &event.label,
            cell: event.cell,
            previews: &event.previews,
        }
    }
}

/// The facts of an edit; pictures are added as typed arrays.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Edited<'a> {
    notes: Vec<String>,
    doubt: &'a str,
    plan: &'a [PlanStep],
    outside: Outside,
    put_back: bool,
    tokens: usize,
    forwards: usize,
    log_prob: f64,
    verdict: Option<f64>,
    milliseconds: f64,
    program: &'a [TokenId],
}

impl<'a> Edited<'a> {
    pub(crate) fn of(
        outcome: &'a EditOutcome,
        verdict: Option<f64>,
        notes: &[String],
        milliseconds: f64,
    ) -> Self {
        Self {
            notes: notes.iter().chain(&outcome.fitted).cloned().collect(),
            doubt: &outcome.doubt,
            plan: &outcome.plan,
            outside: Outside { pixels: outcome.outside_pixels, changed: outcome.outside_changed },
            put_back: outcome.put_back,
            tokens: outcome.tokens,
            forwards: outcome.forwards,
            log_prob: outcome.log_prob,
            verdict,
            milliseconds,
            program: &outcome.program,
        }
    }
}

/// The facts of an edit with a published model; pictures are added as typed arrays.
#[cfg(feature = "full")]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FullEdited<'a> {
    notes: &'a [String],
    width: u32,
    height: u32,
    source_codes: &'a [CodeId],
    codes: &'a [CodeId],
    reasoning: Option<&'a str>,
    passes: Option<usize>,
}

#[cfg(feature = "full")]
impl<'a> FullEdited<'a> {
    pub(crate) fn of(outcome: &'a FullOutcome, notes: &'a [String]) -> Self {
        Self {
            notes,
            width: outcome.picture.width(),
            height: outcome.picture.height(),
            source_codes: &outcome.source.codes,
            codes: &outcome.codes.codes,
            reasoning: outcome.reasoning.as_deref(),
            passes: outcome.drafted.as_ref().map(|drafted| drafted.passes),
        }
    }
}

/// Pixels of the canvas outside the edit.
#[derive(Serialize)]
pub(crate) struct Outside {
    pixels: usize,
    changed: usize,
}
