//! The policy in training: its state, one iteration, and what a checkpoint holds.

use super::advantage::group_advantages;
use super::config::RlConfig;
use super::loss::{Episode, log_probs, policy_loss};
use super::rollout::Rollouts;
use super::verify::Reward;
use crate::host::values;
use crate::optim::{GradientMap, Optimizer, add, gradients};
use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use earl_model::ModelConfig;
use earl_model::batch::Prompt;
use earl_model::checkpoint::{TensorMap, apply, collect};
use earl_model::editor::LM_PREFIX;
use earl_model::lm::LanguageModel;
use earl_model::sequence::Vocabulary;
use serde::Serialize;

/// What one optimizer step reports; per free token unless said otherwise.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct PolicyStep {
    /// What is minimised.
    pub loss: f64,
    /// What control tokens (text) add to it.
    pub loss_control: f64,
    /// What picture codes add to it.
    pub loss_code: f64,
    /// KL to the starting model (k3), in nats.
    pub kl: f64,
    /// What control tokens add to it.
    pub kl_control: f64,
    /// What picture codes add to it.
    pub kl_code: f64,
    /// Largest difference between a rollout's log-probability and the trainer's, in nats. For rollouts
    /// from a file: how far the policy has moved from the one that wrote them.
    pub logprob_gap: f64,
    /// Norm of the gradient before the clip.
    pub grad_norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Free tokens trained on: the normaliser.
    pub tokens: usize,
    /// Prompts whose rollouts all had the same reward, or too few a reward.
    pub dropped_groups: usize,
}

/// How far a policy is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Iterations done.
    pub iterations: u64,
    /// Optimizer steps taken.
    pub updates: u64,
}

/// A policy in training, and the model it started from.
pub(crate) struct Policy {
    config: RlConfig,
    vocabulary: Vocabulary,
    student: Option<LanguageModel>,
    reference: LanguageModel,
    optimizer: Optimizer,
    taken: u64,
}

impl Policy {
    /// A policy after `done` iterations and updates: its weights, the starting model's, and the
    /// optimizer's moments.
    ///
    /// # Errors
    /// If the tensors do not fit the model.
    pub(crate) fn new(
        config: RlConfig,
        model: &ModelConfig,
        device: &Device,
        done: Done,
        weights: &TensorMap,
        reference: &TensorMap,
        moments: TensorMap,
    ) -> Result<Self> {
        let training = device.clone().autodiff();
        let student = apply(LanguageModel::zeros(model, &training), LM_PREFIX, weights)?;
        let reference = apply(LanguageModel::zeros(model, device), LM_PREFIX, reference)?;
        let optimizer = Optimizer::resume(config.optim.clone(), done.updates, moments, device);
        let vocabulary = Vocabulary::new(model);
        Ok(Self {
            config,
            vocabulary,
            student: Some(student),
            reference,
            optimizer,
            taken: done.iterations,
        })
    }

    /// Iterations done.
    #[must_use]
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Optimizer steps taken: fewer than iterations where one had nothing to learn from.
    #[must_use]
    pub(crate) fn updates(&self) -> u64 {
        self.optimizer.taken()
    }

    /// Weights and optimizer moments, by name.
    ///
    /// # Errors
    /// If the device does not give them back.
    pub(crate) fn checkpoint(&self) -> Result<(TensorMap, TensorMap)> {
        Ok((collect(self.student()?, LM_PREFIX)?, self.optimizer.state()?))
    }

    fn student(&self) -> Result<&LanguageModel> {
        match &self.student {
            Some(student) => Ok(student),
            None => bail!("the model was lost in a failed step"),
        }
    }

