//! A program's effect on the picture: codes and pixels of the result, and what changed outside.
//!
//! In `local` a pixel outside the program's boxes is the source's own. Inside, a code the source
//! shows as well takes the source's pixels (an exact background, an exact moved object); any other
//! is decoded. A new background is recomposed: `pixel + (1 − coverage) · (new − old)`.
//! In `full` and `think` every cell is decoded from the generated codes.

use crate::ids::{CodeGrid, CodeId};
use crate::image::{background_colour, cell_bytes, put_cell};
use crate::sequence::{Placed, Step};
use crate::vision::{Layer, LayeredVq};
use image::RgbImage;

/// The result of an edit.
pub struct Composed {
    /// The edited picture, canvas size.
    pub picture: RgbImage,
    /// Its codes.
    pub codes: CodeGrid,
    /// Pixels outside the edit's boxes.
    pub outside_pixels: usize,
    /// Those of them that differ from the source (in `full` and `think`: from its round trip).
    pub outside_changed: usize,
}

/// Applies the steps of a `local` program to the source.
#[must_use]
pub fn local(
    tokenizer: &LayeredVq,
    source: &RgbImage,
    source_codes: &CodeGrid,
    steps: &[Step],
) -> Composed {
    let patch = tokenizer.config().patch;
    let ground = source_codes.most_frequent().unwrap_or(CodeId(0));
    let (mut codes, touched) = apply_steps(source_codes, ground, steps);
    let new_ground = steps.iter().rev().find_map(|step| match step {
        Step::Background(_, code) => *code,
        _ => None,
    });
    let behind = background_colour(source, patch);
    let colour = new_ground.map(|code| tokenizer.layer(code).mean_over(behind));
    let mut picture = source.clone();
    for cell in 0..codes.codes.len() {
        let (row, col) = (cell / codes.width, cell % codes.width);
        let code = codes.codes[cell];
        // Where to take the source's own pixels for this code, if anywhere.
        let own = if touched[cell] {
            source_codes.codes.iter().position(|&other| other == code)
        } else {
            Some(cell)
        };
        let layer = tokenizer.layer(code);
        let bytes = match (own, colour) {
            (Some(_), Some(colour)) if code == ground => colour.repeat(patch * patch),
            (Some(at), Some(colour)) => {
                let bytes = cell_bytes(source, patch, at / codes.width, at % codes.width);
                recompose(&bytes, layer, behind, colour)
            }
            (Some(at), None) => cell_bytes(source, patch, at / codes.width, at % codes.width),
            (None, _) => layer.over(colour.unwrap_or(behind)),
        };
        put_cell(&mut picture, patch, row, col, &bytes);
    }
    if let Some(new_ground) = new_ground {
        for code in codes.codes.iter_mut().filter(|code| **code == ground) {
            *code = new_ground;
        }
    }
    let touched = if new_ground.is_some() { vec![true; touched.len()] } else { touched };
    finish(source, picture, codes, &touched, patch)
}

/// Decodes a whole generated picture.
///
/// `plan` names the boxes of a `think` program; without one (`full`) the cells whose code changed
/// count as the edit, all of them if the background's code did.
#[must_use]
pub fn whole(
    tokenizer: &LayeredVq,
    source_codes: &CodeGrid,
    codes: CodeGrid,
    plan: &[Step],
) -> Composed {
    let patch = tokenizer.config().patch;
    let round_trip = paint(tokenizer, source_codes);
    let picture = paint(tokenizer, &codes);
    let new_ground = plan.iter().any(|step| matches!(step, Step::Background(..)))
        || (plan.is_empty() && codes.most_frequent() != source_codes.most_frequent());
    let touched = if new_ground {
        vec![true; codes.codes.len()]
    } else if plan.is_empty() {
        codes.codes.iter().zip(&source_codes.codes).map(|(new, old)| new != old).collect()
    } else {
        apply_steps(source_codes, CodeId(0), plan).1
    };
    finish(&round_trip, picture, codes, &touched, patch)
}

/// The picture a code grid stands for, over the colour of its most frequent code.
#[must_use]
pub fn paint(tokenizer: &LayeredVq, codes: &CodeGrid) -> RgbImage {
    let patch = tokenizer.config().patch;
    let ground = codes.most_frequent().unwrap_or(CodeId(0));
    let colour = tokenizer.layer(ground).mean_over([128; 3]);
    let side = tokenizer.config().canvas() as u32;
    let mut picture = RgbImage::new(side, side);
    for (cell, code) in codes.codes.iter().enumerate() {
        // The background itself is painted flat: one colour, no seams.
        let bytes = if *code == ground {
            colour.repeat(patch * patch)
        } else {
            tokenizer.layer(*code).over(colour)
        };
        put_cell(&mut picture, patch, cell / codes.width, cell % codes.width, &bytes);
    }
    picture
}

/// Codes after the steps, and which cells a step touched.
fn apply_steps(source: &CodeGrid, ground: CodeId, steps: &[Step]) -> (CodeGrid, Vec<bool>) {
    let mut codes = source.clone();
    let mut touched = vec![false; codes.codes.len()];
    for step in steps {
        let (placed, drawn): (&Placed, &[CodeId]) = match step {
            Step::Erase(placed) => (placed, &[]),
            Step::Draw(placed, drawn) => (placed, drawn),
            Step::See(_) | Step::Background(..) => continue,
        };
        for at in 0..placed.cells * placed.cells {
            let cell = codes.index(placed.row + at / placed.cells, placed.col + at % placed.cells);
            codes.codes[cell] = drawn.get(at).copied().unwrap_or(ground);
            touched[cell] = true;
        }
    }
    (codes, touched)
}

fn recompose(bytes: &[u8], layer: &Layer, old: [u8; 3], new: [u8; 3]) -> Vec<u8> {
    let shifted = bytes.iter().enumerate().map(|(at, &byte)| {
        let change = f32::from(new[at % 3]) - f32::from(old[at % 3]);
        let value = f32::from(byte) + (1.0 - layer.alpha[at / 3]) * change;
        value.round().clamp(0.0, 255.0) as u8
    });
    shifted.collect()
}

fn finish(
    before: &RgbImage,
    picture: RgbImage,
    codes: CodeGrid,
    touched: &[bool],
    patch: usize,
) -> Composed {
    let (mut outside_pixels, mut outside_changed) = (0, 0);
    for (x, y, pixel) in picture.enumerate_pixels() {
        let cell = codes.index(y as usize / patch, x as usize / patch);
        if !touched[cell] {
            outside_pixels += 1;
            outside_changed += usize::from(pixel != before.get_pixel(x, y));
        }
    }
    Composed { picture, codes, outside_pixels, outside_changed }
}
