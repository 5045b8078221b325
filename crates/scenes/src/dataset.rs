//! (seed, index) → example: the only way examples are made, for training and for benches.
//!
//! Start at [`example`] and [`scene_edits`].

use crate::edit::{Draft, Drafter, NOVEL_OPS, Saying};
use crate::example::{Example, Op, Split};
use crate::generate::scene;
use crate::instruct::{clause, fill};
use crate::random::{chance, stream, weighted};
use crate::scene::{Scene, Style};
use crate::split::{EVAL_SEED, Novelty};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// How often each operation is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct OpWeights([f64; Op::ALL.len()]);

/// Share of scenes that hold several objects of one class.
const REPEATS: f64 = 0.12;
/// The same among training scenes, if nothing else is asked for: telling twins apart and counting them take
/// the longest to learn.
pub const TRAINING_REPEATS: f64 = 0.35;
/// The same among scenes made for a `count` edit.
const REPEATS_FOR_COUNT: f64 = 0.7;
/// Tries at one edit of a given scene before another operation is drawn.
const TRIES: usize = 8;

impl OpWeights {
    /// Every operation equally often.
    #[must_use]
    pub fn even() -> Self {
        Self([1.0; Op::ALL.len()])
    }

    /// The training mix (harder operations more often), with overrides by operation name.
    #[must_use]
    pub fn training(overrides: &BTreeMap<String, f64>) -> Self {
        let weight = |op: &Op| match op {
            Op::Background => 0.5,
            Op::Remove | Op::Replace | Op::Recolor | Op::Resize => 1.0,
            Op::Add | Op::Count => 1.2,
            Op::Relation | Op::Move | Op::Swap | Op::Multi => 1.3,
        };
        Self(
            Op::ALL
                .each_ref()
                .map(|op| overrides.get(op.name()).copied().unwrap_or_else(|| weight(op))),
        )
    }
}

impl Op {
    /// The operation's name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Recolor => "recolor",
            Self::Background => "background",
            Self::Relation => "relation",
            Self::Move => "move",
            Self::Resize => "resize",
            Self::Count => "count",
            Self::Swap => "swap",
            Self::Multi => "multi",
        }
    }
}

impl Split {
    /// The split's name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Seen => "seen",
            Self::Classes => "classes",
            Self::Phrases => "phrases",
            Self::Style => "style",
        }
    }

    /// The drawings of its scenes.
    #[must_use]
    pub fn style(self) -> Style {
        if self == Self::Style { Style::Noto } else { Style::Fluent3d }
    }

    /// The seed of its streams: evaluation seeds lie above all training seeds.
    fn seed(self, seed: u64) -> u64 {
        if self == Self::Train { seed % EVAL_SEED } else { EVAL_SEED + seed % EVAL_SEED }
    }
}

/// The example at `index`; everything follows from (seed, index, split, op).
///
/// Without an operation they take turns. In split `classes`, an operation whose classes can't be
/// new gives way to the next that can.
#[must_use]
pub fn example(seed: u64, index: u64, split: Split, op: Option<Op>) -> Example {
    let turn = |ops: &[Op]| ops[(index % ops.len() as u64) as usize];
    let op = match (op, split) {
        (Some(op), Split::Classes) if !NOVEL_OPS.contains(&op) => turn(&NOVEL_OPS),
        (Some(op), _) => op,
        (None, Split::Classes) => turn(&NOVEL_OPS),
        (None, _) => turn(&Op::ALL),
    };
    let purpose = 16 * (split as u64 + 1) + op as u64;
    let mut rng = stream(split.seed(seed), purpose, index);
    loop {
        let repeats = wants_repeats(&mut rng, op, split);
        let source = scene(&mut rng, split.style(), repeats);
        for _ in 0..TRIES {
            if let Some(draft) = draft(&source, split, op, &mut rng) {
                return finish(
                    format!("{}-{index:04}", split.name()),
                    split,
                    op,
                    source,
                    draft,
                    &mut rng,
                );
            }
        }
    }
}

/// `count` training edits of one scene, so that its picture is read once; `repeats` is the share of scenes
/// that hold several objects of one class.
#[must_use]
pub fn scene_edits(
    seed: u64,
    index: u64,
    count: usize,
    weights: &OpWeights,
    repeats: f64,
) -> Vec<Example> {
    let split = Split::Train;
    let mut rng = stream(split.seed(seed), 1, index);
    let repeats = chance(&mut rng, repeats);
    let source = scene(&mut rng, split.style(), repeats);
    let mut examples = Vec::with_capacity(count);
    while examples.len() < count {
        let Some(op) = weighted(&mut rng, &weights.0).map(|at| Op::ALL[at]) else {
            break;
        };
        let made = (0..TRIES).find_map(|_| draft(&source, split, op, &mut rng));
        if let Some(draft) = made {
            let id = format!("train-{index}-{}", examples.len());
            examples.push(finish(id, split, op, source.clone(), draft, &mut rng));
        }
    }
    examples
}

fn wants_repeats(rng: &mut ChaCha8Rng, op: Op, split: Split) -> bool {
    let share = match op {
        Op::Count if split != Split::Classes => REPEATS_FOR_COUNT,
        Op::Swap | Op::Count => 0.0,
        _ => REPEATS,
    };
    chance(rng, share)
}

fn draft(source: &Scene, split: Split, op: Op, rng: &mut ChaCha8Rng) -> Option<Draft> {
    let novelty = Novelty::of(split);
    Drafter { scene: source, style: split.style(), novelty, rng }.draft(op)
}

fn finish(
    id: String,
    split: Split,
    op: Op,
    scene: Scene,
    draft: Draft,
    rng: &mut ChaCha8Rng,
) -> Example {
    let instruction = say(&draft.saying, split == Split::Phrases, rng);
    let Draft { check, target, plan, .. } = draft;
    Example { id, split, op, style: split.style(), scene, instruction, check, target, plan }
}

fn say(saying: &Saying, held_out: bool, rng: &mut ChaCha8Rng) -> String {
    let slots = |saying: &Saying| -> Vec<(&'static str, String)> { saying.slots.clone() };
    if let [a, b] = &saying.halves[..] {
        let mut half = |saying: &Saying| {
            let slots = slots(saying);
            let slots: Vec<(&str, &str)> =
                slots.iter().map(|(key, text)| (*key, text.as_str())).collect();
            clause(&saying.family, &slots, held_out, rng)
        };
        let (a, b) = (half(a), half(b));
        return fill("multi", &[("a", &a), ("b", &b)], held_out, rng);
    }
    let slots = slots(saying);
    let slots: Vec<(&str, &str)> = slots.iter().map(|(key, text)| (*key, text.as_str())).collect();
    fill(&saying.family, &slots, held_out, rng)
}
