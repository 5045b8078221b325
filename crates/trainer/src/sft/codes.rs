//! The code of every cell of every drawing over every background: a table, made once by the encoder.
//!
//! Since the encoder sees one cell and one background colour, training pairs need no picture at all:
//! the codes of a scene are looked up. Drawn objects get *canonical* codes, the commonest of a cell
//! over the ten backgrounds, so that what to draw does not depend on what lies behind.

use crate::tok::{CellTable, PIXELS};
use earl_model::vision::{Layer, LayeredVq};
use earl_model::{CodeGrid, CodeId};
use earl_scenes::{Background, ClassId, Object, Scene, Style, Tint};
use rayon::prelude::*;
use std::collections::BTreeMap;

const BACKGROUNDS: usize = Background::ALL.len();

/// Codes of drawings by (class, tint, cells), cell by cell.
pub(crate) struct CodeTable {
    flat: [CodeId; BACKGROUNDS],
    drawings: BTreeMap<(ClassId, Option<Tint>, u8), Drawing>,
}

struct Drawing {
    /// `[cell][background]`; `None` for a cell that shows nothing.
    over: Vec<Option<[CodeId; BACKGROUNDS]>>,
    /// `[cell]`; `None` where nothing is drawn, or nothing that a code can show.
    canonical: Vec<Option<CodeId>>,
}

impl CodeTable {
    /// Encodes every cell of a style over every named background.
    #[must_use]
    pub(crate) fn new(tokenizer: &LayeredVq, style: Style) -> Self {
        let cells = CellTable::new(style);
        let encode = |background: &Background| {
            let rgb = background.rgb();
            let book = tokenizer.over(rgb);
            let code = |index: usize| {
                let (colour, alpha) = cells.row(index).split_at(PIXELS * 3);
                let layer = Layer { colour: colour.to_vec(), alpha: alpha.to_vec() };
                book.nearest(&layer.over(rgb))
            };
            let codes: Vec<CodeId> = (0..cells.parts.len()).map(code).collect();
            (codes, book.nearest(&rgb.repeat(PIXELS)))
        };
        let over: Vec<(Vec<CodeId>, CodeId)> = Background::ALL.par_iter().map(encode).collect();
        let flat: [CodeId; BACKGROUNDS] = std::array::from_fn(|b| over[b].1);
        let mut drawings: BTreeMap<_, Drawing> = BTreeMap::new();
        for (index, part) in cells.parts.iter().enumerate() {
            let drawing =
                drawings.entry((part.class, part.tint, part.cells)).or_insert_with(|| {
                    let count = usize::from(part.cells) * usize::from(part.cells);
                    Drawing { over: vec![None; count], canonical: vec![None; count] }
                });
            let at = usize::from(part.at.0) * usize::from(part.cells) + usize::from(part.at.1);
            let codes: [CodeId; BACKGROUNDS] = std::array::from_fn(|b| over[b].0[index]);
            drawing.over[at] = Some(codes);
            // A few faint pixels vanish in every background's own code: nothing is drawn there.
            let faint = codes.iter().zip(&flat).filter(|(code, flat)| code == flat).count();
            drawing.canonical[at] = (2 * faint < BACKGROUNDS).then(|| commonest(&codes));
        }
        Self { flat, drawings }
    }

    /// The code of a flat cell.
    #[must_use]
    pub(crate) fn flat(&self, background: Background) -> CodeId {
        self.flat[background as usize]
    }

    /// The codes of a scene, as the encoder would give them.
    #[must_use]
    pub(crate) fn scene(&self, scene: &Scene) -> CodeGrid {
        let mut grid = self.empty(scene.background);
        for object in &scene.objects {
            let drawing = &self.drawings[&(object.class, object.tint, object.cells)];
            let at = scene.background as usize;
            put(&mut grid, object, drawing.over.iter().map(|codes| codes.map(|codes| codes[at])));
        }
        grid
    }

    /// The canonical codes of an object drawn on a background.
    #[must_use]
    pub(crate) fn draw(&self, object: &Object, background: Background) -> Vec<CodeId> {
        let drawing = &self.drawings[&(object.class, object.tint, object.cells)];
        let flat = self.flat(background);
        drawing.canonical.iter().map(|code| code.unwrap_or(flat)).collect()
    }

