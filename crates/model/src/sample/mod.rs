//! Logits → one token: the choice rule, the same for every backend, batch and worker count.
//!
//! Editor, batches and training share the mask (the grammar's candidates) and the log-probability.

pub mod rng;

use crate::ids::{CodeId, Seed, TokenId};
use crate::sequence::Vocabulary;
use rng::{Key, uniform};

/// Purpose of the sampler's random numbers.
const SAMPLE: u64 = 1;

/// How a token is chosen among its candidates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// 0 takes the likeliest.
    pub temperature: f32,
    /// Draw among this many of the likeliest alone; None draws among all.
    pub top_k: Option<usize>,
}

impl Rule {
    /// Among all candidates, at this temperature.
    #[must_use]
    pub fn at(temperature: f32) -> Self {
        Self { temperature, top_k: None }
    }

    /// Applies the rule: [`choose`], among the likeliest alone if so asked.
    fn choose(
        self,
        logits: &[f32],
        candidates: impl Iterator<Item = usize>,
        key: Key,
    ) -> Option<(usize, f64)> {
        match self.top_k.filter(|_| self.temperature > 0.0) {
            Some(k) => choose_likely(logits, candidates.collect(), k, self.temperature, key),
            None => choose(logits, candidates, self.temperature, key),
        }
    }
}

/// A chosen token, and what it was chosen from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: TokenId,
    /// Its log-probability at temperature 1, in nats.
    pub log_prob: f64,
    /// Entropy of the candidates' distribution at temperature 1, in nats.
    pub entropy: f64,
    /// By how much the logits would have to differ for another to be chosen; infinite where it was not
    /// chosen but given.
    pub margin: f64,
}

impl Chosen {
    /// A token without an alternative.
    #[must_use]
    pub fn only(token: TokenId) -> Self {
        Self { token, log_prob: 0.0, entropy: 0.0, margin: f64::INFINITY }
    }
}

/// The key of a program's token at `position`, for a given seed.
#[must_use]
pub fn token_key(seed: Seed, position: usize) -> Key {
    Key { seed: seed.0, purpose: SAMPLE, index: 0, position: position as u64, token: 0 }
}

/// Chooses among the control tokens the grammar allows; `logits` are those of all control ids.
///
/// `None` if a candidate's logit is no number.
#[must_use]
pub fn pick_control(logits: &[f32], allowed: &[TokenId], rule: Rule, key: Key) -> Option<Chosen> {
    let candidates = || allowed.iter().map(|token| token.0 as usize);
    let (at, margin) = rule.choose(logits, candidates(), key)?;
    let (log_prob, entropy) = log_prob_and_entropy(logits, candidates(), at);
    Some(Chosen { token: TokenId(at as u32), log_prob, entropy, margin })
}

/// What [`pick_control`] would say of a `token` that was chosen before.
#[must_use]
pub fn judge_control(logits: &[f32], allowed: &[TokenId], token: TokenId) -> Chosen {
    let candidates = allowed.iter().map(|token| token.0 as usize);
    let (log_prob, entropy) = log_prob_and_entropy(logits, candidates, token.0 as usize);
    Chosen { token, log_prob, entropy, margin: f64::INFINITY }
}

/// What [`pick_code`] would say of a `token` that was chosen before.
#[must_use]
pub fn judge_code(vocabulary: &Vocabulary, logits: &[f32], token: TokenId) -> Chosen {
    let first = vocabulary.code(CodeId(0)).0;
    let at = token.0.saturating_sub(first) as usize;
    let (log_prob, entropy) = log_prob_and_entropy(logits, 0..vocabulary.code_len(), at);
    Chosen { token, log_prob, entropy, margin: f64::INFINITY }
}

/// Chooses among all codes; `logits` are those of the codes.
///
/// `None` if a logit is no number.
#[must_use]
pub fn pick_code(vocabulary: &Vocabulary, logits: &[f32], rule: Rule, key: Key) -> Option<Chosen> {
    let candidates = || 0..vocabulary.code_len();
    let (at, margin) = rule.choose(logits, candidates(), key)?;
    let (log_prob, entropy) = log_prob_and_entropy(logits, candidates(), at);
    Some(Chosen { token: vocabulary.code(CodeId(at as u32)), log_prob, entropy, margin })
}

