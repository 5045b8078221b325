//! The verifiers a run names, put together: configuration in, one [`Verifier`] out; and `replay`.
//!
//! A served judge's answers are kept in the run's folder (`answers/`, unless `judge.cache` names another),
//! and what its budgets have spent in `judge.json`, so that a run that was killed asks nothing twice.
//! Start at [`Verifiers::open`].

use super::config::RlConfig;
use super::rollout::{RolloutLine, read_lines};
use super::verify::{Asked, Mix, Mllm, Oracle, Reward, Verifier, VerifierName};
use crate::hint;
use crate::judge::Judge;
use crate::judge::config::JudgeConfig;
use crate::run_dir::{RunDir, write_file};
use anyhow::Result;
use earl_model::Editor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Weights of the parts of verifier `mix`; a part of weight 0 is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MixConfig {
    /// Of the scene world's judge.
    pub oracle: f64,
    /// Of the served model.
    pub mllm: f64,
    /// Of the rewards in `rl.replay`.
    pub replay: f64,
}

impl MixConfig {
    /// Weight of a part.
    #[must_use]
    pub(crate) fn of(&self, part: VerifierName) -> f64 {
        match part {
            VerifierName::Oracle => self.oracle,
            VerifierName::Mllm => self.mllm,
            VerifierName::Replay => self.replay,
            VerifierName::Mix => 0.0,
        }
    }
}

/// Rewards kept in a file, one for each rollout it holds.
pub(crate) struct Replay {
    path: PathBuf,
    rewards: BTreeMap<String, Reward>,
}

impl Replay {
    /// Reads the rewards of a `rollouts.jsonl`. Equal rollouts are worth the same: the first line counts.
    ///
    /// # Errors
    /// Names the file and the lines that can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut rewards = BTreeMap::new();
        for line in read_lines(path, &|_: &RolloutLine| Ok(()))? {
            for rollout in &line.rollouts {
                if let Some(reward) = rollout.reward() {
                    let key = key(&line.example.id, &line.example.instruction, &rollout.program);
                    rewards.entry(key).or_insert(reward);
                }
            }
        }
        Ok(Self { path: path.to_owned(), rewards })
    }
}

/// What a rollout is known by: its prompt and what it wrote.
fn key(id: &str, instruction: &str, program: &[u32]) -> String {
    format!("{id}\0{instruction}\0{program:?}")
}

impl Verifier for &Replay {
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        let reward = |asked: &&Asked<'_>| {
            let example = &asked.case.example;
            let program: Vec<u32> = asked.written.program.iter().map(|token| token.0).collect();
            let kept = self.rewards.get(&key(&example.id, &example.instruction, &program)).copied();
            kept.ok_or_else(|| {
                let problem = format!("`{}` keeps no reward for this rollout", self.path.display());
                hint::error(
                    problem,
                    "replay the run that wrote the file: same model, seed and data",
                )
            })
        };
        asked.iter().map(reward).collect()
    }
}

/// What a run judges with.
pub(crate) struct Verifiers {
    judge: Option<Judge>,
    replay: Option<Replay>,
    /// Where the judge's budget is kept.
    spent: PathBuf,
}

impl Verifiers {
    /// Opens what the run's verifier needs.
    ///
    /// # Errors
    /// If a file of rewards can't be read, or the judge's folder can't be made.
    pub(crate) fn open(config: &RlConfig, judge: &JudgeConfig, run: &RunDir) -> Result<Self> {
        let spent = run.path("judge.json");
        let judge = config.names(VerifierName::Mllm).then(|| {
            let used = std::fs::read(&spent).ok();
            let used = used.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or([0, 0]);
            let mut judge = judge.clone();
            judge.cache.get_or_insert_with(|| run.path("answers"));
            judge.patience_s = NO_PATIENCE_S;
            Judge::new(&judge, used)
        });
        let replay = config.replay.as_ref().filter(|_| config.names(VerifierName::Replay));
        let replay = replay.map(|path| Replay::read(path)).transpose()?;
        Ok(Self { judge: judge.transpose()?, replay, spent })
    }

    /// Is somebody asked who may be away, or who is paid?
    #[must_use]
    pub(crate) fn asks_a_server(&self) -> bool {
        self.judge.is_some()
    }

