//! Scores of one row of the table on one split at one seed: a file of one line an edit.

use super::plan::{Plan, Row};
use crate::cmd::eval::SplitName;
use crate::eval::{Settings, evaluate};
use crate::run_dir::write_file;
use anyhow::{Context, Result};
use earl_model::Editor;
use earl_scenes::Example;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One edit's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The example's.
    pub id: String,
    /// Kind of edit.
    pub op: String,
    /// Is it right?
    pub success: bool,
    /// Overall score, 0–10.
    pub overall: f64,
    /// Pixels outside the right boxes that changed (of the greedy edit).
    pub outside_changed: usize,
    /// Tokens of the greedy edit.
    pub tokens: usize,
}

/// Where a row's scores lie: named by what is scored, so that rows may be renamed.
#[must_use]
pub(crate) fn path(out: &Path, row: &Row, seed: u64, split: SplitName) -> PathBuf {
    let mode = format!("{:?}", row.mode).to_lowercase();
    let name =
        format!("{}-{mode}-{}-{seed}-{}.jsonl", row.stage, row.best_of, split.split().name());
    out.join("scores").join(name)
}

/// Scores a model on a split.
///
/// # Errors
/// If the model is broken.
pub(crate) fn score(
    editor: &Editor,
    plan: &Plan,
    row: &Row,
    seed: u64,
    split: SplitName,
) -> Result<Vec<Line>> {
    let examples: Vec<Example> = (0..plan.scores.limit)
        .map(|index| earl_scenes::example(plan.scores.data_seed, index, split.split(), None))
        .collect();
    let mode = row.mode.mode();
    let settings = Settings { mode, temperature: 0.0, seed, best_of: row.best_of };
    let line = |row: crate::eval::Row| Line {
        id: row.id,
        op: row.op.name().to_owned(),
        success: row.best_by_oracle.map_or(row.score.success, |best| best.success),
        overall: f64::from(row.best_by_oracle.map_or(row.score.overall, |best| best.overall)),
        outside_changed: row.score.outside_changed,
        tokens: row.tokens,
    };
    Ok(evaluate(editor, &examples, settings, &|| ())?.into_iter().map(line).collect())
}

/// Writes scores.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write(path: &Path, lines: &[Line]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("making `{}`", folder.display()))?;
    }
    let text: Vec<String> = lines.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    write_file(path, (text.join("\n") + "\n").as_bytes())
}

/// Scores written before, if there are any.
///
/// # Errors
/// If the file is damaged.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<Line>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>();
    Ok(Some(lines.with_context(|| {
        format!("`{}` holds no scores; delete it and run the experiment again", path.display())
    })?))
}
