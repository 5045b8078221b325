//! A look at held-out edits during training: is the plan right, are the drawn codes right?
//!
//! The plan is judged symbolically, without pixels: erase and draw boxes on the source scene and ask
//! the check. So seeing, binding and placing are told apart from drawing. Judged pictures are the
//! business of `eval`.

use super::codes::CodeTable;
use anyhow::Result;
use earl_model::batch::{Draw, Prompt, write_programs};
use earl_model::sequence::{self, Placed, Step, Vocabulary};
use earl_model::{EditRequest, Editor, Mode, Seed};
use earl_scenes::{Check, Example, Object, Op, Scene, Split, Tint};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Counts of one operation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Edits looked at.
    pub n: usize,
    /// The verbs, in their order, are those of the example's plan.
    pub verbs: usize,
    /// Every erased or looked-at box is an object of the source, named right.
    pub found: usize,
    /// The plan, carried out, passes the check.
    pub plan: usize,
    /// Drawn codes that are the canonical ones of the drawn object.
    pub codes: usize,
    /// Drawn codes.
    pub drawn: usize,
}

/// Looks at `per_op` held-out edits of every operation, greedily, in mode `local`.
pub(crate) fn probe(
    editor: &Editor,
    codes: &CodeTable,
    split: Split,
    per_op: usize,
) -> BTreeMap<Op, Tally> {
    let mut tallies = BTreeMap::new();
    for op in Op::ALL {
        let tally: &mut Tally = tallies.entry(op).or_default();
        for index in 0..per_op as u64 {
            let example = earl_scenes::example(earl_scenes::EVAL_SEED, index, split, Some(op));
            look(editor, codes, &example, tally);
        }
    }
    tallies
}

/// Mean entropy of control tokens (text) and of picture codes, in nats a free token, where the model
/// samples for one held-out prompt of each operation at temperature 1: as `rl` reports them.
///
/// # Errors
/// If the model is broken.
pub(crate) fn entropies(editor: &Editor, split: Split) -> Result<[f64; 2]> {
    let (vocabulary, mut prompts) = (editor.vocabulary(), Vec::new());
    for index in 0..Op::ALL.len() as u64 {
        let example = earl_scenes::example(earl_scenes::EVAL_SEED, index, split, None);
        let picture = earl_scenes::render(&example.scene, example.style);
        let source = editor.tokenizer().encode(&picture)?;
        let words = vocabulary.text().encode(&example.instruction)?;
        prompts.push(Prompt { source, words });
    }
    let draw = |prompt| Draw { prompt, seed: Seed(prompt as u64) };
    let draws: Vec<Draw> = (0..prompts.len()).map(draw).collect();
    let written = write_programs(editor.lm(), vocabulary, &prompts, &draws, Mode::Local, 1.0);
    let written = pollster::block_on(written)?;
    Ok([false, true].map(|is_code| {
        let choices = written.iter().flat_map(|written| &written.choices);
        let own: Vec<f64> = choices
            .filter(|choice| choice.is_code == is_code)
            .map(|choice| choice.entropy)
            .collect();
        own.iter().sum::<f64>() / own.len().max(1) as f64
    }))
}

/// Looks at one edit and counts it. An edit the model can't write counts as wrong.
pub(crate) fn look(editor: &Editor, codes: &CodeTable, example: &Example, tally: &mut Tally) {
    tally.n += 1;
    if let Some(steps) = write_plan(editor, example) {
        count(tally, editor.vocabulary(), codes, example, &steps);
    }
}

fn write_plan(editor: &Editor, example: &Example) -> Option<Vec<Step>> {
    let request = EditRequest {
        instruction: example.instruction.clone(),
        mode: Mode::Local,
        ..EditRequest::default()
    };
    let source = earl_scenes::render(&example.scene, example.style);
    let outcome =
        pollster::block_on(editor.edit(&source, &request, &mut |_| ControlFlow::Continue(())));
    sequence::parse(editor.vocabulary(), Mode::Local, &outcome.ok()?.program)
        .ok()
        .map(|(steps, _)| steps)
}

