//! What an iteration's rollouts were like: a line of `metrics.jsonl`.

use super::rollout::Rollouts;
use super::train::PolicyStep;
use super::verify::Reward;
use serde::Serialize;

/// Figures of one iteration. Rewards run from 0 to 10; entropies are nats per free token.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct IterationReport {
    /// Mean reward, as it is trained on.
    pub reward: f64,
    /// Mean reward before `rl.corrupt` put noise in its place.
    pub reward_clean: f64,
    /// Deviation of rewards within their groups, averaged over groups.
    pub reward_std: f64,
    /// Best reward of a group, averaged.
    pub reward_best: f64,
    /// Share of rollouts that are right.
    pub success: f64,
    /// Share of prompts with at least one right rollout (pass@G).
    pub pass_at_group: f64,
    /// Rollouts whose verifier failed; dropped.
    pub failed: usize,
    /// Entropy of control tokens (text); none if a file of rollouts does not say.
    pub entropy_control: Option<f64>,
    /// Entropy of picture codes.
    pub entropy_code: Option<f64>,
    /// Tokens of a rollout, forced ones included.
    pub length: f64,
    /// Rollout, verify, train.
    pub seconds: [f64; 3],
    /// Tokens sampled (or read from a file) a second.
    pub sampled_per_second: f64,
    /// The optimizer step.
    #[serde(flatten)]
    pub step: PolicyStep,
}

impl IterationReport {
    /// Sums up an iteration.
    #[must_use]
    pub(crate) fn new(
        rollouts: &Rollouts,
        rewards: &[Option<Reward>],
        step: PolicyStep,
        seconds: [f64; 3],
    ) -> Self {
        let groups: Vec<Vec<Reward>> = rollouts
            .groups
            .iter()
            .map(|group| rewards[group.clone()].iter().copied().flatten().collect())
            .filter(|group: &Vec<Reward>| !group.is_empty())
            .collect();
        let by_group = |of: fn(&[Reward]) -> f64| mean(groups.iter().map(|group| of(group)));
        let known = || rewards.iter().copied().flatten();
        let entropy = |is_code: bool| {
            let choices = rollouts.written.iter().flat_map(|written| &written.choices);
            let known = choices.filter(|choice| choice.is_code == is_code);
            Some(mean(known.map(|choice| choice.entropy))).filter(|mean| mean.is_finite())
        };
        let tokens = rollouts.written.iter().map(|written| written.program.len() as f64);
        Self {
            reward: mean(known().map(|reward| reward.overall)),
            reward_clean: mean(known().map(|reward| reward.clean)),
            reward_std: by_group(deviation),
            reward_best: by_group(|group| {
                group.iter().map(|reward| reward.overall).fold(0.0, f64::max)
            }),
            success: mean(known().map(|reward| f64::from(u8::from(reward.success)))),
            pass_at_group: by_group(|group| {
                f64::from(u8::from(group.iter().any(|reward| reward.success)))
            }),
            failed: rewards.iter().filter(|reward| reward.is_none()).count(),
            entropy_control: entropy(false),
            entropy_code: entropy(true),
            length: mean(tokens.clone()),
            seconds,
            sampled_per_second: tokens.sum::<f64>() / seconds[0].max(1e-9),
            step,
        }
    }

    /// One line for people.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        format!(
            "reward {:.2} ± {:.2} · right {:.0} % · pass@G {:.0} % · kl {:.4} · entropy {} / {} · grad {:.2} · dropped {} · {:.0} tok/s",
            self.reward,
            self.reward_std,
            100.0 * self.success,
            100.0 * self.pass_at_group,
            self.step.kl,
            shown(self.entropy_control),
            shown(self.entropy_code),
            self.step.grad_norm,
            self.step.dropped_groups,
            self.sampled_per_second
        )
    }
}

fn shown(entropy: Option<f64>) -> String {
    entropy.map_or_else(|| "?".into(), |entropy| format!("{entropy:.3}"))
}

/// 0 for nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0usize);
    values.for_each(|value| {
        sum += value;
        n += 1;
    });
    sum / n.max(1) as f64
}

fn deviation(group: &[Reward]) -> f64 {
    let centre = mean(group.iter().map(|reward| reward.overall));
    mean(group.iter().map(|reward| (reward.overall - centre).powi(2))).sqrt()
}
