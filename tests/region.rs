//! A region of the picture draws the edit to itself, and leaves alone what the sentence says.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_model::{EditOutcome, EditRequest, Editor, Mode, ModelError};
use earl_scenes::{Example, Op, Split, example, judge, render};
use earl_tests::shipped;
use std::ops::ControlFlow;

/// Cells of a side of the canvas.
const GRID: usize = 8;
/// Pixels of a side of a cell.
const PATCH: usize = 8;

fn edit(editor: &Editor, example: &Example, mode: Mode, within: Option<Vec<bool>>) -> EditOutcome {
    let instruction = example.instruction.clone();
    let request = EditRequest { instruction, mode, within, ..EditRequest::default() };
    let source = render(&example.scene, example.style);
    pollster::block_on(editor.edit(&source, &request, &mut |_| ControlFlow::Continue(()))).unwrap()
}

/// Examples of some operations.
fn examples(ops: &[Op], count: usize) -> Vec<Example> {
    let all = (0..).map(|index| example(6, index, Split::Seen, None));
    all.filter(|example| ops.contains(&example.op)).take(count).collect()
}

/// The cells of `size` × `size` from a corner.
fn square(row: usize, col: usize, size: usize) -> Vec<bool> {
    let inside = |at: usize, from: usize| (from..from + size).contains(&at);
    (0..GRID * GRID).map(|at| inside(at / GRID, row) && inside(at % GRID, col)).collect()
}

fn right(example: &Example, outcome: &EditOutcome) -> bool {
    let source = render(&example.scene, example.style);
    judge(&source, &outcome.image, None, &example.scene, &example.check, example.style).success
}

/// Pixels that differ from the source outside a mask.
fn changed_outside(outcome: &EditOutcome, within: &[bool]) -> usize {
    let pixels = outcome.image.enumerate_pixels();
    let outside =
        pixels.filter(|(x, y, _)| !within[*y as usize / PATCH * GRID + *x as usize / PATCH]);
    outside.filter(|(x, y, pixel)| *pixel != outcome.source.get_pixel(*x, *y)).count()
}

#[test]
fn what_is_added_is_drawn_inside_the_region() {
    let editor = shipped();
    let (mut inside, mut unasked) = (0, 0);
    let adds = examples(&[Op::Add], 40);
    for (at, example) in adds.iter().enumerate() {
        let within = square(at % 2 * 4, at / 2 % 2 * 4, 4);
        let is_inside = |outcome: &EditOutcome| {
            outcome.plan.iter().filter(|step| step.verb == "draw").all(|step| {
                let cells = (0..step.cells * step.cells)
                    .map(|at| (step.row + at / step.cells) * GRID + step.col + at % step.cells);
                cells.into_iter().all(|cell| within[cell])
            })
        };
        unasked += usize::from(is_inside(&edit(&editor, example, Mode::Local, None)));
        let steered = edit(&editor, example, Mode::Local, Some(within.clone()));
        assert_eq!(changed_outside(&steered, &within), 0, "{}", example.instruction);
        inside += usize::from(is_inside(&steered));
    }
    assert!(inside >= 34 && unasked <= 16, "{inside} of 40 inside, {unasked} without a region");
}

#[test]
fn a_region_around_what_the_sentence_names_changes_nothing_else() {
    let editor = shipped();
    let ops = [Op::Remove, Op::Replace, Op::Recolor, Op::Resize];
    let (mut free, mut steered) = (0, 0);
    for example in examples(&ops, 80) {
        let outcome = edit(&editor, &example, Mode::Local, None);
        // As a person would draw it: a box around all that changes, one cell wider.
        let boxes = outcome.plan.iter().filter(|step| step.verb != "see");
        let mut within = vec![false; GRID * GRID];
        for step in boxes {
            for row in step.row.saturating_sub(1)..(step.row + step.cells + 1).min(GRID) {
                for col in step.col.saturating_sub(1)..(step.col + step.cells + 1).min(GRID) {
                    within[row * GRID + col] = true;
                }
            }
        }
        free += usize::from(right(&example, &outcome));
        steered +=
            usize::from(right(&example, &edit(&editor, &example, Mode::Local, Some(within))));
    }
    assert!(steered + 2 >= free, "{steered} right with a region, {free} without");
}

#[test]
fn what_the_sentence_names_elsewhere_is_not_looked_for_in_the_region() {
    let editor = shipped();
    let mut wrong = 0;
    for example in examples(&[Op::Remove, Op::Replace], 40) {
        let outcome = edit(&editor, &example, Mode::Local, None);
        let named = outcome.plan.iter().find(|step| step.verb != "see").unwrap();
        // The corner farthest from it.
        let far = |at: usize| if at + 2 < GRID / 2 { GRID - 3 } else { 0 };
        let within = square(far(named.row), far(named.col), 3);
        let steered = edit(&editor, &example, Mode::Local, Some(within.clone()));
        let erased = steered.plan.iter().find(|step| step.verb == named.verb);
        wrong += usize::from(erased != Some(named));
        assert_eq!(changed_outside(&steered, &within), 0, "{}", example.instruction);
    }
    assert!(wrong <= 2, "{wrong} of 40 misled");
}

#[test]
fn codes_outside_the_region_are_the_sources_in_every_mode() {
    let editor = shipped();
    let within = square(2, 1, 5);
    for example in examples(&[Op::Background, Op::Add], 3) {
        for mode in [Mode::Local, Mode::Full, Mode::Think] {
            let outcome = edit(&editor, &example, mode, Some(within.clone()));
            let same = outcome.codes.codes.iter().zip(&outcome.source_codes.codes);
            assert!(same.zip(&within).all(|((new, old), inside)| *inside || new == old));
            assert_eq!(changed_outside(&outcome, &within), 0);
            let everywhere = edit(&editor, &example, mode, Some(vec![true; GRID * GRID]));
            let none = edit(&editor, &example, mode, None);
            assert_eq!(everywhere.program, none.program, "a region of everything is none");
        }
    }
}

#[test]
fn regions_of_no_canvas_are_refused() {
    let example = &examples(&[Op::Add], 1)[0];
    let source = render(&example.scene, example.style);
    let editor = shipped();
    for within in [vec![true; 9], vec![false; 64]] {
        let request = EditRequest {
            instruction: example.instruction.clone(),
            within: Some(within),
            ..EditRequest::default()
        };
        let go_on = &mut |_: &earl_model::EditEvent| ControlFlow::Continue(());
        let refused = pollster::block_on(editor.edit(&source, &request, go_on));
        assert!(matches!(refused, Err(ModelError::Option { name: "within", .. })));
    }
}
