//! The oracle: source, edited picture and check in, score parts and success out.
//!
//! Place in the flow: scene → edit → instruction, plan, check → pixels → **oracle**. Deterministic
//! and by rule only: no model, no sentence, no memory of the drawn answer, so that every right
//! answer counts alike. Source: `docs/SCENES.md`, "Oracle"; the form of the score is `VIEScore`'s
//! (arXiv 2312.14867). Start at [`judge`].

mod detect;
mod matching;
mod table;

pub use detect::{Detection, Found, detect};

use crate::example::Check;
use crate::scene::{CANVAS_PX, CELL_PX, GRID, Scene, Style};
use detect::cells_of;
use image::RgbImage;
use matching::Clauses;
use serde::{Deserialize, Serialize};

const CELLS: usize = GRID as usize;
/// Mean difference a cell outside the edit may have, in 1/255.
const SAME_CELL_DIFFERENCE: f32 = 3.0;
/// Share of unchanged cells at which preservation is 0.
const LOWEST_SHARE: f32 = 0.8;
/// Ratio at which a drawing is worth nothing, and the span up to a full mark, in dB.
const RECOGNISABLE_DB: (f32, f32) = (14.0, 10.0);
/// Faulty cells at which cleanness is 0.
const FAULTY_CELLS: f32 = 8.0;
/// Most an edit gets for its instruction while a clause is open.
const UNFINISHED: f32 = 5.0;
/// Least preservation of a success.
const SUCCESS_PRESERVATION: f32 = 9.0;

/// How good an edit is. Parts and `overall` run from 0 to 10.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What was asked for was done.
    pub instruction: f32,
    /// What was not asked for stayed.
    pub preservation: f32,
    /// Objects look like what they are.
    pub recognisable: f32,
    /// Nothing is there that should not be.
    pub clean: f32,
    /// √(min(instruction, preservation) · min(recognisable, clean)).
    pub overall: f32,
    /// Every clause, every kept object, no fault, preservation ≥ 9.
    pub success: bool,
    /// Pixels outside the edit's boxes (none with a new background).
    pub outside_pixels: usize,
    /// Those of them that differ from the source at all.
    pub outside_changed: usize,
    /// What is wrong, one line each.
    pub faults: Vec<String>,
}

/// Judges an edit of `scene`, drawn in `style`, against what `check` accepts.
///
/// Preservation is measured against `round_trip`, the source's own way through a tokenizer, or
/// against the source itself. A picture of another size than 64×64 scores 0.
#[must_use]
pub fn judge(
    source: &RgbImage,
    edited: &RgbImage,
    round_trip: Option<&RgbImage>,
    scene: &Scene,
    check: &Check,
    style: Style,
) -> Score {
    let reference = round_trip.unwrap_or(source);
    for picture in [source, edited, reference] {
        if picture.dimensions() != (CANVAS_PX, CANVAS_PX) {
            let (width, height) = picture.dimensions();
            return Score::nothing(format!("a picture is {width}×{height} pixels, not 64×64"));
        }
    }
    let detection = detect(edited, style);
    let mut clauses = Clauses::read(scene, check, &detection);
    let area = edit_area(scene, check, &detection, &clauses);
    let faulty_cells = faulty_cells(&detection, &mut clauses);
    let instruction = instruction(&clauses);
    let preservation = preservation(reference, edited, &area) * clauses.kept_share();
    let recognisable = recognisable(&detection, check);
    let clean = 10.0 * (1.0 - faulty_cells as f32 / FAULTY_CELLS).max(0.0);
    let (outside_pixels, outside_changed) = outside(source, edited, &area);
    Score {
        instruction,
        preservation,
        recognisable,
        clean,
        overall: (instruction.min(preservation) * recognisable.min(clean)).sqrt(),
        success: clauses.all_satisfied()
            && clauses.all_kept()
            && faulty_cells == 0
            && preservation >= SUCCESS_PRESERVATION,
        outside_pixels,
        outside_changed,
        faults: clauses.faults,
    }
}

impl Score {
    /// The score of an edit that was never made.
    #[must_use]
    pub fn failed() -> Self {
        Self::nothing("there is no edit".into())
    }

    fn nothing(fault: String) -> Self {
        Self {
            instruction: 0.0,
            preservation: 0.0,
            recognisable: 0.0,
            clean: 0.0,
            overall: 0.0,
            success: false,
            outside_pixels: 0,
            outside_changed: 0,
            faults: vec![fault],
        }
    }
}

