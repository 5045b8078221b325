//! Pixels → background and objects: which drawings stand in a picture, and where.
//!
//! Works on any picture of the canvas' size; knows nothing of edits. Exact: what is left out early
//! could not have been accepted. Source: `docs/SCENES.md`, "Oracle". Start at [`detect`].

use super::table::{BLOCK, BLOCK_AREA, Drawing, block_sums, table};
use crate::scene::{Background, CANVAS_PX, CELL_PX, GRID, OBJECT_CELLS, Object, Style};
use image::RgbImage;

/// A window shows a drawing at this peak signal-to-noise ratio or above, in dB.
const ACCEPT_DB: f32 = 17.0;
/// The drawing beats every other class by this much, in dB.
const MARGIN_DB: f32 = 1.0;
/// Standard deviation below which a cell is flat, in 1/255.
const FLAT_DEVIATION: f32 = 4.0;
/// Farthest a flat cell's mean may lie from the background, in 1/255 of any channel.
const BACKGROUND_DISTANCE: f32 = 12.0;
/// With fewer flat cells the background is found by counting pixels.
const FEW_FLAT_CELLS: usize = 4;
/// Value given to a perfect match, in dB.
const PERFECT_DB: f32 = 99.0;

const SIDE: usize = CANVAS_PX as usize;
const CELL: usize = CELL_PX as usize;
const CELLS: usize = GRID as usize;

/// What stands in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Colour behind everything.
    pub background: Background,
    /// Objects; first those that explain most of the picture.
    pub objects: Vec<Found>,
    /// Cells, row by row, that are flat and of the background's colour.
    pub empty: [bool; CELLS * CELLS],
}

/// One object and how well it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Class, tint and box.
    pub object: Object,
    /// Peak signal-to-noise ratio against the true drawing, in dB; 99 for a perfect one.
    pub psnr_db: f32,
}

/// The objects of a picture of 64×64 pixels; nothing is found in a picture of another size.
#[must_use]
pub fn detect(picture: &RgbImage, style: Style) -> Detection {
    if picture.dimensions() != (CANVAS_PX, CANVAS_PX) {
        let empty = [false; CELLS * CELLS];
        return Detection { background: Background::White, objects: Vec::new(), empty };
    }
    let cells = cell_statistics(picture);
    let background = background(picture, &cells);
    let empty = cells.map(|cell| cell.is_flat() && cell.is_near(background));
    let mut candidates = candidates(picture, style, background, &empty);
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.explained)); // stable: larger boxes first
    let mut objects: Vec<Found> = Vec::new();
    let mut taken = [false; CELLS * CELLS];
    for Candidate { found, .. } in candidates {
        let Object { row, col, cells, .. } = found.object;
        if !cells_of(row, col, cells).any(|at| taken[at]) {
            cells_of(row, col, cells).for_each(|at| taken[at] = true);
            objects.push(found);
        }
    }
    Detection { background, objects, empty }
}

/// A window with a drawing that may stand there.
struct Candidate {
    found: Found,
    /// Squared error that the drawing takes away from the bare background.
    explained: i64,
}

/// Acceptable drawings of all windows that hold more than background, largest windows first.
fn candidates(
    picture: &RgbImage,
    style: Style,
    background: Background,
    empty: &[bool; CELLS * CELLS],
) -> Vec<Candidate> {
    let blocks = block_sums(picture.as_raw(), SIDE, SIDE);
    let bare = bare_errors(picture, background);
    let mut candidates = Vec::new();
    for cells in OBJECT_CELLS.into_iter().rev() {
        let drawings = table(style, background, cells);
        for row in 0..=GRID - cells {
            for col in 0..=GRID - cells {
                if cells_of(row, col, cells).all(|at| empty[at]) {
                    continue;
                }
                let bare = cells_of(row, col, cells).map(|at| bare[at]).sum();
                let window = Window { picture: picture.as_raw(), blocks: &blocks, row, col, cells };
                candidates.extend(window.best(drawings, bare));
            }
        }
    }
    candidates
}

