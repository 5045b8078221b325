//! Logits → one token: the choice rule, the same for every backend, batch and worker count.

pub mod rng;

use rng::{Key, uniform};

/// Picks among `candidates` (index into `logits`): the greatest `logit / temperature + Gumbel noise`,
/// the lowest index on a tie; at temperature 0 the greatest logit. Noise depends on the key and the
/// candidate alone, so neither batching nor order can change a choice.
///
/// `None` if there is no candidate or a candidate's logit is no number.
#[must_use]
pub fn choose(
    logits: &[f32],
    candidates: impl IntoIterator<Item = usize>,
    temperature: f32,
    key: Key,
) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for at in candidates {
        let logit = f64::from(*logits.get(at)?);
        if logit.is_nan() {
            return None;
        }
        let score = if temperature > 0.0 {
            let noise = uniform(Key { token: at as u64, ..key });
            logit / f64::from(temperature) - libm::log(-libm::log(noise))
        } else {
            logit
        };
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((at, score));
        }
    }
    best.map(|(at, _)| at)
}

/// Log-probability, in nats, of `chosen` among `candidates` at temperature 1; 0 if it is the only one.
#[must_use]
pub fn log_prob(logits: &[f32], candidates: impl IntoIterator<Item = usize>, chosen: usize) -> f64 {
    let known = |at: usize| logits.get(at).map(|&logit| f64::from(logit));
    let Some(own) = known(chosen) else { return 0.0 };
    let candidates = candidates.into_iter().filter_map(known);
    -libm::log(candidates.map(|logit| libm::exp(logit - own)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> Key {
        Key { seed: 7, purpose: 1, index, position: 3, token: 0 }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_logits_among_the_candidates() {
        let logits = [5.0, 1.0, 3.0, 3.0];
        assert_eq!(choose(&logits, [3, 2, 1], 0.0, key(0)), Some(3));
        assert_eq!(choose(&logits, 1..4, 0.0, key(0)), Some(2));
        assert_eq!(choose(&logits, [], 0.0, key(0)), None);
        assert_eq!(choose(&[f32::NAN], [0], 0.0, key(0)), None);
    }

    #[test]
    fn log_probabilities_are_those_of_the_masked_softmax() {
        // e^2 / (e^1 + e^2) = 0.731059; index 0 is masked.
        let found = log_prob(&[9.0, 1.0, 2.0], [1, 2], 2);
        assert!((found - 0.731_058_6f64.ln()).abs() < 1e-6, "{found}");
        assert!(log_prob(&[3.0], [0], 0).abs() < 1e-12);
    }

    #[test]
    fn samples_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0];
        let mut counts = [0usize; 3];
        for index in 0..20_000 {
            counts[choose(&logits, 0..3, 1.0, key(index)).unwrap()] += 1;
        }
        // softmax([0, 1, 2]) = 0.0900, 0.2447, 0.6652
        for (count, share) in counts.iter().zip([0.0900, 0.2447, 0.6652]) {
            assert!((*count as f64 / 20_000.0 - share).abs() < 0.01, "{counts:?}");
        }
    }
}
