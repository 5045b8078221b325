//! A row with what else is measured of it: likeness inside and outside the edit, a served judge's verdicts.

use super::Row;
use super::served::Verdicts;
use super::similarity::{Similarity, similarity};
use crate::rl::verify::RIGHT_FROM;
use earl_scenes::Example;
use serde::Serialize;

/// One edit, scored and measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// The edit and the oracle's score.
    #[serde(flatten)]
    pub row: Row,
    /// Where a right answer may change pixels: result against true edit. Several answers may be right, so this
    /// says how near the result is to the one that was drawn.
    pub inside: Option<Similarity>,
    /// Where no right answer changes pixels: result against source; none with a new background.
    pub outside: Option<Similarity>,
    /// The whole result against the true edit.
    pub whole: Option<Similarity>,
    /// What a served judge says, if it was asked; it decides then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
}

impl Measured {
    /// Measures a row of an example; nothing is measured of an edit that was not made.
    #[must_use]
    pub(crate) fn new(row: Row, example: &Example) -> Self {
        let [source, result, truth] = &row.pictures;
        let mask = example.mask();
        let may_change = |x: u32, y: u32| mask.get_pixel_checked(x, y).is_some_and(|m| m.0[0] > 0);
        let made = row.failed.is_none();
        let inside = made.then(|| similarity(result, truth, may_change)).flatten();
        let outside = made.then(|| similarity(result, source, |x, y| !may_change(x, y))).flatten();
        let whole = made.then(|| similarity(result, truth, |_, _| true)).flatten();
        Self { row, inside, outside, whole, verdicts: None }
    }

    /// Is the edit right? `None` if a judge was asked and gave no verdict.
    #[must_use]
    pub(crate) fn success(&self) -> Option<bool> {
        match &self.verdicts {
            None => Some(self.row.score.success),
            Some(_) if self.row.failed.is_some() => Some(false),
            Some(verdicts) => verdicts.edit.map(|verdict| verdict.overall >= RIGHT_FROM),
        }
    }

    /// Overall score, 0–10; `None` as for [`Measured::success`].
    #[must_use]
    pub(crate) fn overall(&self) -> Option<f64> {
        match &self.verdicts {
            None => Some(f64::from(self.row.score.overall)),
            Some(_) if self.row.failed.is_some() => Some(0.0),
            Some(verdicts) => verdicts.edit.map(|verdict| verdict.overall),
        }
    }
}