    /// One optimizer step on an iteration's rollouts and rewards. Without any group to learn from,
    /// only the count moves on.
    ///
    /// # Errors
    /// If the trainer's log-probabilities are not the sampler's (rollouts from a file excepted: they may
    /// be older than the policy), or the loss or a gradient is not finite (the weights stay as they were).
    pub(crate) fn step(
        &mut self,
        rollouts: &Rollouts,
        rewards: &[Option<Reward>],
    ) -> Result<PolicyStep> {
        let (episodes, dropped_groups) = self.episodes(rollouts, rewards)?;
        let prompts: Vec<Prompt> = rollouts.cases.iter().map(|case| case.prompt.clone()).collect();
        let rate = self.config.optim.rate(self.taken, self.config.iterations);
        let tokens = episodes.iter().map(Episode::free_tokens).sum();
        let mut report = PolicyStep { rate, tokens, dropped_groups, ..PolicyStep::default() };
        self.taken += 1;
        if tokens == 0 {
            return Ok(report);
        }
        let grads = self.gradients(&prompts, &episodes, &mut report)?;
        if !report.loss.is_finite() {
            bail!("the loss is {}", report.loss);
        }
        if report.logprob_gap > self.config.gap_limit && self.config.rollouts.is_none() {
            bail!(
                "the trainer's log-probabilities differ from the sampler's by {:.4} nats, more than `rl.gap_limit` = {}: sampling and training do not run the same model (mixed precision? another device?)",
                report.logprob_gap,
                self.config.gap_limit
            );
        }
        let Some(student) = self.student.take() else { bail!("no model") };
        let (student, norm) = self.optimizer.step(student, LM_PREFIX, grads, rate)?;
        self.student = Some(student);
        report.grad_norm = norm;
        Ok(report)
    }

    /// The episodes worth training on, and the number of groups dropped.
    fn episodes(
        &self,
        rollouts: &Rollouts,
        rewards: &[Option<Reward>],
    ) -> Result<(Vec<Episode>, usize)> {
        let (mut episodes, mut dropped) = (Vec::new(), 0);
        let (vocabulary, mode) = (&self.vocabulary, self.config.mode);
        let train = self.config.train.at(self.taken);
        for (prompt, group) in rollouts.groups.iter().enumerate() {
            let rewards: Vec<Option<f64>> =
                rewards[group.clone()].iter().map(|reward| reward.map(|r| r.overall)).collect();
            let Some(advantages) = group_advantages(&rewards, self.config.least_deviation) else {
                dropped += 1;
                continue;
            };
            for (written, advantage) in rollouts.written[group.clone()].iter().zip(advantages) {
                let Some(advantage) = advantage else { continue };
                let episode = Episode::new(vocabulary, mode, train, prompt, written, advantage)?;
                if episode.free_tokens() > 0 {
                    episodes.push(episode);
                }
            }
        }
        Ok((episodes, dropped))
    }