/// Picks among `candidates` (index into `logits`): the greatest `logit / temperature + Gumbel noise`,
/// the lowest index on a tie; at temperature 0 the greatest logit. Noise depends on the key and the
/// candidate alone, so neither batching nor order can change a choice. Beside it, by how much the logits
/// of it and of the next best would have to come nearer for a tie; infinite without a next.
///
/// `None` if there is no candidate or a candidate's logit is no number.
#[must_use]
pub fn choose(
    logits: &[f32],
    candidates: impl IntoIterator<Item = usize>,
    temperature: f32,
    key: Key,
) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    let mut next = f64::NEG_INFINITY;
    for at in candidates {
        let logit = f64::from(*logits.get(at)?);
        if logit.is_nan() {
            return None;
        }
        let score = if temperature > 0.0 {
            let noise = uniform(Key { token: at as u64, ..key });
            let logit = logit / f64::from(temperature);
            if is_behind(next - logit, noise) {
                continue;
            }
            logit - libm::log(-libm::log(noise))
        } else {
            logit
        };
        match best {
            Some((_, highest)) if score <= highest => next = next.max(score),
            _ => {
                next = best.map_or(next, |(_, highest)| highest);
                best = Some((at, score));
            }
        }
    }
    let unit = if temperature > 0.0 { f64::from(temperature) } else { 1.0 };
    best.map(|(at, highest)| (at, (highest - next) * unit))
}

/// Candidates (index into `scores`) by their score, the lowest index first of equal ones; `None` if a
/// candidate's score is no number.
pub(crate) fn likeliest_first(scores: &[f32], mut candidates: Vec<usize>) -> Option<Vec<usize>> {
    if candidates.iter().any(|&at| scores.get(at).is_none_or(|score| score.is_nan())) {
        return None;
    }
    candidates.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    Some(candidates)
}

/// [`choose`] among the `k` likeliest of `candidates`, the lowest index on a tie. The margin counts that one
/// of the others may become likely enough to be drawn, or the chosen one too unlikely.
fn choose_likely(
    logits: &[f32],
    candidates: Vec<usize>,
    k: usize,
    temperature: f32,
    key: Key,
) -> Option<(usize, f64)> {
    let candidates = likeliest_first(logits, candidates)?;
    let logit = |at: usize| f64::from(logits[at]);
    let (likely, others) = candidates.split_at(k.min(candidates.len()));
    let (at, margin) = choose(logits, likely.iter().copied(), temperature, key)?;
    let (last, Some(first)) = (logit(*likely.last()?), others.first()) else {
        return Some((at, margin));
    };
    let score = |at: usize| {
        let noise = uniform(Key { token: at as u64, ..key });
        logit(at) - f64::from(temperature) * libm::log(-libm::log(noise))
    };
    let own = score(at);
    let enters = |&other: &usize| (last - logit(other)).max(own - score(other));
    let leaves = logit(at) - logit(*first);
    Some((at, others.iter().map(enters).fold(margin.min(leaves), f64::min)))
}

/// Is the Gumbel noise of a uniform number too small to make up for `gap`, for certain?
///
/// It is at least `gap` only if `1 − noise ≤ e^−gap`, which most candidates fail by far: comparing
/// exponents saves their logarithms.
fn is_behind(gap: f64, noise: f64) -> bool {
    let exponent = ((1.0 - noise).to_bits() >> 52) as i32 - 1023; // of 1 − noise, rounded down
    f64::from(exponent) > -gap * std::f64::consts::LOG2_E
}

