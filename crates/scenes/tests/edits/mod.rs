//! Examples of every kind and verdicts on them, for the tests of the oracle.

use earl_scenes::{EVAL_SEED, Example, Object, Op, Scene, Score, Split, example, judge, render};
use image::RgbImage;

const SPLITS: [Split; 5] =
    [Split::Train, Split::Seen, Split::Classes, Split::Phrases, Split::Style];
const OPS: [Op; 11] = [
    Op::Add,
    Op::Remove,
    Op::Replace,
    Op::Recolor,
    Op::Background,
    Op::Relation,
    Op::Move,
    Op::Resize,
    Op::Count,
    Op::Swap,
    Op::Multi,
];

/// `each` examples of every operation and split.
pub(crate) fn examples(each: u64) -> impl Iterator<Item = Example> {
    let kinds = SPLITS.into_iter().flat_map(|split| OPS.map(|op| (split, op)));
    kinds.flat_map(move |(split, op)| {
        let seed = if split == Split::Train { 5 } else { EVAL_SEED + 5 };
        (0..each).map(move |index| example(seed, index, split, Some(op)))
    })
}

/// The verdict on a picture.
pub(crate) fn score(example: &Example, edited: &RgbImage) -> Score {
    let source = render(&example.scene, example.style);
    judge(&source, edited, None, &example.scene, &example.check, example.style)
}

/// The verdict on the picture of a scene.
pub(crate) fn score_of(example: &Example, answer: &Scene) -> Score {
    score(example, &render(answer, example.style))
}

fn overlap(a: Object, b: Object) -> bool {
    a.row < b.row + b.cells
        && b.row < a.row + a.cells
        && a.col < b.col + b.cells
        && b.col < a.col + a.cells
}

/// Inside the canvas and clear of everything in `scene`.
pub(crate) fn is_free(object: Object, scene: &Scene) -> bool {
    object.row + object.cells <= 8
        && object.col + object.cells <= 8
        && scene.objects.iter().all(|&other| !overlap(object, other))
}
