//! Models held against each other on the same examples and seeds: paired differences with intervals.
//!
//! An example's scores are averaged over seeds first, then differences are resampled by example: what
//! makes one scene hard makes it hard for every model, and several seeds of a scene are not several scenes.

use super::stats::{Mean, mean};
use serde::Serialize;
use std::collections::BTreeMap;

/// One model's scores on one split or bench, example by example.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    /// The model.
    pub model: String,
    /// Split or bench.
    pub split: String,
    /// Kind of edit of each example.
    pub ops: Vec<String>,
    /// Share of right edits over seeds; `None` without a verdict.
    pub success: Vec<Option<f64>>,
    /// Mean overall score over seeds.
    pub overall: Vec<Option<f64>>,
}

/// How far one model lies above another.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Difference {
    /// The model.
    pub model: String,
    /// What it is held against.
    pub against: String,
    /// Split or bench; `all` is all of them together.
    pub split: String,
    /// Examples that both have scores of.
    pub n: usize,
    /// Difference of the shares of right edits.
    pub success: Mean,
    /// Difference of overall scores.
    pub overall: Mean,
    /// By kind of edit.
    pub by_op: BTreeMap<String, OpDifference>,
}

/// The same for one kind of edit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct OpDifference {
    /// Examples.
    pub n: usize,
    /// Difference of the shares of right edits.
    pub success: Mean,
    /// Difference of overall scores.
    pub overall: Mean,
}