fn instruction(clauses: &Clauses) -> f32 {
    let share = 10.0 * clauses.satisfied as f32 / clauses.count as f32;
    if clauses.all_satisfied() { share } else { share.min(UNFINISHED) }
}

/// Cells the edit may touch: boxes of objects not kept and of new ones; all with a new background.
fn edit_area(
    scene: &Scene,
    check: &Check,
    detection: &detect::Detection,
    clauses: &Clauses,
) -> [bool; CELLS * CELLS] {
    let mut area = [check.background != scene.background; CELLS * CELLS];
    let gone = scene.objects.iter().enumerate().filter(|(at, _)| !check.kept.contains(at));
    let new = clauses.new_found.iter().map(|&at| &detection.objects[at].object);
    for object in gone.map(|(_, object)| object).chain(new) {
        cells_of(object.row, object.col, object.cells).for_each(|cell| area[cell] = true);
    }
    area
}

/// Cells of objects that should not be there and cells that are neither background nor object.
fn faulty_cells(detection: &detect::Detection, clauses: &mut Clauses) -> usize {
    let mut owned = [false; CELLS * CELLS];
    let mut faulty = 0;
    for (at, found) in detection.objects.iter().enumerate() {
        let object = found.object;
        cells_of(object.row, object.col, object.cells).for_each(|cell| owned[cell] = true);
        if clauses.unexpected.contains(&at) {
            faulty += usize::from(object.cells).pow(2);
        }
    }
    for cell in (0..CELLS * CELLS).filter(|&cell| !owned[cell] && !detection.empty[cell]) {
        faulty += 1;
        let (row, column) = (cell / CELLS, cell % CELLS);
        let fault =
            format!("row {row}, column {column} is neither background nor part of an object");
        clauses.faults.push(fault);
    }
    faulty
}

/// 0 at or below 80 % unchanged cells outside the edit, 10 when all are.
fn preservation(reference: &RgbImage, edited: &RgbImage, area: &[bool; CELLS * CELLS]) -> f32 {
    let outside = area.iter().filter(|&&inside| !inside).count();
    if outside == 0 {
        return 10.0;
    }
    let mut differences = [0_u32; CELLS * CELLS];
    for (x, y, pixel) in edited.enumerate_pixels() {
        let cell = (y / CELL_PX) as usize * CELLS + (x / CELL_PX) as usize;
        let before = reference.get_pixel(x, y);
        differences[cell] +=
            pixel.0.iter().zip(&before.0).map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>();
    }
    let values_of_a_cell = (CELL_PX * CELL_PX * 3) as f32;
    let same = |cell: &usize| differences[*cell] as f32 / values_of_a_cell <= SAME_CELL_DIFFERENCE;
    let same = (0..CELLS * CELLS).filter(|&cell| !area[cell]).filter(same).count();
    let share = same as f32 / outside as f32;
    10.0 * ((share - LOWEST_SHARE) / (1.0 - LOWEST_SHARE)).clamp(0.0, 1.0)
}

/// Mean quality of the drawings; with none, full marks only if none was asked for.
fn recognisable(detection: &detect::Detection, check: &Check) -> f32 {
    let count = detection.objects.len();
    if count == 0 {
        let some_stay = check.some.iter().any(|some| some.n > 0);
        let none_expected = check.kept.is_empty() && check.new.is_empty() && !some_stay;
        return if none_expected { 10.0 } else { 0.0 };
    }
    let (zero, span) = RECOGNISABLE_DB;
    let mark = |found: &Found| ((found.psnr_db - zero) / span).clamp(0.0, 1.0) * 10.0;
    detection.objects.iter().map(mark).sum::<f32>() / count as f32
}

/// Pixels outside the edit, and those of them that differ from the source.
fn outside(source: &RgbImage, edited: &RgbImage, area: &[bool; CELLS * CELLS]) -> (usize, usize) {
    let pairs = source.enumerate_pixels().zip(edited.pixels());
    let outside = pairs
        .filter(|((x, y, _), _)| !area[(y / CELL_PX) as usize * CELLS + (x / CELL_PX) as usize]);
    outside.fold((0, 0), |(all, changed), ((_, _, before), after)| {
        (all + 1, changed + usize::from(before != after))
    })
}

#[cfg(test)]
mod tests;
