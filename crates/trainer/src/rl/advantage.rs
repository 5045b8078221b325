//! Group-relative advantages: the rewards of one prompt's rollouts in, one weight per rollout out.
//!
//! Place in the flow: rollout → reward → **advantage** → loss → optimizer step.
//! Plain arithmetic: no tensor, device, file or random number.
//! Source: EARL `rl/nano_aha_moment.py`, `create_training_episodes`; GRPO, arXiv 2402.03300.
//! Start at [`group_advantages`].

/// Added to the deviation (EARL's value).
const EPSILON: f64 = 1e-4;

/// `(r - mean) / (std + 1e-4)` with the population's deviation, for the rollouts that have a reward.
///
/// `None` if fewer than two have one, all have the same, or they deviate by less than
/// `least_deviation`: such a group teaches nothing and is dropped and counted. A rollout without a reward (its verifier failed) has no advantage.
#[must_use]
pub(crate) fn group_advantages(
    rewards: &[Option<f64>],
    least_deviation: f64,
) -> Option<Vec<Option<f64>>> {
    let known: Vec<f64> = rewards.iter().copied().flatten().collect();
    let n = known.len() as f64;
    let mean = known.iter().sum::<f64>() / n;
    let deviation = (known.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n).sqrt();
    let same = known.iter().all(|r| r.to_bits() == known[0].to_bits());
    if known.len() < 2 || same || deviation < least_deviation {
        return None;
    }
    let advantage = |r: &f64| (r - mean) / (deviation + EPSILON);
    Some(rewards.iter().map(|reward| reward.as_ref().map(advantage)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hand_worked_numbers() {
        // Rewards 0, 4, 8: mean 4, population deviation √(32/3) = 3.265986.
        let found = group_advantages(&[Some(0.0), Some(4.0), None, Some(8.0)], 0.0).unwrap();
        let expected = 4.0 / (3.265_986_323_7 + 1e-4);
        assert!((found[0].unwrap() + expected).abs() < 1e-9, "{found:?}");
        assert!(found[1].unwrap().abs() < 1e-12);
        assert_eq!(found[2], None, "a rollout without a reward is dropped, never 0");
        assert!((found[3].unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn equal_rewards_teach_nothing() {
        assert_eq!(group_advantages(&[Some(0.7); 4], 0.0), None);
        assert_eq!(group_advantages(&[Some(0.7), None], 0.0), None);
        assert_eq!(group_advantages(&[None, None], 0.0), None);
        // Deviation 1: taught from a least deviation of 1, not of 1.1.
        assert!(group_advantages(&[Some(9.0), Some(7.0)], 1.0).is_some());
        assert_eq!(group_advantages(&[Some(9.0), Some(7.0)], 1.1), None);
    }

    proptest! {
        #[test]
        fn advantages_keep_the_reward_order(rewards in prop::collection::vec(0.0f64..=10.0, 2..32)) {
            let given: Vec<Option<f64>> = rewards.iter().copied().map(Some).collect();
            if let Some(advantages) = group_advantages(&given, 0.0) {
                let advantages: Vec<f64> = advantages.into_iter().flatten().collect();
                prop_assert!(advantages.iter().sum::<f64>().abs() < 1e-9);
                for (reward, advantage) in rewards.windows(2).zip(advantages.windows(2)) {
                    prop_assert!(reward[0] > reward[1] || advantage[0] <= advantage[1]);
                }
            }
        }
    }
}