/// Log-probability of `chosen` among `candidates` and the entropy of their softmax at temperature 1,
/// in nats; both 0 if it is the only one.
#[must_use]
pub fn log_prob_and_entropy(
    logits: &[f32],
    candidates: impl IntoIterator<Item = usize>,
    chosen: usize,
) -> (f64, f64) {
    let known = |at: usize| logits.get(at).map(|&logit| f64::from(logit));
    let Some(own) = known(chosen) else { return (0.0, 0.0) };
    // Weights relative to the chosen token's: w = e^(logit - own).
    let (mut sum, mut moment) = (0.0, 0.0);
    for above in candidates.into_iter().filter_map(known).map(|logit| logit - own) {
        let weight = libm::exp(above);
        sum += weight;
        moment += weight * above;
    }
    let log_sum = libm::log(sum);
    (-log_sum, (log_sum - moment / sum).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> Key {
        Key { seed: 7, purpose: 1, index, position: 3, token: 0 }
    }

    #[test]
    fn most_candidates_are_left_out_and_none_that_could_win() {
        let mut left_out = 0;
        for position in 0..20_000 {
            let noise = uniform(Key { position, ..key(1) });
            let gumbel = -libm::log(-libm::log(noise));
            for gap in [-1.0, 0.0, 1.0, 4.0, 9.0] {
                let behind = is_behind(gap, noise);
                assert!(!behind || gumbel < gap, "{noise} {gap}");
                left_out += usize::from(behind && gap > 8.0);
            }
        }
        assert!(left_out > 19_900, "{left_out}");
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_logits_among_the_candidates() {
        let logits = [5.0, 1.0, 3.0, 3.0];
        assert_eq!(choose(&logits, [3, 2, 1], 0.0, key(0)), Some((3, 0.0)));
        assert_eq!(choose(&logits, 1..4, 0.0, key(0)), Some((2, 0.0)));
        assert_eq!(choose(&logits, 0..2, 0.0, key(0)), Some((0, 4.0)));
        assert_eq!(choose(&logits, [1], 0.0, key(0)), Some((1, f64::INFINITY)));
        assert_eq!(choose(&logits, [], 0.0, key(0)), None);
        assert_eq!(choose(&[f32::NAN], [0], 0.0, key(0)), None);
    }

    #[test]
    fn logits_that_come_nearer_by_the_margin_tie() {
        let logits: Vec<f32> = (0..50).map(|at| ((at * 37) % 50) as f32 * 0.1).collect();
        for (index, temperature) in [0.0, 0.5, 1.0, 2.0].into_iter().cycle().take(200).enumerate() {
            let (at, margin) = choose(&logits, 0..50, temperature, key(index as u64)).unwrap();
            let mut lower = logits.clone();
            lower[at] -= (margin * 0.99) as f32;
            assert_eq!(choose(&lower, 0..50, temperature, key(index as u64)).unwrap().0, at);
            lower[at] = logits[at] - (margin * 1.01 + 1e-5) as f32;
            assert_ne!(choose(&lower, 0..50, temperature, key(index as u64)).unwrap().0, at);
        }
    }

    #[test]
    fn only_the_likeliest_are_drawn_and_margins_count_the_others() {
        let logits: Vec<f32> = (0..50).map(|at| ((at * 37) % 50) as f32 * 0.1).collect();
        let among = |top_k, index| {
            let rule = Rule { temperature: 2.0, top_k };
            rule.choose(&logits, 0..50, key(index)).unwrap()
        };
        let mut drawn = std::collections::BTreeSet::new();
        for index in 0..400 {
            let (at, margin) = among(Some(4), index);
            drawn.insert((logits[at] * 10.0).round() as i32);
            // Two logits that differ by less than the margin less than they do change nothing.
            for other in (0..50).filter(|&other| other != at) {
                let mut nearer = logits.clone();
                nearer[at] -= (margin * 0.49) as f32;
                nearer[other] += (margin * 0.49) as f32;
                let rule = Rule { temperature: 2.0, top_k: Some(4) };
                assert_eq!(rule.choose(&nearer, 0..50, key(index)).unwrap().0, at);
            }
            assert_eq!(among(Some(50), index), among(None, index));
        }
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [46, 47, 48, 49]);
        let first =
            Rule { temperature: 2.0, top_k: Some(1) }.choose(&[1.0, 3.0, 3.0], 0..3, key(0));
        assert_eq!(first.unwrap().0, 1, "the lowest index on a tie");
    }

    #[test]
    fn log_probabilities_and_entropy_are_those_of_the_masked_softmax() {
        // p = e^2 / (e^1 + e^2) = 0.731059; entropy -p ln p - (1-p) ln(1-p) = 0.582203; index 0 is masked.
        let (log_prob, entropy) = log_prob_and_entropy(&[9.0, 1.0, 2.0], [1, 2], 2);
        assert!((log_prob - 0.731_058_6f64.ln()).abs() < 1e-6, "{log_prob}");
        assert!((entropy - 0.582_203).abs() < 1e-6, "{entropy}");
        assert_eq!(log_prob_and_entropy(&[3.0], [0], 0), (0.0, 0.0));
    }

    #[test]
    fn samples_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0];
        let mut counts = [0usize; 3];
        for index in 0..20_000 {
            counts[choose(&logits, 0..3, 1.0, key(index)).unwrap().0] += 1;
        }
        // softmax([0, 1, 2]) = 0.0900, 0.2447, 0.6652
        for (count, share) in counts.iter().zip([0.0900, 0.2447, 0.6652]) {
            assert!((*count as f64 / 20_000.0 - share).abs() < 0.01, "{counts:?}");
        }
    }
}