    /// The codes of an edit's target: what stood in the source keeps its codes, the rest is drawn.
    #[must_use]
    pub(crate) fn target(&self, source: &Scene, target: &Scene) -> CodeGrid {
        let mut grid = self.empty(target.background);
        for object in &target.objects {
            let drawing = &self.drawings[&(object.class, object.tint, object.cells)];
            if source.objects.contains(object) {
                let at = source.background as usize;
                put(
                    &mut grid,
                    object,
                    drawing.over.iter().map(|codes| codes.map(|codes| codes[at])),
                );
            } else {
                put(&mut grid, object, drawing.canonical.iter().copied());
            }
        }
        grid
    }

    /// Distinct codes in the table, and the share of cells whose code is the canonical one.
    #[must_use]
    pub(crate) fn usage(&self) -> (usize, f64) {
        let mut used: Vec<CodeId> = self.flat.to_vec();
        let (mut same, mut all) = (0usize, 0usize);
        for drawing in self.drawings.values() {
            for (codes, canonical) in drawing.over.iter().zip(&drawing.canonical) {
                if let (Some(codes), Some(canonical)) = (codes, canonical) {
                    used.extend(codes);
                    all += codes.len();
                    same += codes.iter().filter(|&code| code == canonical).count();
                }
            }
        }
        used.sort_unstable();
        used.dedup();
        (used.len(), same as f64 / all.max(1) as f64)
    }

    fn empty(&self, background: Background) -> CodeGrid {
        let side = usize::from(earl_scenes::GRID);
        CodeGrid { height: side, width: side, codes: vec![self.flat(background); side * side] }
    }
}

fn put(grid: &mut CodeGrid, object: &Object, codes: impl Iterator<Item = Option<CodeId>>) {
    let side = usize::from(object.cells);
    for (at, code) in codes.enumerate() {
        if let Some(code) = code {
            let cell = grid
                .index(usize::from(object.row) + at / side, usize::from(object.col) + at % side);
            grid.codes[cell] = code;
        }
    }
}

fn commonest(codes: &[CodeId]) -> CodeId {
    let count = |code: &CodeId| codes.iter().filter(|other| *other == code).count();
    let best = codes.iter().max_by_key(|code| (count(code), std::cmp::Reverse(**code)));
    best.copied().unwrap_or(CodeId(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::Stored;
    use earl_model::ModelConfig;
    use earl_model::compose::paint;
    use earl_scenes::{CELL_PX, classes, render};
    use std::path::Path;

    /// Largest mean difference of a cell, in 1/255, that still looks the same.
    const SAME: u32 = 24;

    /// The shipped model's configuration, picture tokenizer and codes.
    pub(crate) fn shipped() -> (ModelConfig, LayeredVq, CodeTable) {
        let tiny = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny"));
        let stored = Stored::read(tiny).unwrap();
        let vq = LayeredVq::from_tensors(&stored.config.vision, &stored.tensors).unwrap();
        let codes = CodeTable::new(&vq, Style::Fluent3d);
        (stored.config, vq, codes)
    }

    /// What training asks the decoder to draw is what the world draws. (Cells with a few faint pixels
    /// were once asked for as white.)
    #[test]
    fn drawings_of_canonical_codes_look_like_the_drawings() {
        let (_, vq, codes) = shipped();
        let mut wrong = Vec::new();
        for background in [Background::ALL[1], Background::ALL[4], Background::ALL[7]] {
            for (class, cells) in (0..classes().len()).flat_map(|c| [(c, 2), (c, 3), (c, 4)]) {
                let class = ClassId(class as u8);
                let object = Object { class, tint: None, row: 2, col: 1, cells };
                let empty = Scene { background, objects: Vec::new() };
                let scene = Scene { background, objects: vec![object] };
                let drawn = paint(&vq, &codes.target(&empty, &scene));
                let worst = worst_cell(&drawn, &render(&scene, Style::Fluent3d));
                if worst > SAME {
                    wrong.push((classes()[usize::from(class.0)].name.clone(), cells, worst));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    fn worst_cell(a: &image::RgbImage, b: &image::RgbImage) -> u32 {
        let side = u32::from(earl_scenes::GRID);
        let difference = |cell: u32| {
            let (x, y) = (cell % side * CELL_PX, cell / side * CELL_PX);
            let pixels = (0..CELL_PX * CELL_PX).map(|at| (x + at % CELL_PX, y + at / CELL_PX));
            let sum: u32 = pixels
                .flat_map(|(x, y)| a[(x, y)].0.into_iter().zip(b[(x, y)].0))
                .map(|(a, b)| u32::from(a.abs_diff(b)))
                .sum();
            sum / (3 * CELL_PX * CELL_PX)
        };
        (0..side * side).map(difference).max().unwrap_or(0)
    }
}
