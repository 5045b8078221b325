//! What crosses the boundary to JavaScript; `web/types.d.ts` names the same fields.

use earl_model::Mode;
use earl_model::editor::{CellPreview, EditEvent, PlanStep};
use serde::{Deserialize, Serialize};

/// How to edit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) instruction: String,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    pub(crate) temperature: f32,
}

/// What the module is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info<'a> {
    pub(crate) backend: &'static str,
    pub(crate) model_hash: &'a str,
    pub(crate) name: &'a str,
    pub(crate) canvas: usize,
    pub(crate) names: &'a [String],
    pub(crate) tintable: &'a [bool],
    pub(crate) tints: &'a [String],
    pub(crate) backgrounds: &'a [String],
    pub(crate) words: &'a [String],
}

/// One generated token.
#[derive(Serialize)]
pub(crate) struct Token<'a> {
    index: usize,
    label: &'a str,
    cell: Option<(usize, usize)>,
    previews: &'a [CellPreview],
}

impl<'a> Token<'a> {
    pub(crate) fn of(event: &'a EditEvent) -> Self {
        Self {
            index: event.index,
            label: &event.label,
            cell: event.cell,
            previews: &event.previews,
        }
    }
}

/// The facts of an edit; pictures are added as typed arrays.
#[derive(Serialize)]
pub(crate) struct Edited<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) notes: Vec<String>,
    pub(crate) doubt: &'a str,
    pub(crate) plan: &'a [PlanStep],
    pub(crate) outside: Outside,
    pub(crate) tokens: usize,
    pub(crate) forwards: usize,
    pub(crate) milliseconds: f64,
    pub(crate) recipe: String,
}

/// Pixels outside the edit.
#[derive(Serialize)]
pub(crate) struct Outside {
    pub(crate) pixels: usize,
    pub(crate) changed: usize,
}