    /// Writes down what the judge's budgets have spent.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn keep_spent(&self) -> Result<()> {
        match &self.judge {
            Some(judge) => write_file(&self.spent, &serde_json::to_vec(&judge.used())?),
            None => Ok(()),
        }
    }

    /// The verifier the configuration names.
    pub(crate) fn named<'a>(
        &'a self,
        editor: &'a Editor,
        config: &RlConfig,
    ) -> Box<dyn Verifier + 'a> {
        let part = |name: &'static str, part: VerifierName| {
            let weight = config.mix.of(part);
            (weight > 0.0).then(|| (name, weight, self.single(part, editor, config)))
        };
        if config.verifier != VerifierName::Mix {
            return self.single(config.verifier, editor, config);
        }
        let parts = [
            part("oracle", VerifierName::Oracle),
            part("mllm", VerifierName::Mllm),
            part("replay", VerifierName::Replay),
        ];
        Box::new(Mix { parts: parts.into_iter().flatten().collect() })
    }

    /// One that is no mix. What it needs was opened, since the configuration names it.
    fn single<'a>(
        &'a self,
        name: VerifierName,
        editor: &'a Editor,
        config: &RlConfig,
    ) -> Box<dyn Verifier + 'a> {
        match (name, &self.judge, &self.replay) {
            (VerifierName::Mllm, Some(judge), _) => Box::new(Mllm { judge }),
            (VerifierName::Replay, _, Some(replay)) => Box::new(replay),
            _ => Box::new(Oracle { editor, mode: config.mode }),
        }
    }
}

/// Seconds a request waits for a server that can't be reached: none, since the run itself waits.
const NO_PATIENCE_S: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::super::rollout::{Case, SavedRollout};
    use super::super::verify::Given;
    use super::*;
    use anyhow::bail;
    use earl_model::batch::{Prompt, Written};
    use earl_model::{CodeGrid, Mode, TokenId};

    /// Scores by number; none for the number that is not to be judged.
    struct Fixed(&'static [Option<f64>]);

    impl Verifier for Fixed {
        fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
            let reward = |asked: &&Asked<'_>| match self.0[asked.number as usize] {
                Some(score) => Ok(Reward::new(score, None)),
                None => bail!("no verdict on {}", asked.number),
            };
            asked.iter().map(reward).collect()
        }
    }

    fn case() -> Case {
        let example = earl_scenes::example(0, 0, earl_scenes::Split::Train, None);
        let source = CodeGrid { height: 0, width: 0, codes: Vec::new() };
        let picture = image::RgbImage::new(1, 1);
        Case { example, picture, prompt: Prompt { source, words: Vec::new() } }
    }

    fn judged(
        verifier: &dyn Verifier,
        programs: &[&[u32]],
        given: &[Option<f64>],
    ) -> Vec<Option<f64>> {
        let case = case();
        let written: Vec<Written> = programs
            .iter()
            .map(|program| Written {
                program: program.iter().map(|&id| TokenId(id)).collect(),
                choices: Vec::new(),
            })
            .collect();
        let asked: Vec<Asked> = written
            .iter()
            .zip(0..)
            .zip(given)
            .map(|((written, number), given)| {
                let given = given.map(|score| Reward::new(score, None));
                let picture = &case.picture;
                Asked { at: number as usize, case: &case, written, picture, number, given }
            })
            .collect();
        let asked: Vec<&Asked> = asked.iter().collect();
        let found = verifier.rewards(&asked);
        found.into_iter().map(|reward| reward.ok().map(|reward| reward.overall)).collect()
    }

    #[test]
    fn a_mix_is_the_weighted_mean_and_a_failed_part_leaves_no_reward() {
        let mix = Mix {
            parts: vec![
                ("oracle", 3.0, Box::new(Fixed(&[Some(10.0), Some(8.0), Some(1.0)]))),
                ("mllm", 1.0, Box::new(Fixed(&[Some(2.0), None, Some(5.0)]))),
            ],
        };
        // (3·10 + 1·2) / 4 = 8, none, (3·1 + 1·5) / 4 = 2
        let programs: [&[u32]; 3] = [&[1], &[2], &[3]];
        assert_eq!(judged(&mix, &programs, &[None; 3]), [Some(8.0), None, Some(2.0)]);
    }

    #[test]
    fn rewards_that_are_given_are_not_asked_for() {
        let inner = Fixed(&[None, Some(4.0), None]);
        let given = Given { inner: &inner };
        let programs: [&[u32]; 3] = [&[1], &[2], &[3]];
        let found = judged(&given, &programs, &[Some(9.0), None, None]);
        assert_eq!(found, [Some(9.0), Some(4.0), None]);
    }

    #[test]
    fn a_replay_knows_each_rollout_of_its_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollouts.jsonl");
        let rollout = |program: &[u32], reward| SavedRollout {
            program: program.to_vec(),
            reward,
            ..SavedRollout::default()
        };
        let line = RolloutLine {
            iteration: 0,
            example: case().example,
            mode: Mode::Local,
            rollouts: vec![rollout(&[0, 8], Some(2.5)), rollout(&[0, 3], None)],
        };
        std::fs::write(&path, serde_json::to_string(&line).unwrap()).unwrap();
        let replay = Replay::read(&path).unwrap();
        let programs: [&[u32]; 3] = [&[0, 8], &[0, 3], &[0, 4]];
        assert_eq!(judged(&&replay, &programs, &[None; 3]), [Some(2.5), None, None]);
    }
}