/// Squared error of each cell against the bare background.
fn bare_errors(picture: &RgbImage, background: Background) -> [i64; CELLS * CELLS] {
    let mut errors = [0; CELLS * CELLS];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let square = |(&a, b): (&u8, u8)| i64::from(a.abs_diff(b)).pow(2);
        errors[y as usize / CELL * CELLS + x as usize / CELL] +=
            pixel.0.iter().zip(background.rgb()).map(square).sum::<i64>();
    }
    errors
}

/// Indices, row by row, of the cells of a box.
pub(super) fn cells_of(row: u8, col: u8, cells: u8) -> impl Iterator<Item = usize> + Clone {
    (row..row + cells)
        .flat_map(move |r| (col..col + cells).map(move |c| usize::from(r) * CELLS + usize::from(c)))
}

/// Mean and standard deviation of a cell, per channel, in 1/255.
#[derive(Clone, Copy, Default)]
struct CellStatistics {
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl CellStatistics {
    fn is_flat(&self) -> bool {
        self.deviation.iter().all(|&deviation| deviation < FLAT_DEVIATION)
    }

    fn is_near(&self, background: Background) -> bool {
        let near = |(mean, of): (&f32, u8)| (mean - f32::from(of)).abs() <= BACKGROUND_DISTANCE;
        self.mean.iter().zip(background.rgb()).all(near)
    }
}

fn cell_statistics(picture: &RgbImage) -> [CellStatistics; CELLS * CELLS] {
    let mut sums = [[[0_u32; 2]; 3]; CELLS * CELLS];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let cell = &mut sums[y as usize / CELL * CELLS + x as usize / CELL];
        for (sum, &value) in cell.iter_mut().zip(&pixel.0) {
            sum[0] += u32::from(value);
            sum[1] += u32::from(value) * u32::from(value);
        }
    }
    let area = (CELL * CELL) as f32;
    sums.map(|cell| {
        let mean = cell.map(|[sum, _]| sum as f32 / area);
        let variance = |[sum, squares]: [u32; 2]| {
            (squares as f32 / area - (sum as f32 / area).powi(2)).max(0.0)
        };
        CellStatistics { mean, deviation: cell.map(|sums| variance(sums).sqrt()) }
    })
}

/// Named colour nearest to the median of the flat cells; with few of them, the named colour that
/// most pixels come near to.
fn background(picture: &RgbImage, cells: &[CellStatistics]) -> Background {
    let flat: Vec<[f32; 3]> = cells.iter().filter(|c| c.is_flat()).map(|c| c.mean).collect();
    if flat.len() < FEW_FLAT_CELLS {
        let near = |colour: Background| {
            let close =
                |(&value, of): (&u8, u8)| f32::from(value.abs_diff(of)) <= BACKGROUND_DISTANCE;
            picture.pixels().filter(|p| p.0.iter().zip(colour.rgb()).all(close)).count()
        };
        let most = |a: &Background, b: &Background| near(*a).cmp(&near(*b)).then(b.cmp(a));
        return Background::ALL.into_iter().max_by(most).unwrap_or(Background::White);
    }
    let median = |channel: usize| {
        let mut values: Vec<f32> = flat.iter().map(|mean| mean[channel]).collect();
        values.sort_by(f32::total_cmp);
        f32::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
    };
    let median = [median(0), median(1), median(2)];
    let distance = |colour: &Background| -> f32 {
        colour.rgb().iter().zip(median).map(|(&value, m)| (f32::from(value) - m).powi(2)).sum()
    };
    let nearest = |a: &Background, b: &Background| distance(a).total_cmp(&distance(b));
    Background::ALL.into_iter().min_by(nearest).unwrap_or(Background::White)
}

