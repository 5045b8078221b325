//! An experiment's file: which runs there are, what each starts from, and which of them are scored.
//!
//! Read once, checked whole; nothing here trains. Start at [`Plan::read`].

use crate::cmd::eval::{ModeName, SplitName};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

/// An experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Seeds; every stage but those made `once` runs with each.
    pub seeds: Vec<u64>,
    /// How models are scored.
    pub scores: Scores,
    /// What is made, each stage after those it starts from.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// Rows of the table.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
    /// Pairs of rows whose difference is of interest: `[better, worse]` as the paper has it.
    #[serde(default)]
    pub compare: Vec<[String; 2]>,
    /// Where the file lies; the stages' configurations lie beside it.
    #[serde(skip)]
    folder: PathBuf,
}

/// How models are scored: greedily, by the oracle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scores {
    /// Held-out splits.
    #[serde(deserialize_with = "split_names")]
    pub splits: Vec<SplitName>,
    /// Examples of each.
    pub limit: u64,
    /// Seed of the examples.
    pub data_seed: u64,
}

/// One run a seed: a training, a picture tokenizer or a bundle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    /// Its name, the first part of its folder's.
    pub name: String,
    /// What makes it.
    pub verb: Verb,
    /// Its configuration, beside the plan; `export` has none.
    pub config: Option<PathBuf>,
    /// The stage whose weights it starts from, or exports, at the same seed.
    pub from: Option<String>,
    /// The stage whose picture tokenizer it takes, if it starts from nothing.
    pub tokenizer: Option<String>,
    /// One run for all seeds.
    #[serde(default)]
    pub once: bool,
    /// Added to the seed, so that a stage sees other scenes than those it starts from.
    #[serde(default)]
    pub seed_offset: u64,
    /// Further flags of the verb.
    #[serde(default)]
    pub flags: Vec<String>,
}

impl Stage {
    /// The stages that must be there before it.
    fn needs(&self) -> impl Iterator<Item = &String> {
        self.from.iter().chain(&self.tokenizer)
    }

    fn check(&self) -> Result<()> {
        match (self.verb, &self.config, &self.from) {
            (Verb::Export, None, Some(_))
            | (Verb::Tok, Some(_), None)
            | (Verb::Sft | Verb::Rl, Some(_), _)
            | (Verb::Verifier, Some(_), Some(_)) => {}
            (Verb::Export, ..) => bail!("an `export` needs `from`, and takes no `config`"),
            (Verb::Tok, ..) => bail!("a `tok` needs `config`, and takes no `from`"),
            (Verb::Verifier, ..) => bail!("a `verifier` needs `config` and `from`"),
            (Verb::Sft | Verb::Rl, ..) => bail!("it needs `config`"),
        }
        if self.tokenizer.is_some() && (self.verb != Verb::Sft || self.from.is_some()) {
            bail!(
                "only an `sft` from nothing takes a `tokenizer`; others start `from` a stage that has one"
            );
        }
        Ok(())
    }
}

/// What makes a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    /// A picture tokenizer.
    Tok,
    /// Supervised training.
    Sft,
    /// Training by rewards.
    Rl,
    /// A model's own verifier.
    Verifier,
    /// A bundle.
    Export,
}

impl Verb {
    /// Does it take steps, which a later call goes on with?
    #[must_use]
    pub(crate) fn trains(self) -> bool {
        matches!(self, Self::Sft | Self::Rl | Self::Verifier)
    }

    /// As on the command line.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tok => "tok",
            Self::Sft => "sft",
            Self::Rl => "rl",
            Self::Verifier => "verifier",
            Self::Export => "export",
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// What the table calls it.
    pub name: String,
    /// Whose weights are scored.
    pub stage: String,
    /// How much of the picture the model writes.
    #[serde(default, deserialize_with = "mode_name")]
    pub mode: ModeName,
    /// The best of this many sampled edits by the oracle, instead of the greedy one; 1 is off.
    #[serde(default = "one")]
    pub best_of: u64,
    /// The paper's score of its counterpart: mean of six benchmarks, 0–10.
    pub paper: Option<f64>,
}

fn one() -> u64 {
    1
}

fn split_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SplitName>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    names.iter().map(|name| value_of(name)).collect()
}

fn mode_name<'de, D: Deserializer<'de>>(from: D) -> Result<ModeName, D::Error> {
    value_of(&String::deserialize(from)?)
}

/// A value by the name it has on the command line.
fn value_of<T: ValueEnum, E: serde::de::Error>(name: &str) -> Result<T, E> {
    T::from_str(name, false).map_err(|problem| E::custom(format!("`{name}`: {problem}")))
}

