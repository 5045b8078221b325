//! Judging an iteration's rollouts, with patience for a judge that is away: a reward for each out.
//!
//! ```text
//! rollouts ─▶ verifier ─▶ enough verdicts ─▶ rewards
//!                 ▲            │ too few, since the judge is away
//!                 └─ backoff ◀─┘ (progress is put on disk first; Ctrl-C ends it)
//! ```
//! A verdict that was given is not asked for again. A judge that answers nonsense is not away: more than
//! `rl.failed_limit` such failures end the run. Start at [`judge_all`].

use super::verify::{Asked, Reward, Verifier};
use crate::interrupt;
use crate::judge::client::Away;
use anyhow::{Error, Result};
use std::time::Duration;

/// First and longest wait between two rounds of questions.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_mins(2)];

/// How much failure is borne.
pub(crate) struct Limits {
    /// Largest share of rollouts without a verdict.
    pub failed: f64,
    /// Longest wait for a judge that is away, all in all.
    pub pause: Duration,
}

/// A reward for each rollout, `None` where the verifier failed; or nothing if Ctrl-C came first.
///
/// `pause` is called before the first wait, with what to say: it puts on disk what may not be lost.
/// `after_round` is called after each round of questions.
///
/// # Errors
/// If more than the limit fails for good, or the judge stays away for too long.
pub(crate) fn judge_all(
    verifier: &dyn Verifier,
    asked: &[Asked<'_>],
    limits: &Limits,
    pause: &mut dyn FnMut(&str) -> Result<()>,
    after_round: &dyn Fn() -> Result<()>,
) -> Result<Option<Vec<Option<Reward>>>> {
    let mut open: Vec<&Asked> = asked.iter().collect();
    let mut verdicts = Verdicts { rewards: vec![None; asked.len()], lost: 0, reason: None };
    let (mut waited, mut next) = (Duration::ZERO, WAITS[0]);
    let limit = limits.failed * asked.len() as f64;
    loop {
        let (left, away) = verdicts.ask(verifier, &open);
        after_round()?;
        let (lost, failed) = (verdicts.lost, verdicts.lost + left.len());
        let too_many = |problem: Error, failed| {
            problem.context(format!(
                "the verifier gave no verdict on {failed} of {} rollouts, more than `rl.failed_limit` = {}",
                asked.len(),
                limits.failed
            ))
        };
        if let Some(problem) = verdicts.reason.take_if(|_| lost as f64 > limit) {
            return Err(too_many(problem, lost));
        }
        let Some(problem) = away else { return Ok(Some(verdicts.rewards)) };
        if interrupt::asked() {
            return Ok(None);
        }
        if failed as f64 <= limit {
            return Ok(Some(verdicts.rewards));
        }
        if waited >= limits.pause {
            return Err(too_many(problem, failed));
        }
        if waited.is_zero() {
            pause(&format!("{problem:#}"))?;
        }
        let wait = next.min(limits.pause.saturating_sub(waited));
        interrupt::wait(wait);
        (waited, next, open) = (waited + wait, (2 * next).min(WAITS[1]), left);
    }
}

/// What is known of an iteration's rollouts so far.
struct Verdicts {
    rewards: Vec<Option<Reward>>,
    /// Rollouts whose verifier failed for good.
    lost: usize,
    /// Why, for the first of them.
    reason: Option<Error>,
}

impl Verdicts {
    /// One round of questions: those to be asked again, and why for the first of them.
    fn ask<'a>(
        &mut self,
        verifier: &dyn Verifier,
        open: &[&'a Asked<'a>],
    ) -> (Vec<&'a Asked<'a>>, Option<Error>) {
        let (mut left, mut away) = (Vec::new(), None);
        for (asked, reward) in open.iter().zip(verifier.rewards(open)) {
            match reward {
                Ok(reward) => self.rewards[asked.at] = Some(reward),
                Err(problem) if Away::of(&problem).is_some() => {
                    left.push(*asked);
                    away.get_or_insert(problem);
                }
                Err(problem) => {
                    self.lost += 1;
                    self.reason.get_or_insert(problem);
                }
            }
        }
        (left, away)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rollout::Case;
    use super::*;
    use anyhow::anyhow;
    use earl_model::CodeGrid;
    use earl_model::batch::{Prompt, Written};
    use std::cell::{Cell, RefCell};

    /// Is away in the first rounds, and never judges the rollouts listed.
    struct Shaky {
        away_rounds: usize,
        never: &'static [usize],
        asked: RefCell<Vec<Vec<usize>>>,
    }

    impl Verifier for Shaky {
        fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
            let round = self.asked.borrow().len();
            self.asked.borrow_mut().push(asked.iter().map(|asked| asked.at).collect());
            let reward = |asked: &&Asked<'_>| match asked.at {
                at if self.never.contains(&at) => Err(anyhow!("nonsense about {at}")),
                // The first half is judged before the server goes away.
                at if round < self.away_rounds && at >= 5 => {
                    Err(Error::from(Away::unasked()).context("the part `mllm` of the mix"))
                }
                at => Ok(Reward::new(at as f64, None)),
            };
            asked.iter().map(reward).collect()
        }
    }

    fn judged(shaky: &Shaky, pause_ms: u64) -> (Result<Option<Vec<Option<Reward>>>>, usize) {
        let example = earl_scenes::example(0, 0, earl_scenes::Split::Train, None);
        let source = CodeGrid { height: 0, width: 0, codes: Vec::new() };
        let picture = image::RgbImage::new(1, 1);
        let case = Case { example, picture, prompt: Prompt { source, words: Vec::new() } };
        let written = Written { program: Vec::new(), choices: Vec::new() };
        let asked: Vec<Asked> = (0..10)
            .map(|at| Asked {
                at,
                case: &case,
                written: &written,
                picture: &case.picture,
                number: 40 + at as u64,
                given: None,
            })
            .collect();
        let pauses = Cell::new(0);
        let mut pause = |said: &str| {
            assert!(said.contains("can't be reached"), "{said}");
            pauses.set(pauses.get() + 1);
            Ok(())
        };
        let limits = Limits { failed: 0.2, pause: Duration::from_millis(pause_ms) };
        let found = judge_all(shaky, &asked, &limits, &mut pause, &|| Ok(()));
        (found, pauses.get())
    }

    #[test]
    fn a_judge_that_is_away_is_waited_for_and_asked_only_for_what_is_open() {
        let shaky = Shaky { away_rounds: 2, never: &[1], asked: RefCell::default() };
        let (found, pauses) = judged(&shaky, 5_000);
        let found = found.unwrap().unwrap();
        assert_eq!((found[1], found[9].unwrap().overall, pauses), (None, 9.0, 1));
        let rounds: Vec<usize> = shaky.asked.borrow().iter().map(Vec::len).collect();
        assert_eq!(rounds, [10, 5, 5], "verdicts that were given are not asked for again");
    }

    #[test]
    fn nonsense_and_endless_absence_end_the_run() {
        let shaky = Shaky { away_rounds: 0, never: &[1, 2, 3], asked: RefCell::default() };
        let (found, pauses) = judged(&shaky, 5_000);
        let said = format!("{:#}", found.unwrap_err());
        assert!(said.contains("no verdict on 3 of 10") && said.contains("about 1"), "{said}");
        assert_eq!(pauses, 0);
        let shaky = Shaky { away_rounds: 99, never: &[], asked: RefCell::default() };
        let (found, pauses) = judged(&shaky, 100);
        assert!(format!("{:#}", found.unwrap_err()).contains("no verdict on 5 of 10"));
        assert_eq!(pauses, 1);
    }
}