    /// Gradients of the whole step, summed over micro-batches.
    fn gradients(
        &self,
        prompts: &[Prompt],
        episodes: &[Episode],
        report: &mut PolicyStep,
    ) -> Result<GradientMap> {
        let student = self.student()?;
        let mut sum = GradientMap::new();
        for part in episodes.chunks(self.config.micro_batch) {
            let part: Vec<&Episode> = part.iter().collect();
            let reference = log_probs(&self.reference, &self.vocabulary, prompts, &part);
            let known = values(reference)?;
            let shape = [known.len()];
            let reference = Tensor::from_data(TensorData::new(known, shape), &student.device());
            let current = log_probs(student, &self.vocabulary, prompts, &part);
            let loss = policy_loss(&current, &reference, &part, self.config.kl, report.tokens)?;
            report.loss += f64::from(values(loss.total.clone().detach())?[0]);
            let [kl_control, kl_code] = loss.kl.map(|sum| sum / report.tokens as f64);
            report.kl_control += kl_control;
            report.kl_code += kl_code;
            report.kl += kl_control + kl_code;
            report.loss_control += loss.parts[0];
            report.loss_code += loss.parts[1];
            report.logprob_gap = report.logprob_gap.max(loss.gap);
            add(&mut sum, gradients(student, &loss.total.backward(), LM_PREFIX));
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{TokenKind, TrainTokens};
    use super::super::rollout::{Case, SavedRollout};
    use super::*;
    use earl_model::batch::{Draw, Written, write_programs};
    use earl_model::{CodeGrid, CodeId, Mode, Seed};
    use earl_tests::{decoder, small_config, weights};
    use std::collections::BTreeMap;

    const GROUP: usize = 4;

    fn case(first: u32, words: &[usize]) -> Case {
        let codes = (0..16).map(|at| CodeId((first + at * 5) % 8)).collect();
        let source = CodeGrid { height: 4, width: 4, codes };
        let example = earl_scenes::example(0, 0, earl_scenes::Split::Train, None);
        let picture = image::RgbImage::new(1, 1);
        Case { example, picture, prompt: Prompt { source, words: words.to_vec() } }
    }

    /// Three prompts and four sampled programs for each.
    fn rollouts(mode: Mode) -> Rollouts {
        let config = small_config();
        let lm = decoder(&config, &weights(&config, 3));
        let cases = vec![case(0, &[4, 1]), case(3, &[0]), case(5, &[2, 3, 1])];
        let prompts: Vec<Prompt> = cases.iter().map(|case| case.prompt.clone()).collect();
        let draws: Vec<Draw> = (0..cases.len() * GROUP)
            .map(|at| Draw { prompt: at / GROUP, seed: Seed(at as u64) })
            .collect();
        let vocabulary = Vocabulary::new(&config);
        let written = write_programs(&lm, &vocabulary, &prompts, &draws, mode, 1.0);
        Rollouts::new(cases, GROUP, pollster::block_on(written).unwrap())
    }

    /// A policy of seed 3 that started from the model of another seed.
    fn policy(mode: Mode, micro_batch: usize, started_from: u64) -> Policy {
        let model = small_config();
        let config = RlConfig { mode, micro_batch, kl: 0.05, ..RlConfig::default() };
        let (own, reference) = (weights(&model, 3), weights(&model, started_from));
        let device = Device::flex();
        Policy::new(config, &model, &device, Done::default(), &own, &reference, TensorMap::new())
            .unwrap()
    }

    fn rewards(of: impl Fn(usize) -> f64) -> Vec<Option<Reward>> {
        (0..3 * GROUP).map(|at| Some(Reward::new(of(at), Some(false)))).collect()
    }

    fn uneven(at: usize) -> f64 {
        (at * at % 11) as f64
    }

    #[test]
    fn the_trainer_sees_the_samplers_log_probabilities() {
        for mode in [Mode::Local, Mode::Think, Mode::Full] {
            let report = policy(mode, 5, 3).step(&rollouts(mode), &rewards(uneven)).unwrap();
            assert!(report.logprob_gap <= 1e-4, "{mode:?}: {}", report.logprob_gap);
            assert!(report.kl.abs() < 1e-6, "the policy is where it started: {}", report.kl);
        }
    }

    #[test]
    fn a_model_that_is_not_the_samplers_is_noticed() {
        let mut other = policy(Mode::Local, 5, 3);
        let model = LanguageModel::zeros(&small_config(), &Device::flex().autodiff());
        other.student = Some(apply(model, LM_PREFIX, &weights(&small_config(), 4)).unwrap());
        let problem = other.step(&rollouts(Mode::Local), &rewards(uneven)).unwrap_err();
        assert!(problem.to_string().contains("differ from the sampler's"), "{problem}");
    }

    /// The loss again, token by token in plain numbers, from the sampler's own log-probabilities.
    #[test]
    fn the_loss_is_the_formula() {
        let rollouts = rollouts(Mode::Local);
        let policy = policy(Mode::Local, 64, 7);
        let (episodes, dropped) = policy.episodes(&rollouts, &rewards(uneven)).unwrap();
        assert_eq!((episodes.len(), dropped), (3 * GROUP, 0));
        let prompts: Vec<Prompt> = rollouts.cases.iter().map(|case| case.prompt.clone()).collect();
        let tokens: usize = episodes.iter().map(Episode::free_tokens).sum();
        let mut report = PolicyStep { tokens, ..PolicyStep::default() };
        policy.gradients(&prompts, &episodes, &mut report).unwrap();

        let (mut sum, mut count) = (0.0, 0);
        for (at, written) in rollouts.written.iter().enumerate() {
            let group: Vec<f64> = (at / GROUP * GROUP..).take(GROUP).map(uneven).collect();
            let mean = group.iter().sum::<f64>() / GROUP as f64;
            let variance = group.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / GROUP as f64;
            let advantage = (uneven(at) - mean) / (variance.sqrt() + 1e-4);
            let reference = forced(&policy, &prompts[at / GROUP], written);
            for (choice, reference) in written.choices.iter().zip(reference) {
                let ahead = reference - choice.log_prob;
                sum += -choice.log_prob * advantage + 0.05 * (ahead.exp() - 1.0 - ahead);
                count += 1;
            }
        }
        assert_eq!(count, tokens);
        let expected = sum / f64::from(count as u32);
        assert!((report.loss - expected).abs() < 1e-4, "{} against {expected}", report.loss);
    }

    /// The reference's log-probability of every free choice of a program, one token at a time.
    fn forced(policy: &Policy, prompt: &Prompt, written: &Written) -> Vec<f64> {
        let (vocabulary, all) = (&policy.vocabulary, TokenKind::All);
        let episode = Episode::new(vocabulary, Mode::Local, all, 0, written, 0.0).unwrap();
        let prompts = std::slice::from_ref(prompt);
        let found = log_probs(&policy.reference, &policy.vocabulary, prompts, &[&episode]);
        let found = values(found).unwrap();
        // `log_probs` gives controls first, then codes; back into the program's order.
        let controls = written.choices.iter().filter(|choice| !choice.is_code).count();
        let (mut control, mut code) = (0, controls);
        let next = |choice: &earl_model::batch::Choice| {
            let at = if choice.is_code { &mut code } else { &mut control };
            *at += 1;
            f64::from(found[*at - 1])
        };
        written.choices.iter().map(next).collect()
    }

    #[test]
    fn micro_batches_do_not_change_the_gradient() {
        let rollouts = rollouts(Mode::Think);
        let prompts: Vec<Prompt> = rollouts.cases.iter().map(|case| case.prompt.clone()).collect();
        let gradient = |micro_batch: usize| {
            let policy = policy(Mode::Think, micro_batch, 7);
            let (episodes, _) = policy.episodes(&rollouts, &rewards(uneven)).unwrap();
            let tokens = episodes.iter().map(Episode::free_tokens).sum();
            let mut report = PolicyStep { tokens, ..PolicyStep::default() };
            let gradients = policy.gradients(&prompts, &episodes, &mut report).unwrap();
            let host = |(name, grad)| (name, values(grad).unwrap());
            gradients.into_iter().map(host).collect::<BTreeMap<String, Vec<f32>>>()
        };
        let whole = gradient(12);
        for micro_batch in [1, 5] {
            let parts = gradient(micro_batch);
            let square = |values: &[f32]| values.iter().map(|x| f64::from(x * x)).sum::<f64>();
            for (name, whole) in &whole {
                let apart: Vec<f32> = whole.iter().zip(&parts[name]).map(|(a, b)| a - b).collect();
                let (apart, size) = (square(&apart).sqrt(), square(whole).sqrt());
                assert!(apart <= 1e-5 * size.max(1e-3), "{name}: {apart} of {size}");
            }
        }
    }

    #[test]
    fn equal_rewards_teach_nothing_and_no_reward_is_not_zero() {
        let rollouts = rollouts(Mode::Local);
        let mut policy = policy(Mode::Local, 8, 3);
        let before = collect(policy.student().unwrap(), LM_PREFIX).unwrap();
        let report = policy.step(&rollouts, &rewards(|_| 4.0)).unwrap();
        assert_eq!((report.dropped_groups, report.tokens), (3, 0));
        assert_eq!((policy.taken(), policy.updates()), (1, 0));
        assert_eq!(collect(policy.student().unwrap(), LM_PREFIX).unwrap(), before);

        let mut some = rewards(uneven);
        some[1] = None;
        some[4..8].fill(None);
        let (episodes, dropped) = policy.episodes(&rollouts, &some).unwrap();
        assert_eq!((episodes.len(), dropped), (3 + GROUP, 1));
    }

    /// Three rollouts by hand, as another sampler would write them down: nothing, "erase the small cat",
    /// "make the background blue". Under a model that finds everything equally likely, a choice among n has
    /// log-probability -ln n: 5 verbs, 2 names, 3 sizes and a tint, 9 cells, 8 codes.
    const BY_HAND: &str = r#"[
        {"program": [0, 8], "log_probs": [-1.6094379], "reward": 0.0},
        {"program": [0, 4, 13, 9, 23, 8],
         "log_probs": [-1.6094379, -0.6931472, -1.3862944, -2.1972246, -1.6094379], "reward": 4.0},
        {"program": [0, 6, 12, 36, 8], "log_probs": [-1.6094379, -2.0794415, -1.6094379], "reward": 8.0}
    ]"#;

    /// One step of a model whose weights are all 0 on rollouts from a file.
    fn by_hand(train: TrainTokens, iteration: u64) -> PolicyStep {
        let model = small_config();
        let zeros = collect(&LanguageModel::zeros(&model, &Device::flex()), LM_PREFIX).unwrap();
        let config = RlConfig {
            train,
            micro_batch: 2,
            rollouts: Some("rollouts.jsonl".into()),
            ..RlConfig::default()
        };
        let done = Done { iterations: iteration, updates: iteration };
        let device = Device::flex();
        let mut policy =
            Policy::new(config, &model, &device, done, &zeros, &zeros, TensorMap::new()).unwrap();
        let saved: Vec<SavedRollout> = serde_json::from_str(BY_HAND).unwrap();
        let vocabulary = Vocabulary::new(&model);
        let written = |saved: &SavedRollout| saved.read(&vocabulary, Mode::Local).unwrap();
        let rollouts =
            Rollouts::new(vec![case(0, &[4, 1])], 3, saved.iter().map(written).collect());
        let rewards: Vec<Option<Reward>> = saved.iter().map(SavedRollout::reward).collect();
        policy.step(&rollouts, &rewards).unwrap()
    }

    #[test]
    fn rollouts_from_a_file_give_the_loss_worked_out_by_hand() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        // Rewards 0, 4, 8: advantages -a, 0, a with a = 4 / (√(32/3) + 1e-4).
        let a = 4.0 / ((32.0f64 / 3.0).sqrt() + 1e-4);
        let (verb, code) = (5.0f64.ln(), 8.0f64.ln());
        let all = by_hand(TrainTokens::Always(TokenKind::All), 0);
        assert_eq!(all.tokens, 1 + 5 + 3);
        // (-a · ln 5 + 0 + a · (ln 5 + ln 8 + ln 5)) / 9, text and picture apart.
        near(all.loss_control, a * verb / 9.0);
        near(all.loss_code, a * code / 9.0);
        near(all.loss, a * (verb + code) / 9.0);
        near(all.kl, 0.0);
        assert!(all.logprob_gap < 1e-5, "{}", all.logprob_gap);
    }