/// Means over seeds: rows stand seed after seed, `examples` of them each.
#[must_use]
pub(crate) fn per_example<T>(
    rows: &[T],
    examples: usize,
    value: impl Fn(&T) -> Option<f64>,
) -> Vec<Option<f64>> {
    let of_example = |at: usize| {
        let values: Vec<f64> =
            rows.iter().skip(at).step_by(examples.max(1)).filter_map(&value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    (0..examples.min(rows.len())).map(of_example).collect()
}

/// Every further model against the first, by split, then over all splits.
#[must_use]
pub(crate) fn differences(scores: &[Scores]) -> Vec<Difference> {
    let mut models: Vec<&str> = Vec::new();
    for found in scores {
        if !models.contains(&found.model.as_str()) {
            models.push(&found.model);
        }
    }
    let Some((first, others)) = models.split_first() else { return Vec::new() };
    let of = |model: &str| -> Vec<&Scores> {
        scores.iter().filter(|found| found.model == model).collect()
    };
    let mut found = Vec::new();
    for other in others {
        let pairs: Vec<(&Scores, &Scores)> = of(first).into_iter().zip(of(other)).collect();
        found.extend(pairs.iter().map(|pair| difference(&pair.0.split, &[*pair])));
        if pairs.len() > 1 {
            found.push(difference("all", &pairs));
        }
    }
    found
}

fn difference(split: &str, pairs: &[(&Scores, &Scores)]) -> Difference {
    let mut by_op: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    let mut all: [Vec<f64>; 2] = Default::default();
    for (base, other) in pairs {
        for (at, op) in base.ops.iter().enumerate() {
            let minus =
                |a: &[Option<f64>], b: &[Option<f64>]| Some((*b.get(at)?)? - (*a.get(at)?)?);
            let both = [minus(&base.success, &other.success), minus(&base.overall, &other.overall)];
            let of_op = by_op.entry(op.clone()).or_default();
            for ((value, all), of_op) in both.into_iter().zip(&mut all).zip(of_op) {
                all.extend(value);
                of_op.extend(value);
            }
        }
    }
    let name = |of: fn(&(&Scores, &Scores)) -> String| pairs.first().map(of).unwrap_or_default();
    let figures =
        |[success, overall]: &[Vec<f64>; 2]| (success.len(), mean(success), mean(overall));
    let (n, success, overall) = figures(&all);
    let by_op = by_op.iter().map(|(op, values)| {
        let (n, success, overall) = figures(values);
        (op.clone(), OpDifference { n, success, overall })
    });
    Difference {
        model: name(|pair| pair.1.model.clone()),
        against: name(|pair| pair.0.model.clone()),
        split: split.to_owned(),
        n,
        success,
        overall,
        by_op: by_op.collect(),
    }
}

/// The differences as lines for people.
#[must_use]
pub(crate) fn table(differences: &[Difference]) -> String {
    let mut text = String::new();
    let line = |name: &str, n: usize, success: Mean, overall: Mean| {
        format!(
            "{name:<24}{n:>6}{:>+9.1} ({:+.1} … {:+.1}){:>+10.2} ({:+.2} … {:+.2})\n",
            100.0 * success.mean,
            100.0 * success.lo,
            100.0 * success.hi,
            overall.mean,
            overall.lo,
            overall.hi
        )
    };
    for found in differences {
        text += &format!("\n{} minus {}, `{}`: ", found.model, found.against, found.split);
        text += "points of success, overall score, each with its paired 95 % interval\n";
        text += &line("", found.n, found.success, found.overall);
        for (op, by) in &found.by_op {
            text += &line(op, by.n, by.success, by.overall);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(model: &str, split: &str, right: &[f64]) -> Scores {
        let ops = (0..right.len()).map(|at| if at % 2 == 0 { "add" } else { "swap" }.to_owned());
        let success: Vec<Option<f64>> = right.iter().copied().map(Some).collect();
        let overall = success.iter().map(|value| value.map(|value| 10.0 * value)).collect();
        Scores { model: model.into(), split: split.into(), ops: ops.collect(), success, overall }
    }

    #[test]
    fn pairs_cancel_what_examples_share() {
        // Half the examples are hard for both; the second model gets every tenth more right.
        let base: Vec<f64> = (0..200).map(|at| f64::from(u8::from(at % 2 == 0))).collect();
        let better: Vec<f64> =
            base.iter().enumerate().map(|(at, b)| if at % 10 == 1 { 1.0 } else { *b }).collect();
        let found = differences(&[scores("a", "seen", &base), scores("b", "seen", &better)]);
        assert_eq!(found.len(), 1);
        let Difference { model, against, split, n, success, by_op, .. } = &found[0];
        assert_eq!((model.as_str(), against.as_str(), split.as_str(), *n), ("b", "a", "seen", 200));
        // 0.1 ± 1.96 · sqrt(0.1 · 0.9 / 200) = 0.058 … 0.142; unpaired it would be ± 0.098.
        assert!((success.mean - 0.1).abs() < 1e-12, "{success:?}");
        assert!(
            (success.lo - 0.058).abs() < 0.01 && (success.hi - 0.142).abs() < 0.01,
            "{success:?}"
        );
        assert_eq!((by_op["add"].success.mean, by_op["add"].n), (0.0, 100));
        assert!((by_op["swap"].success.mean - 0.2).abs() < 1e-12);
        assert!(table(&found).contains("+10.0 ("), "{}", table(&found));
    }

    #[test]
    fn a_model_against_itself_differs_by_nothing_and_splits_are_pooled() {
        let right = [1.0, 0.0, 1.0, 0.0];
        let of = |model: &str| [scores(model, "seen", &right), scores(model, "style", &right)];
        let found = differences(&[of("a"), of("b"), of("c")].concat());
        let splits: Vec<&str> = found.iter().map(|found| found.split.as_str()).collect();
        assert_eq!(splits, ["seen", "style", "all", "seen", "style", "all"]);
        assert!(found.iter().all(|found| found.success == Mean { mean: 0.0, lo: 0.0, hi: 0.0 }));
        assert_eq!((found[2].n, found[5].model.as_str()), (8, "c"));
    }

    #[test]
    fn seeds_are_averaged_and_missing_verdicts_left_out() {
        // Two seeds of three examples.
        let rows = [Some(1.0), None, Some(0.0), Some(0.0), None, Some(0.0)];
        assert_eq!(per_example(&rows, 3, |row| *row), [Some(0.5), None, Some(0.0)]);
        assert_eq!(per_example(&rows[..0], 3, |row| *row), []);
        let mut a = scores("a", "seen", &[1.0, 1.0]);
        let b = scores("b", "seen", &[0.0, 0.0]);
        a.success[0] = None;
        assert_eq!(differences(&[a, b])[0].n, 1);
    }
}