/// A square of whole cells of a picture.
struct Window<'a> {
    picture: &'a [u8],
    blocks: &'a [i32],
    row: u8,
    col: u8,
    cells: u8,
}

impl Window<'_> {
    /// The best drawing, if it is good enough and clearly better than every other class and than
    /// no object at all, whose error is `bare`: a drawing almost as dull as the background is near
    /// to nearly everything.
    fn best(&self, drawings: &[Drawing], bare: i64) -> Option<Candidate> {
        let side = usize::from(self.cells) * CELL;
        let limit = squared_error_at(ACCEPT_DB, side);
        // A rival counts up to the margin behind the best, so look a little farther than `limit`.
        let rival_limit = squared_error_at(ACCEPT_DB - MARGIN_DB, side);
        let mut best: Option<(i64, &Drawing)> = None;
        let mut rival = bare; // best error of any other class
        for drawing in drawings {
            if self.least_error(drawing) > rival_limit {
                continue;
            }
            let error = self.error(drawing, rival_limit);
            match best {
                Some((lowest, leader)) if error >= lowest => {
                    if leader.class != drawing.class {
                        rival = rival.min(error);
                    }
                }
                _ => {
                    if let Some((lowest, leader)) = best
                        && leader.class != drawing.class
                    {
                        rival = rival.min(lowest);
                    }
                    best = Some((error, drawing));
                }
            }
        }
        let (error, drawing) = best?;
        let psnr_db = psnr_db(error, side);
        if error > limit || psnr_db - self::psnr_db(rival, side) < MARGIN_DB {
            return None;
        }
        let Self { row, col, cells, .. } = *self;
        let object = Object { class: drawing.class, tint: drawing.tint, row, col, cells };
        Some(Candidate { found: Found { object, psnr_db }, explained: bare - error })
    }

    /// A lower bound of [`Self::error`] from sums of blocks.
    fn least_error(&self, drawing: &Drawing) -> i64 {
        let per_cell = CELL / BLOCK;
        let (across, length) = (SIDE / BLOCK, usize::from(self.cells) * per_cell * 3);
        let mut error = 0_i64;
        for (at, row) in drawing.blocks.chunks_exact(length).enumerate() {
            let y = usize::from(self.row) * per_cell + at;
            let from = (y * across + usize::from(self.col) * per_cell) * 3;
            let here = &self.blocks[from..from + length];
            // At most 48 terms of (16 · 255)²: fits 32 bits.
            error += i64::from(here.iter().zip(row).map(|(a, b)| (a - b) * (a - b)).sum::<i32>());
        }
        error / i64::from(BLOCK_AREA)
    }

    /// Sum of squared differences in 1/255; stops above `limit`.
    fn error(&self, drawing: &Drawing, limit: i64) -> i64 {
        let length = usize::from(self.cells) * CELL * 3;
        let mut error = 0_i64;
        for (at, row) in drawing.pixels.chunks_exact(length).enumerate() {
            let y = usize::from(self.row) * CELL + at;
            let from = (y * SIDE + usize::from(self.col) * CELL) * 3;
            let here = &self.picture[from..from + length];
            let square = |(&a, &b): (&u8, &u8)| (i32::from(a) - i32::from(b)).pow(2);
            error += i64::from(here.iter().zip(row).map(square).sum::<i32>());
            if error > limit {
                break;
            }
        }
        error
    }
}

/// Largest squared error of a window that still has this ratio.
fn squared_error_at(db: f32, side: usize) -> i64 {
    (10_f32.powf(-db / 10.0) * 255.0 * 255.0 * (side * side * 3) as f32) as i64
}

fn psnr_db(error: i64, side: usize) -> f32 {
    if error == 0 {
        return PERFECT_DB;
    }
    let mean = error as f32 / (side * side * 3) as f32;
    (10.0 * (255.0 * 255.0 / mean).log10()).min(PERFECT_DB)
}