    #[test]
    fn one_kind_of_token_is_trained_and_counted() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        let a = 4.0 / ((32.0f64 / 3.0).sqrt() + 1e-4);
        let turns = || TrainTokens::Turns(vec![TokenKind::Text, TokenKind::Picture]);
        for (iteration, tokens, loss) in [(0, 8, a * 5.0f64.ln() / 8.0), (1, 1, a * 8.0f64.ln())] {
            let step = by_hand(turns(), iteration);
            assert_eq!(step.tokens, tokens);
            near(step.loss, loss);
        }
        let (text, picture) = (by_hand(turns(), 0), by_hand(turns(), 1));
        assert!(text.loss_code.abs() + picture.loss_control.abs() < 1e-12);
    }

    #[test]
    fn lines_that_do_not_fit_are_refused() {
        let vocabulary = Vocabulary::new(&small_config());
        let mut saved: Vec<SavedRollout> = serde_json::from_str(BY_HAND).unwrap();
        let said = |change: &dyn Fn(&mut SavedRollout)| {
            let mut one = saved[1].clone();
            change(&mut one);
            format!("{:#}", one.read(&vocabulary, Mode::Local).unwrap_err())
        };
        assert!(said(&|one| one.program[2] = 12).contains("token 2 of a program"));
        assert!(said(&|one| one.program.truncate(4)).contains("not complete"));
        assert!(
            said(&|one| one.log_probs.truncate(4)).contains("4 `log_probs` for a program with 5")
        );
        assert!(said(&|one| one.log_probs[0] = 0.5).contains("can't be above 0"));
        assert!(said(&|one| one.reward = Some(11.0)).contains("must lie in 0..=10"));
        assert!(said(&|one| one.entropies = vec![0.1]).contains("1 `entropies`"));
        let zero = saved.swap_remove(0);
        assert!(zero.read(&vocabulary, Mode::Think).is_err(), "another mode's grammar");
    }

    #[test]
    fn a_loss_that_is_no_number_is_an_error_and_changes_nothing() {
        let mut policy = policy(Mode::Local, 5, 3);
        let mut broken = weights(&small_config(), 3);
        broken.values_mut().next().unwrap().data[0] = f32::NAN;
        let model = LanguageModel::zeros(&small_config(), &Device::flex().autodiff());
        policy.student = Some(apply(model, LM_PREFIX, &broken).unwrap());
        let problem = policy.step(&rollouts(Mode::Local), &rewards(uneven)).unwrap_err();
        assert!(problem.to_string().contains("the loss is NaN"), "{problem}");
        assert_eq!(policy.updates(), 0);
    }
}
