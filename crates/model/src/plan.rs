//! Plans as people read and write them: what `edit` prints under `plan`, and what an edit may be told to do.
//!
//! ```text
//! program ─▶ steps ─▶ PlanStep        PlanStep ─▶ steps ─▶ control tokens that are forced; codes stay the model's
//! ```
//! Everything a person can get wrong is an error that names the step. Start at [`forced_tokens`].

use crate::config::BOX_CELLS;
use crate::editor::Mode;
use crate::error::ModelError;
use crate::ids::TokenId;
use crate::sequence::grammar::MAX_STEPS;
use crate::sequence::{Placed, Step, Vocabulary, plan_tokens};
use serde::{Deserialize, Serialize};

/// One step of the plan, in words and cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// `see`, `erase`, `draw` or `background`.
    pub verb: String,
    /// What, or the background's colour.
    pub name: String,
    /// Tint, if not the natural colour.
    #[serde(default)]
    pub tint: Option<String>,
    /// Topmost row of the box, from 0.
    #[serde(default)]
    pub row: usize,
    /// Leftmost column of the box, from 0.
    #[serde(default)]
    pub col: usize,
    /// Cells a side; 0 for a background.
    #[serde(default)]
    pub cells: usize,
}

impl PlanStep {
    /// A program's step in words.
    #[must_use]
    pub fn of(vocabulary: &Vocabulary, step: &Step) -> Self {
        let (verb, placed) = match step {
            Step::See(placed) => ("see", placed),
            Step::Erase(placed) => ("erase", placed),
            Step::Draw(placed, _) => ("draw", placed),
            Step::Background(colour, _) => {
                let name = vocabulary.label(*colour);
                return Self {
                    verb: "background".into(),
                    name,
                    tint: None,
                    row: 0,
                    col: 0,
                    cells: 0,
                };
            }
        };
        Self {
            verb: verb.into(),
            name: vocabulary.label(placed.name),
            tint: placed.tint.map(|tint| vocabulary.label(tint)),
            row: placed.row,
            col: placed.col,
            cells: placed.cells,
        }
    }

    /// The step as the decoder means it, without codes; or what is wrong with it.
    fn read(&self, vocabulary: &Vocabulary) -> Result<Step, String> {
        if self.verb == "background" {
            if self.tint.is_some() || [self.row, self.col, self.cells] != [0; 3] {
                return Err("a background has no tint and no box".into());
            }
            let colour = known(vocabulary, &self.name, vocabulary.backgrounds(), "background")?;
            return Ok(Step::Background(colour, None));
        }
        let name = known(vocabulary, &self.name, vocabulary.names(), "drawing")?;
        let tint = self.tint.as_ref();
        let tint =
            tint.map(|tint| known(vocabulary, tint, vocabulary.tints(), "tint")).transpose()?;
        if tint.is_some() && !vocabulary.is_tintable(name) {
            return Err(format!("`{}` has no tints", self.name));
        }
        let Self { row, col, cells, .. } = *self;
        if !BOX_CELLS.contains(&cells) {
            return Err(format!("`cells` is {cells}; a box has {BOX_CELLS:?} cells a side"));
        }
        let grid = vocabulary.grid();
        if row.max(col).saturating_add(cells) > grid {
            return Err(format!(
                "a box of {cells}×{cells} cells at row {row}, column {col} does not lie on the canvas of {grid}×{grid}"
            ));
        }
        let placed = Placed { name, tint, row, col, cells };
        match self.verb.as_str() {
            "see" => Ok(Step::See(placed)),
            "erase" => Ok(Step::Erase(placed)),
            "draw" => Ok(Step::Draw(placed, Vec::new())),
            other => Err(format!("`verb` is `{other}`; it is see, erase, draw or background")),
        }
    }
}

/// Most words that are listed in an error.
const FEW: usize = 16;

/// The id of a word if it is one of `allowed`.
fn known(
    vocabulary: &Vocabulary,
    word: &str,
    allowed: &[TokenId],
    kind: &str,
) -> Result<TokenId, String> {
    let found = vocabulary.word_named(word).filter(|token| allowed.contains(token));
    found.ok_or_else(|| {
        let names: Vec<String> = allowed.iter().map(|&token| vocabulary.label(token)).collect();
        let near = vocabulary.text().near(word);
        let near: Vec<String> = near.into_iter().filter(|word| names.contains(word)).collect();
        let asked = format!("`{word}` is no {kind}");
        if near.is_empty() && names.len() <= FEW {
            format!("{asked}; there are {}", names.join(", "))
        } else if near.is_empty() {
            format!("{asked} the model knows")
        } else {
            format!("{asked}; did you mean `{}`?", near.join("`, `"))
        }
    })
}

/// The control tokens of a program that carries out `plan`: its mode, its steps and the plan's end, in
/// the order in which the grammar asks for them. Codes are not among them: the model writes those.
///
/// # Errors
/// [`ModelError::Plan`] for a mode without plans, or a step with an unknown word or a box that is not on
/// the canvas.
pub fn forced_tokens(
    vocabulary: &Vocabulary,
    mode: Mode,
    plan: &[PlanStep],
) -> Result<Vec<TokenId>, ModelError> {
    let whole = |problem: String| ModelError::Plan { step: None, problem };
    if mode == Mode::Full {
        return Err(whole("mode `full` writes none; take `local` or `think`".into()));
    }
    if plan.len() > MAX_STEPS {
        return Err(whole(format!("it has {} steps, more than {MAX_STEPS}", plan.len())));
    }
    let steps = plan.iter().zip(1..).map(|(step, at)| {
        step.read(vocabulary).map_err(|problem| ModelError::Plan { step: Some(at), problem })
    });
    plan_tokens(vocabulary, mode, &steps.collect::<Result<Vec<_>, _>>()?)
}