impl Plan {
    /// Reads and checks a plan.
    ///
    /// # Errors
    /// Names the file, and the line or the broken rule.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading `{}`", path.display()))?;
        let mut plan: Self =
            toml::from_str(&text).with_context(|| format!("in `{}`", path.display()))?;
        plan.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        plan.check().with_context(|| format!("in `{}`", path.display()))?;
        Ok(plan)
    }

    /// A stage's configuration file, if it has one.
    #[must_use]
    pub(crate) fn config(&self, stage: &Stage) -> Option<PathBuf> {
        Some(self.folder.join(stage.config.as_ref()?))
    }

    /// A stage by its name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn stage(&self, name: &str) -> Result<&Stage> {
        match self.stages.iter().find(|stage| stage.name == name) {
            Some(stage) => Ok(stage),
            None => bail!("there is no stage `{name}`"),
        }
    }

    /// The seeds a row is scored at.
    ///
    /// # Errors
    /// If it names no stage.
    pub(crate) fn seeds_of(&self, row: &Row) -> Result<&[u64]> {
        let once = self.stage(&row.stage)?.once;
        Ok(if once { &self.seeds[..1] } else { &self.seeds })
    }

    /// A row by its name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn row(&self, name: &str) -> Result<&Row> {
        match self.rows.iter().find(|row| row.name == name) {
            Some(row) => Ok(row),
            None => bail!("there is no row `{name}`"),
        }
    }

    fn check(&self) -> Result<()> {
        if self.seeds.is_empty() || self.scores.splits.is_empty() || self.scores.limit == 0 {
            bail!("`seeds`, `scores.splits` and `scores.limit` must not be empty or 0");
        }
        for (at, stage) in self.stages.iter().enumerate() {
            let before = &self.stages[..at];
            if before.iter().any(|other| other.name == stage.name) {
                bail!("there are two stages `{}`", stage.name);
            }
            stage.check().with_context(|| format!("stage `{}`", stage.name))?;
            for from in stage.needs() {
                let Some(parent) = before.iter().find(|other| &other.name == from) else {
                    bail!(
                        "stage `{}` starts from `{from}`, which no stage before it is",
                        stage.name
                    );
                };
                if stage.once && !parent.once {
                    bail!("stage `{}` runs once, but `{from}` runs with every seed", stage.name);
                }
            }
        }
        for row in &self.rows {
            let stage = self.stage(&row.stage).with_context(|| format!("row `{}`", row.name))?;
            if stage.verb == Verb::Tok {
                bail!("row `{}`: a picture tokenizer alone can't be scored", row.name);
            }
            if row.best_of == 0 {
                bail!("row `{}`: `best_of` must be at least 1", row.name);
            }
        }
        self.compare.iter().flatten().try_for_each(|name| self.row(name).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"
seeds = [1, 2]
compare = [["a", "b"]]
[scores]
splits = ["seen", "style"]
limit = 4
data_seed = 0
[[stage]]
name = "base"
verb = "sft"
config = "base.toml"
once = true
[[stage]]
name = "later"
verb = "rl"
config = "later.toml"
from = "base"
[[row]]
name = "a"
stage = "later"
mode = "think"
[[row]]
name = "b"
stage = "base"
best_of = 8
paper = 4.33
"#;

    fn read(text: &str) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, text).unwrap();
        Plan::read(&path)
    }

    #[test]
    fn a_plan_is_checked_whole() {
        let plan = read(PLAN).unwrap();
        assert_eq!(plan.scores.splits, [SplitName::Seen, SplitName::Style]);
        assert_eq!((plan.rows[0].mode, plan.rows[1].best_of), (ModeName::Think, 8));
        for (from, to, problem) in [
            ("from = \"base\"", "from = \"nothing\"", "`nothing`, which no stage before it is"),
            ("name = \"later\"", "name = \"base\"", "two stages `base`"),
            ("stage = \"base\"", "stage = \"best\"", "no stage `best`"),
            ("\"style\"", "\"stile\"", "`stile`"),
            ("best_of = 8", "best_of = 0", "at least 1"),
            ("[\"a\", \"b\"]", "[\"a\", \"c\"]", "no row `c`"),
            ("verb = \"rl\"", "verb = \"export\"", "takes no `config`"),
            ("from = \"base\"", "from = \"base\"\ntokenizer = \"base\"", "an `sft` from nothing"),
            ("verb = \"sft\"", "verb = \"tok\"", "tokenizer alone"),
            ("config = \"base.toml\"", "", "needs `config`"),
        ] {
            let error = read(&PLAN.replace(from, to)).unwrap_err();
            assert!(format!("{error:#}").contains(problem), "{error:#}");
        }
    }
}
