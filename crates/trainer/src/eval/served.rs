//! A served judge over many edits: each edit, and once an example the copied source and the true edit.
//!
//! The latter two are baselines: a judge that calls a copy right can't be trusted. They do not depend on the
//! model, so models that are compared share them.

use crate::judge::{Judge, Question, Verdict};
use crate::progress::Counter;
use anyhow::Result;
use image::RgbImage;
use serde::Serialize;

/// Verdicts of one edit and of what it is held against; `None` was not asked or not answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Verdicts {
    /// The edit.
    pub edit: Option<Verdict>,
    /// The source, copied.
    pub copy: Option<Verdict>,
    /// The true edit.
    pub truth: Option<Verdict>,
    /// Why a verdict is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An edit to be judged.
pub(crate) struct Asked<'a> {
    /// What was asked for.
    pub instruction: &'a str,
    /// The original.
    pub source: &'a RgbImage,
    /// The edit, if one was made.
    pub edit: Option<&'a RgbImage>,
    /// The true edit, if there is one.
    pub truth: Option<&'a RgbImage>,
}

/// Which picture of an edit a question is about.
#[derive(Clone, Copy)]
enum Part {
    Edit,
    Copy,
    Truth,
}

/// Asks about every edit, in order; `known` are verdicts of the same examples whose baselines are taken over.
///
/// # Errors
/// If no question at all was answered.
pub(crate) fn verdicts(
    judge: &Judge,
    asked: &[Asked<'_>],
    known: Option<&[Verdicts]>,
) -> Result<Vec<Verdicts>> {
    let mut found = vec![Verdicts::default(); asked.len()];
    let (mut questions, mut places) = (Vec::new(), Vec::new());
    for (at, &Asked { instruction, source, edit, truth }) in asked.iter().enumerate() {
        let known = known.and_then(|known| known.get(at));
        if let Some(known) = known {
            (found[at].copy, found[at].truth) = (known.copy, known.truth);
        }
        let baseline = |picture: Option<_>| picture.filter(|_| known.is_none());
        let parts = [
            (Part::Edit, edit),
            (Part::Copy, baseline(Some(source))),
            (Part::Truth, baseline(truth)),
        ];
        for (part, edit) in parts.into_iter().filter_map(|(part, edit)| Some((part, edit?))) {
            places.push((at, part));
            questions.push(Question { source, edit, instruction });
        }
    }
    let progress = Counter::new("judge", questions.len());
    let answers = judge.score_all(&questions, &|| progress.step());
    let all_failed = !answers.is_empty() && answers.iter().all(Result::is_err);
    for ((at, part), answer) in places.into_iter().zip(answers) {
        match (answer, part) {
            (Ok(verdict), Part::Edit) => found[at].edit = Some(verdict),
            (Ok(verdict), Part::Copy) => found[at].copy = Some(verdict),
            (Ok(verdict), Part::Truth) => found[at].truth = Some(verdict),
            (Err(problem), _) if all_failed => return Err(problem.context("no edit got a verdict")),
            (Err(problem), _) => found[at].problem = Some(format!("{problem:#}")),
        }
    }
    Ok(found)
}