fn count(
    tally: &mut Tally,
    vocabulary: &Vocabulary,
    codes: &CodeTable,
    example: &Example,
    steps: &[Step],
) {
    let verb = |step: &Step| match step {
        Step::See(_) => 0,
        Step::Erase(_) => 1,
        Step::Draw(..) => 2,
        Step::Background(..) => 3,
    };
    let planned = |step: &earl_scenes::Step| match step {
        earl_scenes::Step::See(_) => 0,
        earl_scenes::Step::Erase(_) => 1,
        earl_scenes::Step::Draw(_) => 2,
        earl_scenes::Step::Background(_) => 3,
    };
    tally.verbs += usize::from(steps.iter().map(verb).eq(example.plan.iter().map(planned)));
    let found = steps.iter().all(|step| match step {
        Step::See(placed) | Step::Erase(placed) => {
            object(vocabulary, placed).is_some_and(|object| example.scene.objects.contains(&object))
        }
        _ => true,
    });
    tally.found += usize::from(found);
    let target = carry_out(vocabulary, &example.scene, steps);
    tally.plan +=
        usize::from(target.is_some_and(|target| passes(&example.scene, &target, &example.check)));
    for step in steps {
        if let Step::Draw(placed, drawn) = step
            && let Some(object) = object(vocabulary, placed)
        {
            let canonical = codes.draw(&object, example.scene.background);
            tally.drawn += canonical.len();
            tally.codes += canonical.iter().zip(drawn).filter(|(a, b)| a == b).count();
        }
    }
}

fn object(vocabulary: &Vocabulary, placed: &Placed) -> Option<Object> {
    let class = vocabulary.names().iter().position(|&name| name == placed.name)?;
    let tint = match placed.tint {
        None => None,
        Some(token) => {
            Some(*Tint::ALL.get(vocabulary.tints().iter().position(|&tint| tint == token)?)?)
        }
    };
    Some(Object {
        class: earl_scenes::ClassId(class as u8),
        tint,
        row: placed.row as u8,
        col: placed.col as u8,
        cells: placed.cells as u8,
    })
}

/// The scene after the steps; `None` if a step erases what is not there or draws over what stays.
fn carry_out(vocabulary: &Vocabulary, scene: &Scene, steps: &[Step]) -> Option<Scene> {
    let mut target = scene.clone();
    for step in steps {
        match step {
            Step::See(_) => {}
            Step::Erase(placed) => {
                let gone = object(vocabulary, placed)?;
                let same = |o: &Object| (o.row, o.col, o.cells) == (gone.row, gone.col, gone.cells);
                let at = target.objects.iter().position(same)?;
                target.objects.remove(at);
            }
            Step::Draw(placed, _) => {
                let new = object(vocabulary, placed)?;
                if target.objects.iter().any(|other| overlap(other, &new)) {
                    return None;
                }
                target.objects.push(new);
            }
            Step::Background(colour, _) => {
                let at = vocabulary.backgrounds().iter().position(|known| known == colour)?;
                target.background = *earl_scenes::Background::ALL.get(at)?;
            }
        }
    }
    Some(target)
}

fn overlap(a: &Object, b: &Object) -> bool {
    let apart = |a0: u8, an: u8, b0: u8, bn: u8| a0 + an <= b0 || b0 + bn <= a0;
    !(apart(a.row, a.cells, b.row, b.cells) || apart(a.col, a.cells, b.col, b.cells))
}

/// Does a scene pass the check? The symbolic form of the oracle's success.
fn passes(source: &Scene, target: &Scene, check: &Check) -> bool {
    let mut left = target.objects.clone();
    let take = |object: &Object, left: &mut Vec<Object>| {
        let at = left.iter().position(|other| other == object);
        at.map(|at| left.swap_remove(at)).is_some()
    };
    let kept = check.kept.iter().all(|&at| take(&source.objects[at], &mut left));
    let some = check.some.iter().all(|some| {
        let stay = some.of.iter().filter(|&&at| take(&source.objects[at], &mut left)).count();
        stay == some.n
    });
    let new = check.new.iter().all(|new| {
        let fits = |o: &Object| {
            o.class == new.class
                && o.tint == new.tint
                && new.places.contains(&[o.row, o.col, o.cells])
        };
        let at = left.iter().position(fits);
        at.map(|at| left.swap_remove(at)).is_some()
    });
    target.background == check.background && kept && some && new && left.is_empty()
}
