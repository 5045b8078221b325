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
            let noise = uniform(Key {
                token: at as u64,
                ..key
            });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> Key {
        Key {
            seed: 7,
            purpose: 1,
            index,
            position: 3,
            token: 0,
        }
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
    fn samples_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0];
        let mut counts = [0usize; 3];
        for index in 0..20_000 {
            counts[choose(&logits, 0..3, 1.0, key(index)).unwrap()] += 1;
        }
        // softmax([0, 1, 2]) = 0.0900, 0.2447, 0.6652
        for (count, share) in counts.iter().zip([0.0900, 0.2447, 0.6652]) {
            assert!(
                (*count as f64 / 20_000.0 - share).abs() < 0.01,
                "{counts:?}"
            );
        }
    }
}
